"""Runs a response reader over bytes in the ways that bytes may arrive; wire_cases.py does it for requests."""

from __future__ import annotations

from typing import Callable, Iterable, List, NamedTuple, Optional, Tuple

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_response import Data, EndOfMessage, Interim, Response, ResponseReader
from tests.support.wire_cases import LEFTOVER, byte_by_byte

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

# A response as plain values: all of it but the fields, and these as pairs.
Values = Tuple[Tuple[str, object], ...]


class Answer(NamedTuple):
    """All that a reader gave out for one answer."""

    interims: List[Tuple[int, List[Tuple[str, str]]]]
    responses: List[Response]
    body: bytes
    ended: bool
    fault: Optional[Tuple[int, str]]  # status and why

    @property
    def response(self) -> Response:
        """The one response."""
        assert len(self.responses) == 1
        return self.responses[0]

    def summary(self) -> Tuple[object, ...]:
        """The answer as plain values, fit for comparing."""
        return self.interims, list(map(response_values, self.responses)), self.body, self.ended, self.fault


def answer_head(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response head of these lines, which are given without their ends."""
    return b"".join(line + b"\r\n" for line in (start, *lines, b""))


def response_values(response: Response) -> Values:
    """Every attribute of a response, the header fields as a list of pairs."""
    values = {name: getattr(response, name) for name in Response.__slots__ if name != "headers"}
    return (*sorted(values.items()), ("headers", response.headers.items))


def read_answer(reader: ResponseReader, pieces: Iterable[bytes], *, eof: bool = False) -> Answer:
    """Give `pieces` to `reader` one after the other, taking all events after each; `eof` ends the input."""
    seen = Answer([], [], b"", False, None)
    for piece in pieces:
        reader.receive_data(piece)
        seen = _take_events(reader, seen)
    if eof:
        reader.receive_eof()
        seen = _take_events(reader, seen)
    return seen


def _take_events(reader: ResponseReader, seen: Answer) -> Answer:
    try:
        while (event := reader.next_event()) is not None:
            seen = _note(event, seen)
    except RemoteProtocolError as error:
        assert seen.fault is None, "a reader gives one fault and nothing after it"
        return seen._replace(fault=(error.status, error.why))
    return seen


def _note(event: object, seen: Answer) -> Answer:
    assert not seen.ended
    assert seen.fault is None
    if isinstance(event, Data):
        assert event.data, "a Data event without data"
        return seen._replace(body=seen.body + event.data)
    if isinstance(event, Interim):
        assert not seen.responses
        seen.interims.append((event.status, event.headers.items))
    elif isinstance(event, Response):
        seen.responses.append(event)
    else:
        assert isinstance(event, EndOfMessage)
        return seen._replace(ended=True)
    return seen


def answer_in_all_ways(
    data: bytes, method: str = "GET", *, eof: bool = False,
    make: Callable[[str], ResponseReader] = ResponseReader,
) -> Answer:
    """Read `data` whole, byte by byte, and with a leftover behind it; the same must come of each."""
    whole = read_answer(make(method), [data], eof=eof)
    assert read_answer(make(method), byte_by_byte(data), eof=eof).summary() == whole.summary()
    if eof:
        return whole
    reader = make(method)
    again = read_answer(reader, [data + LEFTOVER])
    if whole.ended:
        assert again.summary() == whole.summary()
        assert reader.surplus
        assert not reader.reusable
        assert reader.leftover() == LEFTOVER
    elif whole.fault is not None:
        assert again.summary() == whole.summary()
    return whole
