"""What a proxy mount changes in an answer: fields that name places of the origin, and those of a page that is
rewritten.
"""

from __future__ import annotations

from typing import FrozenSet, List, Tuple

from lwsws.core.exchange import Exchange
from lwsws.wire.forwarding import end_to_end, response_fields
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


def answer_fields(exchange: Exchange, response: Response, paths: OriginPaths) -> List[Field]:
    """The fields of an origin's answer for the client."""
    headers = response.headers
    exchange.dated = "date" in headers.table and "date" not in exchange.headers.names
    fields = response_fields(headers, exchange.headers.names)
    if not MAPPED.isdisjoint(headers.table):
        fields = [(name, mapped(name.lower(), value, paths)) for name, value in fields]
    return fields


def mapped(name: str, value: str, paths: OriginPaths) -> str:
    """The value of the field `name` (lower case) with places of the origin as the client finds them."""
    if name in LOCATIONS:
        return paths.location_field(value)
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
    return [("Upgrade", chosen), ("Connection", "Upgrade"), *end_to_end(headers)]
