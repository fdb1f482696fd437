"""Context: what all connections of one serving process share (lws: lws_context).

The reactor, the worker pool, the set of open connections and the limits of the `global`
section; also the Date field, formatted once a second for everybody.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Callable, Deque, Optional, Set, Tuple

from lwsws.core.connection import Connection
from lwsws.core.peers import Peers
from lwsws.core.vhost import Counts
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from lwsws.wire.dates import format_date
from lwsws.wire.http1_request import Limits as RequestLimits

if TYPE_CHECKING:
    from lwsws.net.programs import Programs

# What the spec and the original use when the configuration says nothing, in seconds.
TIMEOUT = 5
SEND_TIMEOUT = 60

# What is written in one pass by flush_later(): 10 to 20 ms of it, the system calls counted as bytes.
FLUSH_BYTES = 2 * 1024 * 1024
FLUSH_COST = 4096


class Limits:
    """The `global` settings that roles obey: times in seconds, sizes in bytes."""

    __slots__ = ("timeout", "send_timeout", "request", "reject_keywords", "ip_connections", "ip_requests")

    def __init__(self, timeout: float = TIMEOUT, send_timeout: float = SEND_TIMEOUT, head_bytes: int = 16384,
                 reject_keywords: Tuple[Tuple[str, int, str], ...] = (), ip_connections: int = 0,
                 ip_requests: int = 0) -> None:
        self.timeout = timeout
        self.send_timeout = send_timeout
        self.request = RequestLimits(head_bytes=head_bytes)
        self.reject_keywords = reject_keywords
        # The most connections, and requests under way, of one client address; 0 is no limit.
        self.ip_connections = ip_connections
        self.ip_requests = ip_requests


class Context:
    """The shared state of one serving process; used on the reactor thread only."""

    __slots__ = ("reactor", "workers", "limits", "connections", "onward", "accepted", "unfinished",
                 "counts", "peers", "winding_down", "stopping", "connection_gone", "wall_clock",
                 "_date_second", "_date_field", "_flushes", "_programs")

    def __init__(self, reactor: Reactor, workers: Workers, limits: Limits,
                 wall_clock: Callable[[], float] = time.time) -> None:
        self.reactor = reactor
        self.workers = workers
        self.limits = limits
        self.connections: Set[Connection] = set()
        self.onward = 0     # connections that ours have made to others
        self.accepted = 0
        self.unfinished = 0     # bytes of WebSocket messages that are not complete
        self.counts = Counts()  # bytes of all connections that have closed
        # Counts by client address, where there is a limit for one.
        self.peers: Optional[Peers] = None
        if limits.ip_connections or limits.ip_requests:
            self.peers = Peers(limits.ip_connections, limits.ip_requests, lambda: reactor.now)
        # Every answer is the last of its connection: a newer process has taken over, or the server stops.
        self.winding_down = False
        # The server stops: sessions end, and idle connections soon.  Never without winding_down.
        self.stopping = False
        self.connection_gone: Optional[Callable[[], None]] = None
        self.wall_clock = wall_clock
        self._flushes: Deque[Callable[[], int]] = deque()
        self._programs: Optional[Programs] = None   # until there is the first one
        self._date_second = -1
        self._date_field = b""

    @property
    def refused(self) -> int:
        """How many connections were closed because their client had too many, or too many requests."""
        return 0 if self.peers is None else self.peers.refused

    @property
    def programs(self) -> Programs:
        """The programs that handlers have started."""
        if self._programs is None:
            # Imported here: few servers run programs.
            from lwsws.net.programs import Programs
            self._programs = Programs(self.reactor)
        return self._programs

    @property
    def program_counts(self) -> Tuple[int, int]:
        """How many programs were started, and how many of them are there now."""
        return (0, 0) if self._programs is None else (self._programs.started, self._programs.alive)

    def end_programs(self) -> None:
        """End all programs, and wait for that; when the server ends."""
        if self._programs is not None:
            self._programs.close()

    def date_field(self) -> bytes:
        """The serialized Date field of this second (RFC 9110 6.6.1)."""
        second = int(self.wall_clock())
        if second != self._date_second:
            self._date_second = second
            self._date_field = b"Date: %s\r\n" % format_date(second).encode("ascii")
        return self._date_field

    def flush_later(self, flush: Callable[[], int]) -> None:
        """Call `flush`, which writes something and returns its size, at the end of this pass, or in one of
        the next: a message to thousands must not keep all others waiting (LESSONS 3.39)."""
        if not self._flushes:
            self.reactor.call_soon(self._flush)
        self._flushes.append(flush)

    def _flush(self) -> None:
        room = FLUSH_BYTES
        try:
            while self._flushes and room > 0:
                flush = self._flushes.popleft()
                room -= FLUSH_COST + flush()
        finally:
            if self._flushes:
                self.reactor.call_soon(self._flush)

    def register(self, connection: Connection) -> int:
        """Count `connection` among the open ones; returns its number for the log."""
        self.connections.add(connection)
        self.accepted += 1
        return self.accepted

    def unregister(self, connection: Connection) -> None:
        """`connection` has closed."""
        self.connections.discard(connection)
        if connection.counted and self.peers is not None:
            self.peers.leave(connection.counted)
        transport = connection.transport
        for counts in (self.counts, connection.counts):
            if counts is not None:
                counts.rx += transport.bytes_received
                counts.tx += transport.bytes_sent
        if self.connection_gone is not None:
            self.connection_gone()
