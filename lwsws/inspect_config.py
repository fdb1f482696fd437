"""`-t`, `-T` and `--explain`: look at a configuration without binding or serving anything.

What was asked for goes to stdout, complaints go to stderr.  The exit code is 0 if all is well, else 1.
"""

from __future__ import annotations

import os
import sys
from typing import List, Optional, Sequence, TextIO, Tuple

from lwsws.config.loader import load
from lwsws.config.model import Config, Fault
from lwsws.config.show import show
from lwsws.net.reactor import Reactor
from lwsws.process.privileges import PrivilegeError, drop
from lwsws.server.build import BuildError, Site, look, preload, prepare
from lwsws.server.explain import explain, without_logs
from lwsws.server.identity import resolve
from lwsws.server.plugins import Plugins, load_plugins, plugin_directories
from lwsws.server.verify import missing_passer, verify


def check(directory: str, data_dir: str, default_plugins: str = "") -> int:
    """Check the configuration of `directory`, and name all faults; 0 if there is none, else 1.

    Started as root, it becomes who the server becomes before it imports plugins.
    """
    config, faults, notices = _load(directory, data_dir)
    warnings: Sequence[str] = ()
    if config is not None:
        try:
            site = _site(config, default_plugins, _is_fatal(faults))
            faults += [*site.faults, *missing_passer(config)]
            warnings = site.warnings
        except PrivilegeError as error:
            _complain([*notices, *map(str, faults), str(error)])
            return 1
    _complain([*notices, *map(str, faults), *warnings])
    if not faults:
        _complain([f"{directory}: OK"])
        return 0
    consequence = "the server will not start" if _is_fatal(faults) else "the server starts all the same"
    plural = "s" if len(faults) != 1 else ""
    _complain([f"{directory}: FAILED: {len(faults)} fault{plural}; {consequence}"])
    return 1


def dump(directory: str, data_dir: str) -> int:
    """Print the effective configuration as JSON; 1 if it cannot be loaded."""
    config, faults, notices = _load(directory, data_dir)
    _complain([*notices, *map(str, faults)])
    if config is None:
        return 1
    return 0 if _print([show(config)]) else 1


def list_plugins(directory: str, data_dir: str, default_plugins: str = "") -> int:
    """Print the protocols that there are, and from where; 0 unless a plugin cannot be used."""
    config, faults, notices = _load(directory, data_dir)
    if config is None:
        _complain([*notices, *map(str, faults)])
        return 1
    try:
        plugins = _plugins(config, default_plugins, _is_fatal(faults))
    except PrivilegeError as error:
        _complain([str(error)])
        return 1
    _complain([str(fault) for fault in plugins.faults])
    width = max(map(len, plugins.names()))
    lines = [f"{name:<{width}}  {plugins.sources.get(name, 'bundled')}" for name in plugins.names()]
    lines += [f"searched: {directory}" for directory, _, _ in plugin_directories(config, default_plugins)]
    return 0 if _print(lines) and not _is_fatal(plugins.faults) else 1


def explain_url(directory: str, data_dir: str, url: str, default_plugins: str = "") -> int:
    """Say what a GET of `url` would meet; 0 if it gets something better than an error, else 1.

    Started as root, it asks as the user that the server becomes, who may not read all that root reads.
    """
    config, faults, _ = _load(directory, data_dir)
    # The others have nothing to do with the question, or show in the explanation.
    _complain([str(fault) for fault in faults if fault.fatal])
    if config is None:
        return 1
    fatal = _is_fatal(faults)
    identity = None if fatal else resolve(config.globals)
    try:
        lines, served = explain(config, url, lambda: _plugins(config, default_plugins, fatal))
    except BuildError:
        return 1    # one of the faults that are told already
    except PrivilegeError as error:
        _complain([str(error)])
        return 1
    if fatal:
        lines.append("but       the server will not start with this configuration")
    elif identity is not None and os.getuid() not in (0, identity.uid):
        others = f"; the server, if root starts it, is uid {identity.uid}"
        lines.append(f"but       asked as uid {os.getuid()}{others}")
    return 0 if _print(lines) and served and not fatal else 1


def _load(directory: str, data_dir: str) -> Tuple[Optional[Config], List[Fault], List[str]]:
    loaded = load(directory, data_dir)
    faults = list(loaded.faults)
    if loaded.config is not None:
        faults += verify(loaded.config)
    return loaded.config, faults, loaded.notices


def _is_fatal(faults: Sequence[Fault]) -> bool:
    return any(fault.fatal for fault in faults)


def _site(config: Config, default_plugins: str, is_fatal: bool) -> Site:
    """What would be served; empty if it cannot be built, which is one of the faults that are told already."""
    reactor = Reactor()
    try:
        prepared = prepare(without_logs(config), reactor, serves=False)
        return look(prepared, _plugins(config, default_plugins, is_fatal))
    except BuildError:
        return Site()
    finally:
        reactor.close()


def _plugins(config: Config, default_plugins: str, is_fatal: bool) -> Plugins:
    """The plugins, imported as who would serve; started as root, this process is that user from now on.

    Where the server will not start for other reasons it is not clear who that would be, so root imports none.
    """
    if os.getuid() == 0:
        if is_fatal:
            return Plugins()
        preload(config, default_plugins)
        identity = resolve(config.globals)
        if identity is not None:
            drop(identity)
    return load_plugins(plugin_directories(config, default_plugins))


# Where it goes.


def _complain(lines: Sequence[str]) -> None:
    """Say `lines` on stderr; if that is closed or full there is nobody to tell."""
    _write(sys.stderr, lines)


def _print(lines: Sequence[str]) -> bool:
    """Say `lines` on stdout; False if they are lost."""
    reason = _write(sys.stdout, lines)
    if reason:
        _complain([f"lwsws: cannot write the output: {reason}"])
    return not reason


def _write(stream: Optional[TextIO], lines: Sequence[str]) -> str:
    """Write `lines`; why they are lost, "" if they are not, or if nobody wants them (`| head`)."""
    if stream is None or not lines:
        return "" if not lines else "it is closed"
    text = "".join(f"{line}\n" for line in lines)
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
        return ""
    except OSError as error:
        # What is left in the buffer would fail again at exit, and make an exit code of its own.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != stream.fileno():
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
