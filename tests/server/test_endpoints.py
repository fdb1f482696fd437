"""Which addresses a vhost listens on, and which vhosts share one."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, AF_UNIX
from typing import List

import pytest

from lwsws.config.model import VhostConfig
from lwsws.net.bind import address_family
from lwsws.net.listening import Endpoint
from lwsws.server.endpoints import endpoints_of, share

VHOST = VhostConfig(port=80)


@pytest.mark.parametrize("text, family", [
    ("10.0.0.1", AF_INET),
    ("0.0.0.0", AF_INET),
    ("::", AF_INET6),
    ("fe80::1%eth0", AF_INET6),
    ("::ffff:10.0.0.1", AF_INET6),
    ("10.0.0", 0),
    ("010.0.0.1", 0),
    ("10.0.0.1%eth0", 0),
    ("[::1]", 0),
    ("eth0", 0),
    ("", 0),
])
def test_what_is_an_address(text: str, family: int) -> None:
    assert address_family(text) == family


@pytest.mark.parametrize("vhost, expected", [
    (VHOST, ["0.0.0.0:80", "[::]:80"]),
    (VHOST._replace(noipv6=True), ["0.0.0.0:80"]),
    (VHOST._replace(ipv6only=True), ["[::]:80"]),
    (VHOST._replace(ipv6only=False), ["0.0.0.0:80"]),
    (VHOST._replace(interface="10.0.0.1"), ["10.0.0.1:80"]),
    (VHOST._replace(interface="::1"), ["[::1]:80"]),
    (VHOST._replace(interface="fe80::1%eth0"), ["[fe80::1%eth0]:80"]),
    (VHOST._replace(interface="::1", noipv6=True), []),
    (VHOST._replace(interface="10.0.0.1", ipv6only=True), []),
    (VHOST._replace(interface="eth0"), ["eth0 port 80 (IPv4)", "eth0 port 80 (IPv6)"]),
    (VHOST._replace(interface="eth0", noipv6=True), ["eth0 port 80 (IPv4)"]),
    (VHOST._replace(interface="eth0", ipv6only=True), ["eth0 port 80 (IPv6)"]),
    (VhostConfig(unix_socket=True, interface="/run/x"), ["unix:/run/x"]),
    (VhostConfig(unix_socket=True, interface="/run/x", ipv6only=True), ["unix:/run/x"]),
    (VHOST._replace(listen_fd="web", interface="eth0"), ["systemd:web"]),
])
def test_endpoints_of_a_vhost(vhost: VhostConfig, expected: List[str]) -> None:
    assert [str(endpoint) for endpoint in endpoints_of(vhost)] == expected


def test_what_endpoints_are_made_of() -> None:
    assert endpoints_of(VHOST)[0] == Endpoint(AF_INET, "0.0.0.0", 80)
    assert endpoints_of(VHOST._replace(interface="eth0"))[1] == Endpoint(AF_INET6, "", 80, interface="eth0")
    on_socket = VhostConfig(unix_socket=True, interface="/x")
    assert endpoints_of(on_socket) == [Endpoint(AF_UNIX, "", 0, path="/x")]


def test_wildcards() -> None:
    assert [endpoint.is_wildcard for endpoint in endpoints_of(VHOST)] == [True, True]
    assert not Endpoint(AF_INET, "10.0.0.1", 80).is_wildcard
    assert not Endpoint(AF_INET, "", 80, interface="eth0").is_wildcard
    assert not Endpoint(AF_UNIX, "", 0, path="/x").is_wildcard


def test_sharing_in_the_order_of_the_configuration() -> None:
    vhosts = [VHOST._replace(name="a", noipv6=True), VHOST._replace(name="b"),
              VHOST._replace(name="c", port=81, ipv6only=True), VHOST._replace(name="d", interface="0.0.0.0")]
    shared = {str(endpoint): [vhost.name for vhost in sharing] for endpoint, sharing in share(vhosts)}
    # The address that stands for all is the same as none.
    assert shared == {"0.0.0.0:80": ["a", "b", "d"], "[::]:80": ["b"], "[::]:81": ["c"]}
