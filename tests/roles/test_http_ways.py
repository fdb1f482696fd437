"""The way of a request to its handler, remembered by its bytes: the same as without, but shorter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List

import pytest

from lwsws.core.answers import LIFETIME
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from tests.support.peer import Bench

GET = b"GET /live/a%20b?q HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n\r\n"


class Live(Handler):
    """Answers with what it was told; 403 where the query is `no`."""

    is_live = True

    def __init__(self) -> None:
        self.requests: List[Any] = []

    def begin(self, exchange: Exchange) -> None:
        self.requests.append(exchange.request)
        if exchange.request.query == "no":
            raise HttpError(403)
        mount = exchange.mount
        assert mount is not None
        told = mount.prefix, exchange.rest, exchange.path, exchange.request.query, exchange.vhost.name
        exchange.respond(200, [], repr(told).encode())


class Site:
    """A bench with such a handler at /live."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.live = Live()
        bench.mount("/live", self.live)

    def ask(self, *requests: bytes) -> List[bytes]:
        """The answers to `requests`, sent one by one on one connection."""
        peer, answers = self.bench.connect(), []
        for request in requests:
            peer.send(request)
            answers.append(peer.receive())
            peer.data = b""
        return answers

    @property
    def parsed(self) -> int:
        """How many different request objects there were."""
        return len(set(map(id, self.live.requests)))


@pytest.fixture
def site(make: Callable[..., Bench]) -> Site:
    """A site with a header of its own."""
    return Site(make(headers=[{"X-V": "1"}]))


def test_the_third_time_nothing_is_parsed_and_all_is_the_same(site: Site) -> None:
    answers = site.ask(GET, GET, GET, GET)
    assert len(set(answers)) == 1
    assert b"('/live', '/a b', '/live/a b', 'q', 'localhost')" in answers[0]
    assert b"X-V: 1\r\n" in answers[0]
    assert (len(site.live.requests), site.parsed) == (4, 2)


def test_on_another_connection_too(site: Site) -> None:
    for _ in range(4):
        site.ask(GET)
    assert (len(site.live.requests), site.parsed) == (4, 2)


def test_it_is_forgotten(site: Site) -> None:
    site.ask(GET, GET, GET)
    site.bench.advance(LIFETIME)
    site.ask(GET, GET, GET)
    assert (len(site.live.requests), site.parsed) == (6, 4)


def test_pipelined_requests_are_parsed(site: Site) -> None:
    site.ask(GET, GET)
    answer, = site.ask(GET * 3)
    assert answer.count(b"HTTP/1.1 200") == 3


class Waiting(Live):
    """Answers when the test says so."""

    def begin(self, exchange: Exchange) -> None:
        self.requests.append(exchange)


@pytest.mark.parametrize("behind, answers", [
    (GET, 2), (GET * 3, 4), (GET[:20], 1), (b"\r\n", 1), (b"\0garbage\r\n\r\n", 1), (b"", 1),
])
@pytest.mark.parametrize("ends", [False, True])
def test_what_comes_while_a_known_request_is_answered(make: Callable[..., Bench], behind: bytes, answers: int,
                                                     ends: bool) -> None:
    bench, waiting = make(), Waiting()
    bench.mount("/live", waiting)
    peer = bench.connect()
    for _ in range(2):
        peer.send(GET)
        waiting.requests[-1].respond(200, [])
        assert peer.answer().status == 200
    peer.send(GET)
    peer.send(behind)
    if ends:
        peer.half_close()
    for number in range(answers):
        assert len(waiting.requests) == 3 + number
        waiting.requests[-1].respond(200, [])
        assert peer.answer().status == 200
    if b"garbage" in behind:
        assert peer.answer().status == 400
    elif not ends and behind == GET[:20]:
        peer.send(GET[20:])
        waiting.requests[-1].respond(200, [])
        assert peer.answer().status == 200
    elif not ends:
        peer.send(GET)
        assert len(waiting.requests) == 3 + answers


def test_copies_take_room_once(site: Site) -> None:
    """LESSONS 3.40: else they would keep the answers of others from being remembered."""
    site.ask(GET, GET)
    site.ask(GET * 50)
    store: Any = site.bench.vhosts().answers
    assert store._entries == 1


def test_a_request_that_comes_in_pieces(site: Site) -> None:
    whole, _, _ = site.ask(GET, GET, GET)
    assert site.ask(GET[:20], GET[20:])[1] == whole


def test_refusals_are_decided_each_time(site: Site) -> None:
    request = GET.replace(b"?q", b"?no")
    answers = site.ask(request, request, request)
    assert all(answer.startswith(b"HTTP/1.1 403") for answer in answers)
    assert len(site.live.requests) == 3


@pytest.mark.parametrize("request_bytes", [
    b"POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
])
def test_what_is_not_remembered(site: Site, request_bytes: bytes) -> None:
    site.ask(request_bytes, request_bytes, request_bytes, request_bytes)
    assert (len(site.live.requests), site.parsed) == (4, 4)


def test_the_last_request_of_a_connection(site: Site) -> None:
    request = GET.replace(b"X: 1", b"Connection: close")
    for _ in range(3):
        peer = site.bench.connect()
        peer.send(request)
        assert b"\r\nConnection: close\r\n" in peer.receive()
        assert peer.eof


def test_the_line_of_the_log(make: Callable[..., Bench], tmp_path: Path) -> None:
    log = tmp_path / "log"
    site = Site(make(access_log=str(log)))
    site.ask(GET, GET, GET)
    for access_log in site.bench.site.access_logs:
        access_log.flush()
    lines = log.read_text().splitlines()
    assert len(lines) == 3
    assert len({line.partition('"')[2] for line in lines}) == 1
