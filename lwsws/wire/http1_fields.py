"""The field lines of an HTTP/1 head or trailer: bytes' text to pairs, or what is wrong with a line.

`parse_fields` reads a whole section.  Nearly every line on the wire is written in one way, `Name: value`
with a single space, and one pattern takes all such lines of a section in one go.  As soon as one line
is different, each goes through `parse_field`, which knows the full syntax and puts faults into words.

Strict on purpose (RFC 9112 2.2, 5.1, 5.2): a bare CR or LF, a NUL, a folded line, or white space before
the colon is where two servers on one path begin to read different requests out of the same bytes.
"""

from __future__ import annotations

import re
from typing import List, Optional, Tuple

from lwsws.wire.errors import RemoteProtocolError, excerpt
from lwsws.wire.headers import FIELD_VCHAR, TCHAR, is_token

# RFC 9112 5: field-line = field-name ":" OWS field-value OWS.  The look-ahead keeps the white space in
# front from being tried as a part of the value too, which would take quadratic time on a bad line.
_FIELD_LINE = re.compile(rf"([{TCHAR}]+):[\t ]*(?![\t ])([\t {FIELD_VCHAR}]*)\r\n")
# The same for the usual line: one space, then a value that is not empty and does not end in white space.
_USUAL_LINE = re.compile(rf"^([{TCHAR}]+): ([{FIELD_VCHAR}][\t {FIELD_VCHAR}]*)(?<![\t ])\r\n", re.MULTILINE)


def parse_fields(text: str, start: int, count: int) -> List[Tuple[str, str]]:
    """The (name, value) pairs of the field section that begins at `start` and is `count` lines long.

    `text` is latin-1; nothing but the empty line at the end of the section may follow.
    RemoteProtocolError 400 if a line is malformed.
    """
    items: List[Tuple[str, str]] = _USUAL_LINE.findall(text, start)
    # A match covers one line from its beginning to its end, so equal numbers mean every line.
    if len(items) == count:
        return items
    # Not splitlines(), which also splits at control characters that do not end a line here.
    return [parse_field(line + "\n") for line in text[start:].split("\n")[:count]]


def parse_field(line: str) -> Tuple[str, str]:
    """The name and the value in a field line, its line end included; RemoteProtocolError 400 if malformed."""
    found = _FIELD_LINE.fullmatch(line)
    if found is None:
        raise RemoteProtocolError(400, _fault(line))
    name, value = found.groups()
    return name, value.rstrip(" \t")


def _fault(line: str) -> str:
    """What is wrong with a line that is no field line."""
    fault = line_fault(line)
    if fault is not None:
        return fault
    # RFC 9112 5.2: a server MUST reject obs-fold or unfold it; nobody sends it with good intent.
    if line[0] in " \t":
        return "a header line begins with white space"
    name, colon, _ = line.partition(":")
    if not colon:
        return f"the header line {excerpt(line[:-2])} has no colon"
    # RFC 9112 5.1: no white space is allowed between the name and the colon.
    if name[-1:] in (" ", "\t"):
        return f"white space between the header name {excerpt(name.rstrip())} and its colon"
    if not is_token(name):
        return f"{excerpt(name)} is no header name"
    return f"the value of the header {excerpt(name)} has a control character"


def line_fault(line: str) -> Optional[str]:
    """What is wrong with the end of any line of a head, or with CR, LF and NUL inside it."""
    # RFC 9112 2.2: a recipient MAY take a lone LF as a line end; others do not, so we do not.
    if not line.endswith("\r\n"):
        return "a line ends in LF without CR"
    if "\r" in line[:-2]:
        return "a CR without LF"
    if "\0" in line:
        return "a NUL"
    return None
