"""The opening handshake of a WebSocket, on the server's side (RFC 6455 4.2): pure decisions on a request.

    check_upgrade()         may the client have a WebSocket, and what proves that we understood it?
    offered_subprotocols()  which it could speak; the caller chooses
    origin_allowed()        whether the page it runs on is one of ours
    response_fields()       the answer, but for the status 101

What is wrong with a handshake is said by HandshakeRefused, with the status and the fields to answer.  The
original took nearly everything; a browser sends nothing of what is refused here.
"""

from __future__ import annotations

import re
from typing import List, Optional, Sequence, Tuple

from lwsws.wire.errors import excerpt
from lwsws.wire.headers import is_token, tokens
from lwsws.wire.request import Request
from lwsws.wire.ws_deflate import (
    DEFAULT_SETTINGS,
    PERMESSAGE_DEFLATE,
    DeflateParams,
    DeflateSettings,
    accepted_offer,
)
from lwsws.wire.ws_extensions import parse_extensions

__all__ = [
    "DeflateParams",
    "DeflateSettings",
    "HandshakeRefused",
    "check_upgrade",
    "negotiate_deflate",
    "offered_subprotocols",
    "origin_allowed",
    "response_fields",
]

Fields = List[Tuple[str, str]]

VERSION = "13"

# RFC 6455 1.3: what the key is hashed with, so that nothing but a WebSocket server answers by accident.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# RFC 6455 4.1: 16 bytes in base64.  The last character of the 22 holds two bits of them, the others being 0.
_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")

# RFC 6454 6.2: scheme "://" host [":" port]; a host in brackets is an IPv6 address.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s\[\]:/?#@,]+)(?::([0-9]+))?")
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class HandshakeRefused(Exception):
    """Answer with `status` and `fields`, and say `why`; the connection stays what it was."""

    def __init__(self, status: int, why: str, fields: Sequence[Tuple[str, str]] = ()) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why
        self.fields: Fields = list(fields)

    def __str__(self) -> str:
        return f"{self.status}: {self.why}"


def check_upgrade(request: Request) -> str:
    """The Sec-WebSocket-Accept for a request whose Upgrade names it; HandshakeRefused if it breaks a rule."""
    # RFC 6455 4.1, 2.: the method MUST be GET, and the HTTP version at least 1.1.
    if request.method != "GET":
        raise HandshakeRefused(405, "a WebSocket is opened by GET", [("Allow", "GET")])
    if request.version == "1.0":
        raise HandshakeRefused(400, "a WebSocket needs HTTP/1.1")
    # Its bytes would be taken for frames.
    if request.has_body:
        raise HandshakeRefused(400, "a WebSocket handshake has no body")
    if "upgrade" not in tokens(request.headers.get("connection") or ""):
        raise HandshakeRefused(400, "Upgrade is not named by Connection")
    # RFC 6455 4.4: any other version gets 426 and the one that we speak.
    if request.headers.get("sec-websocket-version") != VERSION:
        fields = [("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        raise HandshakeRefused(426, f"version {VERSION} of the WebSocket protocol is spoken here", fields)
    # Repeated ones were joined by a comma, which is no base64.
    key = request.headers.get("sec-websocket-key")
    if key is None or _KEY.fullmatch(key) is None:
        raise HandshakeRefused(400, "Sec-WebSocket-Key is missing or is not 16 bytes of base64")
    return accept_value(key)


def accept_value(key: str) -> str:
    """The proof for this Sec-WebSocket-Key (RFC 6455 4.2.2, 5.4.)."""
    # Loads OpenSSL, which a server without TLS and WebSockets never needs.
    from binascii import b2a_base64
    from hashlib import sha1

    return b2a_base64(sha1(key.encode() + _GUID, usedforsecurity=False).digest(), newline=False).decode()


def offered_subprotocols(request: Request) -> List[str]:
    """The client's subprotocols, in the order of its preference; [] without any (RFC 6455 4.1, 10.)."""
    names: List[str] = []
    for line in request.headers.all("sec-websocket-protocol"):
        # RFC 9110 5.6.1.2: empty members of a list are ignored.
        names += [name for part in line.split(",") if (name := part.strip(" \t"))]
    for name in names:
        if not is_token(name):
            raise HandshakeRefused(400, f"the subprotocol {excerpt(name)} is no token")
    if len(set(names)) != len(names):
        raise HandshakeRefused(400, "a subprotocol is offered twice")
    return names


def negotiate_deflate(
    request: Request, settings: DeflateSettings = DEFAULT_SETTINGS
) -> Optional[DeflateParams]:
    """The parameters of the first offer of permessage-deflate that can be accepted; None: it is not used.

    HandshakeRefused 400 if Sec-WebSocket-Extensions is malformed (RFC 6455 9.1).
    """
    # Several lines are one list.
    value = request.headers.get("sec-websocket-extensions")
    if value is None:
        return None
    try:
        offers = parse_extensions(value)
    except ValueError as error:
        raise HandshakeRefused(400, f"Sec-WebSocket-Extensions: {error}") from None
    for name, parameters in offers:
        if name == PERMESSAGE_DEFLATE:
            params = accepted_offer(parameters, settings)
            if params is not None:
                return params
    return None


def response_fields(accept: str, subprotocol: str = "", params: Optional[DeflateParams] = None) -> Fields:
    """The header fields of the 101 (RFC 6455 4.2.2, 5.); "WebSocket" is spelled as the original does."""
    fields = [("Upgrade", "WebSocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    if subprotocol:
        fields.append(("Sec-WebSocket-Protocol", subprotocol))
    if params is not None:
        fields.append(("Sec-WebSocket-Extensions", str(params)))
    return fields


def origin_allowed(origin: Optional[str], allowed: Sequence[str]) -> bool:
    """Whether a page of `origin`, the value of that field, may connect, where those of `allowed` may.

    No Origin means no browser, against whose users the check is (RFC 6455 10.2), so that is allowed.  Case
    does not matter, nor does a port that is the scheme's own; "null", a page from nowhere, has to be listed.
    """
    if origin is None:
        return True
    wanted = _normal_origin(origin)
    return any(_normal_origin(one) == wanted for one in allowed)


def _normal_origin(origin: str) -> str:
    origin = origin.strip(" \t").lower()
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return origin  # "null", or something that equals nothing but itself
    scheme, host, port = found.groups()
    port = (port or "").lstrip("0")
    return f"{scheme}://{host}" if port in ("", _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"
