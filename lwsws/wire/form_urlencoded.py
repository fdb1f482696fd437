"""Forms as application/x-www-form-urlencoded: `name=value&name=value` (WHATWG URL 5.1).

`+` is a space and %XX an octet; a % without two hex digits is an error.  The reader is in one of three
states, and an entry without a value has the empty one:

    NAME --Part--> VALUE --PartData--> ... --> PART_END --PartEnd--> NAME ... --FormEnd

Names are UTF-8 with replacement; values come as bytes.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Callable, Dict, Optional, Tuple

from lwsws.wire.form_parts import (
    DEFAULT_LIMITS,
    FORM_END,
    PART_END,
    FormError,
    FormEvent,
    FormLimits,
    FormReader,
    Part,
)

# An octet takes at most so many bytes: "%41".
ESCAPE_BYTES = 3

_SEPARATORS = re.compile(rb"&+")
_NAME_END = re.compile(rb"[=&]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_DIGITS = "0123456789abcdefABCDEF"
# What stands behind a "%", and the octet that it means.
_OCTETS: Dict[bytes, bytes] = {
    (high + low).encode("ascii"): bytes.fromhex(high + low) for high in _DIGITS for low in _DIGITS
}


class State(Enum):
    """What comes next."""

    NAME = "name"
    VALUE = "value"
    PART_END = "part end"


class UrlencodedReader(FormReader):
    """Reads one form."""

    __slots__ = ("_scanned", "_state")

    def __init__(self, limits: FormLimits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)
        self._state = State.NAME
        self._scanned = 0  # of the buffer: so many bytes of a name, without its end

    def _read(self) -> Optional[FormEvent]:
        return _READERS[self._state](self)

    def _read_name(self) -> Optional[FormEvent]:
        buffer = self._buffer
        separators = _SEPARATORS.match(buffer)
        if separators is not None:
            del buffer[: separators.end()]
        found = _NAME_END.search(buffer, self._scanned)
        size = len(buffer) if found is None else found.start()
        if size > ESCAPE_BYTES * self._limits.name:
            raise FormError(413, f"a name in the form is over {self._limits.name} bytes")
        if found is None and (not self._eof or not size):
            self._scanned = size
            return FORM_END if self._eof else None
        name, sound = decode(bytes(buffer[:size]))
        if not sound:
            raise _bad_escape()
        has_value = found is not None and found.group() == b"="
        del buffer[: size + has_value]
        self._scanned = 0
        self._state = State.VALUE
        return self._begin(Part(name.decode("utf-8", "replace")))

    def _read_value(self) -> Optional[FormEvent]:
        buffer = self._buffer
        end = buffer.find(b"&")
        complete = end >= 0 or self._eof
        if end < 0:
            end = len(buffer) if complete else _without_begun_escape(buffer)
        data, sound = decode(bytes(buffer[:end]))
        del buffer[:end]
        if not sound:
            self._fault = _bad_escape()
        event = self._value(data)
        if complete and self._fault is None:
            self._state = State.PART_END
            if event is None:
                return self._end_part()
        return event

    def _end_part(self) -> Optional[FormEvent]:
        self._state = State.NAME
        return PART_END


_READERS: Dict[State, Callable[[UrlencodedReader], Optional[FormEvent]]] = {
    State.NAME: UrlencodedReader._read_name,
    State.VALUE: UrlencodedReader._read_value,
    State.PART_END: UrlencodedReader._end_part,
}


def decode(raw: bytes) -> Tuple[bytes, bool]:
    """`raw` up to its first bad escape, decoded, and whether there is none."""
    raw = raw.replace(b"+", b" ")
    if b"%" not in raw:
        return raw, True
    bad = _BAD_ESCAPE.search(raw)
    first, *rest = (raw if bad is None else raw[: bad.start()]).split(b"%")
    pieces = [first]
    for piece in rest:
        pieces.append(_OCTETS[piece[:2]])
        pieces.append(piece[2:])
    return b"".join(pieces), bad is None


def _without_begun_escape(buffer: bytearray) -> int:
    """How much of `buffer` is in front of an escape that more bytes may complete."""
    begun = buffer.rfind(b"%", max(0, len(buffer) - ESCAPE_BYTES + 1))
    return len(buffer) if begun < 0 else begun


def _bad_escape() -> FormError:
    return FormError(400, "the form has a % without two hex digits")
