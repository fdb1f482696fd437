"""TLS transports: the handshake, whole and in pieces, and its failures."""

from __future__ import annotations

import socket
import ssl
from typing import List

import pytest

from lwsws.net.linger import LINGER_SECONDS
from lwsws.net.reactor import Reactor
from lwsws.net.receiver import ConnectionLost
from lwsws.net.tls_object import NamedObject
from lwsws.net.tls_transport import start_tls
from lwsws.net.transport import Transport
from tests.net.support import (
    Connected,
    CountingSelector,
    fill_unix_buffer,
    reset,
    settle,
    tcp_pair,
    unix_pair,
)
from tests.net.tls_support import Secured, client_context, server_context
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock


class TestHandshake:
    """start_tls, until `done`."""

    def test_an_exchange(self, secured: Secured, version: str, clock: ManualClock) -> None:
        transport, got = secured.transport, secured.got
        assert (secured.done, transport.version, transport.alpn) == (1, version, None)
        assert secured.client.tls.getpeercert()["subject"] == ((("commonName", "a.test"),),)  # type: ignore[index]
        assert transport.peer_certificate() is None
        clock.advance(5.0)
        secured.send(b"ping")
        assert (got.data, transport.last_progress) == (b"ping", 1005.0)
        clock.advance(1.0)
        settle(secured.reactor)
        transport.write(b"pong!")
        assert secured.read(5) == b"pong!"
        assert transport.last_progress == 1006.0
        assert (transport.bytes_received, transport.bytes_sent, transport.size) == (4, 5, 0)
        assert got.events == ["data"]
        assert (secured.plain.closed, transport.closed, transport.closing) == (True, False, False)

    def test_it_keeps_receiver_and_peer(self, fresh: Secured) -> None:
        assert fresh.transport.receiver is fresh.got
        assert fresh.transport.peer == fresh.peer.getsockname()

    def test_byte_by_byte(self, fresh: Secured, reactor: Reactor) -> None:
        """And the request that follows at once, in the same stream of bytes."""
        client = fresh.client
        while not client.attempt_slowly(fresh.shake, lambda: settle(reactor, 1)):
            settle(reactor, 1)
        client.attempt_slowly(lambda: client.tls.write(b"GET /"), lambda: settle(reactor, 1))
        settle(reactor)
        assert (fresh.done, fresh.got.data) == (1, b"GET /")

    def test_it_sleeps_between_the_steps(self, fresh: Secured, selector: CountingSelector) -> None:
        settle(fresh.reactor)
        assert selector.reported == 0
        fresh.client.attempt(fresh.shake)
        settle(fresh.reactor)
        reported = selector.reported
        settle(fresh.reactor, 20)
        assert selector.reported == reported

    def test_what_was_looked_at_is_its_beginning(
        self, reactor: Reactor, certificates: Certificates, version: str
    ) -> None:
        made = Connected(reactor, *tcp_pair())
        secured: List[Secured] = []

        def look(data: bytes, ended: bool) -> None:
            assert data[:2] == b"\x16\x03"
            made.transport.stop_peeking()
            transport = start_tls(made.transport, context, "a.test", lambda: None)
            secured[0].transport = transport

        context = server_context(certificates, version)
        made.transport.start_peeking(1000, look)
        made.transport.start()
        # The client's half of a Secured, whose own transport is of no interest here.
        other = Secured(reactor, context, client_context(certificates))
        secured.append(other)
        unused, other.client.sock = other.transport, made.peer
        made.peer.setblocking(False)
        other.spin(lambda: other.client.attempt(other.shake) and other.transport.version)
        other.transport.write(b"welcome")
        assert other.read(7) == b"welcome"
        assert made.got.events == []
        unused.abort()
        other.finish()
        made.peer.close()

    def test_on_a_unix_socket(self, reactor: Reactor, certificates: Certificates) -> None:
        made = Secured(reactor, server_context(certificates), client_context(certificates), unix_pair())
        made.handshake().send(b"hello")
        assert made.got.data == b"hello"
        made.finish()

    def test_a_socket_without_room(self, reactor: Reactor, certificates: Certificates, version: str) -> None:
        """For the server's part of the handshake; its sending waits for the client to read."""
        ours, peer = unix_pair()
        fill_unix_buffer(ours)
        ours.setblocking(False)
        before = 0
        try:
            while True:
                before += ours.send(b"x")
        except BlockingIOError:
            pass
        server, client = server_context(certificates, version), client_context(certificates)
        made = Secured(reactor, server, client, (ours, peer))
        with pytest.raises(ssl.SSLWantReadError):
            made.shake()
        made.client.send_raw(made.client.outgoing.read())
        settle(reactor)
        assert peer.recv(before) == b"x" * before
        made.handshake()
        made.finish()

    def test_reading_waits_if_done_pauses(self, fresh: Secured, reactor: Reactor) -> None:
        def pause() -> None:
            fresh.done += 1
            fresh.transport.pause_reading()

        fresh.transport._done = pause
        fresh.handshake().send(b"early")
        assert fresh.got.events == []
        fresh.transport.resume_reading()
        settle(reactor)
        assert fresh.got.data == b"early"

    def test_pausing_and_resuming_are_for_afterwards(self, fresh: Secured) -> None:
        fresh.transport.pause_reading()
        fresh.transport.resume_reading()
        fresh.handshake().send(b"x")
        assert fresh.got.data == b"x"

    def test_output_waits_for_its_end(self, fresh: Secured) -> None:
        fresh.transport.write(b"welcome")
        fresh.transport.write(b" to you")
        assert fresh.transport.size == 14
        fresh.handshake()
        assert fresh.read(14) == b"welcome to you"
        assert fresh.client.records[-1] < 14 + 40, "one record"

    def test_so_does_the_end_of_output(self, fresh: Secured) -> None:
        fresh.transport.write(b"all")
        fresh.transport.write_eof()
        fresh.handshake()
        assert fresh.read_all() == b"all"
        fresh.spin(lambda: fresh.client.raw_end)

    def test_alpn(self, reactor: Reactor, certificates: Certificates, version: str) -> None:
        server, client = server_context(certificates, version), client_context(certificates)
        server.set_alpn_protocols(["h2", "http/1.1"])
        client.set_alpn_protocols(["http/1.1"])
        made = Secured(reactor, server, client).handshake()
        assert made.transport.alpn == "http/1.1"
        made.finish()
        ended = made.transport
        assert (ended.alpn, ended.version, ended.peer_certificate()) == (None, "", None)

    def test_a_session_that_is_resumed(
        self, reactor: Reactor, certificates: Certificates, version: str
    ) -> None:
        server, client = server_context(certificates, version), client_context(certificates)
        first = Secured(reactor, server, client).handshake()
        first.transport.write(b"x")
        first.read(1)
        assert not first.transport.session_reused
        second = Secured(reactor, server, client)
        tls = second.client
        tls.tls = client.wrap_bio(
            tls.incoming, tls.outgoing, server_hostname="a.test", session=first.client.tls.session
        )
        assert second.handshake().transport.session_reused
        first.finish()
        second.finish()

    def test_a_client_certificate(self, reactor: Reactor, certificates: Certificates, version: str) -> None:
        server = server_context(certificates, version)
        server.load_verify_locations(certificates.ca.cert)
        server.verify_mode = ssl.CERT_REQUIRED
        made = Secured(reactor, server, client_context(certificates, certificates.client)).handshake()
        der = ssl.PEM_cert_to_DER_cert(certificates.client.cert.read_text())
        assert made.transport.peer_certificate() == der
        made.finish()

    def test_openssl_knows_the_name_it_was_chosen_for(
        self, reactor: Reactor, certificates: Certificates
    ) -> None:
        server = server_context(certificates)
        server.sslobject_class = NamedObject
        names: List[str] = []

        def check(tls: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
            assert isinstance(tls, NamedObject)
            names.append(tls.expected_name)

        server.sni_callback = check
        made = Secured(reactor, server, client_context(certificates)).handshake()
        assert names == ["a.test"]
        made.finish()


class TestFailedHandshake:
    """The client gets an alert, the receiver a reason; `done` is not called."""

    def failed(self, made: Secured) -> str:
        """Let the client get its alert, then go away; the reason of the loss."""
        with pytest.raises(ssl.SSLError) as caught:
            client = made.client
            made.spin(lambda: client.attempt(made.shake) and client.attempt(client.tls.read, 1))
        assert "alert" in str(caught.value), "the client knows why"
        assert made.got.events == []
        assert made.transport.closing
        made.peer.close()
        settle(made.reactor)
        assert (made.got.events, made.done) == (["lost"], 0)
        assert isinstance(made.got.loss, ConnectionLost)
        return str(made.got.loss)

    def test_no_version_in_common(self, reactor: Reactor, certificates: Certificates) -> None:
        client = client_context(certificates)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        made = Secured(reactor, server_context(certificates, "TLSv1.3"), client)
        assert self.failed(made) == "TLS handshake: unsupported protocol"
        made.finish()

    def test_no_cipher_in_common(self, reactor: Reactor, certificates: Certificates) -> None:
        server, client = server_context(certificates, "TLSv1.2"), client_context(certificates)
        server.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        made = Secured(reactor, server, client)
        assert self.failed(made) == "TLS handshake: no shared cipher"
        made.finish()

    @pytest.mark.parametrize("shown", ["nothing", "stranger"])
    def test_no_good_client_certificate(
        self, reactor: Reactor, certificates: Certificates, version: str, shown: str
    ) -> None:
        """With TLS 1.3 the client believes the handshake complete, and has sent its request."""
        server = server_context(certificates, version)
        server.load_verify_locations(certificates.ca.cert)
        server.verify_mode = ssl.CERT_REQUIRED
        identity = certificates.stranger if shown == "stranger" else None
        made = Secured(reactor, server, client_context(certificates, identity))
        if version == "TLSv1.3":
            assert made.client.attempt(made.shake) is None
            settle(reactor)
            assert made.client.attempt(made.shake)
            made.client.attempt(made.client.tls.write, b"GET /secret")
        reason = self.failed(made)
        if shown == "nothing":
            assert reason == "TLS handshake: peer did not return a certificate"
        else:
            assert reason.startswith("TLS handshake: certificate verify failed: unable to get local issuer")
        assert made.got.data == b""
        made.finish()

    def test_a_server_that_the_client_does_not_trust(self, fresh: Secured, reactor: Reactor) -> None:
        stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client = fresh.client
        client.tls = stranger.wrap_bio(client.incoming, client.outgoing, server_hostname="a.test")
        with pytest.raises(ssl.SSLCertVerificationError):
            fresh.spin(lambda: client.attempt(fresh.shake))
        client.send_raw(client.outgoing.read())
        settle(reactor)
        fresh.peer.close()
        settle(reactor)
        assert str(fresh.got.loss) == "TLS handshake: tlsv1 alert unknown ca"

    @pytest.mark.parametrize(
        "junk, alert",
        [
            pytest.param(b"GET / HTTP/1.1\r\n\r\n", False, id="http"),
            pytest.param(b"\x16\x03\x01\x00\x05abcde", True, id="no handshake"),
            pytest.param(b"\x80" * 50, False, id="SSL 2"),
        ],
    )
    def test_junk(self, fresh: Secured, reactor: Reactor, junk: bytes, alert: bool) -> None:
        """What does not begin like TLS gets no answer from OpenSSL, and no reset either."""
        fresh.peer.send(junk + b"x" * 100_000)
        settle(reactor)
        assert fresh.transport.closing
        if alert:
            record = fresh.peer.recv(100)
            assert (record[:2], record[3:6]) == (b"\x15\x03", b"\x00\x02\x02")
        assert fresh.peer.recv(100) == b""
        fresh.peer.close()
        settle(reactor)
        assert fresh.got.events == ["lost"]
        assert str(fresh.got.loss).startswith("TLS handshake: ")

    def test_a_peer_that_stays_is_left_after_a_while(
        self, fresh: Secured, reactor: Reactor, clock: ManualClock
    ) -> None:
        fresh.peer.send(b"SSH-2.0-x\r\n")
        settle(reactor)
        clock.advance(LINGER_SECONDS - 0.001)
        settle(reactor)
        assert fresh.got.events == []
        clock.advance(0.001)
        settle(reactor)
        assert fresh.got.events == ["lost"]

    @pytest.mark.parametrize("steps", [0, 1])
    @pytest.mark.parametrize("how", ["close", "fin", "reset"])
    def test_the_peer_goes_away(self, fresh: Secured, reactor: Reactor, steps: int, how: str) -> None:
        for _ in range(steps):
            assert fresh.client.attempt(fresh.shake) is None
            settle(reactor)
        if how == "fin":
            fresh.peer.shutdown(socket.SHUT_WR)
        elif how == "close":
            fresh.peer.close()
        else:
            reset(fresh.peer)
        settle(reactor)
        assert (fresh.got.events, fresh.done) == (["lost"], 0)
        assert str(fresh.got.loss) == "TLS handshake: the peer hung up"

    @pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
    def test_the_peer_was_gone_before(
        self, reactor: Reactor, certificates: Certificates, sent: bytes
    ) -> None:
        made = Connected(reactor, *tcp_pair())
        made.peer.sendall(sent)
        reset(made.peer)
        transport = start_tls(made.transport, server_context(certificates), "", lambda: None)
        assert made.got.events == []
        settle(reactor)
        assert made.got.events == ["lost"]
        assert str(made.got.loss).startswith("TLS handshake: ")
        assert (transport.closed, transport.version, transport.alpn) == (True, "", None)
        transport.abort()
        made.finish()

    @pytest.mark.parametrize("steps", [0, 1])
    @pytest.mark.parametrize("end", ["close", "linger", "abort"])
    def test_we_give_up(self, fresh: Secured, reactor: Reactor, steps: int, end: str) -> None:
        for _ in range(steps):
            fresh.client.attempt(fresh.shake)
            settle(reactor)
        fresh.transport.write(b"dropped")
        if end == "abort":
            fresh.transport.abort()
        else:
            fresh.transport.close(linger=end == "linger")
        assert fresh.transport.closed
        settle(reactor)
        assert (fresh.got.events, fresh.done) == (["closed"], 0)

    def test_giving_up_while_the_alert_is_on_its_way_keeps_the_reason(
        self, fresh: Secured, reactor: Reactor
    ) -> None:
        fresh.peer.send(b"junk that is no TLS")
        settle(reactor)
        fresh.transport.close()
        fresh.transport.write(b"dropped")
        fresh.transport.abort()
        settle(reactor)
        assert fresh.got.events == ["lost"]
        assert str(fresh.got.loss).startswith("TLS handshake: ")

    def test_a_fault_in_done(self, fresh: Secured, capfd: pytest.CaptureFixture[str]) -> None:
        def faulty() -> None:
            raise ValueError("out of order")

        fresh.transport._done = faulty
        fresh.client.attempt(fresh.shake)
        settle(fresh.reactor)
        with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
            client = fresh.client
            fresh.spin(lambda: client.attempt(fresh.shake) and client.attempt(client.tls.read))
        assert fresh.got.events == ["lost"]
        assert "ValueError: out of order" in capfd.readouterr().err


def test_only_an_open_transport_is_taken_over(reactor: Reactor, certificates: Certificates) -> None:
    made = Connected(reactor, *unix_pair())
    made.transport.abort()
    with pytest.raises(AssertionError, match="cannot give its socket away"):
        start_tls(made.transport, server_context(certificates), "", lambda: None)
    made.finish()


def test_its_name_says_whose_it_is(fresh: Secured) -> None:
    assert repr(fresh.transport).startswith("<TlsTransport fd ")
    assert isinstance(fresh.transport, Transport)
