"""The command line: arguments, and which configuration directory is meant.

    lwsws                       serve /etc/lwsws, or the bundled example where that has no `conf`
    lwsws -c DIR [-d LEVEL]     serve DIR
    lwsws -t | -T | --explain URL | --plugins   look at the configuration without serving
    lwsws --reload PID          have a running server take its new configuration
    lwsws passwd FILE USER      edit a password file for basic-auth
    lwsws acme DIR status       look after the certificates that come by ACME
"""

from __future__ import annotations

import getopt
import os
import sys
from typing import Dict, List, Optional, Sequence

from lwsws import __version__, archive, log

DEFAULT_DIR = "/etc/lwsws"
PACKAGE = os.path.dirname(os.path.abspath(__file__))

USAGE = """\
Usage: lwsws [-c DIR] [-d LEVEL] [-f] [--syslog]
                                               serve the configuration in DIR
       lwsws [-c DIR] -t | -T | --explain URL | --plugins
                                               look at it without serving
       lwsws --reload PID                      reload a server that is running
       lwsws passwd [options] FILE USER        edit a password file
       lwsws acme DIR status | renew-now       look after certificates by ACME

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
  -f, --foreground    serve in this process, without a parent: for debuggers
      --syslog        log to syslog instead of standard error
      --reload PID    send HUP to the parent process, and wait until it serves
                      the new configuration (exit code 0) or cannot (1)
  -h, --help          this text
  -V, --version       the version

Signals, to the parent process:
  HUP         serve the configuration anew, without losing a connection
  TERM, INT   finish what is open and stop; a second one stops at once
  USR1        reopen the access logs and look for new certificates
  USR2        write the table of processes to the log
"""

LONG_OPTIONS = ["configs=", "debug=", "test", "dump", "explain=", "plugins", "foreground", "syslog",
                "reload=", "help", "version"]
SHORT_NAMES = {"--configs": "-c", "--debug": "-d", "--test": "-t", "--dump": "-T", "--foreground": "-f",
               "--help": "-h", "--version": "-V"}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run lwsws with `argv` (without the program's name); returns the exit code (2: wrong usage)."""
    open_standard_files()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["passwd"]:
        from lwsws.passwd import main as passwd
        return passwd(arguments[1:])
    if arguments[:1] == ["acme"]:
        from lwsws.acme_command import main as acme
        return acme(arguments[1:], data_directory())
    try:
        pairs, rest = getopt.getopt(arguments, "c:d:tTnfhV", LONG_OPTIONS)
        options = {SHORT_NAMES.get(name, name): value for name, value in pairs}
        if rest:
            raise getopt.GetoptError(f"unexpected argument {rest[0]!r}")
        if options.get("-c") == "":
            raise getopt.GetoptError("option -c needs a directory, and got an empty word")
        if "--reload" in options:
            parse_pid(options["--reload"])
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
    if "--reload" in options:
        from lwsws.process.reload import reload
        return reload(parse_pid(options["--reload"]))
    directory = options.get("-c") or default_directory()
    if not {"-t", "-T", "--explain", "--plugins"}.isdisjoint(options):
        return _look(directory, options)
    from lwsws.process.generation import Settings
    settings = Settings(directory, data_directory(), plugin_directory(options), log.mask(),
                        "--syslog" in options)
    settings.set_up_log()
    if "-c" not in options and directory == example_directory():
        log.notice(f"{DEFAULT_DIR}/conf does not exist: serving the bundled example of {directory}")
    if "-f" in options:
        from lwsws.process.child import serve_alone
        return serve_alone(settings)
    from lwsws.process.parent import watch_over
    return watch_over(settings)


def open_standard_files() -> None:
    """Who was started with closed standard files must not get others, sockets perhaps, in their place."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            try:
                os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            except OSError:
                os.pipe()   # no /dev, and better than nothing


def parse_pid(text: str) -> int:
    """The number of a process; ValueError if `text` is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ValueError(f"--reload needs the number of the parent process, not {text!r}")
    return int(text)


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
    if archive.exists(os.path.join(DEFAULT_DIR, "conf")):
        return DEFAULT_DIR
    return example_directory() or DEFAULT_DIR


def example_directory() -> str:
    """The bundled example: `etc` beside the package in a checkout, or where an installation put it; "" if
    there is none."""
    beside = os.path.join(os.path.dirname(PACKAGE), "etc")
    installed = os.path.join(sys.prefix, "share", "lwsws", "etc")
    candidates: List[str] = [beside, installed]
    for directory in candidates:
        if archive.exists(os.path.join(directory, "conf")):
            return directory
    return ""


def data_directory() -> str:
    """What `_lws_ddir_` stands for: the pages that come with the package."""
    return os.path.join(PACKAGE, "share")


def plugin_directory(options: Dict[str, str]) -> str:
    """The plugin directory that every server looks at; "" with -n."""
    return "" if "-n" in options else os.path.join(data_directory(), "plugins")
