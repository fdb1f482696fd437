"""Clients that never stop asking, to see what a reload or a restart costs them.

    with Load(address, make_site(folder)) as load:
        ... reload the server again and again ...
    load.check()                 AssertionError with all that went wrong; `load.summary()` for the log

Each client is a thread with blocking sockets:

    kept       requests on a connection that is kept, until an answer says `Connection: close`
    fresh      a connection for each request
    session    a WebSocket that lives through it all; each message has to come back
    comer      WebSockets that are opened, used and closed
    download   a big file at a slow pace, compared with what it should be

What went wrong is told with its time, to be found in the log of the server, which needs the two files
of make_site() and lws-echo as its default protocol.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

from tests.support.client import Client
from tests.support.waiting import wait_until
from tests.support.ws_client import CLOSE, PONG, WebSocket, handshake

PAGE, BIG = "page.html", "big.txt"
BIG_BYTES = 3_000_000

# What a client waits for at most; a reload takes some tenths of a second on a busy machine.
PATIENCE_SECONDS = 15.0
# Between two requests of a client, so that the load is steady and leaves room for new processes to start.
PAUSE_SECONDS = 0.004
PIECE = 16384
PIECE_SECONDS = 0.008   # about 2 MB/s, so a download lives through some reloads
# Little is on its way in the kernel, so that who serves a download stays busy with it.
SMALL_BUFFER = 32768
MAX_FAULTS = 100    # of one client: what goes on like this is known by then


class Given(NamedTuple):
    """What the clients ask for."""

    page: bytes
    digest: bytes   # of the big file


def make_site(folder: Path) -> Given:
    """Write the files into `folder`."""
    big = os.urandom(BIG_BYTES // 2).hex().encode()
    (folder / PAGE).write_bytes(b"<p>page</p>")
    (folder / BIG).write_bytes(big)
    return Given(b"<p>page</p>", hashlib.sha256(big).digest())


class Stale(Exception):
    """A kept connection was closed before the answer began: the client asks again on another one, as browsers
    do (RFC 9112 9.3.1)."""


class Visitor(threading.Thread):
    """One client; `visit` is the life of one connection, and is repeated until the load ends."""

    kind = ""

    def __init__(self, load: Load) -> None:
        super().__init__(name=self.kind, daemon=True)
        self.load = load
        self.done = 0       # requests, messages
        self.stale = 0
        self.slowest = 0.0  # seconds for one of them
        self.faults: List[str] = []

    def run(self) -> None:
        while not self.load.is_over:
            try:
                self.visit()
            except Stale:
                self.stale += 1
            except (OSError, AssertionError, ValueError) as error:
                self.fault(f"{type(error).__name__}: {error}")
                if len(self.faults) >= MAX_FAULTS:
                    return
                self.load.pause(PAUSE_SECONDS)

    def visit(self) -> None:
        """Connect, use the connection, and close it; whatever is not as it should be raises."""
        raise NotImplementedError

    def fault(self, what: str) -> None:
        """Something is wrong now."""
        self.faults.append(f"{self.load.seconds():7.2f} s {self.kind}: {what}")

    def count(self, begun: float) -> None:
        """One more is done, which began at `begun`."""
        self.done += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)

    def get(self, client: Client, *fields: str) -> bool:
        """Ask for the page; whether the connection can be used again."""
        begun = time.monotonic()
        answer = client.get(f"/{PAGE}", *fields)
        assert (answer.status, answer.body) == (200, self.load.given.page), f"a wrong answer: {answer}"
        self.count(begun)
        return answer.fields.get("connection", "") != "close"


class Kept(Visitor):
    """Requests on a kept connection."""

    kind = "kept"

    def visit(self) -> None:
        with Client(self.load.connect()) as client:
            is_first = True
            while not self.load.is_over:
                try:
                    if not self.get(client):
                        return
                except ConnectionError:
                    if self.load.may_restart and not is_first and not client.data:
                        raise Stale from None
                    raise
                is_first = False
                self.load.pause(PAUSE_SECONDS)


class Fresh(Visitor):
    """A connection for each request."""

    kind = "fresh"

    def visit(self) -> None:
        with Client(self.load.connect()) as client:
            assert not self.get(client, "Connection: close")
            assert client.rest() == b""
        self.load.pause(PAUSE_SECONDS)


class Session(Visitor):
    """A WebSocket that stays, each message of which comes back."""

    kind = "session"
    messages = 0    # so many, or 0: until the load ends

    def visit(self) -> None:
        with self.load.open_websocket() as ws:
            number = 0
            while not self.load.is_over and (not self.messages or number < self.messages):
                number += 1
                if not self.echo(ws, f"{self.name} {number}"):
                    return
                self.load.pause(PAUSE_SECONDS)
            ws.close()
        farewells = (1000, 1001) if self.load.may_restart else (1000,)
        assert ws.close_code in farewells, f"closed with {ws.close_code}"

    def echo(self, ws: WebSocket, text: str) -> bool:
        """Send `text` and take it back; False if the server restarts instead, which it has to say."""
        begun = time.monotonic()
        try:
            ws.send_text(text)
            opcode, data = ws.receive()
        except ConnectionError:
            if self.load.may_restart and ws.close_code == 1001:
                return False
            raise
        if opcode == CLOSE and self.load.may_restart and ws.close_code == 1001:
            self.stale += 1
            return False
        assert opcode not in (CLOSE, PONG), f"opcode {opcode} with {data!r} after {text!r}"
        assert data.decode() == text, f"{data!r} came back for {text!r}"
        self.count(begun)
        return True


class Comer(Session):
    """A WebSocket that is opened, used and closed."""

    kind = "comer"
    messages = 3


class Download(Visitor):
    """A big file, slowly."""

    kind = "download"

    def visit(self) -> None:
        digest, length, begun = hashlib.sha256(), 0, time.monotonic()
        with Client(self.load.connect(SMALL_BUFFER)) as client:
            client.send(f"GET /{BIG} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            head = client.head()
            assert (head.status, head.fields["content-length"]) == (200, str(BIG_BYTES)), f"{head}"
            data = client.data
            while data:
                digest.update(data)
                length += len(data)
                self.load.pause(PIECE_SECONDS)  # at the end of the load: no pause any more
                data = client.sock.recv(PIECE)
        assert length == BIG_BYTES, f"ended after {length} bytes"
        assert digest.digest() == self.load.given.digest, "other bytes than those of the file"
        self.count(begun)


KINDS: Tuple[Type[Visitor], ...] = (Kept, Kept, Fresh, Fresh, Session, Session, Comer, Download)


class Load:
    """All clients of one address; they begin with `with`, and end with it."""

    def __init__(self, address: Tuple[str, int], given: Given, may_restart: bool = False,
                 kinds: Sequence[Type[Visitor]] = KINDS) -> None:
        """`may_restart`: the server may say goodbye, to WebSockets by 1001 and to kept connections by closing
        them when nothing is asked, as long as somebody answers those who come again."""
        self.address = address
        self.given = given
        self.may_restart = may_restart
        self._over = threading.Event()
        self._begun = time.monotonic()
        self._visitors = [kind(self) for kind in kinds]

    @property
    def is_over(self) -> bool:
        """Whether the clients shall come to an end."""
        return self._over.is_set()

    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._begun

    def pause(self, seconds: float) -> None:
        """Let some time pass, unless the load ends."""
        self._over.wait(seconds)

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        """A new connection."""
        sock = socket.socket(socket.AF_INET)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE_SECONDS)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock

    def open_websocket(self) -> WebSocket:
        """A new WebSocket of the server's default protocol."""
        sock = self.connect()
        try:
            ws = handshake(sock, "localhost")
        except (OSError, AssertionError):
            sock.close()
            raise
        assert isinstance(ws, WebSocket), f"refused: {ws}"
        return ws

    def at_it(self, seconds: float) -> None:
        """Return after each client has done something more, and `seconds` have passed."""
        deadline = time.monotonic() + seconds
        before = [visitor.done for visitor in self._visitors]

        def has_moved() -> bool:
            moved = [visitor.done > count or visitor.faults or isinstance(visitor, Download)
                     for visitor, count in zip(self._visitors, before)]
            return all(moved) and time.monotonic() >= deadline

        wait_until(has_moved, f"all clients at work: {self.counts()}", PATIENCE_SECONDS)

    def end(self) -> None:
        """Let all clients come to an end."""
        self._over.set()
        for visitor in self._visitors:
            visitor.join(2 * PATIENCE_SECONDS)
            if visitor.is_alive():
                visitor.fault("does not come to an end")

    # What became of it.

    def counts(self) -> Dict[str, int]:
        """How much was done of each kind so far."""
        found: Dict[str, int] = {}
        for visitor in self._visitors:
            found[visitor.kind] = found.get(visitor.kind, 0) + visitor.done
        return found

    @property
    def stale(self) -> int:
        """How many kept connections and sessions were closed by a server that restarts."""
        return sum(visitor.stale for visitor in self._visitors)

    @property
    def faults(self) -> List[str]:
        """All that went wrong, in the order of time."""
        return sorted(fault for visitor in self._visitors for fault in visitor.faults)

    def summary(self) -> str:
        """All counts, and the longest that a client waited for an answer."""
        counts = ", ".join(f"{kind} {count}" for kind, count in self.counts().items())
        slowest = max(visitor.slowest for visitor in self._visitors if visitor.kind != Download.kind)
        return (f"{self.seconds():.1f} s: {counts}; {self.stale} said goodbye to, {len(self.faults)} failed; "
                f"the longest wait was {slowest * 1000:.0f} ms")

    def check(self) -> None:
        """AssertionError if anything went wrong, or if a kind of client got nothing at all."""
        faults = self.faults
        assert not faults, f"{self.summary()}\n" + "\n".join(faults[:MAX_FAULTS])
        assert all(self.counts().values()), self.summary()

    def __enter__(self) -> Load:
        for visitor in self._visitors:
            visitor.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.end()
