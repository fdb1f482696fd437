"""TLS transports after the handshake: reading, pausing, losses."""

from __future__ import annotations

import gc
import weakref
from typing import List

import pytest

from lwsws.net.reactor import BUFFER_BYTES, Reactor
from lwsws.net.receiver import ConnectionLost
from lwsws.net.tls_transport import RECORD_BYTES
from tests.net.support import CountingSelector, reset, settle
from tests.net.tls_support import Secured, client_context, server_context
from tests.support.certificates import Certificates


def spoil(raw: bytes) -> bytes:
    """The records with the last byte changed."""
    return raw[:-1] + bytes([raw[-1] ^ 1])


class TestReading:
    """Data, pausing, the end."""

    def test_byte_by_byte_and_joined(self, secured: Secured) -> None:
        for byte in b"hello":
            secured.send(bytes([byte]))
        secured.client.tls.write(b" to")
        secured.client.tls.write(b" all")
        secured.send(b" of you")
        assert secured.got.data == b"hello to all of you"

    def test_a_pass_reads_some_records(self, secured: Secured, reactor: Reactor) -> None:
        """LESSONS 3.39: nobody gets more than his share of a pass, and nobody waits for a pass per record."""
        sizes: List[int] = []
        secured.got.on_data = lambda: sizes.append(len(secured.got.data))
        for _ in range(6):
            secured.client.tls.write(b"x" * RECORD_BYTES)
        secured.client.send_raw(secured.client.outgoing.read())
        secured.spin(lambda: len(secured.got.data) == 6 * RECORD_BYTES)
        assert sizes[0] >= 2 * RECORD_BYTES
        assert max(b - a for a, b in zip([0] + sizes, sizes)) <= BUFFER_BYTES

    def test_a_large_upload(self, secured: Secured) -> None:
        sent = b"".join(number.to_bytes(4, "big") for number in range(300_000))
        secured.send(sent)
        secured.spin(lambda: len(secured.got.data) == len(sent))
        assert secured.got.data == sent
        assert secured.transport.bytes_received == len(sent)

    def test_paused_gets_nothing_until_resumed(
        self, secured: Secured, reactor: Reactor, selector: CountingSelector
    ) -> None:
        secured.transport.pause_reading()
        secured.send(b"late")
        reported = selector.reported
        settle(reactor, 20)
        assert (selector.reported, secured.got.events) == (reported, [])
        secured.transport.resume_reading()
        settle(reactor)
        assert secured.got.data == b"late"

    def test_pausing_in_the_middle_of_data_received(self, secured: Secured, reactor: Reactor) -> None:
        secured.got.on_data = secured.transport.pause_reading
        for _ in range(8):
            secured.client.tls.write(b"x" * RECORD_BYTES)
        secured.send(b"rest")
        received = len(secured.got.data)
        assert received <= BUFFER_BYTES
        for _ in range(20):
            secured.transport.resume_reading()
            settle(reactor)
        assert len(secured.got.data) == 8 * RECORD_BYTES + 4

    @pytest.mark.parametrize("paused", [False, True])
    def test_the_end_right_behind_the_data(self, secured: Secured, reactor: Reactor, paused: bool) -> None:
        """Both are read in one pass.  The socket is not ready again then, yet a resume must bring the end."""
        if paused:
            secured.got.on_data = secured.transport.pause_reading
        secured.client.tls.write(b"x" * RECORD_BYTES)
        secured.end()
        assert secured.got.events == (["data"] if paused else ["data", "eof"])
        settle(reactor)
        secured.transport.resume_reading()
        settle(reactor)
        assert secured.got.events == ["data", "eof"]
        secured.transport.resume_reading()
        settle(reactor)
        assert secured.got.events == ["data", "eof"]

    def test_a_held_end_that_nobody_wants_any_more(self, secured: Secured, reactor: Reactor) -> None:
        secured.got.on_data = secured.transport.pause_reading
        secured.client.tls.write(b"x" * RECORD_BYTES)
        secured.end()
        secured.transport.resume_reading()
        secured.transport.pause_reading()
        settle(reactor)
        secured.transport.resume_reading()
        secured.transport.abort()
        settle(reactor)
        assert secured.got.events == ["data", "closed"]

    def test_ending_it_in_data_received_before_the_end(self, secured: Secured, reactor: Reactor) -> None:
        secured.got.on_data = secured.transport.abort
        secured.client.tls.write(b"x" * RECORD_BYTES)
        secured.end()
        assert secured.got.events == ["data", "closed"]

    def test_records_without_data(self, secured: Secured) -> None:
        """The tickets of TLS 1.3 have their counterpart: messages that bring nothing for us."""
        secured.send(b"")
        secured.send(b"x")
        assert secured.got.data == b"x"


class TestLosses:
    """The connection breaks after the handshake."""

    @pytest.mark.parametrize("before", [b"", b"x" * RECORD_BYTES])
    def test_a_forged_record(self, secured: Secured, reactor: Reactor, before: bytes) -> None:
        """Never a false end: to Python a broken connection looks like one at the second look."""
        if before:
            secured.client.tls.write(before)
        good = secured.client.outgoing.read()
        secured.client.tls.write(b"forged")
        secured.client.send_raw(good + spoil(secured.client.outgoing.read()))
        settle(reactor)
        assert secured.got.data == before
        assert secured.got.events == (["data", "lost"] if before else ["lost"])
        assert str(secured.got.loss) == "decryption failed or bad record mac"

    def test_plain_text_after_the_handshake(self, secured: Secured, reactor: Reactor) -> None:
        secured.client.send_raw(b"GET / HTTP/1.1\r\n\r\n")
        settle(reactor)
        assert secured.got.events == ["lost"]
        assert secured.got.data == b""

    @pytest.mark.parametrize("paused", [False, True])
    def test_a_reset(self, secured: Secured, reactor: Reactor, paused: bool) -> None:
        if paused:
            secured.transport.pause_reading()
        reset(secured.peer)
        settle(reactor)
        if paused:
            assert secured.got.events == []
            secured.transport.write(b"x")
            assert secured.got.events == []
            settle(reactor)
        assert secured.got.events == ["lost"]
        assert isinstance(secured.got.loss, ConnectionLost)

    def test_a_reset_while_output_is_queued(self, secured: Secured) -> None:
        secured.transport.write(b"x" * 2_000_000)
        assert secured.transport.size
        reset(secured.peer)
        settle(secured.reactor)
        assert secured.got.events == ["lost"]
        assert (secured.transport.size, secured.transport.is_high) == (0, False)

    def test_a_fault_of_the_receiver(self, secured: Secured, capfd: pytest.CaptureFixture[str]) -> None:
        def faulty() -> None:
            raise ValueError("out of order")

        secured.got.on_data = faulty
        secured.send(b"x")
        assert secured.got.events == ["data", "lost"]
        err = capfd.readouterr().err
        assert err.count("ValueError: out of order") == 1
        assert "TlsTransport._ready of <TlsTransport fd" in err

    def test_a_closed_transport_lets_its_owner_go(
        self, reactor: Reactor, certificates: Certificates
    ) -> None:
        made = Secured(reactor, server_context(certificates), client_context(certificates)).handshake()
        owner, transport = weakref.ref(made.got), made.transport
        gc.disable()
        try:
            made.finish()
            del made
            assert owner() is None
        finally:
            gc.enable()
        assert transport.closed
