"""One call of a WSGI application (PEP 3333), from its first line to close(), on one thread.

What the application says by start_response() is checked when it says it, so that the traceback shows who
did.  The head leaves with the first piece of the body.  Where the whole length is known by then, be it from
the application's own Content-Length or because the body is a list, the answer ends with its last byte, and
close() may take its time.

The server itself sends Connection, Transfer-Encoding and the like; an application that does breaks a rule of
PEP 3333.  A body that is longer than its Content-Length is cut off there, one that is shorter is a fault.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Type
from wsgiref.util import FileWrapper, is_hop_by_hop

from lwsws.builtin.wsgi_answer import ROOM, Answer, Head
from lwsws.builtin.wsgi_streams import ErrorStream

Application = Callable[..., Iterable[bytes]]
ExcInfo = Tuple[Type[BaseException], BaseException, TracebackType]

# RFC 9110 15: of an answer that is final; PEP 3333 wants the phrase, which RFC 9112 4 lets be empty.
_STATUS = re.compile(r"([2-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,18}")

# Blocks of a FileWrapper are as long as the application says, 8 KiB by default; each costs a turn.
FILE_BLOCK = 64 * 1024


class Call:
    """The call that answers one request.  All but `began` is for the thread that runs it."""

    __slots__ = ("_application", "_environ", "_answer", "_errors", "_head", "_no_body", "_sent", "_left",
                 "_ended", "began")

    def __init__(self, application: Application, environ: Dict[str, Any], answer: Answer,
                 errors: ErrorStream) -> None:
        self._application = application
        self._environ = environ
        self._answer = answer
        self._errors = errors
        self._head: Optional[Head] = None
        self._no_body = environ["REQUEST_METHOD"] == "HEAD"
        self._sent = False      # the head is on its way
        self._left: Optional[int] = None    # of the announced length
        self._ended = False     # and so is all of it
        self.began = False

    def run(self) -> None:
        """Call the application and send what it gives.  Raises what that raises, and ClientGone."""
        self.began = True
        if self._answer.gone:
            return
        try:
            result = self._application(self._environ, self.start_response)
            try:
                self._send_all(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        finally:
            self._errors.end()

    def start_response(self, status: str, headers: List[Tuple[str, str]],
                       exc_info: Optional[ExcInfo] = None) -> Callable[[bytes], None]:
        """What PEP 3333 calls so.  TypeError and ValueError for a head that cannot be sent."""
        if exc_info:
            try:
                if self._sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None     # which makes a circle
        elif self._head is not None:
            raise RuntimeError("start_response was called before, and exc_info is not given")
        self._head = check_head(status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client is slow.  ClientGone."""
        check_bytes(data)
        if not data:
            return
        self._send_head()
        if self._no_body:
            return
        if self._left is not None and len(data) > self._left:
            excess = len(data) - self._left
            self._errors.write(f"the answer is longer than its Content-Length: cut off {excess} bytes\n")
            data = data[:self._left]
        for begin in range(0, len(data), ROOM):
            piece = data[begin:begin + ROOM]
            if self._left is not None:
                self._left -= len(piece)
            self._ended = self._left == 0
            self._answer.send(piece, self._ended)

    def _send_all(self, result: Iterable[bytes]) -> None:
        """Send `result` and end the answer."""
        if isinstance(result, (list, tuple)):
            result = self._whole(result)
        elif isinstance(result, FileWrapper):
            result.blksize = max(result.blksize, FILE_BLOCK)
        for piece in result:
            check_bytes(piece)
            if piece and (self._ended or (self._no_body and self._sent)):
                break   # more than there is room for
            self.write(piece)
        self._end()

    def _whole(self, pieces: Iterable[bytes]) -> Iterable[bytes]:
        """The same body, all of which is there: its length is known, and if it is short it is one piece."""
        total = 0
        for piece in pieces:
            check_bytes(piece)
            total += len(piece)
        if total and not self._sent and self._head is not None and self._head.length is None:
            self._head = self._head._replace(length=total)
        return [b"".join(pieces)] if total <= ROOM else pieces

    def _send_head(self) -> None:
        """The head is on its way from now on, if it is not yet."""
        if self._sent:
            return
        head = self._head
        if head is None:
            raise RuntimeError("start_response was not called before the first piece of the body")
        self._sent = True
        # RFC 9110 6.4.1: no body in answers to HEAD, nor in 204 and 304.
        self._no_body = self._no_body or head.status in (204, 304)
        self._left = head.length
        self._answer.begin(head)

    def _end(self) -> None:
        """Nothing follows."""
        if not self._sent and self._head is not None and self._head.length is None and not self._no_body:
            self._head = self._head._replace(length=0)
        self._send_head()
        if self._left and not self._no_body:
            raise ValueError(f"the answer is {self._left} bytes shorter than its Content-Length")
        if not self._ended:
            self._ended = True
            self._answer.send(b"", True)


def check_bytes(data: object) -> None:
    """TypeError for a piece of a body that is none."""
    if not isinstance(data, bytes):
        raise TypeError(f"the body of an answer is of bytes, not of {type(data).__name__}")


def check_head(status: object, headers: object) -> Head:
    """What was given to start_response; TypeError or ValueError if it cannot be sent."""
    if not isinstance(status, str):
        raise TypeError(f"the status is a str, not a {type(status).__name__}")
    found = _STATUS.fullmatch(status)
    if found is None:
        raise ValueError(f"{status!a} is no status: it is three digits from 200 to 599, a space and a phrase")
    if not isinstance(headers, list):
        raise TypeError(f"the headers are a list, not a {type(headers).__name__}")
    fields = []
    length: Optional[int] = None
    for header in headers:
        name, value = check_header(header)
        if name.lower() != "content-length":
            fields.append((name, value))
        elif length is not None or _LENGTH.fullmatch(value) is None:
            raise ValueError(f"Content-Length {value!a} is not one number")
        else:
            length = int(value)
    return Head(int(found[1]), found[2], fields, length)


def check_header(header: object) -> Tuple[str, str]:
    """One of the headers; TypeError or ValueError if it cannot be sent."""
    if not isinstance(header, tuple) or len(header) != 2:
        raise TypeError(f"a header is a tuple of name and value, not {header!a}")
    name, value = header
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"name and value of a header are str, not {header!a}")
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!a} is no header name")
    if _VALUE.fullmatch(value) is None:
        raise ValueError(f"header {name}: {value!a} has a character that none may hold")
    if is_hop_by_hop(name):
        raise ValueError(f"the header {name} is the server's own to send (PEP 3333)")
    return name, value
