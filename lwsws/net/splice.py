"""Bytes of a tunnel that never come up to us: from socket to socket inside the kernel, by splice(2).

splice needs a pipe between the two: what it moves are references to the pages in which the bytes lie, so
nothing is copied.  A pipe is two more fds and up to a megabyte, so it is there only while bytes come in
bulk: it is made when reads keep filling the whole buffer, and given up when little has come for a while.

    source --splice--> pipe --splice--> sink         the whole way in one pass if the sink takes all
                       pipe, a PipeSlice in the sink's queue, if not

A PipeSlice waits in the queue like a slice of a file.  So order, watermarks, flushing and counting are those
of the queue, and whatever was written before goes first.  Meanwhile the source is paused; as ever, the
receiver of the sink's drained() has it resume.

Without splice (Python 3.9), without pipes (the limits of fds, or of pages for pipes) and with sockets that
do not know it, the bytes come by data_received() as they did before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from typing import Callable, Optional, Tuple

from lwsws.net.instead import Instead
from lwsws.net.link import LinkTransport
from lwsws.net.output import PLAIN_CHUNK, FileSlice
from lwsws.net.reactor import BUFFER_BYTES
from lwsws.net.timers import Timer
from lwsws.net.transport import SENDFILE_CHUNK, Transport

# So many reads in a row that fill the buffer are a flow worth a pipe.
BULK_READS = 4
# A flow of less in this time is not.
BULK_BYTES = 1024 * 1024
BULK_SECONDS = 1.0
# After this many such reads try again to get a pipe, where none could be had.
READS_BEFORE_RETRY = 1000
# What a pipe should hold: the most that a user without privileges may ask for, less if there are many.
PIPE_BYTES = (1024 * 1024, 256 * 1024, 64 * 1024)
# Whose bytes are those of the socket.
PLAIN = (Transport, LinkTransport)
# splice does not work with this kind of socket.
UNSUPPORTED = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM))


class Pipe:
    """A pipe, and how many bytes in it wait for a sink.  OSError where none can be had, or but a tiny one."""

    __slots__ = ("reader", "writer", "waiting", "spoiled", "_ended")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.waiting = 0
        # There are bytes in it that nobody will take.
        self.spoiled = False
        self._ended = False
        if not self._widened():
            self.close()
            raise OSError(errno.ENFILE, "pipes are short")

    def close(self) -> None:
        """Nothing more comes in; what waits may still be taken."""
        if not self._ended:
            self._ended = True
            os.close(self.writer)
            self._close_if_empty()

    def taken(self, count: int) -> None:
        """`count` of the waiting bytes are gone."""
        self.waiting -= count
        self._close_if_empty()

    def _close_if_empty(self) -> None:
        if self._ended and not self.waiting:
            os.close(self.reader)

    def _widened(self) -> bool:
        for size in PIPE_BYTES:
            try:
                fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, size)
            except OSError:
                continue
            return True
        return False


class PipeSlice(FileSlice):
    """`count` bytes that wait in `pipe`, to be sent as if it were a file."""

    __slots__ = ("_pipe", "_held")

    def __init__(self, pipe: Pipe, count: int) -> None:
        super().__init__(pipe.reader, 0, count)
        self._pipe = pipe
        self._held = b""  # read, if splice does not work, and not sent
        pipe.waiting += count

    def send(self, sock: socket.socket, limit: int) -> Tuple[int, int]:
        """Send at most `limit` bytes; returns and raises as OutputQueue.send_some."""
        wanted = min(self.remaining, limit)
        if not self.plain:
            try:
                return wanted, splice(self.fd, sock.fileno(), wanted)
            except OSError as exc:
                if exc.errno not in UNSUPPORTED:
                    raise
                self.plain = True
        if not self._held:
            self._held = os.read(self.fd, min(self.remaining, PLAIN_CHUNK))
        wanted = len(self._held)
        sent = sock.send(self._held)
        self._held = self._held[sent:]
        return wanted, sent

    def take(self, limit: int) -> bytes:
        """The next bytes, at most `limit`, which count as sent."""
        data = os.read(self.fd, min(self.remaining, limit))
        self.advance(len(data))
        return data

    def advance(self, count: int) -> None:
        """`count` more bytes were sent."""
        super().advance(count)
        self._pipe.taken(count)

    def close(self) -> None:
        """Have no more use for what is left."""
        left, self.remaining = self.remaining, 0
        if left:
            self._pipe.spoiled = True
            self._pipe.taken(left)


def splice(source: int, sink: int, count: int) -> int:
    """Move up to `count` bytes from one fd to another, one of which is a pipe, without waiting."""
    return os.splice(source, sink, count, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)


class Splice(Instead):
    """Moves what comes from `source` to `sink`, as long as it comes in bulk."""

    __slots__ = ("allowed", "_source", "_sink", "_moved", "_write", "_full_reads", "_pipe", "_paused",
                 "_lately", "_timer")

    def __init__(self, source: Transport, sink: Transport, moved: Callable[[int], None],
                 write: Optional[Callable[[FileSlice], None]] = None) -> None:
        """`moved(count)` is called when `count` bytes came from the source and were written to the sink; who
        is called pauses the source if some of them have to wait.  `write` takes them in place of the sink."""
        self._source = source
        self._sink = sink
        self._moved = moved
        self._write = write or sink.write_file
        # So many bytes of the source may still go this way.
        self.allowed = SENDFILE_CHUNK
        self._full_reads = 0
        self._pipe: Optional[Pipe] = None  # only while splicing
        self._paused = False
        self._lately = 0  # bytes, since the timer was set
        self._timer: Optional[Timer] = None

    def came(self, count: int) -> None:
        """The receiver got `count` bytes by one data_received() of the source, and has written them."""
        if count < BUFFER_BYTES:
            self._full_reads = 0
            return
        self._full_reads += 1
        if self._full_reads >= BULK_READS and not self._sink.size:
            self._full_reads = 0
            self._begin()

    # -- as long as it flows

    def ready(self) -> None:
        """Move what has come into the pipe, and on to the sink what it takes."""
        pipe = self._pipe
        if pipe is None or self._paused:
            self._source.want_ready(False)
            return
        try:
            count = splice(self._source.sock.fileno(), pipe.writer, min(self.allowed, SENDFILE_CHUNK))
        except BlockingIOError:
            # With bytes in the pipe this may say that it is full: go on when they are gone.
            self._paused = pipe.waiting > 0
            return
        except OSError as exc:
            if exc.errno in UNSUPPORTED:
                self._full_reads = -READS_BEFORE_RETRY
                self._leave()
            else:
                self._source.broken(exc)
            return
        if count:
            self._pass_on(pipe, count)
        else:
            self._leave()  # the end: reading finds it again

    def pause(self) -> None:
        """Move nothing until resume()."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._source.want_ready(True)

    def stop(self) -> None:
        """Give the pipe up; what waits in it still goes out."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        if self._source.closing:
            return
        try:
            self._pipe = Pipe()
        except OSError:
            self._full_reads = -READS_BEFORE_RETRY
            return
        self._paused = False
        self._source.do_instead(self)
        self._wait_for_less()

    def _pass_on(self, pipe: Pipe, count: int) -> None:
        source, sink = self._source, self._sink
        source.bytes_received += count
        source.last_progress = source.reactor.now
        self._lately += count
        piece = PipeSlice(pipe, count)
        self._write(piece)
        self._paused = sink.size > 0
        if pipe.spoiled:
            self._leave()
        self._moved(count)

    def _leave(self) -> None:
        """Back to data_received()."""
        paused = self._paused
        self._source.stop_instead(self)
        if paused:
            self._source.pause_reading()

    # -- and when it does not

    def _wait_for_less(self) -> None:
        self._lately = 0
        self._timer = self._source.reactor.call_later(BULK_SECONDS, self._look_back)

    def _look_back(self) -> None:
        pipe = self._pipe
        if pipe is not None and (self._lately >= BULK_BYTES or pipe.waiting):
            self._wait_for_less()
        else:
            self._leave()


def splice_between(source: Transport, sink: Transport, moved: Callable[[int], None],
                   write: Optional[Callable[[FileSlice], None]] = None) -> Optional[Splice]:
    """A Splice for one direction of a tunnel, None where there can be none.  It needs no end: that of the
    source is its own."""
    if not hasattr(os, "splice") or type(source) not in PLAIN or type(sink) not in PLAIN:
        return None
    return Splice(source, sink, moved, write)
