"""Connection: one accepted peer, with its transport, its one role and its one deadline.

The transport tells the connection what happened and the connection tells its role.  All that
ends a connection comes through here: the peer's end, a deadline, a role's `close` or `abort`.
There is one way across from role to role, `switch_role`, and one place where a connection is
forgotten, `connection_lost`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Callable, Optional

from lwsws import log
from lwsws.core.peers import peer_name
from lwsws.core.role import Role
from lwsws.net.timers import Deadline
from lwsws.net.transport import Transport

if TYPE_CHECKING:
    from ssl import SSLContext

    from lwsws.core.context import Context
    from lwsws.core.vhost import Counts
    from lwsws.net.tls_transport import TlsTransport

# The reasons a deadline may be set for.  FIRST, HANDSHAKE, HEAD and DRAIN are absolute: a byte does not move
# them (LESSONS 3.8); IDLE, BODY, RESPONSE and SEND are about lack of progress, never about total time.
FIRST = "nothing sent"
HANDSHAKE = "TLS handshake incomplete"
HEAD = "request head incomplete"
BODY = "request body stalled"
IDLE = "idle"
RESPONSE = "no answer from the handler"
SEND = "peer does not take the answer"
DRAIN = "rest of the request body"

# When the server stops, a connection has so many seconds after its last byte for a request that may be on its
# way, else a busy client would find it closed under its hands.  Longer than a round trip, and short for who
# waits for the end.
GRACE_SECONDS = 1.0


class Connection:
    """One accepted peer.  Lives on the reactor thread."""

    __slots__ = ("context", "transport", "role", "deadline", "ident", "peer", "counted", "closed", "counts",
                 "_sent", "_patience", "_asking")

    def __init__(self, context: Context, sock: socket.socket, address: Any, role: Role,
                 counted: str = "") -> None:
        """`counted` is the key under which the limits for each client have admitted it, if they have."""
        self.context = context
        self.transport = Transport(context.reactor, sock, self, address)
        self.deadline = Deadline(context.reactor.timers, self._expired)
        self.peer = peer_name(address)
        self.counted = counted
        self.closed = False
        self.counts: Optional[Counts] = None    # of the vhost that its bytes are counted for
        self._sent = 0          # for expect_progress: the bytes sent before, and its seconds
        self._patience = 0.0
        self._asking = False    # its request counts for the limit of its client
        self.ident = context.register(self)
        self.role = role
        try:
            role.start(self)
            self.transport.start()
        except OSError as error:    # the kernel watches as many sockets as it can
            log.warn(f"conn {self.ident}: {error.strerror}")
            self.abort()

    def switch_role(self, role: Role, leftover: bytes) -> None:
        """Change what the bytes mean from now on; `leftover` was read by the old role but not used."""
        if log.enabled(log.INFO):
            log.info(f"conn {self.ident}: {type(self.role).__name__} -> {type(role).__name__}")
        self.role = role
        role.start(self)
        if leftover and not self.transport.closing:
            role.data_received(leftover)

    def start_tls(self, context: SSLContext, server_name: str, done: Callable[[], None]) -> TlsTransport:
        """Let the bytes that come from now on be TLS, whose client asked for `server_name`; calls `done` when
        the handshake is complete.  If it fails, the connection is lost."""
        from lwsws.net.tls_transport import start_tls  # loads ssl, which not every server needs
        self.transport = transport = start_tls(self.transport, context, server_name, done)
        return transport

    # What the transport says.

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.role.data_received(data)

    def eof_received(self) -> None:
        """The peer half-closed."""
        self.role.eof_received()

    def drained(self) -> None:
        """The output has room again."""
        self.role.drained()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The transport is closed; told exactly once."""
        self.closed = True
        self.deadline.end()
        if exc is not None and log.enabled(log.INFO):
            log.info(f"conn {self.ident}: {self.peer}: lost: {exc}")
        try:
            self.role.closed(exc)
        finally:
            self.context.unregister(self)

    # What roles ask for.

    def begin_request(self) -> bool:
        """Count a request for the limit of its client; False if that has too many."""
        peers = self.context.peers
        if peers is None or not self.counted:
            return True
        self._asking = peers.begin(self.counted)
        return self._asking

    def end_request(self) -> None:
        """The request is not under way any more; no effect if none was counted."""
        if self._asking and self.context.peers is not None:
            self.context.peers.end(self.counted)
        self._asking = False

    def expect(self, seconds: float, why: str) -> None:
        """Set the one deadline: something must happen within `seconds`, else the role hears `why`."""
        self.deadline.set(self.context.reactor.now + seconds, why)

    def expect_first(self, seconds: float) -> None:
        """The first bytes must come within `seconds`; sooner if the server stops."""
        self.expect(min(seconds, GRACE_SECONDS) if self.context.stopping else seconds, FIRST)

    def expect_progress(self, seconds: float, why: str) -> None:
        """The same for reasons that are about lack of progress in sending: set once, and only bytes that
        the peer takes move it.  Bytes that it sends do not (LESSONS 3.8)."""
        if self.deadline.why != why:
            self._sent = self.transport.bytes_taken()
            self._patience = seconds
            self.expect(seconds, why)

    def end_idle(self, why: str) -> None:
        """The server stops and nothing is under way here: close, but not before GRACE_SECONDS after the last
        byte, when the deadline will be for the reason `why`."""
        until = self.transport.last_progress + GRACE_SECONDS
        if until > self.context.reactor.now:
            self.deadline.set(until, why)
        else:
            self.close()

    def close(self, linger: bool = False) -> None:
        """Flush what is queued, then close; `linger` reads on for a moment so that the peer gets
        our last answer even if it is still sending (RFC 9112 9.6)."""
        self.transport.close(linger=linger)
        if self.transport.size:     # the last word of TLS counts as well
            self.expect_progress(self.context.limits.send_timeout, SEND)
        else:
            self.deadline.clear()

    def abort(self) -> None:
        """Close now and drop what is queued."""
        self.transport.abort()

    def _expired(self, why: str) -> None:
        if why in (SEND, RESPONSE) and self._progressed(why):
            return
        if log.enabled(log.INFO):
            log.info(f"conn {self.ident}: deadline: {why}")
        if self.transport.closing:
            self.transport.abort()
        else:
            self.role.expired(why)

    def _progressed(self, why: str) -> bool:
        """Wait again for `why` if the peer took something since the deadline was set."""
        sent, self._sent = self._sent, self.transport.bytes_taken()
        if self._sent == sent:
            return False
        # When it took the last byte is known only of those that made room for more of ours.
        waited = self.context.reactor.now - self.transport.last_progress
        self.expect(max(self._patience - waited, self._patience / 2), why)
        return True
