"""TLS on connections that we make: client and server are transports of one reactor."""

from __future__ import annotations

import socket
import ssl
from typing import Callable, Iterator, List, Optional

import pytest

from lwsws.net.linger import LINGER_SECONDS
from lwsws.net.reactor import Reactor
from lwsws.net.receiver import ConnectionLost
from lwsws.net.tls_client import start_client_tls
from lwsws.net.tls_transport import TlsTransport, start_tls
from lwsws.net.transport import Transport
from tests.net.support import LARGE, Recorder, settle, spin, tcp_pair
from tests.net.tls_support import VERSIONS, client_context, server_context
from tests.support.certificates import Certificates, make_certificate
from tests.support.clock import ManualClock


class Side:
    """One transport, its receiver, and whether its handshake is done."""

    def __init__(self) -> None:
        self.got = Recorder()
        self.done = False
        self.transport: Transport

    def count_done(self) -> None:
        """The handshake is complete."""
        self.done = True


class Sides:
    """Our side, which is the client, and the server."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        ours, theirs = tcp_pair()
        self.ours, self.server = Side(), Side()
        for side, sock in ((self.ours, ours), (self.server, theirs)):
            sock.setblocking(False)
            side.transport = Transport(reactor, sock, side.got)

    def begin(self, client: ssl.SSLContext, server: Optional[ssl.SSLContext], name: str = "a.test") -> None:
        """Both begin; a server without a context does not speak TLS."""
        if server is not None:
            side = self.server
            side.transport = start_tls(side.transport, server, "", side.count_done)
        ours = self.ours
        ours.transport = start_client_tls(ours.transport, client, name, ours.count_done)

    def handshake(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str = "a.test") -> None:
        """Both go through it."""
        self.begin(client, server, name)
        spin(self.reactor, lambda: self.ours.done and self.server.done)

    def failure(self) -> str:
        """What our side is told, and that it is told nothing else."""
        spin(self.reactor, lambda: self.ours.got.over)
        assert self.ours.got.events == ["lost"] and not self.ours.done
        assert isinstance(self.ours.got.loss, ConnectionLost)
        return str(self.ours.got.loss)

    def close(self) -> None:
        """End both."""
        self.ours.transport.abort()
        self.server.transport.abort()
        settle(self.reactor)


@pytest.fixture
def sides(reactor: Reactor) -> Iterator[Sides]:
    """A connection before the handshake."""
    sides = Sides(reactor)
    yield sides
    sides.close()


def test_an_exchange(sides: Sides, certificates: Certificates, version: str) -> None:
    """Large, both ways, and the end of stream of one side before that of the other."""
    sides.handshake(client_context(certificates), server_context(certificates, version))
    ours, server = sides.ours, sides.server
    assert isinstance(ours.transport, TlsTransport)
    assert ours.transport.version == version
    ours.transport.write(b"q" * LARGE)
    ours.transport.write_eof()
    spin(sides.reactor, lambda: server.got.events[-1:] == ["eof"])
    assert server.got.data == b"q" * LARGE
    server.transport.write(b"a" * LARGE)
    server.transport.close()
    spin(sides.reactor, lambda: ours.got.events[-1:] == ["eof"])
    assert ours.got.data == b"a" * LARGE


def test_what_is_written_before_the_handshake_is_sent_after_it(
        sides: Sides, certificates: Certificates, version: str) -> None:
    sides.begin(client_context(certificates), server_context(certificates, version))
    sides.ours.transport.write(b"early")
    assert sides.ours.transport.size == 5
    spin(sides.reactor, lambda: sides.server.got.data == b"early")


@pytest.mark.parametrize("name, asked", [("a.test", ["a.test"]), ("127.0.0.1", [None])])
def test_the_name_is_asked_for_and_checked(sides: Sides, certificates: Certificates, name: str,
                                           asked: List[Optional[str]]) -> None:
    """An address, for which there is no SNI (RFC 6066 3), must be in the certificate as well."""
    seen: List[Optional[str]] = []

    def note(_tls: ssl.SSLObject, found: Optional[str], _context: ssl.SSLContext) -> None:
        seen.append(found)

    pair = make_certificate(certificates.folder, "client-names", ["a.test", "127.0.0.1"], certificates.ca)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert, pair.key)
    server.sni_callback = note
    sides.handshake(client_context(certificates), server, name)
    assert seen == asked


@pytest.mark.parametrize("name, trusted, words", [
    ("b.test", True, "Hostname mismatch"),
    ("192.0.2.1", True, "IP address mismatch"),
    ("a.test", False, "unable to get local issuer certificate"),
])
def test_a_certificate_that_is_no_good(
        sides: Sides, certificates: Certificates, version: str, name: str, trusted: bool, words: str,
        clock: ManualClock) -> None:
    """The receiver hears of it at once, and the server gets the alert."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations((certificates.ca if trusted else certificates.stranger).cert)
    before = clock()
    sides.begin(client, server_context(certificates, version), name)
    told = sides.failure()
    assert told.startswith("TLS handshake: certificate verify failed: ") and words in told
    assert clock() == before
    settle(sides.reactor)
    clock.advance(LINGER_SECONDS)   # the server waits for the client's end
    spin(sides.reactor, lambda: sides.server.got.over)
    assert "alert" in str(sides.server.got.loss)


def test_a_server_that_wants_a_certificate(sides: Sides, certificates: Certificates) -> None:
    server = server_context(certificates, "TLSv1.2")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(certificates.ca.cert)
    sides.begin(client_context(certificates), server)
    assert "alert handshake failure" in sides.failure()


def test_a_server_that_gets_our_certificate(sides: Sides, certificates: Certificates, version: str) -> None:
    server = server_context(certificates, version)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(certificates.ca.cert)
    sides.handshake(client_context(certificates, certificates.client), server)


def test_no_version_in_common(sides: Sides, certificates: Certificates) -> None:
    client = client_context(certificates)
    client.minimum_version = client.maximum_version = VERSIONS["TLSv1.2"]
    sides.begin(client, server_context(certificates, "TLSv1.3"))
    assert "alert protocol version" in sides.failure()


def hang_up(server: Transport) -> None:
    """Close without a word."""
    server.abort()


def answer_in_plain(server: Transport) -> None:
    """As an http server does that gets a ClientHello."""
    server.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("do, words", [
    (hang_up, "the peer hung up"), (answer_in_plain, "wrong version number")])
def test_a_server_without_tls(sides: Sides, certificates: Certificates, do: Callable[[Transport], None],
                              words: str) -> None:
    sides.begin(client_context(certificates), None)
    do(sides.server.transport)
    assert sides.failure() == f"TLS handshake: {words}"


def test_an_abort_in_the_handshake(sides: Sides, certificates: Certificates) -> None:
    sides.begin(client_context(certificates), server_context(certificates))
    sides.ours.transport.abort()
    settle(sides.reactor)
    assert sides.ours.got.events == ["closed"] and not sides.ours.done


def test_a_name_that_is_none(sides: Sides, certificates: Certificates) -> None:
    with pytest.raises(ValueError):
        start_client_tls(sides.ours.transport, client_context(certificates), "", lambda: None)
    assert not sides.ours.transport.closed
    assert isinstance(sides.ours.transport.sock, socket.socket)
