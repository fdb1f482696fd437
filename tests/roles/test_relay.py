"""The relay: bytes both ways, every order of ends and breaks, and memory that stays flat."""

from __future__ import annotations

import hashlib
from typing import Iterator

import pytest

from lwsws.net.reactor import BUFFER_BYTES
from lwsws.net.reset import is_delivered
from lwsws.net.transport import HIGH, SENDFILE_CHUNK
from tests.net.support import tcp_pair, unix_pair
from tests.support.raw import SEND_TIMEOUT, Pair, RawBench
from tests.support.relay import Ends, closed_down, fill, relay, until_over

MB = 1 << 20


@pytest.mark.parametrize("way", ["up", "down"])
def test_bytes_arrive_and_are_counted(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    for piece in (b"one", b"two", bytes(100)):
        source.send(piece)
        bench.until(sink.receive)
    assert sink.data == b"onetwo" + bytes(100)
    moved = {"up": ends.role.up.moved, "down": ends.role.down.moved}
    assert moved.pop(way) == 106 and [*moved.values()] == [0]


# 100 MB with a slow reader: what waits is counted, nothing is timed.


def blocks(count: int) -> Iterator[bytes]:
    """`count` different blocks of 64 KiB."""
    for number in range(count):
        yield number.to_bytes(4, "big") * (BUFFER_BYTES // 4)


def move(bench: RawBench, ends: Ends, way: str, total: int) -> int:
    """Send `total` bytes as fast as they are taken, read them slowly, compare them; returns the most that
    ever waited in the server."""
    source, sink = ends.source_and_sink(way)
    made, read = hashlib.sha256(), hashlib.sha256()
    unsent, received, most, turn = b"", 0, 0, 0
    stock = blocks(total // BUFFER_BYTES)
    while received < total:
        if not unsent:
            unsent = next(stock, b"")
            made.update(unsent)
        unsent = unsent[source.send_some(unsent):] if unsent else b""
        bench.reactor.run_once(0)
        most = max(most, ends.most_queued())
        turn += 1
        if turn % 8 == 0:
            for _ in range(8):      # in gulps, so that everything fills up in between
                piece = sink.receive()
                read.update(piece)
                received += len(piece)
            sink.data.clear()
    assert made.digest() == read.digest()
    return most


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_hundred_megabytes_to_a_slow_reader(bench: RawBench, way: str) -> None:
    ends = relay(bench, tcp_pair)
    most = move(bench, ends, way, 100 * MB)
    # What is spliced waits in one piece at most.
    assert 0 < most <= max(HIGH + BUFFER_BYTES, SENDFILE_CHUNK)
    assert ends.conn.role is ends.role


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_reader_that_reads_nothing_stops_its_sender(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    sent = fill(bench, ends, source)
    assert sent < 3 * MB
    assert 0 < ends.most_queued() <= max(HIGH + BUFFER_BYTES, SENDFILE_CHUNK)
    other = b"the other way is free"
    sink.send(other)
    bench.until(source.receive)
    assert source.data == other
    while len(sink.data) < sent:
        sink.receive()
        bench.reactor.run_once(0)
    assert not ends.most_queued()


# Ends of the stream.


@pytest.mark.parametrize("way", ["up", "down"])
def test_an_end_is_carried_through_and_the_other_way_goes_on(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    source.send(b"question")
    source.half_close()
    bench.until(lambda: sink.over)
    assert sink.data == b"question" and not sink.was_reset
    for _ in range(3):
        sink.send(b"answer ")
        bench.until(source.receive)
    sink.half_close()
    bench.until(lambda: source.over)
    assert source.data == b"answer answer answer " and not source.was_reset
    assert closed_down(bench)


@pytest.mark.parametrize("way", ["up", "down"])
def test_an_end_comes_behind_what_still_waits(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    sent = fill(bench, ends, source)
    source.half_close()
    bench.settle()
    assert ends.most_queued()
    while not sink.over:
        bench.reactor.run_once(0)
    assert len(sink.data) == sent and not sink.was_reset


def test_both_ends_at_the_same_time(bench: RawBench, pair: Pair) -> None:
    ends = relay(bench, pair)
    for peer in (ends.client, ends.far):
        peer.send(b"bye")
        peer.half_close()
    bench.until(lambda: ends.client.over and ends.far.over)
    assert ends.client.data == ends.far.data == b"bye"
    assert not ends.client.was_reset and not ends.far.was_reset
    assert closed_down(bench)


@pytest.mark.parametrize("way", ["up", "down"])
def test_both_ends_while_one_does_not_read_yet(bench: RawBench, pair: Pair, way: str) -> None:
    """The connection lasts until the slow one has everything."""
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    sent = fill(bench, ends, source)
    source.half_close()
    sink.half_close()
    bench.until(lambda: source.over)
    assert not source.was_reset
    bench.settle()
    assert bench.context.connections
    while not sink.over:
        bench.reactor.run_once(0)
    assert len(sink.data) == sent and not sink.was_reset
    assert closed_down(bench)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_peer_that_closes_at_once_still_has_delivered(bench: RawBench, pair: Pair, way: str) -> None:
    ends = relay(bench, pair)
    source, sink = ends.source_and_sink(way)
    source.send(b"last words")
    source.close()
    bench.until(lambda: sink.over)
    assert sink.data == b"last words" and not sink.was_reset
    sink.close()
    assert closed_down(bench)


# Breaks.


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_reset_is_carried_through(bench: RawBench, way: str) -> None:
    """Who receives a part must not take it for the whole."""
    ends = relay(bench, tcp_pair)
    source, sink = ends.source_and_sink(way)
    source.send(b"a part")
    bench.until(sink.receive)
    source.reset()
    until_over(bench, sink)
    assert sink.data == b"a part" and sink.was_reset
    assert closed_down(bench)


def test_a_reset_of_the_far_end_does_not_take_back_what_it_sent(bench: RawBench) -> None:
    """As from a server that answers and closes before it has read everything."""
    ends = relay(bench, tcp_pair)
    sent = 0
    while not ends.conn.transport.size:
        sent += ends.far.send_some(bytes(BUFFER_BYTES))
        bench.reactor.run_once(0)
    bench.until(lambda: ends.role.down.moved == sent)
    assert 0 < ends.conn.transport.size <= HIGH
    ends.far.reset()
    bench.until(lambda: ends.role.down.source.closed)
    ends.client.send(b"nobody wants this")
    bench.settle()
    assert not ends.conn.transport.bytes_received
    until_over(bench, ends.client)
    assert len(ends.client.data) == sent and ends.client.was_reset
    assert closed_down(bench)


def test_a_client_that_takes_nothing_after_the_far_end_broke_is_cut_off(bench: RawBench) -> None:
    ends = relay(bench, tcp_pair)
    while is_delivered(ends.conn.transport):    # a little, so that it is all with the kernel
        ends.far.send_some(bytes(16384))
        bench.settle()
    ends.far.reset()
    bench.until(lambda: ends.role.down.source.closed)
    assert not ends.conn.transport.size
    for _ in range(10):
        bench.advance(SEND_TIMEOUT / 10 - 0.1)
    assert bench.context.connections
    bench.advance(2)
    assert closed_down(bench)


def test_a_reset_that_is_found_only_when_the_client_has_read_on(bench: RawBench) -> None:
    """The far end is not read while too much waits; by the time it is, the client has everything."""
    ends = relay(bench, tcp_pair)
    fill(bench, ends, ends.far)
    moved = ends.role.down.moved
    ends.far.reset()
    until_over(bench, ends.client)
    assert len(ends.client.data) >= moved
    bench.advance(5)
    assert closed_down(bench)


def test_a_reset_of_the_client_ends_a_far_end_that_reads_nothing(bench: RawBench) -> None:
    ends = relay(bench, tcp_pair)
    fill(bench, ends, ends.client)
    ends.client.reset()
    ends.far.send(b"x" * 100)   # the client's end is not read now: a write finds that it is gone
    bench.until(lambda: not bench.context.connections)
    while not ends.far.over:
        pass
    assert ends.far.was_reset


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_reset_after_the_end_was_carried_through(bench: RawBench, way: str) -> None:
    ends = relay(bench, tcp_pair)
    source, sink = ends.source_and_sink(way)
    source.half_close()
    bench.until(lambda: sink.over)
    sink.reset()
    until_over(bench, source)
    assert source.was_reset
    assert closed_down(bench)


def test_the_connection_is_aborted(bench: RawBench, pair: Pair) -> None:
    ends = relay(bench, pair)
    ends.conn.abort()
    assert closed_down(bench)
    assert ends.client.over and ends.far.over


# The server ends.


def test_the_end_of_the_server_delivers_what_was_received(bench: RawBench, pair: Pair) -> None:
    ends = relay(bench, pair)
    ends.client.send(b"up")
    ends.far.send(b"down")
    bench.settle()
    ends.role.shutdown()
    bench.until(lambda: ends.far.over)
    ends.far.close()
    bench.until(lambda: ends.client.over)
    assert ends.far.data == b"up"
    assert ends.client.data == b"down"
    assert not ends.client.was_reset and not ends.far.was_reset
    ends.client.close()
    assert closed_down(bench)


def test_the_end_of_the_server_does_not_wait_long_for_a_far_end_that_stays(bench: RawBench) -> None:
    ends = relay(bench, unix_pair)
    ends.role.shutdown()
    ends.client.send(b"too late")
    bench.settle()
    assert not ends.conn.transport.bytes_received
    bench.advance(3)
    bench.advance(3)
    assert closed_down(bench)
