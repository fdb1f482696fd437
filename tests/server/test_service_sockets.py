"""The sockets of a service: those that the keeper has, those that systemd passes, those that nobody wants."""

from __future__ import annotations

import socket
from typing import Iterator, List

import pytest

from lwsws.net.given import Given
from lwsws.net.keeper import OwnKeeper
from lwsws.net.listening import SocketStore
from lwsws.server.plugins import Plugins
from lwsws.server.service import Service
from tests.server.support import BODY, REQUEST, Host, SharedKeeper
from tests.support.server import connect, file_mount, free_ports


@pytest.fixture
def dual(port: int) -> Iterator[socket.socket]:
    """A socket on `port` for both families, as systemd makes them."""
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
        sock.listen()
        yield sock


def pass_to(host: Host, sock: socket.socket) -> None:
    """Systemd passes `sock` to the services to come, and keeps it."""
    host.keeper = OwnKeeper(SocketStore([Given("web", sock.dup())]))


def asked(host: Host, address: str, port: int) -> bytes:
    """The answer to an ordinary request from `address`."""
    client = connect((address, port))
    client.setblocking(False)
    host.clients.append(client)
    client.sendall(REQUEST)
    return host.received(client)


def families(service: Service) -> List[bool]:
    """Which of the endpoints have sockets."""
    return [service.is_open(item) for item in service.site.listening]


def test_one_socket_of_systemd_for_both_families(
    host: Host, port: int, dual: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each peer meets the vhosts that are configured for its family, and has the name that it always has."""
    (host.home / "6").mkdir()
    (host.home / "6" / "a.txt").write_text("of IPv6\n")
    pass_to(host, dual)
    service = host.service({"port": port, "interface": "", "ipv6only": "0"},
                           {"port": port, "interface": "", "ipv6only": "1",
                            "mounts": [file_mount(host.home / "6")]})
    service.open()
    assert families(service) == [True, False]
    assert f"N: [::]:{port}: another socket that systemd passes takes its connections, too\n" \
        in capfd.readouterr().err
    service.start()
    assert asked(host, "127.0.0.1", port).endswith(BODY)
    assert [connection.peer for connection in service.context.connections] == ["127.0.0.1"]
    assert asked(host, "::1", port).endswith(b"of IPv6\n")
    assert sorted(connection.peer for connection in service.context.connections) == ["127.0.0.1", "::1"]


def test_systemd_keeps_its_socket_when_we_stop(host: Host, port: int, dual: socket.socket) -> None:
    pass_to(host, dual)
    service = host.started({"port": port, "interface": ""})
    service.stop()
    connect(("127.0.0.1", port)).close()    # and waits for the next server


def test_what_is_not_served_is_not_listened_on(host: Host, port: int) -> None:
    """Its clients would wait for ever."""
    other, = free_ports(1)
    raw = {"port": other, "apply-listen-accept": "1", "listen-accept-protocol": "there-is-none"}
    service = host.prepared({"port": port}, raw)
    service.open()
    for each in (port, other):
        connect(("127.0.0.1", each)).close()
    service.furnish(Plugins())
    connect(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", other))


def test_sockets_that_are_bound_only_listen_when_it_starts(host: Host, port: int) -> None:
    """As those with which a new generation will take the place of an older one's."""
    own = OwnKeeper()
    host.keeper = SharedKeeper(own)
    older = host.started({"port": port})
    assert asked(host, "127.0.0.1", port).endswith(BODY)
    own.claims = set()      # of the next generation
    newer = host.service({"port": port, "interface": ""})
    newer.open()
    for _ in range(8):
        assert asked(host, "127.0.0.1", port).endswith(BODY)
    assert (older.context.accepted, newer.context.accepted) == (9, 0)
    newer.start()
    own.store.keep_only(own.claims)
    older.deprecate()
    assert asked(host, "127.0.0.1", port).endswith(BODY)
    assert newer.context.accepted == 1
    own.close()
