"""The reactor: the one loop that waits on fds and calls back.

A pass of the loop is: wait until something is ready, read the clock once into `now`, call the timers
that are due, call the callbacks of the fds that are ready, call what `call_soon` had queued before.
Each of these steps is bounded, so nobody can keep the others from their turn for long.

The selector is level-triggered: a callback need not take all there is.  After an error or a hang-up a
callback is told READ or WRITE, whichever it asked for: that says what to try, and trying tells what
happened.  The kernel reports a hang-up to everyone who watches, so an fd that nobody wants to hear of
must be unwatched.

An fd may be closed by one callback and its number given to a new connection by the next one, both in the
same pass, with events for the old one still in hand.  So an fd that was unwatched during a pass gets no
callback any more before the next one.

Any exception of a callback is logged here with its traceback, and the loop goes on.
"""

from __future__ import annotations

import functools
import selectors
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Protocol, Set, Tuple, Union

from lwsws import log
from lwsws.net.timers import NEVER, Action, Clock, Timer, Timers
from lwsws.net.wakeup import Signals

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

# The shared receive buffer: one read may bring this much.
BUFFER_BYTES = 65536
# At most so many timers a pass, as when 10,000 idle connections reach their limit at the same time.
MAX_TIMERS = 64
# Seconds of a wait; the kernel counts in 31 bits of milliseconds, and a timer may be a year away.
MAX_WAIT = 3600.0
# A callback that takes longer delays all connections noticeably.
SLOW_SECONDS = 0.05
# A line about slow callbacks at most so often.
SLOW_QUIET_SECONDS = 5.0

Callback = Callable[[int], None]


class HasFileno(Protocol):
    """A socket or the like."""

    def fileno(self) -> int:
        """Its fd."""


def describe(fn: Callable[..., Any]) -> str:
    """A name for `fn` that helps to find it: of a method also whose it is."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    owner = getattr(fn, "__self__", None)
    name = getattr(fn, "__qualname__", None) or repr(fn)
    return name if owner is None else f"{name} of {owner!r}"


class Reactor:
    """The loop, its timers, its shared receive buffer and its signals.  Everything but Wakeup.wake() is
    for the reactor's own thread only."""

    def __init__(self, clock: Clock = time.monotonic,
                 selector: Optional[selectors.BaseSelector] = None, names_slow: bool = True) -> None:
        """Without `names_slow` nobody waits for anybody else here, so slowness is not worth a line."""
        self.clock = clock
        # The clock at the start of this pass.
        self.now = clock()
        self.timers = Timers(clock)
        self.buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self._selector = selectors.DefaultSelector() if selector is None else selector
        self._unwatched: Set[int] = set()  # since the last poll
        self._soon: Deque[Action] = deque()
        self._signals: Optional[Signals] = None
        self._signal_actions: Dict[int, Action] = {}
        self._stopping = False
        self._closed = False
        self._slow_quiet_until = self.now if names_slow else NEVER
        self._slow_unnamed = 0

    # -- fds

    def watch(self, fileobj: Union[int, HasFileno], mask: int, callback: Callback) -> None:
        """Call `callback(READ | WRITE)` in each pass in which the fd is ready for what `mask` asks for.

        KeyError if the fd is watched already, OSError if it is of a kind that is always ready (a file).
        """
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._selector.register(fd, mask, callback)

    def rewatch(self, fileobj: Union[int, HasFileno], mask: int, callback: Callback) -> None:
        """Change mask and callback of a watched fd."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._selector.modify(fd, mask, callback)

    def unwatch(self, fileobj: Union[int, HasFileno]) -> None:
        """Call back no more for this fd.  To be called before the fd is closed; no effect if not watched."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        try:
            self._selector.unregister(fd)
        except KeyError:
            return
        self._unwatched.add(fd)

    # -- functions

    def call_soon(self, fn: Action) -> None:
        """Call `fn` at the end of this pass, or of the next one if called from such a function."""
        self._soon.append(fn)

    def call_later(self, seconds: float, fn: Action) -> Timer:
        """Call `fn` once, `seconds` from now."""
        return self.timers.call_later(seconds, fn)

    def call_at(self, at: float, fn: Action) -> Timer:
        """Call `fn` once when the clock reaches `at`."""
        return self.timers.call_at(at, fn)

    def guarded(self, fn: Callable[..., None], *args: Any) -> None:
        """Call `fn(*args)` now, as a callback of its own: its exception is logged, its slowness named."""
        started = self.clock()
        try:
            fn(*args)
        except Exception:
            self._report_fault(fn)
        took = self.clock() - started
        if took > SLOW_SECONDS:
            self._report_slow(fn, took)

    def add_signal(self, signum: int, fn: Action) -> None:
        """Call `fn` in the pass after the signal came.  Main thread only (else ValueError)."""
        if self._signals is None:
            self._signals = Signals()
            self.watch(self._signals.wakeup, READ, self._signalled)
        self._signals.catch(signum)
        self._signal_actions[signum] = fn

    # -- the loop

    def run(self) -> None:
        """Run passes until stop() is called; at once back if it was already."""
        while not self._stopping:
            self.run_once()
        self._stopping = False

    def stop(self) -> None:
        """Make run() return after this pass.  For callbacks; another thread cannot wake the loop by it."""
        self._stopping = True

    def run_once(self, timeout: Optional[float] = None) -> None:
        """One pass; waits at most `timeout` seconds for something to do, without limit if None."""
        if self._unwatched:
            self._unwatched.clear()
        if self._soon:
            timeout = 0.0
        due = self.timers.next_at()
        if due is not None:
            left = due - self.clock()
            if timeout is None or left < timeout:
                timeout = max(0.0, left)
        if timeout is not None and timeout > MAX_WAIT:
            timeout = MAX_WAIT
        ready = self._selector.select(timeout)
        started = self.now = self.clock()
        if due is not None and due <= started:
            self._run_timers()
            started = self.clock()
        if ready:
            self._dispatch(ready, started)
        if self._soon:
            self._run_soon()

    def close(self) -> None:
        """Drop all that is watched and queued, and give the signals back.  The fds stay open."""
        if self._closed:
            return
        self._closed = True
        if self._signals is not None:
            self.unwatch(self._signals.wakeup)
            self._signals.close()
            self._signals = None
        self._selector.close()
        self._soon.clear()
        self._signal_actions.clear()

    def _dispatch(self, ready: List[Tuple[selectors.SelectorKey, int]], started: float) -> None:
        clock = self.clock
        unwatched = self._unwatched
        for key, mask in ready:
            if unwatched and key.fd in unwatched:
                continue
            callback = key.data
            try:
                callback(mask)
            except Exception:
                self._report_fault(callback)
            ended = clock()
            if ended - started > SLOW_SECONDS:
                self._report_slow(callback, ended - started)
            started = ended

    def _run_timers(self) -> None:
        for _ in range(MAX_TIMERS):
            action = self.timers.take_due(self.now)
            if action is None:
                break
            self.guarded(action)

    def _run_soon(self) -> None:
        soon = self._soon
        for _ in range(len(soon)):
            self.guarded(soon.popleft())

    def _signalled(self, mask: int) -> None:
        if self._signals is None:
            return
        for signum in self._signals.take():
            action = self._signal_actions.get(signum)
            if action is not None:  # None: an action before this one closed the reactor
                self.guarded(action)

    # -- reports

    def _report_fault(self, fn: Callable[..., Any]) -> None:
        import traceback  # only now: it costs start-up time, and faults are rare

        log.err(f"fault in {describe(fn)}:\n{traceback.format_exc()}")

    def _report_slow(self, fn: Callable[..., Any], took: float) -> None:
        """Name a callback that held up everyone, but not each one of a bad time."""
        now = self.clock()
        if now < self._slow_quiet_until:
            self._slow_unnamed += 1
            return
        self._slow_quiet_until = now + SLOW_QUIET_SECONDS
        others = f" ({self._slow_unnamed} more were slow before)" if self._slow_unnamed else ""
        self._slow_unnamed = 0
        log.warn(f"slow: {describe(fn)} took {took * 1000:.0f} ms{others}")
