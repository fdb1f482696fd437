"""Onward: where a connection is handed on to, as written in a configuration.

    ipv4:127.0.0.1:22   ipv4:host:22      over IPv4, as in the original
    ipv6:[::1]:22       ipv6:host:22      over IPv6
    127.0.0.1:22  [::1]:22  host:22       by whatever addresses the host has
    unix:/run/app.sock  unix:@name        a unix socket, "@name" an abstract one

The port must be given: the original took 0 where it was missing, and no connection can be made to that.
The original wrote IPv6 addresses without brackets and could give them no port; here they need both.
"""

from __future__ import annotations

import os
import re
import socket
from typing import NamedTuple, Tuple

from lwsws.net.bind import MAX_SOCKET_PATH, address_family

FAMILIES = {"ipv4": int(socket.AF_INET), "ipv6": int(socket.AF_INET6)}
FAMILY_WORDS = {family: word for word, family in FAMILIES.items()}
ANY_FAMILY = int(socket.AF_UNSPEC)

MAX_PORT = 65535
# RFC 1035 2.3.4, as text without the dot at the end.
MAX_NAME = 253
# An underscore is no part of a host name, but some name servers have such hosts.
NAME = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?"
PORT = r"[0-9]{1,5}"

EXAMPLES = '"ipv4:127.0.0.1:22", "name:22", "[::1]:22" or "unix:/path/of/socket"'


class Onward(NamedTuple):
    """An address to connect to.

    `host` is a name or an address (IPv6 without brackets), with `port`.  `family` is that of the
    address, or the one that the name is looked up for (ANY_FAMILY: both).  Of a unix socket there is the
    `path` alone, "@name" for an abstract one.
    """

    host: str = ""
    port: int = 0
    family: int = ANY_FAMILY
    path: str = ""

    @property
    def is_literal(self) -> bool:
        """Whether `host` is an address, so that there is nothing to look up."""
        return address_family(self.host) != ANY_FAMILY

    def __str__(self) -> str:
        """As a configuration would have it, the family only where it makes a difference."""
        if self.path:
            return f"unix:{self.path}"
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        prefix = "" if self.is_literal or not self.family else FAMILY_WORDS[self.family] + ":"
        return f"{prefix}{self.host}:{self.port}"


def parse_onward(text: str) -> Onward:
    """The address that `text` describes; ValueError with a sentence for the administrator if none."""
    text = text.strip()
    try:
        return _parse(text)
    except ValueError as error:
        raise ValueError(f'"{text[:80]}" is no address to connect to: {error}') from None


def _parse(text: str) -> Onward:
    word, colon, rest = text.partition(":")
    word = word.lower()
    if word == "unix":
        return _unix(rest)
    if colon and word in FAMILIES:
        host, port = _split(rest)
        return Onward(host, port, _checked_family(host, FAMILIES[word]))
    host, port = _split(text)
    return Onward(host, port, address_family(host))


def _unix(path: str) -> Onward:
    if path[:1] not in ("/", "@") or len(path) < 2:
        raise ValueError('after "unix:" comes the full path of a socket, or "@" and the name of an abstract '
                         "one")
    if "\0" in path:
        raise ValueError("a path holds no NUL character")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ValueError(f"the path of a unix socket has at most {MAX_SOCKET_PATH} bytes")
    return Onward(path=path)


def _checked_family(host: str, family: int) -> int:
    """`family`, if `host` can belong to it."""
    if address_family(host) not in (ANY_FAMILY, family):
        raise ValueError(f'"{host}" has no place after "{FAMILY_WORDS[family]}:"')
    return family


def _split(text: str) -> Tuple[str, int]:
    """Host and port of "host:port" or "[address]:port"."""
    host, _, port = text.rpartition(":")
    if text.startswith("["):
        end = text.find("]")
        host, port = text[1:end], text[end + 2:]
        if end < 0 or text[end + 1:end + 2] != ":":
            raise ValueError('write the port as well, behind the bracket: "[::1]:22"')
        if address_family(host) != socket.AF_INET6:
            raise ValueError(f'"{host}" is no IPv6 address, and only those stand in brackets')
    elif text.count(":") > 1:
        raise ValueError('an IPv6 address stands in brackets, with the port behind them: "[::1]:22"')
    elif not host:
        raise ValueError(f"host and port are needed: write {EXAMPLES}")
    else:
        _check_name(host)
    if not re.fullmatch(PORT, port) or not 1 <= int(port) <= MAX_PORT:
        raise ValueError(f'"{port}" is no port: a number from 1 to {MAX_PORT}')
    return host, int(port)


def _check_name(host: str) -> None:
    if address_family(host) == socket.AF_INET:
        return
    if host.replace(".", "").isdigit():
        raise ValueError(f'"{host}" is no IPv4 address')
    if len(host) > MAX_NAME or not re.fullmatch(NAME, host):
        raise ValueError(f'"{host[:80]}" is no host name: letters, digits, dashes and dots, other letters in '
                         'their "xn--" form')
