"""The raw role: what a plugin hears, and how it writes, reads and pauses; with real sockets."""

from __future__ import annotations

from typing import Tuple

import pytest

from lwsws.core.role import Role
from lwsws.core.session import RawSession
from lwsws.net.reactor import BUFFER_BYTES
from lwsws.net.transport import HIGH, LOW
from tests.net.support import tcp_pair, unix_pair
from tests.support.raw import VHOST, Notes, Pair, Peer, RawBench, nothing, opened, raw_role

# More than the socket buffers of a pair hold.
MUCH = 2_000_000


# What it hears.


def test_a_session_from_beginning_to_end(bench: RawBench) -> None:
    client, notes = opened(bench)
    session = notes.adopted[0]
    assert (session.peer, session.vhost, session.user) == ("192.0.2.7", VHOST, None)
    assert session.ident == bench.context.accepted
    client.send(b"hello")
    bench.settle()
    client.half_close()
    bench.settle()
    assert notes.events == ["adopted", "receive", "eof", "closed"]
    assert notes.data == b"hello"
    assert client.over


def test_each_session_has_its_own_user_object(bench: RawBench) -> None:
    def adopted(s: RawSession) -> None:
        s.user = [s.ident]

    notes = Notes(adopted=adopted)
    for _ in range(2):
        bench.connect(raw_role(notes))
    assert [session.user for session in notes.adopted] == [[1], [2]]


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
def test_a_peer_that_vanishes_ends_the_session(bench: RawBench, pair: Pair) -> None:
    client, notes = opened(bench, pair, eof=nothing)
    client.reset()
    bench.until(lambda: notes.events[-1] in ("closed", "eof"))
    if notes.events[-1] == "eof":   # a unix socket has no resets
        notes.adopted[0].close()
        bench.settle()
    assert notes.events.count("closed") == 1
    assert not bench.context.connections


def test_the_end_of_the_stream_may_be_answered(bench: RawBench) -> None:
    client, notes = opened(bench, eof=nothing)
    client.send(b"question")
    client.half_close()
    bench.settle()
    assert notes.events == ["adopted", "receive", "eof"]
    notes.adopted[0].write(b"answer")
    notes.adopted[0].close()
    bench.settle()
    assert client.over and client.data == b"answer"
    assert notes.events[-1] == "closed"


def test_leftover_of_an_earlier_role_comes_first(bench: RawBench) -> None:
    class Earlier(Role):
        def data_received(self, data: bytes) -> None:
            self.conn.switch_role(raw_role(notes), data)

    notes = Notes()
    client = bench.connect(Earlier())
    client.send(b"before")
    bench.settle()
    assert notes.events == ["adopted", "receive"] and notes.data == b"before"


# What it asks for: writing and reading.


def test_a_client_that_does_not_read_is_not_read(bench: RawBench) -> None:
    """An echo: what waits is bounded, however much the client sends, and all of it arrives in the end."""
    def echo(s: RawSession) -> None:
        s.write(notes.data)
        notes.data = b""

    client, notes = opened(bench, receive=echo)
    sent, most = pumped(bench, client, 20_000_000)
    assert HIGH < most <= HIGH + BUFFER_BYTES
    assert sent < 2_000_000
    received = 0
    while received < sent:
        received += len(client.receive())
        bench.reactor.run_once(0)
    assert received == sent
    assert notes.adopted[0].ident and not client.over


def pumped(bench: RawBench, client: Peer, limit: int) -> Tuple[int, int]:
    """Send until nothing is taken any more: how much was, and the most that ever waited."""
    conn = bench.only()
    sent = most = idle = 0
    block = bytes(BUFFER_BYTES)
    while idle < 10 and sent < limit:
        taken = client.send_some(block)
        idle = 0 if taken else idle + 1
        sent += taken
        bench.reactor.run_once(0)
        most = max(most, conn.transport.size)
    return sent, most


def test_writable_comes_once_for_each_request_and_never_inside_another_call(bench: RawBench) -> None:
    def adopted(s: RawSession) -> None:
        s.request_writable()
        s.request_writable()
        assert notes.events == ["adopted"]

    def writable(s: RawSession) -> None:
        if notes.events.count("writable") < 3:
            s.request_writable()
            assert notes.events[-1] == "writable"

    notes = Notes(adopted=adopted, writable=writable)
    bench.connect(raw_role(notes))
    assert notes.events == ["adopted"]
    bench.settle()
    assert notes.events == ["adopted", "writable", "writable", "writable"]


@pytest.mark.parametrize("first", [LOW, HIGH + 1])
def test_writable_waits_until_the_output_is_low(bench: RawBench, first: int) -> None:
    client, notes = opened(bench)
    session, conn = notes.adopted[0], bench.only()
    session.write(bytes(MUCH))
    filled = MUCH - conn.transport.size
    client.receive(conn.transport.size - first if conn.transport.size > first else 1)
    session.request_writable()
    bench.settle()
    assert "writable" not in notes.events and filled
    while "writable" not in notes.events:
        assert client.receive()
        bench.reactor.run_once(0)
    assert conn.transport.size < LOW


def test_a_plugin_that_writes_when_it_may_has_bounded_output(bench: RawBench) -> None:
    left = 300

    def writable(s: RawSession) -> None:
        nonlocal left
        left -= 1
        s.write(bytes(BUFFER_BYTES))
        if left:
            s.request_writable()
        else:
            s.close()

    client, notes = opened(bench, adopted=lambda s: s.request_writable(), writable=writable)
    conn, most, received = bench.only(), 0, 0
    while not client.eof:
        received += len(client.receive())
        bench.reactor.run_once(0)
        most = max(most, conn.transport.size)
    assert received == 300 * BUFFER_BYTES
    assert most < LOW + BUFFER_BYTES
    client.close()
    bench.settle()
    assert notes.events[-1] == "closed"


def test_a_paused_plugin_hears_nothing_and_the_client_waits(bench: RawBench) -> None:
    client, notes = opened(bench)
    session = notes.adopted[0]
    session.pause()
    sent, _ = pumped(bench, client, 20_000_000)
    assert notes.events == ["adopted"] and sent < 2_000_000
    client.half_close()
    bench.settle()
    session.resume()
    assert notes.events == ["adopted"]
    bench.until(lambda: "closed" in notes.events)
    assert len(notes.data) == sent
    assert notes.events[-2:] == ["eof", "closed"]


def test_a_plugin_may_pause_at_once_and_get_all_later(bench: RawBench) -> None:
    client, notes = opened(bench, adopted=lambda s: s.pause())
    client.send(b"one")
    bench.settle()
    client.send(b"two")
    client.half_close()
    bench.settle()
    assert notes.events == ["adopted"]
    assert bench.only().transport.bytes_received == len("one")
    notes.adopted[0].resume()
    bench.settle()
    assert notes.data == b"onetwo"
    assert notes.events[-2:] == ["eof", "closed"]


def test_an_end_that_came_behind_held_bytes_comes_behind_them(bench: RawBench) -> None:
    """The connection begins to read only after its first role has started, so that even a role that paused
    at once gets one read, and if there is nothing to read, the end of the stream."""
    client, notes = opened(bench, adopted=lambda s: s.pause())
    client.half_close()
    bench.settle()
    assert notes.events == ["adopted"]
    notes.adopted[0].resume()
    bench.settle()
    assert notes.events == ["adopted", "eof", "closed"]


def test_pausing_within_what_was_held_holds_the_rest(bench: RawBench) -> None:
    client, notes = opened(bench, adopted=lambda s: s.pause(), receive=lambda s: s.pause())
    session = notes.adopted[0]
    client.send(b"one")
    bench.settle()
    client.send(b"two")
    client.half_close()
    session.resume()
    session.pause()
    session.resume()
    bench.settle()
    assert notes.data == b"one"
    session.resume()
    bench.settle()
    assert notes.data == b"onetwo" and "eof" not in notes.events
    session.resume()
    bench.settle()
    assert notes.events[-2:] == ["eof", "closed"]


def test_resuming_does_not_read_while_too_much_waits_to_be_sent(bench: RawBench) -> None:
    client, notes = opened(bench)
    session = notes.adopted[0]
    session.pause()
    session.write(bytes(MUCH))
    session.resume()
    client.send(b"hello")
    bench.settle()
    assert "receive" not in notes.events
    while client.receive():
        bench.reactor.run_once(0)
    bench.settle()
    assert notes.data == b"hello"


def test_draining_does_not_read_while_the_plugin_has_paused(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(bytes(MUCH))
    notes.adopted[0].pause()
    client.send(b"hello")
    while client.receive():
        bench.reactor.run_once(0)
    bench.settle()
    assert not notes.data and not bench.only().transport.bytes_received
