"""What a proxy changes in the fields of a message: RFC 9110 7.6, RFC 7239, and the X-Forwarded ones.

To the origin goes what the client sent but for what is meant for one connection only (`end_to_end`), and what
tells the origin who the client is: that we say ourselves, and copies of it in the request are believed only
if the peer is a proxy that the configuration trusts (LESSONS 3.12, 3.33).  Host and the framing fields are
left out in both directions: whoever writes the message knows them.

To the client goes what the origin sent, again end to end, but for the fields that the configuration sets.
"""

from __future__ import annotations

import re
from typing import FrozenSet, List, NamedTuple, Sequence, Tuple

from lwsws.wire.errors import LocalProtocolError, excerpt
from lwsws.wire.headers import TCHAR, Headers, is_token, tokens
from lwsws.wire.http1_write import fixed_fields

Field = Tuple[str, str]

# RFC 9110 7.6.1, and those that are from one hop to the next in RFC 2616 13.5.1 and RFC 7540 3.2.1.
# Trailers are not passed on, so Trailer has nothing to announce.
HOP_BY_HOP: FrozenSet[str] = frozenset((
    "connection", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authentication-info",
    "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"))

# Our name in Via (RFC 9110 7.6.3: a pseudonym will do).
PSEUDONYM = "lwsws"

# What the peer says instead of an address if it has none, as one on a unix socket (RFC 7239 6.2).
UNKNOWN = "unknown"

# Said by us, and believed from a trusted peer only.
_TOLD = frozenset(("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via"))
_NOT_FOR_ORIGIN = HOP_BY_HOP | _TOLD | frozenset(("host", "content-length", "expect", "x-real-ip", "proxy"))
_NOT_FOR_CLIENT = HOP_BY_HOP | frozenset(("content-length",))
# Connection as nearly all messages have it names nothing but fields that go anyway.
_USUAL_CONNECTION = frozenset((None, "keep-alive", "close", "Keep-Alive", "upgrade", "Upgrade"))

_REQUEST_LINE = re.compile(rf"[{TCHAR}]+ [!-~\x80-\xff]+")


class Hop(NamedTuple):
    """What is known of the connection that a request came by.

    `peer` is an address, or anything else for who has none; `host` is the Host of the request ("" for none);
    `trusted` says that the peer is a proxy whose word counts; `version` is the HTTP version of the request.
    """

    peer: str
    secure: bool
    host: str
    trusted: bool = False
    version: str = "1.1"


def end_to_end(headers: Headers) -> List[Field]:
    """The fields that are meant for the other end: all but HOP_BY_HOP and those that Connection names."""
    return _without(headers, HOP_BY_HOP)


def request_fields(headers: Headers, hop: Hop) -> List[Field]:
    """The client's fields for the origin, and those that tell of `hop`.

    Of the former neither Host nor Content-Length nor Expect, which depend on how the request is sent on; the
    latter are X-Forwarded-For, -Proto and -Host, Forwarded and Via.
    """
    fields = _without(headers, _NOT_FOR_ORIGIN)
    # "X_Real_IP" and "X-Real-IP" are one variable for a program behind the origin, and so is what has any
    # other character there; names are ASCII, so this is about all but letters, digits and dashes.
    names = "".join(headers.table)
    if not names.replace("-", "").isalnum() or (not hop.trusted and "x-forwarded" in names):
        fields = [field for field in fields if _is_forwarded(field[0], hop.trusted)]
    return fields + _told(headers, hop)


def loops(headers: Headers) -> int:
    """How often a request went through a server of our name already, by its Via."""
    via = headers.table.get("via")
    if via is None or PSEUDONYM not in via:
        return 0
    # RFC 9110 7.6.3: received-protocol RWS received-by [ RWS comment ]
    return sum(member.split()[1:2] == [PSEUDONYM] for member in via.split(","))


def response_fields(headers: Headers, replaced: FrozenSet[str]) -> List[Field]:
    """The origin's fields for the client, without Content-Length and without those named in `replaced`.

    `replaced` holds names in lower case.
    """
    return _without(headers, _NOT_FOR_CLIENT | replaced if replaced else _NOT_FOR_CLIENT)


def request_head(method: str, target: str, fields: Sequence[Field]) -> bytes:
    """The head of a request, up to and with the empty line.

    LocalProtocolError on control characters, on white space in `method` or `target`, and on text beyond
    latin-1 (LESSONS 3.9).
    """
    line = f"{method} {target}"
    if _REQUEST_LINE.fullmatch(line) is None:
        raise LocalProtocolError(f"{excerpt(line)} is no method and target")
    return line.encode("latin-1") + b" HTTP/1.1\r\n" + fixed_fields(fields) + b"\r\n"


def _without(headers: Headers, names: FrozenSet[str]) -> List[Field]:
    """The fields but those of `names` and those that Connection names (RFC 9110 7.6.1)."""
    connection = headers.table.get("connection")
    if connection not in _USUAL_CONNECTION:
        names = names | frozenset(tokens(connection or ""))
    return [field for field in headers.items if field[0].lower() not in names]


def _is_forwarded(name: str, trusted: bool) -> bool:
    """Whether a field of the client's with this name may go to the origin."""
    if not name.replace("-", "").isalnum():
        return False
    return trusted or not name.lower().startswith("x-forwarded")


def _told(headers: Headers, hop: Hop) -> List[Field]:
    """What we tell the origin of the client."""
    get = headers.table.get
    name = _address(hop.peer)
    proto = "https" if hop.secure else "http"
    forwarded = _forwarded(name, proto, hop.host)
    host = hop.host
    via = f"{hop.version} {PSEUDONYM}"
    if "via" in headers.table:
        via = f"{get('via')}, {via}"
    if hop.trusted:
        name = ", ".join(filter(None, (get("x-forwarded-for"), name)))
        forwarded = ", ".join(filter(None, (get("forwarded"), forwarded)))
        # The first proxy knows what the client asked for; we only see how the last one asks.
        proto = get("x-forwarded-proto") or proto
        host = get("x-forwarded-host") or host
    fields = [("X-Forwarded-For", name), ("X-Forwarded-Proto", proto), ("Forwarded", forwarded), ("Via", via)]
    if host:
        fields.append(("X-Forwarded-Host", host))
    return fields


def _address(peer: str) -> str:
    """`peer` without the zone of an IPv6 address, which means nothing elsewhere; UNKNOWN for no address."""
    return peer.partition("%")[0] if ":" in peer or "." in peer else UNKNOWN


def _forwarded(name: str, proto: str, host: str) -> str:
    """One element of Forwarded (RFC 7239 4)."""
    # RFC 7239 6: an IPv6 address stands in brackets, and so in quotes.
    node = f'"[{name}]"' if ":" in name else name
    element = f"for={node};proto={proto}"
    if not host:
        return element
    return f"{element};host={host if is_token(host) else _quoted(host)}"


def _quoted(text: str) -> str:
    """`text` as a quoted-string (RFC 9110 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
