"""Messages between our processes: whole or not at all, and no descriptor lost."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import struct
from typing import Iterator, List, Tuple

import pytest

from lwsws.net.channel import (
    MAX_FDS,
    MAX_MESSAGE,
    MAX_WORDS,
    ChannelError,
    ChildEnd,
    ParentEnd,
    channel_pair,
)

Pair = Tuple[ParentEnd, ChildEnd]

FD_SETSIZE = 1024


@pytest.fixture
def pair(_no_fd_leaks: None) -> Iterator[Pair]:
    """Two ends that do not wait."""
    parent, child = channel_pair()
    child.set_timeout(0)
    yield parent, child
    parent.close()
    child.close()


@pytest.fixture
def raw(_no_fd_leaks: None) -> Iterator[Tuple[socket.socket, ChildEnd]]:
    """A parent that may send anything, and the child's end."""
    peer, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe()
    child = ChildEnd(ours, writer)
    child.set_timeout(0)
    yield peer, child
    peer.close()
    os.close(reader)
    child.close()


@pytest.fixture
def files(_no_fd_leaks: None) -> Iterator[List[int]]:
    """Descriptors to send."""
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    yield fds
    for fd in fds:
        os.close(fd)


def close(fds: List[int]) -> None:
    """Close what came."""
    for fd in fds:
        os.close(fd)


MESSAGES = [
    ["ready"], ["a", "b", "c"], ["", ""], ["a", ""], ["", "a"], ["two\nlines"], ["caf\u00e9 \U0001f600"],
    ["/tmp/\udcff\udc80"],
]


@pytest.mark.parametrize("fields", [*MESSAGES, ["x" * MAX_MESSAGE]])
def test_a_message_arrives_below(pair: Pair, fields: List[str]) -> None:
    parent, child = pair
    parent.tell(fields)
    parent.tell(["next"])
    assert child.receive() == (fields, [])
    assert child.receive() == (["next"], [])
    with pytest.raises(BlockingIOError):
        child.receive()


@pytest.mark.parametrize("fields", [*MESSAGES, ["x" * MAX_WORDS]])
def test_a_message_arrives_above(pair: Pair, fields: List[str]) -> None:
    parent, child = pair
    child.tell(fields)
    child.tell(["next"])
    assert parent.receive() == fields
    assert parent.receive() == ["next"]
    with pytest.raises(BlockingIOError):
        parent.receive()


@pytest.mark.parametrize("fields", [[], [""], ["a\0b"], ["x" * (MAX_MESSAGE + 1)], ["x" * MAX_MESSAGE, ""]])
def test_what_is_no_message(pair: Pair, fields: List[str]) -> None:
    for end in pair:
        with pytest.raises(ValueError):
            end.tell(fields)


def test_what_is_too_long_for_the_parent(pair: Pair) -> None:
    with pytest.raises(ValueError, match="a message of 4097 bytes"):
        pair[1].tell(["x" * (MAX_WORDS + 1)])


def test_no_file_gets_to_the_parent(pair: Pair, files: List[int]) -> None:
    """Not even into the queue of its socket, where the kernel would close it in its name."""
    sock = socket.socket(fileno=os.dup(pair[1].fileno()))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("1i", files[0]))]
    with sock, pytest.raises(BrokenPipeError):
        sock.sendmsg([b"seal"], rights)


@pytest.mark.usefixtures("_no_fd_leaks")
@pytest.mark.parametrize("data", [b"\0", b"\xff\xfe", b"\x00\x00\x00"])
def test_whatever_comes_from_a_child_is_text(data: bytes) -> None:
    reader, writer = os.pipe()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = ParentEnd(ours, reader)
    os.write(writer, data)
    fields = parent.receive()
    assert fields is not None
    assert "\0".join(fields).encode("utf-8", "surrogateescape") == data
    parent.close()
    theirs.close()
    os.close(writer)


def test_open_files_arrive(pair: Pair, files: List[int]) -> None:
    pair[0].tell(["take"], files)
    message = pair[1].receive()
    assert message is not None
    fields, fds = message
    assert fields == ["take"]
    assert [os.fstat(fd).st_rdev for fd in fds] == [os.stat(os.devnull).st_rdev] * 3
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in fds)
    assert not set(fds) & set(files)
    close(fds)


def test_as_many_as_the_kernel_takes(pair: Pair, files: List[int]) -> None:
    pair[0].tell(["many"], files[:1] * MAX_FDS)
    message = pair[1].receive()
    assert message is not None
    assert len(message[1]) == MAX_FDS
    close(message[1])
    with pytest.raises(ValueError, match="254 open files"):
        pair[0].tell(["more"], files[:1] * (MAX_FDS + 1))


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_more_files_than_wanted_are_closed(pair: Pair, files: List[int], limit: int) -> None:
    """CMSG_SPACE rounds up: for one, there is room for two."""
    pair[0].tell(["take"], files)
    with pytest.raises(ChannelError):
        pair[1].receive(limit)


def test_one_more_than_wanted_is_closed(pair: Pair, files: List[int]) -> None:
    pair[0].tell(["take"], files[:2])
    with pytest.raises(ChannelError):
        pair[1].receive(1)


def test_a_message_that_is_too_long(raw: Tuple[socket.socket, ChildEnd], files: List[int]) -> None:
    peer, channel = raw
    peer.sendmsg([b"x" * (MAX_MESSAGE + 1)],
                 [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", *files))])
    with pytest.raises(ChannelError):
        channel.receive()


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe", b"\x00\x00\x00"])
def test_whatever_comes_is_text_or_the_end(raw: Tuple[socket.socket, ChildEnd], data: bytes) -> None:
    peer, channel = raw
    peer.send(data)
    message = channel.receive()
    if data:
        assert message is not None
        assert "\0".join(message[0]).encode("utf-8", "surrogateescape") == data
    else:
        assert message is None


def test_files_without_a_message(raw: Tuple[socket.socket, ChildEnd], files: List[int]) -> None:
    peer, channel = raw
    peer.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", *files))])
    with pytest.raises(ChannelError):
        channel.receive()


class TestEnd:
    """The other end is gone."""

    def test_the_child_has_said_nothing(self, pair: Pair) -> None:
        parent, child = pair
        child.close()
        assert parent.receive() is None
        assert parent.receive() is None
        with pytest.raises(BrokenPipeError):
            parent.tell(["anybody"])

    def test_its_last_words_arrive(self, pair: Pair) -> None:
        """Though it had not read what it was told."""
        parent, child = pair
        parent.tell(["stop"])
        child.tell(["fault", "line 5"])
        child.close()
        assert parent.receive() == ["fault", "line 5"]
        assert parent.receive() is None

    def test_the_parent_is_gone(self, pair: Pair) -> None:
        parent, child = pair
        parent.tell(["last"])
        parent.close()
        assert child.receive() == (["last"], [])
        assert child.receive() is None
        with pytest.raises(BrokenPipeError):
            child.tell(["anybody"])

    def test_the_parent_did_not_listen(self, pair: Pair) -> None:
        parent, child = pair
        child.tell(["alive"])
        parent.close()
        assert child.receive() is None

    def test_a_closed_one_has_no_number(self, pair: Pair) -> None:
        for end in pair:
            end.close()
            assert end.fileno() == -1
            end.close()     # and again


class TestWaiting:
    """Who waits, and for how long."""

    def test_a_child_that_does_not_read(self, pair: Pair) -> None:
        with pytest.raises(BlockingIOError):
            while True:
                pair[0].tell(["x" * 1000])
        assert pair[1].receive() == (["x" * 1000], [])

    def test_a_parent_that_does_not_read(self, pair: Pair) -> None:
        parent, child = pair
        with pytest.raises(BlockingIOError):
            while True:
                child.tell(["x" * 1000])
        child.set_timeout(0.001)
        with pytest.raises(TimeoutError):
            child.tell(["x" * 1000])
        assert parent.receive() == ["x" * 1000]
        child.tell(["y"])   # there is room now

    def test_a_pipe_with_a_high_number(self, pair: Pair) -> None:
        """As the children of a parent with a thousand sockets have: select(2) takes none of these."""
        sock, pipe = pair[1].detach()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
        try:
            child = ChildEnd(socket.socket(fileno=sock), fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, FD_SETSIZE))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            os.close(pipe)
        child.set_timeout(0.001)
        with pytest.raises(TimeoutError):
            while True:
                child.tell(["x" * 1000])
        child.close()

    def test_a_parent_that_does_not_answer(self, pair: Pair) -> None:
        pair[1].set_timeout(0.001)
        with pytest.raises(TimeoutError):
            pair[1].receive()


def test_not_enough_descriptors_here(pair: Pair, files: List[int]) -> None:
    """Those that fitted in are closed."""
    import resource
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    pair[0].tell(["take"], files)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, limits[1]))
    try:
        with pytest.raises(ChannelError):
            pair[1].receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
