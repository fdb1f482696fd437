"""Waiting for an address that does not exist yet: an interface plugged in later, an address still tentative.

It is logged once that it is waited for, and once that it is there, not at each look (LESSONS 2, Network).
"""

from __future__ import annotations

import socket
from typing import Callable, List

from lwsws import log
from lwsws.net.bind import NOT_YET
from lwsws.net.reactor import Reactor

# How often to look whether it has come.
RETRY_SECONDS = 2.0

Sockets = List[socket.socket]


class BindRetry:
    """Waits for an address that does not exist yet: looks every two seconds until it can be bound."""

    def __init__(
        self,
        reactor: Reactor,
        bind: Callable[[], Sockets],
        bound: Callable[[Sockets], None],
        label: str,
    ) -> None:
        """`bind` makes the listening sockets or raises OSError, `bound` gets them once; `label` is for the
        log.

        The caller has tried already: the first look is in two seconds.
        """
        self._reactor = reactor
        self._bind = bind
        self._bound = bound
        self._label = label
        self._complaint = ""  # what was logged last: the same is not said again
        log.warn(f"{label}: its address does not exist; looking for it every {RETRY_SECONDS:.0f} s")
        self._timer = reactor.call_later(RETRY_SECONDS, self._look)

    def cancel(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        try:
            sockets = self._bind()
        except OSError as exc:
            # Whatever it is: it may pass, and by now there is nobody else to deal with it.
            self._complain(exc)
            self._timer = self._reactor.call_later(RETRY_SECONDS, self._look)
            return
        log.notice(f"{self._label}: its address is there now")
        self._bound(sockets)

    def _complain(self, exc: OSError) -> None:
        complaint = "" if exc.errno in NOT_YET else exc.strerror or str(exc)
        if complaint and complaint != self._complaint:
            log.warn(f"{self._label}: {complaint}; looking again every {RETRY_SECONDS:.0f} s")
        self._complaint = complaint
