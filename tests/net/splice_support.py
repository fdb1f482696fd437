"""What the tests of splicing share: one direction of a tunnel, with what is before and behind it."""

from __future__ import annotations

import os
import random
import socket
from functools import partial
from typing import Any, Callable, Tuple

import pytest

from lwsws.net.reactor import BUFFER_BYTES, Reactor
from lwsws.net.splice import BULK_READS, splice_between
from lwsws.net.transport import Transport
from tests.net.support import (
    PASSES,
    Recorder,
    settle,
    unix_pair,
)

needs_splice = pytest.mark.skipif(not hasattr(os, "splice"), reason="Python 3.9 has no os.splice")

ENOUGH = (BULK_READS + 2) * BUFFER_BYTES


class SinkEnd(Recorder):
    """The receiver of the sink: has the source resume."""

    def __init__(self, source: Transport) -> None:
        super().__init__()
        self.source = source

    def drained(self) -> None:
        """There is room again."""
        super().drained()
        self.source.resume_reading()


class Way(Recorder):
    """One direction of a tunnel, as a role would have it; the receiver of its source."""

    def __init__(self, reactor: Reactor, pairs: Tuple[Any, Any], splices: bool = True) -> None:
        super().__init__()
        ours, self.giver = pairs[0]
        theirs, self.taker = pairs[1]
        for sock in (ours, theirs, self.giver, self.taker):
            sock.setblocking(False)
        self.reactor = reactor
        self.copied = 0
        self.moved = 0
        self.taken = bytearray()
        self.source = Transport(reactor, ours, self)
        self.sink_end = SinkEnd(self.source)
        self.sink = Transport(reactor, theirs, self.sink_end)
        self.splice = splice_between(self.source, self.sink, self.count) if splices else None
        self.source.start()
        self.sink.start()

    def count(self, count: int) -> None:
        """So many bytes were spliced."""
        self.moved += count

    def data_received(self, data: bytes) -> None:
        """Copy."""
        self.copied += len(data)
        self.sink.write(data)
        if self.sink.is_high:
            self.source.pause_reading()
        if self.splice is not None:
            self.splice.came(len(data))

    def eof_received(self) -> None:
        """Carry it through."""
        super().eof_received()
        self.sink.write_eof()

    @property
    def has_pipe(self) -> bool:
        """Whether it splices just now."""
        return self.splice is not None and self.splice._pipe is not None

    def give(self, data: bytes, take: bool = True) -> None:
        """Send all of `data`, with the reactor running and the taker taking meanwhile."""
        view = memoryview(data)
        for _ in range(PASSES):
            if not view:
                break
            try:
                view = view[self.giver.send(view) :]
            except BlockingIOError:
                self.reactor.run_once(0.01)
                if take:
                    self.take()
        assert not view, "the source is not read"
        settle(self.reactor)

    def take(self, limit: int = 1 << 20) -> bool:
        """Take what has come; whether the end has."""
        try:
            while limit > 0:
                data = self.taker.recv(limit)
                if not data:
                    return True
                self.taken += data
                limit -= len(data)
        except BlockingIOError:
            pass
        return False

    def take_until(self, condition: Callable[[], object], limit: int = 1 << 20) -> None:
        """Take until the condition holds."""
        for _ in range(PASSES):
            self.take(limit)
            if condition():
                return
            self.reactor.run_once(0.001)
        raise AssertionError(f"after {len(self.taken)} bytes still not")

    def begin(self) -> None:
        """Send enough for splicing to begin, and take all of it."""
        self.give_much(lambda: self.has_pipe)
        self.taken.clear()

    def give_much(self, until: Callable[[], object]) -> None:
        """Send what fills some buffers, and take it, again and again until the condition holds: how much one
        read brings is for the kernel to say."""
        sent = random.Random(3).randbytes(ENOUGH)
        for count in range(1, 50):
            self.give(sent)
            self.take_until(partial(self.has_taken, count * ENOUGH))
            if until():
                assert self.taken == sent * count
                return
        raise AssertionError("the condition never came to hold")

    def has_taken(self, count: int) -> bool:
        """Whether so many bytes have come."""
        return len(self.taken) == count

    def finish(self) -> None:
        """End all."""
        self.source.abort()
        self.sink.abort()
        self.giver.close()
        self.taker.close()
        settle(self.reactor)


def roomy_unix_pair() -> Tuple[socket.socket, socket.socket]:
    """Unix sockets that hold some buffers full."""
    pair = unix_pair()
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * BUFFER_BYTES)
    return pair


def roomy_tcp_pair() -> Tuple[socket.socket, socket.socket]:
    """TCP sockets as the kernel makes them."""
    client = socket.socket()
    with socket.create_server(("127.0.0.1", 0)) as server:
        client.connect(server.getsockname())
        accepted, _ = server.accept()
    return accepted, client


PAIRS = {"tcp": roomy_tcp_pair, "unix": roomy_unix_pair}
