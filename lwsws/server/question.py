"""From a URL, as somebody types it, to where and what a client would ask.

    http://name:port/path                  "http://" may be left out
    /path                                  asked of the first vhost
    unix:/run/a.sock:/path                 on a unix socket, written as the start-up lines write it
    unix:/run/a.sock:http://name/path      of another vhost there
"""

from __future__ import annotations

import re
import socket
from typing import Collection, NamedTuple, Sequence, Tuple
from urllib.parse import quote

from lwsws.config.model import VhostConfig
from lwsws.net.bind import address_family, interface_addresses
from lwsws.net.listening import Endpoint
from lwsws.wire.target import parse_host

DEFAULT_PORTS = {"http": 80, "https": 443}
UNIX = "unix:"
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Without the fragment, which clients keep to themselves.
URL = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
EXPECTED = "a URL is http://name:port/path"

# Sent as they are, beside letters and digits; everything else a browser would percent-encode as well.
URL_CHARACTERS = "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Unaskable(Exception):
    """No client could ask for the URL; the message says why."""


class Question(NamedTuple):
    """Where to ask (a port, or the path of a unix socket), with which Host, and for what, as it is sent."""

    scheme: str
    name: str
    port: int
    unix_path: str
    host: str
    target: str

    @property
    def is_secure(self) -> bool:
        """Whether it is asked over TLS."""
        return self.scheme == "https"

    @property
    def literal(self) -> str:
        """The name without the brackets of an IPv6 address."""
        return self.name.strip("[]")

    @property
    def place(self) -> str:
        """Where it is asked, for people."""
        if self.unix_path:
            return UNIX + self.unix_path
        return f"{self.literal} port {self.port}" if address_family(self.literal) else f"port {self.port}"

    @property
    def head(self) -> bytes:
        """The request; it accepts the codings that browsers accept."""
        return (f"GET {self.target} HTTP/1.1\r\nHost: {self.host}\r\nAccept-Encoding: gzip, br, zstd\r\n"
                "Connection: close\r\n\r\n").encode("ascii")


def read_url(vhosts: Sequence[VhostConfig], url: str) -> Question:
    """What a client that is given `url` asks; Unaskable if it has none of the forms in the module's text."""
    first, unix_path = vhosts[0], ""
    if url.startswith(UNIX):
        first, url = _unix_vhost(vhosts, url[len(UNIX):])
        unix_path = first.interface
    elif url.startswith("/") and first.unix_socket:
        unix_path = first.interface
    if url.startswith("/"):
        scheme = "https" if first.host_ssl_cert else "http"
        url = f"{scheme}://{first.name}:{first.port or DEFAULT_PORTS[scheme]}{url}"
    found = URL.match(url if SCHEME.match(url) else f"http://{url}")
    if found is None:
        raise Unaskable(f"{url!r} is neither http:// nor https://; {EXPECTED}")
    scheme, authority, rest = found.group(1).lower(), found.group(2), found.group(3)
    try:
        name, port = parse_host(authority)
    except ValueError as error:
        raise Unaskable(f"{error}; {EXPECTED}") from None
    if not name:
        raise Unaskable(f"{url!r} has no host name; {EXPECTED}")
    usual = DEFAULT_PORTS[scheme]
    host = name if port in (None, usual) else f"{name}:{port}"
    target = quote(rest if rest[:1] == "/" else f"/{rest}", URL_CHARACTERS, errors="surrogateescape")
    return Question(scheme, name, port or usual, unix_path, host, target)


def _unix_vhost(vhosts: Sequence[VhostConfig], text: str) -> Tuple[VhostConfig, str]:
    """The first vhost of the unix socket that `text` begins with, and what follows the socket's path."""
    on_sockets = [vhost for vhost in vhosts if vhost.unix_socket]
    for vhost in on_sockets:
        rest = text[len(vhost.interface):]
        if text.startswith(vhost.interface) and rest[:1] in ("", ":"):
            return vhost, rest[1:] or "/"
    known = ", ".join(dict.fromkeys(UNIX + vhost.interface for vhost in on_sockets))
    raise Unaskable(f"no vhost listens on {UNIX}{text}" + (f"; there is {known}" if known else ""))


def reaches(question: Question, endpoint: Endpoint, ports: Collection[int] = ()) -> bool:
    """Whether `question` may arrive at `endpoint`; names are not looked up, they may lead to any address.

    Where a socket that systemd passes listens, only the `port` of its vhosts tells: `ports`.
    """
    if endpoint.name and not question.unix_path:
        return question.port in ports
    if question.unix_path or endpoint.path:
        return endpoint.path == question.unix_path
    family = address_family(question.literal)
    if endpoint.port != question.port or (family and family != endpoint.family):
        return False
    if not family or endpoint.is_wildcard:
        return True
    listening = [endpoint.host]
    if endpoint.interface:
        listening = interface_addresses(endpoint.interface, family)
    wanted = socket.inet_pton(family, question.literal)
    return wanted in [socket.inet_pton(family, address.partition("%")[0]) for address in listening]
