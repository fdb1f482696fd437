"""A service that a newer process has taken over from: no request is lost, and its last connection ends it."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any, Dict, Iterator, List

import pytest

from lwsws.net.bind_retry import RETRY_SECONDS
from lwsws.net.keeper import OwnKeeper
from lwsws.server.scoreboard import DEPRECATED, SERVING, STARTING, STOPPING, Row, Scoreboard
from lwsws.server.service import COUNT_SECONDS, JOB_SECONDS, ROW_SECONDS, Service
from tests.server.support import BODY, REQUEST, Disable, Host, SharedKeeper
from tests.support.server import connect
from tests.support.upgrade import UPGRADE
from tests.support.waiting import wait_until
from tests.support.ws_client import TEXT, frame

LONG = 200.0     # but shorter than the pause after which an idle session is pinged
LAST = b"\r\nConnection: close\r\n"
ECHO: Dict[str, Any] = {"ws-protocols": [{"lws-echo": {}}]}


@pytest.fixture
def keeper(host: Host) -> Iterator[SharedKeeper]:
    """That of all services of this test."""
    host.keeper = keeper = SharedKeeper(OwnKeeper())
    yield keeper
    keeper.close()


def answer(host: Host, client: socket.socket, request: bytes = REQUEST) -> bytes:
    """The answer to one more request of `client`."""
    client.sendall(request)
    return host.received(client)


def asked(host: Host, port: int, times: int = 1) -> socket.socket:
    """A client that has asked so often, and is idle."""
    client = host.connect(port)
    for _ in range(times):
        assert answer(host, client).endswith(BODY)
    return client


def said(capfd: pytest.CaptureFixture[str]) -> List[str]:
    """What it says of its connections."""
    lines = [line.partition("N: ")[2] for line in capfd.readouterr().err.splitlines()]
    return [line for line in lines if "connection" in line]


def ends(host: Host) -> None:
    """The service ends by itself."""
    host.reactor.run()


# Listening.


def test_with_nothing_open_it_ends_at_once(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    service = host.started({"port": port})
    service.deprecate()
    ends(host)
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))
    assert capfd.readouterr().err == ""     # the parent says it, once for all of its processes


def test_a_newer_one_takes_over_without_loss(host: Host, port: int, keeper: SharedKeeper) -> None:
    """Who was connected to the old one, or waits to be, is served by it, and all others by the new one."""
    path = str(host.home / "s")
    vhosts = ({"port": port}, {"unix-socket": "1", "interface": path})
    old = host.started(*vhosts)
    served = asked(host, port)
    new = host.service(*vhosts)
    new.open()
    waiting = [host.connect(address) for address in (port, path)]
    new.start()
    old.deprecate()
    later = [host.connect(address) for address in (port, path)]
    for client in (served, *waiting):
        assert LAST in answer(host, client)
    for client in later:
        assert LAST not in answer(host, client)
    assert (old.context.accepted, new.context.accepted) == (3, 2)
    assert os.path.exists(path)


def test_what_the_newer_one_does_not_listen_on_is_closed(host: Host, port: int) -> None:
    """Here nobody else has the socket: who waits is served, and nobody waits for nothing."""
    service = host.started({"port": port})
    client = host.connect(port)
    service.deprecate()
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))
    assert answer(host, client).endswith(BODY)


def test_an_address_is_not_waited_for_any_more(host: Host, port: int, disable: Disable) -> None:
    disable(socket.AF_INET, errno.EADDRNOTAVAIL, True)
    service = host.started({"port": port, "interface": "lo", "noipv6": "1"})
    service.deprecate()
    ends(host)
    host.clock.advance(RETRY_SECONDS)
    host.reactor.run_once(0)
    assert not service.context.accepted


# What is open goes on.


def test_idle_connections_are_left_open_and_told_with_their_next_answer(host: Host, port: int) -> None:
    service = host.started({"port": port, "keepalive-timeout": "100"})
    first, second = asked(host, port, times=4), asked(host, port)   # so the answer is remembered
    service.deprecate()
    host.clock.advance(99)
    host.settle()
    data = answer(host, first)
    assert data.endswith(BODY) and LAST in data
    assert host.received(first) == b""
    host.clock.advance(1)
    assert host.received(second) == b""
    first.close()
    ends(host)


def test_sessions_go_on_and_may_begin(host: Host, port: int) -> None:
    service = host.started({"port": port, **ECHO})
    before, after = host.connect(port), asked(host, port)
    assert b" 101 " in answer(host, before, UPGRADE)
    service.deprecate()
    assert b" 101 " in answer(host, after, UPGRADE)
    host.clock.advance(LONG)
    for client in (before, after):
        assert frame(TEXT, b"hello") in answer(host, client, frame(TEXT, b"hello", key=b"1234"))
    for client in (before, after):
        client.close()
    ends(host)


# How many are left, and the end.


def test_it_says_how_many_are_left_and_when_all_are_gone(
    host: Host, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    service = host.started({"port": port, **ECHO})
    clients = [host.connect(port) for _ in range(3)]
    for client in clients:
        assert b" 101 " in answer(host, client, UPGRADE)
    service.deprecate()
    service.deprecate()
    assert said(capfd) == ["deprecated: 3 connections still open"]
    clients.pop().close()
    clients.pop().close()
    host.until(lambda: len(service.context.connections) == 1)
    assert said(capfd) == []
    for lines in (["deprecated: 1 connection still open"], [], []):
        host.clock.advance(COUNT_SECONDS)
        host.settle()
        assert said(capfd) == lines
    clients.pop().close()
    ends(host)
    assert said(capfd) == []


def test_the_jobs_of_workers_are_done_first(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """A plugin may have begun one in its own name."""
    service = host.started({"port": port})
    go_on, done = threading.Event(), []
    service.workers.submit(go_on.wait, lambda result, error: done.append(result))
    try:
        wait_until(lambda: service.workers.busy == 1, "the job")
        service.deprecate()
        for _ in range(3):
            host.clock.advance(JOB_SECONDS)
            host.reactor.run_once(0)
        assert said(capfd) == []
    finally:
        go_on.set()
    host.until(lambda: done)
    host.clock.advance(JOB_SECONDS)
    ends(host)
    assert said(capfd) == []    # there was no connection


def test_after_some_time_it_stops(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    service = host.started({"port": port, **ECHO, "keepalive-timeout": "300"}, shutdown_timeout=5)
    session, idle = host.connect(port), asked(host, port)
    assert b" 101 " in answer(host, session, UPGRADE)
    service.deprecate(LONG)
    host.clock.advance(LONG - 1)
    host.settle()
    assert len(service.context.connections) == 2
    host.clock.advance(1)
    assert host.received(idle) == b""
    assert host.received(session).startswith(b"\x88")
    assert "stopping: 1 connection still open, waiting up to 5 s" in capfd.readouterr().err
    host.clock.advance(5)
    ends(host)


def test_stop_ends_it_sooner(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    service = host.started({"port": port}, shutdown_timeout=100, send_timeout=200)
    first, second = host.stuck_download(port), host.stuck_download(port)
    service.deprecate(2)
    service.stop()
    service.deprecate(2)
    host.clock.advance(2)   # what the deprecation would have ended by now is waited for
    host.settle()
    assert not ended(host)
    first.close()
    host.until(lambda: len(service.context.connections) == 1)
    host.clock.advance(COUNT_SECONDS)
    host.settle()
    assert said(capfd) == ["deprecated: 2 connections still open",
                           "stopping: 2 connections still open, waiting up to 100 s"]
    host.clock.advance(100)
    ends(host)
    second.close()


def ended(host: Host) -> bool:
    """Whether the reactor has been told to stop."""
    still: List[bool] = []
    host.reactor.call_soon(lambda: still.append(True))
    host.reactor.call_soon(lambda: host.reactor.call_soon(host.reactor.stop))
    host.reactor.run()
    return not still


# The scoreboard.


def test_what_it_says_on_the_scoreboard(host: Host, port: int) -> None:
    board = Scoreboard(1)
    host.slot = slot = board.slot(0)
    slot.write(Row(0, 7, 3, 1234))
    service: Service = host.service({"port": port, **ECHO})
    assert slot.row().state == STARTING
    service.open()
    service.start()
    assert slot.row() == Row(os.getpid(), 7, 3, 1234, SERVING)
    client = host.connect(port)
    assert b" 101 " in answer(host, client, UPGRADE)
    assert slot.row().connections == 0      # many may come at a time, so it is not said for each
    host.clock.advance(ROW_SECONDS)
    host.reactor.run_once(0)
    assert slot.row() == Row(os.getpid(), 7, 3, 1234, SERVING, connections=1, websockets=1, accepted=1)
    service.deprecate()
    assert slot.row().state == DEPRECATED
    service.stop()
    assert slot.row().state == STOPPING
    client.close()
    host.until(lambda: not service.context.connections)
    host.clock.advance(ROW_SECONDS)
    host.reactor.run_once(0)
    assert slot.row() == Row(os.getpid(), 7, 3, 1234, STOPPING, accepted=1)
