"""A TLS client on top of a `Peer`: the handshake and all records go through the bench's own reactor.

    peer = TlsPeer(site.connect(), certificates.ca, "a.test")
    answer = peer.get("/")

The client is OpenSSL over memory, so a test is one thread and the same each time.  A handshake that
the server refuses raises the ssl.SSLError that a client would see, with the server's alert in it.
"""

from __future__ import annotations

import ssl
from typing import Optional, Sequence, Tuple, Union

from tests.support.certificates import Pair
from tests.support.peer import Answer, Peer

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def client_context(ca: Pair, version: Optional[ssl.TLSVersion] = None, alpn: Sequence[str] = (),
                   own: Optional[Pair] = None) -> ssl.SSLContext:
    """A client that trusts `ca`, speaks only `version` if given, and shows the certificate `own`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca.cert)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context


class TlsPeer:
    """The client's end of one TLS connection."""

    def __init__(self, peer: Peer, trust: Union[Pair, ssl.SSLContext], name: Optional[str],
                 session: Optional[ssl.SSLSession] = None) -> None:
        """`trust` is the CA or a whole context; without `name` no server name is sent or checked."""
        context = trust if isinstance(trust, ssl.SSLContext) else client_context(trust)
        if name is None:
            context.check_hostname = False
        self.peer = peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)
        self.data = b""
        self.ended = False

    def handshake(self) -> TlsPeer:
        """Do the whole handshake; ssl.SSLError if the server, or the client itself, refuses."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._exchange(True)
        self.flush()
        return self

    def flush(self) -> None:
        """Send what OpenSSL has to send."""
        self.peer.send(self.outgoing.read())

    def send(self, data: bytes) -> None:
        """Send `data`."""
        self.tls.write(data)
        self.flush()

    def receive(self) -> bytes:
        """Take in what has come; returns all that no answer has used.  `ended` tells of close_notify."""
        while not self.ended:
            try:
                data = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not self._exchange(False):
                    break
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            self.ended = not data
            self.data += data
        return self.data

    def get(self, target: str, *fields: str, host: str = "a.test") -> Answer:
        """GET `target` with more header `fields`."""
        head = "\r\n".join((f"GET {target} HTTP/1.1", f"Host: {host}", *fields))
        self.send(f"{head}\r\n\r\n".encode())
        return self.answer()

    def answer(self) -> Answer:
        """The next answer, which has a length and must have come whole."""
        self.receive()
        head, separator, rest = self.data.partition(b"\r\n\r\n")
        assert separator, f"no answer, only {self.data[:200]!r}"
        status_line, *lines = head.decode("latin-1").split("\r\n")
        fields = [tuple_of(line) for line in lines]
        length = int({name.lower(): value for name, value in fields}.get("content-length", "0"))
        assert len(rest) >= length
        self.data = rest[length:]
        return Answer(int(status_line.split(" ")[1]), fields, rest[:length], head + separator)

    def _exchange(self, needed: bool) -> bool:
        """Send and receive records; whether any came.  Without the `needed` ones the connection is over."""
        self.flush()
        self.peer.receive()
        data, self.peer.data = self.peer.data, b""
        if data:
            self.incoming.write(data)
        elif self.peer.eof:
            self.incoming.write_eof()
            return needed
        elif needed:
            raise AssertionError("the server says nothing more")
        return bool(data)


def tuple_of(line: str) -> Tuple[str, str]:
    """Name and value of a header line."""
    name, _, value = line.partition(": ")
    return name, value
