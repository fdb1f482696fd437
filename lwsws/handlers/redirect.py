"""Redirects: mounts with a `>http://` origin, `redirect-http`, and the Location of our own paths with a slash
added.

Nothing of the request ends up in a Location as it came: paths are percent-encoded again after
decoding and normalising, and a Host is repeated only if it names the vhost itself.  So no request
can make a Location that begins with "//" or "/\\", which browsers take for another host, or that
ends the header line (LESSONS 3.16).
"""

from __future__ import annotations

import re
from typing import Optional

from lwsws.config.model import MountConfig
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.wire.target import quote_path

HTTP_PORT, HTTPS_PORT = 80, 443

# RFC 3986 3.4: what a query may hold; "%" is left alone because the query comes as it was sent.
NOT_QUERY = re.compile(r"[^!$%&'()*+,\-./0-9:;=?@A-Z_a-z~]")


class RedirectHandler(Handler):
    """Answers every request to its mount with a 301 to the configured URL."""

    def __init__(self, mount: MountConfig) -> None:
        self.target = mount.origin.target
        self.append_path = mount.append_path

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """WebSockets are sent elsewhere as well."""
        return True

    def begin(self, exchange: Exchange) -> None:
        """Send the redirect, whatever the method."""
        location = self.target
        if self.append_path:
            location = joined(location, exchange.rest, exchange.request.query)
        redirect(exchange, location)


class HttpsRedirectHandler(Handler):
    """Answers plain http on a TLS port with a 301 to the same by https (`redirect-http`)."""

    def __init__(self, port: int) -> None:
        """`port` is the TLS port itself, 0 on a unix socket."""
        self.port = port

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """WebSockets are sent elsewhere as well."""
        return True

    def begin(self, exchange: Exchange) -> None:
        """Send the redirect, whatever the method.

        To the Host as the client wrote it, for the port in it is the one that leads here, perhaps by way
        of a port forwarding; without a port it is the default one of both schemes.  A made-up Host is not
        repeated: that leads to the vhost's own name and port.
        """
        request = exchange.request
        name = exchange.vhost.name
        if request.host_name == name or request.host_name.endswith(f".{name}"):
            host = request.host.removesuffix(f":{HTTP_PORT}")
        else:
            host = name if self.port in (0, HTTPS_PORT) else f"{name}:{self.port}"
        redirect(exchange, f"https://{host}{quote_path(exchange.path)}{quoted_query(request.query)}")


class HttpsOnlyHandler(Handler):
    """Stands in for a vhost that is served over TLS alone, on a port where others are served without."""

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """WebSockets are sent elsewhere as well."""
        return True

    def begin(self, exchange: Exchange) -> None:
        """Refuse."""
        raise HttpError(421, "this site is served by https only")


def redirect(exchange: Exchange, location: str) -> None:
    """Answer with a 301 to `location`, ready for the header line."""
    exchange.cacheable = True
    exchange.respond(301, [("Location", location)])


def joined(target: str, rest: str, query: Optional[str]) -> str:
    """The configured URL `target` followed by `rest` of a path (decoded) and the query as it was sent."""
    if rest:
        target = target.removesuffix("/") + quote_path(rest)
    return target + quoted_query(query, "&" if "?" in target else "?")


def slash_location(exchange: Exchange) -> str:
    """Where a request for a directory without slash is sent: the same with slash, and its query.

    Absolute if the client asked for the vhost by its name, with the Host as it wrote it (it may
    hold a port); else a path only, which RFC 9110 10.2.2 allows, so that a made-up Host is not repeated.
    """
    request = exchange.request
    location = quote_path(exchange.path + "/") + quoted_query(request.query)
    if request.host_name != exchange.vhost.name:
        return location
    return f"{'https' if exchange.secure else 'http'}://{request.host}{location}"


def quoted_query(query: Optional[str], mark: str = "?") -> str:
    """`query` (raw, None for none) with `mark` in front and what no URL may hold percent-encoded."""
    if query is None:
        return ""
    return mark + NOT_QUERY.sub(lambda found: f"%{ord(found.group()):02X}", query)
