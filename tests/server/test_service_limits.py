"""The limits of a service for each client address, and that they forget who has gone."""

from __future__ import annotations

import socket
from typing import List

import pytest

from lwsws.core.peers import Peers
from lwsws.server.service import Service
from tests.server.support import BODY, REQUEST, Host
from tests.support.server import connect
from tests.support.upgrade import UPGRADE


def peers_of(service: Service) -> Peers:
    """Its counts, which there are because it has limits."""
    assert service.context.peers is not None
    return service.context.peers


def asked(host: Host, client: socket.socket) -> bytes:
    """The answer to a request of `client`; nothing if it is not served."""
    try:
        client.sendall(REQUEST)
        return host.received(client)
    except (BrokenPipeError, ConnectionResetError):
        return b""


def client_from(host: Host, address: str, port: int) -> socket.socket:
    """A client that connects from `address` of this machine."""
    client = socket.create_connection(("127.0.0.1", port), 5, (address, 0))
    client.setblocking(False)
    host.clients.append(client)
    return client


def test_most_connections_of_one_client(host: Host, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    service = host.started({"port": port}, ip_limit_wsi=2)
    clients = [host.connect(port) for _ in range(3)]
    assert [asked(host, client)[-len(BODY):] for client in clients] == [BODY, BODY, b""]
    other = client_from(host, "127.0.0.2", port)
    assert asked(host, other).endswith(BODY)
    assert (service.context.refused, service.context.accepted, len(peers_of(service))) == (1, 3, 2)
    assert "W: 127.0.0.1: over ip-limit-wsi 2: connection closed" in capfd.readouterr().err
    clients[0].close()
    host.until(lambda: len(service.context.connections) == 2)
    assert asked(host, host.connect(port)).endswith(BODY)


def test_nothing_stays_behind(host: Host, port: int) -> None:
    service = host.started({"port": port}, ip_limit_wsi=2, ip_limit_ah=2)
    clients: List[socket.socket] = [client_from(host, f"127.0.0.{number}", port) for number in range(1, 30)]
    for client in clients:
        assert asked(host, client).endswith(BODY)
    assert len(peers_of(service)) == len(clients)
    for client in clients:
        client.close()
    host.until(lambda: not service.context.connections)
    assert len(peers_of(service)) == 0


def test_a_websocket_counts_as_a_connection_but_not_as_a_request(host: Host, port: int) -> None:
    service = host.started({"port": port, "ws-protocols": [{"lws-echo": {}}]}, ip_limit_wsi=3, ip_limit_ah=1)
    for _ in range(3):
        client = host.connect(port)
        client.sendall(UPGRADE)
        assert b" 101 " in host.received(client)
    assert len(peers_of(service)) == 1
    assert asked(host, host.connect(port)) == b""


def test_peers_of_unix_sockets_have_no_limit(host: Host) -> None:
    path = str(host.home / "s")
    service = host.started({"unix-socket": "1", "interface": path}, ip_limit_wsi=1, ip_limit_ah=1)
    for _ in range(3):
        assert asked(host, host.connect(path)).endswith(BODY)
    assert len(peers_of(service)) == 0


def test_a_load_balancer_has_no_limit_but_its_clients_have(host: Host, port: int) -> None:
    service = host.started({"port": port, "proxy-protocol-from": ["127.0.0.1"]}, ip_limit_wsi=1)
    clients = [host.connect(port) for _ in range(3)]
    for client, number in zip(clients, (1, 2, 1)):
        client.sendall(b"PROXY TCP4 192.0.2.%d 192.0.2.9 4711 80\r\n" % number)
        host.settle()
    assert [asked(host, client)[-len(BODY):] for client in clients] == [BODY, BODY, b""]
    assert (service.context.accepted, service.context.refused) == (3, 1)


def test_without_limits_nobody_counts(host: Host, port: int) -> None:
    service = host.started({"port": port})
    connect(("127.0.0.1", port)).close()
    assert service.context.peers is None
    assert service.context.refused == 0
