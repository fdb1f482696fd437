"""HTTP/1 requests on the server's side: bytes in, events out, one request after the other.

    reader.receive_data(data)       what the peer sent, in pieces of any size
    reader.next_event()             Request, then Data ..., then EndOfMessage; None: more bytes needed
    reader.start_next()             the exchange is over: go on with the next request

The reader is always in one state, and the state decides who looks at the bytes:

    HEAD --Request--> BODY --Data--> ... --> END --EndOfMessage--> DONE --start_next()--> HEAD
         --Request (no body)---------------> END         any fault --> FAILED

In FAILED nothing more is read: what follows a fault may be a second request that only one of two
servers on the path would see (RFC 9112 11.2).

A head nearly always arrives whole and within its limits; then it is parsed at once.  While it is incomplete,
or if it is too much, `_check_lines` goes through it line by line, remembers how far it came, and raises
the first fault.  Both ways judge a line alike, and what takes more than one line is decided when the head
is complete (request.py), so the outcome never depends on how the bytes were cut into pieces; a fault only
shows itself as early as it can.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Callable, Dict, NamedTuple, Optional, Union

from lwsws.wire.errors import LocalProtocolError, RemoteProtocolError, excerpt
from lwsws.wire.headers import TCHAR, Headers, is_token
from lwsws.wire.http1_body import ChunkedBody, SizedBody
from lwsws.wire.http1_fields import line_fault, parse_field, parse_fields
from lwsws.wire.request import Request

__all__ = ["Data", "EndOfMessage", "Event", "Limits", "Request", "RequestReader"]

# Longer than any registered method (the longest, UPDATEREDIRECTREF, has 17).
MAX_METHOD = 32

# RFC 9112 3: request-line = method SP request-target SP HTTP-version, each space exactly one.
_REQUEST_LINE = re.compile(rf"([{TCHAR}]{{1,{MAX_METHOD}}}) ([!-~\x80-\xff]+) HTTP/(1\.[01])\r\n")
_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]")

_HEAD_END = b"\r\n\r\n"


class Limits(NamedTuple):
    """How much of the peer's framing is taken; line ends are counted except in `line_bytes`."""

    line_bytes: int = 8192  # request line; RFC 9112 3 recommends at least 8000.  Below head_bytes.
    head_bytes: int = 16384  # request line and fields; as Node's --max-http-header-size
    header_count: int = 100  # as Apache's LimitRequestFields and Python's http.client
    chunk_line: int = 256  # size and extensions of one chunk
    trailer_bytes: int = 4096  # all trailer fields of one message


class Data:
    """A piece of the body, as long as what was received of it."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Data({self.data!r})"


class EndOfMessage:
    """The request is complete, body and all."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "EndOfMessage()"


Event = Union[Request, Data, EndOfMessage]

_END_OF_MESSAGE = EndOfMessage()


class State(Enum):
    """What the reader waits for."""

    HEAD = "head"
    BODY = "body"
    END = "end"
    DONE = "done"
    FAILED = "failed"

    # Enum hashes the name of a member in Python; each event looks its state up in a table.
    __hash__ = object.__hash__


# Short names: each event needs some of them.
HEAD, BODY, END, DONE, FAILED = State


class RequestReader:
    """Turns the bytes of one connection into the events of its requests."""

    __slots__ = ("_body", "_buffer", "_eof", "_limits", "_line", "_lines", "_scanned", "_start", "_state")

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._state = HEAD
        self._buffer = bytearray()
        self._eof = False
        self._body: Union[SizedBody, ChunkedBody, None] = None
        self._start = 0  # of the head in the buffer: behind an empty line
        self._scanned = 0  # no end of the head begins before this position
        self._line = 0  # the first line that _check_lines has not seen to its end begins here
        self._lines = 0  # and so many are before it

    @property
    def started(self) -> bool:
        """Whether some byte is held, or was read, of a request that is not complete yet."""
        return self._state is BODY or self._state is END or len(self._buffer) > self._start

    @property
    def buffered(self) -> int:
        """The number of bytes received and not used yet."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the peer; after a fault they are dropped."""
        if self._state is not FAILED:
            self._buffer += data

    def receive_eof(self) -> None:
        """The peer will send nothing more; what he sent is still read."""
        self._eof = True

    def next_event(self) -> Optional[Event]:
        """The next event; None if more bytes, or start_next(), are needed first.

        RemoteProtocolError, once, if the peer broke a rule, also if he closed inside a message (400).
        """
        try:
            event = _READERS[self._state](self)
            if event is None and self._eof and self._state in (HEAD, BODY) and self.started:
                raise RemoteProtocolError(400, "the connection was closed in the middle of a request")
            return event
        except RemoteProtocolError:
            self._state = FAILED
            raise

    def start_next(self) -> None:
        """Go on with the next request.  LocalProtocolError unless EndOfMessage was given out."""
        if self._state is not DONE:
            raise LocalProtocolError(f"no next request in the state {self._state.value}")
        self._state = HEAD

    def limit_body(self, max_bytes: int) -> None:
        """Refuse a body of more than `max_bytes` for the request that was given out last.

        RemoteProtocolError 413 at once if its length is known, else from next_event().
        """
        if self._body is None:
            return
        try:
            self._body.limit(max_bytes)
        except RemoteProtocolError:
            self._state = FAILED
            raise

    def leftover(self) -> bytes:
        """Take out the bytes not used yet, after a fault in a head all of it, for another role to read."""
        data = bytes(self._buffer)
        self._drop(len(data))
        return data

    def _drop(self, count: int) -> None:
        """Remove what was used from the buffer; a head would begin behind it."""
        del self._buffer[:count]
        self._start = self._scanned = self._line = self._lines = 0

    def _read_head(self) -> Optional[Event]:
        buffer = self._buffer
        # RFC 9112 2.2: ignore at least one empty line received prior to the request line.
        if self._start == 0 and buffer.startswith(b"\r\n"):
            self._start = self._scanned = self._line = 2
        end = buffer.find(_HEAD_END, self._scanned)
        if end < 0:
            self._check_lines()
            self._scanned = max(len(buffer) - len(_HEAD_END) + 1, self._start)
            return None
        end += len(_HEAD_END)
        request = self._parse_head(bytes(buffer[self._start : end]))
        self._drop(end)
        if request.chunked:
            self._body = ChunkedBody(self._limits.chunk_line, self._limits.trailer_bytes)
        elif request.content_length:
            self._body = SizedBody(request.content_length)
        self._state = END if self._body is None else BODY
        return request

    def _parse_head(self, raw: bytes) -> Request:
        """The request with this head, the empty line at its end included."""
        limits = self._limits
        text = raw.decode("latin-1")
        count = text.count("\n") - 2  # of fields: all lines but the first and the last
        if len(raw) > limits.line_bytes or len(raw) > limits.head_bytes or count > limits.header_count:
            self._check_lines()  # which line is too much, or malformed before that
        line = _REQUEST_LINE.match(text)
        if line is None:
            raise _request_line_fault(text[: text.index("\n") + 1])
        method, target, version = line.groups()
        request = Request(method, target, version, Headers(parse_fields(text, line.end(), count)))
        request.raw = raw
        return request

    def _check_lines(self) -> None:
        """Raise the first fault in what is there of the head, up to its end."""
        buffer = self._buffer
        if self._lines == 0 and len(buffer) > self._start:
            self._check_first_byte()
        end = buffer.find(b"\n", max(self._line, self._scanned)) + 1
        while end:
            self._check_length(end)
            line = buffer[self._line : end].decode("latin-1")
            if line == "\r\n":
                return
            self._check_line(line)
            self._line = end
            self._lines += 1
            end = buffer.find(b"\n", end) + 1
        self._check_length(len(buffer) + 1)  # where the line ends at best

    def _check_first_byte(self) -> None:
        """Refuse what cannot become a request without waiting for a line end that may never come."""
        first = chr(self._buffer[self._start])
        if first == "\r" and len(self._buffer) == 1:
            return  # perhaps the beginning of an empty line in front
        if not is_token(first):
            raise _no_http(first)

    def _check_length(self, end: int) -> None:
        """Refuse a head whose present line ends at `end` in the buffer, or later."""
        if self._lines == 0 and end - self._start > self._limits.line_bytes + 2:
            raise RemoteProtocolError(414, f"the request line is over {self._limits.line_bytes} bytes")
        if end - self._start > self._limits.head_bytes:
            raise RemoteProtocolError(431, f"the request head is over {self._limits.head_bytes} bytes")

    def _check_line(self, line: str) -> None:
        if self._lines == 0:
            if _REQUEST_LINE.fullmatch(line) is None:
                raise _request_line_fault(line)
            return
        # The request line is line 0, so this is the number of the field.
        if self._lines > self._limits.header_count:
            raise RemoteProtocolError(431, f"more than {self._limits.header_count} headers")
        parse_field(line)

    def _read_body(self) -> Optional[Event]:
        assert self._body is not None
        data = self._body.read(self._buffer)
        if self._body.complete:
            self._body = None
            self._state = END
            return Data(data) if data else self._read_end()
        return Data(data) if data else None

    def _read_end(self) -> Optional[Event]:
        self._state = DONE
        return _END_OF_MESSAGE

    def _read_nothing(self) -> Optional[Event]:
        return None


_READERS: Dict[State, Callable[[RequestReader], Optional[Event]]] = {
    HEAD: RequestReader._read_head,
    BODY: RequestReader._read_body,
    END: RequestReader._read_end,
    DONE: RequestReader._read_nothing,
    FAILED: RequestReader._read_nothing,
}


def _no_http(first: str) -> RemoteProtocolError:
    return RemoteProtocolError(400, f"this is no HTTP request: it begins with {excerpt(first)}")


def _request_line_fault(line: str) -> RemoteProtocolError:
    """The error for a line that is no request line of HTTP/1.0 or 1.1."""
    if not is_token(line[0]):
        return _no_http(line[0])
    fault = line_fault(line)
    if fault is not None:
        return RemoteProtocolError(400, fault)
    parts = line[:-2].split(" ")
    if len(parts) == 2 and is_token(parts[0]):
        return RemoteProtocolError(400, "the request line has no HTTP version")
    if len(parts) != 3 or not is_token(parts[0]):
        return RemoteProtocolError(400, f"{excerpt(line[:-2])} is no request line")
    method, target, version = parts
    if _VERSION.fullmatch(version) is None:
        return RemoteProtocolError(400, f"{excerpt(version)} is no HTTP version")
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        return RemoteProtocolError(505, f"{version} is not supported, only HTTP/1.0 and HTTP/1.1 are")
    # RFC 9112 3: SHOULD respond with 501 to a method longer than any that the server implements.
    if len(method) > MAX_METHOD:
        return RemoteProtocolError(501, f"the method {excerpt(method)} is not known")
    return RemoteProtocolError(400, f"the request target {excerpt(target)} has a character it may not hold")
