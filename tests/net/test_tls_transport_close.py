"""TLS transports: close_notify at the end, linger, abort, and peers that vanish."""

from __future__ import annotations

import socket
import ssl

import pytest

from lwsws.net.linger import LINGER_BYTES, LINGER_SECONDS
from lwsws.net.reactor import BUFFER_BYTES, Reactor
from tests.net.support import CountingSelector, fill_unix_buffer, reset, settle, unix_pair
from tests.net.tls_support import Secured, client_context, server_context
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock

MANY = 2_000_000


class TestClose:
    """close(): all that is queued, close_notify, FIN."""

    @pytest.mark.parametrize("linger", [False, True])
    @pytest.mark.parametrize("size", [0, 6, MANY])
    def test_the_client_sees_a_clean_end(self, secured: Secured, size: int, linger: bool) -> None:
        secured.transport.write(b"x" * size)
        secured.transport.close(linger=linger)
        secured.transport.write(b"dropped")
        secured.transport.write_eof()
        assert secured.transport.closing
        assert secured.read_all() == b"x" * size
        secured.spin(lambda: secured.client.raw_end)
        secured.peer.close()
        secured.spin(lambda: secured.got.over)
        assert secured.got.events == ["closed"]
        assert (secured.transport.bytes_sent, secured.transport.size) == (size, 0)

    def test_an_idle_one_closes_at_once_and_tells_later(self, secured: Secured) -> None:
        secured.transport.close()
        assert secured.transport.closed
        assert secured.got.events == []
        secured.transport.close()
        secured.transport.close(linger=True)
        secured.transport.abort()
        settle(secured.reactor)
        assert secured.got.events == ["closed"]

    @pytest.mark.parametrize("linger", [False, True])
    def test_no_room_for_the_last_word(
        self, tight: Secured, selector: CountingSelector, linger: bool
    ) -> None:
        """It waits for room as any other byte, and counts as one, so a deadline for sending covers it."""
        tight.transport.write(b"x" * MANY)
        tight.transport.close(linger=linger)
        while tight.transport.size > 1:
            tight.client.receive(1000)
            tight.client.attempt(tight.client.tls.read, 1 << 20)
            settle(tight.reactor, 1)
        while tight.transport.size == 1:
            assert not tight.transport.closed
            tight.read(100)
        tight.read_all()
        tight.peer.close()
        tight.spin(lambda: tight.got.over)
        assert tight.got.events == ["closed"]

    @pytest.mark.parametrize("linger", [False, True])
    @pytest.mark.parametrize("reads", [False, True])
    def test_no_room_for_the_last_word_alone(
        self, reactor: Reactor, certificates: Certificates, clock: ManualClock, linger: bool, reads: bool
    ) -> None:
        """Whoever closes with nothing queued sets no limit in time, so there is one here."""
        room = 0
        for exactly in (False, True):
            ours, peer = unix_pair()
            fill_unix_buffer(ours)
            made = Secured(reactor, server_context(certificates), client_context(certificates), (ours, peer))
            made.handshake().client.receive()
            while not made.transport.size and not (exactly and made.transport.bytes_sent == room):
                made.transport.write(b"x")
            room = made.transport.bytes_sent
            if exactly:
                made.transport.close(linger=linger)
                assert (made.transport.size, made.transport.closed) == (1, False)
                if reads:
                    assert made.read_all() == b"x" * room
                    made.peer.close()
                clock.advance(LINGER_SECONDS)
                settle(reactor)
                assert made.got.events == ["closed"]
            made.finish()

    def test_in_data_received(self, secured: Secured) -> None:
        def refuse() -> None:
            secured.transport.write(b"400")
            secured.transport.close(linger=True)

        secured.got.on_data = refuse
        secured.send(b"junk")
        assert secured.read_all() == b"400"
        secured.send(b"more junk")
        secured.peer.close()
        secured.spin(lambda: secured.got.over)
        assert (secured.got.data, secured.got.events) == (b"junk", ["data", "closed"])

    def test_after_the_client_went(self, secured: Secured) -> None:
        secured.end()
        secured.peer.close()
        settle(secured.reactor)
        assert secured.got.events == ["eof"]
        secured.transport.close()
        settle(secured.reactor)
        assert secured.got.events == ["eof", "closed"]


class TestAbort:
    """abort(): no close_notify, for the end was not meant."""

    @pytest.mark.parametrize("when", ["open", "queued", "held", "half-closed", "flushing", "eof"])
    def test_in_each_state(self, secured: Secured, when: str) -> None:
        if when == "queued":
            secured.transport.write(b"x" * MANY)
        elif when == "held":
            secured.transport.write(b"head", more=True)
        elif when == "half-closed":
            secured.transport.write_eof()
        elif when == "flushing":
            secured.transport.write(b"x" * MANY)
            secured.transport.close()
        elif when == "eof":
            secured.end()
        secured.transport.abort()
        assert secured.transport.closed
        assert secured.got.events == (["eof"] if when == "eof" else [])
        settle(secured.reactor)
        assert secured.got.events[-1:] == ["closed"]
        if when == "half-closed":
            assert secured.read_all() == b""
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
                secured.read_all()

    def test_while_lingering(self, secured: Secured, clock: ManualClock) -> None:
        secured.transport.close(linger=True)
        assert not secured.transport.closed
        secured.transport.abort()
        settle(secured.reactor)
        clock.advance(LINGER_SECONDS)
        settle(secured.reactor)
        assert secured.got.events == ["closed"]

    def test_in_a_callback(self, secured: Secured) -> None:
        secured.got.on_data = secured.transport.abort
        secured.send(b"x")
        assert secured.got.events == ["data", "closed"]


class TestLinger:
    """close(linger=True): RFC 9112 9.6, with TLS below."""

    def test_a_peer_in_the_middle_of_sending_gets_the_answer(self, secured: Secured) -> None:
        secured.send(b"x" * 100_000)
        secured.transport.write(b"413")
        received = len(secured.got.data)
        for _ in range(20):
            secured.client.tls.write(b"y" * 5000)
        secured.client.send_raw(secured.client.outgoing.read())
        secured.transport.close(linger=True)
        secured.send(b"z" * 5000)
        assert secured.read_all() == b"413"
        secured.spin(lambda: secured.client.raw_end)
        assert not secured.transport.closed
        assert secured.transport.closing
        secured.peer.shutdown(socket.SHUT_WR)
        secured.spin(lambda: secured.got.over)
        assert secured.got.events == ["data", "closed"]
        assert len(secured.got.data) == received
        assert secured.peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    def test_it_ends_after_its_time(self, secured: Secured, clock: ManualClock) -> None:
        secured.transport.close(linger=True)
        clock.advance(LINGER_SECONDS - 0.001)
        settle(secured.reactor)
        assert secured.got.events == []
        clock.advance(0.001)
        settle(secured.reactor)
        assert secured.got.events == ["closed"]

    def test_it_reads_only_so_much(self, reactor: Reactor, certificates: Certificates) -> None:
        made = Secured(reactor, server_context(certificates), client_context(certificates), unix_pair())
        made.handshake().transport.close(linger=True)
        thrown_away = 0
        while not made.transport.closed:
            assert thrown_away < LINGER_BYTES
            made.peer.sendall(b"x" * BUFFER_BYTES)
            thrown_away += BUFFER_BYTES
            reactor.run_once(0.0)
        assert thrown_away == LINGER_BYTES
        made.finish()

    def test_nothing_to_wait_for_after_the_end(self, secured: Secured) -> None:
        secured.end()
        secured.transport.close(linger=True)
        assert secured.transport.closed
        assert secured.read_all() == b""


class TestResets:
    """The peer resets, in each state: told once, and the fds are closed."""

    @pytest.mark.parametrize("when", ["open", "queued", "half-closed", "flushing", "lingering", "eof"])
    def test_in_each_state(self, secured: Secured, when: str) -> None:
        if when in ("queued", "flushing"):
            secured.transport.write(b"x" * MANY)
        if when in ("flushing", "lingering"):
            secured.transport.close(linger=when == "lingering")
        elif when == "half-closed":
            secured.transport.write_eof()
        elif when == "eof":
            secured.end()
        reset(secured.peer)
        settle(secured.reactor)
        if when == "eof":
            # Nothing is read any more, so it is a write that finds out.
            secured.transport.write(b"x")
            settle(secured.reactor)
        expected = {"lingering": ["closed"], "eof": ["eof", "lost"]}
        assert secured.got.events == expected.get(when, ["lost"])
        assert secured.transport.closed

    def test_found_by_close(self, secured: Secured) -> None:
        secured.transport.write(b"head", more=True)
        reset(secured.peer)
        secured.transport.close()
        assert secured.got.events == []
        settle(secured.reactor)
        assert secured.got.events == ["lost"]
