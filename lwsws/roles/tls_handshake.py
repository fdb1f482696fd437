"""The role of a connection during its TLS handshake; then it gets the role that its vhost has for it.

The handshake is driven by the transport as its socket becomes ready, so a slow client delays nobody.  The
deadline is the one that the sniff role set at the first byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from lwsws import log
from lwsws.core.connection import Connection
from lwsws.core.role import Role
from lwsws.wire.certificate import read_certificate

if TYPE_CHECKING:
    from ssl import SSLContext

    from lwsws.net.tls_transport import TlsTransport


class TlsHandshakeRole(Role):
    """Waits for the handshake to be complete."""

    __slots__ = ("_context", "_server_name", "_make_role", "_transport")

    _transport: TlsTransport

    def __init__(self, context: SSLContext, server_name: str, make_role: Callable[[], Role]) -> None:
        """`make_role` makes what the connection becomes afterwards."""
        self._context = context
        self._server_name = server_name
        self._make_role = make_role

    def start(self, conn: Connection) -> None:
        """Begin the handshake; the ClientHello is still in the socket."""
        self.conn = conn
        self._transport = conn.start_tls(self._context, self._server_name, self._done)

    def shutdown(self) -> None:
        """The client is about to ask, and its deadline near."""

    def _done(self) -> None:
        conn = self.conn
        if log.enabled(log.INFO):
            name, alpn = self._server_name or "no name", self._transport.alpn or "none"
            log.info(f"conn {conn.ident}: {self._transport.version} for {name}, ALPN {alpn}")
        conn.deadline.clear()
        if self._transport.session_reused and self._has_expired():
            log.info(f"conn {conn.ident}: the client's certificate has expired since its first handshake")
            conn.abort()
            return
        conn.switch_role(self._make_role(), b"")

    def _has_expired(self) -> bool:
        """Whether the certificate that the client has shown, if any, is over.

        OpenSSL checks it in a full handshake only, and keeps sessions of TLS 1.2 for hours.
        """
        shown = self._transport.peer_certificate()
        if shown is None:
            return False
        try:
            return self.conn.context.wall_clock() > read_certificate(shown).not_after
        except ValueError:  # only OpenSSL can take it apart; it was in date then
            return False
