"""Imports point down, the wire is pure, and each kind of system call has one home.

The tables below are the architecture (ARCHITECTURE.md draws it); the checkers read our files with
`ast`, so an import inside a function counts as well.  An import under TYPE_CHECKING must point
down too, but two modules of one layer may name each other's types: only what runs makes a circle.
"""

from __future__ import annotations

import ast
import sys
from typing import Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Set

import pytest

from tests.support.source import Import, Source, import_graph, imports, parse, read

# A module may import from its own layer and from lower ones.
LAYERS: Dict[str, int] = {
    "lwsws.wire": 0,
    "lwsws.net": 1,
    "lwsws.config": 2,
    "lwsws.core": 3,
    "lwsws.roles": 4,
    "lwsws.handlers": 5,
    "lwsws.acme": 5,
    "lwsws.builtin": 5,
    "lwsws.server": 6,
    "lwsws.process": 7,
    "lwsws.cli": 8,
    "lwsws.inspect_config": 8,
    "lwsws.passwd": 8,
    "lwsws.acme_command": 8,
    "lwsws.__main__": 8,
    "(lwsws.py)": 8,
}
# Beside the stack: what each may import of ours (by prefix), and who may not import it.
PUBLIC = ("lwsws.core", "lwsws.net.onward", "lwsws.wire.cgi", "lwsws.wire.forms", "lwsws.wire.ws_message")
BESIDE: Dict[str, Sequence[str]] = {"lwsws": (), "lwsws.archive": (), "lwsws.log": (),
                                    "lwsws.plugin": PUBLIC}
NOT_FOR: Dict[str, Sequence[str]] = {"lwsws.log": ("lwsws.wire", "lwsws.config")}
# Who is confined to some of ours: bundled protocols show that the public interface is enough.
ONLY_FROM: Dict[str, Sequence[str]] = {"lwsws.builtin": ("lwsws.builtin", "lwsws.plugin")}

# No I/O, no clock, no logger in the wire layer; the configuration is text and knows no network.
IMPURE: Dict[str, FrozenSet[str]] = {
    "lwsws.wire": frozenset(
        "socket ssl select selectors threading subprocess os time logging signal asyncio "
        "multiprocessing".split()
    ),
    "lwsws.config": frozenset(["lwsws.net", "ssl", "socket"]),
}
# Gone in Python 3.12 or 3.13 (PEP 594, PEP 632), or too slow to import at each start.
REMOVED = frozenset(
    "aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib nis "
    "nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib".split()
)
SLOW_TO_IMPORT = frozenset(["argparse", "asyncio", "dataclasses", "logging"])

SOCKET_METHODS = frozenset(
    "accept connect connect_ex recv recv_into recvfrom recvfrom_into recvmsg recvmsg_into send sendall "
    "sendfile sendmsg sendto splice".split()
)
PROCESS_CALLS = frozenset(
    "chroot fork forkpty kill killpg initgroups setegid seteuid setgid setgroups setregid setresgid "
    "setresuid setreuid setuid".split()
)
# Programs are ended with all that they have started, and may be locked into a directory; and what generators
# are sent goes through no socket.
MAY_CALL: Dict[str, FrozenSet[str]] = {"lwsws.net.programs": frozenset(["killpg"]),
                                       "lwsws.net.jail": frozenset(["chroot"]),
                                       "lwsws.acme.conversation": frozenset(["send"])}
PROGRAM_CALLS = frozenset(["popen", "posix_spawn", "posix_spawnp", "startfile", "system"])
PROGRAM_CALL_PREFIXES = ("exec", "spawn")  # os.execv, os.spawnlp and their kin
ONLY_SPAWN = "lwsws.net.spawn"

PACKAGE = ("lwsws", "lwsws.py")
# What the tests and the benchmark may import beside the standard library.
DEVELOPMENT = frozenset(["lwsws", "tests", "bench", "pytest", "_pytest"])


def within(module: str, prefix: str) -> bool:
    """Whether `module` is `prefix` or lies inside it."""
    return module == prefix or module.startswith(prefix + ".")


def layer_of(module: str) -> Optional[str]:
    """The entry of LAYERS that `module` belongs to."""
    return next((prefix for prefix in LAYERS if within(module, prefix)), None)


def why_not(importer: str, imported: str) -> str:
    """Why `importer` must not import our module `imported`; "" if it may."""
    if any(within(importer, prefix) for prefix in NOT_FOR.get(imported, ())):
        return f"{importer} must not use {imported}"
    for confined, allowed_from in ONLY_FROM.items():
        if within(importer, confined) and not any(within(imported, prefix) for prefix in allowed_from):
            return f"{importer} may use {' and '.join(allowed_from)} only, not {imported}"
    if importer in BESIDE:
        allowed = any(within(imported, prefix) for prefix in BESIDE[importer])
        return "" if allowed else f"{importer} stands beside the layers: it must not import {imported}"
    if imported in BESIDE:
        return ""
    lower, upper = layer_of(imported), layer_of(importer)
    if lower is None or upper is None:
        return f"no layer is known for {imported if lower is None else importer}"
    if {lower, upper} == {"lwsws.net", "lwsws.config"}:
        return "net and config do not know each other"
    if LAYERS[lower] > LAYERS[upper]:
        return f"{importer} (layer {LAYERS[upper]}) imports up: {imported} (layer {LAYERS[lower]})"
    return ""


def upward_imports(sources: Sequence[Source]) -> Iterator[str]:
    """Imports that do not point down."""
    ours = frozenset(source.module for source in sources)
    for source in sources:
        for found in imports(source, ours):
            if within(found.name, "lwsws"):
                reason = why_not(source.module, found.name)
                if reason:
                    yield f"{source.at(found.line)}: {reason}"


def circles(sources: Sequence[Source]) -> Iterator[str]:
    """Modules that import each other, by however many steps."""
    graph = import_graph(sources)
    done: Set[str] = set()

    def visit(module: str, trail: List[str]) -> Iterator[str]:
        if module in trail:
            yield " -> ".join(trail[trail.index(module) :] + [module])
        elif module not in done:
            for imported in sorted(graph[module]):
                yield from visit(imported, trail + [module])
            done.add(module)

    for source in sources:
        for circle in visit(source.module, []):
            yield f"{source.at(1)}: circle of imports: {circle}"


def impure_imports(sources: Sequence[Source]) -> Iterator[str]:
    """Imports that the purity of a layer forbids."""
    for source in sources:
        banned = [name for layer, names in IMPURE.items() if within(source.module, layer) for name in names]
        for found in imports(source):
            if any(within(found.name, name) for name in banned):
                yield f"{source.at(found.line)}: {source.module} must not import {found.name}"


def run_time_imports(source: Source) -> Iterator[Import]:
    """The imports of `source` with the name cut to the top-level module, those for types left out."""
    for found in imports(source):
        if not found.for_types:
            yield found._replace(name=found.name.partition(".")[0])


def unwanted_imports(sources: Sequence[Source]) -> Iterator[str]:
    """Modules that newer Pythons no longer have, or that make the start slow."""
    for source in sources:
        for found in run_time_imports(source):
            if found.name in REMOVED:
                yield f"{source.at(found.line)}: {found.name} is gone from newer Pythons"
            if found.name in SLOW_TO_IMPORT:
                yield f"{source.at(found.line)}: {found.name} is too slow to import"


def foreign_imports(sources: Sequence[Source], known: FrozenSet[str]) -> Iterator[str]:
    """Modules that are neither in the standard library nor in `known`."""
    stdlib = sys.stdlib_module_names
    for source in sources:
        for found in run_time_imports(source):
            if found.name not in stdlib and found.name not in known:
                yield f"{source.at(found.line)}: {found.name} is not in the standard library"


class Call(NamedTuple):
    """One call: the name called, and the module it was looked up in ("os"), if that is what it was."""

    name: str
    module: str
    line: int
    is_method: bool


def calls(source: Source) -> Iterator[Call]:
    """Every call in `source`; `from os import fork; fork()` is known to be os.fork."""
    origin: Dict[str, str] = {}
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            origin.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            yield Call(called.attr, owner, node.lineno, True)
        elif isinstance(called, ast.Name):
            module, _, name = origin.get(called.id, called.id).rpartition(".")
            yield Call(name, module, node.lineno, False)


def socket_calls(sources: Sequence[Source]) -> Iterator[str]:
    """Bytes moved outside net/."""
    for source in sources:
        # Bundled protocols have no sockets: what they send on is a session.
        if not within(source.module, "lwsws.net") and not within(source.module, "lwsws.builtin"):
            forbidden = SOCKET_METHODS - MAY_CALL.get(source.module, frozenset())
            for call in calls(source):
                if call.name in forbidden and (call.is_method or call.module in ("os", "socket")):
                    yield f"{source.at(call.line)}: only net/ calls {call.name}"


def process_calls(sources: Sequence[Source]) -> Iterator[str]:
    """Processes made, killed or given another user outside process/."""
    for source in sources:
        if not within(source.module, "lwsws.process"):
            forbidden = PROCESS_CALLS - MAY_CALL.get(source.module, frozenset())
            for call in calls(source):
                if call.module == "os" and call.name in forbidden:
                    yield f"{source.at(call.line)}: only process/ calls os.{call.name}"


def program_starts(sources: Sequence[Source]) -> Iterator[str]:
    """Programs started outside net/spawn.py."""
    for source in sources:
        if source.module == ONLY_SPAWN:
            continue
        for found in run_time_imports(source):
            if found.name == "subprocess":
                yield f"{source.at(found.line)}: only net/spawn.py imports subprocess"
        for call in calls(source):
            starts = call.name in PROGRAM_CALLS or call.name.startswith(PROGRAM_CALL_PREFIXES)
            if call.module == "os" and starts:
                yield f"{source.at(call.line)}: only net/spawn.py starts programs (os.{call.name})"


Checker = Callable[[Sequence[Source]], Iterator[str]]
CHECKERS: List[Checker] = [
    upward_imports, circles, impure_imports, unwanted_imports, socket_calls, process_calls, program_starts,
]


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_the_package_keeps_to_the_layers(checker: Checker) -> None:
    assert list(checker(read(*PACKAGE))) == []


needs_stdlib_names = pytest.mark.skipif(
    sys.version_info < (3, 10), reason="Python 3.9 has no list of its own modules (sys.stdlib_module_names)"
)


@needs_stdlib_names
def test_the_package_needs_nothing_but_the_standard_library() -> None:
    assert list(foreign_imports(read(*PACKAGE), frozenset(["lwsws"]))) == []


@needs_stdlib_names
def test_tests_and_benchmark_need_nothing_but_pytest() -> None:
    assert list(foreign_imports(read("tests", "bench"), DEVELOPMENT)) == []


def test_the_package_is_really_read() -> None:
    modules = {source.module for source in read(*PACKAGE)}
    assert {"lwsws", "lwsws.log", "lwsws.wire", "lwsws.core.role"} <= modules


WIRE, NET, CONFIG, ROLE = "lwsws/wire/a.py", "lwsws/net/a.py", "lwsws/config/a.py", "lwsws/roles/a.py"


@pytest.mark.parametrize(
    "checker, path, text, message",
    [
        (upward_imports, WIRE, "import lwsws.net.b", "lwsws/wire/a.py:1: lwsws.wire.a (layer 0) imports up"),
        (upward_imports, ROLE, "from lwsws.handlers.file import F", "up: lwsws.handlers.file (layer 5)"),
        (upward_imports, ROLE, "def f():\n    import lwsws.server.build", "lwsws/roles/a.py:2: "),
        (upward_imports, NET, "from lwsws.config import b", "net and config do not know each other"),
        (upward_imports, CONFIG, "from lwsws.net import b", "net and config do not know each other"),
        (upward_imports, WIRE, "from lwsws.log import err", "must not use lwsws.log"),
        (upward_imports, "lwsws/log.py", "import lwsws.net.b", "stands beside the layers"),
        (upward_imports, "lwsws/plugin.py", "import lwsws.server.b", "stands beside the layers"),
        (upward_imports, "lwsws/stray.py", "import lwsws.net.b", "no layer is known for lwsws.stray"),
        (upward_imports, "lwsws/builtin/a.py", "import lwsws.core.b", "lwsws.plugin only, not lwsws.core.b"),
        (upward_imports, ROLE, "if TYPE_CHECKING:\n    import lwsws.server.b", "lwsws/roles/a.py:2: "),
        (impure_imports, WIRE, "import os.path", "lwsws.wire.a must not import os.path"),
        (impure_imports, WIRE, "\nfrom time import monotonic", "lwsws/wire/a.py:2: "),
        (impure_imports, CONFIG, "import ssl", "lwsws.config.a must not import ssl"),
        (unwanted_imports, NET, "import cgi", "lwsws/net/a.py:1: cgi is gone from newer Pythons"),
        (unwanted_imports, NET, "from asyncio.events import get_event_loop", "asyncio is too slow to import"),
        (socket_calls, ROLE, "def f(s):\n    s.recv(9)", "lwsws/roles/a.py:2: only net/ calls recv"),
        (socket_calls, ROLE, "import os\nos.sendfile(1, 2, 0, 9)", "only net/ calls sendfile"),
        (socket_calls, ROLE, "from os import sendfile\nsendfile(1, 2, 0, 9)", "only net/ calls sendfile"),
        (process_calls, NET, "import os\nos.fork()", "lwsws/net/a.py:2: only process/ calls os.fork"),
        (process_calls, NET, "from os import setuid as become\nbecome(0)", "only process/ calls os.setuid"),
        (process_calls, NET, "import os\nos.killpg(1, 9)", "only process/ calls os.killpg"),
        (process_calls, "lwsws/net/programs.py", "import os\nos.kill(1, 9)", "only process/ calls os.kill"),
        (program_starts, NET, "import subprocess", "only net/spawn.py imports subprocess"),
        (program_starts, NET, "import os\nos.execv('a', [])", "only net/spawn.py starts programs (os.execv)"),
    ],
)
def test_each_checker_finds_its_fault(checker: Checker, path: str, text: str, message: str) -> None:
    faults = list(checker([parse(path, text)]))
    assert len(faults) == 1
    assert message in faults[0]


@pytest.mark.parametrize(
    "checker, path, text",
    [
        (upward_imports, ROLE, "from lwsws import log, __version__\nimport lwsws.wire.b"),
        (upward_imports, ROLE, "import lwsws.roles.b\nfrom lwsws.core.role import Role"),
        (upward_imports, "lwsws.py", "from lwsws.cli import main"),
        (upward_imports, "lwsws/plugin.py", "from lwsws.core.protocol import Protocol"),
        (upward_imports, "lwsws/builtin/a.py", "from lwsws.plugin import Protocol\nimport lwsws.builtin.b"),
        (impure_imports, NET, "import socket, ssl, os, time"),
        (unwanted_imports, NET, "if TYPE_CHECKING:\n    import logging"),
        (socket_calls, NET, "def f(s):\n    s.recv(9)"),
        (socket_calls, ROLE, "def connect() -> None: ...\nconnect()"),
        (process_calls, "lwsws/process/a.py", "import os\nos.fork()"),
        (process_calls, NET, "def f(program):\n    program.kill()"),
        (process_calls, "lwsws/net/programs.py", "import os\nos.killpg(1, 9)"),
        (program_starts, "lwsws/net/spawn.py", "import os, subprocess\nos.posix_spawn('a', [], {})"),
    ],
)
def test_each_checker_lets_good_code_pass(checker: Checker, path: str, text: str) -> None:
    assert list(checker([parse(path, text)])) == []


@needs_stdlib_names
def test_a_foreign_import_is_found() -> None:
    source = parse(NET, "import os, lwsws.wire\nimport requests.sessions")
    assert list(foreign_imports([source], frozenset(["lwsws"]))) == [
        "lwsws/net/a.py:2: requests is not in the standard library"
    ]


def test_circles_are_found_once_and_by_all_their_steps() -> None:
    sources = [
        parse("lwsws/core/a.py", "import lwsws.core.b"),
        parse("lwsws/core/b.py", "def f():\n    from lwsws.core import c"),
        parse("lwsws/core/c.py", "from lwsws.core.a import thing"),
        parse("lwsws/core/d.py", "import lwsws.core.a"),
    ]
    assert list(circles(sources)) == [
        "lwsws/core/a.py:1: circle of imports: lwsws.core.a -> lwsws.core.b -> lwsws.core.c -> lwsws.core.a"
    ]


def test_types_alone_make_no_circle() -> None:
    sources = [
        parse("lwsws/core/a.py", "import lwsws.core.b"),
        parse("lwsws/core/b.py", "if TYPE_CHECKING:\n    import lwsws.core.a"),
    ]
    assert list(circles(sources)) == []
