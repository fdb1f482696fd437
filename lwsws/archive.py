"""Files inside the archive that lwsws runs from, when it does: `python3 lwsws.pyz` (see `make pyz`).

The example configuration and the pages of `share/` are members of the archive then, and there may be no
directory at all that we could unpack them to.  Their names are paths as any other: `/opt/lwsws.pyz/etc/conf`.

    find(path)   -> the Place of a path inside the running archive, or None: then it is a path of the system

The members are stored, not compressed, so what is read is a piece of the archive (APPNOTE 4.3.7, 4.3.12).  It
is opened once and read with pread: it goes on working after root is given up, or after a new archive has
taken the name of this one.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from typing import Callable, Dict, List, NamedTuple, Optional, Set

# End of central directory (4.3.16), an entry of it (4.3.12), and the head of a member (4.3.7).
END = struct.Struct("<4s4H2LH")
ENTRY = struct.Struct("<4s6H3L5H2L")
HEAD = struct.Struct("<4s5H3L2H")
END_MARK, ENTRY_MARK, HEAD_MARK = b"PK\5\6", b"PK\1\2", b"PK\3\4"


class Member(NamedTuple):
    """One file: where its head begins in the archive, its size, its checksum (CRC-32) and date (seconds)."""

    at: int
    size: int
    checksum: int
    date: int


class Place(NamedTuple):
    """A path inside the archive, whether there is something or not; `name` is "etc/conf", "" the whole."""

    archive: Archive
    name: str

    @property
    def member(self) -> Optional[Member]:
        """The file that is there, or None."""
        return self.archive.members.get(self.name)

    @property
    def is_directory(self) -> bool:
        """Whether there is a directory."""
        return self.name in self.archive.directories

    @property
    def exists(self) -> bool:
        """Whether there is a file or a directory."""
        return self.is_directory or self.member is not None

    def below(self, relative: str) -> Place:
        """The place `relative` (no ".." in it) beneath this directory."""
        parts = [part for part in f"{self.name}/{relative}".split("/") if part not in ("", ".")]
        return Place(self.archive, "/".join(parts))

    def list(self) -> List[str]:
        """The names in the directory; OSError if it is none."""
        if not self.is_directory:
            raise _error(errno.ENOENT if self.member is None else errno.ENOTDIR, self.name)
        prefix = f"{self.name}/" if self.name else ""
        names = {*self.archive.members, *self.archive.directories} - {self.name}
        return sorted({name[len(prefix):].partition("/")[0] for name in names if name.startswith(prefix)})

    def read(self) -> bytes:
        """The content of the file; OSError if it cannot be read."""
        member = self.member
        if member is None:
            raise _error(errno.EISDIR if self.is_directory else errno.ENOENT, self.name)
        return self.archive.read(member)


class Archive:
    """An open archive: `members` by their names, and the names of all directories they are in."""

    def __init__(self, path: str) -> None:
        """OSError or ValueError if it cannot be read."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.members = self._read_members()
        except struct.error:
            raise ValueError(f"{path} is no archive of lwsws") from None
        self.directories: Set[str] = {""}
        for name in self.members:
            while "/" in name:
                name = name.rpartition("/")[0]
                self.directories.add(name)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # By an argument, because at the end of the process there may be no `os` any more.
        if hasattr(self, "_fd"):
            close(self._fd)

    def _read_members(self) -> Dict[str, Member]:
        """The central directory.  Our archives end without a comment."""
        size = os.fstat(self._fd).st_size
        end = END.unpack(os.pread(self._fd, END.size, size - END.size))
        if end[0] != END_MARK:
            raise ValueError(f"{self.path} is no archive of lwsws")
        directory = os.pread(self._fd, end[5], end[6])
        members, at = {}, 0
        for _ in range(end[4]):
            entry = ENTRY.unpack_from(directory, at)
            at += ENTRY.size
            name = directory[at:at + entry[10]].decode("utf-8")
            at += sum(entry[10:13])
            is_stored = entry[0] == ENTRY_MARK and entry[4] == 0 and entry[8] == entry[9]
            if not is_stored:
                raise ValueError(f"{self.path} is no archive of lwsws: {name} is not stored")
            members[name] = Member(entry[16], entry[9], entry[7], _seconds(entry[6], entry[5]))
        return members

    def read(self, member: Member) -> bytes:
        """The content of `member`; OSError (EIO) if the file was changed under our hands."""
        from binascii import crc32
        head = os.pread(self._fd, HEAD.size, member.at)
        if len(head) == HEAD.size and head.startswith(HEAD_MARK):
            start = member.at + HEAD.size + sum(HEAD.unpack(head)[9:11])
            data = os.pread(self._fd, member.size, start)
            if crc32(data) == member.checksum:
                return data
        raise OSError(errno.EIO, "the archive was changed after the start", self.path)


def _seconds(date: int, time: int) -> int:
    """A date of DOS, taken as UTC, in seconds since 1970 (4.4.6)."""
    from datetime import datetime, timezone
    day = (date >> 9) + 1980, date >> 5 & 15, date & 31
    moment = datetime(*day, time >> 11, time >> 5 & 63, (time & 31) * 2, tzinfo=timezone.utc)
    return int(moment.timestamp())


def _error(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)


@functools.lru_cache(maxsize=1)
def running() -> Optional[Archive]:
    """The archive that this module was imported from; None if it is a plain file."""
    # zipimporter.archive is the path of its archive; other loaders have no such thing.
    path = getattr(getattr(__spec__, "loader", None), "archive", "")
    return Archive(os.path.abspath(path)) if path else None


def renew() -> None:
    """In a forked process, before it imports more: another archive may have taken the name of ours, and its
    members lie elsewhere in it.  What is imported from here on is the new one's code."""
    if running() is not None:
        from importlib import invalidate_caches
        invalidate_caches()     # of zipimport, too; Python 3.9 has no such thing, and needs a restart
        running.cache_clear()


def find(path: str) -> Optional[Place]:
    """Where `path` lies inside the running archive; None for a path outside, and if there is no archive."""
    archive = running()
    if archive is None:
        return None
    path = os.path.abspath(path)
    if not path.startswith(archive.path + os.sep):
        return None
    return Place(archive, path[len(archive.path) + 1:])


def exists(path: str) -> bool:
    """Whether there is something at `path`, in the system or in the running archive."""
    place = find(path)
    return os.path.exists(path) if place is None else place.exists


def is_directory(path: str) -> bool:
    """Whether there is a directory at `path`, in the system or in the running archive."""
    place = find(path)
    return os.path.isdir(path) if place is None else place.is_directory
