"""TLS transports: writing, records, files, watermarks, and OpenSSL's wish for the same bytes again."""

from __future__ import annotations

import os
import random
import socket
import ssl
from functools import partial
from typing import List

import pytest

from lwsws.net.output import FileSlice
from lwsws.net.tls_records import BLOCK_BYTES
from lwsws.net.tls_transport import RECORD_BYTES
from lwsws.net.transport import HIGH, LOW, SENDFILE_CHUNK, ConnectionLost
from tests.net.support import CountingSelector, reset, settle, temporary_file
from tests.net.tls_support import Secured

# A record is longer than what it holds by a head, a nonce or type, and a tag.
OVERHEAD = 40
MANY = 2_000_000


def content(size: int) -> bytes:
    """Bytes of which each part is different."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


def records_of(made: Secured, count: int) -> int:
    """In how many records the next `count` bytes came."""
    before = len(made.client.records)
    made.read(count)
    return len(made.client.records) - before


class TestRecords:
    """What goes out together."""

    def test_a_small_write_goes_at_once(self, secured: Secured, selector: CountingSelector) -> None:
        changes = selector.changes
        secured.transport.write(b"small")
        assert (secured.transport.bytes_sent, secured.transport.size) == (5, 0)
        assert secured.read(5) == b"small"
        secured.transport.write(b"")
        settle(secured.reactor)
        assert (secured.got.events, selector.changes) == ([], changes)

    def test_full_records(self, secured: Secured) -> None:
        secured.transport.write(b"x" * (3 * RECORD_BYTES))
        assert records_of(secured, 3 * RECORD_BYTES) == 3

    def test_head_and_small_file_share_a_record(self, secured: Secured) -> None:
        fd = temporary_file(b"0123456789")
        released: List[str] = []
        secured.transport.write(b"head:", more=True)
        assert secured.transport.size == 5
        secured.transport.write_file(FileSlice(fd, 2, 3, partial(released.append, "file")))
        assert (released, secured.transport.size, secured.transport.bytes_sent) == (["file"], 0, 8)
        before = len(secured.client.records)
        assert secured.read(8) == b"head:234"
        assert len(secured.client.records) == before + 1
        os.close(fd)

    def test_head_and_large_file_fill_their_records(self, secured: Secured) -> None:
        fd = temporary_file(content(100_000))
        secured.transport.write(b"head", more=True)
        secured.transport.write_file(FileSlice(fd, 0, 100_000, partial(os.close, fd)))
        before = len(secured.client.records)
        assert secured.read(100_004) == b"head" + content(100_000)
        assert len(secured.client.records) == before + 7

    @pytest.mark.parametrize("then", ["write", "empty file", "eof", "close"])
    def test_a_head_is_not_held_for_ever(self, secured: Secured, then: str) -> None:
        secured.transport.write(b"head", more=True)
        if then == "write":
            secured.transport.write(b"body")
        elif then == "empty file":
            secured.transport.write_file(FileSlice(0, 0, 0))
        elif then == "eof":
            secured.transport.write_eof()
        else:
            secured.transport.close()
        expected = b"headbody" if then == "write" else b"head"
        assert secured.read(len(expected)) == expected

    def test_small_writes_that_wait_are_joined(self, tight: Secured) -> None:
        tight.transport.write(b"x" * RECORD_BYTES)
        for number in range(1000):
            tight.transport.write(b"%03d" % number)
        before = len(tight.client.records)
        data = tight.read(RECORD_BYTES + 3000)
        assert data == b"x" * RECORD_BYTES + b"".join(b"%03d" % number for number in range(1000))
        assert len(tight.client.records) == before + 2


class TestOrder:
    """All bytes once and in order, whatever the socket takes."""

    def test_many_pieces_through_a_small_buffer(self, tight: Secured) -> None:
        """Each write that finds no room is tried again, with more behind it by then."""
        chance = random.Random(5)
        sent = bytearray()
        received = bytearray()
        for number in range(300):
            size = chance.choice((1, 100, 5000, RECORD_BYTES, RECORD_BYTES + 1, 70_000))
            piece = bytes([number % 251]) * size
            if chance.random() < 0.2:
                fd = temporary_file(piece)
                tight.transport.write_file(FileSlice(fd, 0, size, partial(os.close, fd)))
            else:
                tight.transport.write(piece, more=chance.random() < 0.2)
            sent += piece
            if chance.random() < 0.5:
                settle(tight.reactor, 1)
            assert tight.transport.size + tight.transport.bytes_sent == len(sent)
            while tight.transport.is_high:
                received += tight.read(1000)
        tight.transport.write(b"!")
        sent += b"!"
        received += tight.read(len(sent) - len(received))
        assert received == sent
        settle(tight.reactor)
        assert (tight.transport.bytes_sent, tight.transport.size) == (len(sent), 0)
        assert tight.got.events[-1] == "drained"

    def test_a_write_that_is_not_taken_at_once_is_whole_again(self, tight: Secured) -> None:
        for size in (RECORD_BYTES, BLOCK_BYTES, BLOCK_BYTES + 1, MANY):
            sent = content(size)
            tight.transport.write(sent)
            assert tight.transport.size > 0
            tight.transport.write(b"+")
            assert tight.read(size + 1) == sent + b"+"

    def test_head_file_and_tail(self, tight: Secured) -> None:
        sent = content(300_000)
        fd = temporary_file(sent)
        released: List[str] = []
        tight.transport.write(b"head", more=True)
        tight.transport.write_file(FileSlice(fd, 1000, 250_000, partial(released.append, "first")))
        tight.transport.write(b"between")
        tight.transport.write_file(FileSlice(fd, 0, 300_000, partial(released.append, "second")))
        tight.transport.write(b"tail")
        expected = b"head" + sent[1000:251_000] + b"between" + sent + b"tail"
        assert tight.transport.size + tight.transport.bytes_sent == len(expected)
        assert tight.transport.is_high
        tight.transport.close()
        assert tight.read_all() == expected
        tight.spin(lambda: tight.got.over)
        assert released == ["first", "second"]
        assert tight.transport.bytes_sent == len(expected)
        os.close(fd)

    def test_reading_goes_on_while_output_waits(self, tight: Secured) -> None:
        tight.transport.write(b"x" * MANY)
        tight.send(b"more")
        assert tight.got.data == b"more"

    def test_a_slow_reader_is_not_spun_on(self, tight: Secured, selector: CountingSelector) -> None:
        tight.transport.write(b"x" * MANY)
        settle(tight.reactor)
        reported = selector.reported
        settle(tight.reactor, 20)
        assert selector.reported == reported


class TestWatermarks:
    """LESSONS 3.40: who fills the queue of a slow reader is told to stop, and when to go on."""

    def test_high_above_high_until_below_low(self, tight: Secured) -> None:
        transport = tight.transport
        seen = []
        for size in (HIGH, 2 * HIGH):
            transport.write(b"x" * size)
            seen.append(transport.is_high)
        assert seen == [False, True]
        before = taken = 0
        while transport.is_high:
            assert tight.got.events == []
            before = transport.size
            taken += len(tight.read(1000))
            settle(tight.reactor, 1)
        assert before >= LOW > transport.size
        assert tight.got.events == ["drained"]
        assert taken < 3 * HIGH, "it is told before the peer has all"

    def test_a_producer_that_writes_in_drained(self, tight: Secured, selector: CountingSelector) -> None:
        rounds: List[int] = []

        def produce() -> None:
            if len(rounds) < 5:
                rounds.append(1)
                tight.transport.write(b"x" * 50_000)

        tight.got.on_drained = produce
        changes = selector.changes
        produce()
        tight.read(250_000)
        settle(tight.reactor)
        assert len(tight.got.events) == 5
        assert selector.changes == changes + 2

    @pytest.mark.parametrize("end", ["abort", "close"])
    def test_ending_it_in_drained(self, tight: Secured, end: str) -> None:
        tight.got.on_drained = getattr(tight.transport, end)
        tight.transport.write(b"x" * (2 * HIGH))
        if end == "close":
            assert len(tight.read_all()) == 2 * HIGH
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
                tight.read_all()
        settle(tight.reactor)
        assert tight.got.events == ["drained", "closed"]


class TestFiles:
    """write_file: one block at a time is in memory."""

    def test_50_mb_one_block_at_a_time(self, tight: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
        size = 50_000_000
        read: List[int] = []
        pread = os.pread

        def counted(fd: int, count: int, offset: int) -> bytes:
            data = pread(fd, count, offset)
            read.append(len(data))
            return data

        monkeypatch.setattr(os, "pread", counted)
        pattern = content(1_000_000)
        fd = temporary_file(pattern * (size // len(pattern)))
        tight.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        tight.transport.write(b"head", more=True)
        tight.transport.write_file(FileSlice(fd, 0, size, partial(os.close, fd)))
        assert tight.read(4) == b"head"
        total = 0
        while total < size:
            data = tight.read(len(pattern))
            assert data == pattern
            total += len(data)
            assert sum(read) - tight.transport.bytes_sent <= BLOCK_BYTES
        settle(tight.reactor)
        assert (sum(read), tight.transport.size, set(tight.got.events)) == (size, 0, {"drained"})

    def test_a_pass_sends_at_most_a_chunk(self, tight: Secured) -> None:
        tight.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * SENDFILE_CHUNK)
        fd = temporary_file(b"x" * (3 * SENDFILE_CHUNK))
        tight.transport.write_file(FileSlice(fd, 0, 3 * SENDFILE_CHUNK, partial(os.close, fd)))
        sent = [0, tight.transport.bytes_sent]
        while sent[-1] < 3 * SENDFILE_CHUNK:
            tight.reactor.run_once(0.01)
            tight.client.receive()
            sent.append(tight.transport.bytes_sent)
        assert max(after - before for before, after in zip(sent, sent[1:])) <= SENDFILE_CHUNK

    def test_a_file_that_was_cut_breaks_off(self, tight: Secured) -> None:
        """Never a false end: no close_notify follows."""
        fd = temporary_file(b"x" * 400_000)
        released: List[str] = []
        tight.transport.write(b"head", more=True)
        tight.transport.write_file(FileSlice(fd, 0, 400_000, partial(released.append, "file")))
        tight.transport.write(b"next answer")
        os.ftruncate(fd, 200_000)
        tight.transport.close()
        assert len(tight.read(200_004)) == 200_004
        with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
            tight.read_all()
        assert tight.got.events == ["lost"]
        assert isinstance(tight.got.loss, ConnectionLost)
        assert str(tight.got.loss) == "a file ended 200000 bytes before its promised size"
        assert released == ["file"]
        os.close(fd)

    def test_a_file_shorter_than_promised_from_the_start(self, secured: Secured) -> None:
        fd = temporary_file(b"")
        secured.transport.write(b"head", more=True)
        secured.transport.write_file(FileSlice(fd, 0, 10, partial(os.close, fd)))
        settle(secured.reactor)
        assert secured.got.events == ["lost"]

    def test_a_file_that_cannot_be_read(self, secured: Secured) -> None:
        fd = os.open("/", os.O_RDONLY)
        secured.transport.write_file(FileSlice(fd, 0, 10, partial(os.close, fd)))
        settle(secured.reactor)
        assert (secured.got.events, str(secured.got.loss)) == (["lost"], "Is a directory")

    @pytest.mark.parametrize("end", ["abort", "reset"])
    def test_an_end_releases_the_files(self, secured: Secured, end: str) -> None:
        fd = temporary_file(b"x" * MANY)
        released: List[str] = []
        for name in ("sending", "waiting"):
            secured.transport.write_file(FileSlice(fd, 0, MANY, partial(released.append, name)))
        if end == "reset":
            reset(secured.peer)
        else:
            secured.transport.abort()
        settle(secured.reactor)
        assert (secured.got.over, released) == (True, ["sending", "waiting"])
        secured.transport.write_file(FileSlice(fd, 0, 10, partial(released.append, "late")))
        assert released[2:] == ["late"]
        os.close(fd)
