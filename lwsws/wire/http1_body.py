"""Message bodies of HTTP/1: the bytes that belong to one, taken off the front of a receive buffer.

A body is an object with `read(buffer)`, which takes and returns what is there (nothing while more bytes
are needed), `complete`, and `limit(max_bytes)`.  `SizedBody` counts, `UnsizedBody` takes all there is, and
`ChunkedBody` goes through lines:

    SIZE -> (data) -> DATA_END -> SIZE -> ... -> SIZE of 0 -> TRAILER -> ... -> empty line, complete

Each of these lines has a limit in bytes, so a peer who sends no line end is stopped early, and the
search for the line end goes on where the last one stopped, so single bytes cost no more than many.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Optional

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_fields import parse_field

# RFC 9112 7.1: hexadecimal digits, nothing that int() would also take.  Extensions are skipped unread,
# but their characters are checked: an LF inside one has been used to hide requests (CVE-2024-52304).
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[\t ]*;[\t -~\x80-\xff]*)?)\r\n")

# An extension on each chunk of a byte makes much work of little data.  RFC 9112 7.1.1 asks to limit
# them; they may come to as many bytes as the data, and to this many more.
EXTENSION_ALLOWANCE = 4096

_LINE_END = b"\r\n"


class SizedBody:
    """A body of a known number of bytes (RFC 9112 6.2)."""

    __slots__ = ("_remaining", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._remaining = size

    @property
    def complete(self) -> bool:
        """Whether all of it was read."""
        return self._remaining == 0

    def limit(self, max_bytes: int) -> None:
        """RemoteProtocolError 413 if the body is longer than `max_bytes`."""
        if self._size > max_bytes:
            raise _too_large(max_bytes)

    def read(self, buffer: bytearray) -> bytes:
        """Take what `buffer` has of the body."""
        if len(buffer) <= self._remaining:
            data = bytes(buffer)
            buffer.clear()
        else:
            data = bytes(buffer[: self._remaining])
            del buffer[: self._remaining]
        self._remaining -= len(data)
        return data

    @property
    def remaining(self) -> int:
        """How many bytes are still to come."""
        return self._remaining

    def skip(self, count: int) -> None:
        """The next `count` bytes, `remaining` at most, went another way."""
        self._remaining -= count


class UnsizedBody:
    """A body that ends with the connection (RFC 9112 6.3, rule 8)."""

    __slots__ = ()

    complete = False

    def limit(self, max_bytes: int) -> None:
        """Responses alone can be like this, and they have no limit."""

    def read(self, buffer: bytearray) -> bytes:
        """Take all that is there."""
        data = bytes(buffer)
        buffer.clear()
        return data


class Line(Enum):
    """The line that a chunked body goes on with once the data of the chunk has been read."""

    SIZE = "size"
    DATA_END = "data end"
    TRAILER = "trailer"


class ChunkedBody:
    """A body in chunks (RFC 9112 7.1).  Its trailer fields are checked and thrown away."""

    __slots__ = (
        "_extensions",
        "_limits",
        "_line",
        "_max_bytes",
        "_remaining",
        "_scanned",
        "_size",
        "complete",
    )

    def __init__(self, line_bytes: int, trailer_bytes: int) -> None:
        self.complete = False
        self._line = Line.SIZE
        # What each line may come to, its end included; that of the trailers is for all of them.
        self._limits = {Line.SIZE: line_bytes, Line.DATA_END: len(_LINE_END), Line.TRAILER: trailer_bytes}
        self._max_bytes: Optional[int] = None
        self._size = 0  # the sum of the chunk sizes so far
        self._remaining = 0  # of the data of this chunk
        self._extensions = 0
        self._scanned = 0  # so many bytes of the buffer hold no line end

    def limit(self, max_bytes: int) -> None:
        """RemoteProtocolError 413, now or later, as soon as the chunks come to more than `max_bytes`."""
        self._max_bytes = max_bytes
        self._check_size()

    def read(self, buffer: bytearray) -> bytes:
        """Take what `buffer` has of the next chunk's data, and the framing in front of it."""
        while not self.complete and buffer:
            if self._remaining:
                return self._take_data(buffer)
            line = self._take_line(buffer)
            if line is None:
                break
            self._line_received(line)
        return b""

    def _take_data(self, buffer: bytearray) -> bytes:
        data = bytes(buffer[: self._remaining])
        del buffer[: self._remaining]
        self._remaining -= len(data)
        return data

    def _take_line(self, buffer: bytearray) -> Optional[bytes]:
        """The next line with its end, None if it is not all there; an error if it cannot end in time."""
        limit = self._limits[self._line]
        end = buffer.find(b"\n", self._scanned, limit) + 1
        if not end:
            if len(buffer) >= limit:
                raise self._line_too_long()
            self._scanned = len(buffer)
            return None
        line = bytes(buffer[:end])
        del buffer[:end]
        self._scanned = 0
        return line

    def _line_too_long(self) -> RemoteProtocolError:
        if self._line is Line.SIZE:
            return RemoteProtocolError(400, f"a chunk size line over {self._limits[Line.SIZE]} bytes")
        if self._line is Line.TRAILER:
            return RemoteProtocolError(431, "the trailer fields are too long")
        return RemoteProtocolError(400, "a chunk is longer than its size says")

    def _line_received(self, line: bytes) -> None:
        if self._line is Line.SIZE:
            self._size_received(line)
        elif self._line is Line.TRAILER:
            self._trailer_received(line)
        elif line == _LINE_END:
            self._line = Line.SIZE
        else:
            raise RemoteProtocolError(400, "a chunk does not end in CR LF")

    def _size_received(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise RemoteProtocolError(400, "a malformed chunk size line")
        self._remaining = int(found.group(1), 16)
        self._size += self._remaining
        self._check_size()
        self._extensions += len(found.group(2))
        if self._extensions > self._size + EXTENSION_ALLOWANCE:
            raise RemoteProtocolError(400, "more bytes of chunk extensions than of data")
        # RFC 9112 7.1: last-chunk = 1*("0"), and then the trailer section.
        self._line = Line.DATA_END if self._remaining else Line.TRAILER

    def _trailer_received(self, line: bytes) -> None:
        if line == _LINE_END:
            self.complete = True
            return
        # RFC 9110 6.5.1: trailers must not be merged into the header fields; we have no use for them.
        parse_field(line.decode("latin-1"))
        self._limits[Line.TRAILER] -= len(line)

    def _check_size(self) -> None:
        if self._max_bytes is not None and self._size > self._max_bytes:
            raise _too_large(self._max_bytes)


def _too_large(max_bytes: int) -> RemoteProtocolError:
    return RemoteProtocolError(413, f"the body is longer than {max_bytes} bytes")
