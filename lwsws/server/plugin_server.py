"""The server as plugins see it (core/session.py Server)."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Optional

from lwsws import __version__, log
from lwsws.config.model import printable
from lwsws.core.plugincall import guarded, submit
from lwsws.core.session import PendingCall, Pool
from lwsws.net.reactor import Reactor
from lwsws.net.timers import NEVER
from lwsws.net.workers import Workers

# How long a thread that computes may keep the reactor waiting, which lets go of the interpreter at each
# system call and has to get it back then.  With 5 ms, Python's own choice, eight of them leave it 20 requests
# a second, with this 1200; they themselves are as fast as before.
SWITCH_SECONDS = 0.0005

MakeStatus = Callable[[bool], Dict[str, Any]]


class PluginPool:
    """Threads of a plugin's own."""

    def __init__(self, reactor: Reactor, workers: Workers) -> None:
        self._reactor = reactor
        self._workers = workers

    def run_blocking(self, fn: Callable[..., Any], *args: Any,
                     then: Callable[[Any, Optional[Exception]], None]) -> None:
        """Have a thread call `fn(*args)`, and the reactor `then(result, error)`."""
        submit(self._reactor, self._workers, fn, args, guarded("job", then))


class PluginServer:
    """What the plugins of one process may ask of it."""

    version = __version__

    def __init__(self, reactor: Reactor, workers: Workers, make_status: MakeStatus) -> None:
        """`make_status(hide_vhosts)` says how the server is."""
        self._reactor = reactor
        self._workers = workers
        self._make_status = make_status

    def status(self, hide_vhosts: bool = False) -> Dict[str, Any]:
        """How the server is."""
        return self._make_status(hide_vhosts)

    def log(self, text: str, level: str = "notice") -> None:
        """Write a line to the server's log; ValueError for a level that there is not."""
        if level not in log.NAMES:
            raise ValueError(f"no log level {level!r}: it is one of {', '.join(log.NAMES)}")
        log.write(log.NAMES[level], printable(text))

    def call_later(self, seconds: float, fn: Callable[[], None]) -> PendingCall:
        """Call `fn` once, `seconds` from now; ValueError if that is negative or no number."""
        if not 0 <= seconds < NEVER:
            raise ValueError(f"a call cannot be put off by {seconds} s")
        return self._reactor.call_later(seconds, guarded("timer", fn))

    def run_blocking(self, fn: Callable[..., Any], *args: Any,
                     then: Callable[[Any, Optional[Exception]], None]) -> None:
        """Have a worker call `fn(*args)`, and the reactor `then(result, error)`."""
        submit(self._reactor, self._workers, fn, args, guarded("job", then))

    def make_pool(self, threads: int, name: str) -> Pool:
        """At most `threads` threads beside the server's workers; ValueError for less than one."""
        if threads < 1:
            raise ValueError(f"{threads} threads do nothing")
        sys.setswitchinterval(SWITCH_SECONDS)
        return PluginPool(self._reactor, self._workers.beside(threads, name))

    def call_from_thread(self, fn: Callable[[], None]) -> None:
        """Have the reactor call `fn`; for any thread."""
        self._workers.call(guarded("call from a thread", fn))
