"""Pipes to and from programs; the test holds the other ends."""

from __future__ import annotations

import os
import weakref
from typing import Callable, Iterator, List, Optional, Tuple

import pytest

from lwsws.net.pipes import PipeReader, PipeWriter
from lwsws.net.reactor import BUFFER_BYTES, Reactor
from lwsws.net.transport import HIGH, LOW
from tests.net.support import CountingSelector, settle, spin


class Recorder:
    """A receiver of both kinds that writes down what it is told, and calls the hook."""

    def __init__(self) -> None:
        self.events: List[str] = []
        self.data = b""
        self.hook: Optional[Callable[[], None]] = None

    def data_received(self, data: bytes) -> None:
        """Note "data"."""
        self.data += data
        self._note("data")

    def eof_received(self) -> None:
        """Note "eof"."""
        self._note("eof")

    def drained(self) -> None:
        """Note "drained"."""
        self._note("drained")

    def broken(self) -> None:
        """Note "broken"."""
        self._note("broken")

    def _note(self, event: str) -> None:
        self.events.append(event)
        if self.hook is not None:
            self.hook()


class Incoming:
    """A reader, and the end for the program as a file descriptor; -1 when it is closed."""

    def __init__(self, reactor: Reactor) -> None:
        ours, self.end = pipe_ends()
        os.set_blocking(ours, False)
        self.got = Recorder()
        self.pipe = PipeReader(reactor, ours, self.got)

    def hang_up(self) -> None:
        """What a program does by ending."""
        if self.end != -1:
            os.close(self.end)
            self.end = -1


class Outgoing:
    """A writer, and the end for the program, which does not block."""

    def __init__(self, reactor: Reactor) -> None:
        self.end, ours = pipe_ends()
        os.set_blocking(ours, False)
        os.set_blocking(self.end, False)
        self.got = Recorder()
        self.pipe = PipeWriter(reactor, ours, self.got)

    def hang_up(self) -> None:
        """What a program does by ending."""
        if self.end != -1:
            os.close(self.end)
            self.end = -1

    def read_all(self, reactor: Reactor) -> bytes:
        """All that comes to the end of the pipe, with the reactor running meanwhile."""
        received = bytearray()
        while True:
            try:
                data = os.read(self.end, 1 << 20)
            except BlockingIOError:
                reactor.run_once(1.0)
                continue
            if not data:
                return bytes(received)
            received += data


def pipe_ends() -> Tuple[int, int]:
    """A reading and a writing end."""
    return os.pipe2(os.O_CLOEXEC)


@pytest.fixture
def incoming(reactor: Reactor) -> Iterator[Incoming]:
    """A reader that was not started."""
    made = Incoming(reactor)
    yield made
    made.pipe.close()
    made.hang_up()


@pytest.fixture
def outgoing(reactor: Reactor) -> Iterator[Outgoing]:
    """A writer."""
    made = Outgoing(reactor)
    yield made
    made.pipe.close()
    made.hang_up()


def test_bytes_and_the_end_are_received(reactor: Reactor, incoming: Incoming) -> None:
    os.write(incoming.end, b"Status: 200\n")
    settle(reactor)
    assert incoming.got.events == []    # not started
    incoming.pipe.start()
    spin(reactor, lambda: incoming.got.data == b"Status: 200\n")
    os.write(incoming.end, b"\n")
    incoming.hang_up()
    spin(reactor, lambda: "eof" in incoming.got.events)
    assert incoming.got.events == ["data", "data", "eof"]
    assert incoming.pipe.bytes_received == 13
    assert incoming.pipe.closed


def test_last_words_and_the_end_come_in_one_pass(reactor: Reactor, incoming: Incoming) -> None:
    os.write(incoming.end, b"hello\n")
    incoming.hang_up()
    incoming.pipe.start()
    reactor.run_once(1.0)
    assert incoming.got.events == ["data", "eof"]


def test_who_goes_on_writing_gets_no_more_turns(reactor: Reactor, incoming: Incoming) -> None:
    def write_more() -> None:
        os.write(incoming.end, b"more")

    incoming.got.hook = write_more
    os.write(incoming.end, b"a")
    incoming.pipe.start()
    reactor.run_once(1.0)
    assert incoming.got.data == b"amore"


def test_much_is_read_once_in_a_pass(reactor: Reactor) -> None:
    one, other = Incoming(reactor), Incoming(reactor)
    for each in (one, other):
        assert os.write(each.end, b"x" * 65536) == 65536
        each.hang_up()
        each.pipe.start()
    reactor.run_once(1.0)
    assert [len(each.got.data) for each in (one, other)] == [BUFFER_BYTES, BUFFER_BYTES]
    assert one.got.events == other.got.events == ["data"]
    reactor.run_once(1.0)
    assert one.got.events == other.got.events == ["data", "eof"]


def test_a_paused_reader_hears_nothing_and_costs_nothing(reactor: Reactor, incoming: Incoming,
                                                         selector: CountingSelector) -> None:
    incoming.pipe.start()
    incoming.got.hook = incoming.pipe.pause_reading
    os.write(incoming.end, b"a")
    spin(reactor, lambda: incoming.got.data == b"a")
    os.write(incoming.end, b"b")
    incoming.hang_up()  # which the kernel would report to whoever watches
    reported = selector.reported
    settle(reactor)
    assert (incoming.got.data, selector.reported) == (b"a", reported)
    incoming.pipe.resume_reading()
    incoming.pipe.resume_reading()
    spin(reactor, lambda: incoming.got.data == b"ab")
    incoming.pipe.resume_reading()
    spin(reactor, lambda: incoming.pipe.closed)
    assert incoming.got.events == ["data", "data", "eof"]


def test_a_reader_that_is_closed_within_its_own_call_is_told_nothing_more(reactor: Reactor,
                                                                          incoming: Incoming) -> None:
    incoming.got.hook = incoming.pipe.close
    incoming.pipe.start()
    os.write(incoming.end, b"a")
    spin(reactor, lambda: incoming.pipe.closed)
    with pytest.raises(BrokenPipeError):
        os.write(incoming.end, b"b")
    incoming.pipe.close()
    incoming.pipe.pause_reading()
    incoming.pipe.resume_reading()
    settle(reactor)
    assert incoming.got.events == ["data"]


def test_a_read_error_is_an_end(reactor: Reactor, incoming: Incoming) -> None:
    directory = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(directory, incoming.pipe._fd, inheritable=False)
    os.close(directory)
    incoming.pipe._readable(0)  # a pipe has no errors, a directory has nothing else
    assert incoming.got.events == ["eof"]
    assert incoming.pipe.closed


def test_small_writes_go_at_once_and_in_order(outgoing: Outgoing, selector: CountingSelector) -> None:
    changes = selector.changes
    for piece in (b"a", b"", b"bc"):
        outgoing.pipe.write(piece)
    assert os.read(outgoing.end, 99) == b"abc"
    assert (outgoing.pipe.size, outgoing.pipe.bytes_sent, selector.changes) == (0, 3, changes)
    outgoing.pipe.write_eof()
    outgoing.pipe.write(b"too late")
    assert os.read(outgoing.end, 99) == b""
    assert outgoing.pipe.closed


@pytest.mark.parametrize("piece", [1000, 70_000])
def test_much_waits_and_comes_whole(reactor: Reactor, outgoing: Outgoing, piece: int) -> None:
    content = bytes(range(256)) * 4000
    for at in range(0, len(content), piece):
        outgoing.pipe.write(content[at : at + piece])
    assert outgoing.pipe.size == len(content) - outgoing.pipe.bytes_sent
    assert outgoing.pipe.is_high
    outgoing.pipe.write_eof()
    outgoing.pipe.write(b"too late")
    assert outgoing.read_all(reactor) == content
    assert outgoing.pipe.bytes_sent == len(content)
    assert outgoing.got.events == ["drained"]   # below LOW, but not when it ended
    assert outgoing.pipe.closed


def test_drained_comes_below_low_and_again_when_empty(reactor: Reactor, outgoing: Outgoing) -> None:
    was_high = []
    for data in (b"x" * (HIGH + 65536), b"x"):  # the pipe itself takes 65536
        outgoing.pipe.write(data)
        was_high.append(outgoing.pipe.is_high)
    assert was_high == [False, True]
    sizes: List[Tuple[int, bool]] = []
    outgoing.got.hook = lambda: sizes.append((outgoing.pipe.size, outgoing.pipe.is_high))
    while len(sizes) < 2:
        os.read(outgoing.end, 4096)
        reactor.run_once(0.0)
    (first, first_high), second = sizes
    assert 0 < first < LOW
    assert (first_high, second) == (False, (0, False))


def test_from_much_to_nothing_in_one_step(reactor: Reactor, outgoing: Outgoing) -> None:
    """What a pipe holds is LOW, of which the queue is not below until it is empty."""
    outgoing.pipe.write(b"x" * 65536 * 6)
    while outgoing.pipe.size:
        os.read(outgoing.end, 65536)
        reactor.run_once(0.0)
    assert (outgoing.got.events, outgoing.pipe.is_high) == (["drained"], False)


def test_an_emptied_writer_is_not_watched(reactor: Reactor, outgoing: Outgoing,
                                          selector: CountingSelector) -> None:
    outgoing.pipe.write(b"x" * 70_000)
    while outgoing.pipe.size:
        os.read(outgoing.end, 65536)
        reactor.run_once(0.0)
    reported = selector.reported
    settle(reactor)
    assert selector.reported == reported
    assert outgoing.got.events == ["drained"]


def test_a_program_that_reads_no_more_is_told_later_and_once(reactor: Reactor, outgoing: Outgoing) -> None:
    outgoing.hang_up()
    outgoing.pipe.write(b"a")
    outgoing.pipe.write(b"b")
    outgoing.pipe.write_eof()
    assert outgoing.got.events == []    # never in the middle of the writer's code
    assert outgoing.pipe.closed
    settle(reactor)
    assert outgoing.got.events == ["broken"]


def test_a_program_that_goes_while_much_waits(reactor: Reactor, outgoing: Outgoing) -> None:
    outgoing.pipe.write(b"x" * 1_000_000)
    outgoing.hang_up()
    spin(reactor, lambda: outgoing.pipe.closed)
    settle(reactor)
    assert outgoing.got.events == ["broken"]
    assert (outgoing.pipe.size, outgoing.pipe.is_high) == (0, False)


def test_closed_ends_let_go_of_their_receivers(incoming: Incoming, outgoing: Outgoing) -> None:
    receivers = [weakref.ref(incoming.got), weakref.ref(outgoing.got)]
    del incoming.got, outgoing.got
    assert all(each() is not None for each in receivers)
    incoming.pipe.close()
    outgoing.pipe.close()
    assert all(each() is None for each in receivers)


def test_closing_drops_what_waits_and_tells_nobody(reactor: Reactor, outgoing: Outgoing) -> None:
    outgoing.pipe.write(b"x" * 1_000_000)
    outgoing.pipe.close()
    outgoing.pipe.close()
    outgoing.pipe.write(b"more")
    outgoing.pipe.write_eof()
    assert outgoing.read_all(reactor) == b"x" * 65536
    settle(reactor)
    assert outgoing.got.events == []
