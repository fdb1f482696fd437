"""A transport moves bytes on one non-blocking stream socket, TCP or unix, whatever they mean.

Reading is one recv into the reactor's shared buffer for each time the socket is ready: whoever sends
most gets no more turns than the others.  Writing tries the socket at once, and queues only what it
did not take; write interest exists only while something is queued.  So a request that is read, answered
and forgotten costs one wait, one recv and one send, and an idle transport holds no buffer.

    OPEN         reads and writes
    HALF_CLOSED  write_eof() was called: sends what is queued, then FIN; still reads
    FLUSHING     close() was called: sends what is queued, reads nothing, tells the receiver nothing
    LINGERING    all is sent and FIN too; throws away what still comes, for a little while
    CLOSED       the socket is closed

Interest in reading is dropped late: pausing only says that nothing shall be read, and not before the
socket turns out to be ready is it given up.  So pausing and resuming within one callback is free.
With nothing to read and nothing to send the socket is not watched at all, because the kernel reports
a hang-up to everyone who watches; a peer that vanishes then is noticed by the next read or write.

The receiver is told of a loss directly when the reactor found it, and by `call_soon` when one of its own
calls of write(), close() or abort() did, so that nothing ever happens to it in the middle of its own code.
"""

from __future__ import annotations

import enum
import fcntl
import functools
import socket
import struct
import termios
from typing import Any, Optional

from lwsws.net.output import FileEnded, FileSlice, OutputQueue
from lwsws.net.reactor import READ, WRITE, Reactor
from lwsws.net.receiver import NOBODY, ConnectionLost, Receiver
from lwsws.net.timers import Timer

# What a user of transports needs, from one place.
__all__ = ["ConnectionLost", "FileSlice", "Receiver", "Transport"]

# Above HIGH queued bytes a producer should wait until drained(), which comes below LOW.
HIGH = 256 * 1024
LOW = 64 * 1024
# At most so much is sent on one socket in a pass; what fills a line of 100 Mbit/s for 40 ms.
SENDFILE_CHUNK = 512 * 1024
# How long and how much we go on reading after our last byte.  A close with unread bytes makes the kernel send
# a reset, which may destroy our answer before the peer has read it (RFC 9112 9.6).  An eager client has
# megabytes on the way when it is told that its upload is not wanted.
LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024


# What TIOCOUTQ (tcp(7): SIOCOUTQ) answers.
UNSENT = struct.Struct("i")


def lost(exc: Exception) -> ConnectionLost:
    """The ConnectionLost for `exc`: a new one, for the frames in which `exc` came up hold the transport."""
    return ConnectionLost(exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc))


class State(enum.Enum):
    """See the module's text."""

    OPEN = 1
    HALF_CLOSED = 2
    FLUSHING = 3
    LINGERING = 4
    CLOSED = 5


OPEN = State.OPEN
HALF_CLOSED = State.HALF_CLOSED
FLUSHING = State.FLUSHING
LINGERING = State.LINGERING
CLOSED = State.CLOSED


class Linger:
    """How much longer a lingering transport reads."""

    __slots__ = ("timer", "bytes_left")

    def __init__(self, timer: Timer) -> None:
        self.timer = timer
        self.bytes_left = LINGER_BYTES


class Transport:
    """One connected socket.  It owns the socket and closes it."""

    __slots__ = (
        "receiver",
        "sock",
        "is_high",
        "bytes_sent",
        "bytes_received",
        "last_progress",
        "_reactor",
        "_fd",
        "_mask",
        "_state",
        "_reading",
        "_eof_seen",
        "_queue",
        "_shall_linger",
        "_linger",
        "_peer",
    )

    def __init__(self, reactor: Reactor, sock: socket.socket, receiver: Receiver, peer: Any = None) -> None:
        """`peer` is the address accept() gave, if at hand; else it is asked for when wanted."""
        self.receiver: Receiver = receiver
        self.sock = sock
        # More than HIGH bytes are queued, and since then never less than LOW.
        self.is_high = False
        self.bytes_sent = 0
        self.bytes_received = 0
        # The reactor's time of the last byte that moved in either direction.
        self.last_progress = reactor.now
        self._reactor = reactor
        self._fd = sock.fileno()
        self._mask = 0  # what the reactor watches
        self._state = OPEN
        self._reading = False  # data_received() is wanted
        self._eof_seen = False
        self._queue: Optional[OutputQueue] = None  # exists only while it is not empty
        self._shall_linger = False
        self._linger: Optional[Linger] = None
        self._peer = peer

    def __repr__(self) -> str:
        return f"<Transport fd {self._fd} {self._state.name} of {self.receiver!r}>"

    # -- what is known

    @property
    def closed(self) -> bool:
        """Whether the socket is closed; connection_lost() may be about to be told."""
        return self._state is CLOSED

    @property
    def closing(self) -> bool:
        """Whether it is over for the receiver: close() or abort() was called, or the connection is lost."""
        return self._state is not OPEN and self._state is not HALF_CLOSED

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

    @property
    def peer(self) -> Any:
        """The address of the peer as the socket module gives it; None if it is gone already."""
        if self._peer is None and self._state is not CLOSED:
            try:
                self._peer = self.sock.getpeername()
            except OSError:
                pass
        return self._peer

    # -- reading

    def start(self) -> None:
        """Begin to read."""
        self.resume_reading()

    def pause_reading(self) -> None:
        """No data_received() nor eof_received() until resume_reading()."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read again, from the next pass on; no effect after EOF or close()."""
        if self._eof_seen or self.closing:
            return
        self._reading = True
        if not self._mask & READ:
            self._watch(self._mask | READ)

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
            self._end_soon(lost(exc))
            return
        if sent:
            self.bytes_sent += sent
            self.last_progress = self._reactor.now
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
        try:
            self._send_queued(queue)
        except (OSError, FileEnded) as exc:
            self._end_soon(lost(exc))
            return
        if queue.size:
            self._await_room(queue)
        else:
            self._queue = None

    def write_eof(self) -> None:
        """Send what is queued and then FIN; go on reading."""
        if self._state is not OPEN:
            return
        self._state = HALF_CLOSED
        if self._queue is None:
            self._shut_down_writing()

    # -- ending

    def close(self, linger: bool = False) -> None:
        """Send what is queued, then close.  With `linger` read on for a moment before the close, so that
        a peer that is still sending gets our answer and no reset."""
        if self.closing:
            return
        self._state = FLUSHING
        self._reading = False
        self._shall_linger = linger and not self._eof_seen
        if self._queue is not None:
            return  # _emptied() goes on
        if self._shall_linger:
            self._start_linger()
        else:
            self._end_soon(None)

    def abort(self) -> None:
        """Drop what is queued and close now."""
        if self._state is not CLOSED:
            self._end_soon(None)

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
        reactor = self._reactor
        try:
            count = self.sock.recv_into(reactor.buffer)
        except BlockingIOError:
            return
        except OSError as exc:
            self._end(lost(exc))
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
        """Readable, though nothing shall be read: look away, or throw it away while lingering."""
        linger = self._linger
        if linger is None:
            self._watch(self._mask & ~READ)
            return
        try:
            count = self.sock.recv_into(self._reactor.buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        linger.bytes_left -= count
        if not count or linger.bytes_left <= 0:
            self._end(None)

    def _write_ready(self, queue: OutputQueue) -> None:
        try:
            self._send_queued(queue)
        except (OSError, FileEnded) as exc:
            self._end(lost(exc))
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
            if self._shall_linger:
                self._start_linger()
            else:
                self._end(None)
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
            self.last_progress = self._reactor.now
            if sent < wanted:
                return  # the socket is full: asking again would only say so
            share -= sent

    def _await_room(self, queue: OutputQueue) -> None:
        self._note_size(queue)
        self._watch(self._mask | WRITE)

    def _note_size(self, queue: OutputQueue) -> None:
        if queue.size > HIGH:
            self.is_high = True

    # -- changes of state

    def _watch(self, mask: int) -> None:
        """Have the reactor watch for just this; for nothing means not at all (see the module's text)."""
        before = self._mask
        if mask == before:
            return
        self._mask = mask
        if not before:
            self._reactor.watch(self._fd, mask, self._ready)
        elif mask:
            self._reactor.rewatch(self._fd, mask, self._ready)
        else:
            self._reactor.unwatch(self._fd)

    def _shut_down_writing(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reset by the peer: the next read says so

    def _start_linger(self) -> None:
        self._state = LINGERING
        self._shut_down_writing()
        self._linger = Linger(self._reactor.call_later(LINGER_SECONDS, self._linger_over))
        self._watch(READ)

    def _linger_over(self) -> None:
        self._end(None)

    def _end(self, exc: Optional[Exception]) -> None:
        """Close and tell; when it is the reactor that found the reason."""
        self._release()
        self._tell(exc)

    def _end_soon(self, exc: Optional[Exception]) -> None:
        """Close and tell later; when we may be in the middle of the receiver's code."""
        self._release()
        self._reactor.call_soon(functools.partial(self._tell, exc))

    def _release(self) -> None:
        """Give up the socket, the queue and the timer."""
        self._state = CLOSED
        self._reading = False
        self.is_high = False
        self._watch(0)
        self.sock.close()
        linger, self._linger = self._linger, None
        if linger is not None:
            linger.timer.cancel()
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.clear()

    def _tell(self, exc: Optional[Exception]) -> None:
        receiver, self.receiver = self.receiver, NOBODY
        receiver.connection_lost(exc)
