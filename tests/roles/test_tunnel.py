"""The tunnel role: connecting, with everything that can happen to the client meanwhile."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any, List

import pytest

from lwsws import log
from lwsws.core.connection import Connection
from lwsws.core.role import Role
from lwsws.net.connector import CONNECT_SECONDS
from lwsws.net.onward import Onward, parse_onward
from lwsws.net.reactor import BUFFER_BYTES
from lwsws.roles.relay import RelayRole
from lwsws.roles.tunnel import TunnelRole
from tests.net.support import tcp_pair
from tests.support.docroot import open_fds
from tests.support.raw import Peer, RawBench
from tests.support.server import free_ports

Errors = pytest.CaptureFixture[str]


class Names:
    """A name server that answers when the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: List[Any] = []
        self._asked = threading.Event()
        self._answered = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, *question: Any) -> List[Any]:
        self._asked.set()
        assert self._answered.wait(10)
        return self.answers

    def wait(self) -> None:
        """Wait until it is asked."""
        assert self._asked.wait(10)

    def answer(self, onward: Onward) -> None:
        """Let it answer with this address."""
        self.answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (onward.host, onward.port))]
        self._answered.set()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Replaces the name servers, so that a connection takes as long as the test wants."""
    return Names(monkeypatch)


NAMED = parse_onward("some.name:1")


def waiting(bench: RawBench, names: Names) -> Peer:
    """A TCP client whose connection waits for the name server."""
    client = bench.connect(TunnelRole(NAMED), tcp_pair)
    bench.settle()
    names.wait()
    return client


def test_bytes_flow_both_ways_once_it_is_connected(bench: RawBench) -> None:
    server = bench.listen()
    client = bench.connect(TunnelRole(server.onward))
    far = server.accept()
    client.send(b"hello")
    bench.until(far.receive)
    far.send(b"hello yourself")
    bench.until(client.receive)
    assert far.data == b"hello"
    assert client.data == b"hello yourself"


def test_a_server_that_speaks_first_is_heard_by_a_silent_client(bench: RawBench, tmp_path: Path) -> None:
    server = bench.listen(str(tmp_path / "s"))
    client = bench.connect(TunnelRole(server.onward))
    server.accept().send(b"220 ready\r\n")
    bench.until(client.receive)
    assert client.data == b"220 ready\r\n"


def test_the_far_end_has_keepalive_and_no_delay(bench: RawBench) -> None:
    server = bench.listen()
    bench.connect(TunnelRole(server.onward))
    server.accept()
    bench.settle()
    role = bench.only().role
    assert isinstance(role, RelayRole)
    sock = role.down.source.sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_comes_meanwhile_waits_without_bound_on_the_clients_side_only(
    bench: RawBench, names: Names
) -> None:
    client = waiting(bench, names)
    sent, block = 0, bytes(range(256)) * 256
    for _ in range(100):
        sent += client.send_some(block)
        bench.settle()
    assert bench.only().transport.bytes_received <= BUFFER_BYTES
    server = bench.listen()
    names.answer(server.onward)
    far = server.accept()
    while len(far.data) < sent:
        bench.until(far.receive)
    assert far.data == (block * 100)[:sent]


def test_leftover_of_an_earlier_role_goes_first(bench: RawBench, names: Names) -> None:
    class Earlier(Role):
        def data_received(self, data: bytes) -> None:
            self.conn.switch_role(TunnelRole(NAMED), data)

    client = bench.connect(Earlier())
    client.send(b"one ")
    bench.settle()
    client.send(b"two ")
    client.half_close()
    bench.settle()
    assert bench.only().transport.bytes_received == len("one ")
    server = bench.listen()
    names.answer(server.onward)
    far = server.accept()
    bench.until(lambda: far.over)
    assert far.data == b"one two "


def test_the_end_of_the_stream_that_came_meanwhile_is_carried_through(bench: RawBench, names: Names) -> None:
    client = waiting(bench, names)
    client.send(b"question")
    client.half_close()
    bench.settle()
    server = bench.listen()
    names.answer(server.onward)
    far = server.accept()
    bench.until(lambda: far.over)
    assert far.data == b"question"
    assert not far.was_reset
    far.send(b"answer")
    far.close()
    bench.until(lambda: client.over)
    assert client.data == b"answer"
    assert not client.was_reset


def test_an_end_of_stream_without_a_byte_before_it_is_carried_through(bench: RawBench, names: Names) -> None:
    client = bench.connect(TunnelRole(NAMED))
    client.half_close()
    bench.settle()
    server = bench.listen()
    names.answer(server.onward)
    far = server.accept()
    bench.until(lambda: far.over)
    far.send(b"answer")
    bench.until(client.receive)


def test_the_deadline_of_an_earlier_role_is_over(bench: RawBench, names: Names) -> None:
    class Earlier(Role):
        def start(self, conn: Connection) -> None:
            super().start(conn)
            conn.expect(1, "something else")
            conn.switch_role(TunnelRole(NAMED), b"")

    bench.connect(Earlier())
    bench.settle()
    bench.advance(2)
    assert bench.context.connections
    names.answer(parse_onward("127.0.0.1:1"))


def test_output_of_an_earlier_role_is_under_a_limit_in_time(bench: RawBench) -> None:
    class Earlier(Role):
        def start(self, conn: Connection) -> None:
            super().start(conn)
            conn.transport.write(bytes(2_000_000))
            conn.switch_role(TunnelRole(server.onward), b"")

    server = bench.listen()
    client = bench.connect(Earlier())
    server.accept()
    bench.settle()
    bench.advance(bench.context.limits.send_timeout + 1)
    assert not bench.context.connections
    assert client.over


# It cannot be reached.


def test_a_refusal_is_logged_and_the_client_closed_cleanly(bench: RawBench, capfd: Errors) -> None:
    port = free_ports(1)[0]
    client = bench.connect(TunnelRole(parse_onward(f"ipv4:127.0.0.1:{port}")), tcp_pair)
    client.send(b"x" * 1000)
    bench.reactor.run_once(0)
    client.send(b"more, which is not read")
    bench.until(lambda: client.over)
    assert not client.was_reset and not client.data
    assert f"conn 1: onward 127.0.0.1:{port}: Connection refused" in capfd.readouterr().err
    client.close()
    bench.settle()
    assert not bench.context.connections


def test_a_missing_socket_is_logged_and_the_client_closed(
    bench: RawBench, tmp_path: Path, capfd: Errors
) -> None:
    client = bench.connect(TunnelRole(parse_onward(f"unix:{tmp_path}/s")))
    bench.until(lambda: client.over)
    assert f"conn 1: onward unix:{tmp_path}/s: No such file or directory" in capfd.readouterr().err


def test_no_answer_in_time_is_logged_and_the_client_closed(
    bench: RawBench, names: Names, capfd: Errors
) -> None:
    client = waiting(bench, names)
    bench.advance(CONNECT_SECONDS - 1)
    assert not client.receive() and not client.eof
    bench.advance(2)
    bench.until(lambda: client.over)
    assert not client.was_reset
    assert "conn 1: onward some.name:1: cannot look up some.name: no answer" in capfd.readouterr().err
    names.answer(parse_onward("127.0.0.1:1"))


# The client goes, or the server ends, meanwhile.


@pytest.mark.parametrize("how", ["abort", "shutdown"])
def test_it_does_not_go_on_connecting_when_it_has_ended(bench: RawBench, names: Names, how: str) -> None:
    client = waiting(bench, names)
    client.send(b"hello")
    bench.settle()
    client.send(b"more, which is not read")
    if how == "abort":
        bench.only().abort()
    else:
        bench.only().role.shutdown()
    bench.until(lambda: client.over)
    assert not client.was_reset or how == "abort"
    server = bench.listen()
    before = open_fds()
    names.answer(server.onward)
    bench.work_off()
    bench.settle()
    assert open_fds() == before
    client.close()
    bench.settle()
    assert not bench.context.connections


def test_a_client_that_is_gone_is_noticed_when_bytes_flow(bench: RawBench, names: Names) -> None:
    class Earlier(Role):
        def data_received(self, data: bytes) -> None:
            self.conn.switch_role(TunnelRole(NAMED), data)

    client = bench.connect(Earlier(), tcp_pair)
    client.send(b"x")
    bench.settle()
    client.reset()
    bench.settle()
    assert bench.context.connections
    server = bench.listen()
    names.answer(server.onward)
    far = server.accept()
    bench.until(lambda: far.over)
    assert far.was_reset
    assert not bench.context.connections


def test_a_client_that_is_gone_before_it_sent_anything_is_noticed_at_once(
    bench: RawBench, names: Names
) -> None:
    client = waiting(bench, names)
    client.reset()
    bench.until(lambda: not bench.context.connections)
    names.answer(parse_onward("127.0.0.1:1"))


def test_the_kernel_connects_while_the_client_is_being_aborted(bench: RawBench) -> None:
    """The abort is told in a later turn than the connection: nobody may keep the new socket."""
    server = bench.listen()
    bench.connect(TunnelRole(server.onward))
    bench.reactor.run_once(0)   # the connection is under way
    far = server.sock.accept()[0]
    conn = bench.only()
    bench.reactor.call_soon(conn.abort)
    bench.settle()
    assert not bench.context.connections
    far.settimeout(5)
    with far:
        try:
            assert far.recv(1) == b""
        except ConnectionResetError:
            pass


def test_a_far_end_that_cannot_be_watched_ends_both(
    bench: RawBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Errors
) -> None:
    server = bench.listen(str(tmp_path / "s"))      # connects at once, so the connector watches nothing
    client = bench.connect(TunnelRole(server.onward))
    monkeypatch.setattr(bench.selector, "is_full", True)
    far = server.accept()
    bench.until(lambda: client.over and far.over)
    assert not bench.context.connections
    assert f"conn 1: onward unix:{tmp_path}/s: No space left on device" in capfd.readouterr().err


def test_the_log_tells_the_change_of_role(bench: RawBench, capfd: Errors) -> None:
    log.set_level(log.DEFAULT_MASK | log.INFO)
    try:
        server = bench.listen()
        bench.connect(TunnelRole(server.onward))
        server.accept()
        bench.settle()
    finally:
        log.set_level(log.DEFAULT_MASK)
    assert "conn 1: TunnelRole -> RelayRole" in capfd.readouterr().err
