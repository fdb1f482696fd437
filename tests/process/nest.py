"""A parent in the test's own process, with real forks as children, which do what the test says."""

from __future__ import annotations

import faulthandler
import os
import selectors
import signal
import socket
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

from lwsws.net.channel import ChildEnd
from lwsws.net.listening import SocketStore
from lwsws.net.notify import Notifier
from lwsws.net.reactor import Reactor
from lwsws.process.generation import SERVING, Child, Place
from lwsws.process.parent import Parent
from lwsws.server.scoreboard import Scoreboard


class Line:
    """What a child has of its parent, and how it speaks to it."""

    def __init__(self, control: ChildEnd, requests: ChildEnd) -> None:
        self.control = control
        self.requests = requests

    def ask(self, *fields: str) -> List[str]:
        """The answer to a request."""
        self.requests.tell(fields)
        answer = self.requests.receive()
        assert answer is not None
        return answer[0]

    def ready(self, count: int = 1, seconds: int = 0) -> None:
        """Say how many processes there are to be, and that this one serves."""
        assert self.ask("config", str(count), str(seconds), "1") == ["ok", "0"]
        self.control.tell(["ready"])

    def order(self) -> str:
        """The next order; "" if the parent is gone."""
        message = self.control.receive()
        return message[0][0] if message else ""


# What a child does, and its exit code.
Behaviour = Callable[[Place, Line], int]


def obedient(place: Place, line: Line, count: int = 1) -> int:
    """Is ready, and ends when it is told anything."""
    line.ready(count)
    return 0 if line.order() in ("", "stop", "deprecate", "quit") else 9


def pair(place: Place, line: Line) -> int:
    """One of two."""
    return obedient(place, line, 2)


def broken(place: Place, line: Line) -> int:
    """Has a configuration that cannot be served."""
    return 1


def clinging(place: Place, line: Line) -> int:
    """Has a connection that stays when it is deprecated, until the next order."""
    line.ready()
    return 0 if line.order() != "deprecate" or line.order() else 9


def deaf(place: Place, line: Line) -> int:
    """Is ready and then does not listen."""
    faulthandler.disable()  # pytest's; SIGABRT is expected
    line.ready()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def never_ready(place: Place, line: Line) -> int:
    """Hangs at its start."""
    while True:
        signal.pause()


class StrictReactor(Reactor):
    """Faults of the parent fail the test, which the usual one only logs."""

    def _report_fault(self, fn: Callable[..., object]) -> None:
        raise  # noqa: PLE0704 - called while it is handled


class Nest:
    """A parent in this process, with its children."""

    def __init__(self, tmp_path: Path, watchdog: float = 0.0) -> None:
        self.behaviours: Dict[int, Behaviour] = {}
        self.default: Behaviour = obedient
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(tmp_path / "notify"))
        self.systemd.setblocking(False)
        self.reactor = StrictReactor(selector=selectors.PollSelector())
        self.ended = False
        notifier = Notifier(str(tmp_path / "notify"))
        self.parent = Parent(self.reactor, SocketStore(), notifier, self._serve, watchdog)

    def _serve(self, place: Place, control: ChildEnd, requests: ChildEnd, board: Scoreboard,
               at: int) -> int:
        return self.behaviours.get(place.generation, self.default)(place, Line(control, requests))

    def start(self) -> None:
        """Begin, and serve."""
        self.parent.start()
        self.until(lambda: self.serving() == 1)

    def serving(self) -> int:
        """The number of the generation that serves; 0 if none does."""
        return next((each.number for each in self.parent._generations if each.state == SERVING), 0)

    def processes(self, state: Optional[str] = None) -> List[Child]:
        """Its children, perhaps only those of generations in a state."""
        return [child for generation, child in self.parent._children if state in (None, generation.state)]

    def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Let the parent work until `condition` holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            self.reactor.run_once(0.01)

    def told(self) -> str:
        """What systemd was told since the last call."""
        datagrams = []
        while True:
            try:
                datagrams.append(self.systemd.recv(4096).decode())
            except BlockingIOError:
                return "\n".join(datagrams)

    def close(self) -> None:
        """End what is left."""
        for child in self.processes():
            os.kill(child.pid, signal.SIGKILL)
        self.parent._stopping = True
        self.until(lambda: not self.processes())
        self.reactor.close()
        self.systemd.close()
