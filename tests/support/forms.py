"""Runs the readers of forms over bodies in the ways that they may arrive, and writes multipart bodies."""

from __future__ import annotations

from typing import Callable, Iterable, List, NamedTuple, Optional, Tuple, Union

from lwsws.wire.forms import FormEnd, FormError, FormIncomplete, FormReader, Part, PartData, PartEnd
from tests.support.wire_cases import byte_by_byte

Value = Union[str, bytes]


class Form(NamedTuple):
    """All that a reader gave out: each part with its data, and how many of them were complete."""

    entries: List[Tuple[Part, bytes]]
    complete: int
    ended: bool
    fault: Optional[Tuple[int, str]]  # status and why
    is_incomplete: bool  # the fault is that the body ended too early

    def values(self) -> List[Tuple[str, bytes]]:
        """The complete entries as names and data."""
        return [(part.name, data) for part, data in self.entries[: self.complete]]


def read_form(reader: FormReader, pieces: Iterable[bytes]) -> Form:
    """Give `pieces` to `reader` one after the other, and then the end; take all events after each."""
    entries: List[Tuple[Part, bytearray]] = []
    complete, ended, fault = 0, False, None
    for piece in (*pieces, None):
        if piece is None:
            reader.receive_eof()
        else:
            reader.receive_data(piece)
        try:
            while (event := reader.next_event()) is not None:
                assert fault is None
                assert not ended
                if isinstance(event, Part):
                    entries.append((event, bytearray()))
                elif isinstance(event, PartData):
                    assert event.data
                    entries[-1][1].extend(event.data)
                elif isinstance(event, PartEnd):
                    complete += 1
                else:
                    assert isinstance(event, FormEnd)
                    ended = True
                assert complete in (len(entries), len(entries) - 1)
        except FormError as error:
            assert fault is None, "a reader gives one fault and nothing after it"
            fault = error
    outcome = None if fault is None else (fault.status, fault.why)
    whole = [(part, bytes(data)) for part, data in entries]
    return Form(whole, complete, ended, outcome, isinstance(fault, FormIncomplete))


def all_ways(make: Callable[[], FormReader], body: bytes) -> Form:
    """Read `body` whole, byte by byte and in two pieces cut anywhere; the same must come of each."""
    whole = read_form(make(), [body])
    assert whole.ended == (whole.fault is None)
    assert read_form(make(), byte_by_byte(body)) == whole
    for cut in range(1, min(len(body), 400)):
        assert read_form(make(), [body[:cut], body[cut:]]) == whole, cut
    return whole


def multipart(boundary: bytes, *parts: Tuple[bytes, bytes]) -> bytes:
    """A body of parts, each given by its header lines (joined by CRLF) and its data."""
    delimiter = b"--" + boundary
    pieces = [delimiter + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts]
    return b"".join(pieces) + delimiter + b"--\r\n"


def field(name: bytes, filename: Optional[bytes] = None, content_type: bytes = b"") -> bytes:
    """The header lines of a part, names put in as they are."""
    line = b'Content-Disposition: form-data; name="%b"' % name
    if filename is not None:
        line += b'; filename="%b"' % filename
    return line + (b"\r\nContent-Type: " + content_type if content_type else b"")
