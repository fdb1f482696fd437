"""Which protocols there are: the bundled ones, and those of plugin directories.

A plugin is a `.py` file of a plugin directory whose name does not begin with `_`.  Every class in it that
derives from `Protocol` and has a name is a protocol.  Bundled protocols are imported only when a vhost
names them; the files of the directories are all imported when the server starts, after it has given up
root, because nothing else tells what is in them.  A file that cannot be imported is fatal: a site without
one of its plugins would be a different site.

The name of a protocol belongs to the first that has it, and the bundled ones come first.
"""

from __future__ import annotations

import os
import stat
import sys
from importlib import import_module
from types import ModuleType
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from lwsws.config.model import NOWHERE, Config, Fault, Position
from lwsws.core.plugincall import ask_plugin
from lwsws.core.protocol import Protocol
from lwsws.net.regular_file import read_regular_file

# Name -> module, class.
BUNDLED: Mapping[str, Tuple[str, str]] = {
    "dumb-increment-protocol": ("lwsws.builtin.dumb_increment", "DumbIncrement"),
    "lws-acme-client": ("lwsws.acme.protocol", "AcmeClient"),
    "lws-echo": ("lwsws.builtin.echo", "Echo"),
    "lws-mirror-protocol": ("lwsws.builtin.mirror", "Mirror"),
    "lws-server-status": ("lwsws.builtin.server_status", "ServerStatus"),
    "lws-status": ("lwsws.builtin.status", "Status"),
    "protocol-post-demo": ("lwsws.builtin.post_demo", "PostDemo"),
    "raw-proxy": ("lwsws.builtin.raw_proxy", "RawProxy"),
    "raw-test": ("lwsws.builtin.raw_test", "RawTest"),
    "wsgi": ("lwsws.builtin.wsgi", "Wsgi"),
    # Its names in the original.
    "lws-raw-test": ("lwsws.builtin.raw_test", "RawTest"),
    "protocol-lws-raw-test": ("lwsws.builtin.raw_test", "RawTest"),
}

# Bundled ones that run the code of others, which who only looks at a configuration must not do.
RUNS_FOREIGN_CODE = frozenset(("wsgi",))

KEY = "plugin-dir"

# No plugin is as large as this; a source is read before it is run.
MAX_SOURCE = 16 * 1024 * 1024


class Plugins(NamedTuple):
    """The protocols of the plugin directories by name, the file each is from, and what is wrong with some."""

    kinds: Mapping[str, Type[Protocol]] = {}
    sources: Mapping[str, str] = {}
    faults: Tuple[Fault, ...] = ()

    def kind(self, name: str) -> Optional[Type[Protocol]]:
        """The class of the protocol `name`, bundled or not; None if there is none."""
        return bundled(name) if name in BUNDLED else self.kinds.get(name)

    def has(self, name: str) -> bool:
        """Whether there is a protocol `name`."""
        return name in BUNDLED or name in self.kinds

    def names(self) -> List[str]:
        """All names."""
        return [*BUNDLED, *self.kinds]


def bundled(name: str) -> Type[Protocol]:
    """The class of the bundled protocol `name`, which is imported now."""
    module, kind = BUNDLED[name]
    found: Type[Protocol] = vars(import_module(module))[kind]
    return found


def plugin_directories(config: Config, default: str) -> List[Tuple[str, Position, str]]:
    """The directories to look in, with the place of the key and its path; `default` ("" for none) is the
    one that every server has."""
    settings = config.globals
    position, path = settings.positions.get(KEY, NOWHERE), f"{settings.path}.{KEY}"
    found = [(directory, position, path) for directory in settings.plugin_dir]
    if default and os.path.isdir(default):
        found.insert(0, (default, NOWHERE, default))
    return found


def load_plugins(directories: Sequence[Tuple[str, Position, str]]) -> Plugins:
    """Import all plugins of `directories`, which runs their code."""
    loader = PluginLoader()
    for directory, position, path in directories:
        loader.load(directory, position, path)
    return Plugins(loader.kinds, loader.sources, tuple(loader.faults))


class PluginLoader:
    """Imports plugins, and collects what they offer and what is wrong."""

    def __init__(self) -> None:
        self.kinds: Dict[str, Type[Protocol]] = {}
        self.sources: Dict[str, str] = {}
        self.faults: List[Fault] = []
        self.files: List[str] = []
        self.uid = os.geteuid()

    def load(self, directory: str, position: Position, path: str) -> None:
        """Import the plugins of `directory`, in the order of their names."""
        try:
            names = sorted(os.listdir(directory))
            if self._is_anybodys(directory, position, path):
                return
        except FileNotFoundError:
            return  # not fatal, as in the original, and server/verify.py has told it
        except OSError as error:
            self.faults.append(Fault(position, path, f"{directory}: {error.strerror}", False))
            return
        for name in names:
            if name.endswith(".py") and not name.startswith(("_", ".")):
                self._load_file(os.path.join(directory, name), position, path)

    def _load_file(self, file: str, position: Position, path: str) -> None:
        try:
            if self._is_anybodys(file, position, path):
                return
            source = read_regular_file(file, MAX_SOURCE)
        except OSError as error:
            self._refuse(position, path, f"{file}: {error.strerror}")
            return
        self.files.append(file)
        sound, module = ask_plugin(file, run_source, file, source, len(self.files))
        if not sound:
            self._refuse(position, path, f"{file} cannot be imported, see above")
            return
        kinds = list(protocols_of(module))
        if not kinds:
            self.faults.append(Fault(position, path, f"{file} has no protocol: no class in it derives from "
                                                     "lwsws.plugin.Protocol and has a name", False))
        for kind in kinds:
            self._add(kind, file, position, path)

    def _add(self, kind: Type[Protocol], file: str, position: Position, path: str) -> None:
        taken = "a bundled one" if kind.name in BUNDLED else self.sources.get(kind.name)
        if taken is not None:
            reason = f"{file}: the protocol {kind.name!r} is left out: {taken} has its name"
            self.faults.append(Fault(position, path, reason, False))
            return
        self.kinds[kind.name] = kind
        self.sources[kind.name] = file

    def _is_anybodys(self, file: str, position: Position, path: str) -> bool:
        """Refuse what others may change, which is no place for code that the server runs."""
        info = os.stat(file)
        if info.st_mode & stat.S_IWOTH:
            self._refuse(position, path, f"{file} can be changed by anybody: chmod o-w")
            return True
        if info.st_uid not in (0, self.uid):
            self._refuse(position, path, f"{file} belongs to uid {info.st_uid}, "
                                         "neither root nor who serves: chown it")
            return True
        return False

    def _refuse(self, position: Position, path: str, reason: str) -> None:
        self.faults.append(Fault(position, path, reason, True))


def run_source(file: str, source: bytes, number: int) -> ModuleType:
    """The module that `source`, the content of `file`, makes, under a name of its own by its `number`.

    As the import statement does it, but for __pycache__: there somebody else could have put what runs.
    """
    stem = os.path.splitext(os.path.basename(file))[0]
    module = ModuleType(f"lwsws_plugin_{number}_{stem}")
    vars(module)["__file__"] = file
    sys.modules[module.__name__] = module   # pickle and dataclasses look there
    exec(compile(source, file, "exec", dont_inherit=True), vars(module))
    return module


def is_name(name: object) -> bool:
    """Whether a plugin may be called `name`, which is what it says."""
    return isinstance(name, str) and name != ""


def protocols_of(module: ModuleType) -> Iterator[Type[Protocol]]:
    """The protocols that `module` defines."""
    for value in dict.fromkeys(value for value in vars(module).values() if isinstance(value, type)):
        if issubclass(value, Protocol) and value.__module__ == module.__name__ and is_name(value.name):
            yield value
