"""An open file and its ways into an answer: whole, one range, or several as multipart/byteranges.

The size and the kind of a file come from the open fd, never from its name (LESSONS 3.15).  A small
piece is read and goes out in one write with the head; of a larger one the fd is lent to the output,
which sends from it as the client takes it and gives it back.  `with` closes what was not lent, so
no way out of a handler leaks an fd.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType
from typing import List, Optional, Sequence, Tuple, Type

from lwsws.core.exchange import Exchange, Field, HttpError
from lwsws.net.output import FileSlice
from lwsws.wire.http1_write import fixed_fields

# Up to this many bytes are copied through Python: one write, and the answer can be remembered.
# Above it a sendfile of its own is cheaper than the copies.
SMALL_FILE = 128 * 1024

# Random bytes in the boundary of a multipart answer: no file can hold it but by a chance of 2**-128.
BOUNDARY_BYTES = 16

NANOSECONDS = 10 ** 9

# OSError numbers that mean "there is no such file here", whatever the exact reason.
ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG, errno.ENXIO,
                    errno.ENODEV))
FORBIDDEN = frozenset((errno.EACCES, errno.EPERM))


def refusal(exc: OSError) -> HttpError:
    """What to answer when a file cannot be opened or read."""
    if exc.errno in ABSENT:
        return HttpError(404)
    if exc.errno in FORBIDDEN:
        return HttpError(403)
    # No fd or memory left, a lease or a rename in the way, a failing disk: not the client's doing.
    return HttpError(503, f"The file cannot be read now: {os.strerror(exc.errno or 0)}.")


class OpenFile:
    """An fd with its stat result; closed once, at the end of `with` or when the output is done with it."""

    __slots__ = ("fd", "info", "_lent")

    def __init__(self, fd: int) -> None:
        """Takes the fd over; OSError if it cannot be looked at."""
        self.fd = fd
        self._lent = False
        try:
            self.info = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], exc: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        if not self._lent:
            self.close()

    @property
    def is_regular(self) -> bool:
        """A plain file: no directory, FIFO or device."""
        return stat.S_ISREG(self.info.st_mode)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.info.st_size

    @property
    def mtime(self) -> int:
        """When it was last changed, in whole seconds since 1970."""
        return self.info.st_mtime_ns // NANOSECONDS

    def close(self) -> None:
        """Close the fd; more often does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, first: int, count: int) -> bytes:
        """The `count` bytes from `first` on; HttpError if the file has become shorter meanwhile."""
        try:
            data = os.pread(self.fd, count, first)
        except OSError as exc:
            raise refusal(exc) from exc
        if len(data) != count:
            raise HttpError(503, "The file is being changed at this moment; try again.")
        return data

    def lend(self, first: int, count: int) -> FileSlice:
        """A piece for the output, which closes the fd when it is done with this piece."""
        self._lent = True
        return FileSlice(self.fd, first, count, self.close)

    def lend_early(self, first: int, count: int) -> FileSlice:
        """A piece for the output that is followed by another one: the fd stays open."""
        return FileSlice(self.fd, first, count, _keep_open)


def _keep_open() -> None:
    """What the output calls when it is done with a piece that is not the last."""


def send_piece(exchange: Exchange, status: int, fields: List[Field], file: OpenFile,
               first: int, count: int) -> None:
    """Answer with `count` bytes of `file` from `first` on; of a HEAD only the head is sent."""
    if exchange.request.method == "HEAD":
        exchange.start(status, fields, count)
    elif count <= SMALL_FILE:
        exchange.respond(status, fields, file.read(first, count))
        return
    else:
        exchange.start(status, fields, count, more=True)
        exchange.send_file(file.lend(first, count))
    exchange.finish()


def send_pieces(exchange: Exchange, fields: List[Field], file: OpenFile, ranges: Sequence[Tuple[int, int]],
                media: str) -> None:
    """Answer with several ranges (first and last byte) of `file` as 206 multipart/byteranges.

    `fields` are those of a 200; `media` is the type of the file, "" for none.  RFC 9110 14.6.
    """
    boundary = os.urandom(BOUNDARY_BYTES).hex()
    heads = [_part_head(boundary, first, last, file.info.st_size, media) for first, last in ranges]
    heads[0] = heads[0][len(b"\r\n"):]
    tail = f"\r\n--{boundary}--\r\n".encode("ascii")
    length = sum(map(len, heads)) + sum(last - first + 1 for first, last in ranges) + len(tail)
    kept = [field for field in fields if field[0] != "Content-Type"]
    fields = [("Content-Type", f"multipart/byteranges; boundary={boundary}"), *kept]
    exchange.start(206, fields, length, more=True)
    for head, (first, last) in zip(heads[:-1], ranges):
        exchange.write(head)
        exchange.send_file(file.lend_early(first, last - first + 1))
    first, last = ranges[-1]
    exchange.write(heads[-1])
    exchange.send_file(file.lend(first, last - first + 1))
    exchange.write(tail)
    exchange.finish()


def content_range(first: int, last: int, size: int) -> Field:
    """The field that says which bytes of how many these are (RFC 9110 14.4)."""
    return "Content-Range", f"bytes {first}-{last}/{size}"


def _part_head(boundary: str, first: int, last: int, size: int, media: str) -> bytes:
    """What stands before the bytes of one part, with the line end that closes the part before."""
    fields = [content_range(first, last, size)]
    if media:
        fields.insert(0, ("Content-Type", media))
    return f"\r\n--{boundary}\r\n".encode("ascii") + fixed_fields(fields) + b"\r\n"
