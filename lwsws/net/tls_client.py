"""TLS on connections that we make: the transport of tls_transport.py with the client's part of the handshake.

A client speaks first.  Whether the certificate is good, and is one for the name of the server, OpenSSL finds
out in the handshake, as the context says; so who is told `done` speaks with whom it wanted to.  When the
handshake fails, the receiver is told at once: it is we who refuse, or the server that has told us why.
"""

from __future__ import annotations

import ssl
from typing import Callable

from lwsws.net.receiver import ConnectionLost
from lwsws.net.tls_faults import GONE, explain
from lwsws.net.tls_transport import TlsTransport
from lwsws.net.transport import Transport


class ClientTlsTransport(TlsTransport):
    """One TLS connection, client side.  start_client_tls() makes it."""

    __slots__ = ()

    def _wrap(self, context: ssl.SSLContext, server_name: str) -> ssl.SSLObject:
        return context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def _begin(self) -> None:
        if self._done is None:
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push_words()
        except OSError as exc:  # nothing that the context allows can be offered
            self._handshake_failed(exc)

    def _handshake_failed(self, exc: OSError) -> None:
        if not isinstance(exc, GONE):
            self._send_alert()
        self._end(ConnectionLost(f"TLS handshake: {explain(exc)}"))


def start_client_tls(
    plain: Transport, context: ssl.SSLContext, server_name: str, done: Callable[[], None]
) -> TlsTransport:
    """Take the socket over from `plain` and begin a TLS handshake as the client, with `context`.

    `plain` must be open with nothing queued; its receiver and its peer are the new transport's.
    `server_name` is a host name or an IP address: the server is asked for it by SNI (RFC 6066 3: not for an
    address), and the context checks that its certificate is for it.  `done` is called once when the handshake
    is complete and reading begins; if it fails, the receiver hears of a ConnectionLost that says why.
    """
    return ClientTlsTransport(plain, context, server_name, done)
