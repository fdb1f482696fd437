"""Files in memory, without a name: bytes that go to another process, or to a library that wants a file name.

A file made here is sealed: nobody can change it any more, neither who gets it nor who made it (fcntl(2),
F_ADD_SEALS).  Whoever has the descriptor may open it by the name of name_of(), whatever the rights of the
one who made it were (LESSONS T9).  Linux 3.17 and newer have them; small systems may not.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import List

# linux/memfd.h: never a program.  Linux 6.3; some systems demand it (sysctl vm.memfd_noexec), older ones do
# not know it.
MFD_NOEXEC_SEAL = 0x8
# The same the other way round.
MFD_EXEC = 0x10

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def has_memory_files() -> bool:
    """Whether this Python and this system have them, and /proc to give them a name."""
    return hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of a sealed file that holds `data`; `name` is what /proc shows.  OSError if there is none
    to be had."""
    fd = empty_memory_file(name)
    try:
        fill(fd, data)
    except OSError:
        os.close(fd)
        raise
    return fd


def fill(fd: int, data: bytes) -> None:
    """Write `data` to the empty file `fd`, and seal it.  OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left):]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)


def is_sealed(fd: int) -> bool:
    """Whether nobody can change `fd` any more."""
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS


def empty_memory_file(name: str) -> int:
    """A descriptor of a file that is still to be filled.  OSError as of memory_file()."""
    return _create(name, os.MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL)


def executable_memory_file(name: str) -> int:
    """The same for a program; nothing seals it."""
    return _create(name, 0, MFD_EXEC)


def _create(name: str, flags: int, newer: int) -> int:
    """An empty file, with the flag `newer` where the kernel knows it."""
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, "this system has no files in memory (memfd_create)")
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | flags | newer)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create(name, os.MFD_CLOEXEC | flags)


def name_of(fd: int) -> str:
    """By which name this process can open `fd` anew."""
    return f"/proc/self/fd/{fd}"


def read_memory_file(fd: int, most: int) -> bytes:
    """All that is in `fd`; OSError if that is more than `most` bytes."""
    size = os.fstat(fd).st_size
    if size > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes")
    pieces: List[bytes] = []
    at = 0
    while at < size:
        piece = os.pread(fd, size - at, at)
        if not piece:
            break
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
