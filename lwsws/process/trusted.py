"""Files that root opens for somebody who is not: only by ways that nobody but root can change.

A serving process that has been taken over may write to some directories.  If it could put a link there and
then ask the parent for the file behind it, it would read or write what only root may.  So:

    to read     the way is walked from "/", step by step, links too (certbot makes some), and all of its
                directories must be root's and not writable for others
    to log      the directory must be the very one that it was when the log was allowed, before root was
                given up; the file a plain one, of one name only, and no link

Where that does not hold the answer is PermissionError with the reason.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple, Optional, Tuple

from lwsws.net.regular_file import (
    LOG_FLAGS,
    LOG_MODE,
    MAX_LINKS,
    READ_FLAGS,
    FileState,
    demand_one_name,
    read_and_close,
    state_of,
    steps_to,
)

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


class Found(NamedTuple):
    """A directory, open, and the name of what is meant there, which is no link.  The name may be missing."""

    directory: int
    name: str


def read_trusted(path: str, most: int) -> bytes:
    """The content of the file at `path` (absolute), of at most `most` bytes.

    OSError as of read_regular_file(); PermissionError if somebody else than root could have put it there.
    """
    found = find(path)
    try:
        fd = os.open(found.name, READ_FLAGS | os.O_NOFOLLOW, dir_fd=found.directory)
    finally:
        os.close(found.directory)
    return read_and_close(fd, most)


def trusted_state(path: str) -> FileState:
    """What tells versions of the file at `path` apart, as file_state().  PermissionError as above."""
    try:
        found = find(path)
        try:
            return state_of(os.stat(found.name, dir_fd=found.directory, follow_symlinks=False))
        finally:
            os.close(found.directory)
    except PermissionError:
        raise
    except OSError as error:
        return (error.errno or errno.EIO,)


def find(path: str) -> Found:
    """Walk to `path` (absolute) by directories that only root can change; OSError.  The caller closes."""
    here, shown, links = os.open("/", _DIRECTORY), "", 0
    rest = steps_to(path)
    try:
        while True:
            name = rest.pop() if rest else "."
            target = _look(here, shown, name, is_last=not rest)
            if target:
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                rest += steps_to(target)
                if target.startswith("/"):
                    here, shown = _enter(here, "/"), ""
            elif rest:
                here, shown = _enter(here, name), f"{shown}/{name}"
            else:
                return Found(here, name)
    except OSError:
        os.close(here)
        raise


def _enter(here: int, name: str) -> int:
    """The directory `name` of `here`, which is closed in exchange; if it cannot be had, it stays open."""
    there = os.open(name, _DIRECTORY, dir_fd=here)
    os.close(here)
    return there


def _look(here: int, shown: str, name: str, is_last: bool) -> str:
    """Where the entry `name` of the directory `here` leads to if it is a link, else "".

    `shown` is the name of the directory.  Only the last entry of a way may be missing.
    """
    try:
        entry: Optional[os.stat_result] = os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        if not is_last:
            raise
        entry = None
    if not _only_root_may_change(os.fstat(here), entry):
        raise PermissionError(errno.EPERM, f"others than root may change {shown or '/'}")
    if entry is not None and stat.S_ISLNK(entry.st_mode):
        return os.readlink(name, dir_fd=here)
    return ""


def _only_root_may_change(directory: os.stat_result, entry: Optional[os.stat_result]) -> bool:
    # Whoever started us, if that is not root: there is nobody below him to beware of.
    if directory.st_uid not in (0, os.geteuid()):
        return False
    if not directory.st_mode & _WRITABLE:
        return True
    # In a directory like /tmp others can make entries, but cannot move those of root away; and nobody can
    # make another name for a directory, as for files and links.
    return (directory.st_mode & stat.S_ISVTX != 0 and entry is not None
            and stat.S_ISDIR(entry.st_mode) and entry.st_uid in (0, os.geteuid()))


# Logs.

Identity = Tuple[int, int]


def directory_of(path: str) -> Identity:
    """Which directory the file at `path` is in, for open_trusted_log(); OSError."""
    info = os.stat(os.path.dirname(path) or "/")
    return info.st_dev, info.st_ino


def open_trusted_log(path: str, directory: Identity) -> int:
    """A descriptor that appends to the log at `path`, created if need be, in that very directory.

    OSError; PermissionError if that could be a way to write to something else.
    """
    fd = os.open(os.path.dirname(path) or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if (info.st_dev, info.st_ino) != directory:
            raise PermissionError(errno.EPERM, f"{os.path.dirname(path)} is not the directory that it was")
        log = os.open(os.path.basename(path), LOG_FLAGS, LOG_MODE, dir_fd=fd)
    finally:
        os.close(fd)
    try:
        if not stat.S_ISREG(os.fstat(log).st_mode):
            raise PermissionError(errno.EPERM, "not a regular file")
        demand_one_name(log, path)
    except OSError:
        os.close(log)
        raise
    return log
