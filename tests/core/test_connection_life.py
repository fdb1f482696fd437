"""The life of a connection: what it tells its role, its one deadline, and the ways in which it ends."""

from __future__ import annotations

import socket
from typing import Any, Callable, Iterator, List, Optional

import pytest

from lwsws import log
from lwsws.core.connection import FIRST, GRACE_SECONDS, IDLE, SEND, Connection
from lwsws.core.context import Context, Limits
from lwsws.core.role import Role
from lwsws.net.reactor import Reactor
from lwsws.net.receiver import ConnectionLost
from lwsws.net.workers import Workers
from tests.support.clock import ManualClock

# More than the buffers of a socketpair take.
MUCH = bytes(4 << 20)

TIMEOUT = 60


class Script(Role):
    """Writes down what it is told, and does what is set for its start."""

    def __init__(self, *, starting: Optional[Callable[[Connection], None]] = None) -> None:
        self.events: List[Any] = []
        self.starting = starting

    def start(self, conn: Connection) -> None:
        super().start(conn)
        self.events.append("start")
        if self.starting is not None:
            self.starting(conn)

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> None:
        self.events.append("eof")

    def drained(self) -> None:
        self.events.append("drained")

    def expired(self, why: str) -> None:
        self.events.append(("expired", why))

    def closed(self, exc: Optional[Exception]) -> None:
        self.events.append(("closed", exc and str(exc)))


class Bench:
    """A context on a clock that stands still, and connections in it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.reactor = Reactor(clock=self.clock)
        self.context = Context(self.reactor, Workers(self.reactor, 1), Limits(send_timeout=TIMEOUT))
        self.peers: List[socket.socket] = []

    def connect(self, role: Role, address: Any = ("192.0.2.7", 4711)) -> Connection:
        """A connection in `role`; its other end is the last of `peers`."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self.peers.append(theirs)
        return Connection(self.context, ours, address, role)

    @property
    def peer(self) -> socket.socket:
        """The other end of the last connection."""
        return self.peers[-1]

    def take(self) -> int:
        """Let the peer take all that is there for it; how many bytes that was."""
        taken = 0
        try:
            while True:
                data = self.peer.recv(1 << 20)
                taken += len(data)
                if not data:
                    return taken
        except BlockingIOError:
            self.run()
            return taken

    def run(self) -> None:
        """Let everything happen that needs no time to pass."""
        for _ in range(3):
            self.reactor.run_once(0)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.run()

    def close(self) -> None:
        """End all connections."""
        for connection in list(self.context.connections):
            connection.abort()
        self.run()
        for peer in self.peers:
            peer.close()
        self.reactor.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def told_more() -> Iterator[None]:
    """The log shows what happens to each connection."""
    log.set_level(log.DEFAULT_MASK | log.INFO)
    yield
    log.set_level(log.DEFAULT_MASK)


@pytest.mark.parametrize("address, name", [
    (("192.0.2.7", 4711), "192.0.2.7"),
    (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
    ("", "unix"),
    ("/run/client.sock", "unix"),
    (b"\0abstract", "unix"),
    (None, "unix"),
])
def test_the_name_of_a_peer(bench: Bench, address: Any, name: str) -> None:
    assert bench.connect(Script(), address).peer == name


# What the role is told.


def test_the_role_hears_everything_in_order(bench: Bench) -> None:
    role = Script()
    connection = bench.connect(role)
    bench.peer.send(b"one")
    bench.run()
    bench.peer.send(b"two")
    bench.peer.close()
    bench.run()
    assert role.events == ["start", b"one", b"two", "eof"]
    assert bench.context.connections == {connection}
    connection.close()
    bench.run()
    assert role.events[4:] == [("closed", None)]
    assert connection.closed
    assert not bench.context.connections


def test_a_role_may_end_it_at_once(bench: Bench) -> None:
    for end in (Connection.close, Connection.abort):
        role = Script(starting=end)
        bench.connect(role)
        bench.run()
        assert role.events == ["start", ("closed", None)]
        assert bench.peer.recv(1) == b""
    assert not bench.context.connections


def test_the_plain_role_closes_when_the_peer_does(bench: Bench) -> None:
    bench.connect(Role())
    bench.peer.shutdown(socket.SHUT_WR)
    bench.run()
    assert bench.peer.recv(1) == b""
    assert not bench.context.connections


@pytest.mark.usefixtures("told_more")
def test_a_peer_that_breaks_it(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    role = Script()
    connection = bench.connect(role)
    connection.expect(5, IDLE)
    connection.transport.write(MUCH)
    bench.peer.close()
    bench.run()
    kind, why = role.events[-1]
    assert kind == "closed"
    assert why
    assert f": lost: {why}\n" in capfd.readouterr().err
    bench.wait(100)
    assert role.events[-1] == (kind, why)   # no deadline and nothing else after that


def test_the_loss_is_told_as_what_it_is(bench: Bench) -> None:
    told: List[Optional[Exception]] = []

    class Listener(Role):
        def closed(self, exc: Optional[Exception]) -> None:
            told.append(exc)

    bench.connect(Listener()).transport.write(MUCH)
    bench.peer.close()
    bench.run()
    assert [type(exc) for exc in told] == [ConnectionLost]


def test_room_in_the_output(bench: Bench) -> None:
    role = Script()
    connection = bench.connect(role)
    connection.transport.write(MUCH)
    left = len(MUCH)
    while left:
        left -= bench.take()
    assert set(role.events[1:]) == {"drained"}


# From role to role.


@pytest.mark.usefixtures("told_more")
def test_switching_roles_hands_over_what_is_left(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    old, new = Script(), Script()
    connection = bench.connect(old)
    connection.switch_role(new, b"left over")
    bench.peer.send(b"more")
    bench.run()
    assert old.events == ["start"]
    assert new.events == ["start", b"left over", b"more"]
    assert connection.role is new
    assert capfd.readouterr().err.endswith("I: conn 1: Script -> Script\n")


def test_nothing_left_is_no_data(bench: Bench) -> None:
    new = Script()
    bench.connect(Script()).switch_role(new, b"")
    assert new.events == ["start"]


@pytest.mark.parametrize("end", [Connection.close, Connection.abort])
def test_a_new_role_that_ends_it_gets_nothing(bench: Bench, end: Callable[[Connection], None]) -> None:
    old, new = Script(), Script(starting=end)
    bench.connect(old).switch_role(new, b"left over")
    bench.run()
    assert old.events == ["start"]
    assert new.events == ["start", ("closed", None)]


# The deadline.


def test_the_deadline_is_told_once_with_its_reason(bench: Bench) -> None:
    role = Script()
    bench.connect(role).expect(5, IDLE)
    bench.wait(4.9)
    assert role.events == ["start"]
    bench.wait(0.2)
    bench.wait(100)
    assert role.events == ["start", ("expired", IDLE)]


@pytest.mark.usefixtures("told_more")
def test_a_deadline_is_in_the_log(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.connect(Script()).expect(5, IDLE)
    bench.wait(5)
    assert "I: conn 1: deadline: idle\n" in capfd.readouterr().err


def test_there_is_only_one_deadline(bench: Bench) -> None:
    role = Script()
    connection = bench.connect(role)
    connection.expect(5, "first")
    connection.expect(10, "second")
    bench.wait(6)
    assert role.events == ["start"]
    connection.expect(1, "third")
    bench.wait(1)
    assert role.events == ["start", ("expired", "third")]


def test_the_plain_role_aborts_at_its_deadline(bench: Bench) -> None:
    bench.connect(Role()).expect(5, IDLE)
    bench.wait(5)
    assert bench.peer.recv(1) == b""
    assert not bench.context.connections


def test_sending_expires_only_without_progress(bench: Bench) -> None:
    """LESSONS 2: time limits for sending are about progress, not about the whole."""
    role = Script()
    connection = bench.connect(role)
    connection.transport.write(MUCH)
    connection.expect_progress(TIMEOUT, SEND)
    for _ in range(3):
        bench.wait(TIMEOUT - 1)
        assert bench.take()
    assert ("expired", SEND) not in role.events
    bench.wait(TIMEOUT)
    bench.wait(TIMEOUT / 2)     # when it took the last byte is not known exactly
    assert role.events[-1] == ("expired", SEND)


def test_what_the_peer_sends_is_no_progress_in_sending(bench: Bench) -> None:
    """LESSONS 3.8."""
    role = Script()
    connection = bench.connect(role)
    connection.transport.write(MUCH)
    connection.expect_progress(TIMEOUT, SEND)
    for _ in range(2):
        bench.wait(TIMEOUT / 2)
        bench.peer.send(b"x")
        bench.run()
    assert ("expired", SEND) in role.events


# The end.


def test_close_sends_what_is_queued_first(bench: Bench) -> None:
    role = Script()
    connection = bench.connect(role)
    connection.transport.write(MUCH)
    connection.close()
    left = len(MUCH)
    while left:
        left -= bench.take()
    assert bench.peer.recv(1) == b""
    assert role.events == ["start", ("closed", None)]


def test_close_does_not_wait_for_a_peer_that_takes_nothing(bench: Bench) -> None:
    role = Script()
    connection = bench.connect(role)
    connection.transport.write(MUCH)
    connection.close()
    assert connection.deadline.why == SEND
    bench.wait(TIMEOUT - 1)
    assert bench.context.connections
    assert bench.take()     # a little progress, and as much time again
    bench.wait(TIMEOUT - 1)
    assert bench.context.connections
    bench.wait(1)
    bench.wait(TIMEOUT / 2)     # when it took the last byte is not known exactly
    assert not bench.context.connections
    assert role.events == ["start", ("closed", None)]


def test_close_with_nothing_to_send_needs_no_deadline(bench: Bench) -> None:
    connection = bench.connect(Script())
    connection.expect(5, IDLE)
    connection.close()
    assert connection.deadline.why == ""
    bench.run()
    assert not bench.context.connections


def test_lingering_lets_the_peer_finish(bench: Bench) -> None:
    """RFC 9112 9.6."""
    role = Script()
    connection = bench.connect(role)
    connection.transport.write(b"the last word")
    connection.close(linger=True)
    bench.peer.send(b"still talking")
    bench.run()
    assert bench.peer.recv(100) == b"the last word"
    assert bench.peer.recv(1) == b""
    assert role.events == ["start"]
    bench.peer.close()
    bench.run()
    assert role.events == ["start", ("closed", None)]


def test_abort_drops_what_is_queued(bench: Bench) -> None:
    role = Script()
    connection = bench.connect(role)
    connection.transport.write(MUCH)
    connection.abort()
    connection.abort()
    connection.close()
    bench.run()
    assert role.events == ["start", ("closed", None)]
    assert bench.take() < len(MUCH)


def test_a_role_that_fails_at_the_end_is_forgotten_all_the_same(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else it would count as open for ever."""
    class Faulty(Role):
        def closed(self, exc: Optional[Exception]) -> None:
            raise ZeroDivisionError

    bench.connect(Faulty()).abort()
    bench.run()
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert not bench.context.connections


# When the server stops.


def test_an_idle_connection_ends_a_moment_after_its_last_byte(bench: Bench) -> None:
    role = Script()
    connection = bench.connect(role)
    bench.wait(GRACE_SECONDS / 2)
    connection.end_idle(IDLE)
    bench.wait(GRACE_SECONDS / 2 - 0.1)
    assert role.events == ["start"]
    bench.wait(0.1)
    assert role.events == ["start", ("expired", IDLE)]


def test_one_that_has_been_idle_for_longer_ends_at_once(bench: Bench) -> None:
    connection = bench.connect(Script())
    bench.wait(GRACE_SECONDS)
    connection.end_idle(IDLE)
    bench.run()
    assert not bench.context.connections


@pytest.mark.parametrize("stopping, seconds, wait", [
    (False, 9, 9), (True, 9, GRACE_SECONDS), (True, GRACE_SECONDS / 2, GRACE_SECONDS / 2)])
def test_the_first_bytes_are_waited_for(bench: Bench, stopping: bool, seconds: float, wait: float) -> None:
    connection = bench.connect(Script())
    bench.context.stopping = stopping
    connection.expect_first(seconds)
    assert (connection.deadline.at, connection.deadline.why) == (bench.reactor.now + wait, FIRST)
