"""TLS transports: the end of one direction, ours or theirs, while the other goes on."""

from __future__ import annotations

import socket
import ssl

import pytest

from lwsws.net.reactor import Reactor
from lwsws.net.tls_transport import RECORD_BYTES
from tests.net.support import CountingSelector, reset, settle
from tests.net.tls_support import IGNORE_UNEXPECTED_EOF, Secured, client_context, server_context
from tests.support.certificates import Certificates

MANY = 2_000_000


class TestOurEnd:
    """write_eof(): close_notify and FIN, and the client may go on."""

    @pytest.mark.parametrize("size", [0, 6, MANY])
    def test_the_client_goes_on(self, secured: Secured, size: int) -> None:
        secured.transport.write(b"x" * size)
        secured.transport.write_eof()
        secured.transport.write(b"dropped")
        secured.transport.write_eof()
        assert secured.read_all() == b"x" * size
        secured.spin(lambda: secured.client.raw_end)
        secured.send(b"still here")
        secured.send(b"y" * 100_000)
        secured.spin(lambda: len(secured.got.data) == 100_010)
        secured.end()
        secured.spin(lambda: "eof" in secured.got.events)
        assert not secured.transport.closing
        secured.transport.close()
        settle(secured.reactor)
        assert [event for event in secured.got.events if event != "drained"] == ["data", "eof", "closed"]

    @pytest.mark.parametrize("cut", [0, 1, 7, 3000])
    def test_bytes_that_are_on_their_way_are_not_lost(self, secured: Secured, cut: int) -> None:
        """OpenSSL would break off if it found them while it looks for the close_notify of the client."""
        for _ in range(3):
            secured.client.tls.write(b"x" * RECORD_BYTES)
        raw = secured.client.outgoing.read()
        secured.client.send_raw(raw[: len(raw) - cut])
        secured.reactor.run_once(0.0)
        secured.transport.write_eof()
        secured.client.send_raw(raw[len(raw) - cut :])
        secured.spin(lambda: len(secured.got.data) == 3 * RECORD_BYTES)
        assert secured.read_all() == b""
        secured.send(b"and more")
        assert secured.got.data == b"x" * (3 * RECORD_BYTES) + b"and more"

    @pytest.mark.parametrize("cut", [1, 500, 5000])
    def test_data_cross_both_ends(self, secured: Secured, cut: int) -> None:
        """Both sides end their direction with data of the other on its way, a part of it received."""
        client = secured.client
        client.tls.write(b"question" * 1000)
        raw = client.outgoing.read()
        client.send_raw(raw[:cut])
        settle(secured.reactor)
        secured.transport.write(b"x" * MANY)
        secured.transport.write_eof()
        settle(secured.reactor)
        client.send_raw(raw[cut:])
        settle(secured.reactor)
        secured.send(b"!")
        assert secured.read_all() == b"x" * MANY
        secured.spin(lambda: client.raw_end)
        secured.send(b"?")
        secured.end()
        secured.peer.shutdown(socket.SHUT_WR)
        secured.spin(lambda: "eof" in secured.got.events)
        assert secured.got.data == b"question" * 1000 + b"!?"
        assert (secured.transport.size, secured.transport.bytes_sent) == (0, MANY)
        assert secured.transport.bytes_taken() == MANY

    def test_while_reading_is_paused(self, secured: Secured) -> None:
        secured.transport.pause_reading()
        secured.send(b"x" * 30_000)
        secured.transport.write_eof()
        assert secured.read_all() == b""
        secured.transport.resume_reading()
        secured.spin(lambda: len(secured.got.data) == 30_000)

    def test_in_data_received_between_two_records(self, secured: Secured) -> None:
        secured.got.on_data = secured.transport.write_eof
        for _ in range(10):
            secured.client.tls.write(b"x" * RECORD_BYTES)
        secured.client.send_raw(secured.client.outgoing.read())
        secured.spin(lambda: len(secured.got.data) == 10 * RECORD_BYTES)
        assert secured.read_all() == b""

    def test_when_the_socket_has_no_room(self, tight: Secured) -> None:
        tight.transport.write(b"x" * MANY)
        tight.transport.write_eof()
        assert tight.read_all() == b"x" * MANY
        tight.send(b"more")
        assert (tight.got.data, tight.transport.size) == (b"more", 0)
        tight.transport.close()
        settle(tight.reactor)
        assert tight.got.events[-1] == "closed"

    def test_before_the_peer_is_found_to_be_gone(self, secured: Secured) -> None:
        reset(secured.peer)
        secured.transport.write_eof()
        settle(secured.reactor)
        assert secured.got.events == ["lost"]

    @pytest.mark.parametrize("end", ["close", "linger"])
    def test_then_ours_altogether(self, secured: Secured, end: str) -> None:
        secured.transport.write(b"all")
        secured.transport.write_eof()
        secured.transport.close(linger=end == "linger")
        assert secured.read_all() == b"all"
        secured.peer.close()
        settle(secured.reactor)
        assert secured.got.events == ["closed"]

    def test_flushing_then_closing(self, tight: Secured) -> None:
        """The last word is queued already, and is not said twice."""
        tight.transport.write(b"x" * MANY)
        tight.transport.write_eof()
        tight.transport.close()
        assert tight.read_all() == b"x" * MANY
        tight.spin(lambda: tight.got.over)
        assert tight.got.events[-1] == "closed"


class TestTheirEnd:
    """close_notify, FIN, or both: eof_received, and we may go on."""

    @pytest.mark.parametrize("how", ["close_notify", "fin", "both"])
    def test_we_go_on(self, secured: Secured, how: str, selector: CountingSelector) -> None:
        secured.send(b"request")
        self.client_ends(secured, how)
        assert secured.got.events == ["data", "eof"]
        reported = selector.reported
        settle(secured.reactor, 20)
        assert selector.reported == reported, "EOF keeps the loop busy"
        secured.transport.write(b"x" * MANY)
        secured.transport.write(b"answer")
        secured.transport.close()
        assert secured.read_all() == b"x" * MANY + b"answer"
        secured.spin(lambda: secured.got.over)
        assert secured.got.events == ["data", "eof", "closed"]

    @pytest.mark.parametrize("how", ["close_notify", "fin", "both"])
    def test_then_ours(self, secured: Secured, how: str) -> None:
        self.client_ends(secured, how)
        secured.transport.write(b"answer")
        secured.transport.write_eof()
        assert secured.read_all() == b"answer"
        secured.spin(lambda: secured.client.raw_end)
        assert not secured.transport.closing
        secured.transport.close()
        settle(secured.reactor)
        assert secured.got.events == ["eof", "closed"]

    @pytest.mark.parametrize("how", ["close_notify", "fin", "both"])
    def test_after_ours(self, secured: Secured, how: str) -> None:
        secured.transport.write_eof()
        assert secured.read_all() == b""
        self.client_ends(secured, how)
        assert secured.got.events == ["eof"]

    def test_with_output_queued(self, secured: Secured) -> None:
        secured.transport.write(b"x" * MANY)
        secured.end()
        assert secured.got.events == ["eof"]
        assert secured.transport.size
        secured.transport.close()
        assert not secured.transport.closed

    def test_in_the_middle_of_a_record(self, secured: Secured) -> None:
        """Whether that is an end or a fault, no byte of the record may pass."""
        secured.client.tls.write(b"whole")
        whole = secured.client.outgoing.read()
        secured.client.tls.write(b"cut in the middle")
        secured.client.send_raw(whole + secured.client.outgoing.read()[:-5])
        secured.peer.shutdown(socket.SHUT_WR)
        settle(secured.reactor)
        assert secured.got.data == b"whole"
        assert secured.got.events[-1] in ("eof", "lost")

    def test_data_after_its_end_are_ignored(self, secured: Secured) -> None:
        secured.end()
        secured.peer.sendall(b"\x17\x03\x03\x00\x05abcde")
        settle(secured.reactor)
        secured.transport.write(b"answer")
        assert secured.read(6) == b"answer"
        assert (secured.got.data, secured.got.events) == (b"", ["eof"])

    def test_a_fin_that_openssl_would_mind(
        self, reactor: Reactor, certificates: Certificates, version: str
    ) -> None:
        """As OpenSSL does before version 3, or without the option for it: it is not asked."""
        server = server_context(certificates, version)
        server.options &= ~ssl.Options(IGNORE_UNEXPECTED_EOF)
        made = Secured(reactor, server, client_context(certificates)).handshake()
        made.send(b"request")
        made.peer.shutdown(socket.SHUT_WR)
        settle(reactor)
        assert made.got.events == ["data", "eof"]
        made.transport.write(b"answer")
        assert made.read(6) == b"answer"
        made.finish()

    def client_ends(self, made: Secured, how: str) -> None:
        """End the client's direction."""
        if how != "fin":
            made.end()
        if how != "close_notify":
            made.peer.shutdown(socket.SHUT_WR)
        settle(made.reactor)
