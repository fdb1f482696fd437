"""The load client for WebSockets, wsload.c, against the simplest servers that can stand for one."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, List

import pytest

from bench import processes, ws_load
from bench.rows import ROWS
from bench.run import ALL
from bench.servers import Running
from bench.subjects import HOST, MIRROR, WS, Given
from bench.ws_load import Job, Load
from tests.support.programs import give_up
from tests.support.waiting import wait_until
from tests.support.ws_client import BINARY, CLOSE, PING, PONG, TEXT, accept_value, frame, mask
from tests.test_bench_load import Idle

SECONDS = 0.01  # each load sees at least one message, however short it is
SIZES = (0, 125, 126, 70_000)  # one for each length of a header, and the largest that takes several reads


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, file: BinaryIO, others: List[Peer]) -> None:
        self.sock = sock
        self.others = others
        self.pongs: List[bytes] = []
        self._file = file

    def read_head(self) -> str:
        """The key of the handshake; "" if none came."""
        key = ""
        for line in iter(self._file.readline, b"\r\n"):
            if not line:
                return ""
            name, _, value = line.decode().partition(": ")
            key = value.strip() if name == "Sec-WebSocket-Key" else key
        return key

    def read_frame(self) -> bytes:
        """The payload of the next frame, with its opcode in front; b"" at the end."""
        head = self._file.read(2)
        if len(head) < 2:
            return b""
        length = head[1] & 127
        if length >= 126:
            length = int.from_bytes(self._file.read(2 if length == 126 else 8), "big")
        key = self._file.read(4)
        return bytes([head[0] & 15]) + mask(self._file.read(length), key)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)


React = Callable[[Peer, int, bytes], None]


def echo(peer: Peer, opcode: int, payload: bytes) -> None:
    peer.send(frame(opcode, payload))


def echo_in_pieces(peer: Peer, opcode: int, payload: bytes) -> None:
    """Fragmented, with a ping in between."""
    middle = len(payload) // 2
    peer.send(frame(opcode, payload[:middle], fin=False) + frame(PING, b"now?") + frame(0, payload[middle:]))


def to_all(peer: Peer, opcode: int, payload: bytes) -> None:
    for other in list(peer.others):
        other.send(frame(opcode, payload))


class Server:
    """A thread that accepts, and one for each connection; `react` hears of messages."""

    def __init__(self, react: React) -> None:
        self.react = react
        self.peers: List[Peer] = []
        self.listening = socket.create_server((HOST, 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as file:
            peer = Peer(sock, file, self.peers)
            try:
                self._talk(peer)
            except OSError:
                pass  # the client ended in the middle of something

    def _talk(self, peer: Peer) -> None:
        answer = f"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: {accept_value(peer.read_head())}\r\n\r\n"
        self.peers.append(peer)
        peer.send(answer.encode())
        for message in iter(peer.read_frame, b""):
            if message[0] == PONG:
                peer.pongs.append(message[1:])
            else:
                self.react(peer, message[0], message[1:])

    def close(self) -> None:
        """End all; the clients are gone already."""
        self.listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.listening.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client."""
    if not ws_load.compiler():
        give_up("needs a C compiler")
    program = tmp_path_factory.mktemp("wsload") / "wsload"
    ws_load.compile_client(program)
    return program


@pytest.fixture
def serve(client: Path, tmp_path: Path) -> Iterator[Callable[[React], Running]]:
    """Call it with what a server does with a message: gives the server."""
    with ExitStack() as stack:

        def start(react: React) -> Running:
            given = Given(client.parent, stack.enter_context(socket.create_server((HOST, 0))))
            running = stack.enter_context(Running(Idle(), given, tmp_path, processes.choose_cores()))
            server = Server(react)
            stack.callback(server.close)
            running.port = server.port
            return running

        yield start


Serve = Callable[[React], Running]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("react", [echo, echo_in_pieces])
def test_echoes_of_each_size_are_counted(serve: Serve, react: React, size: int) -> None:
    seen: List[int] = []

    def note(peer: Peer, opcode: int, payload: bytes) -> None:
        seen.append(opcode)
        react(peer, opcode, payload)

    done = ws_load.run(serve(note), Job(ws_load.ECHO, 3, size), SECONDS)
    # At the end each of the three may have one echo on its way.
    assert max(1, len(seen) - 3) <= done.messages <= len(seen)
    assert done.seconds >= SECONDS
    assert 0 < done.median <= done.p99 <= done.longest < 10


def test_what_a_mirror_sends_is_counted_where_it_arrives(serve: Serve) -> None:
    """The sender's own copies do not count, those of the receivers do."""
    done = ws_load.run(serve(to_all), Job(ws_load.MIRROR, 5, 20, 4), SECONDS)
    assert done.messages >= 5
    assert 0 < done.median <= done.p99 <= done.longest < 10


def wrong_byte(peer: Peer, opcode: int, payload: bytes) -> None:
    peer.send(frame(opcode, payload[:-1] + bytes([payload[-1] ^ 1])))


def shorter(peer: Peer, opcode: int, payload: bytes) -> None:
    peer.send(frame(opcode, payload[:-1]))


def masked(peer: Peer, opcode: int, payload: bytes) -> None:
    peer.send(frame(opcode, payload, key=b"1234"))


def closing(peer: Peer, opcode: int, payload: bytes) -> None:
    peer.send(frame(CLOSE, b"\x03\xf1"))


def gone(peer: Peer, opcode: int, payload: bytes) -> None:
    peer.sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "react, said",
    [
        (wrong_byte, "another message came"),
        (shorter, "99 bytes came instead of 100"),
        (masked, "masked"),
        (closing, "closed with code 1009"),
        (gone, "the server closed"),
    ],
)
def test_a_server_that_does_wrong_is_a_fault(serve: Serve, react: React, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        ws_load.run(serve(react), Job(ws_load.ECHO, 1, 100), SECONDS)


def test_idle_connections_are_held_after_an_echo(serve: Serve) -> None:
    seen: List[Peer] = []

    def note(peer: Peer, opcode: int, payload: bytes) -> None:
        seen.append(peer)
        echo(peer, opcode, payload)

    with ws_load.held(serve(note), 20, 125):
        assert len(set(seen)) == len(seen) == 20
        for peer in seen:
            peer.send(frame(PING, b"now?"))
        wait_until(lambda: all(peer.pongs == [b"now?"] for peer in seen), "a pong from each")


def test_connections_that_cannot_be_held_are_a_fault(serve: Serve) -> None:
    with pytest.raises(RuntimeError, match="closed"), ws_load.held(serve(gone), 2, 125):
        pass


def test_the_line_of_the_client_is_read() -> None:
    assert ws_load.parse("7 2.5 100.0 2000.0 3e6\n", 0.5) == Load(7, 2.5, 1e-4, 2e-3, 3.0, 0.5)


def test_messages_are_of_the_kind_that_each_row_needs(serve: Serve) -> None:
    """Text to be mirrored, which lws-mirror-protocol is for; binary to be echoed."""
    opcodes: List[int] = []

    def note(peer: Peer, opcode: int, payload: bytes) -> None:
        opcodes.append(opcode)
        to_all(peer, opcode, payload)

    ws_load.run(serve(note), Job(ws_load.MIRROR, 1, 20), SECONDS)
    assert set(opcodes) == {TEXT}
    del opcodes[:]
    ws_load.run(serve(note), Job(ws_load.ECHO, 1, 20), SECONDS)
    assert set(opcodes) == {BINARY}


def test_each_row_can_be_measured_with_ours_and_with_its_reference() -> None:
    servers = {(subject.kind, subject.name) for subject in ALL}
    for row in ROWS:
        assert (row.kind, "lwsws") in servers, row.name
        assert not row.reference or (row.kind, row.reference) in servers, row.name
    assert {WS, MIRROR} <= {row.kind for row in ROWS}
