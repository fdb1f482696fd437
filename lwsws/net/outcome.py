"""The outcome of a reload, told to who asked for it by `lwsws --reload PID`.

A signal has no answer.  So who sends SIGHUP first binds an abstract datagram socket, whose name has the
number of the parent process in it and something random, and the parent sends the outcome of every reload to
all sockets with such names, of which the kernel has a list; mostly there are none.  The parent itself listens
to nothing.  The kernel says who sent a datagram (SCM_CREDENTIALS of unix(7)), so nobody else can claim that a
reload went well, and no name can be taken away from us.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import List, Optional, Tuple

from lwsws.net.notify import Notifier

# The beginning of the name of the socket, behind the NUL of an abstract name.
NAME = "lwsws-reload-"
# Of the random number at its end.
DIGITS = 16
# proc(5): all unix sockets of the system, a line each; "@" stands for that NUL.
LIST = "/proc/net/unix"
# Anybody can make such names: no more than these are told.
MAX_TOLD = 256
# What a datagram begins with: taken; not taken; one of both, but a further reload has been asked for.
DONE, NOT_DONE, AGAIN = "done", "failed", "again"

MAX_OUTCOME = 4096
# How often to see whether the parent is there at all.
LOOK_SECONDS = 0.2
CREDENTIALS = struct.Struct("3i")   # struct ucred: pid, uid, gid


def announce(pid: int, word: str, text: str) -> None:
    """Tell all who wait for a reload of the parent `pid`, which is this process, how it went."""
    with_text = f"{word}\n{text}"[:MAX_OUTCOME // 4]    # of UTF-8, a character has up to four bytes
    for name in waiting(pid)[:MAX_TOLD]:
        Notifier(name).tell(with_text)


def waiting(pid: int) -> List[str]:
    """The names, with "@" in front, of those who wait for a reload of `pid`."""
    start = f"@{NAME}{pid}-"
    try:
        with open(LIST, "rb") as lines:
            names = [line.rpartition(b" ")[2].strip().decode("latin-1") for line in lines]
    except OSError:
        return []
    # To the letter: others choose the paths of their sockets, with whatever is in them.
    return [name for name in names
            if name.startswith(start) and len(name) == len(start) + DIGITS and name[len(start):].isalnum()]


class OutcomeListener:
    """Waits for the outcome of a reload of the process `pid`."""

    def __init__(self, pid: int) -> None:
        """OSError if it cannot be done."""
        self._pid = pid
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._sock.bind(f"\0{NAME}{pid}-{os.urandom(DIGITS // 2).hex()}")
        except OSError:
            self._sock.close()
            raise

    def wait(self, seconds: float) -> Optional[Tuple[str, str]]:
        """The next outcome, as one of the words above and a text; None if none comes within `seconds`."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self._sock.settimeout(min(left, LOOK_SECONDS))
            try:
                data, ancillary, _, _ = self._sock.recvmsg(MAX_OUTCOME, socket.CMSG_SPACE(CREDENTIALS.size))
            except socket.timeout:
                if not is_alive(self._pid):
                    return None
                continue
            if sender(ancillary) == self._pid:
                word, _, text = data.decode("utf-8", "replace").partition("\n")
                return word, text

    def close(self) -> None:
        """Listen no more."""
        self._sock.close()


def sender(ancillary: List[Tuple[int, int, bytes]]) -> int:
    """The process that the kernel names as the sender of a datagram; 0 if it names none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= CREDENTIALS.size:
            return int(CREDENTIALS.unpack_from(data)[0])
    return 0


def is_alive(pid: int) -> bool:
    """Whether there is a process `pid`."""
    return os.path.exists(f"/proc/{pid}")
