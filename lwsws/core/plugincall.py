"""Calling plugins: what they raise is logged and stays theirs, what would wait goes to a worker, and what
comes later is a timer of the session.

This is the boundary around foreign code: all sessions (roles/session.py, handlers/callback.py) and all that
makes and ends plugins call them by these functions and in no other way.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple, Type

from lwsws import log
from lwsws.net.reactor import describe
from lwsws.net.timers import NEVER, Deadline
from lwsws.net.workers import Overloaded

if TYPE_CHECKING:
    from lwsws.net.reactor import Reactor
    from lwsws.net.workers import Workers

Outcome = Callable[[Any, Optional[Exception]], None]


def call_plugin(ident: int, method: Callable[..., Any], *args: Any) -> bool:
    """Call a method of a plugin for the connection `ident`; False if it raised, which is logged."""
    try:
        method(*args)
        return True
    except BaseException:   # boundary: a fault of a plugin, sys.exit() too, ends its own session only
        _report(f"conn {ident}", method)
        return False


def ask_plugin(label: str, method: Callable[..., Any], *args: Any,
               answers: Tuple[Type[Exception], ...] = ()) -> Tuple[bool, Any]:
    """The same where the answer matters: whether it returned, and what (None if it did not); what is logged
    begins with `label`.  An exception of `answers` is no fault, and comes through."""
    try:
        return True, method(*args)
    except answers:
        raise
    except BaseException:   # boundary: as above
        _report(label, method)
        return False, None


def _report(label: str, method: Callable[..., Any]) -> None:
    import traceback  # costs start-up time, and faults are rare

    log.err(f"{label}: fault in {describe(method)}:\n{traceback.format_exc()}")


def guarded(label: str, fn: Callable[..., Any]) -> Callable[..., None]:
    """A function that calls `fn`, a plugin's, as ask_plugin() does; for the reactor to call."""
    def call(*args: Any) -> None:
        ask_plugin(label, fn, *args)

    return call


def move_timer(timer: Optional[Deadline], reactor: Reactor, seconds: Optional[float],
               due: Callable[[str], None]) -> Optional[Deadline]:
    """The one timer of a session, made when it is first set: `due` is called `seconds` from now, or not at
    all (None).  Changes `timer` if there is one."""
    if seconds is None:
        if timer is not None:
            timer.clear()
        return timer
    if timer is None:
        timer = Deadline(reactor.timers, due)
    timer.set(reactor.now + seconds, "timer")
    return timer


def check_seconds(seconds: Optional[float]) -> None:
    """ValueError if a plugin wants a timer after a time that is negative, without end or no number."""
    if seconds is not None and not 0 <= seconds < NEVER:
        raise ValueError(f"a timer cannot be set to {seconds} s")


def submit(reactor: Reactor, workers: Workers, fn: Callable[..., Any], args: Tuple[Any, ...],
           finished: Outcome) -> None:
    """Have a worker call `fn(*args)` and then the reactor `finished(result, error)`, in a later turn also
    where no worker can be had (error is Overloaded)."""
    try:
        workers.submit(functools.partial(fn, *args), finished)
    except Overloaded as exc:
        reactor.call_soon(functools.partial(finished, None, exc))
