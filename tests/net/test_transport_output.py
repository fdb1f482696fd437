"""Transports: writing, files, watermarks."""

from __future__ import annotations

import errno
import os
import socket
import struct
from functools import partial
from typing import Iterator, List

import pytest

from lwsws.net.output import FileSlice
from lwsws.net.reactor import Reactor
from lwsws.net.transport import HIGH, LOW, SENDFILE_CHUNK, ConnectionLost
from tests.net.support import (
    LARGE,
    PASSES,
    Connected,
    CountingSelector,
    fill_unix_buffer,
    reset,
    settle,
    tcp_pair,
    temporary_file,
    unix_pair,
)

# In struct tcp_info of linux/tcp.h.
TCPI_DATA_SEGS_IN = 152


@pytest.fixture
def conn(reactor: Reactor) -> Iterator[Connected]:
    """A started transport on a unix socket with a small send buffer."""
    ours, peer = unix_pair()
    fill_unix_buffer(ours)
    made = Connected(reactor, ours, peer)
    made.transport.start()
    yield made
    made.finish()
    assert made.got.over, "connection_lost was never told"


def take(conn: Connected, count: int) -> bytes:
    """Let the peer take exactly `count` bytes, with the reactor running meanwhile."""
    conn.peer.setblocking(False)
    taken = bytearray()
    for _ in range(PASSES):
        if len(taken) == count:
            return bytes(taken)
        try:
            taken += conn.peer.recv(count - len(taken))
        except BlockingIOError:
            conn.reactor.run_once(0.01)
    raise AssertionError(f"only {len(taken)} bytes came")


def content(size: int) -> bytes:
    """Bytes of which each part is different."""
    return b"".join(struct.pack(">I", number) for number in range(size // 4 + 1))[:size]


class TestWriting:
    """Order, interest, and drained()."""

    def test_what_the_socket_does_not_take_is_sent_later(
        self, conn: Connected, reactor: Reactor, selector: CountingSelector
    ) -> None:
        sent = content(200_000)
        conn.transport.write(sent[:100_000])
        assert conn.transport.size > 0
        conn.transport.write(sent[100_000:100_007])
        conn.transport.write(sent[100_007:])
        assert conn.transport.size + conn.transport.bytes_sent == 200_000
        assert take(conn, 200_000) == sent
        settle(reactor)
        assert conn.transport.size == 0
        assert conn.transport.bytes_sent == 200_000
        assert conn.got.events == ["drained"]
        reported = selector.reported
        settle(reactor)
        assert selector.reported == reported, "write interest is left on"

    def test_a_write_that_completes_at_once_drains_nothing(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.write(b"small")
        settle(reactor)
        assert conn.got.events == []

    def test_write_interest_is_changed_once_on_and_once_off(
        self, conn: Connected, reactor: Reactor, selector: CountingSelector
    ) -> None:
        changes = selector.changes
        conn.transport.write(b"x" * 100_000)
        take(conn, 100_000)
        settle(reactor)
        assert selector.changes == changes + 2

    def test_a_producer_that_writes_in_drained_keeps_the_interest(
        self, conn: Connected, reactor: Reactor, selector: CountingSelector
    ) -> None:
        rounds: List[int] = []

        def produce() -> None:
            if len(rounds) < 5:
                rounds.append(1)
                conn.transport.write(b"x" * 50_000)

        conn.got.on_drained = produce
        changes = selector.changes
        produce()
        take(conn, 250_000)
        settle(reactor)
        assert len(conn.got.events) == 5
        assert selector.changes == changes + 2

    def test_reading_goes_on_while_output_waits(self, conn: Connected, reactor: Reactor) -> None:
        conn.transport.write(b"x" * 100_000)
        conn.peer.sendall(b"more")
        settle(reactor)
        assert conn.got.data == b"more"

    def test_a_slow_reader_is_not_spun_on(self, conn: Connected, selector: CountingSelector) -> None:
        conn.transport.write(b"x" * 100_000)
        settle(conn.reactor)
        reported = selector.reported
        settle(conn.reactor, 20)
        assert selector.reported == reported


class TestWatermarks:
    """LESSONS 3.40: who fills the queue of a slow reader is told to stop, and when to go on."""

    def test_high_above_high_until_below_low(self, conn: Connected, reactor: Reactor) -> None:
        transport = conn.transport
        seen = []
        for size in (HIGH, lambda: HIGH - transport.size, 1):
            transport.write(b"x" * (size() if callable(size) else size))
            seen.append((transport.is_high, transport.size > HIGH))
        assert seen == [(False, False), (False, False), (True, True)]
        taken = 0
        while transport.is_high:
            before = transport.size
            taken += len(take(conn, 1000))
            settle(reactor, 1)
            assert (transport.size < LOW) == (conn.got.events != [])
        assert before >= LOW
        assert conn.got.events == ["drained"]
        take(conn, transport.bytes_sent + transport.size - taken)
        settle(reactor)
        assert conn.got.events == ["drained", "drained"]

    def test_low_is_told_once_per_high(self, conn: Connected, reactor: Reactor) -> None:
        transport = conn.transport
        for _ in range(2):
            transport.write(b"x" * (2 * HIGH))
            assert transport.is_high
            while transport.is_high:
                take(conn, 1000)
        settle(reactor)
        assert conn.got.events == ["drained", "drained"]

    @pytest.mark.parametrize("end", ["abort", "close"])
    @pytest.mark.parametrize("left", ["nothing", "something"])
    def test_ending_it_in_drained(self, conn: Connected, reactor: Reactor, end: str, left: str) -> None:
        """From the drained() at LOW something is left; at the empty queue nothing is."""

        def finish() -> None:
            if (conn.transport.size > 0) == (left == "something"):
                getattr(conn.transport, end)()

        conn.got.on_drained = finish
        conn.transport.write(b"x" * (2 * HIGH))
        assert len(conn.read_all(1000)) <= 2 * HIGH
        conn.spin(lambda: conn.got.over)
        settle(reactor)
        expected = ["drained", "closed"] if left == "something" else ["drained", "drained", "closed"]
        assert conn.got.events == expected
        assert conn.transport.bytes_sent == 2 * HIGH or end == "abort"

    def test_close_stops_the_drained_calls(self, conn: Connected) -> None:
        conn.transport.write(b"x" * (2 * HIGH))
        conn.transport.close()
        assert len(conn.read_all()) == 2 * HIGH
        conn.spin(lambda: conn.got.over)
        assert conn.got.events == ["closed"]


class TestFiles:
    """write_file."""

    def test_head_file_and_tail_in_order(self, conn: Connected, reactor: Reactor) -> None:
        sent = content(300_000)
        fd = temporary_file(sent)
        released: List[str] = []
        conn.transport.write(b"head", more=True)
        conn.transport.write_file(FileSlice(fd, 1000, 250_000, lambda: released.append("first")))
        assert conn.transport.is_high == (conn.transport.size > HIGH)
        conn.transport.write(b"between")
        conn.transport.write_file(FileSlice(fd, 0, 300_000, lambda: released.append("second")))
        conn.transport.write(b"tail")
        expected = b"head" + sent[1000:251_000] + b"between" + sent + b"tail"
        assert conn.transport.size + conn.transport.bytes_sent == len(expected)
        assert conn.transport.is_high
        conn.transport.close()
        assert conn.read_all() == expected
        conn.spin(lambda: conn.got.over)
        assert released == ["first", "second"]
        assert conn.transport.bytes_sent == len(expected)
        os.close(fd)

    def test_a_small_file_goes_at_once(self, reactor: Reactor, selector: CountingSelector) -> None:
        made = Connected(reactor, *unix_pair())
        fd = temporary_file(b"0123456789")
        released: List[str] = []
        made.transport.write(b"head:", more=True)
        made.transport.write_file(FileSlice(fd, 2, 3, lambda: released.append("file")))
        assert (released, made.transport.size, made.transport.bytes_sent) == (["file"], 0, 8)
        assert made.peer.recv(100) == b"head:234"
        assert selector.changes == 0
        made.transport.write(b"next")
        assert made.peer.recv(100) == b"next"
        made.finish()
        os.close(fd)

    def test_an_empty_slice(self, conn: Connected, reactor: Reactor) -> None:
        released: List[str] = []
        conn.transport.write_file(FileSlice(0, 0, 0, lambda: released.append("file")))
        conn.transport.write(b"x")
        assert (released, conn.peer.recv(10)) == (["file"], b"x")

    def test_a_pass_sends_at_most_a_chunk(self, reactor: Reactor) -> None:
        made = Connected(reactor, *unix_pair())
        made.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * SENDFILE_CHUNK)
        fd = temporary_file(b"x" * (3 * SENDFILE_CHUNK))
        made.transport.write_file(FileSlice(fd, 0, 3 * SENDFILE_CHUNK, lambda: os.close(fd)))
        before = made.transport.bytes_sent
        assert before <= SENDFILE_CHUNK
        made.transport.close()
        made.peer.setblocking(False)
        while not made.got.over:
            reactor.run_once(0.01)
            assert made.transport.bytes_sent - before <= SENDFILE_CHUNK
            before = made.transport.bytes_sent
            try:
                while made.peer.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
        assert before == 3 * SENDFILE_CHUNK
        made.finish()

    def test_a_file_that_was_cut_breaks_off(self, conn: Connected, reactor: Reactor) -> None:
        """Never a false end: a peer that counts must see that bytes are missing."""
        fd = temporary_file(b"x" * 400_000)
        released: List[str] = []
        conn.transport.write_file(FileSlice(fd, 0, 400_000, lambda: released.append("file")))
        conn.transport.write(b"next answer")
        os.ftruncate(fd, 200_000)
        conn.transport.close()
        assert len(conn.read_all()) == 200_000
        conn.spin(lambda: conn.got.over)
        assert conn.got.events == ["lost"]
        assert isinstance(conn.got.loss, ConnectionLost)
        assert "a file ended 200000 bytes before its promised size" in str(conn.got.loss)
        assert released == ["file"]
        os.close(fd)

    def test_a_file_shorter_than_promised_from_the_start(self, conn: Connected, reactor: Reactor) -> None:
        fd = temporary_file(b"")
        conn.transport.write_file(FileSlice(fd, 0, 10, lambda: os.close(fd)))
        assert conn.got.events == []
        settle(reactor)
        assert conn.got.events == ["lost"]

    def test_a_reset_releases_the_files(self, reactor: Reactor) -> None:
        made = Connected(reactor, *tcp_pair())
        made.transport.start()
        fd = temporary_file(b"x" * LARGE)
        released: List[str] = []
        for name in ("sending", "waiting"):
            made.transport.write_file(FileSlice(fd, 0, LARGE, partial(released.append, name)))
        reset(made.peer)
        made.spin(lambda: made.got.over)
        assert (made.got.events, released) == (["lost"], ["sending", "waiting"])
        made.transport.write_file(FileSlice(fd, 0, 10, lambda: released.append("late")))
        assert released[2:] == ["late"]
        made.finish()
        os.close(fd)

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
    def test_without_sendfile_it_is_read_and_sent(
        self, conn: Connected, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unsupported(*args: int) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "sendfile", unsupported)
        sent = content(300_000)
        fd = temporary_file(sent)
        conn.transport.write(b"head", more=True)
        conn.transport.write_file(FileSlice(fd, 7, 299_993, lambda: os.close(fd)))
        conn.transport.close()
        assert conn.read_all() == b"head" + sent[7:]

    def test_other_faults_of_sendfile_end_the_connection(
        self, conn: Connected, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: int) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "sendfile", broken)
        fd = temporary_file(b"content")
        conn.transport.write_file(FileSlice(fd, 0, 7, lambda: os.close(fd)))
        settle(reactor)
        assert conn.got.events == ["lost"]
        assert str(conn.got.loss) == "Input/output error"

    def test_head_and_file_share_a_packet(self, reactor: Reactor) -> None:
        """The kernel waits 200 ms for what follows MSG_MORE; if the machine made us late, try again."""
        assert 1 in [self.segments_of_head_and_file(reactor) for _ in range(3)]

    def segments_of_head_and_file(self, reactor: Reactor) -> int:
        """How many segments with data the peer got."""
        made = Connected(reactor, *tcp_pair())
        fd = temporary_file(b"body" * 10)
        made.transport.write(b"head", more=True)
        made.transport.write_file(FileSlice(fd, 0, 40, lambda: os.close(fd)))
        made.transport.close()
        assert made.read_all() == b"head" + b"body" * 10
        info = made.peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        made.finish()
        return int(struct.unpack_from("=I", info, TCPI_DATA_SEGS_IN)[0])
