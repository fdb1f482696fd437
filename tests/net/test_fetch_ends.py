"""The HTTPS client: requests that end by the time limit, by cancel() or close(), and what is left of them."""

from __future__ import annotations

import functools
import os
import ssl
import threading
import weakref
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from lwsws.net.fetch import FETCH_SECONDS, Fetch, Reply
from lwsws.net.reactor import Reactor
from tests.net.connecting import Outgoing, entry, port_of
from tests.net.fetching import EMPTY, HELLO, PATIENCE, Asking, asking
from tests.net.support import CountingSelector, settle
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock


@pytest.fixture
def ask(reactor: Reactor, clock: ManualClock, selector: CountingSelector, monkeypatch: pytest.MonkeyPatch,
        certificates: Certificates) -> Iterator[Asking]:
    """A fetcher and servers for it."""
    with asking(Outgoing(reactor, clock, selector, monkeypatch), certificates) as ask:
        yield ask


# What a request waits for when its time is up, or when nobody wants it any more.


# Begins a request and brings it to the phase; returns what waits until our end of it is closed.
Phase = Callable[[Asking], Tuple[Fetch, Callable[[], object]]]


def look_up(ask: Asking) -> Tuple[Fetch, Callable[[], object]]:
    """For the name server."""
    answered = threading.Event()

    def slowly() -> List[Tuple[Any, ...]]:
        assert answered.wait(PATIENCE)
        return [entry(1)]

    def ended() -> None:
        answered.set()
        ask.net.work_off()

    ask.net.name_servers(slowly)
    fetch = ask.begin(443, host="acme.test")
    ask.spin(lambda: ask.net.workers.busy)
    return fetch, ended


def connect(ask: Asking) -> Tuple[Fetch, Callable[[], object]]:
    """For a connection."""
    port = port_of(ask.net.full())
    before = len(os.listdir("/proc/self/fd"))
    fetch = ask.begin(port)
    ask.spin(lambda: len(os.listdir("/proc/self/fd")) == before + 1)
    return fetch, lambda: ask.spin(lambda: len(os.listdir("/proc/self/fd")) == before)


def handshake(ask: Asking) -> Tuple[Fetch, Callable[[], object]]:
    """For the server's part of the handshake."""
    listener = ask.net.listen()
    fetch = ask.begin(port_of(listener))
    settle(ask.reactor)
    end = listener.accept()[0]
    end.settimeout(PATIENCE)
    assert end.recv(3)[:2] == b"\x16\x03"

    def ended() -> None:
        with end:
            while end.recv(65536):
                pass

    return fetch, ended


def answer(ask: Asking) -> Tuple[Fetch, Callable[[], object]]:
    """For the first byte of an answer."""
    server = ask.serve([b""])
    fetch = ask.begin(server.port)
    ask.spin(lambda: server.requests)
    return fetch, lambda: ask.spin(lambda: server.left)


def more_came(ask: Asking, reported: int) -> bool:
    """Whether something was ready since the selector has `reported` so much."""
    return ask.net.selector.reported > reported


def body(ask: Asking) -> Tuple[Fetch, Callable[[], object]]:
    """For the rest of an answer that comes a byte at a time, while time passes."""
    go = threading.Semaphore(0)
    text = HELLO[:-1]

    def trickle(conn: ssl.SSLSocket) -> None:
        for code in text:
            assert go.acquire(timeout=PATIENCE)
            conn.sendall(bytes([code]))

    server = ask.serve([b"", trickle])
    fetch = ask.begin(server.port)
    ask.spin(lambda: server.requests)
    for _ in text:
        reported = ask.net.selector.reported
        go.release()
        ask.spin(functools.partial(more_came, ask, reported))
        ask.net.pass_time(FETCH_SECONDS / 100)
    return fetch, lambda: ask.spin(lambda: server.left)


PHASES: Dict[Phase, str] = {
    look_up: "cannot look up acme.test: no answer within 30 s",
    connect: "no answer within 30 s",
    handshake: "TLS handshake: no answer within 30 s",
    answer: "no answer within 30 s",
    body: "no complete answer within 30 s",
}


@pytest.mark.parametrize("phase", PHASES)
def test_the_time_limit(ask: Asking, clock: ManualClock, phase: Phase) -> None:
    """It is for all of it together, whatever comes meanwhile."""
    until = clock() + FETCH_SECONDS
    _, ended = phase(ask)
    ask.net.pass_time(until - clock() - 0.1)
    assert not ask.told and ask.fetcher.busy
    ask.net.pass_time(0.2)
    assert ask.reason("").endswith(f": {PHASES[phase]}")
    ended()
    ask.nothing_more()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", [Fetch.cancel, None], ids=["cancel", "close"])
def test_it_ends_early(ask: Asking, how: Optional[Callable[[Fetch], None]], phase: Phase) -> None:
    """Nobody is told, and no descriptor is left."""
    fetch, ended = phase(ask)
    if how is None:
        ask.fetcher.close()
    else:
        how(fetch)
    assert not ask.fetcher.busy and ask.watched() == 0
    ended()
    ask.nothing_more()
    fetch.cancel()


def test_one_that_is_over_but_not_told_of_yet_is_cancelled(ask: Asking) -> None:
    fetch = ask.fetcher.fetch("GET", "http://a.test/", b"", "", ask.tell)
    fetch.cancel()
    ask.nothing_more()


def test_close(ask: Asking) -> None:
    """Idle links are closed, and nothing is asked any more."""
    server = ask.serve([EMPTY])
    ask.get(server.port)
    ask.fetcher.close()
    assert ask.watched() == 0
    ask.spin(lambda: server.left)
    ask.begin(server.port)
    assert ask.end() == (None, "no more requests are made")


class Listener:
    """Who wants an answer."""

    def __init__(self, told: List[str]) -> None:
        self._told = told

    def tell(self, reply: Optional[Reply], reason: str) -> None:
        """Note it."""
        self._told.append(reason)


@pytest.mark.parametrize("answer", [HELLO, b"garbage"])
def test_who_was_told_is_forgotten(ask: Asking, answer: bytes) -> None:
    server = ask.serve([answer])
    told: List[str] = []
    listener = Listener(told)
    fetch = ask.fetcher.fetch("GET", f"https://127.0.0.1:{server.port}/", b"", "", listener.tell)
    known = weakref.ref(listener)
    del listener
    assert known() is not None
    ask.spin(lambda: told)
    assert known() is None and not ask.fetcher.busy
    fetch.cancel()
