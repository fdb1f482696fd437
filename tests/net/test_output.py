"""The output queue: what comes next, how small pieces are joined, and when files are released."""

from __future__ import annotations

import errno
import os
import random
import socket
from functools import partial
from typing import Any, Iterator, List, Tuple

import pytest

from lwsws.net.output import JOINED_BYTES, MAX_VIEWS, SMALL_BYTES, FileEnded, FileSlice, OutputQueue
from tests.net.support import temporary_file, unix_pair

Pair = Tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A non-blocking socket to send on and its peer."""
    ours, peer = unix_pair()
    ours.setblocking(False)
    peer.setblocking(False)
    yield ours, peer
    ours.close()
    peer.close()


def send_all(queue: OutputQueue, pair: Pair, limit: int = 1 << 20) -> bytes:
    """Send the whole queue; returns what the peer got."""
    received = bytearray()
    while queue.size:
        try:
            queue.send_some(pair[0], limit)
        except BlockingIOError:
            pass
        received += receive(pair[1])
    return bytes(received)


def receive(peer: socket.socket) -> bytes:
    """All that is there."""
    received = bytearray()
    try:
        while True:
            received += peer.recv(1 << 20)
    except BlockingIOError:
        return bytes(received)


def contents(queue: OutputQueue) -> bytes:
    """What would be sent next."""
    return b"".join(bytes(view) for view in queue.views()[0])


def test_pieces_keep_their_order_and_are_counted() -> None:
    queue = OutputQueue()
    for piece in (b"a", b"", b"bc", b"D" * SMALL_BYTES, b"e"):
        queue.append(piece)
    assert queue.size == 4 + SMALL_BYTES
    assert contents(queue) == b"abc" + b"D" * SMALL_BYTES + b"e"


def test_small_pieces_are_joined() -> None:
    """LESSONS 3.40: a slow reader of tiny pieces does not make us hold an object for each."""
    queue = OutputQueue()
    for _ in range(JOINED_BYTES):
        queue.append(b"xy")
    assert len(queue.views()[0]) == 2
    assert queue.size == 2 * JOINED_BYTES


def test_large_pieces_are_not_copied() -> None:
    large = b"x" * SMALL_BYTES
    queue = OutputQueue()
    queue.append(large)
    assert queue.views()[0][0].obj is large


def test_advance_stops_inside_a_piece() -> None:
    queue = OutputQueue()
    queue.append(b"head")
    queue.append(b"B" * SMALL_BYTES)
    queue.advance(2)
    assert contents(queue).startswith(b"adB")
    queue.append(b"tail")
    queue.advance(3)
    assert contents(queue) == b"B" * (SMALL_BYTES - 1) + b"tail"
    queue.advance(queue.size)
    assert (queue.size, contents(queue)) == (0, b"")


def test_a_joined_piece_may_grow_while_it_is_partly_sent() -> None:
    queue = OutputQueue()
    queue.append(b"abc")
    queue.advance(2)
    queue.append(b"def")
    assert contents(queue) == b"cdef"


def test_views_say_whether_more_follows() -> None:
    queue = OutputQueue()
    queue.append(b"head")
    assert queue.views()[1] is False
    queue.append_file(FileSlice(0, 0, 5))
    views, followed = queue.views()
    assert (len(views), followed) == (1, True)
    queue.append(b"behind the file")
    assert contents(queue) == b"head"


def test_views_are_limited() -> None:
    queue = OutputQueue()
    for _ in range(MAX_VIEWS + 1):
        queue.append(b"x" * SMALL_BYTES)
    views, followed = queue.views()
    assert (len(views), followed) == (MAX_VIEWS, True)


def test_a_file_is_released_once_when_its_last_byte_is_sent(pair: Pair) -> None:
    released: List[str] = []
    fd = temporary_file(b"0123456789")
    queue = OutputQueue()
    queue.append(b"head,")
    queue.append_file(FileSlice(fd, 2, 5, lambda: released.append("file")))
    queue.append(b",tail")
    assert queue.size == 15
    queue.send_some(pair[0], 100)
    assert queue.send_some(pair[0], 3) == (3, 3)
    assert released == []
    assert send_all(queue, pair) == b"head,23456,tail"
    assert released == ["file"]
    queue.clear()
    assert released == ["file"]
    os.close(fd)


def test_dropped_files_are_released_once() -> None:
    released: List[str] = []
    queue = OutputQueue()
    for name in ("one", "two"):
        queue.append_file(FileSlice(0, 0, 5, partial(released.append, name)))
    queue.clear()
    queue.clear()
    assert released == ["one", "two"]
    assert queue.size == 0


def test_an_empty_slice_is_released_at_once() -> None:
    released: List[str] = []
    queue = OutputQueue()
    queue.append_file(FileSlice(0, 0, 0, lambda: released.append("empty")))
    assert (released, queue.size) == (["empty"], 0)


def test_the_release_of_a_slice_is_called_once() -> None:
    released: List[str] = []
    piece = FileSlice(0, 0, 5, lambda: released.append("file"))
    piece.close()
    piece.close()
    assert released == ["file"]


def test_the_kernel_is_told_when_more_follows() -> None:
    class Noting(socket.socket):
        """A socket that notes the flags with which bytes are sent."""

        def sendmsg(self, *args: Any) -> int:
            flags.append(args[2])
            return super().sendmsg(*args)

    flags: List[int] = []
    ours, peer = unix_pair()
    noting = Noting(fileno=ours.detach())
    fd = temporary_file(b"file")
    queue = OutputQueue()
    queue.append(b"head")
    queue.append_file(FileSlice(fd, 0, 4))
    queue.append(b"tail")
    while queue.size:
        queue.send_some(noting, 100)
    assert flags == [socket.MSG_MORE, 0]
    assert peer.recv(100) == b"headfiletail"
    noting.close()
    peer.close()
    os.close(fd)


def test_a_file_that_ended_early_is_no_end(pair: Pair) -> None:
    fd = temporary_file(b"only this")
    queue = OutputQueue()
    queue.append_file(FileSlice(fd, 0, 20))
    assert queue.send_some(pair[0], 100) == (20, 9)
    with pytest.raises(FileEnded, match="11 bytes before"):
        queue.send_some(pair[0], 100)
    queue.clear()
    os.close(fd)


def test_a_file_that_sendfile_cannot_take_is_read_and_sent(pair: Pair) -> None:
    """The kernel makes /proc/self/cmdline at each read and has no sendfile for it."""
    fd = os.open("/proc/self/cmdline", os.O_RDONLY)
    wanted = os.pread(fd, 12, 0)
    with pytest.raises(OSError):  # else this test would show nothing
        os.sendfile(pair[0].fileno(), fd, 0, 12)
    queue = OutputQueue()
    queue.append_file(FileSlice(fd, 3, 9))
    assert send_all(queue, pair, limit=4) == wanted[3:]
    os.close(fd)


def test_read_and_send_finds_the_early_end_too(pair: Pair) -> None:
    fd = os.open("/proc/self/cmdline", os.O_RDONLY)
    queue = OutputQueue()
    queue.append_file(FileSlice(fd, 0, 1 << 20))
    with pytest.raises(FileEnded):
        send_all(queue, pair)
    queue.clear()
    os.close(fd)


def test_sendfile_that_fails_after_the_first_byte_is_a_fault(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on by other means is for files it never took; here the file changed under us."""
    fd = temporary_file(b"0123456789")
    queue = OutputQueue()
    queue.append_file(FileSlice(fd, 0, 10))
    queue.send_some(pair[0], 4)

    def broken(*args: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", broken)
    with pytest.raises(OSError, match="Invalid argument"):
        queue.send_some(pair[0], 4)
    queue.clear()
    os.close(fd)


def test_a_full_socket_takes_nothing_and_loses_nothing(pair: Pair) -> None:
    queue = OutputQueue()
    queue.append(b"x" * (1 << 20))
    wanted, sent = queue.send_some(pair[0], 100)
    assert (wanted, queue.size) == (1 << 20, (1 << 20) - sent)
    with pytest.raises(BlockingIOError):
        queue.send_some(pair[0], 100)
    assert queue.size == (1 << 20) - sent


@pytest.mark.parametrize("seed", range(6))
def test_random_pieces_arrive_as_they_were_put_in(pair: Pair, seed: int) -> None:
    rng = random.Random(seed)
    content = rng.randbytes(300_000)
    fd = temporary_file(content)
    queue = OutputQueue()
    expected = bytearray()
    received = bytearray()
    released: List[int] = []
    files = 0
    for number in range(400):
        size = rng.choice((1, 3, 100, SMALL_BYTES - 1, SMALL_BYTES, 20_000))
        start = rng.randrange(len(content) - size)
        expected += content[start : start + size]
        if rng.random() < 0.3:
            queue.append_file(FileSlice(fd, start, size, partial(released.append, number)))
            files += 1
        else:
            queue.append(content[start : start + size])
        received += receive(pair[1])
        assert queue.size == len(expected) - len(received)
        while queue.size > 100_000:
            try:
                queue.send_some(pair[0], rng.randrange(1, 50_000))
            except BlockingIOError:
                received += receive(pair[1])
        received += receive(pair[1])
    received += send_all(queue, pair)
    assert received == expected
    assert len(released) == files
    os.close(fd)


class TestBlocks:
    """take(): for whoever sends the bytes by himself."""

    def test_small_pieces_are_joined_and_large_ones_are_not(self) -> None:
        queue = OutputQueue()
        large = b"L" * 100
        for piece in (b"a", b"b" * SMALL_BYTES, large * 1000, b"c"):
            queue.append(piece)
        size = queue.size
        assert bytes(queue.take(SMALL_BYTES + 11)) == b"a" + b"b" * SMALL_BYTES + large[:10]
        rest = queue.take(50_000)
        assert bytes(rest) == large * 500
        assert isinstance(rest.obj, bytes), "it is no copy"
        assert bytes(queue.take(100_000)) == (large * 1000)[50_010:]
        assert bytes(queue.take(1 << 20)) == b"c"
        assert queue.size == size

    def test_a_block_may_be_held_while_more_is_added(self) -> None:
        queue = OutputQueue()
        queue.append(b"small")
        block = queue.take(3)
        queue.append(b" again")
        assert (bytes(block), bytes(queue.take(100))) == (b"small", b" again")

    def test_what_was_sent_before_is_left_out(self, pair: Pair) -> None:
        queue = OutputQueue()
        queue.append(b"x" * (1 << 20))
        sent = queue.send_some(pair[0], 1 << 20)[1]
        assert 0 < sent < 1 << 20
        assert len(queue.take(1 << 21)) == (1 << 20) - sent

    def test_of_a_file_no_more_than_the_limit(self) -> None:
        fd = temporary_file(bytes(range(200)))
        released: List[str] = []
        queue = OutputQueue()
        queue.append(b"head")
        queue.append_file(FileSlice(fd, 50, 100, partial(released.append, "file")))
        assert bytes(queue.take(20)) == b"head" + bytes(range(50, 66))
        assert bytes(queue.take(80)) == bytes(range(66, 146))
        assert released == []
        assert bytes(queue.take(80)) == bytes(range(146, 150))
        assert released == ["file"]
        os.close(fd)

    def test_a_file_that_was_cut(self) -> None:
        """What is there still goes out."""
        fd = temporary_file(b"short")
        queue = OutputQueue()
        queue.append(b"head")
        queue.append_file(FileSlice(fd, 0, 100))
        assert bytes(queue.take(1000)) == b"headshort"
        with pytest.raises(FileEnded, match="ended 95 bytes before"):
            queue.take(1000)
        queue.clear()
        os.close(fd)
