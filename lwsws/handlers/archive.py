"""File mounts whose directory lies inside the archive that lwsws runs from, as the example of lwsws.pyz does.

`open_root` chooses: a directory of the system (beneath.py), or one in the archive.  A file of the archive
is opened as a memfd that holds a copy of it, so everything behind it (ranges, siblings, sendfile) works on a
descriptor as ever.  Its date is that of the member, so Last-Modified stays the same from start to start; all
members of a reproducible archive have one date, so the fraction of its second is made of the checksum,
which makes the ETag change with the content.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Callable

from lwsws import archive
from lwsws.archive import Member, Place
from lwsws.handlers.beneath import DIRECTORY, Root, plain
from lwsws.net.memory_file import memory_file

NANOSECONDS = 10 ** 9


def open_root(path: str, symlinks: str, clock: Callable[[], float] = time.monotonic) -> Root:
    """The directory `path` as the root of a mount; `symlinks` as for Root."""
    place = archive.find(path)
    return Root(path, symlinks, clock) if place is None else ArchiveRoot(place, path)


class ArchiveRoot(Root):
    """A directory inside the archive; there are no links in it."""

    __slots__ = ("_place",)

    def __init__(self, place: Place, path: str) -> None:
        super().__init__(path)
        self._place = place

    def open(self, relative: str) -> int:
        """As Root.open()."""
        found = self._place.below(plain(relative))
        member = found.member
        if found.is_directory:
            # Which one it is does not matter: a directory is never listed, only recognised.
            return os.open("/", DIRECTORY)
        if member is None or relative.endswith("/"):
            code = errno.ENOENT if member is None else errno.ENOTDIR
            raise OSError(code, os.strerror(code), relative)
        return in_memory(member, found.read())


def in_memory(member: Member, data: bytes) -> int:
    """A descriptor of a file in memory that holds `data`, with the date of `member`."""
    fd = memory_file("lwsws-page", data)
    moment = member.date * NANOSECONDS + member.checksum % NANOSECONDS
    try:
        os.utime(fd, ns=(moment, moment))
    except OSError:
        os.close(fd)
        raise
    return fd
