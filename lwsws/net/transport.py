"""A transport moves bytes on one non-blocking stream socket, TCP or unix, whatever they mean.

Reading is one recv into the reactor's shared buffer for each time the socket is ready: whoever sends
most gets no more turns than the others.  Writing tries the socket at once, and queues only what it
did not take; write interest exists only while something is queued.  So a request that is read, answered
and forgotten costs one wait, one recv and one send, and an idle transport holds no buffer.

What states it passes through, when it watches its socket and how it ends stands in endpoint.py.

The receiver is told of a loss directly when the reactor found it, and by `call_soon` when one of its own
calls of write(), close() or abort() did, so that nothing ever happens to it in the middle of its own code.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Any, Callable, Optional

from lwsws.net.endpoint import CLOSED, FLUSHING, HALF_CLOSED, OPEN, Endpoint
from lwsws.net.output import FileEnded, FileSlice, OutputQueue
from lwsws.net.reactor import READ, WRITE, Reactor
from lwsws.net.receiver import NOBODY, ConnectionLost, Receiver

# What a user of transports needs, from one place.
__all__ = ["ConnectionLost", "FileSlice", "Receiver", "Transport"]

# Above HIGH queued bytes a producer should wait until drained(), which comes below LOW.
HIGH = 256 * 1024
LOW = 64 * 1024
# At most so much is sent on one socket in a pass; what fills a line of 100 Mbit/s for 40 ms.
SENDFILE_CHUNK = 512 * 1024

# What TIOCOUTQ (tcp(7): SIOCOUTQ) answers.
UNSENT = struct.Struct("i")


class Transport(Endpoint):
    """One connected socket, and the bytes on their way through it."""

    __slots__ = ("is_high", "_queue", "_shall_linger")

    def __init__(self, reactor: Reactor, sock: socket.socket, receiver: Receiver, peer: Any = None) -> None:
        """`peer` is the address accept() gave, if at hand; else it is asked for when wanted."""
        super().__init__(reactor, sock, receiver, peer)
        # More than HIGH bytes are queued, and since then never less than LOW.
        self.is_high = False
        self._queue: Optional[OutputQueue] = None  # exists only while it is not empty
        self._shall_linger = False

    # -- what is known

    @property
    def size(self) -> int:
        """How many bytes are queued."""
        return 0 if self._queue is None else self._queue.size

    def bytes_taken(self) -> int:
        """How many of the bytes sent have left the kernel's send queue, which can hold megabytes: for TCP
        those that the peer's side has acknowledged.  A system call, so not for each request."""
        if self._state is CLOSED:
            return self.bytes_sent
        try:
            queued: int = UNSENT.unpack(fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(UNSENT.size)))[0]
        except OSError:
            return self.bytes_sent
        return self.bytes_sent - queued

    # -- writing

    def write(self, data: bytes, more: bool = False) -> None:
        """Send `data` after what is queued.  `more`: a file follows in this same turn, so the kernel may wait
        for it to fill a packet.  Dropped without a word after write_eof(), close(), abort() or a loss."""
        if self._state is not OPEN:
            return
        if self._queue is not None:
            self._queue.append(data)
            self._note_size(self._queue)
            return
        try:
            sent = self.sock.send(data, socket.MSG_MORE if more else 0)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._end_soon(self._lost(exc))
            return
        if sent:
            self.bytes_sent += sent
            self.last_progress = self.reactor.now
        if sent < len(data):
            self._queue = queue = OutputQueue()
            queue.append(data)
            queue.advance(sent)
            self._await_room(queue)

    def write_file(self, piece: FileSlice) -> None:
        """Send a slice of a file after what is queued; released when it is sent or dropped."""
        if self._state is not OPEN or piece.remaining <= 0:
            piece.close()
            return
        queue = self._queue
        if queue is not None:
            queue.append_file(piece)
            self._note_size(queue)
            return
        self._queue = queue = OutputQueue()
        queue.append_file(piece)
        self._push(queue)

    def write_eof(self) -> None:
        """Send what is queued and then FIN; go on reading."""
        if self._state is not OPEN:
            return
        self._state = HALF_CLOSED
        if self._queue is None:
            self._shut_down_writing()

    # -- ending

    def detach(self, heir: Optional[Endpoint] = None) -> socket.socket:
        """Give the socket away, open and as it is, and tell nobody.  Nothing may be queued.  `heir` goes on
        watching it, which is cheaper than to begin anew."""
        if self._queue is not None or self._state is not OPEN:
            raise AssertionError(f"{self!r} cannot give its socket away")
        self._stop_instead()
        if heir is None:
            self._watch(0)
        else:
            heir.watch_on(self._mask)
            self._mask = 0
        self._state = CLOSED
        self._reading = False
        self.receiver = NOBODY
        return self.sock

    def close(self, linger: bool = False) -> None:
        """Send what is queued, then close.  With `linger` read on for a moment before the close, so that
        a peer that is still sending gets our answer and no reset."""
        if self.closing:
            return
        self._state = FLUSHING
        self._reading = False
        self._stop_instead()
        self._shall_linger = linger and not self._eof_seen
        if self._queue is None:  # else _emptied() goes on
            self._all_sent(self._end_soon)

    # -- callbacks of the reactor

    def _ready(self, mask: int) -> None:
        sound = False
        try:
            if mask & READ:
                if self._reading:
                    self._read()
                else:
                    self._read_unwanted()
            if mask & WRITE and self._queue is not None:
                self._write_ready(self._queue)
            sound = True
        finally:
            # The receiver raised: the reactor is going to log it, and this connection is of no use any more.
            if not sound and self._state is not CLOSED:
                self._end_soon(ConnectionLost("a fault of the server"))

    def _read(self) -> None:
        reactor = self.reactor
        try:
            count = self.sock.recv_into(reactor.buffer)
        except BlockingIOError:
            return
        except OSError as exc:
            self._end(self._lost(exc))
            return
        if not count:
            self._read_eof()
            return
        self.bytes_received += count
        self.last_progress = reactor.now
        self.receiver.data_received(bytes(reactor.view[:count]))

    def _read_eof(self) -> None:
        self._reading = False
        self._eof_seen = True
        self.receiver.eof_received()
        # At EOF the socket stays readable.  Most receivers have closed by now, which saved this call.
        self._watch(self._mask & ~READ)

    def _read_unwanted(self) -> None:
        """Readable, though data_received() is not wanted: look away, or do what is wanted instead."""
        if self._instead is None:
            self._watch(self._mask & ~READ)
        else:
            self._instead.ready()

    def _write_ready(self, queue: OutputQueue) -> None:
        try:
            self._send_queued(queue)
        except (OSError, FileEnded) as exc:
            self._end(self._lost(exc))
            return
        if not queue.size:
            self._queue = None
            self._emptied()
        elif self.is_high and queue.size < LOW:
            self.is_high = False
            if not self.closing:
                self.receiver.drained()

    def _emptied(self) -> None:
        """All that was queued is sent: what was waiting for that?"""
        self.is_high = False
        if self._state is FLUSHING:
            self._all_sent(self._end)
            return
        if self._state is HALF_CLOSED:
            self._shut_down_writing()
        self.receiver.drained()
        # A producer that wrote more just now may need the write interest again, so it goes only here.
        if self._queue is None:
            self._watch(self._mask & ~WRITE)

    # -- sending

    def _send_queued(self, queue: OutputQueue) -> None:
        """Send until the queue is empty, the socket takes no more or this pass has had its share."""
        share = SENDFILE_CHUNK
        while queue.size and share > 0:
            try:
                wanted, sent = queue.send_some(self.sock, share)
            except BlockingIOError:
                return
            self.bytes_sent += sent
            self.last_progress = self.reactor.now
            if sent < wanted:
                return  # the socket is full: asking again would only say so
            share -= sent

    def _push(self, queue: OutputQueue) -> None:
        """Send what is queued, in the middle of the receiver's code; the rest has to wait."""
        try:
            self._send_queued(queue)
        except (OSError, FileEnded) as exc:
            self._end_soon(self._lost(exc))
            return
        if queue.size:
            self._await_room(queue)
        else:
            self._queue = None

    def _await_room(self, queue: OutputQueue) -> None:
        self._note_size(queue)
        self._watch(self._mask | WRITE)

    def _note_size(self, queue: OutputQueue) -> None:
        if queue.size > HIGH:
            self.is_high = True

    def _all_sent(self, end: Callable[[Optional[Exception]], None]) -> None:
        """After close() nothing is queued any more: linger, or close by `end`."""
        if self._shall_linger:
            self._start_linger()
        else:
            end(None)

    def _release(self) -> None:
        super()._release()
        self.is_high = False
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.clear()
