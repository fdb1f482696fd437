"""A listener accepts connections on one listening socket and hands them on.

It accepts at most a batch a pass.  When the process or the system is out of fds, trying again would fail
at once and for ever, because the socket stays ready: so it rests for half a second.  One fd is kept in
reserve; given up for a moment, it lets the first client in the queue be told by a close instead of being
left to wait (LESSONS 3.37).

The owner may pause it, as when the limit on connections is reached; clients wait in the backlog then.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Callable, Optional, Tuple

from lwsws import log
from lwsws.net.bind import start_listening
from lwsws.net.reactor import READ, Reactor
from lwsws.net.timers import Timer

# At most so many connections are accepted in a pass: those that are open want their turn, too.
MAX_ACCEPTS = 64

# close() takes at most so many: what the longest queue can hold, if net.core.somaxconn is as usual
# (systemd asks for all of it).  It must have an end where another process keeps the same queue open.
MAX_WAITING = 4096

# Out of fds or memory.
EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# A connection that failed before it was accepted, accept(2): go on with the next one.
FAILED_ALREADY = frozenset(
    (
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    )
)
REST_SECONDS = 0.5
# Resting is logged at most so often.
QUIET_SECONDS = 60.0

Accepted = Callable[[socket.socket, Any], None]


def set_options(sock: socket.socket) -> None:
    """Set on a listening socket what accepted ones inherit (Linux): no delay of small answers, keepalive
    probes, so that peers that vanished without a word are noticed (LESSONS 2), and no urgent data."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Urgent data have no meaning here, and nobody could look past them.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def accept_fd(sock: socket.socket) -> Tuple[int, Any]:
    """The fd and the peer's address of the next connection; errors as of accept(2).

    What socket.accept() itself is made of.  It would ask the listening socket for two enum members at
    each call, which takes 40 % of its 5 us.
    """
    accepted: Tuple[int, Any] = sock._accept()  # type: ignore[attr-defined]
    return accepted


class Listener:
    """One listening socket, which it owns and closes."""

    def __init__(self, reactor: Reactor, sock: socket.socket, accepted: Accepted, label: str) -> None:
        """`accepted(sock, address)` gets each connection, non-blocking; `label` is for the log."""
        self.sock = sock
        self.label = label
        self._reactor = reactor
        self._accepted = accepted
        self._started = False
        self._paused = False
        self._closed = False
        self._watched = False
        self._rest: Optional[Timer] = None
        self._quiet_until = reactor.now
        # Some fd that can be closed when there are no more.
        self._reserve: Optional[socket.socket] = None
        # Asked for once: the properties make an enum member at each access.
        self._family = int(sock.family)
        self._kind = int(sock.type)
        sock.setblocking(False)
        set_options(sock)

    def __repr__(self) -> str:
        return f"<Listener {self.label}>"

    @property
    def paused(self) -> bool:
        """Whether its owner paused it."""
        return self._paused

    def start(self) -> None:
        """Begin to accept.  OSError if the socket was only bound so far, and cannot listen."""
        if not self._closed:
            start_listening(self.sock)
            self._take_reserve()
        self._started = True
        self._update()

    def pause(self) -> None:
        """Accept nothing until resume()."""
        self._paused = True
        self._update()

    def resume(self) -> None:
        """Accept again."""
        self._paused = False
        self._update()

    def close(self, take_waiting: bool = False) -> None:
        """Accept no more and close the socket.  What waits in its backlog is reset, unless another process
        has the same socket; with `take_waiting` it is accepted first, if anything is to be just now."""
        if self._closed:
            return
        takes = take_waiting and self._watched
        self._closed = True
        self._update()
        try:
            if takes:
                self._take_waiting()
        finally:
            self.sock.close()   # at once: who comes in between is reset
            self._drop_reserve()
            if self._rest is not None:
                self._rest.cancel()
                self._rest = None

    def _take_waiting(self) -> None:
        for _ in range(MAX_WAITING):
            if self._paused or not self._accept():
                return

    def _update(self) -> None:
        wanted = self._started and not self._paused and not self._closed and self._rest is None
        if wanted == self._watched:
            return
        self._watched = wanted
        if wanted:
            self._reactor.watch(self.sock, READ, self._ready)
        else:
            self._reactor.unwatch(self.sock)

    def _ready(self, mask: int) -> None:
        for _ in range(MAX_ACCEPTS):
            # Any `accepted` may have paused or closed us.
            if not self._watched or not self._accept():
                return

    def _accept(self) -> bool:
        """Accept one connection and hand it on; False if there is none (any more)."""
        try:
            fd, address = accept_fd(self.sock)
        except BlockingIOError:
            return False
        except OSError as exc:
            return self._accept_failed(exc)
        sock = socket.socket(self._family, self._kind, 0, fd)
        sock.setblocking(False)
        handed_on = False
        try:
            self._accepted(sock, address)
            handed_on = True
        finally:
            if not handed_on:
                sock.close()  # the reactor is going to log why
        return True

    def _accept_failed(self, exc: OSError) -> bool:
        """Whether to go on with the next connection after `exc`."""
        if exc.errno in FAILED_ALREADY:
            return True
        if exc.errno in (errno.EMFILE, errno.ENFILE):
            self._turn_one_away()
        self._rest_a_while(exc)
        return False

    def _turn_one_away(self) -> None:
        self._drop_reserve()
        try:
            fd, _ = accept_fd(self.sock)
            os.close(fd)
        except OSError:
            pass
        self._take_reserve()

    def _rest_a_while(self, exc: OSError) -> None:
        now = self._reactor.now
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            log.warn(f"{self.label}: cannot accept, resting for {REST_SECONDS} s at a time: {exc.strerror}")
        self._rest = self._reactor.call_later(REST_SECONDS, self._rested)
        self._update()

    def _rested(self) -> None:
        self._rest = None
        self._take_reserve()
        self._update()

    def _take_reserve(self) -> None:
        if self._reserve is None:
            try:
                self._reserve = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            except OSError:
                pass  # none left just now

    def _drop_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None
