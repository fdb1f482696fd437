"""A channel between the parent and a child: whole messages of a few text fields.

    parent -> child   a socket that keeps messages apart (SOCK_SEQPACKET), with open files beside the fields
    child -> parent   a pipe that does so (O_DIRECT of pipe(2)), through which no open file can come

So nothing but bytes ever comes up: the parent is root, and who writes may have been taken over.  To close a
file that somebody else has prepared can take as long as he likes, and the kernel does that in whoever has
it last.  The fields of a message are joined by NUL, so none may hold one; names that are not UTF-8 survive.
A message that was cut, or whose files did not all arrive, is a ChannelError, and what did arrive is closed.

Both are made before the fork, and one thread uses an end at a time.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import List, Optional, Sequence, Tuple

# The longest message to a child, in bytes; the socket buffer of every system holds one.
MAX_MESSAGE = 65536
# The longest one to the parent: what a pipe takes in one piece or not at all.
MAX_WORDS = select.PIPE_BUF
# Open files in one message, SCM_MAX_FD of linux/net/scm.h.
MAX_FDS = 253

FD_SIZE = struct.calcsize("i")


class ChannelError(Exception):
    """What arrived is not a whole message."""


class ParentEnd:
    """The parent's end, which never waits."""

    def __init__(self, sock: socket.socket, pipe: int) -> None:
        """`sock` leads to the child, `pipe` comes from it; both are its own from here on."""
        self._sock = sock
        self._pipe = pipe
        sock.setblocking(False)
        os.set_blocking(pipe, False)
        # What is sent the wrong way is refused, with all that is in it.
        sock.shutdown(socket.SHUT_RD)

    def fileno(self) -> int:
        """What is readable when the child has said something; -1 once it is closed."""
        return self._pipe

    def tell(self, fields: Sequence[str], fds: Sequence[int] = ()) -> None:
        """Send one message with copies of the open files `fds`: all of it or nothing.

        ValueError for what is no message: no fields or only an empty one, a NUL, too long, too many files.
        OSError if the child is gone, BlockingIOError if it does not read.
        """
        data = encode(fields, MAX_MESSAGE)
        if len(fds) > MAX_FDS:
            raise ValueError(f"{len(fds)} open files in one message, at most {MAX_FDS}")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        self._sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)

    def receive(self) -> Optional[List[str]]:
        """The fields of the next message; None if the child is gone.  BlockingIOError if there is none."""
        data = os.read(self._pipe, MAX_WORDS)
        return decode(data) if data else None

    def close(self) -> None:
        """Close this end; the child is told."""
        if self._pipe != -1:
            self._sock.close()
            os.close(self._pipe)
            self._pipe = -1


class ChildEnd:
    """The child's end, which waits for ever, until something else is said."""

    def __init__(self, sock: socket.socket, pipe: int) -> None:
        """`sock` comes from the parent, `pipe` leads to it; both are its own from here on."""
        self._sock = sock
        self._pipe = pipe
        os.set_blocking(pipe, False)

    @classmethod
    def of(cls, fds: Tuple[int, int]) -> ChildEnd:
        """The end that detach() gave these descriptors of."""
        return cls(socket.socket(fileno=fds[0]), fds[1])

    def fileno(self) -> int:
        """What is readable when the parent has said something; -1 once it is closed."""
        return self._sock.fileno()

    def set_timeout(self, seconds: Optional[float]) -> None:
        """How long tell() and receive() wait before they raise TimeoutError; None: for ever.  With 0 they do
        not wait, and raise BlockingIOError."""
        self._sock.settimeout(seconds)

    def tell(self, fields: Sequence[str]) -> None:
        """Send one message: all of it or nothing.

        ValueError for what is no message, as of the other end.  OSError if the parent is gone,
        BlockingIOError or TimeoutError if it does not read.
        """
        data = encode(fields, MAX_WORDS)
        try:
            os.write(self._pipe, data)
        except BlockingIOError:
            seconds = self._sock.gettimeout()
            if seconds == 0:
                raise
            poller = select.poll()      # select(2) takes no number above 1023
            poller.register(self._pipe, select.POLLOUT)
            if not poller.poll(None if seconds is None else seconds * 1000):
                raise TimeoutError("the parent process does not read") from None
            os.write(self._pipe, data)

    def receive(self, limit_fds: int = MAX_FDS) -> Optional[Tuple[List[str], List[int]]]:
        """The next message and the open files that came with it, now the caller's; None if the parent is
        gone.

        BlockingIOError or TimeoutError if nothing comes; ChannelError if the message was cut, or brought
        more than `limit_fds` files, or files that could not be had.
        """
        try:
            data, fds, is_whole = self._receive(limit_fds)
        except ConnectionResetError:
            return None
        if not is_whole or (fds and not data):
            close_all(fds)
            raise ChannelError("a message was cut")
        return (decode(data), fds) if data else None

    def _receive(self, limit_fds: int) -> Tuple[bytes, List[int], bool]:
        space = socket.CMSG_SPACE(limit_fds * FD_SIZE) if limit_fds else 0
        try:
            data, rights, flags, _ = self._sock.recvmsg(MAX_MESSAGE, space, socket.MSG_CMSG_CLOEXEC)
        except socket.timeout:
            raise TimeoutError("the parent process does not answer") from None
        fds: List[int] = []
        for level, kind, packed in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                count = len(packed) // FD_SIZE
                fds += struct.unpack(f"{count}i", packed[: count * FD_SIZE])
        cut = flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        # CMSG_SPACE rounds up, so one more than allowed may have fitted in.
        return data, fds, not cut and len(fds) <= limit_fds

    def detach(self) -> Tuple[int, int]:
        """Both descriptors, for another ChildEnd; this one is closed."""
        fds, self._pipe = (self._sock.detach(), self._pipe), -1
        return fds

    def close(self) -> None:
        """Close this end; the parent is told."""
        self._sock.close()
        if self._pipe != -1:
            os.close(self._pipe)
            self._pipe = -1


def channel_pair() -> Tuple[ParentEnd, ChildEnd]:
    """The two ends of one channel.  OSError if there is none to be had."""
    above, below = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        reader, writer = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        above.close()
        below.close()
        raise
    return ParentEnd(above, reader), ChildEnd(below, writer)


def encode(fields: Sequence[str], most: int) -> bytes:
    """The bytes of a message, at most `most`; ValueError as of tell()."""
    if any("\0" in field for field in fields):
        raise ValueError("a NUL in a message")
    data = "\0".join(fields).encode("utf-8", "surrogateescape")
    if not 0 < len(data) <= most:
        # Nothing at all would look like the end.
        raise ValueError(f"a message of {len(data)} bytes")
    return data


def decode(data: bytes) -> List[str]:
    """The fields of a message."""
    return data.decode("utf-8", "surrogateescape").split("\0")


def close_all(fds: Sequence[int]) -> None:
    """Close open files that nobody will use."""
    for fd in fds:
        os.close(fd)
