"""The limit on requests under way for each client: what counts, for how long, and that it is counted off."""

from __future__ import annotations

from typing import Callable

import pytest

from lwsws.core.peers import Peers
from lwsws.core.role import Role
from tests.support.handlers import GET_TEN, Collector, Later
from tests.support.peer import Bench, Peer

KEY = "192.0.2.7"
GET_LATER = b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Limited:
    """A bench whose clients all have one address, of which `most` requests may be under way."""

    def __init__(self, bench: Bench, most: int) -> None:
        self.bench = bench
        self.later = Later()
        bench.mount("/later", self.later)
        self.peers = bench.context.peers = Peers(0, most, bench.clock)

    def connect(self) -> Peer:
        """One more connection of the client; only its requests count here."""
        peer = self.bench.connect()
        peer.connection.counted = KEY
        return peer


@pytest.fixture
def limited(make: Callable[..., Bench]) -> Limited:
    """Two requests may be under way."""
    return Limited(make(), 2)


def test_one_too_many_closes_its_connection(limited: Limited) -> None:
    first, second, third = [limited.connect() for _ in range(3)]
    for peer in (first, second, third):
        peer.send(GET_LATER)
    assert [peer.closed for peer in (first, second, third)] == [False, False, True]
    assert (len(limited.later.exchanges), limited.bench.context.refused) == (2, 1)
    limited.later.exchanges[0].respond(200, [], b"")
    assert first.answer().status == 200
    fourth = limited.connect()
    fourth.send(GET_LATER)
    assert not fourth.closed


def test_idle_connections_do_not_count(limited: Limited) -> None:
    for _ in range(5):
        peer = limited.connect()
        peer.send(GET_TEN)
        assert peer.answer().status == 200
    assert len(limited.peers) == 0
    assert limited.bench.context.refused == 0


def test_an_answer_counts_until_the_kernel_has_it(limited: Limited) -> None:
    peer = limited.bench.connect(buffer=4096)
    peer.connection.counted = KEY
    peer.sock.send(b"GET /big.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    limited.bench.run()
    assert len(limited.peers) == 1
    assert peer.answer().status == 200
    assert len(limited.peers) == 0


@pytest.mark.parametrize("how", ["is lost", "is refused", "has a fault", "breaks off an upload"])
def test_nothing_stays_counted(limited: Limited, how: str) -> None:
    peer, collector = limited.connect(), Collector()
    if how == "is lost":
        peer.send(GET_LATER)
        assert len(limited.peers) == 1
        peer.connection.abort()
    elif how == "is refused":
        peer.send(b"G" + GET_TEN)
        assert peer.answer().status == 501
    elif how == "has a fault":
        peer.send(b"POST /ten.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        peer.receive()
    else:
        limited.bench.mount("/up", collector)
        peer.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        assert len(limited.peers) == 1
    peer.sock.close()
    limited.bench.run()
    assert len(limited.peers) == 0


def test_an_upgraded_connection_is_no_request_any_more(limited: Limited) -> None:
    peer = limited.connect()
    peer.send(GET_LATER)
    assert len(limited.peers) == 1
    limited.later.exchanges[0].upgrade([("Upgrade", "x")], Role())
    assert len(limited.peers) == 0
