"""Damaged requests for a live server: what to send, in which pieces, and how to end the connection.

A `Case` is made from a seeded random.Random alone, so the seed in a failure's message gives it back.
`run_cases` sends many of them at a time and fails if one is neither ended nor answered in time.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Tuple

from tests.support.client import reset
from tests.support.server import Address, connect

# Each connection has to be at its end this long after its last byte was sent: the server's own limits for
# silence are a second or two in these tests.
CASE_SECONDS = 10.0
CONCURRENT = 250
PIECE = 1 << 16
# A case that gets more than this is one that asked for much; nothing to learn from the rest.
ENOUGH = 4 << 20

# How a client leaves: it sends FIN and reads on; it says nothing more; RST once all is sent; RST without ever
# having read.
ENDS = ("half-close",) * 6 + ("silence", "reset", "reset", "deaf")

HOST = b"Host: localhost\r\n"
HEADS = (
    b"GET / HTTP/1.1\r\n" + HOST,
    b"HEAD /a.txt HTTP/1.1\r\n" + HOST,
    b"GET /a.txt HTTP/1.0\r\n",
    b"GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n",
    b"GET http://localhost/a.txt HTTP/1.1\r\n" + HOST,
    b"GET /big.txt HTTP/1.1\r\nRange: bytes=10-20\r\n" + HOST,
    b"GET /big.txt HTTP/1.1\r\nRange: bytes=0-0,5-9,-3\r\n" + HOST,
    b"GET /big.txt HTTP/1.1\r\nRange: bytes=9999999-\r\nConnection: close\r\n" + HOST,
    b"GET /big.txt HTTP/1.1\r\n" + HOST,
    b"GET /c.js HTTP/1.1\r\nAccept-Encoding: gzip;q=0.5, br\r\n" + HOST,
    b"GET /a.txt HTTP/1.1\r\nIf-None-Match: \"x\", W/\"y\"\r\n" + HOST,
    b"GET /a.txt HTTP/1.1\r\nIf-None-Match: *\r\n" + HOST,
    b"GET /a.txt HTTP/1.1\r\nIf-Match: \"x\"\r\n" + HOST,
    b"GET / HTTP/3.0\r\n" + HOST,
    b"GET /a.txt HTTP/1.1\r\nIf-Modified-Since: Sun, 13 Sep 2020 12:26:40 GMT\r\n" + HOST,
    b"GET /sub HTTP/1.1\r\n" + HOST,
    b"GET /sub/../%61.txt?x=%zz HTTP/1.1\r\n" + HOST,
    b"GET /away/x/y?z HTTP/1.1\r\n" + HOST,
    b"GET /nowhere HTTP/1.1\r\nUser-Agent: a \"b\" \xff\r\nReferer: http://x/\r\n" + HOST,
    b"GET /locked/a.txt HTTP/1.1\r\nAuthorization: Basic am9lOnNlY3JldA==\r\n" + HOST,
    b"GET /locked/a.txt HTTP/1.1\r\nAuthorization: Basic am9lOmd1ZXNz\r\n" + HOST,
    b"OPTIONS * HTTP/1.1\r\n" + HOST,
    b"DELETE /a.txt HTTP/1.1\r\n" + HOST,
    b"BREW /pot HTTP/1.1\r\n" + HOST,
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + HOST,
)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = (
    b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    b"POST /locked/ HTTP/1.1\r\n" + HOST + CHUNKED + b"1;x=\"y\"\r\nz\r\n00\r\nTrailer: t\r\n\r\n",
    b"PUT /a.txt HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody",
    b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 70000\r\nExpect: 100-continue\r\n\r\n" + b"b" * 70000,
    b"POST /away HTTP/1.1\r\n" + HOST + b"Content-Length: 3000000\r\n\r\n" + b"b" * 1000,
    b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody",
)
CORPUS = tuple(head + b"\r\n" for head in HEADS) + BODIES
# What damage puts in.
BITS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\r\n\r\n", b"\r\n ", b"\x80\xff", b"%00"),
    *(b"Content-Length: 1\r\n", CHUNKED[:-2], HOST, b"\x16\x03\x01\x02", b"x" * 9000, b"%2e%2e/"),
    b"PRI * HTTP/2.0\r\n\r\n",
)


class Case(NamedTuple):
    """One connection: what is sent, piece by piece, and how it ends."""

    number: int
    pieces: List[bytes]
    end: str


def make_case(seed: int, number: int) -> Case:
    """The case `number` of `seed`."""
    rand = random.Random(seed * 1_000_003 + number)
    if rand.random() < 0.05:
        data = bytes(rand.getrandbits(8) for _ in range(rand.randrange(1, 400)))
    else:
        data = b"".join(rand.choice(CORPUS) for _ in range(rand.choice((1, 1, 2, 3, 8))))
    for _ in range(rand.choice((0, 1, 1, 2, 5))):
        data = rand.choice(DAMAGES)(rand, data)
    cuts = sorted(rand.randrange(len(data) + 1) for _ in range(rand.choice((0, 0, 1, 3, 30))))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]
    return Case(number, [piece for piece in pieces if piece], rand.choice(ENDS))


def flip(rand: random.Random, data: bytes) -> bytes:
    """Another byte somewhere, most often in the first head."""
    at = rand.randrange(min(len(data), rand.choice((60, 200, len(data) or 1))) or 1)
    return data[:at] + bytes([rand.getrandbits(8)]) + data[at + 1 :]


def put_in(rand: random.Random, data: bytes) -> bytes:
    """Something that means something, somewhere."""
    at = rand.randrange(min(len(data), 300) + 1)
    return data[:at] + rand.choice(BITS) + data[at:]


def splice(rand: random.Random, data: bytes) -> bytes:
    """The begin of this and the end of another request."""
    other = rand.choice(CORPUS)
    return data[: rand.randrange(len(data) + 1)] + other[rand.randrange(len(other)) :]


def truncate(rand: random.Random, data: bytes) -> bytes:
    """Without its end."""
    return data[: rand.randrange(len(data) + 1)]


def double(rand: random.Random, data: bytes) -> bytes:
    """A part of it twice."""
    at = rand.randrange(len(data) + 1)
    to = min(len(data), at + rand.choice((1, 2, 10, 100)))
    return data[:to] + data[at:]


Damage = Callable[[random.Random, bytes], bytes]
DAMAGES: Tuple[Damage, ...] = (flip, flip, put_in, splice, truncate, double)


class Running:
    """A case under way."""

    def __init__(self, case: Case, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.case = case
        self.sock = sock
        self.left = list(reversed(case.pieces))
        self.received = bytearray()
        self.deadline = time.monotonic() + CASE_SECONDS
        self.over = False

    @property
    def wanted(self) -> int:
        """What to wait for."""
        mask = 0 if self.case.end == "deaf" else selectors.EVENT_READ
        return mask | selectors.EVENT_WRITE if self.left else mask

    def send(self) -> None:
        """Send the next piece, and after the last one do what the case says."""
        piece = self.left.pop()
        try:
            sent = self.sock.send(piece)
        except BlockingIOError:
            sent = 0
        except OSError:  # the server has had enough; its answer may still be there to read
            self.left.clear()
            sent = len(piece)
        if sent < len(piece):
            self.left.append(piece[sent:])
        if not self.left:
            self._leave()

    def _leave(self) -> None:
        self.deadline = time.monotonic() + CASE_SECONDS
        if self.case.end in ("reset", "deaf"):
            reset(self.sock)
            self.over = True
        elif self.case.end == "half-close":
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def receive(self) -> None:
        """Take what came, up to the end of the connection."""
        try:
            data = self.sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        if not data or len(self.received) > ENOUGH:
            self.sock.close()
            self.over = True


def run_cases(address: Address, cases: Iterator[Case], check: Callable[[Case, bytes], None]) -> int:
    """Run all `cases`, giving each with what it received to `check`; their number."""
    count, exhausted = 0, False
    running: Dict[int, Running] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while running or not exhausted:
                while not exhausted and len(running) < CONCURRENT:
                    case = next(cases, None)
                    exhausted = case is None
                    if case is not None and case.pieces:
                        begun = Running(case, connect(address))
                        running[begun.sock.fileno()] = begun
                        selector.register(begun.sock, begun.wanted, begun)
                count += _step(selector, running, check)
        finally:
            for left in running.values():
                left.sock.close()
    return count


def _step(
    selector: selectors.BaseSelector, running: Dict[int, Running], check: Callable[[Case, bytes], None]
) -> int:
    ended = 0
    for key, mask in selector.select(0.5):
        one: Running = key.data
        if mask & selectors.EVENT_READ:
            one.receive()
        if mask & selectors.EVENT_WRITE and not one.over:
            one.send()
        if one.over:
            # Closed already, and epoll has forgotten it with that.
            selector.unregister(key.fileobj)
            del running[key.fd]
            check(one.case, bytes(one.received))
            ended += 1
        elif one.wanted != key.events:
            selector.modify(one.sock, one.wanted, one)
    now = time.monotonic()
    for one in running.values():
        assert now < one.deadline, f"not at its end: {one.case}, which got {bytes(one.received)!r}"
    return ended
