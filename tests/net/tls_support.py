"""What the tests of TLS transports share: contexts, a client driven in the same thread, both connected."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Callable, List, Optional, Tuple

from lwsws.net.reactor import Reactor
from lwsws.net.tls_transport import TlsTransport, start_tls
from lwsws.net.transport import Transport
from tests.net.support import PASSES, Recorder, settle, tcp_pair
from tests.support.certificates import Certificates, Pair

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
# OP_IGNORE_UNEXPECTED_EOF of OpenSSL 3, which Python does not name before 3.10.
IGNORE_UNEXPECTED_EOF = 0x80


def server_context(certificates: Certificates, version: str = "TLSv1.3") -> ssl.SSLContext:
    """One for a.test that speaks just that version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.load_cert_chain(certificates.a.cert, certificates.a.key)
    if ssl.OPENSSL_VERSION_INFO >= (3,):
        context.options |= ssl.Options(IGNORE_UNEXPECTED_EOF)
    return context


def client_context(certificates: Certificates, identity: Optional[Pair] = None) -> ssl.SSLContext:
    """One that trusts the CA, and shows the certificate `identity` if asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca.cert)
    context.options &= ~ssl.Options(IGNORE_UNEXPECTED_EOF)  # Python 3.9 sets it
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    return context


class TlsClient:
    """The client's end: OpenSSL between two memory BIOs, and a socket that nobody blocks on."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str = "a.test") -> None:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_name)
        # The sizes of the records that came, headers not counted.
        self.records: List[int] = []
        self.raw_end = False  # FIN came
        self._head = b""
        self._left = 0
        self._unsent = b""

    def attempt(self, action: Callable[..., Any], *args: Any) -> Any:
        """What `action` of `tls` returns once its bytes have come and gone, or None if more are needed."""
        self.receive()
        try:
            return action(*args)
        except ssl.SSLWantReadError:
            return None
        finally:
            self.send_raw(self.outgoing.read())

    def attempt_slowly(self, action: Callable[..., Any], between: Callable[[], None]) -> Any:
        """The same with each byte sent on its own, and `between` called after it."""
        self.receive()
        try:
            return action()
        except ssl.SSLWantReadError:
            return None
        finally:
            for byte in self.outgoing.read():
                self.send_raw(bytes([byte]))
                between()

    def send_raw(self, data: bytes) -> None:
        """Send what the socket takes of this and of what it has not taken before."""
        self._unsent += data
        try:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._unsent = b""

    def receive(self, limit: int = 1 << 20) -> None:
        """Take what has come."""
        while not self.raw_end:
            try:
                data = self.sock.recv(limit)
            except BlockingIOError:
                return
            self._note_records(data)
            if data:
                self.incoming.write(data)
            else:
                self.raw_end = True
                self.incoming.write_eof()

    def _note_records(self, data: bytes) -> None:
        while data:
            if not self._left:
                need = 5 - len(self._head)
                self._head, data = self._head + data[:need], data[need:]
                if len(self._head) == 5:
                    self._left = int.from_bytes(self._head[3:], "big")
                    self.records.append(self._left)
                    self._head = b""
            passed = min(self._left, len(data))
            self._left -= passed
            data = data[passed:]


class Secured:
    """A TLS transport with its recorder, and the client.  The handshake is still to come."""

    def __init__(
        self,
        reactor: Reactor,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        pair: Optional[Tuple[socket.socket, socket.socket]] = None,
        server_name: str = "a.test",
    ) -> None:
        ours, self.peer = tcp_pair() if pair is None else pair
        ours.setblocking(False)
        self.reactor = reactor
        self.got = Recorder()
        self.done = 0
        self.client = TlsClient(self.peer, client, server_name)
        self.plain = Transport(reactor, ours, self.got)
        self.transport: TlsTransport = start_tls(self.plain, server, server_name, self.count_done)

    def count_done(self) -> None:
        """The handshake is complete."""
        self.done += 1

    def spin(self, until: Callable[[], object]) -> None:
        """Run the reactor, and let the client's bytes go, until the condition holds."""
        for _ in range(PASSES):
            if until():
                return
            self.client.send_raw(b"")
            self.reactor.run_once(0.001)
        raise AssertionError("the condition never came to hold")

    def handshake(self) -> Secured:
        """Complete it on both sides."""
        self.spin(lambda: self.client.attempt(self.shake) and self.done)
        return self

    def shake(self) -> bool:
        """The client's next step."""
        self.client.tls.do_handshake()
        return True

    def send(self, data: bytes) -> None:
        """The client sends; all that can happen then happens."""
        view = memoryview(data)
        while view:
            view = view[self.client.attempt(self.client.tls.write, view) :]
            settle(self.reactor)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes as the client gets them."""
        taken = bytearray()

        def enough() -> bool:
            while len(taken) < count:
                data = self.client.attempt(self.client.tls.read, count - len(taken))
                if data is None:
                    return False
                assert data, f"the end after {len(taken)} bytes"
                taken.extend(data)
            return True

        self.spin(enough)
        return bytes(taken)

    def read_all(self) -> bytes:
        """What the client gets to the close_notify; SSLError if there is none."""
        taken = bytearray()

        def ended() -> bool:
            while True:
                try:
                    data = self.client.attempt(self.client.tls.read, 1 << 20)
                except ssl.SSLZeroReturnError:
                    return True
                if data is None:
                    return False
                if not data:
                    return True
                taken.extend(data)

        self.spin(ended)
        return bytes(taken)

    def end(self) -> None:
        """The client sends its close_notify."""
        try:
            self.client.attempt(self.client.tls.unwrap)
        except ssl.SSLError:
            pass  # data came where it looked for ours; its own is out
        settle(self.reactor)

    def finish(self) -> None:
        """End both sides."""
        self.transport.abort()
        self.peer.close()
        settle(self.reactor)
        assert self.got.over, "connection_lost was never told"
