"""Generations: the serving processes that were started with the same configuration.

    STARTING ── all of its processes are ready ──> SERVING ── a newer one is ready ──> DEPRECATED ──> gone
        └────── one ends, or is not ready in time ──> FAILED ──> gone

There is at most one generation that starts and one that serves; of deprecated ones there may be any number,
each with the connections that it had.  Only records here; process/parent.py decides.
"""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, Optional, Set

from lwsws import log
from lwsws.net.channel import ParentEnd
from lwsws.net.listening import Endpoint
from lwsws.net.timers import Timer
from lwsws.process.requests import Requests

STARTING, SERVING, DEPRECATED, FAILED = "starting", "serving", "deprecated", "failed"


class Settings(NamedTuple):
    """What the command line says to whoever serves: the directory of the configuration, what `_lws_ddir_`
    stands for, a plugin directory beside those of the configuration ("" for none), which levels to log, and
    whether to syslog."""

    directory: str
    data_dir: str
    default_plugins: str = ""
    log_mask: int = log.DEFAULT_MASK
    to_syslog: bool = False

    def set_up_log(self) -> None:
        """Log as it says from now on."""
        log.set_level(self.log_mask)
        if self.to_syslog:
            from lwsws.net.syslog import open_syslog  # seldom used
            log.to_syslog(open_syslog("lwsws"))


class Place(NamedTuple):
    """Which of the serving processes one is: `number` counts those of a generation from 0.

    `config` is a descriptor for the configuration that the generation was started with, as packed by
    config/sources.py.  The first process reads the disk, and fills it; -1 for who has to read the disk as
    well.  `alive_seconds` is how often to say that the loop still turns, 0 for never.
    """

    generation: int = 1
    number: int = 0
    is_first: bool = True
    config: int = -1
    alive_seconds: float = 0.0

    @property
    def name(self) -> str:
        """What ps and the log call it."""
        return f"lwsws-{self.generation}.{self.number}"


def serving(vhosts: int) -> str:
    """What who serves so many vhosts does, in few words."""
    return f"serving {vhosts} vhost{'s' if vhosts != 1 else ''}"


class Child:
    """One serving process, as its parent knows it."""

    __slots__ = ("pid", "number", "control", "requests", "at", "started", "is_ready", "last_alive",
                 "name", "deadline", "answering", "is_ending", "is_stuck")

    def __init__(self, pid: int, place: Place, control: ParentEnd, requests: ParentEnd,
                 answering: Requests, at: int, started: float) -> None:
        """`answering` answers what comes on `requests`, `at` is its row on the scoreboard;
        `started` is by the clock of the parent's reactor."""
        self.pid = pid
        self.number = place.number
        self.name = f"{pid} ({place.name})"
        self.control = control
        self.requests = requests
        self.answering = answering
        self.at = at
        self.started = started
        self.is_ready = False
        self.is_ending = False      # it has been told to
        self.is_stuck = False       # its loop has been silent for too long
        self.last_alive = started
        self.deadline: Optional[Timer] = None   # until it must be ready, or have ended


class Generation:
    """The processes of one configuration."""

    __slots__ = ("number", "state", "count", "children", "claims", "config", "shutdown_seconds", "vhosts",
                 "fault", "deaths", "restarts")

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = STARTING
        self.count = 1      # how many processes there are to be; the first one says it
        self.children: Dict[int, Child] = {}
        self.claims: Set[Endpoint] = set()      # what it listens on
        self.config = -1    # the descriptor of its configuration, filled by its first process
        self.shutdown_seconds = 0.0
        self.vhosts = 0
        self.deaths: Dict[int, int] = {}    # of each process: quick ones, in a row
        self.fault = ""     # why it cannot serve, as the first of its processes says that does
        self.restarts: List[Timer] = []

    @property
    def text(self) -> str:
        """What it does, in few words."""
        return serving(self.vhosts)

    def summary(self) -> str:
        """Which one it is, and what it does."""
        processes = f", {self.count} processes" if self.count > 1 else ""
        return f"generation {self.number}: {self.text}{processes}"

    @property
    def is_complete(self) -> bool:
        """Whether all of its processes are ready."""
        ready = sum(child.is_ready for child in self.children.values())
        return ready >= self.count

    def close(self) -> None:
        """Forget its configuration and what was planned for it."""
        for restart in self.restarts:
            restart.cancel()
        self.restarts.clear()
        self.forget_configuration()

    def forget_configuration(self) -> None:
        """Who is started now reads the disk."""
        if self.config != -1:
            os.close(self.config)
            self.config = -1
