"""Header fields: the ordered list as it was sent, looked up without regard to case, and its syntax.

A field section is kept twice: as the list of (name, value) pairs in the order and spelling of the
sender, and as a table from lower-case name to value in which repeats are joined.  The table is made
in one pass, because nearly no message repeats a name; only one that does pays for the joining.

Values are latin-1 text: one character for each byte that was on the wire.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Sequence, Tuple

from lwsws.wire.errors import LocalProtocolError, RemoteProtocolError, excerpt

# RFC 9110 5.6.2: tchar, for use inside a character class.
TCHAR = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
# RFC 9110 5.5: what a value may hold: VCHAR, obs-text, and SP and HTAB between them.
FIELD_VCHAR = r"!-~\x80-\xff"

# More codings than anybody sends; the rest of a longer list is not looked at.
MAX_CODINGS = 32

_TOKEN = re.compile(f"[{TCHAR}]+")
_VALUE = re.compile(f"[\t {FIELD_VCHAR}]*")
# RFC 9110 8.6: 1*DIGIT, bounded to what 64 bits hold; int() alone would take "+1", "1_0" and " 1".
_CONTENT_LENGTH = re.compile(r"[0-9]{1,19}")
# RFC 9110 12.4.2: weight = OWS ";" OWS "q=" qvalue
_WEIGHT = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class Headers:
    """The header fields of one message: `items` as they were sent, `table` by lower-case name."""

    __slots__ = ("items", "table")

    def __init__(self, items: Sequence[Tuple[str, str]]) -> None:
        self.items: List[Tuple[str, str]] = list(items)
        self.table: Dict[str, str] = {name.lower(): value for name, value in items}
        if len(self.table) != len(items):
            self._join_repeats()

    def _join_repeats(self) -> None:
        values: Dict[str, List[str]] = {}
        for name, value in self.items:
            values.setdefault(name.lower(), []).append(value)
        # RFC 9110 5.3: the combined value is the list of the values, in order, separated by commas.
        self.table = {name: ", ".join(parts) for name, parts in values.items()}

    def get(self, name: str) -> Optional[str]:
        """The value of the field with this lower-case name, repeats joined by ", "; None if absent."""
        return self.table.get(name)

    def all(self, name: str) -> List[str]:
        """The values of all fields with this lower-case name, one for each field line."""
        if name not in self.table:
            return []
        return [value for sent, value in self.items if sent.lower() == name]

    def __contains__(self, name: object) -> bool:
        return name in self.table

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Headers({self.items!r})"


def is_token(text: str) -> bool:
    """Whether `text` is a token (RFC 9110 5.6.2): the syntax of methods and field names."""
    return _TOKEN.fullmatch(text) is not None


def tokens(value: str) -> List[str]:
    """The members of a comma list, in lower case, without white space and without empty ones.

    RFC 9110 5.6.1.2: a recipient has to accept empty members and to ignore them.
    """
    members = [part.strip(" \t") for part in value.lower().split(",")]
    return [member for member in members if member]


def content_length(value: str) -> int:
    """The number in the value of a Content-Length field, repeats joined; RemoteProtocolError 400 if none."""
    # A repeated field makes a value with a comma, refused like any other that is no number:
    # RFC 9112 6.3 would let equal ones pass, but then every server on the path has to do so.
    if _CONTENT_LENGTH.fullmatch(value) is None:
        raise RemoteProtocolError(400, f"Content-Length {excerpt(value)} is not one number")
    return int(value)


def check_coding(coding: str, length: Optional[str], version: str) -> None:
    """RemoteProtocolError unless a message in HTTP/`version` with the Transfer-Encoding `coding`, and the
    Content-Length `length` if not None, is in chunks and nothing else (RFC 9112 6.1)."""
    # Together with Content-Length, or in HTTP/1.0, it is an error or an attempt at smuggling or splitting.
    if length is not None:
        raise RemoteProtocolError(400, "both Transfer-Encoding and Content-Length")
    if version == "1.0":
        raise RemoteProtocolError(400, "Transfer-Encoding in HTTP/1.0")
    # RFC 9112 6.1: SHOULD respond with 501 to a coding it does not understand; chunked is all we do, and we
    # send no TE, by which an origin could use another one (7.4).
    if coding.lower() != "chunked":
        raise RemoteProtocolError(501, f"the Transfer-Encoding {excerpt(coding)} is not supported")


def keeps_alive(version: str, connection: Optional[str]) -> bool:
    """Whether the connection may be used again after a message ("1.0" or "1.1") with this Connection field.

    RFC 9112 9.3.
    """
    if connection is None:
        return version == "1.1"
    if connection.lower() == "keep-alive":
        return True  # what browsers send; the rule below says the same, only slower
    options = tokens(connection)
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


def check_field(name: str, value: str) -> None:
    """Raise LocalProtocolError unless this may be sent as a header field (RFC 9110 5.1 and 5.5)."""
    if not is_token(name):
        raise LocalProtocolError(f"{excerpt(name)} is no header field name")
    if _VALUE.fullmatch(value) is None:
        raise LocalProtocolError(f"header field {name}: {excerpt(value)} has a character that none may hold")


def accepted_codings(value: Optional[str]) -> Dict[str, float]:
    """The codings an Accept-Encoding value names, lower-case, each with its weight from 0.0 to 1.0.

    "*" is kept as it is; a member with a malformed weight is left out; the first of repeats counts.
    Empty if the field is absent (RFC 9110 12.5.3: then any coding goes, so the caller sends identity).
    """
    codings: Dict[str, float] = {}
    for member in (value or "").split(",", MAX_CODINGS)[:MAX_CODINGS]:
        coding, semicolon, parameter = member.partition(";")
        coding = coding.strip(" \t").lower()
        weight = _WEIGHT.fullmatch(parameter.strip(" \t"))
        if not is_token(coding) or (semicolon and weight is None):
            continue
        if coding == "x-gzip":  # RFC 9110 8.4.1.3: the same as gzip
            coding = "gzip"
        codings.setdefault(coding, float(weight.group(1)) if weight else 1.0)
    return codings
