r"""Opening files beneath a directory, and never anything outside it.

Neither ".." nor an absolute name nor a symbolic link leads out, not even while somebody changes the
tree under our hands: a check of the name followed by an open of the name could be tricked by a link
put in between, so the check and the open have to be one step (LESSONS 3.15).

Linux 5.6 and newer do that in the kernel: openat2(2) with RESOLVE_BENEATH (LESSONS F1), which
handlers/openat2.py calls.  Where it cannot be had, the name is walked component by component, each
opened relative to the one before and none through a link; links are refused there altogether, those
that stay inside too.

    symlinks   with openat2                             with the walk
    "inside"   links that end beneath the root work     no link works
    "no"       no link works                            no link works
    "yes"      the root is only where names start, links may lead anywhere; a plain open

The directory itself is looked at again now and then: it may be a link that is switched to a new
release, be replaced by a rename, or appear only after the start.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import Callable, Optional

from lwsws.handlers.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    kernel_openat2,
    make_opener,
)

# Opens a relative name (bytes) beneath a directory fd -> fd, or OSError.
Opener = Callable[[int, bytes], int]

# O_NONBLOCK: a FIFO must not block the reactor until somebody writes; no meaning for regular files.
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

# A directory is held only as the place where names start; O_PATH needs no permission to list it.
DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC | (os.O_PATH if sys.platform == "linux" else os.O_RDONLY)

# Seconds between two looks at whether the directory is still the same.
LOOK_INTERVAL = 1.0


class Root:
    """A directory beneath which files are opened; see the module text for `symlinks`."""

    __slots__ = ("path", "symlinks", "_clock", "_fd", "_identity", "_look_at", "_opener")

    def __init__(self, path: str, symlinks: str = "inside", clock: Callable[[], float] = time.monotonic,
                 opener: Optional[Opener] = None) -> None:
        """Opens nothing yet; `opener` stands in for the one that `symlinks` selects."""
        self.path = path
        self.symlinks = symlinks
        self._clock = clock
        self._fd = -1
        self._identity = (0, 0)
        self._look_at = 0.0
        self._opener = opener

    def open(self, relative: str) -> int:
        """Open `relative` (decoded UTF-8, slashes, no leading one) for reading -> fd.

        OSError as of open(2); EXDEV for names that lead outside.  What was opened may be a directory
        or a FIFO: the caller looks with fstat.  Trailing slash: only a directory will do.
        """
        if self._fd < 0 or self._clock() >= self._look_at:
            self._look()
        if not relative or relative[0] == "/" or ".." in relative or "\0" in relative:
            relative = plain(relative)
        name = relative.encode() if relative.isascii() else _encoded(relative)
        opener = self._opener
        if opener is None:
            opener = self._opener = choose_opener(self.symlinks)
        return opener(self._fd, name)

    def close(self) -> None:
        """Let go of the directory; a later `open` takes it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _look(self) -> None:
        """Hold the directory that `path` leads to now; OSError if there is none."""
        self._look_at = self._clock() + LOOK_INTERVAL
        try:
            info = os.stat(self.path)
        except OSError:
            self.close()
            raise
        if self._fd >= 0 and (info.st_dev, info.st_ino) == self._identity:
            return
        self.close()
        self._fd = os.open(self.path, DIRECTORY)
        # From the fd, not from the stat above: `path` may have been switched in between.
        info = os.fstat(self._fd)
        self._identity = (info.st_dev, info.st_ino)


def choose_opener(symlinks: str) -> Opener:
    """The opener for "inside", "no" or "yes" on this system."""
    if symlinks == "yes":
        return follow
    openat2 = kernel_openat2()
    if openat2 is None:
        return walk
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    if symlinks == "no":
        resolve |= RESOLVE_NO_SYMLINKS
    return make_opener(openat2, FLAGS, resolve)


def follow(root: int, name: bytes) -> int:
    """Open `name` from `root` and go through any link."""
    return os.open(name, FLAGS, dir_fd=root)


def walk(root: int, name: bytes) -> int:
    """Open `name` beneath `root` one component at a time, through no link."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    flags = FLAGS | os.O_NOFOLLOW
    if name.endswith(b"/"):
        flags |= os.O_DIRECTORY
    if not parts:
        return os.open(b".", flags, dir_fd=root)
    directory = root
    try:
        for part in parts[:-1]:
            above, directory = directory, os.open(part, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            if above != root:
                os.close(above)
        return os.open(parts[-1], flags, dir_fd=directory)
    finally:
        if directory != root:
            os.close(directory)


def plain(relative: str) -> str:
    """`relative` if it names something beneath the root, "." for nothing; OSError for all else."""
    if "\0" in relative:
        raise _error(errno.ENOENT, relative)
    if relative.startswith("/") or ".." in relative.split("/"):
        raise _error(errno.EXDEV, relative)
    return relative or "."


def _encoded(relative: str) -> bytes:
    """The bytes of a name that is not all ASCII; URLs and file names are UTF-8 whatever the locale."""
    try:
        return relative.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _error(errno.ENOENT, relative) from None


def _error(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)
