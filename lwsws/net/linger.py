"""Lingering: reading on for a moment after our last byte, and throwing away what comes.

A close with unread bytes makes the kernel send a reset, which may destroy our answer before the peer has
read it (RFC 9112 9.6).  So it is the peer who closes first, or the limit in time or bytes is reached.
"""

from __future__ import annotations

import socket
from typing import Callable

from lwsws.net.instead import Instead
from lwsws.net.reactor import Reactor

LINGER_SECONDS = 2.0
# An eager client has megabytes on the way when it is told that its upload is not wanted.
LINGER_BYTES = 16 * 1024 * 1024


class Linger(Instead):
    """How much longer a lingering transport reads."""

    __slots__ = ("_reactor", "_sock", "_over", "_timer", "_bytes_left")

    def __init__(self, reactor: Reactor, sock: socket.socket, over: Callable[[], None]) -> None:
        """Calls `over` once, unless stopped before."""
        self._reactor = reactor
        self._sock = sock
        self._over = over
        self._timer = reactor.call_later(LINGER_SECONDS, over)
        self._bytes_left = LINGER_BYTES

    def ready(self) -> None:
        """Throw away what came; of a TLS connection the records."""
        try:
            count = socket.socket.recv_into(self._sock, self._reactor.buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._bytes_left -= count
        if not count or self._bytes_left <= 0:
            self._over()

    def stop(self) -> None:
        """Wait no longer."""
        self._timer.cancel()
