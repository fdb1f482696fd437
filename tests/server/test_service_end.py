"""The service under its limits, and how it ends: what is open, what is left behind, what is logged."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from lwsws.core.connection import GRACE_SECONDS
from lwsws.net.bind_retry import RETRY_SECONDS
from lwsws.server.service import BindError, connection_limit
from tests.server.support import BIG, BODY, REQUEST, Disable, Host
from tests.support.docroot import open_fds
from tests.support.server import refuses


def waits(client: socket.socket) -> bool:
    """Whether nothing has come for the client yet."""
    try:
        return not client.recv(1)
    except BlockingIOError:
        return True


# How many connections.


def test_at_the_limit_the_next_ones_wait(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    service = host.started({"port": port}, max_connections=2)
    first, second = host.connect(port), host.connect(port)
    host.until(lambda: len(service.context.connections) == 2)
    assert "2 connections are open: accepting no more until one closes" in capfd.readouterr().err
    third = host.connect(port)
    third.sendall(REQUEST)
    second.sendall(REQUEST)
    assert host.received(second).endswith(BODY)
    host.settle()
    assert waits(third)
    first.close()
    assert host.received(third).endswith(BODY)
    assert len(service.context.connections) == 2
    # And so on.
    fourth = host.connect(port)
    fourth.sendall(REQUEST)
    host.settle()
    assert waits(fourth)
    third.close()
    assert host.received(fourth).endswith(BODY)
    assert capfd.readouterr().err.count("2 connections are open") == 2


def test_the_limit_counts_for_all_listeners_together(host: Host, port: int) -> None:
    path = str(host.home / "s")
    service = host.started({"port": port}, {"unix-socket": "1", "interface": path}, max_connections=1)
    first = host.connect(port)
    host.until(lambda: service.context.connections)
    second = host.connect(path)
    second.sendall(REQUEST)
    first.sendall(REQUEST)
    assert host.received(first).endswith(BODY)
    host.settle()
    assert waits(second)
    first.close()
    assert host.received(second).endswith(BODY)


def test_a_listener_that_comes_late_keeps_to_the_limit(host: Host, port: int, disable: Disable) -> None:
    unable = disable(socket.AF_INET, errno.EADDRNOTAVAIL, True)
    path = str(host.home / "s")
    host.started({"unix-socket": "1", "interface": path}, {"port": port}, max_connections=1)
    first = host.connect(path)
    first.sendall(REQUEST)
    assert host.received(first).endswith(BODY)
    unable.error = 0
    host.clock.advance(RETRY_SECONDS)
    host.settle()
    second = host.connect(port)
    second.sendall(REQUEST)
    host.settle()
    assert waits(second)
    first.close()
    assert host.received(second).endswith(BODY)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Sets the limit on open files for this test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit_files(count: int) -> None:
        gc.collect()    # of files that tests before have left open
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))

    yield limit_files
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("files, connections", [(1000, 936), (3200, 3000), (79, 16)])
def test_without_a_configured_limit_open_files_limit_connections(
    host: Host, port: int, limit_files: Callable[[int], None], files: int, connections: int
) -> None:
    limit_files(files)
    assert connection_limit() == connections
    # Certificates by ACME have files open.
    assert connection_limit(40) == max(16, connections - 40)
    assert host.service({"port": port}).max_connections == connections
    assert host.service({"port": port}, max_connections=7).max_connections == 7


# Stop.


def test_stop_with_nothing_open_ends_at_once(
    host: Host, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    service = host.started({"port": port})
    service.stop()
    host.reactor.run()
    assert refuses(("127.0.0.1", port))
    assert capfd.readouterr().err.endswith("N: stopping\n")


def test_stop_closes_idle_connections(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    service = host.started({"port": port})
    fresh, used = host.connect(port), host.connect(port)
    used.sendall(REQUEST)
    assert host.received(used).endswith(BODY)
    host.until(lambda: len(service.context.connections) == 2)
    host.clock.advance(GRACE_SECONDS)
    service.stop()
    host.reactor.run()
    assert not service.context.connections
    assert (fresh.recv(1), used.recv(1)) == (b"", b"")
    assert capfd.readouterr().err.endswith("N: stopping\n")


def test_stop_gives_those_a_moment_who_were_busy(
    host: Host, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    service = host.started({"port": port})
    slow, quick = host.connect(port), host.connect(port)
    for client in (slow, quick):
        client.sendall(REQUEST)
        assert host.received(client).endswith(BODY)
    host.clock.advance(GRACE_SECONDS - 0.1)
    service.stop()
    host.settle()
    assert "stopping: 2 connections still open, waiting up to 10 s" in capfd.readouterr().err
    quick.sendall(REQUEST)
    assert b"\r\nConnection: close\r\n" in host.received(quick)
    assert host.received(quick) == b""
    quick.close()
    assert waits(slow)
    host.clock.advance(0.1)
    host.reactor.run()
    assert slow.recv(1) == b""


@pytest.mark.parametrize("connects", ["long before", "just now"])
def test_a_request_that_is_there_already_is_answered(host: Host, port: int, connects: str) -> None:
    """It came while we were told to stop: on a connection that was idle for long, or was not accepted yet."""
    service = host.started({"port": port})
    if connects == "long before":
        client = host.connect(port)
        host.until(lambda: service.context.connections)
        host.clock.advance(5)
    else:
        client = host.connect(port)
    client.sendall(REQUEST)
    service.stop()
    answer = host.received(client)
    assert answer.endswith(BODY) and b"\r\nConnection: close\r\n" in answer
    client.close()
    host.reactor.run()
    assert refuses(("127.0.0.1", port))


def test_all_who_wait_in_the_backlog_are_served(host: Host, port: int) -> None:
    path = str(host.home / "s")
    service = host.started({"port": port}, {"unix-socket": "1", "interface": path})
    clients = [host.connect(address) for address in (port, path) for _ in range(100)]
    service.stop()
    assert service.context.accepted == len(clients)
    for client in clients:
        client.sendall(REQUEST)
        assert host.received(client).endswith(BODY)
        client.close()
    host.reactor.run()
    assert not os.path.exists(path)


def test_stop_takes_no_more_than_the_limit_allows(host: Host, port: int) -> None:
    service = host.started({"port": port}, max_connections=3)
    for _ in range(5):
        host.connect(port)
    service.stop()
    assert service.context.accepted == 3


def test_stop_lets_a_request_finish(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    service = host.started({"port": port})
    other = host.connect(port)
    other.sendall(REQUEST)      # so that the answer, which says nothing of an end, is remembered
    assert host.received(other).endswith(BODY)
    other.close()
    client = host.connect(port)
    client.sendall(REQUEST[:-2])
    host.settle()
    service.stop()
    assert refuses(("127.0.0.1", port))
    host.settle()
    assert "stopping: 1 connection still open, waiting up to 10 s" in capfd.readouterr().err
    client.sendall(REQUEST[-2:])
    answer = host.received(client)
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(BODY)
    assert host.received(client) == b""
    client.close()
    host.reactor.run()


def test_the_end_of_the_last_connection_is_not_the_end(host: Host, port: int) -> None:
    service = host.started({"port": port})
    host.connect(port).close()
    host.until(lambda: service.context.accepted)
    host.until(lambda: not service.context.connections)
    told: List[str] = []
    host.reactor.call_soon(lambda: told.append("still running"))
    host.reactor.call_soon(host.reactor.stop)
    host.reactor.run()
    assert told == ["still running"]


def test_stop_waits_no_longer_than_configured(host: Host, port: int) -> None:
    service = host.started({"port": port}, shutdown_timeout=3)
    client = host.stuck_download(port)
    service.stop()
    host.reactor.run_once(0)
    assert len(service.context.connections) == 1
    host.clock.advance(3)
    host.reactor.run()      # comes back: it was told to stop
    assert service.close()
    assert len(host.received(client, BIG)) < BIG


def test_stop_lets_a_download_finish(host: Host, port: int) -> None:
    service = host.started({"port": port})
    client = host.stuck_download(port)
    service.stop()
    client.sendall(REQUEST)     # the head has said that the connection goes on
    data = host.received(client, 2 * BIG)
    assert len(data) > BIG - (1 << 20)
    assert data.endswith(BODY) and b"\r\nConnection: close\r\n" in data
    client.close()
    host.reactor.run()
    assert not service.context.connections


def test_a_second_stop_ends_at_once(host: Host, port: int) -> None:
    service = host.started({"port": port})
    host.stuck_download(port)
    service.stop()
    service.stop()
    host.reactor.run()
    assert len(service.context.connections) == 1


# What is left behind.


@pytest.mark.parametrize("opened, begun", [(False, False), (True, False), (True, True)])
def test_close_leaves_no_descriptor_and_no_socket_file(
    host: Host, port: int, opened: bool, begun: bool
) -> None:
    host.reactor.run_once(0)
    before = open_fds()
    path = host.home / "s"
    service = host.service({"port": port, "interface": "", "access-log": str(host.home / "log")},
                           {"unix-socket": "1", "interface": str(path)},
                           {"port": port, "interface": "nope0"})
    if opened:
        service.open()
        assert path.exists()
    if begun:
        service.start()
    host.services.remove(service)
    service.close()
    del service
    assert open_fds() == before
    assert not path.exists()


def test_open_connections_are_closed_with_the_service(host: Host, port: int) -> None:
    host.reactor.run_once(0)
    before = open_fds()
    service = host.started({"port": port})
    client = host.stuck_download(port)
    service.close()
    host.reactor.run_once(0)
    client.close()
    assert len(open_fds()) <= len(before) + 1   # the docroot, held by its handler until that goes


def test_nobody_is_let_in_while_it_closes(host: Host, port: int) -> None:
    service = host.started({"port": port})
    host.connect(port)
    service.close()
    assert not service.context.accepted


def test_a_failing_start_leaves_no_descriptor(host: Host, port: int) -> None:
    before = open_fds()
    service = host.service({"port": port}, {"name": "b.test", "port": port, "interface": ""})
    with pytest.raises(BindError):
        service.open()
    host.services.remove(service)
    service.close()
    del service
    assert open_fds() == before
    assert refuses(("127.0.0.1", port))


def test_the_socket_of_a_running_server_survives_the_start_of_a_second_one(host: Host) -> None:
    """What is not ours is never deleted."""
    path = host.home / "s"
    host.started({"unix-socket": "1", "interface": str(path)})
    second = host.service({"unix-socket": "1", "interface": str(path)})
    with pytest.raises(BindError, match="another process listens on it"):
        second.open()
    second.close()
    assert path.exists()


def test_a_file_in_place_of_the_socket_survives_a_failing_start(host: Host) -> None:
    path = host.home / "precious"
    path.write_text("precious")
    service = host.service({"unix-socket": "1", "interface": str(path)})
    with pytest.raises(BindError, match="exists and is no socket"):
        service.open()
    service.close()
    assert path.exists()


def test_the_socket_of_the_next_server_survives_our_end(host: Host) -> None:
    """It may start while we finish what is open."""
    path = host.home / "s"
    service = host.started({"unix-socket": "1", "interface": str(path)})
    service.stop()
    host.started({"unix-socket": "1", "interface": str(path)})
    service.close()
    assert path.exists()


def test_a_name_with_at_is_abstract_as_in_the_original(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"@lwsws-test-{os.getpid()}"
    host.started({"unix-socket": "1", "interface": name})
    assert not os.path.exists(name)
    client = host.connect("\0" + name[1:])
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)


# Logs.


@pytest.mark.parametrize("processes", [1, 2])
def test_usr1_reopens_the_logs_by_name(
    host: Host, port: int, capfd: pytest.CaptureFixture[str], processes: int
) -> None:
    path = host.home / "log"
    service = host.started({"port": port, "access-log": str(path)}, count_processes=processes)
    client = host.connect(port)
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)
    path.rename(host.home / "log.1")
    service.reopen_logs()
    client.sendall(REQUEST)
    assert host.received(client).endswith(BODY)
    host.reactor.run_once(0)
    told = "N: reopened 1 access log\n" in capfd.readouterr().err
    assert told is (processes == 1)     # of several, each would say it
    assert [(host.home / name).read_text().count("GET /a.txt") for name in ("log.1", "log")] == [1, 1]


def test_what_was_broken_off_at_the_end_is_in_the_log(host: Host, port: int) -> None:
    path = host.home / "log"
    service = host.started({"port": port, "access-log": str(path)})
    host.stuck_download(port)
    service.stop()
    service.stop()
    host.reactor.run()
    service.close()
    host.services.remove(service)
    assert "GET /big.txt" in path.read_text()
