"""The parent: starts the serving processes, keeps their listening sockets, and replaces them on request.

    HUP         start a new generation from the configuration on disk; when all of it is ready, deprecate the
                old one.  Whatever goes wrong before: the new one ends and the old one goes on
    TERM, INT   stop all; a second one ends them at once
    USR1        all processes open their logs anew and look for new certificates
    USR2        write the table of processes to the log

It stays root if it was started as root, and so it does as little as possible: no threads, no TLS, no
plugins, no byte of a peer, and of the configuration only the name of its directory.  Children are forked, not
executed, and import what they need after that: a new generation runs the code that is installed then
(process/code.py).

A serving process that ends unasked is started again, with the configuration that its generation was started
with: what is on the disk by then may be half written.
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import signal
import time
from typing import Optional

from lwsws import log
from lwsws.net.channel import ChildEnd
from lwsws.net.listening import SocketStore
from lwsws.net.notify import Notifier, given_sockets, monotonic_usec, watchdog_seconds
from lwsws.net.outcome import AGAIN, DONE, NOT_DONE, announce
from lwsws.net.reactor import Reactor
from lwsws.process.children import Children, Serve, describe_end, name_process
from lwsws.process.code import LoadedCode
from lwsws.process.generation import DEPRECATED, FAILED, SERVING, STARTING, Child, Generation, Place, Settings
from lwsws.process.privileges import restrict_umask
from lwsws.process.terminal import Terminal
from lwsws.server.scoreboard import Row, Scoreboard

# A process that is told to end gets so long beyond the shutdown-timeout of its configuration.
END_SECONDS = 5.0
# Who has served for so long is started again at once when it ends; others with a growing delay.
SERVED_SECONDS = 60.0
FIRST_DELAY = 0.1
MAX_DELAY = 10.0
# After so many, the sockets of the one that cannot be had take no clients until it is there again.
RESTING_DEATHS = 3
# So many processes get ready at the same time; more would only be in each other's way.
MAX_STARTING = 8
# So many of those others in a row, and there is no hope.
MAX_QUICK_DEATHS = 10


class Parent:
    """The process at the top.  Everything happens on its one thread."""

    def __init__(self, reactor: Reactor, store: SocketStore, notifier: Notifier, serve: Serve,
                 watchdog_seconds: float = 0.0) -> None:
        """`serve` is called in each child; `watchdog_seconds` is how long systemd waits for a sign of life, 0
        for ever.  The selector of `reactor` must not be one that forked processes share, such as epoll."""
        self._reactor = reactor
        self._store = store
        self._notifier = notifier
        self._watchdog = watchdog_seconds
        self._children = Children(reactor, store, serve, watchdog_seconds / 4, self._ready, self._gone)
        self._generations = self._children.generations
        self._last_number = 0
        self._reload_again = False
        self._stopping = False
        self._terminal = Terminal()
        self._looked_at = reactor.now
        self.exit_code = 0

    def run(self) -> int:
        """Serve until a signal ends it, or until there is no way to serve; returns the exit code."""
        self.start()
        self._reactor.run()
        return self.exit_code

    def start(self) -> None:
        """Begin: the rest happens in the reactor, which is stopped at the end."""
        actions = {signal.SIGCHLD: self._children.reap, signal.SIGHUP: self.reload, signal.SIGTERM: self.stop,
                   signal.SIGINT: self.stop, signal.SIGUSR1: self._reopen, signal.SIGUSR2: self._tell_table}
        for signum, action in actions.items():
            self._reactor.add_signal(signum, action)
        # Whoever started us may have had them blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, actions)
        # The pages of what exists now stay shared with the children.
        gc.freeze()
        if self._watchdog:
            self._look_after_all()
        self._begin()

    # Generations.

    def _in_state(self, state: str) -> Optional[Generation]:
        """The generation in that state, if there is one."""
        return next((each for each in self._generations if each.state == state), None)

    def _begin(self) -> None:
        """Start a new generation, with one process, which is going to say how many there are to be."""
        self._last_number += 1
        generation = Generation(self._last_number)
        self._generations.append(generation)
        self._spawn(generation, 0)

    def reload(self) -> None:
        """SIGHUP: replace the processes that serve by new ones with the configuration that is there now."""
        if self._stopping:
            announce(os.getpid(), NOT_DONE, "the server is stopping")
            return
        if self._terminal.has_gone:
            self.stop()
            return
        if self._in_state(STARTING) is not None:
            log.notice("reload: one is under way, this one follows it")
            self._reload_again = True
            return
        log.notice("reload: starting the next generation")
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec()}")
        self._begin()

    def _ready(self, generation: Generation, child: Child) -> None:
        """`child` serves."""
        if generation.state == STARTING:
            self._spawn_others(generation)
            if generation.state == STARTING and generation.is_complete:
                self._take_over(generation)
        elif generation.state == SERVING and not self._stopping:
            log.notice(f"process {child.name} serves again")
        else:
            self._children.end(generation, child, END_SECONDS)      # what it was started for is over

    def _spawn_others(self, generation: Generation) -> None:
        """Start those that are missing, a few at a time."""
        starting = sum(not child.is_ready for child in generation.children.values())
        for index in range(generation.count):
            if index not in generation.children and starting < MAX_STARTING and generation.state == STARTING:
                self._spawn(generation, index)
                starting += 1

    def _take_over(self, generation: Generation) -> None:
        """All of `generation` is ready: older ones get nothing new from here on."""
        older = self._in_state(SERVING)
        generation.state = SERVING
        # Before the old ones close theirs: so nobody else has the sockets that are not wanted any more, and
        # they can take what waits there.
        self._store.keep_only(generation.claims)
        for label in self._store.unused():
            log.warn(f"systemd passes the socket {label}, on which no vhost listens")
        if older is not None:
            self._deprecate(older)
        log.notice(generation.summary())
        self._finish(DONE, f"generation {generation.number} is {generation.text}")

    def _deprecate(self, generation: Generation) -> None:
        generation.state = DEPRECATED
        generation.close()
        for child in list(generation.children.values()):
            if child.is_ready:
                child.answering.retire()
                self._children.order(child, "deprecate")
            else:
                self._children.end(generation, child, END_SECONDS)
        self._drop_if_empty(generation)

    def _give_up_on(self, generation: Generation, why: str, code: int = 1) -> None:
        """`generation` cannot serve: end what there is of it; and everything, with exit code `code`, if there
        is no other."""
        generation.state = FAILED
        for child in list(generation.children.values()):
            # Before the store is put back as it was: what they still ask for would change it again.
            self._children.ignore(child)
            self._children.end(generation, child, END_SECONDS)
        serving = self._in_state(SERVING)
        if serving is None:
            self._end_with(code)
            return
        self._store.revert(serving.claims)
        log.err(f"reload failed: {why}; generation {serving.number} goes on with its configuration")
        self._drop_if_empty(generation)
        self._finish(NOT_DONE, f"{why}; the old configuration stays in force, the log says more")

    def _finish(self, word: str, text: str) -> None:
        """A reload, or the first start, has come to its end."""
        again, self._reload_again = self._reload_again, False
        if self._last_number > 1:
            announce(os.getpid(), AGAIN if again else word, text)
        prefix = "" if word == DONE else f"RELOAD FAILED: {text}; "
        self._notifier.tell("READY=1", f"MAINPID={os.getpid()}", f"STATUS={prefix}{self.summary()}")
        if again:
            self.reload()

    def _drop_if_empty(self, generation: Generation) -> None:
        is_over = generation.state in (DEPRECATED, FAILED) and not generation.children
        if is_over and generation in self._generations:
            generation.close()
            self._generations.remove(generation)

    # Processes.

    def _spawn(self, generation: Generation, index: int) -> None:
        try:
            self._children.spawn(generation, index)
        except OSError as error:
            why = f"cannot start a process: {error.strerror or error}"
            if generation.state == STARTING:
                log.err(why)
                self._give_up_on(generation, why)
            else:
                log.err(f"{why}; trying again in {MAX_DELAY:.0f} s")
                self._restart(generation, index, MAX_DELAY)

    def _restart(self, generation: Generation, index: int, delay: float) -> None:
        def restart() -> None:
            generation.restarts.remove(timer)
            self._spawn(generation, index)

        timer = self._reactor.call_later(delay, restart)
        generation.restarts.append(timer)

    def _gone(self, generation: Generation, child: Child, status: int) -> None:
        """`child` has ended, with that status."""
        how = describe_end(status)
        if self._stopping:
            if not any(self._children):
                self._reactor.stop()
        elif generation.state == STARTING:
            why = generation.fault or f"process {child.name} {how}"
            is_bad = os.WIFEXITED(status) and os.WEXITSTATUS(status) == os.EX_CONFIG
            self._give_up_on(generation, why, os.EX_CONFIG if is_bad else 1)
        elif generation.state == SERVING:
            self._died(generation, child, f"serving process {child.name} {how}")
        elif generation.state == DEPRECATED:
            left = self._count_deprecated()
            older = f"; {left} older one{'s are' if left > 1 else ' is'} left" if left else ""
            log.notice(f"deprecated process {child.name} {how}{older}")
            self._notifier.tell(f"STATUS={self.summary()}")
        self._drop_if_empty(generation)

    def _died(self, generation: Generation, child: Child, what: str) -> None:
        """A serving process has ended that was not told to."""
        served = self._reactor.clock() - child.started
        deaths = 0 if served >= SERVED_SECONDS else generation.deaths.get(child.number, 0) + 1
        generation.deaths[child.number] = deaths
        is_alone = not any(each.is_ready for each in generation.children.values())
        if deaths >= MAX_QUICK_DEATHS and is_alone:
            log.err(f"{what}: {deaths} in a row have ended within {SERVED_SECONDS:.0f} s of their start; "
                    "giving up")
            self._end_with(1)
            return
        if deaths >= RESTING_DEATHS:
            # Clients that the kernel gives to its sockets would wait for long: leave them to the others.
            self._store.rest(generation.claims, generation.count, child.number)
        delay = min(FIRST_DELAY * 2 ** min(deaths - 1, 30), MAX_DELAY) if deaths else 0.0
        when = f"in {delay:.1f} s" if delay else "at once"
        log.err(f"{what}, after {served:.0f} s: starting another one {when}")
        self._restart(generation, child.number, delay)

    # The other signals, and systemd.

    def stop(self) -> None:
        """SIGTERM, SIGINT: end everything in order; called again, at once."""
        if not self._stopping:
            log.notice("stopping all processes")
            self._end_with(0)
            return
        for generation, child in self._children:
            self._children.end(generation, child, END_SECONDS, "quit")

    def _end_with(self, code: int) -> None:
        """End all processes, and then the parent with this exit code."""
        self._stopping = True
        self.exit_code = code
        self._notifier.tell("STOPPING=1", "STATUS=stopping")
        for generation in self._generations:
            generation.close()
        # First, so that the children have the last descriptors of the sockets, take what waits there, and
        # whoever comes later is refused instead of waiting for nobody.
        self._store.close()
        for generation, child in self._children:
            self._children.ignore(child)
            self._children.end(generation, child, END_SECONDS + generation.shutdown_seconds)
        if not any(self._children):
            self._reactor.stop()

    def _reopen(self) -> None:
        for _, child in self._children:
            if child.is_ready:
                self._children.order(child, "reopen")

    def _tell_table(self) -> None:
        log.notice(self.summary())
        for row in self._children.scoreboard.rows():
            log.notice(table_line(row, time.time()))

    def _count_deprecated(self) -> int:
        return sum(generation.state == DEPRECATED for generation, _ in self._children)

    def summary(self) -> str:
        """What serves, in one line."""
        serving = self._in_state(SERVING)
        if serving is None:
            return "nothing serves yet"
        old = self._count_deprecated()
        older = f"; {old} older process{'es' if old > 1 else ''} with open connections" if old else ""
        return f"{serving.summary()}{older}"

    def _look_after_all(self) -> None:
        """Replace processes whose loop does not turn any more, and tell systemd that we are well: as long as
        one process is that serves."""
        now, quarter = self._reactor.now, self._watchdog / 4
        # If we were held up ourselves, what they have said may wait to be read.
        was_held_up = now - self._looked_at > 1.25 * quarter
        self._looked_at = now
        self._reactor.call_later(quarter, self._look_after_all)
        is_well = self._in_state(SERVING) is None
        for generation, child in self._children:
            if not child.is_ready or child.is_stuck:
                continue
            if now - child.last_alive > 2 * quarter:
                self._children.hear_all(generation, child)
            if now - child.last_alive > 2 * quarter and not was_held_up:
                log.err(f"process {child.name} gives no sign of life: ending it")
                self._children.abort(child)
            elif generation.state == SERVING:
                is_well = True
        if is_well:
            self._notifier.tell("WATCHDOG=1")


def table_line(row: Row, now: float) -> str:
    """One process of the table; `now` is in unix seconds."""
    return (f"process {row.pid} (lwsws-{row.generation}.{row.number}), {row.state_name}, started "
            f"{max(0, now - row.started):.0f} s ago; connections: {row.connections} (WebSockets: "
            f"{row.websockets}), accepted: {row.accepted}, refused: {row.refused}, workers: {row.threads} "
            f"(busy: {row.busy})")


def raise_file_limit() -> None:
    """Let the parent have as many files open as it may: all sockets that listen, channels to all children."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass    # then there is room for some hundred at least


def watch_over(settings: Settings) -> int:
    """Be the parent of processes that serve the configuration of `settings`, until the end; returns the exit
    code."""
    code = LoadedCode()

    def serve(place: Place, control: ChildEnd, requests: ChildEnd, scoreboard: Scoreboard, at: int) -> int:
        if code.is_old:
            code.forget()
        # Loaded by the child alone, and so afresh by each generation.  Plain values, as it may not know ours.
        from lwsws.process.child import serve_under_parent
        return serve_under_parent(tuple(settings), tuple(place), control.detach(), requests.detach(),
                                  (scoreboard.slots, scoreboard.memory, at))

    given = given_sockets(os.environ, os.getpid())
    watchdog = watchdog_seconds(os.environ, os.getpid())
    notifier = Notifier.from_environment(os.environ)
    restrict_umask()
    name_process("lwsws")
    raise_file_limit()
    log.notice(f"Root process is {os.getpid()}")
    # With poll, because an epoll descriptor would be shared with the children.
    reactor = Reactor(selector=selectors.PollSelector())
    try:
        return Parent(reactor, SocketStore(given), notifier, serve, watchdog).run()
    finally:
        reactor.close()
