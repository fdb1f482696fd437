"""Files whose names come from the configuration, whatever there may be under such a name.

A FIFO or a terminal must not stop the server, a file that is larger than it can sensibly be is not read
into memory, and a log is never written through a link.

    read_regular_file(path, most)   its content
    file_state(path)                changes when the file does, or the way to it
    open_log_file(path)             a descriptor to append to

The parent process, which is root, does all three for its children (process/requests.py).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import List, Tuple

# No O_NOCTTY would make a terminal that is opened by root ours; O_NONBLOCK keeps a FIFO from holding us up.
READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# O_NOFOLLOW: a log directory writable by others must not make us append to any file.  O_NONBLOCK: nor may a
# FIFO there, that nobody reads, keep us waiting.
LOG_FLAGS = (os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
             | os.O_NOCTTY)

# Group may read (logrotate, log shippers), others may not: a log holds addresses and URLs.
LOG_MODE = 0o640
# As many links as the kernel follows on one way; path_resolution(7).
MAX_LINKS = 40

FileState = Tuple[int, ...]


class NotRegular(OSError):
    """There is something else than a file; its errno is EINVAL."""


class TooLarge(OSError):
    """The file is larger than allowed; its errno is EFBIG."""


def read_regular_file(path: str, most: int) -> bytes:
    """The content of the file at `path`, of at most `most` bytes.

    OSError as of open(2) and read(2), NotRegular and TooLarge; all say why in `strerror`.
    """
    return read_and_close(os.open(path, READ_FLAGS), most)


def read_and_close(fd: int, most: int) -> bytes:
    """The content of the open file `fd`, as read_regular_file(); it is closed."""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotRegular(errno.EINVAL, "not a regular file")
        pieces: List[bytes] = []
        left = most + 1
        while left > 0:
            piece = os.read(fd, left)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            left -= len(piece)
        raise TooLarge(errno.EFBIG, f"larger than {most} bytes")
    finally:
        os.close(fd)


def file_state(path: str) -> FileState:
    """What tells versions of the file at `path` apart, be it changed, replaced, or made readable.

    A file that cannot be looked at has a state, too: the one number that says why.
    """
    try:
        return state_of(os.stat(path))
    except OSError as error:
        return (error.errno or errno.EIO,)


def state_of(info: os.stat_result) -> FileState:
    """The state of a file of which stat(2) says `info`."""
    # st_ctime_ns tells of an access list, too; the mode is there for clocks that tick slowly.
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns,
            info.st_mode, info.st_uid, info.st_gid)


def changed_at(state: FileState) -> int:
    """When the content of a file in that state was last changed, in nanoseconds; 0 if it cannot be told."""
    return 0 if len(state) == 1 else state[3]


def open_log_file(path: str) -> int:
    """A descriptor that appends to the log at `path`, created if need be; OSError if that cannot be."""
    fd = os.open(path, LOG_FLAGS, LOG_MODE)
    try:
        demand_one_name(fd, path)
    except OSError:
        os.close(fd)
        raise
    return fd


def demand_one_name(fd: int, path: str) -> None:
    """PermissionError if the file `fd`, found at `path`, has other names, too.

    With a hard link, who may write to the directory of a log could make root append to any file.
    """
    info = os.fstat(fd)
    if stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
        raise PermissionError(errno.EPERM, "the file has several names (hard links)", path)


def steps_to(path: str) -> List[str]:
    """The names on the way that `path` is, the first one last, for who walks it by himself: he meets at most
    MAX_LINKS links."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
