"""Paths on both sides of a proxy mount: ours below the mountpoint, the origin's below its location.

    http://us/p/x?q   <->   http://origin:8080/base/x?q         mountpoint "/p", location "/base"

Requests are mapped from left to right; what an answer says of the origin's own URLs, in Location, in the Path
of a cookie, in links, from right to left.  What is not the origin's, or not below its location, is left as
it is: nothing of ours stands for it.

No result begins with "//" or "/\\": browsers take these for the beginning of another site's name
(LESSONS 3.16).
"""

from __future__ import annotations

import re
from typing import Match, Optional, Sequence, Tuple

from lwsws.wire.target import parse_host, quote_path

DEFAULT_PORTS = {"http": 80, "https": 443}

# A URL with a host, or an absolute path: scheme, authority, path, query and fragment (RFC 3986 appendix B).
# A backslash ends the authority as well: browsers take it for a slash.
_URL = re.compile(
    r"(?:(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/?#\\\s]*))?(/[^?#]*)?((?:[?#].*)?)", re.DOTALL)
# What HTML takes for white space around the value of an attribute.
_HTML_SPACE = b"\t\n\f\r "
# What nearly all links look like: a path that means the same to everybody.
_PLAIN_LINK = re.compile(rb"/(?:[A-Za-z0-9_.~-]|\Z)")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class OriginPaths:
    """The mapping of one mount."""

    __slots__ = ("_base", "_link_mount", "_link_start", "_location", "_mount", "_names", "_schemes",
                 "_servers")

    def __init__(self, mountpoint: str, location: str, origins: Sequence[Tuple[str, str, int]]) -> None:
        """`mountpoint` is decoded, "" or "/" for the root; `location` is the origin's path as it is sent.

        `origins` are scheme, host (IPv6 without brackets) and port (0: the usual one) of each server behind
        the mount.
        """
        self._mount = quote_path(mountpoint.rstrip("/"))
        # The two that may end a quoted value, or begin a character reference, in HTML.
        self._link_mount = self._mount.replace("'", "%27").replace("&", "%26")
        self._link_start = self._link_mount.encode("latin-1")
        self._location = location or "/"
        self._base = self._location.rstrip("/")
        servers = [(scheme, host.lower(), port or DEFAULT_PORTS[scheme]) for scheme, host, port in origins]
        self._servers = frozenset(servers)
        self._schemes = frozenset(scheme for scheme, _, _ in servers)
        self._names = frozenset(host for _, host, _ in servers)

    def target(self, rest: str, query: Optional[str]) -> str:
        """The target for the origin: `rest` is the path (decoded) past the mountpoint, `query` as it came.

        Of the query only bytes that are not ASCII are changed: no URL may hold them (RFC 3986 2), and not
        every origin takes them.
        """
        path = self._base + quote_path(rest) if rest else self._location
        if query is None:
            return path
        return f"{path}?{query if query.isascii() else _NOT_ASCII.sub(_escape, query)}"

    def location_field(self, value: str, sent_host: str = "") -> str:
        """The value of a Location or Content-Location for the client.

        `sent_host` is the Host that the origin was sent, where that is not its own name.
        """
        # Browsers drop a tab wherever it is, so "/<tab>/" would be "//".
        found = _URL.fullmatch(value.replace("\t", "").strip(" "))
        if found is None:
            return value
        scheme, authority, path, rest = found.groups()
        if not self._is_ours(scheme, authority, path, sent_host):
            return value
        mapped = self._mapped(path or "/", self._mount)
        return value if mapped is None else mapped + rest

    def cookie(self, value: str) -> str:
        """The value of a Set-Cookie for the client (RFC 6265 4.1): another Path, no Domain of the origin's.

        A path of "/" alone stays: it covers the mountpoint as it covered the location.
        """
        if ";" not in value:
            return value
        first, *attributes = value.split(";")
        return ";".join([first, *(part for part in map(self._attribute, attributes) if part is not None)])

    def link(self, value: bytes) -> bytes:
        """The value of an HTML attribute that holds a URL, as it is in the document, for the client."""
        if _PLAIN_LINK.match(value) is not None and not self._base:
            return self._link_start + value
        inner = value.strip(_HTML_SPACE)
        if inner[:1] not in (b"/", b"h", b"H"):
            return value
        url = _URL.fullmatch(inner.decode("latin-1"))
        if url is None:
            return value
        scheme, authority, path, rest = url.groups()
        if not self._is_ours(scheme, authority, path, ""):
            return value
        path = path or "/"
        mapped = self._mapped(path, self._link_mount)
        # Browsers drop these wherever they are, and a character reference may stand for any of them.
        if mapped is None or (not self._link_mount and any(mark in path for mark in "\t\r\n&")):
            return value
        before = len(value) - len(value.lstrip(_HTML_SPACE))
        return value[:before] + (mapped + rest).encode("latin-1") + value[before + len(inner):]

    def _is_ours(
        self, scheme: Optional[str], authority: Optional[str], path: Optional[str], sent: str
    ) -> bool:
        """Whether a URL of these parts leads to one of the origins; a path alone does."""
        if authority is None:
            # "/\\x" is another site for a browser, as "//x" is.
            return path is not None and path[1:2] != "\\"
        if scheme is not None:
            scheme = scheme.lower()
            if scheme not in self._schemes:
                return False
        if sent and authority.lower() == sent.lower():
            return True
        try:
            name, port = parse_host(authority)
        except ValueError:
            return False
        host = name.strip("[]").removesuffix(".")
        if host not in self._names:
            return False
        schemes = self._schemes if scheme is None else (scheme,)
        return any((each, host, port or DEFAULT_PORTS[each]) in self._servers for each in schemes)

    def _mapped(self, path: str, mount: str) -> Optional[str]:
        """Below `mount` what is `path` below the location; None if it is not."""
        base = self._base
        if base and path != base and not path.startswith(base + "/"):
            return None
        rest = path[len(base):]
        if not mount and rest[1:2] in ("/", "\\"):
            return f"/%{ord(rest[1]):02X}{rest[2:]}"
        return mount + rest or "/"

    def _attribute(self, attribute: str) -> Optional[str]:
        """An attribute of a cookie for the client; None if it has to go."""
        name, _, value = attribute.partition("=")
        kind = name.strip(" \t").lower()
        value = value.strip(" \t")
        if kind == "path" and value[:1] == "/" and value != "/":
            mapped = self._mapped(value, self._mount)
            return attribute if mapped is None else f"{name}={mapped}"
        # RFC 6265 5.2.3: a dot in front is ignored.
        if kind == "domain" and value.removeprefix(".").lower() in self._names:
            return None
        return attribute


def _escape(octet: Match[str]) -> str:
    return f"%{ord(octet.group()):02X}"
