"""Landlock, the Linux system calls by which a process confines itself, which Python has no functions for.

    landlock_create_ruleset(attributes, size, flags) -> fd      what is confined at all
    landlock_add_rule(fd, kind, attributes, 0)                  what stays allowed
    landlock_restrict_self(fd, 0)                               for ever, with all that this process starts

What kernels know grew with their versions of it, from 1 (Linux 5.13) on; each is asked for what it knows.
Rules stick to the files themselves: one for a directory is also about all that comes into it later, one for
a file is not about another that takes its name.  What is open already stays usable.
Source: linux/landlock.h, landlock(7).
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from typing import Callable, Dict, Iterable, Mapping, NamedTuple, Tuple, Union

from lwsws.handlers.openat2 import syscall_number

# What may be done with files.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
MAKE_SOCK, MAKE_FIFO, MAKE_SYM = 1 << 9, 1 << 10, 1 << 12
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
# Of those the ones that a rule for something else than a directory may name.
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
# With TCP ports, and with processes outside.
BIND_TCP = 1 << 0
SIGNAL = 1 << 1

# From which version on there is what.
FIRST_ACCESS = (1 << 13) - 1
LATER_ACCESS = ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
PORTS_SINCE, SCOPES_SINCE = 4, 6

CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2
# struct landlock_path_beneath_attr (packed), struct landlock_net_port_attr.
PATH_BENEATH = struct.Struct("=Qi")
NET_PORT = struct.Struct("=QQ")

# The number of landlock_create_ruleset less that of openat2, on all systems; the other two follow.
AFTER_OPENAT2 = 444 - 437

# A system call by its place after the first: (which, arguments) -> result; OSError.
Landlock = Callable[..., int]


class Rules(NamedTuple):
    """What stays allowed: rights by path, and TCP ports to bind."""

    paths: Mapping[str, int]
    ports: Tuple[int, ...] = ()


def landlock() -> Landlock:
    """The system calls; OSError (ENOSYS) or ImportError where they cannot be had."""
    base = syscall_number(sys.platform, os.uname().machine, sys.maxsize > 2 ** 32)
    if base is None:
        raise OSError(0, "not known for this kind of machine")
    import ctypes
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long

    def call(which: int, *arguments: Union[int, bytes, None]) -> int:
        """The call 0 to 2 of the three."""
        wide = (ctypes.c_long(item) if isinstance(item, int) else item for item in arguments)
        result: int = syscall(ctypes.c_long(base + AFTER_OPENAT2 + which), *wide)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    return call


def version(call: Landlock) -> int:
    """Which version of Landlock the kernel has; OSError if none, or if it is switched off."""
    return call(0, None, 0, CREATE_RULESET_VERSION)


def access_of(number: int) -> int:
    """All that version `number` can refuse to do with files."""
    later = (access for since, access in LATER_ACCESS if number >= since)
    return FIRST_ACCESS | sum(later)


def attributes(number: int) -> bytes:
    """The struct landlock_ruleset_attr of version `number`: files, then TCP ports, then processes."""
    fields = [access_of(number)]
    if number >= PORTS_SINCE:
        fields.append(BIND_TCP)
    if number >= SCOPES_SINCE:
        fields.append(SIGNAL)
    return struct.pack(f"={len(fields)}Q", *fields)


def restrict(call: Landlock, number: int, rules: Rules) -> Dict[str, OSError]:
    """Confine this process to `rules`, as far as version `number` can.  The paths that cannot be found or
    entered, which then stay closed; OSError if the whole cannot be done.

    Needs no_new_privs.  Threads that run already are not confined.
    """
    given = attributes(number)
    ruleset = call(0, given, len(given), 0)
    try:
        closed = _add_paths(call, ruleset, access_of(number), rules.paths.items())
        if number >= PORTS_SINCE:
            for port in rules.ports:
                call(1, ruleset, RULE_NET_PORT, NET_PORT.pack(BIND_TCP, port), 0)
        call(2, ruleset, 0)
    finally:
        os.close(ruleset)
    return closed


def _add_paths(call: Landlock, ruleset: int, known: int,
               paths: Iterable[Tuple[str, int]]) -> Dict[str, OSError]:
    closed = {}
    for path, access in paths:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            closed[path] = error
            continue
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                access &= FOR_FILES
            if access & known:
                call(1, ruleset, RULE_PATH_BENEATH, PATH_BENEATH.pack(access & known, fd), 0)
        finally:
            os.close(fd)
    return closed
