"""Pools: connections to other servers, kept open from one request to the next.

    pool.take()            an idle link, the one that was used last: the others may time out
    pool.open(...)         a new one: TCP or unix socket, then TLS if the target has it
    pool.give_back(link)   after a whole request and a whole answer
    pool.drop(link)        after anything else

There is one pool for each target of a serving process; all on the reactor's thread.
"""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Callable, List, NamedTuple, Optional

from lwsws.net.connector import Connector
from lwsws.net.link import DISCARDED, Link, LinkTransport
from lwsws.net.onward import Onward
from lwsws.net.reactor import Reactor
from lwsws.net.timers import Timer
from lwsws.net.transport import Transport
from lwsws.net.workers import Workers

if TYPE_CHECKING:
    from ssl import SSLContext

# Idle links of one target in one process; more would be a crowd that came once.
MAX_IDLE = 32
# Some servers close after less (Node 5 s, gunicorn 2 s by default) and most after more (nginx 75 s): the
# shorter this is, the less often we use a link in the moment in which the origin closes it.
IDLE_SECONDS = 30.0


class Target(NamedTuple):
    """Whom to connect to; with `tls` the certificate must be for `server_name`, a host name or an address."""

    onward: Onward
    tls: Optional[SSLContext] = None
    server_name: str = ""


class Opening:
    """One attempt to open a link.

    It calls `done(link)` or `failed(reason, late)`, once, never from within the constructor and not after
    cancel(); `reason` is text for people, `late` whether the time was up.
    """

    __slots__ = ("_pool", "_reactor", "_done", "_failed", "_give_up_at", "_connector", "_transport", "_timer")

    def __init__(self, pool: Pool, reactor: Reactor, workers: Workers, seconds: float,
                 done: Callable[[Link], None], failed: Callable[[str, bool], None]) -> None:
        self._pool = pool
        self._reactor = reactor
        self._done = done
        self._failed = failed
        self._give_up_at = reactor.clock() + seconds
        self._transport: Optional[Transport] = None     # in its TLS handshake
        self._timer: Optional[Timer] = None
        onward = pool.target.onward
        self._connector = Connector(reactor, workers, onward, self._connected, self._fail, seconds)

    def cancel(self) -> None:
        """Give up, and call nobody.  No effect once it is over."""
        self._connector.cancel()
        transport = self._let_go()
        if transport is not None:
            transport.receiver = DISCARDED
            transport.abort()

    def _connected(self, sock: socket.socket) -> None:
        tls = self._pool.target.tls
        plain = LinkTransport(self._reactor, sock, self)
        if tls is None:
            self._finish(plain)
            return
        from lwsws.net.tls_client import start_client_tls  # loads ssl, which not every server needs
        self._timer = self._reactor.call_at(self._give_up_at, self._late)
        try:
            self._transport = start_client_tls(plain, tls, self._pool.target.server_name, self._secured)
        except (OSError, ValueError) as exc:    # no more fds to watch, or no name to ask for
            plain.receiver = DISCARDED
            plain.abort()
            sock.close()    # it may be nobody's any more
            self._fail(f"TLS: {exc}")

    def _secured(self) -> None:
        transport = self._let_go()
        if transport is not None:
            self._finish(transport)

    def _finish(self, transport: Transport) -> None:
        try:
            transport.start()
        except OSError as exc:      # the kernel watches as many sockets as it can
            transport.receiver = DISCARDED
            transport.abort()
            self._fail(exc.strerror or "too many connections")
            return
        self._done(Link(self._pool, transport))

    def _late(self) -> None:
        self.cancel()
        self._fail("TLS handshake: no answer")

    def _fail(self, reason: str) -> None:
        self._let_go()
        self._failed(reason, self._reactor.clock() >= self._give_up_at)

    def _let_go(self) -> Optional[Transport]:
        if self._timer is not None:
            self._timer.cancel()
        transport, self._transport = self._transport, None
        return transport

    # Of the transport, during its handshake.

    def data_received(self, data: bytes) -> None:
        """Comes to the user of the link only."""

    def eof_received(self) -> None:
        """The same."""

    def drained(self) -> None:
        """The same."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The handshake has failed."""
        if self._transport is not None:
            self._fail(str(exc))


class Pool:
    """The links to one target."""

    __slots__ = ("target", "down_until", "_idle", "_max_idle", "_idle_seconds")

    def __init__(self, target: Target, max_idle: int = MAX_IDLE, idle_seconds: float = IDLE_SECONDS) -> None:
        self.target = target
        # The reactor's time until which others are to be preferred, because connecting has failed.
        self.down_until = 0.0
        self._idle: List[Link] = []     # the one that was used last is the last
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds

    def __len__(self) -> int:
        """How many idle links there are."""
        return len(self._idle)

    def take(self, max_age: float = math.inf) -> Optional[Link]:
        """An idle link, None if there is none.

        Nothing may have come on it, not even its end: what an origin has sent too much would be taken for the
        answer to the next request.  Still the origin may be closing it just now, so who cannot repeat its
        request says how many seconds it may have been idle.
        """
        idle = self._idle
        while idle:
            if idle[-1].transport.reactor.now - idle[-1].idle_since > max_age:
                return None
            link = idle.pop()
            if link.is_sound():
                return link
            link.drop()
        return None

    def open(self, reactor: Reactor, workers: Workers, seconds: float, done: Callable[[Link], None],
             failed: Callable[[str, bool], None]) -> Opening:
        """Begin to open a link within `seconds`; see Opening."""
        return Opening(self, reactor, workers, seconds, done, failed)

    def give_back(self, link: Link) -> None:
        """The request on `link` is sent and answered: it is idle, or closed if there is no use for it."""
        if link.transport.closing or link.transport.size or not self._max_idle:
            link.drop()
            return
        if len(self._idle) >= self._max_idle:
            self._idle.pop(0).drop()
        self._idle.append(link)
        link.rest(self._idle_seconds)

    def drop(self, link: Link) -> None:
        """Close `link`, idle or not."""
        if link in self._idle:
            self._idle.remove(link)
        link.drop()

    def close(self) -> None:
        """Close the idle links, and keep none from now on."""
        self._max_idle = 0
        idle, self._idle = self._idle, []
        for link in idle:
            link.drop()
