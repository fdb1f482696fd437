"""TLS handshakes on a socket pair, both sides by the ssl module, without threads and without waiting.

    ends = shake(server_context(settings), client_context(ClientSettings(ca)))
    assert ends.failure == ""
    ends.server.sendall(b"x"); ends.client.recv(1)
"""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple, Optional, Union

from lwsws.net.tls import ServerSettings
from lwsws.net.tls_object import NamedObject
from tests.support.certificates import Pair

# Each turn moves one flight at least, and no handshake has as many.
TURNS = 20


class Accepted:
    """The server's end: its OpenSSL has no socket, as in a TlsTransport."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, expected: str) -> None:
        """`expected` is the server name that our reader has found."""
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        if isinstance(self.tls, NamedObject):
            self.tls.expected_name = expected

    def receive(self) -> None:
        """Let OpenSSL have what has come."""
        try:
            data = self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def do_handshake(self) -> None:
        """As that of an SSLSocket."""
        self.receive()
        try:
            self.tls.do_handshake()
        finally:
            self._sock.sendall(self._outgoing.read())

    def recv(self, count: int) -> bytes:
        """As that of an SSLSocket that takes nothing but a close_notify for an end."""
        self.receive()
        return self.tls.read(count)

    def sendall(self, data: bytes) -> None:
        """Send `data`, for which there must be room."""
        self.tls.write(data)
        self._sock.sendall(self._outgoing.read())

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class Ends(NamedTuple):
    """Both ends of a connection, and why there is none ("" if there is): what the server says, what the
    client heard of it."""

    server: Accepted
    client: ssl.SSLSocket
    failure: str
    heard: str

    def close(self) -> None:
        """Close both."""
        self.server.close()
        self.client.close()


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: Optional[str] = "a.test",
          expected: Optional[str] = None, session: Optional[ssl.SSLSession] = None) -> Ends:
    """A handshake for the server name `name`; `expected` is what our reader says that it is."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    accepted = Accepted(ours, server, (name or "") if expected is None else expected)
    made = client.wrap_socket(theirs, server_hostname=name, do_handshake_on_connect=False, session=session)
    heard, failure = "wanted", "wanted"
    for _ in range(TURNS):
        if heard == "wanted":
            heard = step(made)
        if failure == "wanted":
            failure = step(accepted)
    if failure:
        # TLS 1.3: the client is done before the server has seen its certificate.
        heard = heard or hear(made)
    return Ends(accepted, made, failure, heard)


def step(sock: Union[Accepted, ssl.SSLSocket]) -> str:
    """Go on with the handshake: "" if it is done, "wanted" if the other side has to, else why it failed."""
    try:
        sock.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return "wanted"
    except ssl.SSLError as error:
        return error.reason or str(error)
    return ""


def hear(sock: ssl.SSLSocket) -> str:
    """The alert that has come; "" if none has."""
    try:
        sock.recv(1)
    except ssl.SSLWantReadError:
        return ""
    except ssl.SSLError as error:
        return error.reason or str(error)
    return "the end of the stream"


def session_of(ends: Ends) -> ssl.SSLSession:
    """The session of the client, which it may resume; under TLS 1.3 it comes after the handshake."""
    ends.server.sendall(b"x")
    assert ends.client.recv(1) == b"x"
    assert ends.client.session is not None
    return ends.client.session


def any_client(version: Optional[ssl.TLSVersion] = None, pair: Optional[Pair] = None,
               ciphers: str = "") -> ssl.SSLContext:
    """A client that checks nothing, so that whatever fails is the server's doing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def settings(pair: Pair, ca: Optional[Pair] = None) -> ServerSettings:
    """Those of a server with this certificate."""
    return ServerSettings(str(pair.cert), str(pair.key), "" if ca is None else str(ca.cert))


def fails(ends: Ends) -> str:
    """The alert that the client got; both sides must know that there is no connection."""
    ends.close()
    assert ends.failure
    assert ends.heard
    return ends.heard


def works(ends: Ends) -> None:
    """There is a connection."""
    ends.close()
    assert ends.failure == ""
