"""What a proxy mount changes in an answer: fields that name places of the origin, and those of a page that is
rewritten.

The head of a whole answer to GET depends on nothing but the bytes of the origin's head, so it is remembered
by them: a busy origin says the same, Date included, again and again within a second.  The same holds for
small pages as a whole, whose links take long to rewrite.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from lwsws.core.exchange import Exchange
from lwsws.wire.forwarding import response_fields
from lwsws.wire.headers import Headers, tokens
from lwsws.wire.http1_response import Response
from lwsws.wire.origin_paths import OriginPaths

Field = Tuple[str, str]

# RFC 9110 10.2.2 and 8.7.
LOCATIONS = frozenset(("location", "content-location"))
COOKIE = "set-cookie"
MAPPED = LOCATIONS | {COOKIE}

# What does not hold for a body that was changed: parts of it cannot be asked for, sums are wrong.
NOT_OF_CHANGED: FrozenSet[str] = frozenset(("accept-ranges", "content-digest", "content-md5", "digest",
                                            "repr-digest"))

# What is remembered for each mount: 1 MB of heads and 2 MB of pages.  If it is more, all is forgotten, which
# costs nothing.
MAX_KNOWN = 256
MAX_KNOWN_BYTES = 2048
MAX_PAGES = 64
MAX_PAGE_BYTES = 16384

HEAD_END = b"\r\n\r\n"
FINAL = b"HTTP/1.1 2"


def answer_fields(exchange: Exchange, response: Response, paths: OriginPaths, sent_host: str) -> List[Field]:
    """The fields of an origin's answer for the client; `sent_host` is the Host that the origin was sent, if
    that was the client's."""
    headers = response.headers
    exchange.dated = "date" in headers.table and "date" not in exchange.headers.names
    fields = response_fields(headers, exchange.headers.names)
    if not MAPPED.isdisjoint(headers.table):
        fields = [(name, mapped(name.lower(), value, paths, sent_host)) for name, value in fields]
    return fields


def mapped(name: str, value: str, paths: OriginPaths, sent_host: str) -> str:
    """The value of the field `name` (lower case) with places of the origin as the client finds them."""
    if name in LOCATIONS:
        return paths.location_field(value, sent_host)
    return paths.cookie(value) if name == COOKIE else value


def fields_of_changed(fields: List[Field]) -> List[Field]:
    """The fields of an answer whose body is changed on its way."""
    kept = [field for field in fields if field[0].lower() not in NOT_OF_CHANGED]
    return [(name, weak(value)) if name.lower() == "etag" else (name, value) for name, value in kept]


def weak(etag: str) -> str:
    """`etag` as that of a body that means the same, but has other bytes (RFC 9110 8.8.1)."""
    return etag if etag.startswith("W/") else f"W/{etag}"


def upgrade_fields(headers: Headers, asked: str) -> List[Field]:
    """The fields of a 101 for a client that has `asked` for these protocols; none if the origin has chosen
    another one."""
    chosen = headers.get("upgrade") or ""
    names = tokens(chosen)
    # RFC 9110 7.8: it must name what it switches to, and that must have been asked for.
    if not names or not set(names) <= set(tokens(asked)):
        return []
    return [("Upgrade", chosen), ("Connection", "Upgrade"), *response_fields(headers, frozenset())]


class Known(NamedTuple):
    """What a client gets: a head, or a whole page, and the length of the body that belongs to it."""

    payload: bytes
    length: int


class KnownAnswers:
    """Answers of one mount: heads by the bytes of the origin's head, pages by all bytes of the origin's."""

    __slots__ = ("_heads", "_pages")

    def __init__(self) -> None:
        self._heads: Dict[bytes, Known] = {}
        self._pages: Dict[bytes, Known] = {}

    def __len__(self) -> int:
        """How much is remembered."""
        return len(self._heads) + len(self._pages)

    def find(self, exchange: Exchange, data: bytes) -> Optional[Known]:
        """The whole answer to `exchange`, status 200, if `data` are one from the origin that is known, whole
        and with nothing behind it."""
        if not _is_usual(exchange) or not exchange.may_keep_alive:
            return None
        end = data.find(HEAD_END) + len(HEAD_END)
        known = self._heads.get(data[:end])
        if known is None:
            return self._pages.get(data) if len(data) <= MAX_PAGE_BYTES else None
        if len(data) - end != known.length:
            return None
        return Known(known.payload + data[end:], known.length)

    def note(self, exchange: Exchange, response: Response, data: bytes) -> None:
        """`exchange` was answered with `response`, whose body was not changed and which came as `data`:
        remember the head that it has got."""
        length, payload = response.content_length, exchange.payload
        end = data.find(HEAD_END) + len(HEAD_END)
        if not length or len(data) - end != length or end > MAX_KNOWN_BYTES or payload is None:
            return
        if _is_constant(exchange, response):
            if len(self._heads) >= MAX_KNOWN:
                self._heads.clear()
            self._heads[data[:end]] = Known(payload[:len(payload) - length], length)

    def note_page(self, exchange: Exchange, response: Response, data: bytes) -> None:
        """The same for a page that was rewritten, behind which nothing came: remember all of it."""
        payload = exchange.payload
        if payload is None or len(payload) > MAX_PAGE_BYTES or len(data) > MAX_PAGE_BYTES:
            return
        if not data.startswith(FINAL):
            return      # an interim answer in front of it has gone to the client
        if _is_constant(exchange, response):
            if len(self._pages) >= MAX_PAGES:
                self._pages.clear()
            self._pages[data] = Known(payload, exchange.body_bytes)


def _is_constant(exchange: Exchange, response: Response) -> bool:
    """Whether another such request would get the same for the same bytes of the origin."""
    if response.status != 200 or not response.keep_alive or not (exchange.dated and exchange.keep_alive):
        return False
    return _is_usual(exchange) and MAPPED.isdisjoint(response.headers.table)


def _is_usual(exchange: Exchange) -> bool:
    """Whether the head of its answer depends on that of the origin alone."""
    request = exchange.request
    return request.method == "GET" and request.version == "1.1"
