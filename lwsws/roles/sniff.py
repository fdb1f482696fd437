"""The sniff role: what a new connection is to become, told from its first bytes without taking them.

On a TLS port these are TLS, or what else the configuration lets in there; on a plain port with a fallback,
HTTP or something else.  The bytes are looked at and stay in the socket, so whoever comes next, OpenSSL too,
reads them all.

    ClientHello        -> TLS handshake with the context of the vhost that the server name chooses, or with
                          that of the challenge that a CA has come for
    an HTTP request    -> http, where it is allowed in the clear (or redirected, which is http as well)
    anything else      -> the fallback role, if there is one; closed if not
    nothing at all     -> the fallback role after a while: ssh and smtp clients wait for the server to speak

Under a deadline from the first byte on, which no further byte moves (LESSONS 3.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Mapping, NamedTuple, Optional

from lwsws import log
from lwsws.core.connection import FIRST, HANDSHAKE, HEAD, Connection
from lwsws.core.role import Role, RoleFactory
from lwsws.core.vhost import Vhost, VhostSet
from lwsws.roles.http import FIRST_FACTOR
from lwsws.roles.tls_handshake import TlsHandshakeRole
from lwsws.wire.client_hello import (
    ACME_ALPN,
    MAX_BYTES,
    ClientHello,
    HelloError,
    NotTls,
    read_client_hello,
)
from lwsws.wire.first_bytes import begins_like_http

if TYPE_CHECKING:
    from ssl import SSLContext

# TLS alerts that we send ourselves (RFC 8446 6), in a record of their own (5.1).
ALERT = b"\x15\x03\x03\x00\x02\x02"
HANDSHAKE_FAILURE = 40
DECODE_ERROR = 50
INTERNAL_ERROR = 80
UNRECOGNIZED_NAME = 112
NO_APPLICATION_PROTOCOL = 120


class ClosingRole(Role):
    """What a connection becomes whose handshake was all that the peer wanted (RFC 8737 3)."""

    def start(self, conn: Connection) -> None:
        """Close."""
        self.conn = conn
        conn.close()


class SecureSites(NamedTuple):
    """The vhosts of a TLS port: how a name is found among them, and what each becomes after its handshake;
    `challenged` as gates.py has it."""

    vhosts: VhostSet
    roles: Mapping[Vhost, RoleFactory]
    challenged: Optional[Callable[[str], Optional[SSLContext]]] = None

    def choose(self, name: str) -> Optional[Vhost]:
        """The vhost for the server name `name` (RFC 6066 3), "" for none; None if the client is refused."""
        vhost = self.vhosts.find(name) if name else None
        if vhost is None and not (name and self.vhosts.default.strict_host):
            return self.vhosts.default
        return vhost


class Gate(NamedTuple):
    """What the connections of one listening address may become; None means that they may not."""

    secure: Optional[SecureSites] = None
    http: Optional[RoleFactory] = None
    fallback: Optional[RoleFactory] = None
    fallback_wait: float = 0.0


class SniffRole(Role):
    """Looks at the first bytes and switches to the role that they ask for."""

    __slots__ = ("gate",)

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def start(self, conn: Connection) -> None:
        """Wait for the first bytes."""
        self.conn = conn
        wait = conn.context.limits.timeout * FIRST_FACTOR
        if self.gate.fallback is not None and self.gate.fallback_wait:
            wait = self.gate.fallback_wait
        conn.expect_first(wait)
        conn.transport.start_peeking(MAX_BYTES, self._look)

    def expired(self, why: str) -> None:
        """Silent for too long, or too slow with the beginning of whatever it was."""
        waits_for_us = why == HEAD or (why == FIRST and self.gate.fallback_wait > 0)
        if self.gate.fallback is not None and waits_for_us:
            self._become(self.gate.fallback())
        else:
            self.conn.close(linger=why != FIRST)

    def shutdown(self) -> None:
        """Who is silent yet may begin, but soon; what has begun has its deadline."""
        if self.conn.deadline.why == FIRST:
            self.conn.end_idle(FIRST)

    def _look(self, data: bytes, ended: bool) -> None:
        """`data` is all that came so far; `ended` says that no more will come."""
        if ended and not data:
            self.conn.close()
            return
        if self.gate.secure is None:
            self._look_for_http(data, ended)
            return
        try:
            hello = read_client_hello(data)
        except NotTls:
            self._look_for_http(data, ended)
        except HelloError as error:
            self._refuse(DECODE_ERROR, f"malformed ClientHello: {error}")
        else:
            if hello is not None:
                self._secure(self.gate.secure, hello)
            elif ended:
                self.conn.close()
            else:
                self._wait(HANDSHAKE)

    def _look_for_http(self, data: bytes, ended: bool) -> None:
        gate = self.gate
        is_http: Optional[bool] = False
        if gate.http is not None:
            is_http = begins_like_http(data)
            if is_http is None and not ended:
                self._wait(HEAD)
                return
            # The http role knows what to answer to bytes that are nothing else here.
            if is_http or gate.fallback is None:
                self._become(gate.http())
                return
        if gate.fallback is not None:
            self._become(gate.fallback())
        else:
            log.info(f"conn {self.conn.ident}: neither TLS nor anything else that this port takes")
            self.conn.close(linger=True)

    def _wait(self, why: str) -> None:
        """Something came, but not enough of it: from the first byte on there is one absolute deadline."""
        if self.conn.deadline.why not in (HANDSHAKE, HEAD):
            self.conn.expect(self.conn.context.limits.timeout, why)

    def _become(self, role: Role) -> None:
        self.conn.deadline.clear()
        self.conn.transport.stop_peeking()
        self.conn.switch_role(role, b"")

    def _secure(self, sites: SecureSites, hello: ClientHello) -> None:
        """Go on to the handshake, unless it is clear that it cannot succeed."""
        if hello.alpn == ACME_ALPN and sites.challenged is not None:
            context = sites.challenged(hello.server_name)
            if context is not None:
                log.info(f"conn {self.conn.ident}: {self.conn.peer} has asked for the challenge of "
                         f"{hello.server_name}")
                self._shake_hands(context, hello, ClosingRole)
                return
        vhost = sites.choose(hello.server_name)
        if vhost is None:
            self._refuse(UNRECOGNIZED_NAME, f"no vhost here is called {hello.server_name!r}")
            return
        tls = vhost.tls
        if tls is None or tls.context is None:
            self._refuse(INTERNAL_ERROR, f"there is no certificate for {vhost.name} yet")
            return
        if hello.finite_field and not tls.settings.curve:
            self._refuse(HANDSHAKE_FAILURE, "a key exchange by finite field groups costs too much")
            return
        # RFC 7301 3.2; OpenSSL by itself would go on without any protocol.
        if hello.alpn and tls.settings.alpn and not set(hello.alpn).intersection(tls.settings.alpn):
            self._refuse(NO_APPLICATION_PROTOCOL, f"none of the client's protocols is spoken: {hello.alpn}")
            return
        self._shake_hands(tls.context, hello, sites.roles[vhost])

    def _shake_hands(self, context: SSLContext, hello: ClientHello, make_role: RoleFactory) -> None:
        self._wait(HANDSHAKE)
        self.conn.transport.stop_peeking()
        self.conn.switch_role(TlsHandshakeRole(context, hello.server_name, make_role), b"")

    def _refuse(self, alert: int, why: str) -> None:
        """Say why in the words of TLS, then close."""
        conn = self.conn
        log.info(f"conn {conn.ident}: {conn.peer}: {why}")
        conn.transport.stop_peeking()
        conn.transport.write(ALERT + bytes((alert,)))
        conn.close(linger=True)
