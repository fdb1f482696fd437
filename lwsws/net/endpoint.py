"""What a transport is besides reading and writing: its socket, its state, its interest and its end.

    OPEN         reads and writes
    HALF_CLOSED  write_eof() was called: sends what is queued, then FIN; still reads
    FLUSHING     close() was called: sends what is queued, reads nothing, tells the receiver nothing
    LINGERING    all is sent and FIN too; throws away what still comes, for a little while
    CLOSED       the socket is closed, or was given away

Interest in reading is dropped late: pausing only says that nothing shall be read, and not before the
socket turns out to be ready is it given up.  So pausing and resuming within one callback is free.
With nothing to read and nothing to send the socket is not watched at all, because the kernel reports
a hang-up to everyone who watches; a peer that vanishes then is noticed by the next read or write.

Something else may be done with a readable socket than reading for the receiver: looking at its first
bytes (`start_peeking`), moving them inside the kernel (splice.py), throwing them away at the end
(lingering).
"""

from __future__ import annotations

import enum
import functools
import socket
from typing import Any, Optional

from lwsws.net.instead import Instead
from lwsws.net.linger import Linger
from lwsws.net.peek import Look, Peek
from lwsws.net.reactor import READ, Reactor
from lwsws.net.receiver import NOBODY, ConnectionLost, Receiver


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


class Endpoint:
    """One connected socket.  It owns the socket and closes it."""

    __slots__ = (
        "receiver",
        "sock",
        "bytes_sent",
        "bytes_received",
        "last_progress",
        "reactor",
        "_fd",
        "_mask",
        "_state",
        "_reading",
        "_eof_seen",
        "_instead",
        "_peer",
    )

    def __init__(self, reactor: Reactor, sock: socket.socket, receiver: Receiver, peer: Any = None) -> None:
        """`peer` is the address accept() gave, if at hand; else it is asked for when wanted."""
        self.receiver: Receiver = receiver
        self.sock = sock
        self.bytes_sent = 0
        self.bytes_received = 0
        # The reactor's time of the last byte that moved in either direction.
        self.last_progress = reactor.now
        self.reactor = reactor
        self._fd = sock.fileno()
        self._mask = 0  # what the reactor watches
        self._state = OPEN
        self._reading = False  # data_received() is wanted
        self._eof_seen = False
        self._instead: Optional[Instead] = None
        self._peer = peer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd {self._fd} {self._state.name} of {self.receiver!r}>"

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
    def peer(self) -> Any:
        """The address of the peer as the socket module gives it; None if it is gone already."""
        if self._peer is None and self._state is not CLOSED:
            try:
                self._peer = self.sock.getpeername()
            except OSError:
                pass
        return self._peer

    # -- whether to read

    def start(self) -> None:
        """Begin to read, unless peeking has begun."""
        self.resume_reading()

    def pause_reading(self) -> None:
        """No data_received() nor eof_received() until resume_reading()."""
        self._reading = False
        if self._instead is not None:
            self._instead.pause()

    def resume_reading(self) -> None:
        """Read again, from the next pass on; no effect after EOF or close(), nor while peeking."""
        if self._reading or self._eof_seen or self.closing:
            return
        if self._instead is not None:
            self._instead.resume()
            return
        self._reading = True
        if not self._mask & READ:
            self._watch(self._mask | READ)

    # -- something else than reading

    def do_instead(self, instead: Instead) -> None:
        """From the next pass on call `instead` when the socket is readable, and do not read for the receiver.
        No effect after close().  OSError as of start()."""
        if self.closing:
            return
        self._stop_instead()
        self._reading = False
        self._instead = instead
        self.want_ready(True)

    def stop_instead(self, instead: Instead) -> None:
        """Read again, unless something else has taken the place of `instead`."""
        if self._instead is instead:
            self._stop_instead()
            self.resume_reading()

    def want_ready(self, wanted: bool) -> None:
        """Whether what is done instead of reading shall hear that the socket is readable."""
        self._watch(self._mask | READ if wanted else self._mask & ~READ)

    def broken(self, exc: OSError) -> None:
        """What is done instead of reading has found the connection broken."""
        self._end(self._lost(exc))

    def start_peeking(self, limit: int, look: Look) -> None:
        """From the next pass on call `look(data, ended)` in place of data_received(), with all bytes that
        have come so far and are not read, each time there are more than before.  `ended`: no more will come.

        `limit` bytes are shown at most; it is no more than the reactor's buffer holds.  Once `look` knows the
        end or has seen so many, nothing is watched any more, not even a peer that goes away: have a deadline.
        OSError as of start().
        """
        self.do_instead(Peek(self, limit, look))

    def stop_peeking(self) -> None:
        """Read: all that was looked at comes by data_received().  No effect if not peeking."""
        if isinstance(self._instead, Peek):
            self.stop_instead(self._instead)

    def skip(self, count: int) -> None:
        """Throw away the first `count` of the bytes that were looked at, and go on peeking."""
        if not isinstance(self._instead, Peek):
            return
        try:
            self._instead.skip(count)
        except OSError as exc:
            self._end_soon(self._lost(exc))
            return
        self.bytes_received += count
        self.last_progress = self.reactor.now

    # -- ending

    def abort(self) -> None:
        """Drop what is queued and close now."""
        if self._state is not CLOSED:
            self._end_soon(None)

    # -- interest

    def _ready(self, mask: int) -> None:
        """The callback of the reactor."""
        raise NotImplementedError

    def _watch(self, mask: int) -> None:
        """Have the reactor watch for just this; for nothing means not at all (see the module's text)."""
        before = self._mask
        if mask == before:
            return
        self._mask = mask
        if not before:
            self.reactor.watch(self._fd, mask, self._ready)
        elif mask:
            self.reactor.rewatch(self._fd, mask, self._ready)
        else:
            self.reactor.unwatch(self._fd)

    def watch_on(self, mask: int) -> None:
        """Watch for what another endpoint has watched this socket for until now."""
        self._mask = mask
        if mask:
            self.reactor.rewatch(self._fd, mask, self._ready)

    def _stop_instead(self) -> None:
        instead, self._instead = self._instead, None
        if instead is not None:
            instead.stop()

    # -- changes of state

    def _shut_down_writing(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reset by the peer: the next read says so

    def _start_linger(self) -> None:
        self._state = LINGERING
        self._stop_instead()
        self._shut_down_writing()
        self._instead = Linger(self.reactor, self.sock, self._linger_over)
        self._watch(READ)

    def _linger_over(self) -> None:
        self._end(None)

    def _lost(self, exc: Exception) -> ConnectionLost:
        """The ConnectionLost for `exc`: a new one, for the frames in which `exc` came up hold us."""
        return ConnectionLost(exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc))

    def _end(self, exc: Optional[Exception]) -> None:
        """Close and tell; when it is the reactor that found the reason."""
        self._release()
        self._tell(exc)

    def _end_soon(self, exc: Optional[Exception]) -> None:
        """Close and tell later; when we may be in the middle of the receiver's code."""
        self._release()
        self.reactor.call_soon(functools.partial(self._tell, exc))

    def _release(self) -> None:
        """Give up the socket and what was done instead of reading."""
        self._state = CLOSED
        self._reading = False
        self._watch(0)
        self._stop_instead()
        self.sock.close()

    def _tell(self, exc: Optional[Exception]) -> None:
        receiver, self.receiver = self.receiver, NOBODY
        receiver.connection_lost(exc)
