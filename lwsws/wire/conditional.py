r"""Conditional requests and ranges: which part of a file, if any, a request is to get.

Pure decisions.  `evaluate` takes the request's header fields and what is known of the selected
representation (entity tag, modification time, size) and says 200, 206, 304, 412 or 416.  The
order is that of RFC 9110 13.2.2:

    If-Match, else If-Unmodified-Since      not met -> 412
    If-None-Match, else If-Modified-Since   not met -> 304 for GET and HEAD, else 412
    Range, unless If-Range stands against it        -> 206 or 416
    otherwise                                       -> 200

A date that cannot be read, a range unit other than bytes and a malformed range set count as
absent.  The work is linear in the length of the fields, and what a 206 sends is never more than
the file: overlapping ranges are merged, and a set of more than MAX_RANGES gets the whole file.
"""

from __future__ import annotations

import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

from lwsws.wire.dates import parse_date
from lwsws.wire.headers import Headers

# More parts than any download manager or PDF viewer asks for; LESSONS 3.10.
MAX_RANGES = 16

# Positions with more digits lie past the end of any file (2**63 has 19) and are not worth an int().
MAX_DIGITS = 19
BEYOND = 10 ** MAX_DIGITS

Range = Tuple[int, int]


class Verdict(NamedTuple):
    """The status to answer with, and for 206 the ranges to send: first and last byte, inclusive."""

    status: int
    ranges: Tuple[Range, ...]


WHOLE = Verdict(200, ())
NOT_MODIFIED = Verdict(304, ())
FAILED = Verdict(412, ())
UNSATISFIABLE = Verdict(416, ())

# RFC 9110 8.8.3: entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE, here with what may stand before it in a list.
TAG = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|\Z)')
# RFC 9110 14.1.1: int-range or suffix-range.  "-" alone fits too and is sorted out by hand.
SPEC = re.compile(r"([0-9]*)-([0-9]*)")


def make_etag(size: int, mtime_ns: int) -> str:
    """The strong entity tag of a file of `size` bytes last changed at `mtime_ns` (RFC 9110 8.8.3)."""
    return f'"{size:x}-{mtime_ns:x}"'


def is_conditional(headers: Headers) -> bool:
    """Whether `evaluate` could say anything but 200; asked for each request, so written out."""
    return ("if-none-match" in headers or "if-modified-since" in headers or "range" in headers
            or "if-match" in headers or "if-unmodified-since" in headers)


def evaluate(method: str, headers: Headers, etag: str, mtime: int, size: int,
             now: Optional[int] = None) -> Verdict:
    """Decide what a request gets of a representation with `etag` (quoted), `mtime` (seconds) and `size`.

    `now`, in the same seconds as `mtime`, lets a date in If-Range be recognised as too fresh to
    mean anything.  RFC 9110 13.2.2.
    """
    if not is_conditional(headers):
        return WHOLE
    if not _may_proceed(headers, etag, mtime):
        return FAILED
    reading = method in ("GET", "HEAD")
    if _client_has_it(headers, etag, mtime, reading):
        return NOT_MODIFIED if reading else FAILED
    # RFC 9110 14.2: range handling is defined for GET only.
    if method == "GET" and "range" in headers and _if_range_holds(headers, etag, mtime, now):
        return _apply_range(headers.get("range") or "", size)
    return WHOLE


def _may_proceed(headers: Headers, etag: str, mtime: int) -> bool:
    """Steps 1 and 2: If-Match, or If-Unmodified-Since where it is absent."""
    wanted = headers.get("if-match")
    if wanted is not None:
        # RFC 9110 13.1.1: strong comparison, so a weak tag of the client never matches.
        return wanted == "*" or any(tag == etag and not weak for weak, tag in _entity_tags(wanted))
    date = _date(headers, "if-unmodified-since")
    return date is None or mtime <= date


def _client_has_it(headers: Headers, etag: str, mtime: int, reading: bool) -> bool:
    """Steps 3 and 4: If-None-Match, or If-Modified-Since where it is absent and we are `reading`."""
    known = headers.get("if-none-match")
    if known is not None:
        # RFC 9110 13.1.2: weak comparison.
        return known == "*" or any(tag == etag for _, tag in _entity_tags(known))
    if not reading:
        return False
    date = _date(headers, "if-modified-since")
    return date is not None and mtime <= date


def _if_range_holds(headers: Headers, etag: str, mtime: int, now: Optional[int]) -> bool:
    """Step 5: whether the Range is to be obeyed (RFC 9110 13.1.5)."""
    validator = headers.get("if-range")
    if validator is None:
        return True
    if validator.startswith(('"', "W/")):
        # Strong comparison; our tags are strong and start with a quote, so W/ never equals one.
        return validator == etag
    # RFC 9110 8.8.2.2: a date is a strong validator only if the second it names is over.
    if now is not None and now <= mtime:
        return False
    return parse_date(validator) == mtime


def _date(headers: Headers, name: str) -> Optional[int]:
    """The date in field `name`; None if there is none or it is malformed (RFC 9110 13.1.3, 13.1.4)."""
    value = headers.get(name)
    return None if value is None else parse_date(value)


def _entity_tags(value: str) -> Iterator[Tuple[bool, str]]:
    """The tags of a list as (weak, quoted tag), up to the first that is malformed."""
    found = TAG.match(value)
    while found is not None:
        yield found.group(1) is not None, found.group(2)
        found = TAG.match(value, found.end())


def _apply_range(value: str, size: int) -> Verdict:
    """The verdict on a Range field for a representation of `size` bytes (RFC 9110 14.2)."""
    unit, _, range_set = value.partition("=")
    # RFC 9110 14.1: unit names ignore case; one that is not understood must be ignored.
    if unit.lower() != "bytes":
        return WHOLE
    specs = [spec.strip(" \t") for spec in range_set.split(",")]
    specs = [spec for spec in specs if spec]
    if not specs or len(specs) > MAX_RANGES:
        return WHOLE
    ranges: List[Range] = []
    for spec in specs:
        bounds = _bounds(spec, size)
        if bounds is None:
            return WHOLE
        if bounds[0] <= bounds[1]:
            ranges.append(bounds)
    if not ranges:
        # Clients that add "bytes=0-" to every request must not get an error for an empty file.
        return UNSATISFIABLE if size else WHOLE
    return Verdict(206, tuple(_merged(ranges)))


def _bounds(spec: str, size: int) -> Optional[Range]:
    """One range-spec cut to `size`; (1, 0) if nothing is left of it, None if it is malformed."""
    found = SPEC.fullmatch(spec)
    if found is None or spec == "-":
        return None
    first, last = (_position(digits) for digits in found.groups())
    if first is None:
        # A suffix: the last `last` bytes, or all of a shorter file.
        first, last = max(size - (last or 0), 0), None
    # RFC 9110 14.1.1: last before first makes the whole set invalid.
    if last is not None and last < first:
        return None
    if first >= size:
        return 1, 0
    return first, size - 1 if last is None else min(last, size - 1)


def _position(digits: str) -> Optional[int]:
    """The number written in `digits`, None for none; never slow, however many there are."""
    if not digits:
        return None
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= MAX_DIGITS else BEYOND


def _merged(ranges: List[Range]) -> List[Range]:
    """`ranges` as asked for if they are disjoint, else in file order with overlaps made one.

    RFC 9110 15.3.7.2 lets a server coalesce ranges that overlap or touch.
    """
    ordered = sorted(ranges)
    joined = ordered[:1]
    for first, last in ordered[1:]:
        if first > joined[-1][1] + 1:
            joined.append((first, last))
        else:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
    return ranges if len(joined) == len(ranges) else joined
