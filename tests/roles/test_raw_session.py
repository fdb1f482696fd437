"""The raw role: how a session ends, its timer, its work on other threads, and its limits in time."""

from __future__ import annotations

import threading
from typing import Any, List, Optional

import pytest

from lwsws.core.connection import Connection
from lwsws.core.role import Role
from lwsws.core.session import RawSession
from lwsws.net.onward import parse_onward
from lwsws.net.transport import HIGH, LOW
from lwsws.roles.relay import HALF_CLOSED_SECONDS
from tests.support.raw import SEND_TIMEOUT, Notes, RawBench, nothing, opened, raw_role

# More than the socket buffers of a pair hold.
MUCH = 2_000_000


# What it asks for: ending.


def test_close_sends_what_was_written(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(bytes(MUCH))
    notes.adopted[0].close()
    assert "closed" not in notes.events
    while not client.eof:
        client.receive()
        bench.reactor.run_once(0)
    assert len(client.data) == MUCH
    client.close()
    bench.settle()
    assert notes.events == ["adopted", "closed"]


def test_abort_does_not(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(bytes(MUCH))
    notes.adopted[0].abort()
    assert notes.events == ["adopted"]
    bench.settle()
    assert notes.events == ["adopted", "closed"]
    assert client.over and len(client.data) < MUCH


def test_a_half_closed_session_goes_on_receiving(bench: RawBench) -> None:
    client, notes = opened(bench)
    session = notes.adopted[0]
    session.write(b"last words")
    session.shutdown_write()
    session.write(b"more")
    bench.settle()
    assert client.over and client.data == b"last words"
    client.send(b"still here")
    bench.settle()
    assert notes.data == b"still here"
    client.half_close()
    bench.settle()
    assert notes.events[-2:] == ["eof", "closed"]


def test_calls_of_a_closing_session_have_no_effect(bench: RawBench) -> None:
    client, notes = opened(bench)
    session = notes.adopted[0]
    session.set_timer(1)
    session.request_writable()
    session.write(b"end")
    session.close()
    session.write(b"more")
    session.request_writable()
    session.set_timer(1)
    session.pause()
    session.resume()
    session.shutdown_write()
    session.run_blocking(notes.events.append, "worked", then=lambda s, result, error: nothing(s))
    session.tunnel(parse_onward("127.0.0.1:1"))
    session.close()
    client.close()
    bench.advance(5)
    session.abort()
    session.write(b"")
    session.set_timer(None)
    bench.work_off()
    assert notes.events == ["adopted", "closed"]


def test_the_server_ends_sessions_by_closing_them(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(b"bye")
    bench.only().role.shutdown()
    client.send(b"still sending")
    bench.settle()
    assert client.over and client.data == b"bye"
    client.close()
    bench.settle()
    assert notes.events == ["adopted", "closed"]


# Timers.


def test_a_timer_comes_once(bench: RawBench) -> None:
    _, notes = opened(bench)
    notes.adopted[0].set_timer(10)
    bench.advance(9)
    assert "timer" not in notes.events
    bench.advance(1)
    bench.advance(100)
    assert notes.events == ["adopted", "timer"]


def test_a_timer_can_be_moved_cleared_and_set_again_by_itself(bench: RawBench) -> None:
    def again(s: RawSession) -> None:
        if notes.events.count("timer") < 3:
            s.set_timer(1)

    _, notes = opened(bench, timer=again)
    session = notes.adopted[0]
    session.set_timer(None)
    session.set_timer(10)
    session.set_timer(20)
    bench.advance(15)
    session.set_timer(1)
    bench.advance(1)
    assert notes.events == ["adopted", "timer"]
    session.set_timer(None)
    bench.advance(100)
    assert notes.events == ["adopted", "timer"]
    session.set_timer(0)
    for _ in range(5):
        bench.advance(1)
    assert notes.events.count("timer") == 3


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_timer_into_the_past_is_a_fault(bench: RawBench, seconds: float) -> None:
    _, notes = opened(bench)
    with pytest.raises(ValueError, match="a timer cannot be set to"):
        notes.adopted[0].set_timer(seconds)


def test_no_timer_comes_while_the_last_output_is_sent(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].set_timer(1)
    notes.adopted[0].write(bytes(MUCH))
    notes.adopted[0].close()
    bench.advance(2)
    assert bench.context.connections and not client.over
    assert notes.events == ["adopted"]


def test_the_timer_dies_with_the_session(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].set_timer(1)
    client.close()
    bench.settle()
    bench.advance(2)
    assert notes.events == ["adopted", "eof", "closed"]


# Work that blocks.


def test_blocking_work_is_done_by_a_worker(bench: RawBench) -> None:
    _, notes = opened(bench)
    done: List[Any] = []

    def work(number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return number + 1

    def then(s: RawSession, result: Any, error: Optional[Exception]) -> None:
        done.append((s, result, error))

    notes.adopted[0].run_blocking(work, 41, then=then)
    bench.until(lambda: done)
    assert done == [(notes.adopted[0], 42, None)]


def test_what_the_work_raises_is_handed_over(bench: RawBench) -> None:
    _, notes = opened(bench)
    errors: List[Optional[Exception]] = []
    notes.adopted[0].run_blocking(int, "x", then=lambda s, result, error: errors.append(error))
    bench.until(lambda: errors)
    assert isinstance(errors[0], ValueError)
    assert len(bench.context.connections) == 1


def test_a_pool_that_takes_no_jobs_is_an_error_like_another(bench: RawBench) -> None:
    _, notes = opened(bench)
    errors: List[Optional[Exception]] = []
    bench.workers.stop(timeout=5)
    notes.adopted[0].run_blocking(int, "1", then=lambda s, result, error: errors.append(error))
    assert not errors
    bench.settle()
    assert len(errors) == 1 and errors[0] is not None


def test_nobody_is_told_of_a_result_after_the_end(bench: RawBench) -> None:
    client, notes = opened(bench)
    release = threading.Event()
    session = notes.adopted[0]
    session.run_blocking(release.wait, 10, then=lambda s, result, error: notes.events.append("done"))
    session.write(bytes(MUCH))
    session.close()
    release.set()
    bench.work_off()
    session = opened(bench)[1].adopted[0]
    session.run_blocking(int, "1", then=lambda s, result, error: notes.events.append("done"))
    session.abort()
    bench.work_off()
    client.close()
    bench.settle()
    assert notes.events == ["adopted", "closed"]


# Limits in time.


def test_a_client_that_takes_nothing_is_cut_off(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(bytes(MUCH))
    bench.advance(SEND_TIMEOUT - 1)
    assert notes.events == ["adopted"]
    bench.advance(2)
    assert notes.events == ["adopted", "closed"]
    assert client.over and len(client.data) < MUCH


def test_a_client_that_takes_something_is_not(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(bytes(MUCH))
    for _ in range(5):
        bench.advance(SEND_TIMEOUT - 1)
        while client.receive():     # all that the kernel has, so that more goes there
            pass
    assert notes.events == ["adopted"]


def test_bytes_of_the_client_do_not_help_it(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(b"a" * (LOW // 2))
    notes.adopted[0].write(bytes(HIGH - LOW))
    for _ in range(2):
        client.send(b"x")
        bench.advance(SEND_TIMEOUT / 2 + 1)
    assert notes.events[-1] == "closed"


def test_an_idle_session_may_be_silent_for_ever(bench: RawBench) -> None:
    client, notes = opened(bench)
    notes.adopted[0].write(bytes(MUCH))
    while client.receive():
        bench.reactor.run_once(0)
    for _ in range(5):
        bench.advance(HALF_CLOSED_SECONDS)
    assert len(client.data) == MUCH and notes.events == ["adopted"]


def test_the_deadline_of_an_earlier_role_is_over(bench: RawBench) -> None:
    class Earlier(Role):
        def start(self, conn: Connection) -> None:
            super().start(conn)
            conn.expect(1, "something else")
            conn.switch_role(raw_role(Notes()), b"")

    bench.connect(Earlier())
    bench.advance(2)
    assert bench.context.connections


def test_a_plugin_that_does_nothing_at_the_end_of_the_stream_is_ended(bench: RawBench) -> None:
    client, notes = opened(bench, eof=nothing)
    client.half_close()
    bench.settle()
    bench.advance(HALF_CLOSED_SECONDS - 1)
    assert notes.events == ["adopted", "eof"]
    bench.advance(2)
    assert notes.events == ["adopted", "eof", "closed"]


@pytest.mark.parametrize("by_client", [True, False])
def test_a_half_closed_one_may_not(bench: RawBench, by_client: bool) -> None:
    client, notes = opened(bench, eof=nothing)
    if by_client:
        client.half_close()
        bench.settle()
    else:
        notes.adopted[0].shutdown_write()
    bench.advance(HALF_CLOSED_SECONDS - 1)
    if by_client:
        notes.adopted[0].write(bytes(MUCH))
        while client.receive():
            bench.reactor.run_once(0)
    else:
        client.send(b"x")
        bench.settle()
    bench.advance(2)
    bench.advance(HALF_CLOSED_SECONDS - 3)
    assert "closed" not in notes.events
    bench.advance(3)
    assert notes.events[-1] == "closed"
