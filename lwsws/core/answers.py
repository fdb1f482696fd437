"""The fast path: answers remembered by the exact bytes of the request.

Most requests to a busy static site are the same few bytes again and again.  An answer that
depends on nothing but the request bytes and a file (no login, no state) is kept under the bytes
of the whole request head, and the next equal request costs a dict lookup and a write instead of
parsing, routing, opening and formatting (measured: 3 times as many requests a second at 1 KB).

Everything is forgotten together, at most `LIFETIME` after the first answer was kept.  So a
changed file is seen within that time, the Date field is never older, and there is no entry to
check or evict one by one.  The slow path beside it (roles/http.py) gives the same bytes; a test
compares them.  One `Answers` belongs to one set of vhosts on one listening address, so the
request bytes alone select the vhost too.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

from lwsws.core.accesslog import AccessLog
from lwsws.net.reactor import Reactor

# Seconds; short enough that nobody who saves a file and reloads the page notices.
LIFETIME = 0.25

# A crowd of different requests must not fill the memory: at most this much per listening address.
MAX_ENTRIES = 2048
MAX_BYTES = 8 * 1024 * 1024
MAX_REQUEST = 2048


class Answer(NamedTuple):
    """A whole answer: its bytes, what happens then, and its line for the access log."""

    payload: bytes
    keep_alive: bool
    keepalive: float
    access_log: Optional[AccessLog]
    log_tail: str


class Answers:
    """The remembered answers of one listening address."""

    __slots__ = ("_reactor", "_answers", "_bytes", "get")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._answers: Dict[bytes, Answer] = {}
        self._bytes = 0
        # The dict's own lookup, because it is asked for each request: request bytes -> Answer or None.
        self.get = self._answers.get

    def remember(self, request: bytes, answer: Answer) -> None:
        """Keep `answer` for requests of exactly these bytes, if there is room."""
        size = len(request) + len(answer.payload)
        if len(request) > MAX_REQUEST or len(self._answers) >= MAX_ENTRIES or self._bytes + size > MAX_BYTES:
            return
        if not self._answers:
            self._reactor.call_later(LIFETIME, self.forget)
        self._answers[request] = answer
        self._bytes += size

    def forget(self) -> None:
        """Drop all answers."""
        self._answers.clear()
        self._bytes = 0
