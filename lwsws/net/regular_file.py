"""Reading a small file whose name comes from the configuration, whatever there may be under that name.

A FIFO or a terminal must not stop the server, and a file that is larger than it can sensibly be is not read
into memory.
"""

from __future__ import annotations

import os
import stat


class NotRegular(OSError):
    """There is something else than a file."""


class TooLarge(OSError):
    """The file is larger than allowed."""


def read_regular_file(path: str, most: int) -> bytes:
    """The content of the file at `path`, of at most `most` bytes.

    OSError as of open(2) and read(2), NotRegular and TooLarge; all say why in `strerror`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotRegular(0, "not a regular file")
        data = b""
        while len(data) <= most:
            piece = os.read(fd, most + 1 - len(data))
            if not piece:
                return data
            data += piece
        raise TooLarge(0, f"larger than {most} bytes")
    finally:
        os.close(fd)
