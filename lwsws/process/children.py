"""Children: how the parent forks serving processes, hears them, tells them something, and sees them end.

What that means for the service is decided in process/parent.py, which is told of two things: that a
process is ready, and that one has ended.  A process that breaks the rules of its channels is killed: nobody
knows whose it is by then.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Callable, Iterator, List, NoReturn, Tuple

from lwsws import archive, log
from lwsws.net.channel import ChildEnd, channel_pair
from lwsws.net.listening import SocketStore
from lwsws.net.memory_file import empty_memory_file, is_sealed
from lwsws.net.reactor import READ, Reactor
from lwsws.process.dispositions import ignore, inherit_nothing
from lwsws.process.generation import STARTING, Child, Generation, Place
from lwsws.process.requests import Requests
from lwsws.server.scoreboard import Row, Scoreboard

# A process that is not ready by then never will be.
START_SECONDS = 90.0
# Signs of life that may wait to be read; a pipe has room for some thousands.
MAX_WAITING = 10000
# How long a process may take to write down where it was.
ABORT_SECONDS = 2.0
# The parent and all its children share the table of them.
MAX_PROCESSES = 1024

# What the parent handles, and a child must not inherit.
HANDLED = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)

# What a child does: gets its place, its ends of both channels, the table and its row there, and returns the
# exit code.
Serve = Callable[[Place, ChildEnd, ChildEnd, Scoreboard, int], int]


class Children:
    """All serving processes, of all generations."""

    def __init__(self, reactor: Reactor, store: SocketStore, serve: Serve, alive_seconds: float,
                 ready: Callable[[Generation, Child], None],
                 gone: Callable[[Generation, Child, int], None]) -> None:
        """`serve` is called in each child.  `ready` hears of who serves, `gone` of who has ended, with the
        status as of waitpid()."""
        self.generations: List[Generation] = []
        self.scoreboard = Scoreboard(MAX_PROCESSES)
        self._reactor = reactor
        self._store = store
        self._serve = serve
        self._alive_seconds = alive_seconds
        self._ready = ready
        self._gone = gone

    def __iter__(self) -> Iterator[Tuple[Generation, Child]]:
        """Each process with its generation; a copy, so processes may come and go meanwhile."""
        for generation in list(self.generations):
            for child in list(generation.children.values()):
                yield generation, child

    # Forking.

    def spawn(self, generation: Generation, number: int) -> None:
        """Fork the process `number` of `generation`.  OSError if that cannot be had."""
        # By our own count: any of the children can write what it likes on the scoreboard.
        used = {child.at for _, child in self}
        at = next((at for at in range(MAX_PROCESSES) if at not in used), -1)
        if at < 0:
            raise OSError(f"there are {MAX_PROCESSES} processes already")
        is_first = generation.state == STARTING and number == 0
        if is_first:
            generation.config = _room_for_configuration()
        place = Place(generation.number, number, is_first, generation.config, self._alive_seconds)
        slot = self.scoreboard.slot(at)
        control, their_control = channel_pair()
        try:
            requests, their_requests = channel_pair()
        except OSError:
            control.close()
            their_control.close()
            raise
        slot.write(Row(0, generation.number, number, int(time.time())))
        # A signal between the fork and the child's own handlers would be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                control.close()
                requests.close()
                self._be_child(generation, place, their_control, their_requests, at)
        except OSError:
            slot.clear()
            control.close()
            requests.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            their_control.close()
            their_requests.close()
        answering = Requests(requests, self._store, generation.claims, number,
                             lambda *numbers: self._configured(generation, number, *numbers),
                             lambda text: self._complained(generation, text))
        child = Child(pid, place, control, requests, answering, at, self._reactor.clock())
        generation.children[number] = child
        self._reactor.watch(control, READ, lambda mask: self._hear(generation, child))
        self._reactor.watch(requests, READ, lambda mask: self._asked(child))
        child.deadline = self._reactor.call_later(START_SECONDS, lambda: self._too_late(child))

    def _be_child(self, own: Generation, place: Place, control: ChildEnd, requests: ChildEnd,
                  at: int) -> NoReturn:
        """What the forked process does; it must never return into the parent's work."""
        code = 1
        try:
            archive.renew()     # a new version of it may be there by now
            self._let_go(own)
            name_process(place.name)
            log.set_tag(str(os.getpid()))
            code = self._serve(place, control, requests, self.scoreboard, at)
        except Exception:
            import traceback  # only now: the parent does without it
            log.err(f"fault in the serving process:\n{traceback.format_exc()}")
        finally:
            try:
                sys.stdout.flush()  # of plugins that print
            finally:
                os._exit(code)

    def _let_go(self, own: Generation) -> None:
        """In a child of the generation `own`: have nothing of the parent's, neither its signals nor its
        descriptors."""
        self._reactor.close()
        for generation in self.generations:
            if generation is not own:
                generation.forget_configuration()
            for child in generation.children.values():
                child.control.close()
                child.requests.close()
        self._store.abandon()
        # Terminals and `killall` send them to everybody; USR1 until its handler is there.
        ignore(signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        inherit_nothing()

    # Hearing.

    def _hear(self, generation: Generation, child: Child) -> None:
        self._heard(generation, child)

    def hear_all(self, generation: Generation, child: Child) -> None:
        """Read what `child` has said so far, though the reactor has not come to that yet."""
        for _ in range(MAX_WAITING):
            if child.control.fileno() == -1 or not self._heard(generation, child):
                return

    def _heard(self, generation: Generation, child: Child) -> bool:
        """`child` says something on its control channel; whether there may be more."""
        try:
            fields = child.control.receive()
        except BlockingIOError:
            return False
        except OSError as error:
            self._breach(child, str(error))
            return False
        if fields is None:
            self._reactor.unwatch(child.control)    # it is about to end
            if not child.is_ending:
                self._expect_end(child)
            return False
        if fields == ["alive"]:
            child.last_alive = self._reactor.now
        elif fields == ["ready"] and not child.is_ready:
            self._is_ready(generation, child)
        else:
            self._breach(child, f"it says {fields[0]!a:.50}")
            return False
        return True

    def _is_ready(self, generation: Generation, child: Child) -> None:
        child.is_ready = True
        child.answering.settle()
        child.last_alive = self._reactor.now
        if child.is_ending:
            return      # it was told to end before
        if child.deadline is not None:
            child.deadline.cancel()
            child.deadline = None
        self._ready(generation, child)

    def _configured(self, generation: Generation, number: int, count: int, shutdown_seconds: int,
                    vhosts: int) -> None:
        """What a process says of its configuration while it is still to be trusted; the first one counts."""
        if generation.state != STARTING or number != 0:
            return
        generation.count = count
        generation.shutdown_seconds = shutdown_seconds
        generation.vhosts = vhosts
        if generation.config != -1 and not is_sealed(generation.config):
            generation.forget_configuration()   # it could not be kept

    def _complained(self, generation: Generation, text: str) -> None:
        generation.fault = generation.fault or text

    def _asked(self, child: Child) -> None:
        """`child` asks for something on its request channel."""
        if not child.answering.serve():
            self.ignore(child)
            if child.answering.breached:
                self._breach(child, child.answering.breached)

    def _breach(self, child: Child, what: str) -> None:
        log.err(f"process {child.pid} breaks the rules, and is killed: {what}")
        self._reactor.unwatch(child.control)
        self.ignore(child)
        os.kill(child.pid, signal.SIGKILL)

    # Telling.

    def order(self, child: Child, word: str) -> None:
        """Tell `child` to do something."""
        try:
            child.control.tell([word])
        except BlockingIOError:
            log.err(f"process {child.pid} has not read what it was told for long, and is killed")
            os.kill(child.pid, signal.SIGKILL)
        except OSError:
            pass    # it has ended, which SIGCHLD tells

    def end(self, generation: Generation, child: Child, seconds: float, word: str = "stop") -> None:
        """Have `child` end: by itself, or by force after `seconds`."""
        child.is_ending = True
        self.hear_all(generation, child)    # perhaps it has just said that it is ready
        if child.is_ready:
            self.order(child, word)
        else:
            # It has not accepted anybody yet, and would only keep its sockets open, on which clients wait.
            os.kill(child.pid, signal.SIGKILL)
        self._expect_end(child, seconds)

    def _expect_end(self, child: Child, seconds: float = START_SECONDS) -> None:
        if child.deadline is not None:
            child.deadline.cancel()
        child.deadline = self._reactor.call_later(seconds, lambda: self._too_late(child))

    def _too_late(self, child: Child) -> None:
        what = "end" if child.is_ready or child.is_ending else "get ready"
        log.err(f"process {child.pid} did not {what} in time, and is killed")
        os.kill(child.pid, signal.SIGKILL)

    def abort(self, child: Child) -> None:
        """End a child whose loop does not turn, so that it says where it is if faulthandler is on."""
        child.is_stuck = child.is_ending = True
        os.kill(child.pid, signal.SIGABRT)
        self._expect_end(child, ABORT_SECONDS)

    def ignore(self, child: Child) -> None:
        """Answer no more requests of `child`."""
        if child.requests.fileno() != -1:
            self._reactor.unwatch(child.requests)
            child.requests.close()

    # Their end.

    def reap(self) -> None:
        """See which processes have ended (SIGCHLD)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for generation, child in self:
                if child.pid == pid:
                    self._forget(generation, child)
                    self._gone(generation, child, status)

    def _forget(self, generation: Generation, child: Child) -> None:
        if child.deadline is not None:
            child.deadline.cancel()
        for channel in (child.control, child.requests):
            if channel.fileno() != -1:      # else it was closed by ignore()
                self._reactor.unwatch(channel)
                channel.close()
        self.scoreboard.slot(child.at).clear()
        del generation.children[child.number]


def name_process(name: str) -> None:
    """Have ps, top and killall call this process by this name, of 15 characters at most (proc(5), comm)."""
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(name.encode())
    except OSError:
        pass    # only a convenience


def _room_for_configuration() -> int:
    """A descriptor of a file in memory that is still empty; -1 where there are none."""
    try:
        return empty_memory_file("lwsws-configuration")
    except OSError:
        return -1


def describe_end(status: int) -> str:
    """How a process ended, from what waitpid() says."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"was ended by {signal.Signals(number).name}"
        except ValueError:
            return f"was ended by signal {number}"
    code = os.WEXITSTATUS(status)
    return "has ended" if code == 0 else f"has ended with exit code {code}"
