"""Splicing: a flow in bulk goes from socket to socket inside the kernel, with the same bytes as ever."""

from __future__ import annotations

import os
import random
import socket

import pytest

from lwsws.net import splice as splice_module
from lwsws.net.reactor import BUFFER_BYTES, Reactor
from lwsws.net.splice import BULK_BYTES, BULK_READS, BULK_SECONDS, PipeSlice
from tests.net.conftest import open_fds
from tests.net.splice_support import PAIRS, Way, needs_splice
from tests.net.support import (
    LARGE,
    CountingSelector,
    settle,
)
from tests.support.clock import ManualClock


class TestSameBytes:
    """Whatever way the bytes take."""

    @pytest.mark.parametrize("kinds", ["tcp tcp", "tcp unix", "unix tcp", "unix unix"])
    @pytest.mark.parametrize("splices", [pytest.param(True, marks=needs_splice), False])
    def test_spliced_and_copied(self, reactor: Reactor, kinds: str, splices: bool) -> None:
        """Bursts and dribbles to a taker that is now quick and now slow; then the end."""
        source, sink = (PAIRS[kind] for kind in kinds.split())
        way = Way(reactor, (source(), sink()), splices)
        chance = random.Random(11)
        sent = bytearray()
        for _ in range(40):
            piece = chance.randbytes(chance.choice((1, 100, 5000, 65536, 300_000, 2_000_000)))
            way.give(piece)
            sent += piece
            way.take(chance.choice((0, 1000, 100_000, 1 << 22)))
        way.giver.shutdown(socket.SHUT_WR)
        way.take_until(way.take)
        assert way.taken == sent
        assert way.copied + way.moved == len(sent)
        assert way.source.bytes_received == way.sink.bytes_sent == len(sent)
        assert bool(way.moved) == splices
        assert way.events == ["eof"]
        way.finish()

    @needs_splice
    def test_what_was_queued_before_goes_first(self, narrow: Way) -> None:
        narrow.begin()
        expected = bytearray(b"x" * LARGE)
        narrow.sink.write(b"x" * LARGE)
        for number in range(20):
            piece = bytes([number]) * 50_000
            narrow.give(piece, take=False)
            narrow.sink.write(b"between")
            expected += piece + b"between"
            if number % 5 == 4:
                narrow.take_until(lambda: not narrow.sink.size)
        narrow.take_until(lambda: len(narrow.taken) == len(expected))
        # Each piece has come before what was written after it, or was still in the source then.
        assert sorted(narrow.taken) == sorted(expected)
        assert narrow.taken[:LARGE] == b"x" * LARGE
        assert narrow.taken.replace(b"between", b"")[LARGE:] == b"".join(
            bytes([number]) * 50_000 for number in range(20)
        )


@needs_splice
class TestFlow:
    """When it begins, waits and ends."""

    def test_small_reads_are_copied(self, way: Way) -> None:
        fds = open_fds()
        for _ in range(10 * BULK_READS):
            way.give(b"x" * 1000)
            way.take()
        assert (way.moved, way.has_pipe, open_fds()) == (0, False, fds)

    def test_full_reads_begin_it_and_the_counters_go_on(self, way: Way, clock: ManualClock) -> None:
        way.begin()
        copied = way.copied
        clock.advance(0.5)
        way.give(b"y" * 1000)
        way.take_until(lambda: way.taken == b"y" * 1000)
        assert way.copied == copied
        assert way.source.bytes_received == way.sink.bytes_sent == way.copied + way.moved
        assert way.source.last_progress == way.sink.last_progress == clock()

    def test_a_slow_taker_pauses_it(self, narrow: Way, selector: CountingSelector) -> None:
        """No more is taken in than the pipe holds, and nobody spins."""
        narrow.begin()
        stopped = 0
        try:
            while True:
                stopped += narrow.giver.send(b"z" * 65536)
                settle(narrow.reactor)
        except BlockingIOError:
            pass
        assert 0 < narrow.sink.size <= splice_module.PIPE_BYTES[0]
        reported = selector.reported
        settle(narrow.reactor, 20)
        assert selector.reported == reported
        narrow.take_until(lambda: len(narrow.taken) == stopped)
        assert narrow.taken == b"z" * stopped
        assert narrow.has_pipe
        narrow.give(b"!")
        narrow.take_until(lambda: narrow.taken.endswith(b"!"))

    def test_a_pipe_that_is_full(self, narrow: Way, selector: CountingSelector) -> None:
        """For the kernel that is the same as a source that has nothing."""
        narrow.begin()
        assert narrow.splice is not None
        pipe = narrow.splice._pipe
        assert pipe is not None
        narrow.sink.write(b"x" * LARGE)
        count = 0
        try:
            while True:
                count += os.write(pipe.writer, b"y" * 4096)
        except BlockingIOError:
            narrow.sink.write_file(PipeSlice(pipe, count))
        narrow.give(b"late", take=False)
        reported = selector.reported
        settle(narrow.reactor, 20)
        assert selector.reported == reported
        narrow.take_until(lambda: narrow.taken.endswith(b"late"))
        assert narrow.taken == b"x" * LARGE + b"y" * count + b"late"

    def test_pausing_by_the_receiver(self, way: Way, selector: CountingSelector) -> None:
        way.begin()
        way.source.pause_reading()
        way.give(b"late")
        reported = selector.reported
        settle(way.reactor, 20)
        assert (selector.reported, way.take(), len(way.taken)) == (reported, False, 0)
        way.source.resume_reading()
        way.take_until(lambda: way.taken == b"late")

    def test_a_flow_that_ebbs_gives_the_pipe_up(self, way: Way, clock: ManualClock) -> None:
        fds = open_fds()
        way.begin()
        assert len(open_fds()) == len(fds) + 2
        way.give(b"y" * BULK_BYTES)
        way.take_until(lambda: len(way.taken) == BULK_BYTES)
        way.taken.clear()
        clock.advance(BULK_SECONDS)
        settle(way.reactor)
        assert way.has_pipe, "much came since the pipe was made"
        way.give(b"little")
        clock.advance(BULK_SECONDS)
        settle(way.reactor)
        assert (way.has_pipe, open_fds()) == (False, fds)
        copied = way.copied
        way.give(b" by little")
        way.take_until(lambda: way.taken == b"little by little")
        assert way.copied == copied + 10
        way.taken.clear()
        way.begin()

    def test_paused_it_stays_so_when_the_pipe_is_given_up(self, way: Way, clock: ManualClock) -> None:
        way.begin()
        settle(way.reactor)
        way.source.pause_reading()
        way.give(b"late")
        for _ in range(3):
            clock.advance(BULK_SECONDS)
            settle(way.reactor)
        assert (way.has_pipe, len(way.taken)) == (False, 0)
        way.source.resume_reading()
        way.take_until(lambda: way.taken == b"late")

    def test_bytes_that_wait_keep_the_pipe(self, narrow: Way, clock: ManualClock) -> None:
        narrow.begin()
        while not narrow.sink.size:
            narrow.give(b"z" * BUFFER_BYTES, take=False)
        for _ in range(5):
            clock.advance(BULK_SECONDS)
            settle(narrow.reactor)
        assert narrow.has_pipe
        narrow.take_until(lambda: not narrow.sink.size)
        for _ in range(2):
            clock.advance(BULK_SECONDS)
            settle(narrow.reactor)
        assert not narrow.has_pipe
