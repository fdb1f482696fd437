"""Timers: one heap of due times, lazy cancel, and deadlines that move without touching the heap.

A cancelled timer stays in the heap as a dead entry and is dropped when it comes to the top.  When more
than half of the heap is dead, it is rebuilt from the live ones, so a server that makes and drops many
short connections does not keep them in memory until their time limits would have passed.

A `Deadline` is the one time limit of a connection and is moved at almost every event.  Its heap entry
is only a reminder: when the entry comes due and the deadline has moved to a later time meanwhile, the
entry goes back into the heap.  So moving later, the usual case, is two attribute stores.

Times are in seconds on the clock given to `Timers`; nothing here sleeps or reads another clock.
"""

from __future__ import annotations

import functools
from heapq import heapify, heappop, heappush
from typing import Callable, List, Optional, Tuple, Union

Clock = Callable[[], float]
Action = Callable[[], None]

NEVER = float("inf")

# Below this many dead entries a rebuild saves nothing worth its walk over the heap.
MIN_DEAD = 64

# When it is due; a running number, so that equal times keep their order; whom to ask.
Entry = Tuple[float, int, Union["Timer", "Deadline"]]


class Timer:
    """A function to be called once, unless cancelled first."""

    __slots__ = ("_timers", "_action")

    def __init__(self, timers: Timers, action: Action) -> None:
        self._timers = timers
        self._action: Optional[Action] = action

    def cancel(self) -> None:
        """Make sure the function is not called any more; no effect after it was."""
        if self._action is not None:
            self._action = None
            self._timers.entry_died()

    def take(self, entry: Entry, now: float) -> Optional[Action]:
        """The function to call now that `entry` is due, or None; for Timers only."""
        action = self._action
        self._action = None
        if action is None:
            self._timers.entry_gone()
        return action

    def forgotten(self, entry: Entry) -> bool:
        """Whether `entry` is dead and may be left out of the rebuilt heap; for Timers only."""
        return self._action is None


class Timers:
    """The heap of all timers and deadlines of one reactor."""

    __slots__ = ("clock", "_heap", "_count", "_dead")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._heap: List[Entry] = []
        self._count = 0
        self._dead = 0

    def __len__(self) -> int:
        """How many entries the heap holds, dead ones included."""
        return len(self._heap)

    def call_at(self, at: float, action: Action) -> Timer:
        """Call `action` once when the clock reaches `at`."""
        timer = Timer(self, action)
        self.push(at, timer)
        return timer

    def call_later(self, seconds: float, action: Action) -> Timer:
        """Call `action` once, `seconds` from now."""
        return self.call_at(self.clock() + seconds, action)

    def next_at(self) -> Optional[float]:
        """When to look again: no live timer is due before; None if there is none at all."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> Optional[Action]:
        """Take out the next function that is due at `now`; None if there is none (left)."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            entry = heappop(heap)
            action = entry[2].take(entry, now)
            if action is not None:
                return action
        return None

    def run_due(self, now: float, limit: int) -> int:
        """Call what is due at `now`, at most `limit` functions; returns how many were called."""
        for called in range(limit):
            action = self.take_due(now)
            if action is None:
                return called
            action()
        return limit

    def push(self, at: float, target: Union[Timer, Deadline]) -> Entry:
        """Put in an entry that asks `target` at `at`; for Timer and Deadline."""
        if self._dead > MIN_DEAD and self._dead * 2 > len(self._heap):
            self._rebuild()
        self._count += 1
        entry = (at, self._count, target)
        heappush(self._heap, entry)
        return entry

    def entry_died(self) -> None:
        """Count an entry that is still in the heap but will do nothing any more."""
        self._dead += 1

    def entry_gone(self) -> None:
        """Count off a dead entry that left the heap, or that came back to life."""
        self._dead -= 1

    def _rebuild(self) -> None:
        self._heap[:] = [entry for entry in self._heap if not entry[2].forgotten(entry)]
        heapify(self._heap)
        self._dead = 0


def nobody(why: str) -> None:
    """Whom an ended deadline is for."""


class Deadline:
    """A single time limit with a reason, set anew again and again.

    `at` is NEVER and `why` is "" while none is set.  `expired(why)` is called once when the time is
    reached, with the deadline already clear, so that it may set the next one.
    """

    __slots__ = ("_timers", "_expired", "_entry", "at", "why")

    def __init__(self, timers: Timers, expired: Callable[[str], None]) -> None:
        self._timers = timers
        self._expired = expired
        # The one live entry of ours.  It is never due later than `at`.
        self._entry: Optional[Entry] = None
        self.at = NEVER
        self.why = ""

    def set(self, at: float, why: str) -> None:
        """Expire at the time `at`, for the reason `why`, in place of what was set before."""
        entry = self._entry
        if entry is None or at < entry[0]:
            if entry is not None and self.at != NEVER:
                self._timers.entry_died()
            self._entry = None  # disowned first: the push may rebuild the heap
            self._entry = self._timers.push(at, self)
        elif self.at == NEVER:
            self._timers.entry_gone()
        self.at = at
        self.why = why

    def clear(self) -> None:
        """Have no time limit."""
        if self.at != NEVER:
            self.at = NEVER
            self.why = ""
            self._timers.entry_died()

    def end(self) -> None:
        """Have no time limit ever again, and forget whom it was for: the heap may hold this for a while."""
        self.clear()
        self._expired = nobody

    def take(self, entry: Entry, now: float) -> Optional[Action]:
        """What to call now that `entry` is due: nothing if the deadline moved; for Timers only."""
        if entry is not self._entry:
            self._timers.entry_gone()
            return None
        self._entry = None
        if self.at == NEVER:
            self._timers.entry_gone()
            return None
        if self.at > now:
            self._entry = self._timers.push(self.at, self)
            return None
        why = self.why
        self.at = NEVER
        self.why = ""
        return functools.partial(self._expired, why)

    def forgotten(self, entry: Entry) -> bool:
        """Whether `entry` is dead and may be left out of the rebuilt heap; for Timers only."""
        if entry is not self._entry:
            return True
        if self.at == NEVER:
            self._entry = None
            return True
        return False
