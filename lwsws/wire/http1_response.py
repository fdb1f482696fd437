"""HTTP/1 responses on the client's side: bytes in, events out, for the answer to one request.

    reader = ResponseReader("GET")      the method of the request: it decides whether a body follows
    reader.receive_data(data)           what the origin sent, in pieces of any size
    reader.next_event()                 Interim ..., Response, Data ..., EndOfMessage; None: more bytes needed

http1_message.py describes the states and how a head is read.  As strict as with requests, for the same
reason: an answer with two readings could be the end of one and the beginning of another, made by whoever
sent the request (RFC 9112 11.1).  Every fault is a 502 in words that are fit for the client.

What comes behind a complete answer stays where it is: `surplus` tells of it, and then the connection must not
be used again.  Behind a 101 the bytes are another protocol's: take them out with `leftover`.
"""

from __future__ import annotations

import re
from typing import ClassVar, NoReturn, Optional, Union

from lwsws.wire.errors import LocalProtocolError, RemoteProtocolError, excerpt
from lwsws.wire.headers import Headers, check_coding, content_length, keeps_alive
from lwsws.wire.http1_body import SizedBody, UnsizedBody
from lwsws.wire.http1_fields import line_fault, parse_fields
from lwsws.wire.http1_message import BODY, DONE, END, HEAD, Data, EndOfMessage, Limits, MessageReader

__all__ = ["BOUNDLESS", "Data", "EndOfMessage", "Event", "Interim", "Limits", "Response", "ResponseReader"]

# Answers set cookies and policies of many kilobytes; an origin is trusted with more than a client.
RESPONSE_LIMITS = Limits(line_bytes=8192, head_bytes=65536, header_count=250, trailer_bytes=16384)

# More than 100, 102 and a few 103 is not an answer but an attempt to keep us busy.
MAX_INTERIMS = 10

# How much of a body that ends with the connection is still to come: more than any has.
BOUNDLESS = 1 << 62

_BEGINNING = b"HTTP/1."
# RFC 9112 4: status-line = HTTP-version SP status-code SP [ reason-phrase ].  RFC 9110 15: 100 to 599.
# Without a phrase some leave its space away as well, in which there is no harm.
_STATUS_LINE = re.compile(r"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?\r\n")
_VERSION = re.compile(r"HTTP/1\.[01]")

_SWITCHING_PROTOCOLS = 101
# RFC 9112 6.3, rule 1: these have no body, whatever their fields say.
_WITHOUT_BODY = (204, 304)


class Interim:
    """A 1xx answer in front of the real one (RFC 9110 15.2)."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers

    def __repr__(self) -> str:
        return f"Interim({self.status}, {self.headers!r})"


class Response:
    """The head of an answer.  RemoteProtocolError if its framing contradicts itself.

    `reason` is the phrase as it was sent, perhaps ""; `version` is "1.0" or "1.1".  `content_length` is that
    of its field, None without one: for HEAD and 304 the length that the body would have.  `has_body` says
    whether a body follows: in chunks if `chunked`, else of `content_length` bytes, else up to the end of
    the connection.  `keep_alive` says whether the origin will read another request after this answer.
    """

    __slots__ = ("chunked", "content_length", "has_body", "headers", "keep_alive", "reason", "status",
                 "version")

    def __init__(self, status: int, reason: str, version: str, headers: Headers, method: str) -> None:
        """`method` is that of the request."""
        self.status = status
        self.reason = reason
        self.version = version
        self.headers = headers
        get = headers.table.get
        self._read_framing(get("transfer-encoding"), get("content-length"))
        # RFC 9112 6.3, rule 1.
        self.has_body = (self.content_length != 0 and method != "HEAD" and status not in _WITHOUT_BODY
                         and status != _SWITCHING_PROTOCOLS)
        self.keep_alive = keeps_alive(version, get("connection"))
        if self.has_body and not self.chunked and self.content_length is None:
            self.keep_alive = False

    def __repr__(self) -> str:
        return f"Response({self.status}, {self.reason!r}, {self.version!r}, {self.headers!r})"

    def _read_framing(self, coding: Optional[str], length: Optional[str]) -> None:
        """How long the body is (RFC 9112 6.3); any doubt is an error."""
        self.chunked = coding is not None
        self.content_length: Optional[int] = None
        if coding is not None:
            check_coding(coding, length, self.version)
        elif length is not None:
            self.content_length = content_length(length)


Event = Union[Interim, Response, Data, EndOfMessage]


class ResponseReader(MessageReader[Union[Interim, Response]]):
    """Turns the bytes of an origin into the events of its answer to one request."""

    __slots__ = ("_interims", "_method", "_reusable", "_upgrade")

    MESSAGE: ClassVar[str] = "response"
    FIRST_LINE: ClassVar[str] = "status line"
    SKIPS_EMPTY_LINE: ClassVar[bool] = False

    def __init__(self, method: str, limits: Limits = RESPONSE_LIMITS, *, upgrade: bool = False) -> None:
        """`method` is that of the request; only if it asked for an `upgrade`, 101 may be the answer."""
        super().__init__(limits)
        self._method = method
        self._upgrade = upgrade
        self._interims = 0
        self._reusable = False

    @property
    def started(self) -> bool:
        """Whether some byte of an answer has come that is not complete yet."""
        return super().started or (self._interims > 0 and self._state is HEAD)

    @property
    def surplus(self) -> bool:
        """Whether something came behind the complete answer; behind a 101 that is as it should be."""
        return self._state is DONE and len(self._buffer) > 0

    @property
    def reusable(self) -> bool:
        """Whether the connection is fit for another request: as far as this answer goes."""
        return self._reusable and self._state is DONE and not self._buffer and not self._eof

    @property
    def body_ahead(self) -> int:
        """How many of the bytes that come next are the body's, as they are.

        0 if it is in chunks, or if bytes are held that next_event() has to give out first; BOUNDLESS if the
        body ends with the connection.  So many may go by without the reader, if `passed` is told of them.
        """
        body = self._body
        if self._state is not BODY or self._buffer:
            return 0
        if isinstance(body, SizedBody):
            return body.remaining
        return BOUNDLESS if isinstance(body, UnsizedBody) else 0

    def passed(self, count: int) -> None:
        """The next `count` bytes of the body went another way.  LocalProtocolError if over `body_ahead`."""
        if count > self.body_ahead:
            raise LocalProtocolError(f"{count} bytes of the body passed, {self.body_ahead} are to come")
        body = self._body
        if isinstance(body, SizedBody):
            body.skip(count)

    def _parse_head(self, raw: bytes) -> Union[Interim, Response]:
        count = self._count_fields(raw)
        text = raw.decode("latin-1")
        line = _STATUS_LINE.match(text)
        if line is None:
            raise _status_line_fault(text[: text.index("\n") + 1])
        version, digits, reason = line.groups()
        status = int(digits)
        headers = Headers(parse_fields(text, line.end(), count))
        if status < 200 and status != _SWITCHING_PROTOCOLS:
            return self._interim(status, version, headers)
        response = Response(status, reason or "", version, headers, self._method)
        if status == _SWITCHING_PROTOCOLS:
            self._check_switch(response)
            self._state = DONE
            return response
        self._reusable = response.keep_alive
        self._begin_body(response)
        return response

    def _begin_body(self, response: Response) -> None:
        self._state = BODY if response.has_body else END
        if not response.has_body:
            return
        if response.chunked:
            self._body = self._chunked_body()
        elif response.content_length is not None:
            self._body = SizedBody(response.content_length)
        else:
            self._body = UnsizedBody()

    def _interim(self, status: int, version: str, headers: Headers) -> Interim:
        # RFC 9110 15.2: HTTP/1.0 did not define any 1xx status codes.
        if version == "1.0":
            raise RemoteProtocolError(502, f"status {status} in HTTP/1.0")
        self._interims += 1
        if self._interims > MAX_INTERIMS:
            raise RemoteProtocolError(502, f"more than {MAX_INTERIMS} interim responses")
        return Interim(status, headers)

    def _check_switch(self, response: Response) -> None:
        # RFC 9110 7.8: a server MUST NOT switch to a protocol that was not indicated by the client.
        if not self._upgrade or response.version == "1.0":
            raise RemoteProtocolError(502, "101 without having been asked for")
        # RFC 9112 6.1, RFC 9110 8.6: neither may be sent with a 1xx; the tunnel begins behind the head.
        if response.chunked or response.content_length is not None:
            raise RemoteProtocolError(502, "a 101 with a body")

    def _check_first_byte(self) -> None:
        begin = bytes(self._buffer[: len(_BEGINNING)])
        if not _BEGINNING.startswith(begin):
            raise _no_http(begin.decode("latin-1"))

    def _check_first_line(self, line: str) -> None:
        if _STATUS_LINE.fullmatch(line) is None:
            raise _status_line_fault(line)

    def _input_ended(self) -> Optional[EndOfMessage]:
        if isinstance(self._body, UnsizedBody):
            self._body = None
            return self._read_end()
        if not self.started:
            raise RemoteProtocolError(502, "the connection was closed without a response")
        raise RemoteProtocolError(502, "the connection was closed in the middle of a response")

    def _fail(self, error: RemoteProtocolError) -> NoReturn:
        # What is shared with the reading of requests blames a client.
        if error.status == 502:
            raise error
        raise RemoteProtocolError(502, error.why) from None


def _no_http(begin: str) -> RemoteProtocolError:
    """The error for what does not begin as a response: as much of it as tells, however much has come."""
    expected = _BEGINNING.decode("ascii")
    same = 0
    while begin[same : same + 1] == expected[same : same + 1]:
        same += 1
    text = excerpt(begin[: same + 1])
    return RemoteProtocolError(502, f"this is no HTTP/1 response: it begins with {text}")


def _status_line_fault(line: str) -> RemoteProtocolError:
    """The error for a line that is no status line of HTTP/1.0 or 1.1."""
    begin = line[: len(_BEGINNING)]
    if begin != _BEGINNING.decode("ascii"):
        return _no_http(begin)
    fault = line_fault(line)
    if fault is not None:
        return RemoteProtocolError(502, fault)
    version = line[:-2].partition(" ")[0]
    if _VERSION.fullmatch(version) is None:
        return RemoteProtocolError(502, f"{excerpt(version)} is no version that we know")
    return RemoteProtocolError(502, f"{excerpt(line[:-2])} is no status line")
