"""Splicing: the ends of source and sink, what cannot be spliced, and slices of pipes by themselves."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from lwsws.net import splice as splice_module
from lwsws.net.output import OutputQueue
from lwsws.net.reactor import BUFFER_BYTES, Reactor
from lwsws.net.receiver import ConnectionLost
from lwsws.net.splice import BULK_READS, BULK_SECONDS, Pipe, PipeSlice, splice_between
from lwsws.net.tls_transport import start_tls
from tests.net.conftest import open_fds
from tests.net.splice_support import ENOUGH, Way, needs_splice, roomy_unix_pair
from tests.net.support import (
    LARGE,
    Connected,
    fill_unix_buffer,
    reset,
    settle,
    unix_pair,
)
from tests.net.tls_support import server_context
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock


@needs_splice
class TestEnds:
    """The source ends, the sink ends, one of them breaks."""

    def test_the_end_of_the_source(self, narrow: Way) -> None:
        """It comes behind what waits in the pipe; the other direction is nobody's concern here."""
        narrow.begin()
        sent = 0
        while not narrow.sink.size:
            narrow.give(b"z" * BUFFER_BYTES, take=False)
            sent += BUFFER_BYTES
        narrow.giver.shutdown(socket.SHUT_WR)
        narrow.take_until(narrow.take)
        assert narrow.taken == b"z" * sent
        assert narrow.events == ["eof"]
        assert not narrow.has_pipe

    def test_closing_the_sink_sends_what_waits(self, narrow: Way) -> None:
        narrow.begin()
        sent = 0
        while not narrow.sink.size:
            narrow.give(b"z" * BUFFER_BYTES, take=False)
            sent += BUFFER_BYTES
        waiting = narrow.sink.size
        narrow.sink.close()
        narrow.source.abort()
        narrow.take_until(lambda: narrow.sink_end.over)
        narrow.take()
        assert narrow.taken == b"z" * len(narrow.taken)
        assert len(narrow.taken) >= waiting
        assert narrow.sink_end.events[-1] == "closed"

    def test_a_reset_of_the_source(self, narrow: Way) -> None:
        narrow.begin()
        reset(narrow.giver)
        narrow.take_until(lambda: narrow.over)
        assert narrow.events == ["lost"]
        assert isinstance(narrow.loss, ConnectionLost)
        assert str(narrow.loss) == "Connection reset by peer"
        assert not narrow.has_pipe

    @pytest.mark.parametrize("waiting", [False, True])
    def test_a_reset_of_the_sink(self, narrow: Way, waiting: bool) -> None:
        narrow.begin()
        fds = open_fds()
        while waiting and not narrow.sink.size:
            narrow.give(b"z" * BUFFER_BYTES, take=False)
        reset(narrow.taker)
        if not waiting:
            narrow.giver.send(b"more")
        settle(narrow.reactor)
        assert narrow.sink_end.events[-1] == "lost"
        assert narrow.sink.size == 0
        narrow.source.resume_reading()
        narrow.giver.send(b"nobody's")
        settle(narrow.reactor)
        assert not narrow.has_pipe, "what is in the pipe is of no use"
        assert len(open_fds()) == len(fds) - 4, "the pipe, the sink and the taker"
        assert narrow.events == []

    @pytest.mark.parametrize("how", ["write_eof", "close", "abort"])
    def test_the_sink_is_closed_while_it_flows(self, way: Way, how: str) -> None:
        way.begin()
        getattr(way.sink, how)()
        way.give(b"dropped")
        settle(way.reactor)
        assert not way.has_pipe
        assert way.source.bytes_received == way.copied + way.moved

    def test_ending_the_source_gives_the_pipe_up(self, way: Way, clock: ManualClock) -> None:
        way.begin()
        fds = open_fds()
        way.source.close()
        settle(way.reactor)
        assert len(open_fds()) == len(fds) - 3
        clock.advance(2 * BULK_SECONDS)
        settle(way.reactor)

    def test_nothing_begins_on_a_closed_source(self, way: Way) -> None:
        assert way.splice is not None
        way.source.abort()
        fds = open_fds()
        for _ in range(BULK_READS):
            way.splice.came(BUFFER_BYTES)
        assert open_fds() == fds


@needs_splice
class TestFallback:
    """Where it cannot be done the bytes are copied."""

    def test_no_pipes(self, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts: List[int] = []

        def none_left(flags: int) -> Tuple[int, int]:
            attempts.append(flags)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(os, "pipe2", none_left)
        way.give_much(lambda: attempts)
        way.taken.clear()
        way.give(b"x" * (10 * ENOUGH))
        assert (way.moved, len(attempts)) == (0, 1)

    @pytest.mark.parametrize("refused", [1, len(splice_module.PIPE_BYTES)])
    def test_only_short_pipes(self, way: Way, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
        sizes: List[int] = []
        real = fcntl.fcntl

        def stingy(fd: int, cmd: int, arg: int = 0) -> int:
            if cmd == fcntl.F_SETPIPE_SZ:
                sizes.append(arg)
                if len(sizes) <= refused:
                    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            return real(fd, cmd, arg)

        monkeypatch.setattr(fcntl, "fcntl", stingy)
        way.give_much(lambda: sizes)
        assert tuple(sizes) == splice_module.PIPE_BYTES[: refused + 1]
        assert way.has_pipe == (refused == 1)

    def test_a_source_that_cannot(self, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = self.refuse(monkeypatch, lambda source, sink: source == way.source.sock.fileno())
        way.give_much(lambda: asked)
        assert way.moved == 0
        assert not way.has_pipe

    def test_a_sink_that_cannot(self, reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is in the pipe already is read out of it."""
        way = Way(reactor, (roomy_unix_pair(), roomy_unix_pair()))
        asked = self.refuse(monkeypatch, lambda source, sink: sink == way.sink.sock.fileno())
        way.give_much(lambda: len(asked) > 5)
        assert way.moved > 0
        way.finish()

    def refuse(self, monkeypatch: pytest.MonkeyPatch, which: Callable[[int, int], bool]) -> List[int]:
        """Let splice fail between these fds; returns a list that grows with each attempt."""
        real = os.splice
        attempts: List[int] = []

        def choosy(source: int, sink: int, count: int, **more: Any) -> int:
            if which(source, sink):
                attempts.append(count)
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return real(source, sink, count, **more)

        monkeypatch.setattr(os, "splice", choosy)
        return attempts

    def test_no_splice_in_this_python(self, reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "splice")
        way = Way(reactor, (roomy_unix_pair(), roomy_unix_pair()))
        assert way.splice is None
        way.give_much(lambda: way.copied > 10 * ENOUGH)
        way.finish()

    def test_tls(self, reactor: Reactor, certificates: Certificates) -> None:
        plain = Connected(reactor, *unix_pair())
        secure = Connected(reactor, *unix_pair())
        transport = start_tls(secure.transport, server_context(certificates), "", lambda: None)
        assert splice_between(plain.transport, transport, abs) is None  # type: ignore[arg-type]
        assert splice_between(transport, plain.transport, abs) is None  # type: ignore[arg-type]
        transport.abort()
        plain.finish()
        secure.finish()


@needs_splice
class TestPipeSlices:
    """In a queue by themselves."""

    @pytest.fixture
    def pipe(self) -> Iterator[Pipe]:
        """A pipe with ten bytes."""
        pipe = Pipe()
        os.write(pipe.writer, b"0123456789")
        yield pipe
        pipe.close()

    def test_as_blocks(self, pipe: Pipe) -> None:
        """For whoever must see the bytes, as TLS must."""
        queue = OutputQueue()
        queue.append(b"head")
        queue.append_file(PipeSlice(pipe, 4))
        queue.append(b"-")
        queue.append_file(PipeSlice(pipe, 6))
        assert pipe.waiting == 10
        assert bytes(queue.take(7)) == b"head"
        assert bytes(queue.take(100)) == b"0123-456789"
        assert (pipe.waiting, pipe.spoiled) == (0, False)

    def test_dropped(self, pipe: Pipe) -> None:
        queue = OutputQueue()
        queue.append_file(PipeSlice(pipe, 4))
        queue.append_file(PipeSlice(pipe, 6))
        pipe.close()
        pipe.close()
        assert pipe.waiting == 10
        queue.clear()
        assert (pipe.waiting, pipe.spoiled) == (0, True)

    def test_they_outlive_the_end_of_the_pipe(self, pipe: Pipe, reactor: Reactor) -> None:
        made = Connected(reactor, *unix_pair())
        fill_unix_buffer(made.transport.sock)
        made.transport.write(b"x" * LARGE)
        made.transport.write_file(PipeSlice(pipe, 10))
        pipe.close()
        made.transport.close()
        assert made.read_all() == b"x" * LARGE + b"0123456789"
        made.finish()


