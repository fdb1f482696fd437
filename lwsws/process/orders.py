"""Whom a serving process reports to, and who tells it what to do.

    UnderParent   its parent, over the control channel: reports what it was made of, that it is ready, that
                  its loop turns; is told to deprecate itself, to stop, to quit at once, to reopen its logs
    Alone         nobody but systemd, with `-f`: what the parent would say to systemd, it says itself

The end of the control channel means that there is no parent any more: then the process finishes what is
open, and stops, because nobody could ever replace or find it.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, Protocol

from lwsws import log
from lwsws.config.model import Config
from lwsws.config.sources import Sources, pack
from lwsws.net.channel import ChildEnd
from lwsws.net.memory_file import fill
from lwsws.net.notify import Notifier
from lwsws.net.reactor import READ, Reactor
from lwsws.process.generation import Place, serving
from lwsws.process.link import ParentLink
from lwsws.server.service import Service


class Orders(Protocol):
    """What a serving process needs of whom it serves under."""

    place: Place

    def hand_up(self, config: Config, sources: Sources) -> None:
        """This is the configuration, read from `sources`, that the whole generation must have."""

    def fault(self, text: str) -> None:
        """It is not going to serve, and `text` says why."""

    def obey(self, service: Service, reactor: Reactor) -> None:
        """Let `service` be told what to do from now on."""

    def ready(self, config: Config) -> None:
        """It serves."""

    def ending(self, reactor: Reactor) -> None:
        """It has stopped serving, and `reactor` has ended."""


class UnderParent:
    """One of the children of process/parent.py."""

    def __init__(self, place: Place, control: ChildEnd, link: ParentLink) -> None:
        self.place = place
        self._control = control
        self._link = link

    def hand_up(self, config: Config, sources: Sources) -> None:
        """Fill the memfd of the generation, which the parent keeps for the others; say what it must know."""
        if self.place.config != -1:
            try:
                fill(self.place.config, pack(sources))
            except OSError as error:
                log.warn(f"the configuration cannot be kept in memory: {error.strerror}")
            os.close(self.place.config)
        settings = config.globals
        self._link.hand_up(settings.processes, settings.shutdown_timeout, len(config.vhosts))

    def fault(self, text: str) -> None:
        """Tell the parent, for who asked for the reload."""
        try:
            self._link.complain(text)
        except OSError:
            pass    # it stands in the log

    def obey(self, service: Service, reactor: Reactor) -> None:
        """Watch the control channel; orders that came meanwhile are found there."""
        def stop() -> None:
            if not service.context.stopping:    # a second call would stop it at once
                service.stop()

        orders: Dict[str, Callable[[], None]] = {
            "deprecate": lambda: service.deprecate(service.config.globals.deprecate_timeout),
            "stop": stop,
            "quit": reactor.stop,
            "reopen": service.reopen_logs,
        }
        self._control.set_timeout(0)

        def heard(mask: int) -> None:
            try:
                message = self._control.receive()
            except BlockingIOError:
                return
            if message is not None:
                orders[message[0][0]]()
                return
            reactor.unwatch(self._control)
            log.err("the parent process is gone: stopping")
            stop()

        reactor.watch(self._control, READ, heard)
        if self.place.alive_seconds:
            self._live(reactor)

    def _live(self, reactor: Reactor) -> None:
        reactor.call_later(self.place.alive_seconds, lambda: self._live(reactor))
        self._report("alive")

    def _report(self, word: str) -> None:
        try:
            self._control.tell([word])
        except OSError:
            pass    # the parent is gone, which reading tells, or does not read just now

    def ready(self, config: Config) -> None:
        """Tell the parent."""
        count = config.globals.processes
        of_them = f", one of {count}" if count > 1 else ""
        log.info(f"{self.place.name} is ready{of_them}")
        self._report("ready")

    def ending(self, reactor: Reactor) -> None:
        """From here on the parent waits for the end of the process, which a plugin may put off for ever."""
        reactor.unwatch(self._control)
        self._control.close()


class Alone:
    """A process without a parent."""

    def __init__(self, notifier: Notifier, watchdog_seconds: float) -> None:
        """`watchdog_seconds` is how long systemd waits for a sign of life, 0 for ever."""
        self.place = Place()
        self._notifier = notifier
        self._watchdog = watchdog_seconds

    def hand_up(self, config: Config, sources: Sources) -> None:
        """There are no others."""

    def fault(self, text: str) -> None:
        """It stands in the log."""

    def obey(self, service: Service, reactor: Reactor) -> None:
        """There are only signals, and the watchdog."""
        if self._watchdog:
            self._feed(reactor)

    def _feed(self, reactor: Reactor) -> None:
        reactor.call_later(self._watchdog / 4, lambda: self._feed(reactor))
        self._notifier.tell("WATCHDOG=1")

    def ready(self, config: Config) -> None:
        """Tell systemd."""
        count = config.globals.processes
        if count > 1:
            log.warn(f"count-processes {count} needs a parent: with -f there is one process")
        self._notifier.tell("READY=1", f"STATUS={serving(len(config.vhosts))}")

    def ending(self, reactor: Reactor) -> None:
        """Tell systemd."""
        self._notifier.tell("STOPPING=1")
