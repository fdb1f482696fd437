"""The relay: limits in time, and what the log says."""

from __future__ import annotations

from typing import List

import pytest

from lwsws import log
from lwsws.core.connection import Connection
from lwsws.core.role import Role
from lwsws.net.reactor import BUFFER_BYTES
from lwsws.net.receiver import NOBODY
from lwsws.net.transport import Transport
from lwsws.roles.relay import HALF_CLOSED_SECONDS, RelayRole
from tests.net.support import tcp_pair, unix_pair
from tests.support.raw import SEND_TIMEOUT, Pair, Peer, RawBench
from tests.support.relay import Ends, closed_down, fill, relay, until_over

Errors = pytest.CaptureFixture[str]


# Limits in time.


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_peer_that_takes_nothing_ends_both(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    fill(bench, ends, source)
    bench.advance(SEND_TIMEOUT - 1)
    assert bench.context.connections
    bench.advance(2)
    assert closed_down(bench)
    for peer in (source, sink):
        until_over(bench, peer)
        assert peer.was_reset or pair is unix_pair


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_peer_that_takes_something_does_not(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    fill(bench, ends, source)
    for _ in range(4):
        source.send_some(bytes(BUFFER_BYTES))
        sink.receive(BUFFER_BYTES)
        bench.advance(SEND_TIMEOUT - 1)
        fill(bench, ends, source)
    assert bench.context.connections


@pytest.mark.parametrize("way", ["up", "down"])
def test_the_limit_ends_with_the_queue(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    sent = fill(bench, ends, source)
    while len(sink.data) < sent:
        sink.receive()
        bench.reactor.run_once(0)
    for _ in range(5):
        bench.advance(SEND_TIMEOUT + 1)
    assert bench.context.connections


@pytest.mark.parametrize("way", ["up", "down"])
def test_bytes_of_the_sender_do_not_help_a_peer_that_takes_nothing(
    bench: RawBench, pair: Pair, way: str
) -> None:
    ends = relay(bench, pair)
    source, _ = ends.source_and_sink(way)
    while not ends.most_queued():
        source.send_some(bytes(BUFFER_BYTES))
        bench.reactor.run_once(0)
    for _ in range(6):      # the kernel may take some more at first
        if bench.context.connections:
            source.send_some(b"more")
            bench.advance(SEND_TIMEOUT / 2 + 1)
    assert closed_down(bench)


def test_the_deadline_of_an_earlier_role_is_over(bench: RawBench) -> None:
    class Earlier(Role):
        def start(self, conn: Connection) -> None:
            super().start(conn)
            conn.expect(1, "something else")
            conn.switch_role(RelayRole(Transport(bench.reactor, ours, NOBODY), "some.where:1"), b"")

    ours, theirs = unix_pair()
    ours.setblocking(False)
    bench.keep(Peer(bench, theirs))
    bench.connect(Earlier())
    bench.advance(2)
    assert bench.context.connections


def test_an_open_tunnel_may_be_silent_for_ever(bench: RawBench, pair: Pair) -> None:
    ends = relay(bench, pair)
    bench.advance(100 * HALF_CLOSED_SECONDS)
    ends.client.send(b"still here")
    bench.until(ends.far.receive)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_half_closed_one_may_not(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    source.half_close()
    bench.until(lambda: sink.over)
    bench.advance(HALF_CLOSED_SECONDS - 10)
    sink.send(b"x")
    bench.until(source.receive)
    bench.advance(HALF_CLOSED_SECONDS - 10)
    assert bench.context.connections
    bench.advance(11)
    assert closed_down(bench)
    assert source.over


# The log.


def test_the_log_has_both_counts_at_the_end(bench: RawBench, capfd: Errors) -> None:
    log.set_level(log.DEFAULT_MASK | log.INFO)
    try:
        ends = relay(bench, tcp_pair)
        ends.client.send(b"123")
        ends.client.half_close()
        ends.far.send(b"12345")
        bench.until(lambda: ends.far.over)
        ends.far.reset()
        until_over(bench, ends.client)
        bench.settle()
        bench.advance(2 * HALF_CLOSED_SECONDS)
    finally:
        log.set_level(log.DEFAULT_MASK)
    logged = capfd.readouterr().err
    assert "conn 1: onward some.where:1: lost: Connection reset by peer" in logged
    assert "conn 1: onward some.where:1: 3 bytes sent, 5 received" in logged
    assert "idle" not in logged


def test_the_garbage_of_many_tunnels_holds_no_sockets(bench: RawBench) -> None:
    """Circles are collected late, so nothing that needs closing may be left to that."""
    many: List[Ends] = []
    for _ in range(50):
        ends = relay(bench, unix_pair)
        many.append(ends)
        ends.client.close()
        ends.far.close()
        assert closed_down(bench)
    assert all(ends.conn.transport.closed and ends.role.down.source.closed for ends in many)
