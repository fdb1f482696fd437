"""Whether the first bytes of a connection begin an HTTP request, asked before anybody has read them.

A port with a fallback serves HTTP and something else side by side, and the fewer bytes it takes to tell them
apart, the sooner the other side gets its answer.  So this looks at the method and the first characters of the
target only, and says "no" as soon as no further byte could make a request of it.  Whether the rest is one,
the request reader finds out.
"""

from __future__ import annotations

from typing import Iterable, Optional

from lwsws.wire.request import METHODS

_METHODS = tuple(method.encode("ascii") for method in METHODS)
# origin-form, asterisk-form and absolute-form (RFC 9112 3.2); no method here takes authority-form.
_TARGETS = (b"/", b"*", b"http://", b"https://")
# All that is ever looked at: an empty line, the longest method, a space, the longest beginning of a target.
_ENOUGH = 2 + max(map(len, _METHODS)) + 1 + max(map(len, _TARGETS))


def begins_like_http(data: bytes) -> Optional[bool]:
    """Whether `data`, all that has come so far, begins an HTTP/1 request; None: too little to tell.

    True from the beginning of the target on: `GET /`, `OPTIONS *`, `GET http://`.
    """
    line = data[:_ENOUGH]
    # RFC 9112 2.2: ignore at least one empty line received prior to the request line.
    if line.startswith(b"\r\n"):
        line = line[2:]
    elif line == b"\r":
        return None
    method, space, target = line.partition(b" ")
    if not space:
        return _may_become(method, _METHODS)
    if method not in _METHODS:
        return False
    # RFC 3986 3.1: schemes are case-insensitive.
    target = target.lower()
    return target.startswith(_TARGETS) or _may_become(target, _TARGETS)


def _may_become(beginning: bytes, wholes: Iterable[bytes]) -> Optional[bool]:
    """None if `beginning` may yet become one of `wholes`, False if not."""
    return None if any(whole.startswith(beginning) for whole in wholes) else False
