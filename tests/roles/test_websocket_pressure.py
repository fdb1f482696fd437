"""The websocket role where one side does not take what the other sends."""

from __future__ import annotations

from typing import Any, Iterator, List

import pytest

from lwsws.core.context import FLUSH_BYTES
from lwsws.core.session import WsSession
from lwsws.net.transport import HIGH, LOW
from lwsws.roles.websocket import EVENTS_PER_TURN, MAX_QUEUED, STILL_THERE
from lwsws.wire.ws_deflate import Deflate, DeflateParams
from lwsws.wire.ws_message import PreparedMessage
from tests.support.raw import SEND_TIMEOUT
from tests.support.ws import KEY, Notes, WsBench, WsPeer, echo, notes_of, opened
from tests.support.ws_client import CONTINUATION, PING, PONG, TEXT, Frame, frame

# More than the buffers of a socket pair hold.
MUCH = 4_000_000


@pytest.fixture
def bench() -> Iterator[WsBench]:
    """A bench of its own for each test."""
    bench = WsBench()
    yield bench
    bench.close()


def test_a_client_that_does_not_read_is_not_read_from(bench: WsBench) -> None:
    client = opened(bench, receive=lambda s, message: s.send(bytes(MUCH)))
    client.send_text("1")
    client.peer.send_some(frame(TEXT, b"2", key=KEY))
    bench.settle()
    assert notes_of(client).events[1:] == [("receive", "1")]
    assert client.session.is_high and client.session.queued > HIGH
    assert len(client.frames()) == 2    # and now it has read
    assert notes_of(client).events[1:] == [("receive", "1"), ("receive", "2")]


def test_writable_comes_when_little_waits(bench: WsBench) -> None:
    client = opened(bench)
    client.session.send(bytes(MUCH))
    client.session.request_writable()
    bench.settle()
    assert "writable" not in notes_of(client).events
    while client.peer.receive():
        bench.settle()
    assert notes_of(client).events == ["established", "writable"]
    assert client.session.queued < LOW


def test_writable_is_asked_for_by_all_at_once(bench: WsBench) -> None:
    notes = bench.begin(Notes(writable=lambda s: s.send("w")))
    clients = [bench.open(notes) for _ in range(3)]
    notes.request_writable_all()
    notes.request_writable_all()
    assert [client.messages() for client in clients] == [["w"]] * 3


def test_a_session_that_takes_nothing_is_lost_before_it_fills_the_memory(bench: WsBench, capfd: Any) -> None:
    client = opened(bench)
    piece = bytes(1 << 20)
    for _ in range((MAX_QUEUED >> 20) + 2):
        client.session.send(piece)
    bench.settle()
    assert not bench.context.connections
    assert "MiB wait to be sent: closed" in capfd.readouterr().err
    assert notes_of(client).events[-1] == ("closed", 1006, "")


def test_a_peer_that_takes_nothing_in_time_is_cut_off(bench: WsBench) -> None:
    client = opened(bench, ping_seconds=20)
    client.session.send(bytes(MUCH))
    bench.settle()
    for _ in range(int(SEND_TIMEOUT / 10) + 1):
        bench.advance(10)
        if not client.session.conn.closed:
            client.peer.send_some(frame(PONG, b"x", key=KEY))   # signs of life do not help
    assert not bench.context.connections


def test_pause_holds_messages_back_and_resume_brings_them(bench: WsBench) -> None:
    def once(s: WsSession, message: Any) -> None:
        s.pause()

    client = opened(bench, receive=once)
    client.send(b"".join(frame(TEXT, b"%d" % n, key=KEY) for n in range(3)))
    client.send_text("3")
    notes = notes_of(client)
    assert notes.events[1:] == [("receive", "0")]
    for n in range(1, 4):
        client.session.resume()
        bench.settle()
        assert notes.events[-1] == ("receive", str(n))


def test_many_small_messages_are_acted_on_in_turns(bench: WsBench) -> None:
    client = opened(bench, receive=echo)
    other = opened(bench, receive=echo)
    count = EVENTS_PER_TURN * 3
    client.peer.send(b"".join(frame(TEXT, b"m", key=KEY) for _ in range(count)))
    other.peer.send(frame(TEXT, b"o", key=KEY))
    bench.reactor.run_once(0)
    assert len(notes_of(client).events) - 1 <= 2 * EVENTS_PER_TURN
    assert notes_of(other).events[1:] == [("receive", "o")]
    assert client.messages() == ["m"] * count


def test_a_session_that_is_paused_for_long_is_not_given_up(bench: WsBench) -> None:
    """Its answer to a ping could not be read."""
    client = opened(bench, ping_seconds=20, established=lambda s: s.pause())
    bench.advance(100)
    client.send_text("still here")
    bench.advance(100)
    assert client.frames() == []
    client.session.resume()
    bench.settle()
    assert notes_of(client).events == ["established", ("receive", "still here")]
    bench.advance(20)
    assert client.frames() == [Frame(PING, STILL_THERE, True, 0)]


def test_a_message_to_many_lets_the_others_have_their_turn(bench: WsBench) -> None:
    """LESSONS 3.39."""
    notes = bench.begin(Notes())
    clients = [bench.open(notes) for _ in range(20)]
    other = opened(bench, receive=echo)
    message = PreparedMessage(bytes(1 << 20))
    for s in notes.sessions:
        s.send(message)
    other.peer.send(frame(TEXT, b"me too", key=KEY))
    bench.reactor.run_once(0)
    begun = sum(bool(client.peer.receive(1)) for client in clients)
    assert 1 <= begun <= FLUSH_BYTES / (1 << 20)
    assert other.peer.receive() == b"\x81\x06me too"
    for client in clients:
        assert drained(client) == [bytes(1 << 20)]


def drained(client: WsPeer) -> List[bytes]:
    """The messages for a client, however long they take to come."""
    quiet = 0
    while quiet < 40:
        quiet = 0 if client.peer.receive() else quiet + 1
        client.bench.settle()
    return [each.payload for each in client.frames()]


def test_unfinished_messages_of_all_are_bounded_together(
    bench: WsBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwsws.roles.websocket.MAX_UNFINISHED", 250)
    first, second, third = (opened(bench, receive=echo) for _ in range(3))
    first.send_frame(TEXT, b"1" * 100, fin=False)
    second.send_frame(TEXT, b"2" * 100, fin=False)
    third.send_frame(TEXT, b"3" * 100, fin=False)
    assert third.closed_with() == (1013, "too many unfinished messages")
    third.peer.close()
    second.send_frame(CONTINUATION, b"")
    assert len(second.frames()) == 1
    assert bench.context.unfinished == 100
    first.peer.close()
    bench.settle()
    assert bench.context.unfinished == 0


def test_a_session_that_waits_still_reads_the_answer_to_its_close(bench: WsBench) -> None:
    client = opened(bench, receive=lambda s, message: (s.pause(), s.close(4000)))
    client.send_text("go")
    client.send_close(4000)
    assert client.peer.over
    client.peer.close()
    bench.settle()
    assert notes_of(client).events[-1] == ("closed", 4000, "")


def test_small_messages_that_wait_for_their_turn_are_bounded(bench: WsBench) -> None:
    """Reading goes on when they have been told."""
    client = opened(bench)
    piece = b"".join(frame(TEXT, b"m", key=KEY) for _ in range(20_000))
    client.peer.send_some(piece)
    for _ in range(50):
        bench.reactor.run_once(0)
        assert client.session.ws.buffered <= 1 << 16


def test_an_idle_session_lets_its_compressor_go(bench: WsBench) -> None:
    deflate = Deflate(DeflateParams())
    client = bench.open(bench.begin(Notes(receive=echo)), deflate=deflate, ping_seconds=20)
    client.send_text("x" * 500)
    assert deflate._compressor is not None
    bench.advance(20)
    assert deflate._compressor is None
