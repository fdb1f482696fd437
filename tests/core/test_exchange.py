"""Exchanges: one answer to each request, framed so that it cannot be taken for less or more than it is."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from lwsws.core.exchange import Exchange
from lwsws.core.handler import Handler
from tests.support.peer import Bench


class Scripted(Handler):
    """Answers with a function; keeps the exchanges.  Takes bodies and ignores them."""

    def __init__(self, answer: Callable[[Exchange], None]) -> None:
        self.answer = answer
        self.exchanges: List[Exchange] = []

    def begin(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.answer(exchange)

    def body_received(self, data: bytes) -> None:
        """Nothing is done with it."""

    def body_ended(self) -> None:
        self.exchanges[-1].write(b"c")
        self.exchanges[-1].finish()

    def drained(self) -> None:
        """Nothing waits for room."""

    def aborted(self) -> None:
        """Nothing is held."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, {"mounts": [{"mountpoint": "/", "origin": f"file://{tmp_path}"}]})
    yield made
    made.close()


def test_head_that_fails_leaves_no_framing_behind(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """LESSONS 3.9: the 500 in place of a refused head has its own framing, and nothing after its body."""
    bench.mount("/x", Scripted(lambda exchange: exchange.start(200, [("X", "a\r\nb")], None)))
    peer = bench.connect()
    assert peer.get("/x").status == 500
    assert peer.receive() == b""
    assert "control character" in capfd.readouterr().err


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("length", [None, 5])
def test_answers_without_content_have_no_framing_fields(bench: Bench, status: int, length: int) -> None:
    """RFC 9112 6.1: no Transfer-Encoding in a 204; RFC 9110 8.6: no Content-Length either."""
    def answer(exchange: Exchange) -> None:
        exchange.start(status, [], length)
        exchange.write(b"never")
        exchange.finish()

    bench.mount("/x", Scripted(answer))
    peer = bench.connect()
    for _ in range(2):
        got = peer.get("/x")
        assert (got.status, got.get("Transfer-Encoding"), got.get("Content-Length")) == (status, None, None)
    assert not peer.closed


def test_nothing_is_written_after_the_end(bench: Bench) -> None:
    """What comes late would be read as the next answer."""
    handler = Scripted(lambda exchange: exchange.start(200, [], None))
    bench.mount("/x", handler)
    peer = bench.connect()
    peer.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    exchange = handler.exchanges[0]
    exchange.write(b"abc")
    exchange.finish()
    exchange.write(b"late")
    assert peer.answer().body == b"abc"
    assert peer.receive() == b""


def test_no_100_within_an_answer(bench: Bench) -> None:
    """RFC 9110 10.1.1: 100 (Continue) is for before the final answer."""
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], 3)
        exchange.write(b"ab")
        exchange.take_body(handler)

    handler = Scripted(answer)
    bench.mount("/x", handler)
    peer = bench.connect()
    peer.send(b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    peer.send(b"z")
    assert peer.answer().body == b"abc"
