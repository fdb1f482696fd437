"""The addresses that connections are handed on to, as people write them."""

from __future__ import annotations

import socket

import pytest

from lwsws.net.bind import MAX_SOCKET_PATH, address_family
from lwsws.net.onward import ANY_FAMILY, Onward, parse_onward

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


@pytest.mark.parametrize(
    "text, onward, shown",
    [
        ("ipv4:127.0.0.1:22", Onward("127.0.0.1", 22, V4), "127.0.0.1:22"),
        ("127.0.0.1:22", Onward("127.0.0.1", 22, V4), "127.0.0.1:22"),
        (" IPv4:127.0.0.1:65535 ", Onward("127.0.0.1", 65535, V4), "127.0.0.1:65535"),
        ("ipv4:host:22", Onward("host", 22, V4), "ipv4:host:22"),
        ("ipv6:host.example:1", Onward("host.example", 1, V6), "ipv6:host.example:1"),
        ("host_1.example.:22", Onward("host_1.example.", 22), "host_1.example.:22"),
        ("ipv6:[::1]:22", Onward("::1", 22, V6), "[::1]:22"),
        ("[::1]:22", Onward("::1", 22, V6), "[::1]:22"),
        ("[fe80::1%eth0]:22", Onward("fe80::1%eth0", 22, V6), "[fe80::1%eth0]:22"),
        ("xn--nxasmq6b:22", Onward("xn--nxasmq6b", 22), "xn--nxasmq6b:22"),
        ("unix:/run/a b.sock", Onward(path="/run/a b.sock"), "unix:/run/a b.sock"),
        ("unix:@name", Onward(path="@name"), "unix:@name"),
        ("unix:/a:22", Onward(path="/a:22"), "unix:/a:22"),
        ("unix:/" + "a" * (MAX_SOCKET_PATH - 1), Onward(path="/" + "a" * (MAX_SOCKET_PATH - 1)),
         "unix:/" + "a" * (MAX_SOCKET_PATH - 1)),
        ("localhost:022", Onward("localhost", 22), "localhost:22"),
    ],
)
def test_an_address_is_read_and_shown_so_that_it_can_be_read_again(
    text: str, onward: Onward, shown: str
) -> None:
    assert parse_onward(text) == onward
    assert str(onward) == shown
    assert parse_onward(shown) == onward


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "host and port are needed"),
        ("ipv4:", "host and port are needed"),
        ("127.0.0.1", "host and port are needed"),
        ("ipv4:127.0.0.1", "host and port are needed"),
        (":22", "host and port are needed"),
        ("host:", '"" is no port'),
        ("host:0", '"0" is no port'),
        ("host:65536", '"65536" is no port'),
        ("host:+22", '"+22" is no port'),
        ("host:2\u00b2", "is no port"),
        ("host:ssh", '"ssh" is no port'),
        ("host:000022", "is no port"),
        ("::1", "stands in brackets"),
        ("ipv6:::1", "stands in brackets"),
        ("ipv6:fe80::1:22", "stands in brackets"),
        ("[::1]", "write the port as well"),
        ("[::1]22", "write the port as well"),
        ("[::1:22", "write the port as well"),
        ("[127.0.0.1]:22", '"127.0.0.1" is no IPv6 address'),
        ("[host]:22", '"host" is no IPv6 address'),
        ("[]:22", "is no IPv6 address"),
        ("ipv4:[::1]:22", 'has no place after "ipv4:"'),
        ("ipv6:127.0.0.1:22", 'has no place after "ipv6:"'),
        ("127.0.0.256:22", "is no IPv4 address"),
        ("127.1:22", "is no IPv4 address"),
        ("a b:22", "is no host name"),
        ("a..b:22", "is no host name"),
        ("\u00e9.example:22", 'in their "xn--" form'),
        ("a" * 254 + ":22", "is no host name"),
        ("http://host:22", "stands in brackets"),
        ("unix:", "full path of a socket"),
        ("unix:@", "full path of a socket"),
        ("unix:run/a.sock", "full path of a socket"),
        ("unix:/a\0b", "NUL"),
        ("unix:/" + "a" * MAX_SOCKET_PATH, "at most 107 bytes"),
        ("unix:/" + "\u00e9" * 54, "at most 107 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_onward(text)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f'"{text.strip()[:80]}" is no address to connect to: ')


def test_only_addresses_are_literal() -> None:
    assert parse_onward("127.0.0.1:1").is_literal
    assert parse_onward("[::1%lo]:1").is_literal
    assert not parse_onward("ipv4:host:1").is_literal
    assert not parse_onward("unix:/a").is_literal
    assert address_family("1.2.3") == address_family("") == address_family("a\0") == ANY_FAMILY
