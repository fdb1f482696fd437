"""CGI/1.1 (RFC 3875), the wire side: request fields to variables, and the output of a program to events.

    http_variables(items)           the HTTP_* variables of a request's header fields
    reader.receive_data(data)       what the program wrote, in pieces of any size
    reader.receive_eof()            it will write nothing more
    reader.next_event()             CgiHead, then Data ..., then EndOfMessage; None: more bytes needed

The head of a program is like that of HTTP, but its lines may end in LF alone (RFC 3875 6.2: NL), and three
fields speak to the server: Status, Location, and Content-Type.  A program that sends a whole HTTP head,
status line and all (RFC 3875 5, "non-parsed header"), is understood as well, whatever its name is: its
framing is taken off here and made anew for the client.  A fault of the program is a RemoteProtocolError with
the status 502; its sentence is for the administrator's log.

What comes behind a complete answer is dropped: more bytes than Content-Length would be taken for the next
answer by the client.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Callable, Dict, Iterable, List, Match, NamedTuple, Optional, Tuple, Union

from lwsws.wire.errors import RemoteProtocolError, excerpt
from lwsws.wire.headers import TCHAR
from lwsws.wire.http1_body import ChunkedBody, SizedBody, UnsizedBody
from lwsws.wire.http1_fields import parse_field
from lwsws.wire.http1_request import Data, EndOfMessage, Limits

Fields = List[Tuple[str, str]]

# Many cookies and long redirects fit; a program that never ends its head is stopped.
MAX_HEAD = 64 * 1024
MAX_FIELDS = 100

# For this connection only (RFC 9110 7.6.1): neither a program nor a client has a say in the other's.
HOP_BY_HOP = frozenset((
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"))

# Without a variable: two have one without HTTP_ (RFC 3875 4.1.18), secrets are for the server to hand out,
# and HTTP_PROXY is the name by which many programs are told of a proxy (CVE-2016-5385, LESSONS 3.21).
NO_VARIABLE = HOP_BY_HOP | {"authorization", "content-length", "content-type", "proxy", "proxy-authorization"}

# The server's part of an answer, said by itself; Content-Length is read first.
DROPPED = HOP_BY_HOP | {"content-length", "date", "status"}

# These decide what the answer is, so there can be only one of each.
_SINGLE = frozenset(("content-length", "content-type", "location", "status", "transfer-encoding"))
# RFC 3875 6.2: at least one of these makes a response.
_NEEDED = frozenset(("content-type", "location", "status"))

# LESSONS 3.21: other characters would meet "-" in the name of the variable: X_Y and X-Y are both HTTP_X_Y.
_NAME = re.compile(r"[A-Za-z0-9-]+")
# An empty line, the first one at most: it ends the head.
_HEAD_END = re.compile(rb"(?:^|\n)\r?\n")
# A line with a colon, but in front of that what is no name, nor one with white space around it.  Python's
# cgitb begins with "<!--: spam", and PHP writes "<b>Warning</b>: ...": nobody can take it for another field.
_NO_NAME = re.compile(rf"(?![\t ])(?![{TCHAR}]+[\t ]*:)[\t -9;-~\x80-\xff]*:[\t -~\x80-\xff]*")
# RFC 3875 5.1: a non-parsed head begins as an HTTP response does.
_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([0-9]{3})(?: ([\t -~\x80-\xff]*))?")
# RFC 3875 6.3.3: status-code [ SP reason-phrase ]; 1xx are no answers.
_STATUS = re.compile(r"([2-5][0-9]{2})(?:[\t ]+(.*))?")
_LENGTH = re.compile(r"[0-9]{1,19}")
# A reference of RFC 3986, beyond ASCII too as browsers take it: no white space, no quotes.
_REFERENCE = re.compile(r"[!#-;=?-~\x80-\xff]+")
# RFC 3875 6.2.2: an absolute path, perhaps with a query.  "//" and "/\" begin the name of another site, and
# a fragment is for the client, so none of these is local.
_LOCAL = re.compile(r"/(?![/\\])[^#]*")


def http_variables(items: Iterable[Tuple[str, str]]) -> Dict[str, str]:
    """The HTTP_* variables (RFC 3875 4.1.18) for header fields; names and values are latin-1 text.

    Without those of NO_VARIABLE and names of other characters than letters, digits and "-".  Repeated
    fields are joined by ", ", cookies by "; " (RFC 9110 5.3, RFC 6265 5.4).
    """
    variables: Dict[str, str] = {}
    for name, value in items:
        if name.lower() in NO_VARIABLE or _NAME.fullmatch(name) is None:
            continue
        variable = "HTTP_" + name.upper().replace("-", "_")
        if variable in variables:
            value = variables[variable] + ("; " if variable == "HTTP_COOKIE" else ", ") + value
        variables[variable] = value
    return variables


class CgiHead(NamedTuple):
    """What a program answers, but for the body.

    `reason` is None if the program gave none, `length` None if it did not say.  `local` is a path and
    query of this server, to be answered as if it had been asked for (RFC 3875 6.2.2), "" for none.
    `dropped` are the beginnings of lines that cannot be fields.
    """

    status: int
    reason: Optional[str]
    fields: Fields
    length: Optional[int] = None
    local: str = ""
    dropped: Tuple[str, ...] = ()


CgiEvent = Union[CgiHead, Data, EndOfMessage]

_END_OF_MESSAGE = EndOfMessage()


class State(Enum):
    """What the reader waits for."""

    HEAD = "head"
    BODY = "body"
    END = "end"
    DONE = "done"


class CgiReader:
    """Turns what one program writes to its standard output into the events of one answer."""

    __slots__ = ("_body", "_buffer", "_eof", "_method", "_scanned", "_state")

    def __init__(self, method: str = "GET") -> None:
        """`method` is that of the request: an answer to HEAD has no body."""
        self._method = method
        self._state = State.HEAD
        self._buffer = bytearray()
        self._body: Union[UnsizedBody, SizedBody, ChunkedBody] = UnsizedBody()
        self._eof = False
        self._scanned = 0   # no end of the head begins before this position

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the program; once the answer is complete, or at fault, they are dropped."""
        if self._state is not State.DONE:
            self._buffer += data

    def receive_eof(self) -> None:
        """The program will write nothing more."""
        self._eof = True

    def next_event(self) -> Optional[CgiEvent]:
        """The next event; None if more bytes are needed.  RemoteProtocolError 502, once, for a fault."""
        try:
            return _READERS[self._state](self)
        except RemoteProtocolError as error:
            self._end()
            raise RemoteProtocolError(502, error.why) from None

    def _end(self) -> None:
        self._state = State.DONE
        self._buffer.clear()

    def _read_head(self) -> Optional[CgiEvent]:
        buffer = self._buffer
        found = _HEAD_END.search(buffer, self._scanned)
        if len(buffer) > MAX_HEAD and (found is None or found.end() > MAX_HEAD):
            raise _fault(f"its head is over {MAX_HEAD} bytes")
        if found is None:
            if self._eof:
                raise _unfinished(buffer.decode("latin-1"))
            self._scanned = max(0, len(buffer) - 2)
            return None
        raw = bytes(buffer[: found.end()])
        del buffer[: found.end()]
        head = self._parse_head(raw.decode("latin-1"))
        # RFC 3875 4.3.3, RFC 9110 6.4.1: what a program writes there is no part of the answer; and nothing
        # may come with a local redirect.
        bodiless = self._method == "HEAD" or head.status in (204, 304) or head.local
        self._state = State.END if bodiless or head.length == 0 else State.BODY
        return head

    def _parse_head(self, text: str) -> CgiHead:
        lines, whole = _split_lines(text)
        fields, dropped = _parse_fields(lines[:-1])     # the last one is the empty line
        table = {name.lower(): value for name, value in fields}
        length = self._read_framing(table)
        kept = [field for field in fields if field[0].lower() not in DROPPED]
        if whole is not None:
            status, reason = _read_status(whole.group(1), whole.group(2))
            return CgiHead(status, reason, kept, length, dropped=dropped)
        return _interpret(table, kept, length)._replace(dropped=dropped)

    def _read_framing(self, table: Dict[str, str]) -> Optional[int]:
        """The length of the body, None if it is not known; `_body` is what reads it."""
        text, coding = table.get("content-length"), table.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or text is not None:
                raise _fault(f"its Transfer-Encoding {excerpt(coding)} is not chunked, or beside a length")
            limits = Limits()
            self._body = ChunkedBody(limits.chunk_line, limits.trailer_bytes)
        elif text is not None:
            if _LENGTH.fullmatch(text) is None:
                raise _fault(f"its Content-Length {excerpt(text)} is no number")
            self._body = SizedBody(int(text))
            return int(text)
        return None

    def _read_body(self) -> Optional[CgiEvent]:
        data = self._body.read(self._buffer)
        if self._body.complete:
            self._state = State.END
        elif self._eof and not data:
            if not isinstance(self._body, UnsizedBody):
                raise _fault("it ended before its answer was complete")
            self._state = State.END
        if data:
            return Data(data)
        return self._read_end() if self._state is State.END else None

    def _read_end(self) -> Optional[CgiEvent]:
        self._end()
        return _END_OF_MESSAGE

    def _read_nothing(self) -> Optional[CgiEvent]:
        return None


_READERS: Dict[State, Callable[[CgiReader], Optional[CgiEvent]]] = {
    State.HEAD: CgiReader._read_head,
    State.BODY: CgiReader._read_body,
    State.END: CgiReader._read_end,
    State.DONE: CgiReader._read_nothing,
}


def _fault(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(502, why)


def _unfinished(text: str) -> RemoteProtocolError:
    """The fault of a program that ended with `text` and no empty line."""
    if not text:
        return _fault("it wrote nothing")
    try:
        _parse_fields(_split_lines(text)[0])
    except RemoteProtocolError as error:
        return error    # nearly always what is wrong is in the first line already
    return _fault("it ended before its head was complete")


def _split_lines(text: str) -> Tuple[List[str], Optional[Match[str]]]:
    """The complete lines of a head without their ends, and the status line taken apart where there is one."""
    lines = [line.removesuffix("\r") for line in text.split("\n")[:-1]]
    whole = _STATUS_LINE.fullmatch(lines[0]) if lines else None
    return lines if whole is None else lines[1:], whole


def _parse_fields(lines: List[str]) -> Tuple[Fields, Tuple[str, ...]]:
    """The fields in `lines`, which have no ends, and the beginnings of lines that are dropped; a fault for
    other lines that are no fields (as in http1_fields.py)."""
    if len(lines) > MAX_FIELDS:
        raise _fault(f"it sent more than {MAX_FIELDS} header fields")
    dropped = [line for line in lines if _NO_NAME.fullmatch(line) is not None]
    fields = [parse_field(line + "\r\n") for line in lines if line not in dropped]
    names = [name.lower() for name, _ in fields]
    for name in _SINGLE.intersection(names):
        if names.count(name) > 1:
            # RFC 3875 6.3: at most one of each.
            raise _fault(f"it sent the header {name} twice")
    return fields, tuple(map(excerpt, dropped))


def _read_status(digits: str, reason: Optional[str]) -> Tuple[int, Optional[str]]:
    if not "200" <= digits <= "599":
        raise _fault(f"its status {digits} is none of an answer")
    return int(digits), reason or None


def _interpret(table: Dict[str, str], kept: Fields, length: Optional[int]) -> CgiHead:
    """The head of these fields by the rules of RFC 3875 6.2; `kept` are those for the client."""
    if not _NEEDED.intersection(table):
        raise _fault("it sent none of the headers Content-Type, Location and Status")
    location, status = table.get("location"), table.get("status")
    if status is not None:
        found = _STATUS.fullmatch(status)
        if found is None:
            raise _fault(f"its Status {excerpt(status)} is not a number from 200 to 599 and a text")
        return CgiHead(*_read_status(*found.groups()), kept, length)
    if location is None:
        return CgiHead(200, None, kept, length)
    if _REFERENCE.fullmatch(location) is None:
        raise _fault(f"its Location {excerpt(location)} is no URL")
    # RFC 3875 6.2.2: a path and no other field.  With others it was meant for the client.
    if len(table) == 1 and _LOCAL.fullmatch(location) is not None:
        return CgiHead(302, None, [], None, location)
    # RFC 3875 6.2.3: the server sends 302.
    return CgiHead(302, None, kept, length)
