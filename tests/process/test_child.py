"""The serving process: what keeps it from starting, what it says when it starts, and who it then is."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from lwsws.config.model import Config
from lwsws.config.sources import read_sources
from lwsws.net.notify import Notifier
from lwsws.net.reactor import Reactor
from lwsws.process.child import check, raise_file_limit, serve_alone
from lwsws.process.generation import Settings
from lwsws.process.orders import Alone
from lwsws.process.startup import startup_lines
from lwsws.server.build import build
from tests.support.client import Client
from tests.support.peer import load_config, write_config
from tests.support.procfs import status
from tests.support.server import Server, file_mount, free_ports
from tests.support.source import ROOT

NOBODY = "nobody"


def serve(directory: Path) -> int:
    """The exit code of a server that ends at once, because something is wrong.

    In a process of its own: it changes its umask, and gives up rights for ever.
    """
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = serve_alone(Settings(str(directory), "/ddir"))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def read_config(directory: Path) -> Optional[Config]:
    """The configuration as the first process of a generation reads it."""
    return check(read_sources(str(directory)), Settings(str(directory), "/ddir"), Alone(Notifier(""), 0))


def said(capfd: pytest.CaptureFixture[str]) -> List[str]:
    """The lines of the log, without their times."""
    return [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()]


# What keeps it from starting.


def test_a_good_configuration_is_read_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = read_config(write_config(tmp_path, [{"port": "7681"}]))
    assert config is not None
    assert said(capfd) == []


def test_a_fatal_fault_ends_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conf").write_text('{ "vhosts": [\n{ "port": "x", "prot": 1 },\n{ "port": "99999" } ] }')
    assert serve(tmp_path) == os.EX_CONFIG
    warning, first, second, last = said(capfd)
    assert warning.startswith(f"E: {tmp_path}/conf:2:11: vhosts[0].port: ")
    assert first.startswith(f"W: {tmp_path}/conf:2:16: vhosts[0].prot: unknown key")
    assert second.startswith(f"E: {tmp_path}/conf:3:11: vhosts[1].port: ")
    assert last == (f"E: not starting: 2 faults in {tmp_path}; "
                    "`lwsws -t` checks a configuration without starting")


def test_what_the_system_lacks_ends_it_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_config(tmp_path, [{"port": "7681", "access-log": "/no/where/log"}])
    assert serve(tmp_path) == os.EX_CONFIG
    fault, last = said(capfd)
    assert "vhosts[0].access-log: there is no directory '/no/where'" in fault
    assert last.startswith("E: not starting: 1 fault in ")


def test_what_costs_a_part_only_is_warned_about(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mounts = [{"mountpoint": "/", "origin": "file:///no/where"}]
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "old.bak").write_text("")
    assert read_config(write_config(tmp_path, [{"port": "7681", "mounts": mounts}])) is not None
    notice, warning = said(capfd)
    assert notice.startswith(f"N: {tmp_path}/conf.d/old.bak: skipped")
    assert warning.startswith(f"W: {tmp_path}/conf.d/test:1:")


def test_a_missing_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert serve(tmp_path / "no") == os.EX_CONFIG
    assert f"E: {tmp_path}/no/conf: Cannot open {tmp_path}/no/conf: No such file or directory" in said(capfd)


def test_a_port_that_is_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        write_config(tmp_path, [{"port": port, "interface": "127.0.0.1"}])
        assert serve(tmp_path) == 1
    last = said(capfd)[-1]
    assert last.startswith(f"E: {tmp_path}/conf.d/test:1:")
    assert last.endswith(f": cannot listen on 127.0.0.1:{port}: Address already in use")


def test_a_log_that_cannot_be_opened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ("x" * 256)
    write_config(tmp_path, [{"port": "7681", "access-log": str(path)}])
    assert serve(tmp_path) == 1
    assert said(capfd) == [f"E: cannot open the access log {path}: File name too long"]


def test_nothing_left_to_listen_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_config(tmp_path, [{"port": "7681", "apply-listen-accept": "1", "listen-accept-protocol": "nobody"}])
    assert serve(tmp_path) == os.EX_CONFIG
    reason, warning, last = said(capfd)[-3:]
    assert "there is no protocol 'nobody'" in reason
    assert warning.endswith(": not listening for default: there is no protocol for its raw connections")
    assert last == "E: not starting: nothing is left to listen on"


# What it says when it starts.


def lines_of(directory: Path, *vhosts: Dict[str, Any]) -> List[str]:
    reactor = Reactor()
    try:
        config = load_config(write_config(directory, vhosts))
        site = build(config, reactor)
        return startup_lines(site.listening, site.protocols)
    finally:
        reactor.close()


def test_what_is_served_where(tmp_path: Path) -> None:
    mounts = [{"mountpoint": "/", "origin": "file:///srv/www"},
              {"mountpoint": "/r", "origin": ">https://b.test/x"}]
    assert lines_of(
        tmp_path,
        {"name": "a.test", "port": "7681", "mounts": mounts},
        {"name": "b.test", "port": "7681", "noipv6": "1", "mounts": mounts[:1]},
        {"name": "c.test", "port": "80", "interface": "10.0.0.1", "mounts": mounts[:1]},
        {"name": "d.test", "unix-socket": "1", "interface": "/run/d", "mounts": mounts},
    ) == [
        "listening on 0.0.0.0:7681 for a.test, b.test; a.test answers unknown names",
        "listening on [::]:7681 for a.test",
        "listening on 10.0.0.1:80 for c.test",
        "listening on unix:/run/d for d.test",
        "http://a.test:7681/ -> file:///srv/www",
        "http://a.test:7681/r/ -> >https://b.test/x",
        "http://b.test:7681/ -> file:///srv/www",
        "http://c.test/ -> file:///srv/www",
        "unix:/run/d:/ -> file:///srv/www",
        "unix:/run/d:/r/ -> >https://b.test/x",
    ]


def test_only_the_protocols_that_can_be_had_are_said(tmp_path: Path) -> None:
    entries = [{"lws-echo": {}, "raw-proxy": {"onward": "nowhere"}, "warmcat": {}, "raw-test": {}}]
    lines = lines_of(tmp_path, {"name": "a.test", "port": "7681", "ws-protocols": entries},
                     {"name": "b.test", "port": "7681", "ws-protocols": [{"warmcat": {}}]})
    assert [line for line in lines if "protocols" in line] == ["a.test:7681: protocols lws-echo, raw-test"]


@pytest.fixture
def file_limit() -> Iterator[Tuple[int, int]]:
    """Soft and hard limit on open files, put back after the test."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    yield 100, limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_file_limit_is_raised_as_far_as_allowed(file_limit: Tuple[int, int]) -> None:
    raise_file_limit(0)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (file_limit[1], file_limit[1])


def test_the_file_limit_is_what_is_configured(file_limit: Tuple[int, int]) -> None:
    raise_file_limit(200)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, file_limit[1])


def test_a_file_limit_that_cannot_be_had(
    file_limit: Tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    raise_file_limit(1 << 40)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == file_limit
    line, = said(capfd)
    assert line.startswith(f"W: rlimit-nofile {1 << 40} cannot be set (now 100, at most {file_limit[1]}): ")


# A whole process.


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that all may enter, which they may not with those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o711)
        (home / "www").mkdir(0o755)
        (home / "www" / "a.txt").write_text("a file\n")
        yield home


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, which the server gives up")
def test_it_binds_and_opens_logs_as_root_and_serves_as_somebody_else(home: Path) -> None:
    (home / "logs").mkdir(0o700)
    (home / "secret").write_text("x")
    (home / "secret").chmod(0o600)
    (home / "www" / "secret.txt").symlink_to("../secret")
    port, = free_ports(1)
    vhost = {"name": "a.test", "port": port, "access-log": str(home / "logs" / "log"), "mounts": [
        file_mount(home / "www", follow_symlinks="yes")]}
    path = home / "s"
    on_socket = {"unix-socket": "1", "interface": str(path), "unix-socket-perms": "nobody:root"}
    directory = write_config(home / "etc", [vhost, on_socket], {"username": NOBODY})
    with Server(directory, [("127.0.0.1", port)]) as server:
        # It can be connected to before it has given up root, but reads nothing until then.
        with Client(server.connect()) as client:
            assert client.get("/a.txt").body == b"a file\n"
            assert client.get("/secret.txt").status == 403
        state = status(server.pid)
        assert set(state["Uid"].split()) == {"65534"}
        assert "0" not in state["Gid"].split() + state["Groups"].split()
        assert int(state["CapEff"], 16) == int(state["CapPrm"], 16) == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == 65534
    assert (home / "logs" / "log").read_text().count('"GET /') == 2


def test_signals_that_are_no_end(home: Path) -> None:
    """Without a parent, a reload cannot be had."""
    port, = free_ports(1)
    directory = write_config(home / "etc", [{"name": "a.test", "port": port}])
    with Server(directory, [("127.0.0.1", port)], ["-f"]) as server:
        with Client(server.connect()) as client:
            client.get()    # it accepts before it is ready for signals
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("W: a reload needs a parent process, which there is without -f")
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for("reopened 0 access logs")


def test_it_does_not_say_that_it_listens_where_it_only_waits(home: Path) -> None:
    first, second = free_ports(2)
    vhosts = [{"name": "a.test", "port": first}, {"name": "b.test", "port": second, "interface": "nope0"}]
    with Server(write_config(home / "etc", vhosts), [("127.0.0.1", first)]) as server:
        server.wait_for("nope0")
        assert "listening on nope0" not in server.log()


def test_the_start_loads_nothing_slow(home: Path) -> None:
    """What a plain site does not need is not imported."""
    write_config(home / "etc", [{"name": "a.test", "port": "7681", "mounts": [file_mount(home / "www")]}])
    script = """
import json
before = set(sys.modules)   # what this system's Python loads by itself
from lwsws.net.reactor import Reactor
from lwsws.config.sources import read_sources
from lwsws.process.child import Alone, Notifier, Settings, check
from lwsws.server.service import Service
config = check(read_sources(sys.argv[1]), Settings(sys.argv[1], "/ddir"), Alone(Notifier(""), 0))
service = Service(config, Reactor())
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    command = [sys.executable, "-I", "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{script}"]
    done = subprocess.run([*command, str(home / "etc")], capture_output=True, text=True, check=True)
    unwanted = ("argparse asyncio ctypes dataclasses difflib hashlib ipaddress logging pathlib ssl "
                "subprocess tempfile traceback urllib.parse lwsws.handlers.basicauth "
                "lwsws.server.explain").split()
    assert set(json.loads(done.stdout)).isdisjoint(unwanted)


# Plugins.

SPY = """
import os
from lwsws.plugin import Protocol

def note(what):
    with open({path!r}, "a") as file:
        print(what, os.getuid(), file=file)

note("import")

class Spy(Protocol):
    name = "spy"

    def init(self, vhost, options):
        note("init")

    def destroy(self):
        note("destroy")
"""


@pytest.fixture
def spied(home: Path) -> Tuple[Path, Path]:
    """A configuration directory whose vhost has the protocol of a plugin directory, and where that plugin
    notes who it is."""
    notes = home / "notes"
    notes.touch()
    notes.chmod(0o666)
    (home / "plugins").mkdir(0o755)
    (home / "plugins" / "spy.py").write_text(SPY.format(path=str(notes)))
    vhost = {"name": "a.test", "port": free_ports(1)[0], "ws-protocols": [{"spy": {}}]}
    settings = {"plugin-dir": str(home / "plugins")}
    if os.getuid() == 0:
        settings["username"] = NOBODY
    return write_config(home / "etc", [vhost], settings), notes


WHO = 65534 if os.getuid() == 0 else os.getuid()


def test_plugins_run_as_who_serves_and_never_as_root(spied: Tuple[Path, Path]) -> None:
    directory, notes = spied
    port = load_config(directory).vhosts[0].port
    with Server(directory, [("127.0.0.1", port)]) as server, Client(server.connect()) as client:
        client.get()
    assert notes.read_text().splitlines() == [f"import {WHO}", f"init {WHO}", f"destroy {WHO}"]


@pytest.mark.parametrize("arguments", [["-t"], ["--plugins"], ["--explain", "/"]])
def test_looking_at_plugins_imports_them_as_who_would_serve_and_no_more(
    spied: Tuple[Path, Path], arguments: List[str]
) -> None:
    directory, notes = spied
    command = [sys.executable, str(ROOT / "lwsws.py"), "-c", str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert notes.read_text().splitlines() == [f"import {WHO}"], done.stderr


def test_a_plugin_that_cannot_be_imported_keeps_the_server_from_starting(
    spied: Tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    directory, notes = spied
    broken = directory.parent / "plugins" / "broken.py"
    broken.write_text("import nothing_of_that_name\n")
    command = [sys.executable, str(ROOT / "lwsws.py"), "-c", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == os.EX_CONFIG
    assert f"{broken} cannot be imported" in done.stderr and "nothing_of_that_name" in done.stderr
    assert ": not starting: a plugin cannot be used\n" in done.stderr
    assert "init" not in notes.read_text()
