"""Exchanges that are answered as another request (RFC 3875 6.2.2), interim answers, and phrases of others."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Optional

import pytest

from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.core.routing import Routes
from lwsws.wire.errors import LocalProtocolError
from tests.support.handlers import Collector, Later
from tests.support.peer import Bench


class Elsewhere(Handler):
    """Sends everything on to one place."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.count = 0
        self.error: Optional[HttpError] = None

    def begin(self, exchange: Exchange) -> None:
        self.count += 1
        try:
            exchange.restart(exchange.request.redirected(self.target))
        except HttpError as error:
            self.error = error
            raise


def test_another_answer(make: Callable[..., Bench], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    bench, elsewhere = make(access_log=str(log)), Elsewhere("/ten.txt?x=1")
    bench.mount("/go", elsewhere)
    peer = bench.connect()
    for count in (1, 2):    # and it is not remembered for the request that was sent
        answer = peer.get("/go/a")
        assert (answer.status, answer.body) == (200, b"0123456789")
        assert elsewhere.count == count
    assert peer.get("/ten.txt").status == 200
    for access_log in bench.site.access_logs:
        access_log.flush()
    assert log.read_text().count('"GET /go/a HTTP/1.1" 200 10') == 2


def test_a_body_is_none_of_its_business(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.mount("/go", Elsewhere("/ten.txt"))
    peer = bench.connect()
    peer.send(b"POST /go HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n")
    assert peer.answer().body == b"0123456789"
    peer.send(b"abc")
    assert peer.get("/ten.txt").status == 200


def test_the_rest_of_the_body_is_nobodys(make: Callable[..., Bench]) -> None:
    """LESSONS 3.6: else the client could write whole requests to whom it was sent on to."""
    bench, collector = make(), Collector()
    bench.mount("/go", Elsewhere("/collect"))
    vhost = bench.vhosts().default
    going = vhost.routes.match("/go")
    bench.mount("/collect", collector)
    collecting = vhost.routes.match("/collect")
    assert going is not None and collecting is not None
    vhost.routes = Routes([going, collecting])
    peer = bench.connect()
    peer.send(b"POST /go HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nUpgrade: x\r\n\r\n")
    peer.send(b"abc")
    assert (collector.exchange.request.method, collector.exchange.request.has_body) == ("GET", False)
    assert collector.exchange.request.headers.get("upgrade") is None
    assert (collector.body, collector.ended) == (b"", False)
    collector.exchange.respond(200, [], b"done")
    assert peer.answer().body == b"done"
    peer.send(b"POST /collect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
    assert collector.body == b"hi"


def test_a_head_stays_a_head(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.mount("/go", Elsewhere("/ten.txt"))
    peer = bench.connect()
    peer.send(b"HEAD /go HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.answer("HEAD").get("content-length") == "10"
    assert peer.receive() == b""


def test_circles_end(make: Callable[..., Bench]) -> None:
    bench, elsewhere = make(), Elsewhere("/go/on")
    bench.mount("/go", elsewhere)
    assert bench.connect().get("/go").status == 508
    assert elsewhere.count == 11
    assert elsewhere.error is not None


def test_not_after_the_answer_has_begun(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    exchange = later.exchanges[0]
    exchange.start(200, [], 1)
    with pytest.raises(LocalProtocolError):
        exchange.restart(exchange.request.redirected("/ten.txt"))


def test_interim_answers_come_first(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    exchange = later.exchanges[0]
    exchange.interim(103, [("Link", "</a>")])
    exchange.dated = True
    exchange.respond(299, [("Date", "then")], b"x", "Own Words")
    exchange.interim(103, [])
    received = peer.receive()
    assert received.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 299 Own Words\r\n")
    assert received.count(b"103") == 1
    assert received.count(b"Date:") == 1


def test_no_interim_answers_to_old_clients(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.0\r\nHost: localhost\r\n\r\n")
    later.exchanges[0].interim(103, [])
    assert peer.receive() == b""
