"""Ports whose connections raw-proxy hands on: much data in flat memory, and all that begins and ends them."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence

import pytest

from tests.interop.conftest import Serve
from tests.support.certificates import Certificates, make_certificate
from tests.support.client import Client, reset
from tests.support.far_end import PATIENCE, FarEnd, receive_all
from tests.support.procfs import fd_count, idle_fds, rss
from tests.support.server import Server, connect, file_mount, free_ports, write_config
from tests.support.tls_peer import client_context
from tests.support.tls_site import connect_tls, raw_keys, tls_keys
from tests.support.waiting import wait_until

MIB = 1 << 20
PIECES = 48
# How much the server may grow: far less than what flows through it, more than what may wait on its way.
FLAT = 8 * MIB
# More than server and kernel hold back of a stream that the far end does not take.
HELD = 40 * MIB
# Seconds after which a client that cannot send takes it that nobody takes anything.
STUCK = 0.1
PAGE = b"<p>page</p>"


@pytest.fixture
def hand_on(tmp_path: Path) -> Iterator[Serve]:
    """Like `serve`, but it is ready without a connection to these vhosts, which their far ends would get."""
    with ExitStack() as stack:

        def start(vhosts: Sequence[Mapping[str, Any]], **settings: Any) -> Server:
            last = {"mounts": [file_mount(tmp_path)]}  # when it accepts, the others do
            ports = free_ports(len(vhosts) + 1)
            pairs = zip(ports, [*vhosts, last])
            full = [{"name": "localhost", "port": port, **vhost} for port, vhost in pairs]
            confdir = write_config(tmp_path / "conf", full, **settings)
            server = stack.enter_context(Server(confdir, [("127.0.0.1", ports[-1])]))
            with Client(server.connect()) as client:
                client.get()  # and now it is not only the kernel that accepts
            idle_fds(server.pid, server.port)
            server.ready = [("127.0.0.1", port) for port in ports[:-1]]
            server.address = server.ready[0]
            return server

        yield start


class Stream:
    """48 MiB, no two of which are alike; hashes what is sent and received of it, and watches the memory
    of the process `pid` meanwhile."""

    def __init__(self, pid: int = 0) -> None:
        self.sent = hashlib.sha256()
        self.received = hashlib.sha256()
        self.largest = 0
        self._pid = pid
        self._block = os.urandom(MIB)

    def send(self, sock: socket.socket) -> None:
        """Send all of it."""
        for number in range(PIECES):
            piece = self._block[number:] + self._block[:number]
            sock.sendall(piece)
            self.sent.update(piece)
            self._look()

    def receive(self, sock: socket.socket) -> None:
        """Receive as much."""
        buffer, missing = memoryview(bytearray(MIB)), PIECES * MIB
        while missing:
            count = sock.recv_into(buffer[:missing])
            assert count, f"the stream ends {missing} bytes early"
            self.received.update(buffer[:count])
            missing -= count
            self._look()

    def _look(self) -> None:
        if self._pid:
            self.largest = max(self.largest, rss(self._pid))


def onward(text: str) -> Dict[str, Any]:
    """The keys of a vhost all of whose connections are handed on to `text`."""
    return raw_keys("raw-proxy", "apply-listen-accept", onward=text)


def to(far: FarEnd) -> Dict[str, Any]:
    """The same for a far end on 127.0.0.1."""
    return onward(f"ipv4:127.0.0.1:{far.port}")


def greet(sock: socket.socket) -> None:
    """Serve a client that waits for the server's first word, and answer it."""
    sock.sendall(b"220 far end\r\n")
    sock.sendall(receive_all(sock).upper())


def is_greeted(sock: socket.socket) -> bool:
    """Whether `sock` leads to greet()."""
    with sock:
        sock.sendall(b"helo")
        sock.shutdown(socket.SHUT_WR)
        return receive_all(sock) == b"220 far end\r\nHELO"


@pytest.mark.parametrize("over_tls", [False, True])
def test_much_data_each_way(
        hand_on: Serve, tmp_path: Path, certificates: Certificates, over_tls: bool,
        record_property: Callable[[str, object], None]) -> None:
    """48 MiB up, then as much down: the same bytes, in flat memory."""
    far_side = Stream()

    def take_and_give(sock: socket.socket) -> None:
        far_side.receive(sock)
        far_side.send(sock)

    with FarEnd(take_and_give) as far:
        keys = {}
        if over_tls:
            keys = tls_keys(make_certificate(tmp_path, "localhost", ["localhost"], certificates.ca))
        server = hand_on([{**to(far), **keys}])
        context = client_context(certificates.ca)
        with connect_tls(server, context) if over_tls else server.connect() as sock:
            before = rss(server.pid)
            near = Stream(server.pid)
            near.send(sock)
            near.receive(sock)
            assert sock.recv(1) == b""
    assert near.received.digest() == far_side.sent.digest()
    assert near.sent.digest() == far_side.received.digest()
    record_property("rss_growth_kib", (near.largest - before) // 1024)
    assert near.largest - before < FLAT


@pytest.mark.parametrize("stuck", ["far end", "client"])
def test_who_takes_nothing_holds_up_the_other(hand_on: Serve, stuck: str) -> None:
    """With back-pressure instead of memory; and nothing is lost when it goes on."""
    full, go_on = threading.Event(), threading.Event()
    sent, received = hashlib.sha256(), hashlib.sha256()

    def push(sock: socket.socket) -> None:
        block, count = os.urandom(MIB), 0
        sock.settimeout(STUCK)
        try:
            while count < HELD:
                size = sock.send(block)
                sent.update(block[:size])
                count += size
        except socket.timeout:
            full.set()
        sock.shutdown(socket.SHUT_WR)

    def take(sock: socket.socket) -> None:
        assert go_on.wait(PATIENCE)
        received.update(receive_all(sock))

    far_side, near_side = (take, push) if stuck == "far end" else (push, take)
    with FarEnd(far_side) as far:
        server = hand_on([to(far)])
        with server.connect() as sock:
            before = rss(server.pid)
            near = threading.Thread(target=near_side, args=(sock,))
            near.start()
            is_held_up = full.wait(PATIENCE)
            growth = rss(server.pid) - before
            go_on.set()
            near.join()
    assert is_held_up, f"{HELD} bytes went somewhere"
    assert growth < FLAT
    assert received.digest() == sent.digest()


def test_every_way_to_write_where_to(hand_on: Serve, tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(FarEnd(greet)).port
        stack.enter_context(FarEnd(greet, str(tmp_path / "far.sock")))
        stack.enter_context(FarEnd(greet, f"\0lwsws-{os.getpid()}"))
        ways = [f"ipv4:127.0.0.1:{port}", f"127.0.0.1:{port}", f"ipv4:localhost:{port}", f"localhost:{port}",
                f"unix:{tmp_path / 'far.sock'}", f"unix:@lwsws-{os.getpid()}"]
        if socket.has_dualstack_ipv6():
            port = stack.enter_context(FarEnd(greet, "::1")).port
            ways += [f"[::1]:{port}", f"ipv6:[::1]:{port}"]
        server = hand_on([onward(way) for way in ways])
        for way, address in zip(ways, server.ready):
            assert is_greeted(connect(address)), way


def test_the_end_of_one_direction_leaves_the_other_open(hand_on: Serve) -> None:
    """Whichever it is; and both ends are the end."""
    received: List[bytes] = []

    def part_first(sock: socket.socket) -> None:
        sock.sendall(b"nothing more from me")
        sock.shutdown(socket.SHUT_WR)
        received.append(receive_all(sock))

    with FarEnd(greet) as polite, FarEnd(part_first) as other:
        server = hand_on([to(polite), to(other)])
        assert is_greeted(server.connect())
        with connect(server.ready[1]) as sock:
            assert receive_all(sock) == b"nothing more from me"
            sock.sendall(b"but ")
            sock.sendall(b"from me")
    assert received == [b"but from me"]


def test_what_breaks_one_side_breaks_the_other(hand_on: Serve) -> None:
    ends: List[str] = []

    def break_off(sock: socket.socket) -> None:
        sock.recv(1)
        reset(sock)

    def note_end(sock: socket.socket) -> None:
        sock.sendall(b"x")
        try:
            ends.append(repr(receive_all(sock)))
        except ConnectionResetError:
            ends.append("reset")

    with FarEnd(break_off) as breaking, FarEnd(note_end) as noting:
        server = hand_on([to(breaking), to(noting)])
        with server.connect() as sock:
            sock.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        sock = connect(server.ready[1])
        assert sock.recv(1) == b"x"
        reset(sock)
        wait_until(lambda: ends, "the far end to notice")
    assert ends == ["reset"]


def test_a_far_end_that_breaks_off_after_the_client_has_gone(hand_on: Serve) -> None:
    """What it sent last will never be delivered, so there is nothing to wait for."""

    def speak_too_late(sock: socket.socket) -> None:
        sock.sendall(b"x")
        receive_all(sock)
        sock.sendall(b"too late")
        reset(sock)

    with FarEnd(speak_too_late) as far:
        server = hand_on([to(far)])
        fds = fd_count(server.pid)
        for _ in range(5):
            with server.connect() as sock:
                assert sock.recv(1) == b"x"
        wait_until(lambda: far.count == 5 and fd_count(server.pid) == fds, "all fds freed", 5)


def test_a_refused_onward_is_logged_and_closes_the_client(hand_on: Serve, tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    server = hand_on([onward(f"ipv4:127.0.0.1:{nobody}"), onward(f"unix:{tmp_path / 'none'}")])
    for address in server.ready:
        with connect(address) as sock:
            sock.sendall(b"is there anybody?")  # read before the close, or it would be a reset
            assert receive_all(sock) == b""
    server.wait_for(f"onward 127.0.0.1:{nobody}: Connection refused")
    server.wait_for(f"onward unix:{tmp_path / 'none'}: No such file or directory")


def test_what_is_no_http_on_a_plain_port(hand_on: Serve, tmp_path: Path) -> None:
    """Beside http; who says nothing is connected after a while, since the far end may have to speak first."""
    (tmp_path / "index.html").write_bytes(PAGE)
    with FarEnd(greet) as far:
        keys = raw_keys("raw-proxy", "fallback-listen-accept", onward=f"ipv4:127.0.0.1:{far.port}")
        server = hand_on([{"mounts": [file_mount(tmp_path)], "fallback-wait": "1", **keys}])
        with Client(server.connect()) as client:
            assert client.get().body == PAGE
        assert is_greeted(server.connect())
        begun = time.monotonic()
        with server.connect() as sock:
            assert sock.recv(100) == b"220 far end\r\n"
        assert 0.9 < time.monotonic() - begun < 6


def test_raw_test_sends_back_what_it_gets(hand_on: Serve) -> None:
    server = hand_on([raw_keys("raw-test", "apply-listen-accept")])
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == b"GET / HTTP/1.1\r\n\r\n"


def test_a_server_that_stops_ends_its_tunnels(hand_on: Serve) -> None:
    with FarEnd(receive_all) as far:
        server = hand_on([to(far)], shutdown_timeout=30)
        with server.connect() as sock:
            wait_until(lambda: far.count == 1, "the far end connected")
            server.process.send_signal(signal.SIGTERM)
            assert receive_all(sock) == b""
        server.process.wait(2)


def test_nothing_is_left_of_many_tunnels(hand_on: Serve) -> None:
    """However they ended."""

    def serve(sock: socket.socket) -> None:
        try:
            greet(sock)
        except OSError:
            pass  # as it is meant

    with FarEnd(serve) as far:
        server = hand_on([to(far)])
        assert is_greeted(server.connect())
        fds = idle_fds(server.pid, server.port)
        for number in range(100):
            with server.connect() as sock:
                if number % 4:
                    assert sock.recv(100) == b"220 far end\r\n"
                if number % 2:
                    reset(sock)
        wait_until(lambda: fd_count(server.pid) == fds, "all fds freed")


def test_an_onward_connection_counts_like_one_of_a_client(hand_on: Serve) -> None:
    """LESSONS 3.37: each costs an fd, so that half as many tunnels fill the server."""

    def speak_and_wait(sock: socket.socket) -> None:
        sock.sendall(b"x")
        try:
            receive_all(sock)
        except ConnectionResetError:
            pass    # by a client that goes without a word

    with FarEnd(speak_and_wait) as far:
        server = hand_on([to(far)], max_connections=6)
        with ExitStack() as stack:
            for _ in range(3):
                assert stack.enter_context(server.connect()).recv(1)
            server.wait_for("6 connections are open: accepting no more")
        with server.connect() as sock:
            assert sock.recv(1)
