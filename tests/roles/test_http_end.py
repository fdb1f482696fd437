"""The http role when a newer process has taken over, and when the server stops: no request is lost by it."""

from __future__ import annotations

from typing import Callable, Optional

import pytest

from lwsws.core.connection import GRACE_SECONDS
from tests.support.ending import tell_all, wind_down
from tests.support.handlers import BIG, GET_TEN, Collector, Later
from tests.support.peer import Bench, Peer

TEN = b"0123456789"
LONG = 10 * GRACE_SECONDS


@pytest.fixture(params=[wind_down, tell_all])
def end(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Either way to the end."""
    function: Callable[..., None] = request.param
    return function


def last_answer(peer: Peer, request: bytes = GET_TEN) -> None:
    """The request is answered, with the word that it was the last, and then the connection is closed."""
    peer.send(request)
    answer = peer.answer()
    assert (answer.body, answer.get("Connection")) == (TEN, "close")
    assert peer.closed


# Either way.


@pytest.mark.parametrize("asked_before", [0, 1, 4])
def test_the_next_answer_is_the_last(
    make: Callable[..., Bench], end: Callable[..., None], asked_before: int
) -> None:
    """Also where the answer has been remembered, which says nothing of an end."""
    bench = make()
    peer = bench.connect()
    for _ in range(asked_before):
        peer.send(GET_TEN)
        assert peer.answer().get("Connection") is None
    end(bench.context)
    bench.vhosts().answers.forget()
    last_answer(peer)
    last_answer(bench.connect())
    assert not len(bench.vhosts().answers)


def test_nothing_is_remembered_any_more(make: Callable[..., Bench], end: Callable[..., None]) -> None:
    bench = make()
    end(bench.context)
    for _ in range(4):
        last_answer(bench.connect())
    assert not len(bench.vhosts().answers)


def test_of_several_requests_in_one_go_the_first_is_answered_and_the_answer_arrives(
    make: Callable[..., Bench], end: Callable[..., None]
) -> None:
    """RFC 9112 9.6: the client sees that the others were not, and may send them again."""
    bench = make()
    peer = bench.connect()
    end(bench.context)
    peer.send(GET_TEN * 3)
    assert peer.answer().get("Connection") == "close"
    assert peer.closed


def test_a_client_that_goes_on_sending_is_not_reset(
    make: Callable[..., Bench], end: Callable[..., None]
) -> None:
    """It had no way to know."""
    bench = make()
    peer = bench.connect()
    end(bench.context)
    peer.sock.send(GET_TEN)
    bench.run()
    peer.sock.send(GET_TEN)     # before it has read the answer
    bench.run()
    assert peer.answer().body == TEN
    assert peer.closed
    assert bench.context.connections    # waits for the client to close, see net/linger.py
    peer.sock.close()
    bench.run()
    assert not bench.context.connections


def test_an_answer_that_is_begun_later_says_so(make: Callable[..., Bench], end: Callable[..., None]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    end(bench.context)
    bench.advance(LONG)
    later.exchanges[0].respond(200, [], b"done")
    answer = peer.answer()
    assert (answer.body, answer.get("Connection")) == (b"done", "close")
    assert peer.closed


@pytest.mark.parametrize("pipelined", [False, True])
def test_who_was_promised_more_may_ask_once_more(
    make: Callable[..., Bench], end: Callable[..., None], pipelined: bool
) -> None:
    """The head of the answer that was under way said that the connection goes on."""
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n" + (GET_TEN if pipelined else b""))
    later.exchanges[0].start(200, [], 4)
    end(bench.context)
    bench.advance(LONG)
    later.exchanges[0].write(b"done")
    later.exchanges[0].finish()
    assert peer.answer().get("Connection") is None
    last_answer(peer, b"" if pipelined else GET_TEN)


def test_an_upload_that_is_under_way_is_taken(make: Callable[..., Bench], end: Callable[..., None]) -> None:
    bench, collector = make(), Collector()
    bench.mount("/up", collector)
    peer = bench.connect()
    peer.send(b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234")
    end(bench.context)
    peer.send(b"56789")
    answer = peer.answer()
    assert (answer.body, answer.get("Connection")) == (b"10", "close")


def test_a_head_that_has_begun_is_waited_for(make: Callable[..., Bench], end: Callable[..., None]) -> None:
    bench = make()
    peer = bench.connect()
    peer.send(GET_TEN[:10])
    end(bench.context)
    bench.advance(2 * GRACE_SECONDS)
    last_answer(peer, GET_TEN[10:])


# A newer process has taken over.


def test_idle_connections_live_as_long_as_ever(make: Callable[..., Bench]) -> None:
    bench = make(keepalive_timeout=100)
    peer, other = bench.connect(), bench.connect()
    for each in (peer, other):
        each.send(GET_TEN)
        each.answer()
    wind_down(bench.context)
    bench.advance(99)
    last_answer(other)
    assert not peer.closed
    bench.advance(1)
    assert peer.closed


# Stop.


@pytest.mark.parametrize("idle", [None, 0.0, 0.5])
def test_who_was_busy_just_now_has_a_moment(make: Callable[..., Bench], idle: Optional[float]) -> None:
    """None: connected, and has asked nothing yet."""
    bench = make()
    slow, quick = bench.connect(), bench.connect()
    for peer in (slow, quick) if idle is not None else ():
        peer.send(GET_TEN)
        peer.answer()
    bench.advance(idle or 0)
    tell_all(bench.context)
    bench.advance(GRACE_SECONDS - (idle or 0) - 0.1)
    assert not slow.closed
    last_answer(quick)
    bench.advance(0.1)
    assert slow.closed


@pytest.mark.parametrize("asks", [False, True])
def test_who_has_been_idle_for_longer_is_closed_at_once(make: Callable[..., Bench], asks: bool) -> None:
    bench = make()
    peer = bench.connect()
    if asks:
        peer.send(GET_TEN)
        peer.answer()
    bench.advance(GRACE_SECONDS)
    tell_all(bench.context)
    bench.run()
    assert peer.closed
    assert not bench.context.connections


def test_the_moment_counts_from_the_end_of_an_answer(make: Callable[..., Bench]) -> None:
    bench, later = make(keepalive_timeout=100), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    later.exchanges[0].start(200, [], 0)
    tell_all(bench.context)
    bench.advance(LONG)
    later.exchanges[0].finish()
    peer.answer()
    bench.advance(GRACE_SECONDS - 0.1)
    assert not peer.closed
    bench.advance(0.1)
    assert peer.closed


@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_that_nobody_reads_yet_is_waited_for(make: Callable[..., Bench], whole: bool) -> None:
    """And then there is a moment, too, because it did not say that it was the last."""
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect(buffer=4096)
    peer.sock.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.run()
    exchange, = later.exchanges
    if whole:
        exchange.respond(200, [], BIG)
    else:
        exchange.start(200, [], len(BIG))
        exchange.write(BIG)
        exchange.finish()
    bench.advance(LONG)
    tell_all(bench.context)
    bench.run()
    assert peer.answer().body == BIG
    last_answer(peer)


def test_a_connection_that_becomes_http_later_has_the_same_moment(make: Callable[..., Bench]) -> None:
    """As after a TLS handshake."""
    bench = make()
    tell_all(bench.context)
    first, second = bench.connect(), bench.connect()
    bench.advance(GRACE_SECONDS - 0.1)
    last_answer(first)
    bench.advance(0.1)
    assert second.closed
