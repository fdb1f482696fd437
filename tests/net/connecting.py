"""For the tests of outgoing connections: servers that accept, refuse or say nothing, and name servers."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any, Callable, List, Optional, Sequence, Tuple

import pytest

from lwsws.net.connector import Connector
from lwsws.net.onward import Onward, parse_onward
from lwsws.net.reactor import READ, Reactor
from lwsws.net.workers import Workers
from tests.net.support import CountingSelector, settle, spin
from tests.support.clock import ManualClock

# More than any backlog here takes.
CROWD = 64


class Attempt:
    """A connector and what it said."""

    def __init__(self, reactor: Reactor, workers: Workers, onward: Onward) -> None:
        self.sock: Optional[socket.socket] = None
        self.said: List[str] = []
        self.reactor = reactor
        self.connector = Connector(reactor, workers, onward, self._done, self._failed)
        assert not self.said

    def _done(self, sock: socket.socket) -> None:
        self.sock = sock
        self.said.append("done")

    def _failed(self, reason: str) -> None:
        self.said.append(reason)

    def wait(self) -> str:
        """What it said, and that it said nothing else."""
        spin(self.reactor, lambda: bool(self.said))
        settle(self.reactor)
        assert len(self.said) == 1 and self.connector.closed
        if self.sock is not None:       # nobody watches it, so whoever has it may
            self.reactor.watch(self.sock, READ, lambda mask: None)
            self.reactor.unwatch(self.sock)
        return self.said[0]

    def close(self) -> None:
        """Close what it made."""
        self.connector.cancel()
        if self.sock is not None:
            self.sock.close()


class Outgoing:
    """A reactor, a pool of one thread, and everything to connect to."""

    def __init__(self, reactor: Reactor, clock: ManualClock, selector: CountingSelector,
                 monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = reactor
        self.clock = clock
        self.selector = selector
        self.workers = Workers(reactor, 1)
        self._monkeypatch = monkeypatch
        self._look_up = socket.getaddrinfo
        self._made: List[Any] = []

    def connect(self, text: str) -> Attempt:
        """Begin to connect to an address given as text."""
        attempt = Attempt(self.reactor, self.workers, parse_onward(text))
        self._made.append(attempt)
        return attempt

    def listen(self, backlog: int = 5, family: int = socket.AF_INET,
               address: Any = ("127.0.0.1", 0)) -> socket.socket:
        """A listening socket."""
        sock = socket.socket(family)
        self._made.append(sock)
        sock.bind(address)
        sock.listen(backlog)
        return sock

    def full(self, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> socket.socket:
        """A listening socket that takes no more connections: TCP does not answer, unix says so."""
        listener = self.listen(0, family, address)
        for _ in range(CROWD):
            sock = socket.socket(family)
            self._made.append(sock)
            sock.setblocking(False)
            if sock.connect_ex(listener.getsockname()) == errno.EAGAIN:
                return listener
        assert family != socket.AF_UNIX, "it never was full"
        return listener

    def dead_port(self) -> int:
        """A port that is taken, but not listened on: connections are refused."""
        sock = socket.socket()
        self._made.append(sock)
        sock.bind(("127.0.0.1", 0))
        return port_of(sock)

    def name_servers(self, answer: Callable[[], List[Tuple[Any, ...]]]) -> None:
        """Let every name have these addresses; addresses themselves are read as usual."""
        def getaddrinfo(host: Any, port: Any, family: int = 0, kind: int = 0, proto: int = 0,
                        flags: int = 0) -> Sequence[Tuple[Any, ...]]:
            if flags & socket.AI_NUMERICHOST:
                return self._look_up(host, port, family, kind, proto, flags)
            assert threading.current_thread() is not threading.main_thread()
            return answer()

        self._monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def work_off(self) -> None:
        """Have the one worker do all that is queued, and its results told."""
        done: List[object] = []
        self.workers.submit(lambda: None, lambda result, error: done.append(error))
        spin(self.reactor, lambda: bool(done))
        settle(self.reactor)

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.clock.advance(seconds)
        settle(self.reactor)

    def close(self) -> None:
        """End everything."""
        for made in self._made:
            made.close()
        assert self.workers.stop(timeout=10)


def entry(port: int) -> Tuple[Any, ...]:
    """A port of 127.0.0.1 as getaddrinfo tells it."""
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)


def port_of(sock: socket.socket) -> int:
    """The port that it is bound to."""
    return int(sock.getsockname()[1])
