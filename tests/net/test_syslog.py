"""The log in syslog: what a line looks like, and a syslogd that comes and goes."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Iterator

import pytest

from lwsws import log
from lwsws.net.syslog import MAX_MESSAGE, MONTHS, Syslog, open_syslog


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Where syslogd listens, or will."""
    return str(tmp_path / "log")


@pytest.fixture
def daemon(address: str, _no_fd_leaks: None) -> Iterator[socket.socket]:
    """A syslogd."""
    with listen(address) as sock:
        yield sock


@pytest.fixture
def client(address: str, _no_fd_leaks: None) -> Iterator[Syslog]:
    """What we write with."""
    client = Syslog("lwsws", address)
    yield client
    client.close()


def listen(address: str) -> socket.socket:
    """Start a syslogd."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(address)
    return sock


@pytest.mark.parametrize("level, priority", [
    (log.ERR, 27), (log.WARN, 28), (log.NOTICE, 29), (log.INFO, 30), (log.DEBUG, 31),
])
def test_a_line(daemon: socket.socket, client: Syslog, level: int, priority: int) -> None:
    """RFC 3164 section 4.1."""
    assert client.write(level, "caf\u00e9 \udcff")
    message = daemon.recv(1000).decode()
    head = r"<(\d+)>(\w{3}) ([ 123]\d) \d\d:\d\d:\d\d lwsws\[(\d+)\]: "
    found = re.fullmatch(head + r"caf\u00e9 \\udcff", message)
    assert found
    assert int(found[1]) == priority
    assert found[2] in MONTHS
    assert int(found[4]) == os.getpid()


@pytest.mark.parametrize("seconds, when", [(0, "Jan  1 00:00:00"), (1797811205, "Dec 21 00:00:05")])
def test_the_time(
    daemon: socket.socket, client: Syslog, monkeypatch: pytest.MonkeyPatch, seconds: int, when: str
) -> None:
    """The day has a blank in front, not a zero."""
    monkeypatch.setattr(time, "localtime", lambda: time.gmtime(seconds))
    assert client.write(log.ERR, "x")
    assert daemon.recv(1000).decode().startswith(f"<27>{when} lwsws[")


def test_a_very_long_line_is_cut(daemon: socket.socket, client: Syslog) -> None:
    assert client.write(log.ERR, "x" * 100_000)
    assert len(daemon.recv(200_000)) == MAX_MESSAGE


def test_nobody_listens_yet(address: str, client: Syslog) -> None:
    assert not client.write(log.ERR, "one")
    with listen(address) as daemon:
        assert client.write(log.ERR, "two")
        assert daemon.recv(1000).endswith(b": two")
        with pytest.raises(BlockingIOError):
            daemon.recv(1000)


def test_it_was_restarted(address: str, client: Syslog) -> None:
    for _ in range(2):
        with listen(address) as daemon:
            for _ in range(2):
                assert client.write(log.ERR, "on")
                assert daemon.recv(1000).endswith(b": on")
        os.unlink(address)
        assert not client.write(log.ERR, "off")


def test_one_that_does_not_keep_up(daemon: socket.socket, client: Syslog) -> None:
    """It waits for nobody."""
    assert [client.write(log.ERR, "x") for _ in range(2000)][-1] is False
    daemon.recv(1000)
    assert client.write(log.ERR, "x")


def test_after_a_fork(daemon: socket.socket, client: Syslog) -> None:
    """Each process says who it is; one that closes it takes nothing from the other."""
    client.write(log.ERR, "parent")
    pid = os.fork()
    if pid == 0:
        client.write(log.ERR, "child")
        client.close()
        os._exit(0)
    os.waitpid(pid, 0)
    client.write(log.ERR, "parent")
    assert [daemon.recv(1000).partition(b"lwsws")[2].decode() for _ in range(3)] == [
        f"[{os.getpid()}]: parent", f"[{pid}]: child", f"[{os.getpid()}]: parent"]


def test_the_log_writes_there(
    daemon: socket.socket, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log.to_syslog(open_syslog("lwsws", address))
    log.set_tag("4711")
    try:
        log.warn("one\ntwo")
        assert [daemon.recv(1000).partition(b"]: ")[2] for _ in range(2)] == [b"one", b"two"]
        assert capfd.readouterr().err == ""
        daemon.close()
        log.warn("three")
        assert capfd.readouterr().err.endswith("W: 4711: three\n")
    finally:
        log.to_syslog(None)
        log.set_tag("")
