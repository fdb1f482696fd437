"""A link: one connection to an origin, used by one request after the other, and its time limit.

    opened --> in use --> idle in its pool --> in use --> ... --> dropped

Whoever uses it receives what comes from its transport; an idle one that says anything, or ends, is of no use
any more.  The time limit lives as long as the link does, because one that only moves costs nothing.

An origin may answer an upload before it has read all of it, and close.  Then the kernel refuses what we send,
though the answer lies in our socket: the transport of a link reads that first.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Optional, Protocol

from lwsws.net.endpoint import HALF_CLOSED, OPEN
from lwsws.net.reactor import READ, Reactor
from lwsws.net.receiver import ConnectionLost, Receiver
from lwsws.net.timers import Deadline
from lwsws.net.transport import Transport

if TYPE_CHECKING:
    from lwsws.net.pool import Pool


class User(Receiver, Protocol):
    """Who has a link."""

    def expired(self, why: str) -> None:
        """The time limit of the link, set for the reason `why`, has passed."""


class SocketFailed(ConnectionLost):
    """Reading or writing has failed, and nothing else is wrong."""


class LinkTransport(Transport):
    """A transport that, when it can send no more, still reads what has come; then it is lost."""

    __slots__ = ("_failure",)

    def __init__(self, reactor: Reactor, sock: socket.socket, receiver: Receiver) -> None:
        super().__init__(reactor, sock, receiver)
        self._failure: Optional[SocketFailed] = None    # of sending

    def _lost(self, exc: Exception) -> ConnectionLost:
        return SocketFailed(*super()._lost(exc).args)

    def _end(self, exc: Optional[Exception]) -> None:
        if not self._goes_on(exc):
            super()._end(exc)

    def _end_soon(self, exc: Optional[Exception]) -> None:
        if not self._goes_on(exc):
            super()._end_soon(exc)

    def _goes_on(self, exc: Optional[Exception]) -> bool:
        """Whether it is only sending that has failed; then nothing more is sent.  A failure of reading comes
        when all is read."""
        if not isinstance(exc, SocketFailed) or self._state is not OPEN:
            return False
        try:
            unread = self.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return False
        if not unread:
            return False
        self._failure = exc
        self._state = HALF_CLOSED
        self.is_high = False
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.clear()
        self._watch(READ if self._reading else 0)
        return True

    def _read_eof(self) -> None:
        if self._failure is None:
            super()._read_eof()
        else:   # the kernel tells of a failure once; what looks like an end now is none
            self._end(self._failure)


class Discarded:
    """The receiver of a transport that is of no use any more."""

    def data_received(self, data: bytes) -> None:
        """Too late."""

    def eof_received(self) -> None:
        """As if that mattered."""

    def drained(self) -> None:
        """Nothing more is sent."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """It was lost already."""


DISCARDED = Discarded()


class Link:
    """One connection of `pool`.  While it is idle, it is the receiver of its own transport."""

    __slots__ = ("pool", "transport", "deadline", "used", "idle_since", "_user")

    def __init__(self, pool: Pool, transport: Transport) -> None:
        self.pool = pool
        self.transport = transport
        self.deadline = Deadline(transport.reactor.timers, self._expired)
        # Whether it has served a request, so that the origin may be tired of it.
        self.used = False
        self.idle_since = 0.0
        self._user: Optional[User] = None

    def __repr__(self) -> str:
        return f"<Link to {self.pool.target.onward}>"

    def use(self, user: User) -> None:
        """`user` hears of all that happens from now on."""
        self._user = user
        self.transport.receiver = user

    def rest(self, seconds: float) -> None:
        """It is idle from now on, for so long at most."""
        transport = self.transport
        self.used = True
        self._user = None
        transport.receiver = self
        self.idle_since = transport.reactor.now
        self.deadline.set(self.idle_since + seconds, "idle")
        transport.resume_reading()

    def drop(self) -> None:
        """Close it, and hear no more of it."""
        self._user = None
        self.deadline.end()
        self.transport.receiver = DISCARDED
        self.transport.abort()

    def hand_over(self) -> Transport:
        """Give the transport to somebody else, who becomes its receiver."""
        self._user = None
        self.deadline.end()
        return self.transport

    def is_sound(self) -> bool:
        """Whether nothing has come from the origin that was not read yet, not even its end."""
        if self.transport.closing:
            return False
        try:
            self.transport.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    # While it is idle.

    def data_received(self, data: bytes) -> None:
        """An answer that nobody asked for."""
        self.pool.drop(self)

    def eof_received(self) -> None:
        """The origin has closed it."""
        self.pool.drop(self)

    def drained(self) -> None:
        """Nothing waits to be sent."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The origin, or the network, has broken it."""
        self.pool.drop(self)

    def _expired(self, why: str) -> None:
        if self._user is None:
            self.pool.drop(self)
        else:
            self._user.expired(why)
