"""Raw connections before a real reactor: clients and servers on real sockets, driven by one thread.

    bench = RawBench()
    client = bench.connect(raw_role(plugin))     # our end of it is a Connection in that role
    server = bench.listen()                            # somewhere to be handed on to
    client.send(b"hello"); bench.settle()

The reactor runs only inside the calls of the bench, and its clock stands still until `advance`.
"""

from __future__ import annotations

import errno
import selectors
import socket
from typing import Any, Callable, Dict, List, Tuple

from lwsws.core.connection import Connection
from lwsws.core.context import Context, Limits
from lwsws.core.options import Options
from lwsws.core.protocol import Protocol
from lwsws.core.role import Role
from lwsws.core.session import ProtocolVhost, RawSession
from lwsws.net.onward import Onward, parse_onward
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from lwsws.roles.raw import RawRole
from tests.net.support import reset, unix_pair
from tests.support.clock import ManualClock
from tests.support.docroot import open_fds
from tests.support.waiting import run_until

VHOST = ProtocolVhost("a.test", 4711)

Pair = Callable[[], Tuple[socket.socket, socket.socket]]

SEND_TIMEOUT = 60.0

# Passes of the reactor until nothing happens any more.
QUIET_PASSES = 6


class Peer:
    """One end of a connection, whose other end is before the reactor.  Never blocks."""

    def __init__(self, bench: RawBench, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.bench = bench
        self.sock = sock
        self.data = bytearray()
        self.eof = False
        self.was_reset = False

    def send(self, data: bytes) -> None:
        """Send all of `data`, which must fit into the socket's buffer."""
        assert self.sock.send(data) == len(data)

    def send_some(self, data: bytes) -> int:
        """Send what fits; returns how much that was."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def receive(self, size: int = 1 << 16) -> bytes:
        """What is there now, at most `size` bytes; also kept in `data`."""
        try:
            piece = self.sock.recv(size)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            self.was_reset = True
            return b""
        self.eof = not piece
        self.data += piece
        return piece

    def half_close(self) -> None:
        """Send the end of the stream."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST (on TCP)."""
        reset(self.sock)

    def close(self) -> None:
        """Close."""
        self.sock.close()

    @property
    def over(self) -> bool:
        """Whether it has seen an end, of whatever kind; takes in what has come."""
        while not self.eof and not self.was_reset and self.receive():
            pass
        return self.eof or self.was_reset


class Server:
    """A listening socket that a test accepts on when it likes."""

    def __init__(self, bench: RawBench, sock: socket.socket, onward: Onward) -> None:
        self.bench = bench
        self.sock = sock
        self.onward = onward

    def accept(self) -> Peer:
        """The next connection, for which this lets the reactor run."""
        accepted: List[socket.socket] = []

        def try_to_accept() -> bool:
            try:
                accepted.append(self.sock.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.bench.until(try_to_accept)
        return self.bench.keep(Peer(self.bench, accepted[0]))


class LimitedSelector(selectors.DefaultSelector):
    """The usual selector; once `is_full`, it takes no more, as epoll at its limit of watches."""

    is_full = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch an fd."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().register(fileobj, events, data)


class RawBench:
    """Reactor, context, and everything that a test opens."""

    def __init__(self) -> None:
        self._fds = open_fds()
        self.clock = ManualClock()
        self.selector = LimitedSelector()
        self.reactor = Reactor(self.clock, self.selector)
        self.workers = Workers(self.reactor, 1)
        self.context = Context(self.reactor, self.workers, Limits(send_timeout=SEND_TIMEOUT))
        self._closables: List[Any] = []

    def keep(self, peer: Peer) -> Peer:
        """Have `peer` closed at the end."""
        self._closables.append(peer)
        return peer

    def connect(self, role: Role, pair: Pair = unix_pair,
                address: Any = ("192.0.2.7", 4711)) -> Peer:
        """A new connection from `address`, beginning in `role`; our side is the last of `connections`."""
        ours, theirs = pair()
        ours.setblocking(False)
        Connection(self.context, ours, address, role)
        return self.keep(Peer(self, theirs))

    def only(self) -> Connection:
        """The one connection there is."""
        (conn,) = self.context.connections
        return conn

    def listen(self, path: str = "") -> Server:
        """A server on a port of its own, or at `path`."""
        sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        sock.setblocking(False)
        sock.bind(path or ("127.0.0.1", 0))
        sock.listen()
        self._closables.append(sock)
        text = f"unix:{path}" if path else f"ipv4:127.0.0.1:{sock.getsockname()[1]}"
        return Server(self, sock, parse_onward(text))

    def settle(self) -> None:
        """Let everything that can happen without waiting happen."""
        for _ in range(QUIET_PASSES):
            self.reactor.run_once(0)

    def work_off(self) -> None:
        """Have the one worker do all that is queued, and its results told."""
        done: List[object] = []
        self.workers.submit(lambda: None, lambda result, error: done.append(error))
        self.until(lambda: done)

    def until(self, condition: Callable[[], object]) -> None:
        """Run until the condition holds."""
        run_until(self.reactor, condition)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.clock.advance(seconds)
        self.settle()

    def close(self) -> None:
        """End everything; no connection and no fd may be left."""
        for connection in list(self.context.connections):
            connection.abort()
        self.settle()
        assert not self.context.connections
        assert self.context.onward == 0
        for closable in self._closables:
            closable.close()
        assert self.workers.stop(timeout=5)
        self.settle()
        self.reactor.close()
        assert open_fds() == self._fds


Hook = Callable[[RawSession], None]


class Notes(Protocol):
    """A plugin that writes down what it is told, and calls the hook of that event, if there is one."""

    name = "notes"

    def __init__(self, **hooks: Hook) -> None:
        self.events: List[str] = []
        self.data = b""
        self.adopted: List[RawSession] = []
        self.hooks: Dict[str, Hook] = hooks

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        self.events.append("init")

    def raw_adopted(self, s: RawSession) -> None:
        self.adopted.append(s)
        self._note("adopted", s)

    def raw_receive(self, s: RawSession, data: bytes) -> None:
        self.data += data
        self._note("receive", s)

    def raw_eof(self, s: RawSession) -> None:
        self._note("eof", s)
        if "eof" not in self.hooks:
            super().raw_eof(s)

    def raw_writable(self, s: RawSession) -> None:
        self._note("writable", s)

    def raw_closed(self, s: RawSession) -> None:
        self._note("closed", s)

    def timer(self, s: RawSession) -> None:
        self._note("timer", s)

    def _note(self, event: str, s: RawSession) -> None:
        self.events.append(event)
        if event in self.hooks:
            self.hooks[event](s)


def placed(protocol: Protocol) -> Protocol:
    """`protocol` as the server places it on its vhost, before it begins."""
    protocol.vhost = VHOST
    protocol.sessions = set()
    return protocol


def raw_role(protocol: Protocol) -> RawRole:
    """The role of one raw session of `protocol`."""
    return RawRole(placed(protocol))


def nothing(s: RawSession) -> None:
    """A hook that does nothing, where the base would do something."""


def opened(bench: RawBench, pair: Pair = unix_pair, **hooks: Hook) -> Tuple[Peer, Notes]:
    """A client whose connection a plugin with these hooks has, and the plugin."""
    notes = Notes(**hooks)
    client = bench.connect(raw_role(notes), pair)
    bench.settle()
    return client, notes
