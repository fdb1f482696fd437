"""What all connections share: their register, the limits and the Date field."""

from __future__ import annotations

import socket
from typing import Iterator, List

import pytest

from lwsws.core.connection import Connection
from lwsws.core.context import Context, Limits
from lwsws.core.role import Role
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """The wall clock of `context`."""
    return ManualClock(784111777.25)


@pytest.fixture
def context(clock: ManualClock) -> Iterator[Context]:
    """A context without connections."""
    reactor = Reactor()
    yield Context(reactor, Workers(reactor, 1), Limits(), wall_clock=clock)
    reactor.close()


def test_the_date_is_that_of_the_second(context: Context, clock: ManualClock) -> None:
    """RFC 9110 6.6.1, in the form of 5.6.7."""
    first = context.date_field()
    assert first == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    clock.advance(0.7)
    assert context.date_field() is first
    clock.advance(0.1)
    assert context.date_field() == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


def test_a_clock_that_is_set_back_takes_the_date_along(context: Context, clock: ManualClock) -> None:
    first = context.date_field()
    clock.advance(-3600)
    assert context.date_field() == first.replace(b"08:", b"07:")


def test_limits_without_a_configuration() -> None:
    limits = Limits()
    assert (limits.timeout, limits.send_timeout, limits.reject_keywords) == (5, 60, ())
    assert limits.request.head_bytes == 16384


def test_the_limit_of_heads_reaches_the_reader() -> None:
    assert Limits(head_bytes=1000).request.head_bytes == 1000


def test_connections_are_numbered_and_counted(context: Context) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    for ours, _ in pairs:
        ours.setblocking(False)
    gone: List[int] = []
    context.connection_gone = lambda: gone.append(len(context.connections))
    first, second, third = [Connection(context, ours, None, Role()) for ours, _ in pairs]
    assert [first.ident, second.ident, third.ident] == [1, 2, 3]
    assert context.connections == {first, second, third}
    second.abort()
    context.reactor.run_once(0)
    assert context.connections == {first, third}
    for connection in (first, third):
        connection.abort()
    context.reactor.run_once(0)
    # Told after each one, when it is no longer counted; and a number is not used again.
    assert gone == [2, 1, 0]
    assert context.accepted == 3
    for _, theirs in pairs:
        theirs.close()
