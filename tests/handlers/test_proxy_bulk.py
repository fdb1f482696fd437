"""Proxy mounts: long bodies go from socket to socket inside the kernel; all else is as with short ones."""

from __future__ import annotations

import os
from typing import Any

import pytest

from lwsws.handlers.proxy_return import LONG_BYTES
from tests.support.peer import Peer
from tests.support.proxy_site import OK, OriginEnd, ProxySite

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="Python 3.9 has no os.splice")

GET = b"GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = bytes(range(256)) * (6 * LONG_BYTES // 256)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
PART = BODY[:len(BODY) // 2]
MAX_IDLE = 20   # turns in which nothing moves; then nothing will
MAX_TAKEN = 1 << 28     # far more than the kernel has room for between the origin and a client


class Transfer:
    """An answer under way."""

    def __init__(self, proxy: ProxySite, left: bytes) -> None:
        self.proxy = proxy
        self.peer: Peer = proxy.connect()
        self.peer.send(GET)
        self.origin: OriginEnd = proxy.accept()
        self.passage: Any = None
        self.spliced = False
        self.begin(left)

    def begin(self, left: bytes) -> None:
        """The request is there; `left` is what the origin has to send."""
        self.origin.head()
        self.left = memoryview(left)
        role: Any = self.peer.connection.role
        self.passage = role.exchange.consumer

    def step(self) -> int:
        """The origin sends what it can; how much that was."""
        sent = self.origin.send_some(self.left)
        self.left = self.left[sent:]
        self.proxy.bench.reactor.run_once(0)
        back = self.passage._back
        self.spliced = self.spliced or bool(back and back.splice and back.splice._pipe)
        return sent

    def until_spliced(self) -> None:
        """Go on until the kernel does the work, as it nearly always does before the end."""
        while self.left and not self.spliced:
            self.step()
            self.peer.receive()

    def finish(self) -> None:
        """All of it."""
        while self.left:
            self.step()
            self.peer.receive()

    def read_body(self, at: int, end: int) -> None:
        """The client gets a body that repeats BODY, from one offset to the other."""
        idle = 0
        while at < end:
            assert idle < MAX_IDLE, f"the last {end - at} bytes do not come"
            try:
                data = self.peer.sock.recv(min(end - at, 1 << 18))
            except BlockingIOError:
                idle += 1
                self.proxy.bench.run()
                continue
            start = at % 256
            if not data or data != BODY[start:start + len(data)]:
                pytest.fail(f"the end, or other bytes, at {at}")
            idle = 0
            at += len(data)


def test_all_arrives_and_the_connection_is_kept(proxy: ProxySite) -> None:
    transfer = Transfer(proxy, HEAD + BODY)
    transfer.finish()
    assert transfer.peer.answer().body == BODY
    assert len(proxy.pools[0]) == 1
    # Whether there is enough for a splice at a time is up to the system.
    for answer in (OK, *[HEAD + BODY] * 5):
        transfer.peer.send(GET)
        transfer.begin(answer)
        transfer.finish()
        assert transfer.peer.answer().body in (b"ok", BODY)
    assert transfer.spliced
    assert proxy.is_quiet()


def test_what_comes_behind_the_body_is_no_part_of_it(proxy: ProxySite) -> None:
    """And the connection is not used again."""
    transfer = Transfer(proxy, HEAD + BODY + b"HTTP/1.1 200 Smuggled\r\n\r\n")
    transfer.finish()
    assert transfer.peer.answer().body == BODY
    assert transfer.peer.receive() == b""
    assert len(proxy.pools[0]) == 0 and transfer.origin.closed


def test_a_client_that_stops_reading(proxy: ProxySite) -> None:
    """Nor does the time limit of the origin run."""
    transfer = Transfer(proxy, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40) + BODY)
    proxy.bench.vhosts().default.routes.match("/p/x").handler.idle_seconds = 5  # type: ignore[union-attr]
    transfer.until_spliced()
    transfer.finish()
    size = transfer.peer.connection.transport.size
    # How much the kernel takes on the way is up to the system.
    sent, idle = len(BODY), 0
    while idle < MAX_IDLE:
        transfer.left = transfer.left or memoryview(BODY)
        count = transfer.step()
        sent, idle = sent + count, 0 if count else idle + 1
        assert sent < MAX_TAKEN, "all is taken from the origin though the client does not read"
    assert transfer.peer.connection.transport.size > size
    for _ in range(4):
        proxy.bench.advance(10)
    assert not transfer.peer.connection.closed
    assert transfer.peer.data.partition(b"\r\n\r\n")[2] == BODY
    transfer.read_body(len(BODY), sent)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_an_origin_that_breaks_off(proxy: ProxySite, how: str) -> None:
    transfer = Transfer(proxy, HEAD + PART)
    transfer.until_spliced()
    transfer.finish()
    getattr(transfer.origin, how)()
    assert transfer.peer.receive().endswith(PART) and transfer.peer.eof


def test_an_origin_that_stalls(proxy: ProxySite) -> None:
    transfer = Transfer(proxy, HEAD + PART)
    transfer.until_spliced()
    transfer.finish()
    proxy.bench.advance(59)
    assert not transfer.peer.eof
    proxy.bench.advance(2)
    transfer.peer.receive()
    assert transfer.peer.eof


def test_a_client_that_goes_away(proxy: ProxySite) -> None:
    transfer = Transfer(proxy, HEAD + PART)
    before = len(os.listdir("/proc/self/fd"))
    transfer.until_spliced()
    transfer.peer.connection.abort()
    proxy.bench.run()
    assert proxy.bench.context.onward == 0
    assert len(os.listdir("/proc/self/fd")) == before - 2   # both ends of ours, and no pipe
