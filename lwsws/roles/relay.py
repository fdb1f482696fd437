"""The relay role: bytes both ways between the client and another connection, whatever they mean.

    client  -- up -->  far end        each way is a Direction: its source is not read while its sink is full
            <- down -

Each end of stream is carried through: what comes after it still flows the other way.  When both have come,
the far end is closed, and then the client.  What breaks one side breaks the other as well (net/reset.py);
the client gets what came before that.  The far end never outlives the client's connection, so whoever ends
that has ended both.

An open tunnel may be silent for ever, as an ssh session is; probes of the kernel (SO_KEEPALIVE) find peers
that are gone.  Limits in time: what is queued for either side must make progress, and a tunnel of which one
direction has ended must not be idle for long.
"""

from __future__ import annotations

import functools
from typing import Optional, Protocol

from lwsws import log
from lwsws.core.connection import SEND, Connection
from lwsws.core.role import Role
from lwsws.net.reactor import Reactor
from lwsws.net.receiver import ConnectionLost
from lwsws.net.reset import break_off, is_delivered
from lwsws.net.splice import splice_between
from lwsws.net.timers import Deadline, Timer
from lwsws.net.transport import Transport

# How long a half-closed connection may be idle.  A program that sent its end of stream waits for an answer,
# which may take a while to compute; but nobody will notice a peer that has forgotten to send it.
HALF_CLOSED_SECONDS = 3600.0
# How soon to look whether the client has everything that came before the far end broke: about the time that
# an acknowledgement takes to come.  Each next look comes after twice the time, up to a second.
DELIVERY_SECONDS = 0.05
DELIVERY_SECONDS_MOST = 1.0


class End(Protocol):
    """One end of a tunnel, as the direction that leads there needs it.  A `Connection` is one."""

    @property
    def transport(self) -> Transport:
        """Where to write."""

    @property
    def deadline(self) -> Deadline:
        """Its time limit."""

    def expect_progress(self, seconds: float, why: str) -> None:
        """Some byte of what is queued must be taken within `seconds`."""


class Direction:
    """One way through a tunnel: what comes from `source` goes to `sink`."""

    __slots__ = ("source", "sink", "moved", "ended", "_patience", "_splice")

    def __init__(self, source: Transport, sink: End, patience: float) -> None:
        """`patience` is how long the sink may take nothing, in seconds."""
        self.source = source
        self.sink = sink
        self.moved = 0
        self.ended = False
        self._patience = patience
        # In bulk the bytes need not come up to us.
        self._splice = splice_between(source, sink.transport, self.passed_on)

    def received(self, data: bytes) -> None:
        """The source has sent `data`."""
        self.sink.transport.write(data)
        self.passed_on(len(data))
        if self._splice is not None:
            self._splice.came(len(data))

    def passed_on(self, count: int) -> None:
        """`count` bytes of the source were written to the sink: has it enough for now?"""
        self.moved += count
        transport = self.sink.transport
        if transport.size:
            self.sink.expect_progress(self._patience, SEND)
            if transport.is_high:
                self.source.pause_reading()

    def drained(self) -> None:
        """The sink has room again."""
        if not self.sink.transport.size:
            self.sink.deadline.clear()
        self.source.resume_reading()

    def end(self) -> None:
        """The source has sent its end of stream."""
        self.ended = True
        self.sink.transport.write_eof()


class FarEnd:
    """The other connection of a relay, with its own time limit for what is queued there."""

    __slots__ = ("transport", "deadline", "_relay", "_reactor", "_patience", "_taken", "_fault")

    def __init__(self, relay: RelayRole, transport: Transport, reactor: Reactor) -> None:
        """Becomes the receiver of `transport`."""
        self.transport = transport
        self.deadline = Deadline(reactor.timers, self._expired)
        self._relay = relay
        self._reactor = reactor
        self._patience = 0.0
        self._taken = 0     # bytes, when the deadline was set
        self._fault: Optional[ConnectionLost] = None    # why we broke it off
        transport.receiver = self

    def __repr__(self) -> str:
        return f"<FarEnd of conn {self._relay.conn.ident}>"

    def data_received(self, data: bytes) -> None:
        self._relay.down.received(data)

    def eof_received(self) -> None:
        self._relay.ended(self._relay.down)

    def drained(self) -> None:
        self._relay.up.drained()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.deadline.clear()
        self._relay.far_lost(exc or self._fault)

    def expect_progress(self, seconds: float, why: str) -> None:
        if self.deadline.why != why:
            self._taken = self.transport.bytes_taken()
            self._patience = seconds
            self.deadline.set(self._reactor.now + seconds, why)

    def _expired(self, why: str) -> None:
        before, self._taken = self._taken, self.transport.bytes_taken()
        if self._taken != before:
            self.deadline.set(self._reactor.now + self._patience, why)
            return
        self._fault = ConnectionLost(why)
        break_off(self.transport)


class RelayRole(Role):
    """Copies between the client and a connected transport."""

    __slots__ = ("up", "down", "label", "_far", "_far_transport", "_first", "_half_closed")

    up: Direction
    down: Direction
    _far: FarEnd

    def __init__(self, far: Transport, label: str, first: bytes = b"") -> None:
        """`far` belongs to the relay from `start` on, started or not; `label` names it in the log.  `first`
        was read from it already."""
        self.label = label
        self._far_transport = far
        self._first = first
        self._half_closed: Optional[Timer] = None

    def start(self, conn: Connection) -> None:
        """Let the bytes flow."""
        self.conn = conn
        context = conn.context
        patience = context.limits.send_timeout
        conn.deadline.clear()
        context.onward += 1
        far = self._far = FarEnd(self, self._far_transport, context.reactor)
        self.up = Direction(conn.transport, far, patience)
        self.down = Direction(far.transport, conn, patience)
        if conn.transport.size:     # of an earlier role
            conn.expect_progress(patience, SEND)
        if self._first:
            self.down.received(self._first)
            self._first = b""
        try:
            far.transport.start()
            conn.transport.resume_reading()
        except OSError as error:    # the kernel watches as many sockets as it can
            log.warn(f"conn {conn.ident}: onward {self.label}: {error.strerror}")
            conn.abort()

    def data_received(self, data: bytes) -> None:
        """From the client."""
        self.up.received(data)

    def eof_received(self) -> None:
        """The client's end of stream."""
        self.ended(self.up)

    def drained(self) -> None:
        """The client has taken what waited for it."""
        self.down.drained()

    def expired(self, why: str) -> None:
        """The client takes nothing."""
        break_off(self.conn.transport)

    def shutdown(self) -> None:
        """Deliver what was received, then close."""
        self.conn.transport.pause_reading()
        if self._far.transport.closed:
            self.conn.close(linger=True)
        else:
            self._far.transport.close(linger=True)

    def closed(self, exc: Optional[Exception]) -> None:
        """The client's connection is gone, and so the far end has to go."""
        self.conn.context.onward -= 1
        if self._half_closed is not None:
            self._half_closed.cancel()
        break_off(self._far.transport)
        if log.enabled(log.INFO):
            up, down = self.up.moved, self.down.moved
            log.info(f"conn {self.conn.ident}: onward {self.label}: {up} bytes sent, {down} received")

    def ended(self, direction: Direction) -> None:
        """The source of `direction` will send nothing more."""
        direction.end()
        if self.up.ended and self.down.ended:
            self._far.transport.close()     # then far_lost() closes the client's
        else:
            self._await_other_end(HALF_CLOSED_SECONDS)

    def far_lost(self, exc: Optional[Exception]) -> None:
        """The far end is gone: by our close, or `exc` says why."""
        conn = self.conn
        if exc is not None:
            log.info(f"conn {conn.ident}: onward {self.label}: lost: {exc}")
            conn.transport.pause_reading()
            self._break_when_delivered()
        elif not conn.transport.closing:
            conn.close(linger=True)

    def _break_when_delivered(self, wait: float = DELIVERY_SECONDS) -> None:
        """What came before the far end broke shall arrive, but not be taken for all."""
        conn = self.conn
        if conn.transport.closing:
            return
        if is_delivered(conn.transport):
            break_off(conn.transport)
            return
        conn.expect_progress(conn.context.limits.send_timeout, SEND)
        longer = min(wait * 2, DELIVERY_SECONDS_MOST)
        conn.context.reactor.call_later(wait, functools.partial(self._break_when_delivered, longer))

    def _await_other_end(self, seconds: float) -> None:
        self._half_closed = self.conn.context.reactor.call_later(seconds, self._half_closed_for_long)

    def _half_closed_for_long(self) -> None:
        """One direction has ended a while ago: is the other one idle?"""
        conn = self.conn
        # What moves passes the client's end, in whichever direction.
        left = conn.transport.last_progress + HALF_CLOSED_SECONDS - conn.context.reactor.now
        if left > 0:
            self._await_other_end(left)
            return
        log.info(f"conn {conn.ident}: onward {self.label}: half-closed and idle")
        break_off(conn.transport)
