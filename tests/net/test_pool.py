"""Pools of kept connections: real sockets, a clock that stands still."""

from __future__ import annotations

import socket
import ssl
from typing import Iterator, List, Optional

import pytest

from lwsws.net.link import Link, LinkTransport
from lwsws.net.onward import Onward
from lwsws.net.pool import IDLE_SECONDS, MAX_IDLE, Opening, Pool, Target
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from tests.net.support import LARGE, Recorder, reset, settle, spin, tcp_pair
from tests.net.tls_support import client_context
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock


class Holder(Recorder):
    """A user of a link."""

    def __init__(self) -> None:
        super().__init__()
        self.late: List[str] = []

    def expired(self, why: str) -> None:
        """Note it."""
        self.late.append(why)


class Origin:
    """A listening socket, the pool of connections to it, and what was said of attempts to open one."""

    def __init__(self, reactor: Reactor, tls: Optional[ssl.SSLContext] = None) -> None:
        self.reactor = reactor
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        onward = Onward("127.0.0.1", int(self.listener.getsockname()[1]), socket.AF_INET)
        self.pool = Pool(Target(onward, tls, "a.test" if tls else ""))
        self.workers = Workers(reactor, 1)
        self.said: List[object] = []
        self.ends: List[socket.socket] = []

    def open(self, seconds: float = 5.0) -> Opening:
        """Begin to open one."""
        return self.pool.open(self.reactor, self.workers, seconds, self.said.append,
                              lambda reason, late: self.said.append((reason, late)))

    def accept(self) -> None:
        """Take the connection that is being opened, and let all happen that can."""
        settle(self.reactor)
        self.ends.append(self.listener.accept()[0])
        self.ends[-1].settimeout(10)
        settle(self.reactor)

    def link(self) -> Link:
        """A new one, and the origin's end of it in `ends`."""
        self.open()
        spin(self.reactor, lambda: bool(self.said))
        self.ends.append(self.listener.accept()[0])
        found = self.said.pop()
        assert isinstance(found, Link)
        found.use(Holder())
        return found

    def kept(self, count: int = 1) -> List[Link]:
        """New ones that have served a request each and are idle."""
        links = [self.link() for _ in range(count)]
        for link in links:
            self.pool.give_back(link)
        return links

    def close(self) -> None:
        """End all."""
        self.pool.close()
        self.listener.close()
        for end in self.ends:
            end.close()
        settle(self.reactor)
        assert self.workers.stop(timeout=10)


@pytest.fixture
def origin(reactor: Reactor) -> Iterator[Origin]:
    """An origin and its pool."""
    origin = Origin(reactor)
    yield origin
    origin.close()


def closed(link: Link, reactor: Reactor) -> bool:
    """Whether the pool has closed it."""
    settle(reactor)
    return link.transport.closed


# To and fro.


def test_a_link_is_used_again(origin: Origin, reactor: Reactor) -> None:
    link = origin.link()
    before = link.used
    origin.pool.give_back(link)
    assert origin.pool.take() is link
    assert (before, link.used) == (False, True)
    holder = Holder()
    link.use(holder)
    link.transport.write(b"ping")
    assert origin.ends[0].recv(9) == b"ping"
    origin.ends[0].sendall(b"pong")
    spin(reactor, lambda: holder.data == b"pong")
    assert origin.pool.take() is None
    link.drop()
    assert closed(link, reactor) and holder.events == ["data"]


def test_the_one_used_last_is_the_next(origin: Origin) -> None:
    first, second = origin.kept(2)
    assert origin.pool.take() is second and origin.pool.take() is first
    first.drop()
    second.drop()


def test_reading_that_was_paused_goes_on(origin: Origin, reactor: Reactor) -> None:
    """Else nobody would notice that the origin has closed it."""
    link = origin.link()
    link.transport.pause_reading()
    settle(reactor)
    origin.pool.give_back(link)
    origin.ends[0].close()
    assert closed(link, reactor) and len(origin.pool) == 0


# What ends idle links.


@pytest.mark.parametrize("how", ["data", "eof", "reset", "time"])
def test_an_idle_link_ends(origin: Origin, reactor: Reactor, clock: ManualClock, how: str) -> None:
    link, other = origin.kept(2)
    if how == "time":
        assert origin.pool.take() is other
        other.use(Holder())
        clock.advance(IDLE_SECONDS)
        settle(reactor)
        origin.pool.give_back(other)
    elif how == "data":
        origin.ends[0].sendall(b"HTTP/1.1 408 Too Late\r\n\r\n")
    elif how == "eof":
        origin.ends[0].close()
    else:
        reset(origin.ends[0])
    assert closed(link, reactor)
    assert origin.pool.take() is other and len(origin.pool) == 0
    other.drop()


def test_no_more_than_so_many_are_kept(origin: Origin, reactor: Reactor) -> None:
    links = origin.kept(MAX_IDLE + 1)
    assert closed(links[0], reactor) and len(origin.pool) == MAX_IDLE


@pytest.mark.parametrize("how", ["closing", "unsent", "pool"])
def test_what_is_not_kept(origin: Origin, reactor: Reactor, how: str) -> None:
    link = origin.link()
    if how == "closing":
        link.transport.close()
    elif how == "unsent":
        link.transport.write(bytes(50 * LARGE))
        assert link.transport.size
    else:
        origin.pool.close()
    origin.pool.give_back(link)
    assert closed(link, reactor) and len(origin.pool) == 0


# For requests that cannot be repeated.


def test_one_that_was_idle_for_long_is_not_taken(
        origin: Origin, clock: ManualClock, reactor: Reactor) -> None:
    (link,) = origin.kept()
    clock.advance(1.5)
    settle(reactor)
    assert origin.pool.take(max_age=2.0) is link
    origin.pool.give_back(link)
    clock.advance(2.5)
    settle(reactor)
    assert origin.pool.take(max_age=2.0) is None
    assert origin.pool.take() is link
    link.drop()


@pytest.mark.parametrize("sent", [b"", b"x"])
def test_one_whose_end_nobody_has_noticed_is_not_taken(origin: Origin, reactor: Reactor, sent: bytes) -> None:
    first, second = origin.kept(2)
    origin.ends[1].sendall(sent)
    origin.ends[1].close()
    assert origin.pool.take(max_age=2.0) is first
    assert closed(second, reactor)
    first.drop()


# Time limits.


def test_the_time_limit_is_the_users(origin: Origin, clock: ManualClock, reactor: Reactor) -> None:
    link = origin.link()
    holder = Holder()
    link.use(holder)
    link.deadline.set(reactor.now + 5, "no answer")
    clock.advance(5)
    settle(reactor)
    assert holder.late == ["no answer"] and not link.transport.closed
    link.drop()
    clock.advance(100)
    settle(reactor)
    assert holder.late == ["no answer"]


# Opening.


def test_nobody_listens(origin: Origin, reactor: Reactor) -> None:
    origin.listener.close()
    origin.open()
    spin(reactor, lambda: bool(origin.said))
    assert origin.said == [("Connection refused", False)]


def test_nobody_answers(origin: Origin, reactor: Reactor, clock: ManualClock) -> None:
    origin.listener.close()
    origin.listener = socket.socket()
    origin.listener.bind(("127.0.0.1", 0))
    origin.listener.listen(0)
    port = int(origin.listener.getsockname()[1])
    origin.pool = Pool(Target(Onward("127.0.0.1", port, socket.AF_INET)))
    for _ in range(5):      # its backlog is full then
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        origin.ends.append(sock)
    origin.open(seconds=3)
    settle(reactor)
    clock.advance(3)
    settle(reactor)
    assert origin.said == [("no answer", True)]


def test_an_opening_that_is_cancelled(origin: Origin, reactor: Reactor) -> None:
    opening = origin.open()
    opening.cancel()
    settle(reactor)
    assert origin.said == []


@pytest.fixture
def secure(reactor: Reactor, certificates: Certificates) -> Iterator[Origin]:
    """An origin that should speak TLS; nobody accepts connections yet."""
    origin = Origin(reactor, client_context(certificates))
    yield origin
    origin.close()


def test_a_server_that_does_not_shake_hands(secure: Origin, reactor: Reactor, clock: ManualClock) -> None:
    """The time limit is one for the connection and the handshake."""
    secure.open(seconds=3)
    secure.accept()
    assert secure.ends[0].recv(3)[:2] == b"\x16\x03"
    clock.advance(2.9)
    settle(reactor)
    assert secure.said == []
    clock.advance(0.2)
    settle(reactor)
    assert secure.said == [("TLS handshake: no answer", True)]
    while secure.ends[0].recv(65536):
        pass


def test_a_server_without_tls(secure: Origin, reactor: Reactor) -> None:
    secure.open()
    secure.accept()
    secure.ends[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    spin(reactor, lambda: bool(secure.said))
    assert secure.said == [("TLS handshake: wrong version number", False)]


@pytest.mark.parametrize("when", ["before", "in"])
def test_an_opening_with_tls_that_is_cancelled(secure: Origin, reactor: Reactor, when: str) -> None:
    opening = secure.open()
    if when == "in":
        secure.accept()
    opening.cancel()
    settle(reactor)
    assert secure.said == []


# A transport whose peer does not read.


def test_what_came_before_sending_failed_is_read(reactor: Reactor) -> None:
    """As of an origin that answers an upload with a refusal and closes."""
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    holder = Holder()
    transport = LinkTransport(reactor, ours, holder)
    transport.start()
    transport.pause_reading()
    transport.write(b"request")
    settle(reactor)
    theirs.sendall(b"refused")
    reset(theirs)
    transport.write(bytes(LARGE))
    transport.write(bytes(LARGE))
    settle(reactor)
    assert not transport.closed and not transport.size and holder.events == []
    transport.resume_reading()
    spin(reactor, lambda: holder.over)
    assert (holder.data, holder.events) == (b"refused", ["data", "lost"])


def test_a_reset_with_nothing_before_it(reactor: Reactor) -> None:
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    holder = Holder()
    transport = LinkTransport(reactor, ours, holder)
    transport.start()
    reset(theirs)
    transport.write(b"request")
    transport.write(b"more")
    spin(reactor, lambda: holder.over)
    assert holder.events == ["lost"]
