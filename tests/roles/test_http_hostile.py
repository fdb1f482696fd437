"""The http role against clients that stall, trickle and flood, and against handlers that fail late."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from lwsws.core.exchange import UNLIMITED, Exchange
from lwsws.core.handler import Handler
from tests.support.handlers import Collector
from tests.support.peer import Bench, Peer

BIG = b"0123456789abcdef" * 60000

GET_TEN = b"GET /ten.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_LATER = b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Makes a bench with a document root; global settings as keywords."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "ten.txt").write_text("0123456789")
    (tmp_path / "www" / "big.txt").write_bytes(BIG)
    made: List[Bench] = []

    def make_bench(**settings: Any) -> Bench:
        mounts = [{"mountpoint": "/", "origin": f"file://{tmp_path / 'www'}"}]
        made.append(Bench(tmp_path, {"mounts": mounts, "keepalive-timeout": "5"}, **settings))
        return made[-1]

    yield make_bench
    for bench in made:
        bench.close()


class Later(Handler):
    """Keeps the exchange, so that the test answers it when it wants."""

    def __init__(self) -> None:
        self.exchanges: List[Exchange] = []

    def begin(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


class Choking(Handler):
    """Takes the body and fails at its first byte."""

    def begin(self, exchange: Exchange) -> None:
        exchange.take_body(self)

    def body_received(self, data: bytes) -> None:
        raise ZeroDivisionError("choked")

    def body_ended(self) -> None:
        """Never comes that far."""

    def drained(self) -> None:
        """Nothing waits for room."""

    def aborted(self) -> None:
        """Nothing is held."""


def send_while_open(peer: Peer, data: bytes) -> bool:
    """Send `data` in one piece; False if the server has closed."""
    try:
        peer.sock.send(data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    peer.bench.run()
    return True


# Reading pauses, and goes on again


@pytest.mark.parametrize("fill", [8000, 15000])
def test_reading_resumes_when_all_that_waited_is_answered(make: Callable[..., Bench], fill: int) -> None:
    """LESSONS 3.40: the last of the waiting requests ends exactly where the waiting bytes end."""
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(GET_LATER)
    request = GET_TEN[:-2] + b"X: " + b"a" * fill + b"\r\n\r\n"
    count = 0
    role: Any = peer.connection.role
    while not role._paused:
        peer.send(request)
        count += 1
        assert count < 100
    later.exchanges[0].respond(200, [], b"slow")
    assert peer.answer().body == b"slow"
    assert [peer.answer().body for _ in range(count)] == [b"0123456789"] * count
    assert peer.get("/ten.txt").body == b"0123456789"


def test_head_larger_than_what_may_wait(make: Callable[..., Bench]) -> None:
    """A head within `max-head-bytes` is read to its end, whatever limit there is for pipelined bytes."""
    peer = make(max_head_bytes=400000).connect()
    assert peer.get("/ten.txt", "X: " + "a" * 300000).status == 200


# Deadlines that a client cannot move


def test_client_that_sends_but_does_not_read_is_cut_off(make: Callable[..., Bench]) -> None:
    """LESSONS 3.8: pipelined bytes are no progress of the answer."""
    bench = make(send_timeout=20)
    peer = bench.connect(buffer=4096)
    peer.sock.send(b"GET /big.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.run()
    waited = 0
    while bench.context.connections and waited < 200:
        bench.advance(5)
        waited += 5
        send_while_open(peer, b"G")
    assert 20 <= waited <= 40


def test_slow_reader_that_sends_as_well_is_not_cut_off(make: Callable[..., Bench]) -> None:
    """The other side of the rule: who takes a little again and again is never cut off."""
    bench = make(send_timeout=20)
    peer = bench.connect(buffer=4096)
    peer.sock.send(b"GET /big.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.run()
    got = 0
    for count in range(8):
        bench.advance(15)
        assert send_while_open(peer, b"\r" if count == 0 else b"\n" if count == 1 else b"")
        with pytest.raises(BlockingIOError):    # all that is on the way: then the server can send more
            while True:
                got += len(peer.sock.recv(65536))
        bench.run()
    assert bench.context.connections and 0 < got < len(BIG)


@pytest.mark.parametrize("pieces", [[b"\r\n"], [b"\r", b"\n"]])
@pytest.mark.parametrize("requests", [0, 1])
def test_empty_lines_do_not_keep_a_connection(make: Callable[..., Bench], pieces: List[bytes],
                                              requests: int) -> None:
    """LESSONS 3.8: an empty line in front of a request (RFC 9112 2.2) is not the request."""
    bench = make(timeout_secs=3)
    peer = bench.connect()
    for _ in range(requests):
        peer.get("/ten.txt")
    waited = 0
    while send_while_open(peer, pieces[waited % len(pieces)]) and waited < 60:
        bench.advance(1)
        waited += 1
    assert waited <= 3 + 6
    peer.receive()
    assert peer.eof


def test_empty_line_after_a_request_is_ignored(make: Callable[..., Bench]) -> None:
    """RFC 9112 2.2: old clients send one after a body; the connection goes on, and idles as long as any."""
    bench = make(timeout_secs=3)
    peer = bench.connect()
    peer.send(GET_TEN + b"\r\n")
    assert peer.answer().status == 200
    bench.advance(4)
    assert peer.get("/ten.txt").status == 200


def test_answer_that_comes_little_by_little_may_take_its_time(make: Callable[..., Bench]) -> None:
    """LESSONS 3.8: about lack of progress, never about total time."""
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(GET_LATER)
    exchange = later.exchanges[0]
    exchange.start(200, [], None)
    for _ in range(10):
        exchange.write(b"abc")
        bench.advance(40)
    exchange.finish()
    assert peer.answer().body == b"abc" * 10


@pytest.mark.parametrize("taken", [0, 100_000])
def test_who_does_not_take_the_answer_of_a_patient_handler_is_cut_off(make: Callable[..., Bench],
                                                                      taken: int) -> None:
    """LESSONS 3.40: else a program or an origin would be held for ever."""
    bench, collector = make(send_timeout=5), Collector()
    bench.mount("/up", collector)
    peer = bench.connect(buffer=4096)
    peer.send(b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
    exchange = collector.exchange
    exchange.patience = UNLIMITED
    exchange.start(200, [], None)
    exchange.write(BIG[:300_000])
    left = taken
    while left > 0:
        left -= len(peer.sock.recv(min(left, 2000)))
        bench.run()
    waited = 0
    while bench.context.connections and waited < 100:
        bench.advance(1)
        waited += 1
    assert 5 <= waited <= 12
    assert collector.was_aborted


def test_a_patient_handler_may_take_its_time(make: Callable[..., Bench]) -> None:
    bench, collector = make(send_timeout=5), Collector()
    bench.mount("/up", collector)
    peer = bench.connect()
    peer.send(b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
    peer.answer()
    later = Later()
    bench.mount("/later", later)
    peer.send(GET_LATER)
    exchange = later.exchanges[0]
    exchange.patience = UNLIMITED
    exchange.start(200, [], None)
    for _ in range(3):
        exchange.write(b"abc")
        peer.receive()
        bench.advance(500)
    exchange.finish()
    assert peer.answer().body == b"abc" * 3


def test_answer_that_stops_is_broken_off_whatever_the_client_sends(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(GET_LATER)
    later.exchanges[0].start(200, [], None)
    later.exchanges[0].write(b"abc")
    waited = 0
    while bench.context.connections and waited < 300:
        bench.advance(30)
        waited += 30
        send_while_open(peer, b"G")
    assert 60 <= waited <= 120
    assert peer.receive().endswith(b"abc\r\n") and peer.eof   # no last chunk: never a false end


def test_rest_of_a_body_that_does_not_come_is_not_waited_for_long(make: Callable[..., Bench]) -> None:
    """RFC 9112 9.6: the client has its answer, and no reset that could destroy it."""
    bench = make(timeout_secs=3)
    peer = bench.connect()
    answer = peer.ask("POST /ten.txt HTTP/1.1\nHost: localhost\nContent-Length: 1000")
    assert (answer.status, answer.get("Connection")) == (405, None)
    bench.advance(2)
    peer.send(b"x")
    bench.advance(1.1)
    assert peer.closed
    assert send_while_open(peer, b"x")      # read and thrown away for a moment
    bench.advance(3)
    assert not bench.context.connections


# Faults away from `begin`


def test_fault_of_a_consumer_ends_its_connection(make: Callable[..., Bench],
                                                 capfd: pytest.CaptureFixture[str]) -> None:
    """Also where it comes up while a worker's answer to the request before is delivered."""
    bench, later = make(), Later()
    bench.mount("/later", later)
    routes = bench.vhosts().default.routes
    mount = routes.match("/later")
    assert mount is not None
    peer = bench.connect()
    peer.send(GET_LATER)
    mount.handler = Choking()
    peer.send(b"POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab")
    bench.reactor.guarded(lambda: later.exchanges[0].respond(200, [], b"slow"))
    bench.run()
    assert "ZeroDivisionError: choked" in capfd.readouterr().err
    assert peer.answer().body == b"slow"
    assert peer.closed and not bench.context.connections
