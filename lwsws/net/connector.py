"""Outgoing connections: from an `Onward` to a connected socket, without ever waiting.

A name is looked up by a worker, because getaddrinfo waits for name servers; an address needs no worker.
The addresses found are tried one after the other, in the order given (RFC 6724), each with its share of
the time that is left, so that a dead first one does not use up the time of the others.

    Connector(reactor, workers, onward, done, failed, seconds)
        done(sock)      connected, non-blocking; the socket is the caller's from now on
        failed(reason)  text for people, one reason for each address that was tried

One of the two is called, once, by the reactor and never from within the constructor; none after cancel().
"""

from __future__ import annotations

import errno
import functools
import os
import socket
from typing import Any, Callable, List, Optional, Tuple

from lwsws.net.listener import set_options
from lwsws.net.onward import Onward
from lwsws.net.reactor import WRITE, Reactor
from lwsws.net.timers import Timer
from lwsws.net.workers import Overloaded, Workers

# For the look-up and all attempts together, if nobody says how long: a client waits hardly longer than that.
CONNECT_SECONDS = 20.0
# Addresses of one name that are tried; with more, the share of each would be too short.
MAX_ADDRESSES = 8
# A unix socket whose backlog is full says so at once and cannot be waited for (connect(2), EAGAIN).
RETRY_SECONDS = 0.05

# Family, and the address as the socket module takes it.
Address = Tuple[int, Any]


def look_up(host: str, port: int, family: int, flags: int = 0) -> List[Address]:
    """The addresses of `host`, at most MAX_ADDRESSES; OSError if there are none.  Waits for name servers."""
    # As bytes: text would load the tables for international names.
    found = socket.getaddrinfo(host.encode("ascii"), port, family, socket.SOCK_STREAM, 0, flags)
    return [(int(entry[0]), entry[4]) for entry in found[:MAX_ADDRESSES]]


def open_socket(family: int) -> socket.socket:
    """A non-blocking stream socket of `family`; OSError if there are no more."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        set_options(sock)
    except OSError:
        sock.close()
        raise
    return sock


def is_own_echo(sock: socket.socket) -> bool:
    """Whether the socket is connected to itself: where nobody listens on a port of the range for outgoing
    connections, the kernel may choose that very port for our end, and TCP takes it for both."""
    return sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername()


class Connector:
    """One attempt to connect.  `closed` once it is over, in whatever way."""

    __slots__ = ("closed", "_reactor", "_workers", "_onward", "_done", "_failed", "_seconds", "_give_up_at",
                 "_timer", "_sock", "_addresses", "_reasons")

    def __init__(self, reactor: Reactor, workers: Workers, onward: Onward,
                 done: Callable[[socket.socket], None], failed: Callable[[str], None],
                 seconds: float = CONNECT_SECONDS) -> None:
        """`seconds` are for the look-up and all addresses together."""
        self.closed = False
        self._reactor = reactor
        self._workers = workers
        self._onward = onward
        self._done = done
        self._failed = failed
        self._seconds = seconds
        self._give_up_at = reactor.clock() + seconds
        # The end of what is being done just now.
        self._timer: Timer = reactor.call_at(self._give_up_at, self._no_name)
        self._sock: Optional[socket.socket] = None
        self._addresses: List[Address] = []     # those that are still to be tried
        self._reasons: List[str] = []           # why the others were no good
        reactor.call_soon(self._begin)

    def __repr__(self) -> str:
        return f"<Connector to {self._onward}>"

    def cancel(self) -> None:
        """Give up, and call nobody.  No effect once it is over."""
        if not self.closed:
            self._end()

    def _begin(self) -> None:
        if self.closed:
            return
        onward = self._onward
        if onward.path:
            path = "\0" + onward.path[1:] if onward.path.startswith("@") else onward.path
            self._addresses = [(int(socket.AF_UNIX), path)]
            self._try_next()
            return
        ask = functools.partial(look_up, onward.host, onward.port, onward.family)
        addresses, error = None, None
        try:
            if not onward.is_literal:
                self._workers.submit(ask, self._found, owner=self)
                return
            addresses = ask(socket.AI_NUMERICHOST)
        except (OSError, Overloaded) as exc:
            error = exc
        self._found(addresses, error)

    def _found(self, addresses: Optional[List[Address]], error: Optional[Exception]) -> None:
        """The name was looked up."""
        if error is not None:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._fail(f"cannot look up {self._onward.host}: {reason}")
            return
        self._addresses = addresses or []
        self._try_next()

    def _no_name(self) -> None:
        self._fail(f"cannot look up {self._onward.host}: no answer within {self._seconds:.0f} s")

    # One address.

    def _try_next(self) -> None:
        """Go on to the next address, to the end if there is none."""
        while self._addresses:
            family, name = self._addresses[0]
            code = self._connect(family, name)
            if code == errno.EINPROGRESS:
                left = self._give_up_at - self._reactor.clock()
                self._set_timer(left / len(self._addresses), self._no_answer)
                return
            if code == errno.EAGAIN and family == socket.AF_UNIX:
                self._retry_later()
                return
            if not code:
                self._connected()
                return
            self._give_up_address(os.strerror(code))
        self._fail("; ".join(self._reasons) or "it has no address")

    def _connect(self, family: int, name: Any) -> int:
        """Begin to connect to an address: EINPROGRESS, or 0 or an error if that came at once."""
        try:
            self._sock = sock = open_socket(family)
            code = sock.connect_ex(name)
            if code == errno.EINPROGRESS:
                self._reactor.watch(sock, WRITE, self._ready)
            return code
        except OSError as exc:      # out of fds, or the kernel cannot watch any more of them
            return exc.errno or errno.EINVAL

    def _ready(self, mask: int) -> None:
        """The kernel has connected, or found that it cannot."""
        sock = self._sock
        if sock is None:
            return
        try:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code and is_own_echo(sock):
                code = errno.ECONNREFUSED
        except OSError as exc:      # gone again already
            code = exc.errno or errno.ECONNRESET
        if code:
            self._give_up_address(os.strerror(code))
            self._try_next()
        else:
            self._connected()

    def _no_answer(self) -> None:
        self._give_up_address("no answer")
        self._try_next()

    def _retry_later(self) -> None:
        """The queue of the unix socket is full: try again, as long as there is time."""
        self._drop_socket()
        if self._reactor.clock() + RETRY_SECONDS < self._give_up_at:
            self._set_timer(RETRY_SECONDS, self._try_next)
        else:
            self._fail("its queue of connections is full")

    def _give_up_address(self, reason: str) -> None:
        """The first address is no good."""
        name = self._addresses.pop(0)[1]
        if self._onward.is_literal or self._onward.path:
            self._reasons.append(reason)
        else:
            self._reasons.append(f"{name[0]}: {reason}")
        self._drop_socket()

    # The end.

    def _connected(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._reactor.unwatch(sock)
        self._end()
        self._done(sock)

    def _fail(self, reason: str) -> None:
        self._end()
        self._failed(reason)

    def _end(self) -> None:
        self.closed = True
        self._timer.cancel()
        self._drop_socket()

    def _set_timer(self, seconds: float, fn: Callable[[], None]) -> None:
        self._timer.cancel()
        self._timer = self._reactor.call_later(seconds, fn)

    def _drop_socket(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self._reactor.unwatch(sock)
            sock.close()
