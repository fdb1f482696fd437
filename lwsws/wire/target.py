"""Request targets and hosts: from the raw text to the one path that everything else works with.

A path is decoded once and its dot segments are removed at once, here; routing, authentication and the
file system then all see the same string, so none of them can be talked into another reading of it.
The steps are: refuse what no target may hold; percent-decode to bytes; read these as UTF-8; then
resolve "//", "." and ".." with the root as the end of the way up.  "%2f" therefore separates segments
like "/" does, "%2e%2e" is "..", and "%252e" is the three characters "%2e".

Most targets need none of this; one pattern recognises them and they are taken as they are.
"""

from __future__ import annotations

import re
from typing import Dict, List, Match, NamedTuple, Optional, Tuple

from lwsws.wire.errors import RemoteProtocolError, excerpt

# The forms of RFC 9112 3.2; authority-form belongs to CONNECT, which is refused.
ORIGIN = "origin"
ABSOLUTE = "absolute"
ASTERISK = "asterisk"

MAX_PORT = 65535

# A path of printable ASCII without "%", "#" and "?", and perhaps a query.
_PLAIN = re.compile(r"""(/[!"$&->@-~]*)(?:\?([!"$-~\x80-\xff]*))?""")
# RFC 9112 3.2: no white space; RFC 3986 3.5: a fragment is never sent.  Bytes from 0x80 on are not in
# the grammar either, but clients send unescaped UTF-8 and mean what it says.
_FORBIDDEN = re.compile(r"[^!-~\x80-\xff]|#")
_ABSOLUTE = re.compile(r"https?://([^/?]*)([^?]*)(?:\?(.*))?", re.IGNORECASE)
_ESCAPE = re.compile(rb"%(..)")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# RFC 3986 3.3: pchar and "/" stand for themselves in a path.
_NOT_IN_PATH = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/]")

_REG_NAME_CHARACTERS = r"[A-Za-z0-9\-._~!$&'()*+,;=]*"
# RFC 3986 3.2.2 and 3.2.3, without IPvFuture, which nobody uses.
_HOST = re.compile(
    rf"(\[[0-9A-Fa-f:.]+\]|{_REG_NAME_CHARACTERS}(?:%[0-9A-Fa-f]{{2}}{_REG_NAME_CHARACTERS})*)"
    r"(?::([0-9]{1,5}))?"
)
_IPV6_GROUP = re.compile(r"[0-9A-Fa-f]{1,4}")
# dec-octet: no zero in front.
_IPV4_NUMBERS = frozenset(map(str, range(256)))
_IPV6_GROUPS = 8

# Nearly all requests to a server name the same few hosts, so their parse results are kept; bounded in
# number and length, since the peer chooses them.
MAX_KNOWN_HOSTS = 256
MAX_KNOWN_LENGTH = 255
_known_hosts: Dict[str, Tuple[str, Optional[int]]] = {}


class Target(NamedTuple):
    """A request target taken apart.

    `path` is decoded and normal and starts with "/" ("*" in asterisk-form); `query` is as it was sent,
    None without a "?"; `authority` is the host and port of absolute-form.
    """

    form: str
    path: str
    query: Optional[str]
    authority: Optional[str]


def parse_target(method: str, raw: str) -> Target:
    """Take the target `raw` (latin-1 text of its bytes) of a `method` request apart (RFC 9112 3.2).

    RemoteProtocolError 400 for what is no target, 501 for CONNECT.
    """
    # RFC 9112 3.2.3: only CONNECT has authority-form, and this is no proxy that could open tunnels.
    if method == "CONNECT":
        raise RemoteProtocolError(501, "CONNECT is not supported: this server is no proxy")
    plain = _PLAIN.fullmatch(raw)
    if plain is not None:
        path, query = plain.groups()
        if "//" not in path and "/." not in path:
            return Target(ORIGIN, path, query, None)
    if not raw or _FORBIDDEN.search(raw) is not None:
        raise RemoteProtocolError(400, f"the request target {excerpt(raw)} has a character it may not hold")
    if raw.startswith("/"):
        path, mark, rest = raw.partition("?")
        return Target(ORIGIN, normal_path(path), rest if mark else None, None)
    if raw == "*":
        return _asterisk(method)
    return _absolute(raw)


def _asterisk(method: str) -> Target:
    # RFC 9112 3.2.4: asterisk-form is only used for a server-wide OPTIONS request.
    if method != "OPTIONS":
        raise RemoteProtocolError(400, "the request target * is for OPTIONS only")
    return Target(ASTERISK, "*", None, None)


def _absolute(raw: str) -> Target:
    # RFC 9112 3.2.2: a server MUST accept the absolute-form, even though only proxies are sent it.
    found = _ABSOLUTE.fullmatch(raw)
    if found is None:
        raise RemoteProtocolError(400, f"the request target {excerpt(raw)} is neither a path nor an http URL")
    authority, path, query = found.groups()
    # RFC 9110 4.2.4: user information in a URL is there to deceive; treat it as an error.
    if "@" in authority:
        raise RemoteProtocolError(400, "the request target holds user information")
    # RFC 9110 4.2.1: a URL without a host is invalid.
    if not authority:
        raise RemoteProtocolError(400, "the request target is a URL without a host")
    return Target(ABSOLUTE, normal_path(path or "/"), query, authority)


def normal_path(raw: str) -> str:
    """The path `raw` (latin-1 text, starting with "/") decoded and without dot or empty segments.

    A slash at its end stays.  RemoteProtocolError 400 for bad escapes, NUL and what is not UTF-8.
    """
    data = raw.encode("latin-1")
    if b"%" in data:
        if _BAD_ESCAPE.search(data) is not None:
            raise RemoteProtocolError(400, f"the path {excerpt(raw)} has a % without two hex digits")
        data = _ESCAPE.sub(_unescape, data)
    try:
        path = data.decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteProtocolError(400, f"the path {excerpt(raw)} is not UTF-8") from None
    if "\0" in path:
        raise RemoteProtocolError(400, f"the path {excerpt(raw)} has a NUL")
    return _resolve_dots(path)


def _unescape(escape: Match[bytes]) -> bytes:
    return bytes((int(escape.group(1), 16),))


def _resolve_dots(path: str) -> str:
    """Remove empty, "." and ".." segments; the root has no parent (RFC 3986 5.2.4)."""
    segments: List[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            del segments[-1:]
        elif part and part != ".":
            segments.append(part)
    # "/a/." and "/a/b/.." name a directory, as "/a/" does.
    if segments and parts[-1] in ("", ".", ".."):
        segments.append("")
    return "/" + "/".join(segments)


def quote_path(path: str) -> str:
    """The decoded `path` percent-encoded, fit for a Location.

    It never starts with "//" or "/\\\\": browsers take these for the beginning of another site's name.
    """
    octets = path.encode("utf-8", "surrogateescape").decode("latin-1")
    quoted = _NOT_IN_PATH.sub(_escape, octets)
    return "/%2F" + quoted[2:] if quoted.startswith("//") else quoted


def _escape(octet: Match[str]) -> str:
    return f"%{ord(octet.group()):02X}"


def parse_host(value: str) -> Tuple[str, Optional[int]]:
    """The lower-case name and the port (None if there is none) of a Host value or an authority.

    An IPv6 address keeps its brackets.  The empty value is allowed (RFC 9110 7.2: sent where the target
    has no authority) and gives ("", None).  ValueError if malformed.
    """
    known = _known_hosts.get(value)
    if known is not None:
        return known
    host = _parse_host(value)
    if len(_known_hosts) >= MAX_KNOWN_HOSTS:
        _known_hosts.clear()
    if len(value) <= MAX_KNOWN_LENGTH:
        _known_hosts[value] = host
    return host


def _parse_host(value: str) -> Tuple[str, Optional[int]]:
    found = _HOST.fullmatch(value)
    if found is None:
        raise ValueError(f"{excerpt(value)} is no host")
    name, digits = found.groups()
    port = int(digits) if digits else None
    # RFC 3986 3.2.3 would let the port be empty, and its grammar lets the name; with a port it is no host.
    if port is not None and (not name or port > MAX_PORT):
        raise ValueError(f"{excerpt(value)} is no host and port")
    if name[:1] == "[" and not is_ipv6(name[1:-1]):
        raise ValueError(f"{excerpt(name)} is no IPv6 address")
    return name.lower(), port


def is_ipv6(text: str) -> bool:
    """Whether `text` is an IPv6address of RFC 3986 3.2.2, without brackets or zone."""
    left, gap, right = text.partition("::")
    groups = (left.split(":") if left else []) + (right.split(":") if right else [])
    count = len(groups)
    # The last 32 bits may be written as an IPv4 address, and only they, so never in front of a gap.
    if groups and "." in groups[-1] and (right or not gap):
        numbers = groups.pop().split(".")
        if len(numbers) != 4 or not _IPV4_NUMBERS.issuperset(numbers):
            return False
        count += 1  # it stands for two groups
    if not all(_IPV6_GROUP.fullmatch(group) for group in groups):
        return False
    return count < _IPV6_GROUPS if gap else count == _IPV6_GROUPS
