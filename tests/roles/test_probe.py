"""Clients that send no more while their answer is being made: those who wait for it, and those who left."""

from __future__ import annotations

from typing import Callable, Tuple

from lwsws.roles.probe import ANSWER_SECONDS, FIRST_SECONDS, NEXT_SECONDS
from tests.support.handlers import Collector
from tests.support.peer import Bench, Peer

PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Slow(Collector):
    """Answers when the test says so."""

    def body_ended(self) -> None:
        self.ended = True


def asking(bench: Bench, version: str = "1.1") -> Tuple[Peer, Slow]:
    """A client whose answer takes its time, and who makes it."""
    slow = Slow()
    bench.mount("/slow", slow)
    peer = bench.connect()
    peer.send(f"GET /slow HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
    return peer, slow


def test_who_has_left_ends_the_work_for_him(make: Callable[..., Bench]) -> None:
    bench = make()
    peer, slow = asking(bench)
    peer.sock.close()
    bench.run()
    told = [slow.was_aborted]   # not yet: it could be a half-close
    bench.advance(FIRST_SECONDS)
    bench.advance(ANSWER_SECONDS)
    told.append(slow.was_aborted)
    assert told == [False, True]
    assert not bench.context.connections


def test_who_half_closed_gets_his_answer(make: Callable[..., Bench]) -> None:
    """RFC 9112 9.6: the other direction goes on."""
    bench = make()
    peer, slow = asking(bench)
    peer.half_close()
    for _ in range(4):
        bench.advance(NEXT_SECONDS)
    slow.exchange.respond(200, [], b"done")
    received = peer.receive()
    assert 1 <= received.count(PROBE) <= 5
    peer.data = received.replace(PROBE, b"")
    assert peer.answer().body == b"done"


def test_a_quick_answer_is_not_preceded_by_a_question(make: Callable[..., Bench]) -> None:
    bench = make()
    peer, slow = asking(bench)
    peer.half_close()
    slow.exchange.respond(200, [], b"done")
    bench.advance(60)
    assert peer.answer().body == b"done"
    assert peer.receive() == b""


def test_an_old_client_is_not_asked(make: Callable[..., Bench]) -> None:
    """RFC 9110 15.2: no 1xx to HTTP/1.0."""
    bench = make()
    peer, slow = asking(bench, "1.0")
    peer.half_close()
    bench.advance(30)
    assert peer.receive() == b""
    slow.exchange.respond(200, [], b"done")
    assert peer.answer().body == b"done"
