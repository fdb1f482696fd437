"""Transports: reading, EOF, losses, and what the receiver may do in the middle of its callbacks."""

from __future__ import annotations

import gc
import socket
import weakref
from functools import partial
from typing import Callable, List

import pytest

from lwsws.net.reactor import BUFFER_BYTES, Reactor
from lwsws.net.transport import ConnectionLost, Transport
from tests.net.support import LARGE, Connected, CountingSelector, Recorder, reset, settle, tcp_pair, unix_pair
from tests.support.clock import ManualClock


class TestReading:
    """Data and EOF."""

    def test_an_exchange(self, conn: Connected, clock: ManualClock) -> None:
        transport, got = conn.transport, conn.got
        assert transport.last_progress == 1000.0
        clock.advance(5.0)
        conn.peer.sendall(b"ping")
        conn.spin(lambda: got.data == b"ping")
        assert transport.last_progress == 1005.0
        clock.advance(1.0)
        settle(conn.reactor)
        transport.write(b"pong!")
        assert conn.peer.recv(100) == b"pong!"
        assert transport.last_progress == 1006.0
        assert (transport.bytes_received, transport.bytes_sent, transport.size) == (4, 5, 0)
        assert not transport.is_high
        assert not transport.closed
        assert not transport.closing
        assert got.events == ["data"]

    def test_nothing_is_read_before_start(self, reactor: Reactor, selector: CountingSelector) -> None:
        made = Connected(reactor, *unix_pair())
        made.peer.sendall(b"early")
        settle(reactor)
        assert (made.got.events, selector.changes) == ([], 0)
        made.transport.write(b"welcome")
        made.transport.start()
        settle(reactor)
        assert made.got.data == b"early"
        made.finish()

    def test_one_read_a_pass(self, reactor: Reactor) -> None:
        """LESSONS 3.39: who sends most gets no more turns than the others."""
        made = Connected(reactor, *unix_pair())
        reads: List[int] = []
        made.got.on_data = lambda: reads.append(len(made.got.data))
        made.transport.start()
        made.peer.sendall(b"x" * (BUFFER_BYTES + 1))
        reactor.run_once(0.0)
        assert len(reads) == 1
        made.spin(lambda: len(made.got.data) == BUFFER_BYTES + 1)
        made.finish()

    def test_the_way_from_idle_to_idle_changes_no_interest(
        self, reactor: Reactor, selector: CountingSelector
    ) -> None:
        made = Connected(reactor, *unix_pair())

        def answer() -> None:
            made.transport.pause_reading()
            made.transport.write(b"answer")
            made.transport.resume_reading()

        made.got.on_data = answer
        made.transport.start()
        assert selector.changes == 1
        for _ in range(10):
            made.peer.sendall(b"request")
            reactor.run_once(0.0)
            assert made.peer.recv(100) == b"answer"
        assert selector.changes == 1
        made.finish()

    def test_eof_is_told_once_and_writing_goes_on(
        self, conn: Connected, reactor: Reactor, selector: CountingSelector
    ) -> None:
        conn.peer.sendall(b"request")
        conn.peer.shutdown(socket.SHUT_WR)
        conn.spin(lambda: "eof" in conn.got.events)
        reported = selector.reported
        settle(reactor)
        conn.transport.resume_reading()
        settle(reactor)
        assert selector.reported == reported, "EOF keeps the loop busy"
        assert conn.got.events == ["data", "eof"]
        conn.transport.write(b"answer")
        conn.transport.close()
        assert conn.peer.recv(100) == b"answer"
        assert conn.peer.recv(100) == b""
        settle(reactor)
        assert conn.got.events == ["data", "eof", "closed"]

    def test_the_peer_is_asked_for_once(self, tcp: Connected) -> None:
        address = tcp.peer.getsockname()
        assert tcp.transport.peer == address
        tcp.transport.abort()
        assert tcp.transport.peer == address

    def test_a_peer_that_is_gone_has_no_address(self, reactor: Reactor) -> None:
        ours, peer = tcp_pair()
        made = Connected(reactor, ours, peer)
        reset(peer)
        assert made.transport.peer is None
        made.finish()
        known = Transport(reactor, ours, Recorder(), ("192.0.2.1", 5))
        assert known.peer == ("192.0.2.1", 5)


class TestPausing:
    """pause_reading and resume_reading."""

    def test_paused_gets_nothing_until_resumed(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.pause_reading()
        conn.peer.sendall(b"late")
        settle(reactor)
        assert conn.got.events == []
        conn.transport.resume_reading()
        conn.spin(lambda: conn.got.data == b"late")

    def test_pausing_in_the_middle_of_data_received(self, reactor: Reactor) -> None:
        made = Connected(reactor, *unix_pair())
        made.got.on_data = made.transport.pause_reading
        made.transport.start()
        made.peer.sendall(b"x" * BUFFER_BYTES + b"rest")
        settle(reactor)
        assert len(made.got.data) == BUFFER_BYTES
        made.transport.resume_reading()
        settle(reactor)
        assert made.got.data[BUFFER_BYTES:] == b"rest"
        made.finish()

    def test_paused_and_readable_does_not_spin(
        self, conn: Connected, reactor: Reactor, selector: CountingSelector
    ) -> None:
        conn.transport.pause_reading()
        conn.peer.sendall(b"data nobody wants yet")
        reactor.run_once(5.0)
        reported = selector.reported
        settle(reactor)
        assert selector.reported == reported

    @pytest.mark.parametrize("end", ["close", "reset"])
    def test_a_peer_that_vanishes_while_paused_does_not_spin(
        self, reactor: Reactor, selector: CountingSelector, end: str
    ) -> None:
        """The kernel reports a hang-up to everyone who watches, so we must not watch."""
        made = Connected(reactor, *tcp_pair())
        made.transport.start()
        made.transport.pause_reading()
        made.peer.sendall(b"last words")
        if end == "close":
            made.transport.write_eof()
            assert made.peer.recv(1) == b""
            made.peer.close()
        else:
            reset(made.peer)
        settle(reactor)
        reported = selector.reported
        settle(reactor, 20)
        assert selector.reported == reported
        assert made.got.events == []
        made.transport.resume_reading()
        made.spin(lambda: made.got.over or "eof" in made.got.events)
        assert made.got.events[-1] == ("eof" if end == "close" else "lost")
        made.finish()

    def test_a_unix_peer_that_vanishes_while_paused_keeps_its_data(
        self, reactor: Reactor, selector: CountingSelector
    ) -> None:
        made = Connected(reactor, *unix_pair())
        made.transport.start()
        made.transport.pause_reading()
        made.peer.sendall(b"last words")
        made.peer.close()
        settle(reactor)
        reported = selector.reported
        settle(reactor, 20)
        assert selector.reported == reported
        made.transport.resume_reading()
        settle(reactor)
        assert (made.got.data, made.got.events) == (b"last words", ["data", "eof"])
        made.finish()


class TestLosses:
    """The peer breaks the connection: connection_lost exactly once, and never in the middle of a call."""

    def test_a_reset_is_told(self, tcp: Connected) -> None:
        reset(tcp.peer)
        tcp.spin(lambda: tcp.got.over)
        assert tcp.got.events == ["lost"]
        assert isinstance(tcp.got.loss, ConnectionLost)
        assert str(tcp.got.loss) == "Connection reset by peer"
        assert tcp.transport.closed
        assert tcp.transport.closing

    def test_a_loss_found_by_write_is_told_later(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.pause_reading()
        if conn.peer.family == socket.AF_UNIX:
            conn.peer.close()
        else:
            reset(conn.peer)
        conn.transport.write(b"x")
        assert conn.got.events == []
        assert conn.transport.closed
        conn.transport.write(b"dropped")
        conn.transport.write_eof()
        conn.transport.close()
        conn.transport.abort()
        conn.transport.resume_reading()
        settle(reactor)
        assert conn.got.events == ["lost"]

    def test_a_loss_in_the_middle_of_data_received(self, tcp: Connected, reactor: Reactor) -> None:
        """The receiver answers a peer that has reset meanwhile: its own code runs to the end first."""
        order: List[str] = []

        def answer() -> None:
            reset(tcp.peer)
            for _ in range(3):
                tcp.transport.write(b"answer")
            order.append("answered")

        tcp.got.on_data = answer
        tcp.got.on_lost = lambda: order.append("lost")
        tcp.peer.sendall(b"request")
        tcp.spin(lambda: tcp.got.over)
        settle(reactor)
        assert order == ["answered", "lost"]
        assert tcp.got.events == ["data", "lost"]

    def test_a_reset_while_output_is_queued(self, tcp: Connected, reactor: Reactor) -> None:
        tcp.transport.write(b"x" * LARGE)
        assert tcp.transport.size > 0
        reset(tcp.peer)
        tcp.spin(lambda: tcp.got.over)
        assert tcp.got.events == ["lost"]
        assert (tcp.transport.size, tcp.transport.is_high) == (0, False)

    def test_eof_while_output_is_queued(self, conn: Connected) -> None:
        conn.transport.write(b"x" * LARGE)
        conn.peer.shutdown(socket.SHUT_WR)
        conn.spin(lambda: conn.got.events == ["eof"])
        conn.transport.close()
        assert len(conn.read_all()) == LARGE
        conn.spin(lambda: conn.got.over)
        assert conn.got.events == ["eof", "closed"]


class TestReentrance:
    """The receiver ends the transport in the middle of a callback."""

    @pytest.mark.parametrize("end", ["close", "abort"])
    @pytest.mark.parametrize("where", ["data", "eof"])
    def test_ending_it_in_a_callback(self, conn: Connected, reactor: Reactor, where: str, end: str) -> None:
        order: List[str] = []
        finish: Callable[[], None] = getattr(conn.transport, end)

        def ended() -> None:
            finish()
            finish()
            conn.transport.resume_reading()
            order.append("returned")

        if where == "data":
            conn.got.on_data = ended
        else:
            conn.got.on_eof = ended
        conn.got.on_lost = lambda: order.append("told")
        conn.peer.sendall(b"x")
        if where == "eof":
            conn.peer.shutdown(socket.SHUT_WR)
        conn.spin(lambda: conn.got.over)
        settle(reactor)
        assert order == ["returned", "told"]
        assert conn.got.events == (["data", "closed"] if where == "data" else ["data", "eof", "closed"])

    def test_ending_it_in_connection_lost(self, tcp: Connected, reactor: Reactor) -> None:
        def again() -> None:
            tcp.transport.abort()
            tcp.transport.close()
            tcp.transport.write(b"x")

        tcp.got.on_lost = again
        reset(tcp.peer)
        tcp.spin(lambda: tcp.got.over)
        settle(reactor)
        assert tcp.got.events == ["lost"]

    def test_a_transport_ended_by_another_hears_nothing_of_what_was_ready(self, reactor: Reactor) -> None:
        """Both are readable in one pass; whoever comes first aborts the other and opens a third on its fd."""
        pairs = [Connected(reactor, *unix_pair()) for _ in range(2)]
        third: List[Connected] = []

        def replace(other: Connected) -> None:
            other.transport.abort()
            made = Connected(reactor, *unix_pair())
            made.transport.start()
            third.append(made)

        numbers = [made.transport.sock.fileno() for made in pairs]
        for made, other in (pairs, pairs[::-1]):
            made.got.on_data = partial(replace, other)
            made.transport.start()
            made.peer.sendall(b"x")
        reactor.run_once(0.0)
        assert len(third) == 1
        assert third[0].transport.sock.fileno() in numbers
        settle(reactor)
        assert third[0].got.events == []
        assert sorted(made.got.events for made in pairs) == [["closed"], ["data"]]
        third[0].peer.sendall(b"hello")
        settle(reactor)
        assert third[0].got.data == b"hello"
        for made in (*pairs, *third):
            made.finish()

    @pytest.mark.parametrize("where", ["data", "eof", "drained"])
    def test_a_fault_of_the_receiver_ends_the_connection(
        self, conn: Connected, reactor: Reactor, where: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def faulty() -> None:
            raise ValueError("out of order")

        if where == "data":
            conn.got.on_data = faulty
        elif where == "eof":
            conn.got.on_eof = faulty
        else:
            conn.got.on_drained = faulty
            conn.transport.write(b"x" * LARGE)
            conn.peer.setblocking(False)
            while conn.transport.size:
                try:
                    conn.peer.recv(1 << 20)
                except BlockingIOError:
                    reactor.run_once(0.01)
        if where != "drained":
            conn.peer.sendall(b"x")
            conn.peer.shutdown(socket.SHUT_WR)
        conn.spin(lambda: conn.got.over)
        settle(reactor)
        assert conn.got.events.count("lost") == 1
        err = capfd.readouterr().err
        assert err.count("ValueError: out of order") == 1
        assert "Transport._ready of <Transport fd" in err


def test_a_closed_transport_lets_its_owner_go(reactor: Reactor) -> None:
    """No circle is left that only the cyclic collector could free."""
    made = Connected(reactor, *unix_pair())
    owner = weakref.ref(made.got)
    transport = made.transport
    transport.start()
    gc.disable()
    try:
        made.finish()
        del made
        assert owner() is None
    finally:
        gc.enable()
    assert transport.closed


def test_its_name_says_whose_it_is(reactor: Reactor) -> None:
    made = Connected(reactor, *unix_pair())
    assert repr(made.transport).startswith(f"<Transport fd {made.transport.sock.fileno()} OPEN of <")
    made.finish()
    assert "CLOSED" in repr(made.transport)
