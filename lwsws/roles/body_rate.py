"""How long to wait for the next part of a request body: a trickle of bytes is no progress (LESSONS 3.8).

A body that a program or another server takes holds more than its connection, so the time spent waiting for it
is counted: it may come to CREDIT seconds more than its bytes would take at MIN_RATE.  Time in which the
handler, or the client's own reading, holds the body up is not counted.
"""

from __future__ import annotations

# What Apache asks for by default (mod_reqtimeout): 20 s and 500 bytes a second; slow links get more time.
CREDIT = 20.0
MIN_RATE = 100.0    # bytes a second


class BodyRate:
    """The time left for one body."""

    __slots__ = ("_credit", "_since")

    def __init__(self) -> None:
        self._credit = CREDIT
        self._since = 0.0   # when the present wait began

    def came(self, count: int) -> None:
        """`count` bytes of the body came."""
        self._credit = min(CREDIT, self._credit + count / MIN_RATE)

    def wait(self, now: float, timeout: float, goes_on: bool) -> float:
        """Seconds to wait from `now` on for more, at most `timeout`; `goes_on`: we have been waiting."""
        if goes_on:
            self._credit -= now - self._since
        self._since = now
        return max(0.0, min(timeout, self._credit))
