"""Clients that take their time: cut at the deadline, while others are served all along (LESSONS 3.8)."""

from __future__ import annotations

import selectors
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Dict, Iterator, List, NamedTuple, Tuple

import pytest

from tests.support.client import Client
from tests.support.procfs import fd_count, idle_fds
from tests.support.server import Server, file_mount, site_server
from tests.support.waiting import wait_until

TIMEOUT = 2  # timeout-secs, which is for a head from its first byte on
FIRST_BYTE = 2 * TIMEOUT  # what a connection may wait before its first byte
KEEPALIVE = 1  # keepalive-timeout
LATE = 2.0  # how much later than its deadline an event may be seen on a busy machine

SLOW_CLIENTS = 50
PAGE = b"<p>page</p>"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLOW_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"slow, " * 100
ENDLESS = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS_CHUNKS = {"at full speed": b"400\r\n" + b"x" * 1024 + b"\r\n", "slowly": b"1\r\nx\r\n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "index.html").write_bytes(PAGE)
    vhost = {"mounts": [file_mount(folder)], "keepalive-timeout": KEEPALIVE}
    with site_server(folder / "conf", [vhost], timeout_secs=TIMEOUT) as started:
        with Client(started.connect()) as client:
            client.get()  # the first one opens the document root
        fds = idle_fds(started.pid, started.port)
        yield started
        wait_until(lambda: fd_count(started.pid) == fds, "all fds freed")
        # Nothing that clients do is worth a line by default, or an attack would fill the disk.
        assert len(started.lines()) <= 6, started.log()


class SlowClient:
    """Sends `data` a byte at a time; notes when it began and when the server ended it."""

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.begun = time.monotonic()
        self.ended = 0.0
        self.received = b""
        self._data = data
        self._sent = 0

    def drip(self) -> None:
        """Send one more byte."""
        try:
            self._sent += self.sock.send(self._data[self._sent : self._sent + 1])
        except OSError:
            pass  # ended already; what had been sent by the server is still to be read

    def receive(self) -> None:
        """Take what came; at the end note the time."""
        try:
            data = self.sock.recv(4096)
        except ConnectionResetError:
            data = b""
        self.received += data
        if not data:
            self.ended = time.monotonic()

    @property
    def took(self) -> float:
        """Seconds from the first byte to the end."""
        return self.ended - self.begun


def run(server: Server, slow: List[SlowClient], seconds: float) -> Tuple[int, float]:
    """Let all of `slow` drip to their end while fast requests are made; their number and the slowest time."""
    count, slowest, deadline = 0, 0.0, time.monotonic() + seconds
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for client in slow:
            selector.register(client.sock, selectors.EVENT_READ, client)
        fast = stack.enter_context(Client(server.connect()))
        while selector.get_map():
            asked = time.monotonic()
            assert asked < deadline, f"{len(selector.get_map())} slow clients are still there"
            if count % 50 == 0:  # a new connection now and then
                fast.sock.close()
                fast = stack.enter_context(Client(server.connect()))
            assert fast.get().body == PAGE
            slowest = max(slowest, time.monotonic() - asked)
            count += 1
            for key, _ in selector.select(0.01):
                key.data.receive()
                if key.data.ended:
                    selector.unregister(key.fileobj)
            for key in list(selector.get_map().values()):
                key.data.drip()
    return count, slowest


def test_slow_heads_are_cut_at_the_deadline_while_others_are_served(server: Server) -> None:
    """Each byte comes in time, and together they do not."""
    with ExitStack() as stack:
        slow = []
        for _ in range(SLOW_CLIENTS):
            client = SlowClient(stack.enter_context(server.connect()), SLOW_HEAD)
            client.drip()
            slow.append(client)
        count, slowest = run(server, slow, TIMEOUT + 4)
        for client in slow:
            assert client.received.startswith(b"HTTP/1.1 408 ")
            assert b"\r\nConnection: close\r\n" in client.received
            assert TIMEOUT - 0.1 < client.took < TIMEOUT + LATE
    assert count > 20
    assert slowest < TIMEOUT


def ends(connections: Dict[str, socket.socket]) -> Dict[str, Tuple[float, bytes]]:
    """When each of `connections` ended, from now, and what it had received."""
    begun = time.monotonic()
    found: Dict[str, Tuple[float, bytes]] = {}
    received: Dict[str, bytes] = {}
    with selectors.DefaultSelector() as selector:
        for name, sock in connections.items():
            selector.register(sock, selectors.EVENT_READ, name)
        while selector.get_map():
            assert time.monotonic() - begun < FIRST_BYTE + 4, f"not ended: {set(connections) - set(found)}"
            for key, _ in selector.select(0.1):
                try:
                    data = connections[key.data].recv(4096)
                except ConnectionResetError:
                    data = b""
                received[key.data] = received.get(key.data, b"") + data
                if not data:
                    selector.unregister(key.fileobj)
                    found[key.data] = time.monotonic() - begun, received[key.data]
    return found


def send_without_end(server: Server, pace: str) -> None:
    """Send a body, chunk by chunk, until the connection is cut; others are served meanwhile."""
    begun = time.monotonic()
    with server.connect() as sock, Client(server.connect()) as other:
        sock.sendall(ENDLESS)
        assert Client(sock).head().status == 405
        sock.setblocking(False)
        while True:
            assert time.monotonic() - begun < FIRST_BYTE + 4, "it may send for ever"
            try:
                sock.send(ENDLESS_CHUNKS[pace])
            except BlockingIOError:
                pass
            except OSError:
                break
            if pace == "slowly":
                assert other.get().body == PAGE


class Patient(NamedTuple):
    """What takes longest, all at the same time: when the silent ones end, and those who send for ever."""

    silent: Future[Dict[str, Tuple[float, bytes]]]
    endless: Dict[str, Future[None]]


@pytest.fixture(scope="module", autouse=True)
def patient(server: Server) -> Iterator[Patient]:
    """They begin before the first test, which does not wait for them."""
    with ExitStack() as stack:
        socks = {
            name: stack.enter_context(server.connect())
            for name in ("nothing", "half a head", "between", "second head", "body", "unread")
        }
        for name in ("between", "second head"):
            client = Client(socks[name])
            assert client.get().body == PAGE
        socks["half a head"].sendall(REQUEST[:20])
        socks["second head"].sendall(REQUEST[:20])
        socks["body"].sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123")
        socks["unread"].sendall(REQUEST)
        pool = stack.enter_context(ThreadPoolExecutor(1 + len(ENDLESS_CHUNKS)))
        endless = {pace: pool.submit(send_without_end, server, pace) for pace in ENDLESS_CHUNKS}
        yield Patient(pool.submit(ends, socks), endless)


def test_silence_ends_each_in_its_own_time(patient: Patient) -> None:
    """Before the first byte, within a head, between requests, within a body that nobody wants."""
    found = patient.silent.result()
    limits = {
        "nothing": FIRST_BYTE,
        "half a head": TIMEOUT,
        "between": KEEPALIVE,
        "second head": TIMEOUT,
        "body": TIMEOUT,
        "unread": KEEPALIVE,
    }
    for name, limit in limits.items():
        assert limit - 0.1 < found[name][0] < limit + LATE, name
    statuses = {name: text.partition(b" ")[2][:3].decode() for name, (_, text) in found.items()}
    assert statuses == {
        "nothing": "",
        "half a head": "408",
        "between": "",
        "second head": "408",
        "body": "405",
        "unread": "200",
    }


@pytest.mark.parametrize("pace", ENDLESS_CHUNKS)
def test_a_body_without_end_is_cut(patient: Patient, pace: str) -> None:
    """A file mount refuses it at once, reads on for a moment so that the answer arrives, and is done."""
    patient.endless[pace].result()
