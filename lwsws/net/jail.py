"""A chroot for programs: what runs in the new process between fork() and exec().

chroot(2) needs a right that the server has given up with root.  A process gets it back for itself in a user
namespace of its own, and loses it again at exec(); see user_namespaces(7).  Some systems do not let everybody
have one.  In there the process is to be who it is outside.  Who was root before cannot say so, because the
kernel keeps its files in /proc from it (PR_SET_DUMPABLE of prctl(2), which protects our memory with the keys
in it).  Its rights stay the same, but it sees each user as number 65534.

The new process has a copy of the memory of ours, with the locks as other threads held them at that moment.
So it imports nothing and logs nothing: what went wrong is told through a pipe.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, Optional

# <linux/sched.h>
CLONE_NEWUSER = 0x10000000

MAX_FAULT = 512


def find_unshare() -> Optional[Callable[[int], None]]:
    """unshare(2), which raises OSError; None where it cannot be had."""
    found: Any = getattr(os, "unshare", None)   # from Python 3.12 on
    if found is None:
        try:
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            call = libc.unshare
        except (ImportError, OSError, AttributeError):
            return None

        def found(flags: int) -> None:
            if call(flags) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
    unshare: Callable[[int], None] = found
    return unshare


class Jail:
    """One new process on its way into `root`.  A context manager, which closes the pipe for faults."""

    def __init__(self, root: str, directory: str) -> None:
        """`directory` is where the program begins, as seen from inside.  OSError without fds."""
        self._root = root
        self._directory = directory
        self._unshare = find_unshare()
        self._ids = (f"{os.geteuid()} {os.geteuid()} 1".encode(), f"{os.getegid()} {os.getegid()} 1".encode())
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Jail:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def enter(self) -> None:
        """In the new process: go in.  Any OSError of it is what fault() gives in the old one."""
        step = f"chroot to {self._root}"
        try:
            try:
                os.chroot(self._root)
            except OSError as error:
                if error.errno != errno.EPERM or self._unshare is None:
                    raise
                step = f"user namespace for a chroot to {self._root}"
                self._have_own_namespace(self._unshare)
                os.chroot(self._root)
            step = f"directory {self._directory} in {self._root}"
            os.chdir(self._directory)
        except OSError as error:
            os.write(self._writer, f"{error.errno or 0} {step}".encode()[:MAX_FAULT])
            raise

    def fault(self) -> OSError:
        """Why the new process could not go in."""
        try:
            number, _, step = os.read(self._reader, MAX_FAULT).decode("utf-8", "replace").partition(" ")
            code = int(number)
        except (BlockingIOError, ValueError):
            return OSError(errno.EIO, f"the new process failed on its way into {self._root}")
        return OSError(code, f"{step}: {os.strerror(code)}")

    def _have_own_namespace(self, unshare: Callable[[int], None]) -> None:
        uid, gid = self._ids
        unshare(CLONE_NEWUSER)
        # The first, for else a process could leave a group whose members are kept from something.
        for name, text in (("setgroups", b"deny"), ("gid_map", gid), ("uid_map", uid)):
            try:
                fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
            except OSError:
                return      # see above
            try:
                os.write(fd, text)
            finally:
                os.close(fd)
