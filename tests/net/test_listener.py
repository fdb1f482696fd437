"""Listeners: accepting, pausing, and being out of fds."""

from __future__ import annotations

import errno
import os
import resource
import socket
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from lwsws.net import listener as listener_module
from lwsws.net.listener import MAX_ACCEPTS, QUIET_SECONDS, REST_SECONDS, Listener
from lwsws.net.reactor import Reactor
from tests.net.support import PATIENCE_SECONDS, CountingSelector, listen_tcp, settle, spin
from tests.support.clock import ManualClock
from tests.support.docroot import open_fds


class Server:
    """A listener on the loopback and what it accepted."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        sock = listen_tcp("127.0.0.1", 0, socket.AF_INET)
        self.address = sock.getsockname()
        self.accepted: List[Tuple[socket.socket, Any]] = []
        self.clients: List[socket.socket] = []
        self.on_accept: Callable[[], None] = lambda: None
        self.listener = Listener(reactor, sock, self._accept, "127.0.0.1:0")

    def _accept(self, sock: socket.socket, address: Any) -> None:
        self.accepted.append((sock, address))
        self.on_accept()

    def connect(self, count: int = 1) -> None:
        """Let clients connect; the kernel does so without us."""
        for _ in range(count):
            self.clients.append(socket.create_connection(self.address, PATIENCE_SECONDS))

    def close(self) -> None:
        """Close everything."""
        self.listener.close()
        for sock in self.clients:
            sock.close()
        for sock, _ in self.accepted:
            sock.close()


@pytest.fixture
def server(reactor: Reactor) -> Iterator[Server]:
    """A server that has started."""
    server = Server(reactor)
    server.listener.start()
    yield server
    server.close()


@pytest.fixture
def no_more_fds() -> Iterator[Callable[[bool], None]]:
    """Switches the lack of fds on and off."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def lack(lacking: bool) -> None:
        soft = limits[0]
        if lacking:
            soft = os.dup(0)  # the lowest free number is the first that is forbidden
            os.close(soft)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limits[1]))

    yield lack
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_it_hands_on_what_it_accepts(server: Server, reactor: Reactor) -> None:
    server.connect()
    spin(reactor, lambda: bool(server.accepted))
    sock, address = server.accepted[0]
    assert address == server.clients[0].getsockname()
    assert sock.gettimeout() == 0.0
    assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert not sock.get_inheritable()
    sock.send(b"hello")
    assert server.clients[0].recv(10) == b"hello"


def test_unix_sockets_too(reactor: Reactor, tmp_path: Any) -> None:
    path = str(tmp_path / "socket")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    accepted: List[Tuple[socket.socket, Any]] = []
    listener = Listener(reactor, sock, lambda sock, address: accepted.append((sock, address)), path)
    listener.start()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    reactor.run_once(PATIENCE_SECONDS)
    assert [address for _, address in accepted] == [""]
    assert accepted[0][0].family == socket.AF_UNIX
    listener.close()
    accepted[0][0].close()
    client.close()


def test_nothing_is_accepted_before_start(reactor: Reactor) -> None:
    server = Server(reactor)
    server.connect()
    settle(reactor)
    assert server.accepted == []
    server.listener.start()
    spin(reactor, lambda: bool(server.accepted))
    server.close()
    server.listener.start()


def test_a_pass_accepts_at_most_a_batch(server: Server, reactor: Reactor) -> None:
    """Those that are connected already want their turn, too."""
    server.connect(MAX_ACCEPTS + 6)
    reactor.run_once(PATIENCE_SECONDS)
    assert len(server.accepted) == MAX_ACCEPTS
    reactor.run_once(PATIENCE_SECONDS)
    assert len(server.accepted) == MAX_ACCEPTS + 6


class TestTakingWhatWaits:
    """Before a listener is closed, which would refuse those who wait."""

    def test_all_of_them_at_once(self, server: Server) -> None:
        server.connect(MAX_ACCEPTS + 6)
        server.listener.close(take_waiting=True)
        assert len(server.accepted) == MAX_ACCEPTS + 6
        with pytest.raises(ConnectionRefusedError):
            server.connect()

    def test_no_more_than_the_longest_queue(self, server: Server) -> None:
        """Others may keep the same queue open, and clients come without an end."""
        server.on_accept = server.connect
        server.connect()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(listener_module, "MAX_WAITING", 10)
            server.listener.close(take_waiting=True)
        assert len(server.accepted) == 10

    def test_none_before_it_has_started(self, reactor: Reactor) -> None:
        server = Server(reactor)
        server.connect()
        server.listener.close(take_waiting=True)
        assert server.accepted == []
        server.close()

    def test_none_while_it_is_paused_or_already_closed(self, server: Server) -> None:
        server.connect()
        server.listener.pause()
        server.listener.close(take_waiting=True)
        server.listener.close(take_waiting=True)
        assert server.accepted == []

    def test_no_more_once_it_is_paused(self, server: Server) -> None:
        """As at the limit on connections."""
        server.on_accept = server.listener.pause
        server.connect(3)
        server.listener.close(take_waiting=True)
        assert len(server.accepted) == 1

    def test_it_is_closed_also_if_the_owner_fails(self, server: Server) -> None:
        def faulty() -> None:
            raise ValueError("out of order")

        server.on_accept = faulty
        server.connect()
        with pytest.raises(ValueError):
            server.listener.close(take_waiting=True)
        assert server.listener.sock.fileno() == -1

    def test_nothing_is_left_of_it_where_fds_are_lacking(
        self, server: Server, reactor: Reactor, clock: ManualClock, no_more_fds: Callable[[bool], None]
    ) -> None:
        server.connect()
        before = open_fds()
        no_more_fds(True)
        server.listener.close(take_waiting=True)
        no_more_fds(False)
        clock.advance(REST_SECONDS)
        settle(reactor)
        # The socket and its reserve are gone.
        assert (server.accepted, len(open_fds())) == ([], len(before) - 2)


class TestPausing:
    """pause, resume and close, also in the middle of accepting."""

    def test_paused_clients_wait(self, server: Server, reactor: Reactor, selector: CountingSelector) -> None:
        seen = [server.listener.paused]
        server.listener.pause()
        server.listener.pause()
        seen.append(server.listener.paused)
        assert seen == [False, True]
        server.connect(2)
        reported = selector.reported
        settle(reactor)
        assert (server.accepted, selector.reported) == ([], reported)
        server.listener.resume()
        server.listener.resume()
        spin(reactor, lambda: len(server.accepted) == 2)

    def test_pausing_at_the_limit_in_the_middle_of_a_batch(self, server: Server, reactor: Reactor) -> None:
        def pause_at_three() -> None:
            if len(server.accepted) == 3:
                server.listener.pause()

        server.on_accept = pause_at_three
        server.connect(5)
        settle(reactor)
        assert len(server.accepted) == 3
        server.on_accept = lambda: None
        server.listener.resume()
        spin(reactor, lambda: len(server.accepted) == 5)

    def test_closing_in_the_middle_of_a_batch(self, server: Server, reactor: Reactor) -> None:
        server.on_accept = server.listener.close
        server.connect(3)
        settle(reactor)
        assert len(server.accepted) == 1
        assert server.listener.sock.fileno() == -1
        server.listener.close()
        server.listener.pause()
        server.listener.resume()
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_a_fault_of_the_owner_closes_that_connection_only(
    server: Server, reactor: Reactor, capfd: pytest.CaptureFixture[str]
) -> None:
    def faulty() -> None:
        server.on_accept = lambda: None
        raise ValueError("out of order")

    server.on_accept = faulty
    server.connect(2)
    spin(reactor, lambda: len(server.accepted) == 2)
    assert server.accepted[0][0].fileno() == -1
    assert server.clients[0].recv(10) == b""
    err = capfd.readouterr().err
    assert "ValueError: out of order" in err
    assert "of <Listener 127.0.0.1:0>" in err


class TestExhaustion:
    """LESSONS 3.37: out of fds."""

    def test_one_client_is_turned_away_and_the_others_wait(
        self,
        server: Server,
        reactor: Reactor,
        clock: ManualClock,
        selector: CountingSelector,
        no_more_fds: Callable[[bool], None],
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        server.connect(3)
        no_more_fds(True)
        settle(reactor)
        reported = selector.reported
        settle(reactor, 20)
        assert selector.reported == reported, "it does not rest"
        assert server.accepted == []
        assert server.clients[0].recv(10) == b""
        clock.advance(REST_SECONDS)
        settle(reactor)
        assert server.clients[1].recv(10) == b""
        no_more_fds(False)
        clock.advance(REST_SECONDS)
        settle(reactor)
        assert [address for _, address in server.accepted] == [server.clients[2].getsockname()]
        err = capfd.readouterr().err
        assert err.count("127.0.0.1:0: cannot accept, resting for 0.5 s at a time: Too many open files") == 1

    def test_the_reserve_is_taken_again_when_it_was_lost(
        self, server: Server, reactor: Reactor, clock: ManualClock, no_more_fds: Callable[[bool], None]
    ) -> None:
        """In the first round even the number of the reserve is forbidden."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        server.connect()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        settle(reactor)
        no_more_fds(False)
        clock.advance(REST_SECONDS)
        server.listener.pause()
        settle(reactor)
        no_more_fds(True)
        server.listener.resume()
        settle(reactor)
        assert server.clients[0].recv(10) == b""
        no_more_fds(False)
        clock.advance(REST_SECONDS)
        settle(reactor)
        for _ in range(3):
            server.connect()
            no_more_fds(True)
            settle(reactor)
            assert server.clients[-1].recv(10) == b""
            no_more_fds(False)
            clock.advance(REST_SECONDS)
            settle(reactor)
        assert server.accepted == []

    def test_it_is_logged_once_a_minute(
        self,
        server: Server,
        reactor: Reactor,
        clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        def exhausted(sock: socket.socket) -> Tuple[int, Any]:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        monkeypatch.setattr(listener_module, "accept_fd", exhausted)
        server.connect()
        for _ in range(int(QUIET_SECONDS / REST_SECONDS) + 1):
            settle(reactor, 3)
            clock.advance(REST_SECONDS)
        assert capfd.readouterr().err.count("Cannot allocate memory") == 2
        monkeypatch.undo()
        settle(reactor)
        assert len(server.accepted) == 1

    def test_pausing_and_resuming_while_it_rests(
        self,
        server: Server,
        reactor: Reactor,
        clock: ManualClock,
        selector: CountingSelector,
        no_more_fds: Callable[[bool], None],
    ) -> None:
        server.connect(2)
        no_more_fds(True)
        settle(reactor)
        no_more_fds(False)
        server.listener.pause()
        server.listener.resume()
        settle(reactor)
        assert server.accepted == []
        server.listener.pause()
        clock.advance(REST_SECONDS)
        settle(reactor)
        assert server.accepted == []
        server.listener.resume()
        spin(reactor, lambda: len(server.accepted) == 1)

    def test_closing_while_it_rests(
        self, server: Server, reactor: Reactor, clock: ManualClock, no_more_fds: Callable[[bool], None]
    ) -> None:
        server.connect()
        no_more_fds(True)
        settle(reactor)
        server.listener.close()
        no_more_fds(False)
        clock.advance(REST_SECONDS)
        settle(reactor)
        assert server.accepted == []


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH])
def test_a_connection_that_failed_in_the_queue_is_skipped(
    server: Server, reactor: Reactor, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = listener_module.accept_fd
    faults = [OSError(number, os.strerror(number))] * 2

    def accept_fd(sock: socket.socket) -> Tuple[int, Any]:
        if faults:
            raise faults.pop()
        return real(sock)

    monkeypatch.setattr(listener_module, "accept_fd", accept_fd)
    server.connect()
    reactor.run_once(PATIENCE_SECONDS)
    assert len(server.accepted) == 1


def test_a_socket_that_is_broken_for_good_does_not_spin(
    server: Server, reactor: Reactor, selector: CountingSelector, capfd: pytest.CaptureFixture[str]
) -> None:
    server.listener.sock.shutdown(socket.SHUT_RDWR)
    settle(reactor)
    reported = selector.reported
    settle(reactor, 20)
    assert selector.reported == reported
    assert capfd.readouterr().err.count("Invalid argument") == 1
