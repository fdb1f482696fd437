"""The two ends of pipes to and from a program: read and written without ever waiting.

Pipes and not socket pairs, because programs open /dev/stdin and /dev/stdout, which with sockets is ENXIO.
As with transports, a reader takes a bounded amount in a pass, and a writer tries the pipe at once, queues
what it did not take and watches it only while something is queued.

A paused reader is not watched at all: the kernel would report the hang-up of the program in each pass.

An end that is closed forgets its receiver, which mostly knows the end: no circle is left for the collector.
"""

from __future__ import annotations

import os
from typing import Optional, Protocol

from lwsws import log
from lwsws.net.output import OutputQueue
from lwsws.net.reactor import BUFFER_BYTES, READ, WRITE, Reactor
from lwsws.net.transport import HIGH, LOW

# In a pass, unless the first brings all that the buffer holds: right behind the last that a program writes is
# mostly its end, and who knows of both at once can answer at once.
READS = 2


class PipeReceiver(Protocol):
    """Who gets what a program writes."""

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""

    def eof_received(self) -> None:
        """Nothing more will come; the reader is closed already.  Told once, unless the reader was closed."""


class PipeWriterReceiver(Protocol):
    """Who writes to a program."""

    def drained(self) -> None:
        """There is room again: the queue fell below LOW after it was above HIGH, or ran empty."""

    def broken(self) -> None:
        """The program reads no more, the writer is closed and what was queued is gone.  Told once, and never
        within a call of write()."""


class _Nobody:
    """The receiver of a closed end."""

    def data_received(self, data: bytes) -> None:
        raise AssertionError("a closed pipe was read")

    def eof_received(self) -> None:
        raise AssertionError("a closed pipe has ended")

    def drained(self) -> None:
        raise AssertionError("a closed pipe was written")

    def broken(self) -> None:
        raise AssertionError("a closed pipe broke")


_NOBODY = _Nobody()


class PipeReader:
    """Our end of a pipe that a program writes.  The fd must not block; it belongs to the reader."""

    __slots__ = ("bytes_received", "closed", "_reactor", "_fd", "_receiver", "_watched")

    def __init__(self, reactor: Reactor, fd: int, receiver: PipeReceiver) -> None:
        self.bytes_received = 0
        self.closed = False
        self._reactor = reactor
        self._fd = fd
        self._receiver = receiver
        self._watched = False

    def start(self) -> None:
        """Read from now on."""
        self.resume_reading()

    def pause_reading(self) -> None:
        """Let the program wait, once the pipe is full."""
        if self._watched:
            self._watched = False
            self._reactor.unwatch(self._fd)

    def resume_reading(self) -> None:
        """Read on."""
        if not self._watched and not self.closed:
            self._watched = True
            self._reactor.watch(self._fd, READ, self._readable)

    def close(self) -> None:
        """Read no more and tell nobody; who goes on writing gets SIGPIPE.  A second call has no effect."""
        if self.closed:
            return
        self.pause_reading()
        self.closed = True
        self._receiver = _NOBODY
        os.close(self._fd)

    def _readable(self, mask: int) -> None:
        for _ in range(READS):
            data = self._read()
            if data is None:
                return
            if not data:
                receiver = self._receiver
                self.close()
                receiver.eof_received()
                return
            self.bytes_received += len(data)
            self._receiver.data_received(data)
            if len(data) == BUFFER_BYTES or not self._watched:
                return

    def _read(self) -> Optional[bytes]:
        """What there is; b"" at the end, None if that is still to come."""
        try:
            return os.read(self._fd, BUFFER_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            log.info(f"a pipe cannot be read: {error}")
            return b""


class PipeWriter:
    """Our end of a pipe that a program reads.  The fd must not block; it belongs to the writer."""

    __slots__ = ("bytes_sent", "closed", "is_high", "_reactor", "_fd", "_receiver", "_queue", "_watched",
                 "_ending")

    def __init__(self, reactor: Reactor, fd: int, receiver: PipeWriterReceiver) -> None:
        self.bytes_sent = 0     # taken by the pipe
        self.closed = False
        # More than HIGH bytes are queued, and since then never less than LOW.
        self.is_high = False
        self._reactor = reactor
        self._fd = fd
        self._receiver = receiver
        self._queue: Optional[OutputQueue] = None   # exists only while it is not empty
        self._watched = False
        self._ending = False

    @property
    def size(self) -> int:
        """How many bytes are queued."""
        return 0 if self._queue is None else self._queue.size

    def write(self, data: bytes) -> None:
        """Write `data` after what is queued; dropped without a word after write_eof(), close() or a break."""
        if self.closed or self._ending or not data:
            return
        queue = self._queue
        if queue is None:
            queue = self._queue = OutputQueue()
            queue.append(data)
            # What Python has done since its start, and with it EPIPE: SIGPIPE is ignored.
            if not self._push(queue):
                self._break_soon()
                return
        else:
            queue.append(data)
        if queue.size:
            self._await_room(queue)
        else:
            self._queue = None

    def write_eof(self) -> None:
        """Let the program see the end of its input when all that is queued is written."""
        self._ending = True
        if self._queue is None:
            self.close()

    def close(self) -> None:
        """Drop what is queued, close the pipe and tell nobody.  A second call has no effect."""
        if self.closed:
            return
        self._unwatch()
        self.closed = True
        self.is_high = False
        self._queue = None
        self._receiver = _NOBODY
        os.close(self._fd)

    def _push(self, queue: OutputQueue) -> bool:
        """Write what the pipe takes; False if nobody can read it any more."""
        views, _ = queue.views()
        try:
            sent = os.writev(self._fd, views)
        except BlockingIOError:
            return True
        except OSError as error:
            log.info(f"a pipe cannot be written: {error}")
            return False
        del views   # a piece that is viewed could not grow
        self.bytes_sent += sent
        queue.advance(sent)
        return True

    def _await_room(self, queue: OutputQueue) -> None:
        if queue.size > HIGH:
            self.is_high = True
        if not self._watched:
            self._watched = True
            self._reactor.watch(self._fd, WRITE, self._writable)

    def _writable(self, mask: int) -> None:
        queue = self._queue
        if queue is None:
            self._unwatch()
            return
        if not self._push(queue):
            receiver = self._receiver
            self.close()
            receiver.broken()
        elif not queue.size:
            self._all_written()
        elif self.is_high and queue.size < LOW:
            self.is_high = False
            self._receiver.drained()

    def _all_written(self) -> None:
        self._queue = None
        self.is_high = False
        self._unwatch()
        if self._ending:
            self.close()
        else:
            self._receiver.drained()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._reactor.unwatch(self._fd)

    def _break_soon(self) -> None:
        receiver = self._receiver
        self.close()
        self._reactor.call_soon(receiver.broken)
