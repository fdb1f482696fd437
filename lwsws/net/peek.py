"""Peeking: looking at the first bytes of a connection while they stay in the socket.

Bytes that were only looked at can still be read by anybody, so whoever turns out to be meant by them
gets them all: OpenSSL by its handshake, a role by reading as usual.

A socket with unread bytes is readable all the time, and a loop that waits for more of them would never
sleep.  So while more are needed SO_RCVLOWAT stands one byte above what is there, and the kernel says
"readable" again when that has come, or the end.  Where this has no effect (unix sockets; a receive buffer too
small) the socket is left alone for a moment after each look.

Neither tells of the end of a stream behind bytes that are still unread: that is asked for by a poll.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Callable, Optional

from lwsws.net.instead import Instead
from lwsws.net.timers import Timer

if TYPE_CHECKING:
    from lwsws.net.endpoint import Endpoint

# Between two looks where the kernel cannot wait for us: for people no delay, for the CPU nothing.
NAP_SECONDS = 0.02

# Gets all bytes that have come so far, and whether no more will come.
Look = Callable[[bytes, bool], None]


def hung_up(sock: socket.socket) -> bool:
    """Whether no byte will come after those that are in the socket."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


class Peek(Instead):
    """What an endpoint does while it peeks."""

    __slots__ = ("_owner", "_limit", "_look", "_seen", "_low", "_helpless", "_nap", "_ended", "_stopped")

    def __init__(self, owner: Endpoint, limit: int, look: Look) -> None:
        """Look at `limit` bytes at most, which must fit into the shared buffer."""
        self._owner = owner
        self._limit = limit
        self._look = look
        self._seen = 0  # so many of the unread bytes were shown to `look`
        self._low = 1  # SO_RCVLOWAT
        self._helpless = False  # raising it does not make the kernel wait
        self._nap: Optional[Timer] = None
        self._ended = False  # no more will come, and `look` knows
        self._stopped = False

    def ready(self) -> None:
        """Are there more bytes than at the last look?"""
        owner = self._owner
        try:
            count = owner.sock.recv_into(owner.reactor.buffer, self._limit, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as exc:
            owner.broken(exc)
            return
        if count > self._seen:
            self._show(count, False)
        elif not count or hung_up(owner.sock):
            self._show(count, True)
        else:
            self._helpless = True
            self._wait()

    def skip(self, count: int) -> None:
        """Take `count` of the bytes that were shown out of the socket.  OSError if there are fewer."""
        self._seen -= count
        while count:
            taken = len(self._owner.sock.recv(count))
            if not taken:
                raise ConnectionResetError("bytes that had come are gone")
            count -= taken
        self._wait()

    def stop(self) -> None:
        """Leave the socket as it was, with the bytes in it."""
        self._stopped = True
        self._sleep_no_more()
        self._wait_for(1)

    def _show(self, count: int, ended: bool) -> None:
        self._seen = count
        self._ended = ended
        self._look(bytes(self._owner.reactor.view[:count]), ended)
        if not self._stopped:
            self._wait()

    def _wait(self) -> None:
        """Have ready() called when there is more to be seen."""
        self._sleep_no_more()
        if self._ended or self._seen >= self._limit:
            self._owner.want_ready(False)
        elif self._helpless and self._seen:
            self._owner.want_ready(False)
            self._nap = self._owner.reactor.call_later(NAP_SECONDS, self._awake)
        else:
            self._wait_for(self._seen + 1)
            self._owner.want_ready(True)

    def _wait_for(self, count: int) -> None:
        if count != self._low:
            self._low = count
            self._owner.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def _awake(self) -> None:
        self._nap = None
        self._owner.want_ready(True)

    def _sleep_no_more(self) -> None:
        if self._nap is not None:
            self._nap.cancel()
            self._nap = None
