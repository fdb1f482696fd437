"""The relay with a client that comes over TLS: the same promises, kept by the TLS transport."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Tuple

import pytest

from lwsws.core.connection import Connection
from lwsws.core.role import Role
from lwsws.net.reactor import BUFFER_BYTES
from lwsws.net.transport import HIGH
from lwsws.roles.relay import RelayRole
from lwsws.roles.tunnel import TunnelRole
from tests.net.support import tcp_pair
from tests.net.tls_support import VERSIONS, TlsClient, client_context, server_context
from tests.support.certificates import Certificates
from tests.support.raw import Peer, RawBench

# What is sent again and again, and more of it than is ever under way.
STOCK = bytes(range(256)) * 256
STOCK_MUCH = STOCK * 128
TOTAL = 320 * len(STOCK)


class SecuredRole(Role):
    """Begins with a handshake and then becomes `after`."""

    def __init__(self, context: ssl.SSLContext, after: Role) -> None:
        self.context = context
        self.after = after

    def start(self, conn: Connection) -> None:
        super().start(conn)
        conn.start_tls(self.context, "a.test", lambda: conn.switch_role(self.after, b""))


class Client(TlsClient):
    """A client whose plain bytes are kept."""

    def __init__(self, sock: socket.socket, certificates: Certificates) -> None:
        super().__init__(sock, client_context(certificates))
        self.data = bytearray()
        self.notified = False
        self.was_reset = False

    def shake(self) -> bool:
        """Go on with the handshake; whether it is complete."""
        self.attempt(self.tls.do_handshake)
        return self.tls.cipher() is not None and self.has_sent_all

    def read(self) -> bool:
        """Take what has come; whether that was anything."""
        try:
            data = self.attempt(self.tls.read, 1 << 16)
        except ssl.SSLZeroReturnError:
            data = b""
        except ConnectionResetError:
            self.was_reset = True
            return False
        self.notified = self.notified or data == b""
        self.data += data or b""
        return bool(data)

    @property
    def has_sent_all(self) -> bool:
        """Whether all bytes that OpenSSL made have gone."""
        return not self._unsent

    @property
    def over(self) -> bool:
        """Whether the end has come; takes in what came before it."""
        while not self.notified and not self.was_reset and self.read():
            pass
        return self.notified or self.was_reset


@pytest.fixture(params=[*VERSIONS])
def ends(request: pytest.FixtureRequest, bench: RawBench, certificates: Certificates,
         tmp_path: Path) -> Tuple[Client, Peer]:
    """A TLS client in a tunnel, and the far end."""
    server = bench.listen(str(tmp_path / "s") if "slow" in request.node.name else "")
    role = SecuredRole(server_context(certificates, request.param), TunnelRole(server.onward))
    client = Client(bench.connect(role, tcp_pair).sock, certificates)
    bench.until(client.shake)
    return client, server.accept()


def send(client: Client, data: bytes) -> None:
    """Send `data` over TLS."""
    client.attempt(client.tls.write, data)


def test_bytes_flow_both_ways(bench: RawBench, ends: Tuple[Client, Peer]) -> None:
    client, far = ends
    send(client, b"hello")
    bench.until(far.receive)
    far.send(b"hello yourself")
    bench.until(client.read)
    assert far.data == b"hello"
    assert client.data == b"hello yourself"


def test_a_close_notify_is_carried_through_as_an_end(bench: RawBench, ends: Tuple[Client, Peer]) -> None:
    client, far = ends
    send(client, b"question")
    assert client.attempt(client.tls.unwrap) is None    # it would like to have ours, too
    bench.until(lambda: far.over)
    assert far.data == b"question"
    assert not far.was_reset
    far.half_close()
    bench.until(lambda: not bench.context.connections)


def test_an_end_is_carried_through_as_a_close_notify(bench: RawBench, ends: Tuple[Client, Peer]) -> None:
    client, far = ends
    far.send(b"greeting")
    far.half_close()
    bench.until(lambda: client.over)
    assert client.data == b"greeting" and client.notified
    client.sock.shutdown(socket.SHUT_WR)
    bench.until(lambda: not bench.context.connections)


def test_a_reset_of_the_far_end_is_no_close_notify(bench: RawBench, ends: Tuple[Client, Peer]) -> None:
    client, far = ends
    far.send(b"a part")
    bench.until(client.read)
    far.reset()
    while not client.over:
        bench.reactor.run_once(0)
        bench.clock.advance(0.001)
    assert client.data == b"a part"
    assert client.was_reset and not client.notified


def test_memory_stays_flat_with_a_slow_client(bench: RawBench, ends: Tuple[Client, Peer]) -> None:
    client, far = ends
    sent = received = most = turn = 0
    while received < TOTAL:
        sent += far.send_some(STOCK[sent % 256:][:TOTAL - sent]) if sent < TOTAL else 0
        bench.reactor.run_once(0)
        most = max(most, bench.only().transport.size)
        turn += 1
        if turn % 64 == 0:
            while client.read():
                pass
            assert client.data == STOCK_MUCH[received % 256:][:len(client.data)]
            received += len(client.data)
            client.data.clear()
    assert HIGH < most <= HIGH + BUFFER_BYTES


def test_memory_stays_flat_with_a_slow_far_end(bench: RawBench, ends: Tuple[Client, Peer]) -> None:
    client, far = ends
    sent = received = most = turn = 0
    role = bench.only().role
    assert isinstance(role, RelayRole)
    while received < TOTAL:
        if client.has_sent_all and sent < TOTAL:
            send(client, STOCK)
            sent += len(STOCK)
        client.send_raw(b"")
        bench.reactor.run_once(0)
        most = max(most, role.down.source.size)
        turn += 1
        if turn % 64 == 0:
            while far.receive():
                pass
            assert far.data == STOCK_MUCH[received % 256:][:len(far.data)]
            received += len(far.data)
            far.data.clear()
    assert HIGH < most <= HIGH + BUFFER_BYTES
