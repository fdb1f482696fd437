"""The clients of the benchmark, each against the simplest thing that can stand for a server."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from bench import clients, connections, processes, tls_clients, tunnel
from bench.servers import Running
from bench.subjects import HOST, RAW, Given, Subject
from tests.support.programs import need

SECONDS = 0.01  # each load makes at least one round, however short it is
FILE = b"x" * 100_000


class Idle(Subject):
    """A process that costs nothing: what is measured goes to a port of the test instead."""

    name = "idle"
    kind = RAW

    def command(self, port: int, given: Given, folder: Path) -> List[str]:
        return [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    with socket.create_server((HOST, 0)) as far_end:
        far_end.settimeout(connections.TIMEOUT)
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "file").write_bytes(FILE)
        yield Given(tmp_path, far_end)


@pytest.fixture
def server(given: Given, tmp_path: Path) -> Iterator[Running]:
    """A "tunnel" that leads straight to the far end."""
    with Running(Idle(), given, tmp_path, processes.choose_cores()) as running:
        running.port = given.far_port
        yield running


def test_a_tunnel_is_found_behind_connections_of_others(server: Running) -> None:
    with ExitStack() as stack:
        connections.connect(server.port).close()
        with connections.connect(server.port) as stranger:
            stranger.sendall(b"this is not the token")
            near, far = tunnel.open_tunnel(server, stack)
        near.sendall(b"there")
        assert far.recv(100) == b"there"
        far.sendall(b"back")
        assert near.recv(100) == b"back"


def test_echoes_are_counted_on_all_connections(server: Running) -> None:
    done = tunnel.echo(server, SECONDS)
    assert done.made > 0
    assert done.made % tunnel.CONNECTIONS == 0
    assert done.seconds >= SECONDS


def test_a_message_cut_off_is_a_fault() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.sendall(tunnel.MESSAGE[:-1])
        near.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError, match="middle of a message"):
            tunnel.receive(far)


def test_bulk_goes_both_ways(server: Running, given: Given) -> None:
    done = tunnel.bulk(server, given.site / "file", SECONDS)
    assert done.bytes > 0
    assert done.bytes % (2 * len(FILE)) == 0


def answer(sock: socket.socket, body: bytes) -> None:
    """Answer one request, if one comes."""
    if sock.recv(4096):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.fixture
def serve_tls(given: Given) -> Iterator[Callable[[bytes, int], int]]:
    """Call it with a body and a number of session tickets: gives the port of a TLS server."""
    need("openssl")
    connections.make_certificate(given.certificate, given.key)
    with ExitStack() as stack:

        def serve(body: bytes, tickets: int) -> int:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(given.certificate, given.key)
            context.num_tickets = tickets
            listening = stack.enter_context(socket.create_server((HOST, 0)))
            thread = threading.Thread(target=accept, args=(listening, context, body))
            thread.start()
            stack.callback(thread.join)
            stack.callback(listening.shutdown, socket.SHUT_RDWR)  # wakes accept up
            return int(listening.getsockname()[1])

        yield serve


def accept(listening: socket.socket, context: ssl.SSLContext, body: bytes) -> None:
    """Serve one connection after the other until the socket is shut down."""
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        with context.wrap_socket(plain, server_side=True) as sock:
            answer(sock, body)


@pytest.mark.parametrize("way", [tls_clients.FULL, tls_clients.RESUMED])
def test_handshakes_are_made_in_the_way_asked_for(
    serve_tls: Callable[[bytes, int], int], given: Given, way: str
) -> None:
    made, took = tls_clients.count_handshakes(serve_tls(b"", 1), given.certificate, SECONDS, way)
    assert made > 0
    assert took >= SECONDS


def test_a_server_without_tickets_cannot_resume(
    serve_tls: Callable[[bytes, int], int], given: Given
) -> None:
    with pytest.raises(ConnectionError, match="no session ticket"):
        tls_clients.count_handshakes(serve_tls(b"", 0), given.certificate, SECONDS, tls_clients.RESUMED)


def test_clients_in_processes_of_their_own_are_added_up(
    serve_tls: Callable[[bytes, int], int], server: Running
) -> None:
    server.port = serve_tls(b"", 1)
    assert tls_clients.handshakes(server, SECONDS, tls_clients.FULL).made >= tls_clients.CLIENTS
    server.given.certificate.unlink()
    with pytest.raises(RuntimeError, match=r"a client failed: .*No such file"):
        tls_clients.handshakes(server, SECONDS, tls_clients.FULL)


def test_a_file_comes_whole_over_tls(serve_tls: Callable[[bytes, int], int], server: Running) -> None:
    server.port = serve_tls(FILE, 1)
    done = clients.download(server, "/file", SECONDS, tls_clients.fetch)
    assert done.bytes > 0
    assert done.bytes % len(FILE) == 0


def test_a_file_cut_off_is_a_fault(serve_tls: Callable[[bytes, int], int], server: Running) -> None:
    server.port = serve_tls(FILE[: len(FILE) // 2], 1)
    with pytest.raises(ConnectionError, match="of 100,000 bytes came"):
        tls_clients.fetch(server, "/file", bytearray(clients.BLOCK))
