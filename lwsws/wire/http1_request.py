"""HTTP/1 requests on the server's side: bytes in, events out, one request after the other.

    reader.receive_data(data)       what the peer sent, in pieces of any size
    reader.next_event()             Request, then Data ..., then EndOfMessage; None: more bytes needed
    reader.start_next()             the exchange is over: go on with the next request

http1_message.py describes the states and how a head is read; what takes more than one line to decide, as
where a body ends, request.py decides when the head is complete.
"""

from __future__ import annotations

import re
from typing import Optional, Union

from lwsws.wire.errors import LocalProtocolError, RemoteProtocolError, excerpt
from lwsws.wire.headers import TCHAR, Headers, is_token
from lwsws.wire.http1_body import SizedBody
from lwsws.wire.http1_fields import line_fault, parse_fields
from lwsws.wire.http1_message import BODY, DONE, END, FAILED, HEAD, Data, EndOfMessage, Limits, MessageReader
from lwsws.wire.request import Request

__all__ = ["Data", "EndOfMessage", "Event", "Limits", "Request", "RequestReader"]

# Longer than any registered method (the longest, UPDATEREDIRECTREF, has 17).
MAX_METHOD = 32

# RFC 9112 3: request-line = method SP request-target SP HTTP-version, each space exactly one.
_REQUEST_LINE = re.compile(rf"([{TCHAR}]{{1,{MAX_METHOD}}}) ([!-~\x80-\xff]+) HTTP/(1\.[01])\r\n")
_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]")

DEFAULT_LIMITS = Limits()

Event = Union[Request, Data, EndOfMessage]


class RequestReader(MessageReader[Request]):
    """Turns the bytes of one connection into the events of its requests."""

    __slots__ = ()

    MESSAGE = "request"
    FIRST_LINE = "request line"
    SKIPS_EMPTY_LINE = True

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)

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

    def _parse_head(self, raw: bytes) -> Request:
        count = self._count_fields(raw)
        text = raw.decode("latin-1")
        line = _REQUEST_LINE.match(text)
        if line is None:
            raise _request_line_fault(text[: text.index("\n") + 1])
        method, target, version = line.groups()
        request = Request(method, target, version, Headers(parse_fields(text, line.end(), count)))
        request.raw = raw
        if request.chunked:
            self._body = self._chunked_body()
        elif request.content_length:
            self._body = SizedBody(request.content_length)
        self._state = END if self._body is None else BODY
        return request

    def _check_first_byte(self) -> None:
        first = chr(self._buffer[self._start])
        if first == "\r" and len(self._buffer) == 1:
            return  # perhaps the beginning of an empty line in front
        if not is_token(first):
            raise _no_http(first)

    def _check_first_line(self, line: str) -> None:
        if _REQUEST_LINE.fullmatch(line) is None:
            raise _request_line_fault(line)

    def _input_ended(self) -> Optional[EndOfMessage]:
        if self.started:
            raise RemoteProtocolError(400, "the connection was closed in the middle of a request")
        return None


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
