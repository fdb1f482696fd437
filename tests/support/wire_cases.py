"""Runs a wire reader over bytes in the ways that bytes may arrive.

A reader must say the same whether its input comes whole, byte by byte, or cut anywhere; and it must
leave alone what comes after the message.  `three_ways` is for the cases of a test: it runs all of these,
fails if they differ, and returns what was read.
"""

from __future__ import annotations

from typing import Callable, Iterable, List, NamedTuple, Optional, Tuple

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_request import Data, EndOfMessage, Event, Request, RequestReader

# Comes after a message, as the first bytes of another protocol would.  It begins no request and holds
# no line end, so no reader can take it for more of a message that it did not finish.
LEFTOVER = b"\x00\xfeleftover"

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST /form HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a.example") -> bytes:
    """A request head of these lines, which are given without their ends."""
    return b"".join(line + b"\r\n" for line in (start, host, *lines, b""))


class Transcript(NamedTuple):
    """All that a reader gave out: the data of neighbouring Data events is joined, None marks an end."""

    requests: List[Request]
    bodies: List[bytes]
    ended: int  # messages that were complete
    fault: Optional[Tuple[int, str]]  # status and why

    def summary(self) -> Tuple[object, ...]:
        """The transcript as plain values, fit for comparing."""
        return [request_values(request) for request in self.requests], self.bodies, self.ended, self.fault


def request_values(request: Request) -> Tuple[object, ...]:
    """Every attribute of a request, the header fields as a list of pairs."""
    values = {name: getattr(request, name) for name in Request.__slots__ if name != "headers"}
    return (*sorted(values.items()), request.headers.items)


def byte_by_byte(data: bytes) -> List[bytes]:
    """`data` in pieces of one byte."""
    return [data[at : at + 1] for at in range(len(data))]


def transcribe(
    reader: RequestReader,
    pieces: Iterable[bytes],
    *,
    eof: bool = False,
    first_only: bool = False,
    max_body: Optional[int] = None,
) -> Transcript:
    """Give `pieces` to `reader` one after the other, and take all events after each.

    `eof` ends the input; `first_only` does not go on behind the first message; `max_body` limits each body.
    """
    seen = Transcript([], [], 0, None)
    for piece in pieces:
        reader.receive_data(piece)
        seen = _take_events(reader, seen, first_only, max_body)
    if eof:
        reader.receive_eof()
        seen = _take_events(reader, seen, first_only, max_body)
    return seen


def _take_events(
    reader: RequestReader, seen: Transcript, first_only: bool, max_body: Optional[int]
) -> Transcript:
    ended, fault = seen.ended, seen.fault
    try:
        while (event := reader.next_event()) is not None:
            _note(event, seen)
            if isinstance(event, Request) and max_body is not None:
                reader.limit_body(max_body)
            elif isinstance(event, EndOfMessage):
                ended += 1
                if not first_only:
                    reader.start_next()
    except RemoteProtocolError as error:
        if fault is not None:
            raise  # a reader gives one fault and nothing after it
        fault = (error.status, error.why)
    return seen._replace(ended=ended, fault=fault)


def _note(event: Event, seen: Transcript) -> None:
    if isinstance(event, Request):
        seen.requests.append(event)
        seen.bodies.append(b"")
    elif isinstance(event, Data):
        assert event.data, "a Data event without data"
        seen.bodies[-1] += event.data


def three_ways(
    data: bytes, make: Callable[[], RequestReader] = RequestReader, *, eof: bool = False
) -> Transcript:
    """Read `data` whole, byte by byte, and with a leftover behind it; the same must come of each."""
    whole = transcribe(make(), [data], eof=eof)
    single = transcribe(make(), byte_by_byte(data), eof=eof)
    assert single.summary() == whole.summary()
    if eof:
        return whole
    if whole.ended == 1 and whole.fault is None:
        reader = make()
        first = transcribe(reader, [data + LEFTOVER], first_only=True)
        assert first.summary() == whole.summary()
        assert reader.leftover() == LEFTOVER
        assert reader.buffered == 0
    elif whole.fault is not None:
        assert transcribe(make(), [data + LEFTOVER]).summary() == whole.summary()
    return whole
