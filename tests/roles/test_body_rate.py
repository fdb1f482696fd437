"""Request bodies that trickle, and those that are only slow (LESSONS 3.8)."""

from __future__ import annotations

from typing import Callable

from lwsws.net.linger import LINGER_SECONDS
from lwsws.roles.body_rate import CREDIT, MIN_RATE, BodyRate
from tests.support.handlers import Collector
from tests.support.peer import Bench, Peer

HEAD = b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"


def uploading(bench: Bench) -> Peer:
    """A client whose upload has begun."""
    bench.mount("/up", Collector())
    peer = bench.connect()
    peer.send(HEAD)
    return peer


def test_a_trickle_is_ended(make: Callable[..., Bench]) -> None:
    bench = make(timeout_secs=5)
    peer = uploading(bench)
    waited = 0
    while bench.context.connections and waited < 100:
        peer.send(b"x")
        bench.advance(1)
        waited += 1
    assert CREDIT <= waited <= CREDIT + 1 + LINGER_SECONDS
    assert peer.answer().status == 408


def test_a_slow_link_is_not(make: Callable[..., Bench]) -> None:
    bench = make(timeout_secs=5)
    peer = uploading(bench)
    for _ in range(40):
        bench.advance(4.5)
        peer.send(b"x" * int(4.5 * MIN_RATE))
    assert bench.context.connections


def test_time_that_the_handler_takes_is_not_counted(make: Callable[..., Bench]) -> None:
    bench, collector = make(timeout_secs=5), Collector()
    bench.mount("/up", collector)
    peer = bench.connect()
    peer.send(HEAD)
    for _ in range(6):
        collector.exchange.pause_body()
        bench.advance(CREDIT)
        peer.send(b"x")
        collector.exchange.resume_body()
        bench.advance(1)
    assert bench.context.connections


def test_credit_has_a_limit() -> None:
    rate = BodyRate()
    rate.came(1 << 30)
    assert rate.wait(0.0, 1000.0, False) == CREDIT
    assert rate.wait(15.0, 1000.0, True) == CREDIT - 15
    assert rate.wait(16.0, 2.0, True) == 2.0
    assert rate.wait(50.0, 2.0, True) == 0.0
