"""Plays systemd for a service: the socket that it tells its state, and the sockets that it is passed.

    with NotifySocket() as notices:
        ... start it with NOTIFY_SOCKET=notices.path in its environment ...
        notices.wait_for("READY=1")
        notices.messages            what has come so far, a dict of each datagram

See sd_notify(3) and sd_listen_fds(3).
"""

from __future__ import annotations

import os
import select
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, List, Optional, Sequence, Tuple, Type

MAX_DATAGRAM = 65536

# Puts the descriptors in the first word where systemd has them, from 3 on, and becomes what follows.
PASS_ON = """
import fcntl, os, sys
given = sys.argv[1].split(",")
for at, fd in enumerate([fcntl.fcntl(int(fd), fcntl.F_DUPFD, 3 + len(given)) for fd in given], 3):
    os.dup2(fd, at)
    os.close(fd)
os.closerange(3 + len(given), 1 + max(map(int, given)))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=sys.argv[2])
os.execvp(sys.argv[3], sys.argv[3:])
"""


def passing(command: Sequence[str], sockets: Sequence[Tuple[str, socket.socket]]) -> List[str]:
    """The command that starts `command` with these listening sockets, each with its name.  It needs the
    descriptors of the sockets as they are here (`pass_fds` of subprocess)."""
    fds = ",".join(str(sock.fileno()) for _, sock in sockets)
    return [sys.executable, "-S", "-c", PASS_ON, fds, ":".join(name for name, _ in sockets), *command]


class NotifySocket:
    """A datagram socket with a name in the file system, which is the same in all network namespaces."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="notify-")
        self.path = str(Path(self._folder.name) / "socket")
        self.messages: List[Dict[str, str]] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind(self.path)
        # For everybody, as systemd's.
        os.chmod(self._folder.name, 0o755)
        os.chmod(self.path, 0o777)

    def receive(self, seconds: float = 0.0) -> List[Dict[str, str]]:
        """Wait up to `seconds` for something to come; returns what is new."""
        select.select([self._sock], [], [], seconds)
        fresh = []
        while True:
            try:
                lines = self._sock.recv(MAX_DATAGRAM).decode().split("\n")
            except BlockingIOError:
                break
            fresh.append(dict(line.split("=", 1) for line in lines if line))
        self.messages += fresh
        return fresh

    def wait_for(self, line: str, seconds: float = 10.0, begin: int = 0,
                 is_alive: Callable[[], bool] = lambda: True) -> Dict[str, str]:
        """The first message from number `begin` on that has `line`, such as READY=1, once it has come.

        AssertionError after `seconds`, or when `is_alive()` says that nothing can come any more.
        """
        name, _, value = line.partition("=")
        deadline = time.monotonic() + seconds
        while True:
            alive = is_alive()  # before the look, so that a last word counts
            self.receive(0.0 if self._found(name, value, begin) else 0.05)
            found = self._found(name, value, begin)
            if found:
                return found
            if not alive or time.monotonic() > deadline:
                raise AssertionError(f"no {line} among {self.messages[begin:]}")

    def _found(self, name: str, value: str, begin: int) -> Optional[Dict[str, str]]:
        return next((each for each in self.messages[begin:] if each.get(name) == value), None)

    def close(self) -> None:
        """Let go of the socket and its file."""
        self._sock.close()
        self._folder.cleanup()

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
