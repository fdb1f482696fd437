"""Programs that the server has started: how each ends, and that nothing of it is left.

net/spawn.py starts them, each as the leader of a session and process group of its own, so that what it starts
in turn can be ended with it.  A signal to a group goes by the number of its leader, and a number is free for
somebody else's process as soon as the leader was waited for.  So that comes last: a leader that has ended
stays a zombie until no signal will go to its group any more.

    running ── ended ──> told (exited), kept ── release() ──> waited for, its background jobs left alone
       │                        └─ kill() ─┐
       ├─ release(s), ended in time ───────│────────────────> the same
       └─ kill() ────> TERM to the group ──┴─ 2 s ─> KILL to the group ─> waited for

The end of a process is a pidfd that becomes readable; where those are not to be had, a timer looks for it.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Callable, List, Optional, Set

from lwsws import log
from lwsws.net.reactor import READ, Reactor
from lwsws.net.timers import Timer

if TYPE_CHECKING:
    from lwsws.net.spawn import Started

# Between TERM and KILL.
KILL_SECONDS = 2.0
# Without pidfds: the first look, and the longest time between two.
FIRST_LOOK_SECONDS = 0.01
LOOK_SECONDS = 0.2
# When the server ends: for programs to end after TERM, and then after KILL.
CLOSE_SECONDS = 1.0
CLOSE_LOOK_SECONDS = 0.005

# Gets the return code: an exit status, or the negative number of a signal; None if nobody can know it.
Exited = Callable[[Optional[int]], None]


def describe_exit(returncode: Optional[int]) -> str:
    """How a program ended, for the log."""
    if returncode is None:
        return "has ended"
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def signal_group(leader: int, signum: int) -> None:
    """Send a signal to a whole process group.  Its leader must not have been waited for."""
    try:
        os.killpg(leader, signum)
    except OSError as error:    # there is none any more, or it has become somebody else, as by sudo
        log.info(f"program {leader} gets no {signal.Signals(signum).name}: {error.strerror}")


def _nothing(returncode: Optional[int]) -> None:
    """Nobody wants to know."""


class Program:
    """One started program.  All methods are for the reactor's thread."""

    __slots__ = ("pid", "label", "returncode", "has_ended", "_programs", "_started", "_exited", "_timer",
                 "_pidfd", "_look_timer", "_look_seconds", "_released", "_killing", "_killed")

    def __init__(self, programs: Programs, started: Started, label: str, exited: Exited) -> None:
        """`exited` is told once that the program has ended, never before this returns.  `label` is for the
        log."""
        self.pid = started.pid
        self.label = label
        self.returncode: Optional[int] = None
        self.has_ended = False
        self._programs = programs
        self._started = started
        self._exited = exited
        self._timer: Optional[Timer] = None     # to kill()
        self._pidfd = -1
        self._look_timer: Optional[Timer] = None
        self._look_seconds = FIRST_LOOK_SECONDS
        self._released = False
        self._killing = False
        self._killed = False    # no signal will go to the group any more
        programs.add(self)
        self._watch()

    def release(self, seconds: float) -> None:
        """Have no more interest: wait for the program when it ends, and kill() it if it has not after
        `seconds`.  What it has left running in the background is left alone."""
        if self._released or self._killing:
            return
        self._released = True
        if self.has_ended:
            self._reap()
        else:
            self._timer = self._programs.reactor.call_later(seconds, self.kill)

    def kill(self) -> None:
        """End the program and all of its group: by TERM now, by KILL in KILL_SECONDS."""
        if self._killing or self._killed:
            return
        self._killing = True
        self._cancel()
        signal_group(self.pid, signal.SIGTERM)
        self._timer = self._programs.reactor.call_later(KILL_SECONDS, self.kill_now)

    def kill_now(self) -> None:
        """End the program and all of its group by KILL."""
        if self._killed:
            return
        self._killing = self._killed = True
        self._cancel()
        signal_group(self.pid, signal.SIGKILL)
        if self.has_ended:
            self._reap()

    def look(self) -> bool:
        """Whether the program has ended by now; `exited` is told of it."""
        if self.has_ended:
            return True
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # Somebody else has waited for it, and its number may be anybody's.
            self._killed = self._released = True
            self._end(None)
            return True
        if found is None:
            return False
        self._end(found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)
        return True

    def forget(self) -> None:
        """Tell nobody of the end, and look for it no more by oneself."""
        self._exited = _nothing
        self._cancel()
        self._unwatch()

    def _watch(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
            self._programs.reactor.watch(self._pidfd, READ, self._readable)
        except (OSError, AttributeError):   # before Linux 5.3, or no fd is left
            self._unwatch()
            self._look_later()

    def _unwatch(self) -> None:
        if self._pidfd != -1:
            self._programs.reactor.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None

    def _readable(self, mask: int) -> None:
        self.look()

    def _look_later(self) -> None:
        self._look_timer = self._programs.reactor.call_later(self._look_seconds, self._look_again)
        self._look_seconds = min(self._look_seconds * 2, LOOK_SECONDS)

    def _look_again(self) -> None:
        self._look_timer = None
        if not self.look():
            self._look_later()

    def _end(self, returncode: Optional[int]) -> None:
        self._unwatch()
        self.returncode = returncode
        self.has_ended = True
        if self._killed or (self._released and not self._killing):
            self._reap()
        exited, self._exited = self._exited, _nothing
        exited(returncode)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _reap(self) -> None:
        """Wait for the program, which has ended: from now on its number may be somebody else's."""
        self._killed = True
        self._cancel()
        self._started.popen.poll()
        self._programs.remove(self)


class Programs:
    """All programs of this process that were not waited for."""

    __slots__ = ("reactor", "started", "_alive")

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.started = 0    # ever
        self._alive: Set[Program] = set()

    @property
    def alive(self) -> int:
        """How many there are; one that is being killed counts until that is done."""
        return len(self._alive)

    def add(self, program: Program) -> None:
        """`program` was started."""
        self.started += 1
        self._alive.add(program)

    def remove(self, program: Program) -> None:
        """`program` was waited for."""
        self._alive.discard(program)

    def close(self) -> None:
        """End all programs and what they have started, and wait for that, at most CLOSE_SECONDS after each of
        TERM and KILL.

        For the end of the server: it blocks, and tells nobody."""
        programs = list(self._alive)
        for program in programs:
            program.forget()
            signal_group(program.pid, signal.SIGTERM)
        _await_end(programs)
        for program in programs:
            program.kill_now()
        _await_end(programs)
        for program in self._alive:
            log.warn(f"{program.label}: program {program.pid} cannot be ended")
        self._alive.clear()


def _await_end(programs: List[Program]) -> None:
    """Wait until all have ended, or for CLOSE_SECONDS."""
    give_up = time.monotonic() + CLOSE_SECONDS
    waiting = programs
    while True:
        waiting = [program for program in waiting if not program.look()]
        if not waiting or time.monotonic() > give_up:
            return
        time.sleep(CLOSE_LOOK_SECONDS)
