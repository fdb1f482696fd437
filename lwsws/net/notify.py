"""Talking with systemd: telling it how we are (sd_notify(3)), and taking what it passes (sd_listen_fds(3)).

Both go by the environment, which whoever started us wrote and our children must not inherit: what is read is
also removed.  So call watchdog_seconds() and given_sockets() once, before Notifier.from_environment().
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import List, MutableMapping, Optional

from lwsws import log
from lwsws.net.given import Given

# Descriptors begin behind stdin, stdout and stderr.
FIRST_FD = 3
# Nobody passes more; a wrong number must not keep us busy.
MAX_GIVEN = 1024
# What systemd itself says where no names are told.
UNNAMED = "unknown"
LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

# To prove that all is well several times in much less than a second would be more work than to serve.
LEAST_WATCHDOG_SECONDS = 1.0

Environment = MutableMapping[str, str]


class Notifier:
    """Sends datagrams to whoever started us, if he listens."""

    def __init__(self, address: str) -> None:
        """`address` is a path, or "@name" of an abstract socket; with "" nobody listens."""
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls, environ: Environment) -> Notifier:
        """The one that systemd names.  Its variables are removed from `environ`."""
        address = environ.get("NOTIFY_SOCKET", "")
        for name in NOTIFY_VARIABLES:
            environ.pop(name, None)
        if address and address[0] not in "/@":
            log.warn(f"NOTIFY_SOCKET {address!r} is no unix socket: systemd is told nothing")
            address = ""
        return cls(address)

    def tell(self, *lines: str) -> bool:
        """Send the lines ("READY=1") in one datagram; whether it was taken.  Never waits."""
        if not self._address:
            return False
        data = "\n".join(lines).encode("utf-8", "surrogateescape")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(data, self._address)
        except (OSError, ValueError):   # ValueError: a NUL inside a path
            return False
        return True


def monotonic_usec() -> int:
    """The time that RELOADING=1 wants: microseconds of CLOCK_MONOTONIC."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def watchdog_seconds(environ: Environment, pid: int) -> float:
    """How long systemd waits for WATCHDOG=1 before it restarts us, `pid` being our number; 0.0 for ever.

    It advises to send it after half of that.  Less than LEAST_WATCHDOG_SECONDS counts as that.
    """
    usec = number(environ.get("WATCHDOG_USEC", ""))
    meant = number(environ.get("WATCHDOG_PID", str(pid)))
    return max(usec / 1e6, LEAST_WATCHDOG_SECONDS) if usec and meant == pid else 0.0


def number(text: str) -> int:
    """The number that a variable holds; 0 for what is none, or absurd."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def given_sockets(environ: Environment, pid: int) -> List[Given]:
    """The listening sockets that systemd passes to us, `pid` being our number.

    Its variables are removed from `environ`.  What is no listening stream socket is logged and closed.
    """
    values = {name: environ.pop(name, "") for name in LISTEN_VARIABLES}
    count = number(values["LISTEN_FDS"])
    if not count or number(values["LISTEN_PID"]) != pid:
        return []       # nothing, or meant for another process, whose variables we inherited
    fds = range(FIRST_FD, FIRST_FD + min(count, MAX_GIVEN))
    names = values["LISTEN_FDNAMES"].split(":")
    if len(names) != len(fds):
        names = [UNNAMED] * len(fds)
    given = []
    for fd, name in zip(fds, names):
        sock = _listening_socket(fd, name)
        if sock is not None:
            given.append(Given(name, sock))
    return given


def _listening_socket(fd: int, name: str) -> Optional[socket.socket]:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as exc:
        log.warn(f"systemd passes no socket as descriptor {fd} ({name}): {exc.strerror}")
        if exc.errno == errno.ENOTSOCK:
            os.close(fd)
        return None
    fault = _fault_of(sock)
    if fault:
        log.warn(f"systemd passes a socket that is of no use, descriptor {fd} ({name}): {fault}")
        sock.close()
        return None
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _fault_of(sock: socket.socket) -> str:
    """Why we cannot accept connections from it; "" if we can."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return "neither IP nor unix"
    if sock.type != socket.SOCK_STREAM:
        return "not of stream type (ListenStream=)"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "not listening (Accept=no)"
    return ""
