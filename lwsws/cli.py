"""The command line: arguments, and which configuration directory is meant.

    lwsws                       serve /etc/lwsws, or the bundled example where that has no `conf`
    lwsws -c DIR [-d LEVEL]     serve DIR
    lwsws -t | -T | --explain URL | --plugins   look at the configuration without serving
    lwsws passwd FILE USER      edit a password file for basic-auth
"""

from __future__ import annotations

import getopt
import os
import sys
from typing import Dict, List, Optional, Sequence

from lwsws import __version__, log

DEFAULT_DIR = "/etc/lwsws"
PACKAGE = os.path.dirname(os.path.abspath(__file__))

USAGE = """\
Usage: lwsws [-c DIR] [-d LEVEL]               serve the configuration in DIR
       lwsws [-c DIR] -t | -T | --explain URL | --plugins
                                               look at it without serving
       lwsws passwd [options] FILE USER        edit a password file

  -c, --configs DIR   directory with `conf` and `conf.d/` (default /etc/lwsws;
                      where that has no `conf`, the bundled example is served)
  -d, --debug LEVEL   what to log: err, warn, notice (default), info, debug,
                      or a bit mask as in the original (1 err, 2 warn, 4 notice,
                      8 info, 16 debug)
  -t, --test          check the configuration: all faults with file, line and
                      column; exit code 0 if it is in order, else 1
  -T, --dump          print the configuration in force as JSON, without secrets
      --explain URL   say which listener, vhost, mount, handler and file a GET
                      of URL would meet, and what the answer would be, and why;
                      URL is http://name:port/path, /path or unix:/a.sock:/path
      --plugins       list the protocols that can be had, and from where
  -n                  do not look for plugins in _lws_ddir_/plugins, where every
                      server looks for them
  -h, --help          this text
  -V, --version       the version

Signals: TERM and INT finish what is open and stop;
         USR1 reopens the access logs and looks for new certificates.
"""

LONG_OPTIONS = ["configs=", "debug=", "test", "dump", "explain=", "plugins", "help", "version"]
SHORT_NAMES = {"--configs": "-c", "--debug": "-d", "--test": "-t", "--dump": "-T", "--help": "-h",
               "--version": "-V"}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run lwsws with `argv` (without the program's name); returns the exit code (2: wrong usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["passwd"]:
        from lwsws.passwd import main as passwd
        return passwd(arguments[1:])
    try:
        pairs, rest = getopt.getopt(arguments, "c:d:tTnhV", LONG_OPTIONS)
        options = {SHORT_NAMES.get(name, name): value for name, value in pairs}
        if rest:
            raise getopt.GetoptError(f"unexpected argument {rest[0]!r}")
        if options.get("-c") == "":
            raise getopt.GetoptError("option -c needs a directory, and got an empty word")
        if "-d" in options:
            log.set_level(log.parse_level(options["-d"]))
    except (getopt.GetoptError, ValueError) as error:
        sys.stderr.write(f"lwsws: {error}\n`lwsws --help` lists the options\n")
        return 2
    return _run(options)


def _run(options: Dict[str, str]) -> int:
    if "-h" in options:
        sys.stdout.write(USAGE)
        return 0
    if "-V" in options:
        sys.stdout.write(f"lwsws {__version__} (Python {sys.version.split()[0]})\n")
        return 0
    directory = options.get("-c") or default_directory()
    if not {"-t", "-T", "--explain", "--plugins"}.isdisjoint(options):
        return _look(directory, options)
    if "-c" not in options and directory == example_directory():
        log.notice(f"{DEFAULT_DIR}/conf does not exist: serving the bundled example of {directory}")
    from lwsws.process.child import serve
    return serve(directory, data_directory(), plugin_directory(options))


def _look(directory: str, options: Dict[str, str]) -> int:
    from lwsws.inspect_config import check, dump, explain_url, list_plugins
    data, plugins = data_directory(), plugin_directory(options)
    if "--explain" in options:
        return explain_url(directory, data, options["--explain"], plugins)
    if "--plugins" in options:
        return list_plugins(directory, data, plugins)
    return dump(directory, data) if "-T" in options else check(directory, data, plugins)


def default_directory() -> str:
    """/etc/lwsws if it has a `conf`, else the bundled example."""
    if os.path.exists(os.path.join(DEFAULT_DIR, "conf")):
        return DEFAULT_DIR
    return example_directory() or DEFAULT_DIR


def example_directory() -> str:
    """The bundled example: `etc` beside the package in a checkout, or where an installation put it; "" if
    there is none."""
    beside = os.path.join(os.path.dirname(PACKAGE), "etc")
    installed = os.path.join(sys.prefix, "share", "lwsws", "etc")
    candidates: List[str] = [beside, installed]
    for directory in candidates:
        if os.path.exists(os.path.join(directory, "conf")):
            return directory
    return ""


def data_directory() -> str:
    """What `_lws_ddir_` stands for: the pages that come with the package."""
    return os.path.join(PACKAGE, "share")


def plugin_directory(options: Dict[str, str]) -> str:
    """The plugin directory that every server looks at; "" with -n."""
    return "" if "-n" in options else os.path.join(data_directory(), "plugins")
