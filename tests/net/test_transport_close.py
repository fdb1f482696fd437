"""Transports: flush, half-close, linger, abort."""

from __future__ import annotations

import os
import socket
from typing import List

import pytest

from lwsws.net.linger import LINGER_BYTES, LINGER_SECONDS
from lwsws.net.output import FileSlice
from lwsws.net.reactor import BUFFER_BYTES, Reactor
from tests.net.support import (
    LARGE,
    Connected,
    CountingSelector,
    reset,
    settle,
    temporary_file,
    unix_pair,
)
from tests.support.clock import ManualClock


class TestClose:
    """close() without linger, and abort()."""

    def test_an_idle_one_closes_at_once_and_tells_later(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.close()
        assert conn.transport.closed
        assert conn.peer.recv(10) == b""
        assert conn.got.events == []
        conn.transport.close()
        conn.transport.close(linger=True)
        conn.transport.abort()
        settle(reactor)
        assert conn.got.events == ["closed"]

    def test_it_sends_what_is_queued_first(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.write(b"x" * LARGE)
        conn.transport.close()
        assert not conn.transport.closed
        assert conn.transport.closing
        conn.transport.write(b"dropped")
        released: List[str] = []
        conn.transport.write_file(FileSlice(0, 0, 10, lambda: released.append("file")))
        assert released == ["file"]
        assert conn.read_all() == b"x" * LARGE
        conn.spin(lambda: conn.got.over)
        assert conn.got.events == ["closed"]

    def test_it_does_not_read_while_it_flushes(
        self, conn: Connected, reactor: Reactor, selector: CountingSelector
    ) -> None:
        conn.transport.write(b"x" * LARGE)
        conn.transport.close()
        conn.peer.sendall(b"ignored")
        settle(reactor)
        reported = selector.reported
        settle(reactor, 20)
        assert (conn.got.events, selector.reported) == ([], reported)

    def test_a_peer_that_resets_while_it_flushes(self, tcp: Connected) -> None:
        tcp.transport.write(b"x" * LARGE)
        tcp.transport.close(linger=True)
        reset(tcp.peer)
        tcp.spin(lambda: tcp.got.over)
        assert tcp.got.events == ["lost"]

    def test_a_peer_that_closes_while_it_flushes(self, reactor: Reactor) -> None:
        made = Connected(reactor, *unix_pair())
        made.transport.start()
        made.transport.write(b"x" * LARGE)
        made.transport.close()
        made.peer.close()
        made.spin(lambda: made.got.over)
        assert made.got.events == ["lost"]
        made.finish()

    def test_abort_drops_what_is_queued(self, conn: Connected, reactor: Reactor) -> None:
        fd = temporary_file(b"x" * 100)
        conn.transport.write(b"x" * LARGE)
        conn.transport.write_file(FileSlice(fd, 0, 100, lambda: os.close(fd)))
        conn.transport.close()
        conn.transport.abort()
        conn.transport.abort()
        assert conn.transport.closed
        assert conn.transport.size == 0
        assert conn.got.events == []
        settle(reactor)
        assert conn.got.events == ["closed"]
        assert len(conn.read_all()) < LARGE

    def test_the_socket_is_closed_when_connection_lost_is_told(self, tcp: Connected) -> None:
        seen: List[int] = []
        tcp.got.on_lost = lambda: seen.append(tcp.transport.sock.fileno())
        reset(tcp.peer)
        tcp.spin(lambda: tcp.got.over)
        assert seen == [-1]


class TestHalfClose:
    """write_eof()."""

    def test_reading_goes_on(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.write(b"all I have")
        conn.transport.write_eof()
        conn.transport.write_eof()
        assert conn.peer.recv(100) == b"all I have"
        assert conn.peer.recv(100) == b""
        conn.transport.write(b"dropped")
        assert not conn.transport.closing
        conn.peer.sendall(b"still here")
        conn.spin(lambda: conn.got.data == b"still here")
        conn.transport.pause_reading()
        conn.transport.resume_reading()
        conn.peer.close()
        conn.spin(lambda: "eof" in conn.got.events)
        assert conn.got.events == ["data", "eof"]

    def test_fin_comes_after_what_is_queued(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.write(b"x" * LARGE)
        conn.transport.write_eof()
        conn.transport.write(b"dropped")
        assert conn.read_all() == b"x" * LARGE
        settle(reactor)
        assert not conn.transport.closed
        assert set(conn.got.events) == {"drained"}
        conn.transport.close()
        settle(reactor)
        assert conn.got.events[-2:] == ["drained", "closed"]

    def test_closing_while_fin_is_queued(self, conn: Connected) -> None:
        conn.transport.write(b"x" * LARGE)
        conn.transport.write_eof()
        conn.transport.close()
        assert conn.read_all() == b"x" * LARGE
        conn.spin(lambda: conn.got.over)
        assert conn.got.events == ["closed"]

    def test_a_peer_that_has_reset_before(self, tcp: Connected) -> None:
        reset(tcp.peer)
        tcp.transport.write_eof()
        tcp.spin(lambda: tcp.got.over)
        assert tcp.got.events == ["lost"]


class TestLinger:
    """close(linger=True): RFC 9112 9.6."""

    def test_a_peer_in_the_middle_of_sending_gets_the_answer(self, tcp: Connected, reactor: Reactor) -> None:
        """Closing with unread bytes would send a reset, and that may destroy the answer on its way."""
        tcp.peer.sendall(b"x" * 100_000)
        tcp.spin(lambda: "data" in tcp.got.events)
        tcp.transport.write(b"413")
        tcp.transport.close(linger=True)
        tcp.peer.sendall(b"y" * 50_000)
        assert tcp.read_all() == b"413"
        assert not tcp.transport.closed
        assert tcp.transport.closing
        received = len(tcp.got.data)
        tcp.peer.shutdown(socket.SHUT_WR)
        tcp.spin(lambda: tcp.got.over)
        assert tcp.got.events == ["data", "closed"]
        assert len(tcp.got.data) == received
        tcp.peer.setblocking(True)
        assert tcp.peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    @pytest.mark.parametrize("paused", [False, True])
    def test_it_flushes_first(self, conn: Connected, selector: CountingSelector, paused: bool) -> None:
        if paused:
            conn.transport.pause_reading()
        conn.peer.sendall(b"ignored")
        conn.transport.write(b"x" * LARGE)
        conn.transport.close(linger=True)
        assert conn.read_all() == b"x" * LARGE
        settle(conn.reactor)
        reported = selector.reported
        settle(conn.reactor, 20)
        assert (conn.got.over, selector.reported) == (False, reported)
        conn.peer.close()
        conn.spin(lambda: conn.got.over)
        assert conn.got.events == ["closed"]

    def test_it_ends_after_its_time(self, conn: Connected, reactor: Reactor, clock: ManualClock) -> None:
        conn.transport.close(linger=True)
        clock.advance(LINGER_SECONDS - 0.001)
        settle(reactor)
        assert conn.got.events == []
        clock.advance(0.001)
        reactor.run_once(0.0)
        assert conn.transport.closed
        assert conn.got.events == ["closed"]

    def test_it_reads_only_so_much(self, reactor: Reactor) -> None:
        made = Connected(reactor, *unix_pair())
        made.transport.start()
        made.transport.close(linger=True)
        thrown_away = 0
        while not made.transport.closed:
            assert thrown_away < LINGER_BYTES
            made.peer.sendall(b"x" * BUFFER_BYTES)
            thrown_away += BUFFER_BYTES
            reactor.run_once(0.0)
        assert thrown_away == LINGER_BYTES
        settle(reactor)
        assert made.got.events == ["closed"]
        made.finish()

    def test_nothing_to_wait_for_after_eof(self, conn: Connected, reactor: Reactor) -> None:
        conn.peer.shutdown(socket.SHUT_WR)
        conn.spin(lambda: "eof" in conn.got.events)
        conn.transport.close(linger=True)
        assert conn.transport.closed

    def test_a_reset_ends_it_quietly(self, tcp: Connected) -> None:
        tcp.transport.close(linger=True)
        reset(tcp.peer)
        tcp.spin(lambda: tcp.got.over)
        assert tcp.got.events == ["closed"]

    def test_abort_ends_it(self, conn: Connected, reactor: Reactor, clock: ManualClock) -> None:
        conn.transport.close(linger=True)
        conn.transport.close()
        conn.transport.resume_reading()
        conn.peer.sendall(b"ignored")
        settle(reactor)
        assert conn.transport.sock.fileno() != -1
        conn.transport.abort()
        assert conn.transport.closed
        settle(reactor)
        clock.advance(LINGER_SECONDS)
        settle(reactor)
        assert conn.got.events == ["closed"]

    def test_closing_in_data_received(self, conn: Connected, reactor: Reactor) -> None:
        def refuse() -> None:
            conn.transport.write(b"400")
            conn.transport.close(linger=True)

        conn.got.on_data = refuse
        conn.peer.sendall(b"junk")
        assert conn.read_all() == b"400"
        conn.peer.sendall(b"more junk")
        conn.peer.close()
        conn.spin(lambda: conn.got.over)
        assert (conn.got.data, conn.got.events) == (b"junk", ["data", "closed"])
