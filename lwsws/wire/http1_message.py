"""What reading requests and reading responses of HTTP/1 have in common: a head of lines, then a body.

    reader.receive_data(data)       what the peer sent, in pieces of any size
    reader.next_event()             the head, then Data ..., then EndOfMessage; None: more bytes needed

A reader is always in one state, and the state decides who looks at the bytes:

    HEAD --head--> BODY --Data--> ... --> END --EndOfMessage--> DONE
         --head (no body)---------------> END         any fault --> FAILED

In FAILED nothing more is read: what follows a fault may be a second message that only one of two
servers on the path would see (RFC 9112 11.2).

A head nearly always arrives whole and within its limits; then it is parsed at once.  While it is incomplete,
or if it is too much, `_check_lines` goes through it line by line, remembers how far it came, and raises
the first fault.  Both ways judge a line alike, and what takes more than one line is decided when the head
is complete, so the outcome never depends on how the bytes were cut into pieces; a fault only shows itself
as early as it can.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Callable, ClassVar, Dict, Generic, NamedTuple, NoReturn, Optional, TypeVar, Union

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_body import ChunkedBody, SizedBody, UnsizedBody
from lwsws.wire.http1_fields import parse_field

_HEAD_END = b"\r\n\r\n"


class Limits(NamedTuple):
    """How much of the peer's framing is taken; line ends are counted except in `line_bytes`."""

    line_bytes: int = 8192  # request line; RFC 9112 3 recommends at least 8000.  Below head_bytes.
    head_bytes: int = 16384  # first line and fields; as Node's --max-http-header-size
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
    """The message is complete, body and all."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "EndOfMessage()"


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

Head = TypeVar("Head")


class MessageReader(Generic[Head]):
    """Turns bytes into the events of messages; what a head is, is for `RequestReader` or `ResponseReader`."""

    __slots__ = ("_body", "_buffer", "_eof", "_limits", "_line", "_lines", "_scanned", "_start", "_state")

    # For the errors.
    MESSAGE: ClassVar[str]
    FIRST_LINE: ClassVar[str]
    # RFC 9112 2.2: ignore at least one empty line received prior to the request line; of none before
    # a status line is said anything.
    SKIPS_EMPTY_LINE: ClassVar[bool]

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = HEAD
        self._buffer = bytearray()
        self._eof = False
        self._body: Union[SizedBody, ChunkedBody, UnsizedBody, None] = None
        self._start = 0  # of the head in the buffer: behind an empty line
        self._scanned = 0  # no end of the head begins before this position
        self._line = 0  # the first line that _check_lines has not seen to its end begins here
        self._lines = 0  # and so many are before it

    @property
    def started(self) -> bool:
        """Whether some byte is held, or was read, of a message that is not complete yet."""
        return self._state is BODY or self._state is END or len(self._buffer) > self._start

    @property
    def done(self) -> bool:
        """Whether the message is complete: EndOfMessage, or a 101, was given out."""
        return self._state is DONE

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

    def next_event(self) -> Optional[Union[Head, Data, EndOfMessage]]:
        """The next event; None if more bytes are needed first.

        RemoteProtocolError, once, if the peer broke a rule, also if he closed inside a message.
        """
        try:
            event: Optional[Union[Head, Data, EndOfMessage]] = _READERS[self._state](self)
            if event is None and self._eof and (self._state is HEAD or self._state is BODY):
                event = self._input_ended()
            return event
        except RemoteProtocolError as error:
            self._state = FAILED
            self._fail(error)

    def leftover(self) -> bytes:
        """Take out the bytes not used yet, after a fault in a head all of it, for another role to read."""
        data = bytes(self._buffer)
        self._drop(len(data))
        return data

    def _drop(self, count: int) -> None:
        """Remove what was used from the buffer; a head would begin behind it."""
        del self._buffer[:count]
        self._start = self._scanned = self._line = self._lines = 0

    # What the two kinds of messages differ in

    def _parse_head(self, raw: bytes) -> Head:
        """The message with this head, the empty line at its end included; sets `_state` and `_body`."""
        raise NotImplementedError

    def _check_first_byte(self) -> None:
        """Refuse what cannot become a message without waiting for a line end that may never come."""
        raise NotImplementedError

    def _check_first_line(self, line: str) -> None:
        """Raise what is wrong with the first line (its end included), if anything is."""
        raise NotImplementedError

    def _input_ended(self) -> Optional[EndOfMessage]:
        """The peer has closed, and all that came was used, in the state HEAD or BODY."""
        raise NotImplementedError

    def _fail(self, error: RemoteProtocolError) -> NoReturn:
        """Raise `error`, perhaps with another status."""
        raise error

    # Heads

    def _read_head(self) -> Optional[Head]:
        buffer = self._buffer
        if self._start == 0 and self.SKIPS_EMPTY_LINE and buffer.startswith(b"\r\n"):
            self._start = self._scanned = self._line = 2
        end = buffer.find(_HEAD_END, self._scanned)
        if end < 0:
            self._check_lines()
            self._scanned = max(len(buffer) - len(_HEAD_END) + 1, self._start)
            return None
        end += len(_HEAD_END)
        head = self._parse_head(bytes(buffer[self._start : end]))
        self._drop(end)
        return head

    def _count_fields(self, raw: bytes) -> int:
        """How many field lines a complete head has; raises if it is too much."""
        limits = self._limits
        count = raw.count(b"\n") - 2  # all lines but the first and the last
        if len(raw) > limits.line_bytes or len(raw) > limits.head_bytes or count > limits.header_count:
            self._check_lines()  # which line is too much, or malformed before that
        return count

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

    def _check_length(self, end: int) -> None:
        """Refuse a head whose present line ends at `end` in the buffer, or later."""
        limits = self._limits
        if self._lines == 0 and end - self._start > limits.line_bytes + 2:
            raise RemoteProtocolError(414, f"the {self.FIRST_LINE} is over {limits.line_bytes} bytes")
        if end - self._start > limits.head_bytes:
            raise RemoteProtocolError(431, f"the {self.MESSAGE} head is over {limits.head_bytes} bytes")

    def _check_line(self, line: str) -> None:
        if self._lines == 0:
            self._check_first_line(line)
            return
        # The first line is line 0, so this is the number of the field.
        if self._lines > self._limits.header_count:
            raise RemoteProtocolError(431, f"more than {self._limits.header_count} headers")
        parse_field(line)

    # Bodies

    def _chunked_body(self) -> ChunkedBody:
        return ChunkedBody(self._limits.chunk_line, self._limits.trailer_bytes)

    def _read_body(self) -> Optional[Union[Data, EndOfMessage]]:
        assert self._body is not None
        data = self._body.read(self._buffer)
        if self._body.complete:
            self._body = None
            self._state = END
            return Data(data) if data else self._read_end()
        return Data(data) if data else None

    def _read_end(self) -> EndOfMessage:
        self._state = DONE
        return _END_OF_MESSAGE

    def _read_nothing(self) -> None:
        return None


_READERS: Dict[State, Callable[[Any], Any]] = {
    HEAD: MessageReader._read_head,
    BODY: MessageReader._read_body,
    END: MessageReader._read_end,
    DONE: MessageReader._read_nothing,
    FAILED: MessageReader._read_nothing,
}
