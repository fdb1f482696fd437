"""The Linux system call openat2(2), which Python has no function for, through ctypes.

    openat2(directory fd, name, struct open_how {u64 flags, mode, resolve}) -> fd

`resolve` makes the kernel check the whole way of a name while it walks it: RESOLVE_BENEATH refuses
to leave the directory by "..", by absolute names or by links, RESOLVE_NO_SYMLINKS refuses links, and
RESOLVE_NO_MAGICLINKS those of /proc that jump anywhere.  Linux 5.6 and newer have it; sandboxes may
refuse it, and small Python packages may lack ctypes: then `kernel_openat2` is None and says so once.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
import sys
from typing import Callable, Optional, Tuple

from lwsws import log

# The system call (directory fd, name, struct open_how) -> fd or -1, and how to learn its errno.
Openat2 = Tuple[Callable[[int, bytes, bytes], int], Callable[[], int]]

# linux/openat2.h
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
# struct open_how: flags, mode, resolve, each an u64.
OPEN_HOW = struct.Struct("=QQQ")

# In the place of a directory fd: the current directory.
AT_FDCWD = -100

# openat2 gives EAGAIN when a rename somewhere in the system crossed a ".." of the name; the
# next try nearly always gets through, and nobody can make us try for ever.
TRIES = 16


def make_opener(openat2: Openat2, flags: int, resolve: int) -> Callable[[int, bytes], int]:
    """A function (directory fd, name) -> fd through `openat2`; it raises OSError as os.open does."""
    # os.open adds O_LARGEFILE by itself; without it a 32-bit board cannot open files over 2 GB.
    how = OPEN_HOW.pack(flags | os.O_LARGEFILE, 0, resolve)
    call, get_errno = openat2

    def open_beneath(root: int, name: bytes) -> int:
        """Open `name` beneath `root` as the kernel resolves it."""
        for _ in range(TRIES):
            fd = call(root, name, how)
            if fd >= 0:
                return fd
            code = get_errno()
            if code not in (errno.EAGAIN, errno.EINTR):
                break
        raise OSError(code, os.strerror(code), name)

    return open_beneath


@functools.lru_cache(maxsize=1)
def kernel_openat2() -> Optional[Openat2]:
    """The system call openat2, tried out once; None where it cannot be had, which is logged."""
    number = syscall_number(sys.platform, os.uname().machine, sys.maxsize > 2 ** 32)
    try:
        if number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        openat2 = through_ctypes(number)
        try_out(openat2)
    except (ImportError, OSError) as exc:
        log.notice(f"no openat2 ({exc}): file mounts refuse symbolic links, also those that stay inside")
        return None
    return openat2


def try_out(openat2: Openat2) -> None:
    """Raise OSError if the kernel or a sandbox has no openat2 for us.

    A sandbox may say EPERM.  Found out here and not with a file, where EPERM would mean the file.
    """
    call, get_errno = openat2
    fd = call(AT_FDCWD, b".", OPEN_HOW.pack(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, RESOLVE_BENEATH))
    if fd >= 0:
        os.close(fd)
    elif get_errno() in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
        raise OSError(get_errno(), os.strerror(get_errno()))


def syscall_number(platform: str, machine: str, is_64bit: bool) -> Optional[int]:
    """The number of openat2: 437 on all Linux systems but MIPS, which adds the base of its ABI.

    None where we do not know it: a wrong number would be some other call.
    """
    if platform != "linux":
        return None
    if machine.startswith("mips"):
        return 5437 if is_64bit else 4437
    known = ("x86_64", "i", "aarch64", "arm", "riscv", "ppc", "s390", "loongarch")
    return 437 if machine.startswith(known) and machine != "ia64" else None


def through_ctypes(number: int) -> Openat2:
    """openat2 by syscall(2); ImportError where ctypes is missing, as in small Python packages."""
    import ctypes

    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    # Made once, and no `argtypes`: converting the arguments for each call costs 0.5 us of its 2.
    # An int goes out as C int (right for an fd) and bytes as a pointer to them.
    call_number, size = ctypes.c_long(number), ctypes.c_size_t(OPEN_HOW.size)

    def openat2(root: int, name: bytes, how: bytes) -> int:
        """The bare system call: fd, or -1 with the reason in get_errno()."""
        fd: int = syscall(call_number, root, name, how, size)
        return fd

    return openat2, ctypes.get_errno
