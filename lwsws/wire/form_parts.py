"""What readers of both kinds of forms have in common: their events, their limits, their faults.

    Part  PartData ...  PartEnd   Part  PartData ...  PartEnd   ...   FormEnd

A part is one entry of the form, a value or a file.  Its data comes in pieces, as it was received, so a form
may be larger than the memory; what has to be held is limited in bytes each.  What is given out before a
fault does not depend on how the bytes were cut into pieces.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Union

from lwsws.wire.errors import RemoteProtocolError


class FormLimits(NamedTuple):
    """How much of a form is taken."""

    parts: int = 1000  # as PHP's max_input_vars; more cost time and are no form that a person filled in
    part_head: int = 8192  # bytes of the header fields of one part
    name: int = 1024  # bytes of the name of a part, and of a file name
    values: int = 1 << 20  # bytes of all values together; files are limited by whoever takes them
    around: int = 8192  # bytes of a multipart body before the first part, and behind the last one


DEFAULT_LIMITS = FormLimits()


class FormError(RemoteProtocolError):
    """The form is malformed (400) or too much (413); nothing more is read of it."""


class FormIncomplete(FormError):
    """The body ended before the form did (400)."""


class Part(NamedTuple):
    """An entry begins.  `filename` is None for a value; of a file it is what is left of the client's name
    for it: the last component, without control characters, perhaps "".  It is for people to read, and no
    place to write to.  `content_type` is as it was sent, "" if it was not."""

    name: str
    filename: Optional[str] = None
    content_type: str = ""


class PartData:
    """A piece of the entry's data, decoded; never empty."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"PartData({self.data!r})"


class PartEnd:
    """The entry is complete."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PartEnd()"


class FormEnd:
    """The form is complete."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "FormEnd()"


FormEvent = Union[Part, PartData, PartEnd, FormEnd]

PART_END = PartEnd()
FORM_END = FormEnd()


class FormReader:
    """Base of the readers: bytes of the body in, events out."""

    __slots__ = ("_buffer", "_eof", "_fault", "_limits", "_over", "_parts", "_values")

    def __init__(self, limits: FormLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._eof = False
        self._over = False
        self._fault: Optional[FormError] = None  # found, but data in front of it goes out first
        self._parts = 0
        self._values = 0  # bytes of values given out

    def receive_data(self, data: bytes) -> None:
        """Take the next piece of the body; after a fault it is dropped."""
        if not self._over:
            self._buffer += data

    def receive_eof(self) -> None:
        """The body is complete."""
        self._eof = True

    def next_event(self) -> Optional[FormEvent]:
        """The next event; None if more bytes are needed first, and after the last event.

        FormError, once, if the form is malformed or too much.
        """
        if self._over:
            return None
        try:
            event = self._read() if self._fault is None else None
            if event is None and self._fault is not None:
                raise self._fault
        except FormError:
            self._over = True
            self._fault = None
            self._buffer.clear()
            raise
        self._over = event is FORM_END
        return event

    def _read(self) -> Optional[FormEvent]:
        """The next event; may also find a fault behind it, or instead of it."""
        raise NotImplementedError

    def _begin(self, part: Part) -> Part:
        """`part`, if it may be one more."""
        self._parts += 1
        if self._parts > self._limits.parts:
            raise FormError(413, f"the form has more than {self._limits.parts} entries")
        for text in (part.name, part.filename or ""):
            if len(text.encode("utf-8")) > self._limits.name:
                raise FormError(413, f"a name in the form is over {self._limits.name} bytes")
        return part

    def _value(self, data: bytes) -> Optional[PartData]:
        """The next piece of a value, cut off where the values become too much; None if nothing is left."""
        room = self._limits.values - self._values
        if len(data) > room:
            self._fault = FormError(413, f"the values of the form are over {self._limits.values} bytes")
            data = data[:room]
        self._values += len(data)
        return PartData(data) if data else None
