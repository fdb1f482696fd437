"""The output queue of a transport: bytes and slices of files that wait for the socket, in order.

Small pieces are joined as they come, so that a slow reader cannot make us hold thousands of tiny
objects; large ones are kept as they are.  The leading pieces that are bytes go out together by one
sendmsg, with MSG_MORE if something follows them, so that a response head shares its packet with the
first bytes of the file.  A slice of a file at the head goes out by sendfile, and for files that
sendfile cannot take by reading and sending, if it says so before the first byte of the slice.

Who must see the bytes before they go out, as TLS must, takes them block by block instead.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from typing import Callable, Deque, List, Optional, Tuple, Union

# A piece below this is copied to the end of the piece before it: cheaper than an object of its own.
SMALL_BYTES = 4096
# A joined piece grows to this and no further: what was sent of it is only freed as a whole.
JOINED_BYTES = 65536
# At most so many pieces in one sendmsg (IOV_MAX is 1024); more than fits into a socket buffer anyway.
MAX_VIEWS = 64
# What is read at a time from a file that sendfile cannot take.
PLAIN_CHUNK = 65536
# sendfile cannot take this kind of file.
SENDFILE_UNSUPPORTED = frozenset(
    (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EOVERFLOW)
)


class FileEnded(Exception):
    """A file ended before the end of its slice: it was cut after its size was promised."""


def nothing() -> None:
    """The release of a slice whose fd belongs to somebody else."""


class FileSlice:
    """`remaining` bytes of the open file `fd` from `offset` on; `release` is called once, when they are
    sent or dropped, and is the place to close the fd."""

    __slots__ = ("fd", "offset", "remaining", "plain", "started", "_release")

    def __init__(self, fd: int, offset: int, remaining: int, release: Callable[[], None] = nothing) -> None:
        self.fd = fd
        self.offset = offset
        self.remaining = remaining
        # Read and sent, because sendfile does not work with this file.
        self.plain = False
        # Some byte of it was sent: sendfile does work.
        self.started = False
        self._release: Optional[Callable[[], None]] = release

    def send(self, sock: socket.socket, limit: int) -> Tuple[int, int]:
        """Send at most `limit` bytes; returns and raises as OutputQueue.send_some."""
        wanted = min(self.remaining, limit)
        sent = 0
        if not self.plain:
            try:
                sent = os.sendfile(sock.fileno(), self.fd, self.offset, wanted)
            except OSError as exc:
                if self.started or exc.errno not in SENDFILE_UNSUPPORTED:
                    raise
                self.plain = True
        if self.plain:
            data = os.pread(self.fd, min(wanted, PLAIN_CHUNK), self.offset)
            wanted = len(data)
            sent = sock.send(data) if data else 0
        if not sent:
            raise self._ended()
        return wanted, sent

    def take(self, limit: int) -> bytes:
        """The next bytes, at most `limit`, which count as sent.  OSError of the file; FileEnded."""
        data = os.pread(self.fd, min(self.remaining, limit), self.offset)
        if not data:
            raise self._ended()
        self.advance(len(data))
        return data

    def advance(self, count: int) -> None:
        """`count` more bytes were sent."""
        self.started = True
        self.offset += count
        self.remaining -= count

    def close(self) -> None:
        """Have no more use for the file; a second call has no effect."""
        release = self._release
        if release is not None:
            self._release = None
            release()

    def _ended(self) -> FileEnded:
        """A false end would be worse: the head with the length is out, so the transport breaks off."""
        return FileEnded(f"a file ended {self.remaining} bytes before its promised size")


Piece = Union[bytes, bytearray, FileSlice]


class OutputQueue:
    """What waits to be sent.  `size` counts its bytes, those in files included."""

    __slots__ = ("size", "_pieces", "_sent_of_first")

    def __init__(self) -> None:
        self.size = 0
        self._pieces: Deque[Piece] = deque()
        self._sent_of_first = 0  # of a first piece that is no file

    def append(self, data: bytes) -> None:
        """Add `data` at the end.  It must not be changed later."""
        pieces = self._pieces
        count = len(data)
        self.size += count
        if count >= SMALL_BYTES:
            pieces.append(data)
        elif pieces and isinstance(pieces[-1], bytearray) and len(pieces[-1]) < JOINED_BYTES:
            pieces[-1] += data
        elif count:
            pieces.append(bytearray(data))

    def append_file(self, piece: FileSlice) -> None:
        """Add a slice of a file at the end; an empty one is released at once."""
        if piece.remaining <= 0:
            piece.close()
            return
        self.size += piece.remaining
        self._pieces.append(piece)

    def send_some(self, sock: socket.socket, limit: int) -> Tuple[int, int]:
        """Send what is at the head, of a file at most `limit` bytes; the queue must not be empty.

        Returns how many bytes were to go and how many did: fewer means that the socket is full.
        OSError as of the socket (BlockingIOError: not a byte went); FileEnded.
        """
        first = self._pieces[0]
        if isinstance(first, FileSlice):
            wanted, sent = first.send(sock, limit)
        else:
            views, followed = self.views()
            wanted = sum(map(len, views))
            sent = sock.sendmsg(views, (), socket.MSG_MORE if followed else 0)
        self.advance(sent)
        return wanted, sent

    def views(self) -> Tuple[List[memoryview], bool]:
        """The bytes to be sent next, up to the first file, and whether more comes right behind them.

        Drop the views before the next append: a piece that is viewed cannot grow.
        """
        views: List[memoryview] = []
        for piece in self._pieces:
            if isinstance(piece, FileSlice) or len(views) == MAX_VIEWS:
                break
            views.append(memoryview(piece))
        if self._sent_of_first:
            views[0] = views[0][self._sent_of_first :]
        return views, len(views) < len(self._pieces)

    def advance(self, count: int) -> None:
        """The first `count` bytes were sent: drop them, and release the file they complete."""
        self.size -= count
        pieces = self._pieces
        while count:
            first = pieces[0]
            if isinstance(first, FileSlice):
                count = self._advance_file(first, count)
                continue
            left = len(first) - self._sent_of_first
            if count < left:
                self._sent_of_first += count
                return
            count -= left
            self._sent_of_first = 0
            pieces.popleft()

    def take(self, limit: int) -> memoryview:
        """Take out the next bytes as one block of about `limit`, for whoever sends them by himself; `size`
        goes on counting them.  Pieces much smaller are joined, of a file at most `limit` bytes are read.

        The queue must not be empty.  OSError of the file; FileEnded.
        """
        joined = bytearray()
        while self._pieces and len(joined) < limit:
            try:
                data = self._take_of_first(limit - len(joined))
            except FileEnded:
                if not joined:
                    raise
                break  # the next call says so again
            if not joined and len(data) >= limit // 4:
                return data
            joined += data
        return memoryview(joined)

    def clear(self) -> None:
        """Drop everything and release the files."""
        self.size = 0
        self._sent_of_first = 0
        pieces, self._pieces = self._pieces, deque()
        for piece in pieces:
            if isinstance(piece, FileSlice):
                piece.close()

    def _take_of_first(self, limit: int) -> memoryview:
        first = self._pieces[0]
        if isinstance(first, FileSlice):
            data = first.take(limit)
            self._drop_if_sent(first)
            return memoryview(data)
        begin = self._sent_of_first
        # One that could still grow goes as a whole: a piece that is viewed cannot.
        end = min(len(first), begin + limit) if isinstance(first, bytes) else len(first)
        if end < len(first):
            self._sent_of_first = end
        else:
            self._sent_of_first = 0
            self._pieces.popleft()
        return memoryview(first)[begin:end]

    def _advance_file(self, piece: FileSlice, count: int) -> int:
        taken = min(count, piece.remaining)
        piece.advance(taken)
        self._drop_if_sent(piece)
        return count - taken

    def _drop_if_sent(self, piece: FileSlice) -> None:
        if not piece.remaining:
            self._pieces.popleft()
            piece.close()
