"""The reactor: order in a pass, fairness, stale events, faults, slow callbacks, signals."""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import threading
from functools import partial
from typing import Iterator, List, Optional, Tuple

import pytest

from lwsws.net.reactor import BUFFER_BYTES, MAX_TIMERS, MAX_WAIT, READ, WRITE, Reactor
from tests.net.support import CountingSelector, reset, settle, tcp_pair, unix_pair
from tests.support.clock import ManualClock

Pair = Tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets."""
    ours, peer = unix_pair()
    yield ours, peer
    ours.close()
    peer.close()


class TestFds:
    """watch, rewatch, unwatch."""

    def test_a_ready_fd_is_called_with_what_it_is_ready_for(self, reactor: Reactor, pair: Pair) -> None:
        masks: List[int] = []
        reactor.watch(pair[0], READ, masks.append)
        reactor.run_once(0.0)
        assert masks == []
        pair[1].send(b"x")
        reactor.run_once(0.0)
        assert masks == [READ]
        reactor.rewatch(pair[0].fileno(), READ | WRITE, masks.append)
        reactor.run_once(0.0)
        assert masks == [READ, READ | WRITE]
        reactor.rewatch(pair[0], WRITE, masks.append)
        reactor.run_once(0.0)
        assert masks == [READ, READ | WRITE, WRITE]
        reactor.unwatch(pair[0])
        reactor.unwatch(pair[0])
        reactor.run_once(0.0)
        assert len(masks) == 3

    def test_it_is_level_triggered(self, reactor: Reactor, pair: Pair) -> None:
        masks: List[int] = []
        reactor.watch(pair[0], READ, masks.append)
        pair[1].send(b"x")
        settle(reactor, 3)
        assert masks == [READ] * 3

    @pytest.mark.parametrize("mask", [READ, WRITE])
    def test_an_error_says_try_what_was_asked_for(self, reactor: Reactor, mask: int) -> None:
        masks: List[int] = []
        ours, peer = tcp_pair()
        ours.setblocking(False)
        while True:
            try:
                ours.send(b"x" * 65536)
            except BlockingIOError:
                break
        reactor.watch(ours, mask, masks.append)
        reset(peer)
        reactor.run_once(10.0)
        assert masks == [mask]
        reactor.unwatch(ours)
        ours.close()

    def test_a_regular_file_cannot_be_watched(self, reactor: Reactor) -> None:
        with open(__file__, "rb") as file, pytest.raises(PermissionError):
            reactor.watch(file, READ, lambda mask: None)

    def test_a_new_fd_of_an_old_number_gets_no_event_of_the_old_one(
        self, reactor: Reactor, selector: CountingSelector
    ) -> None:
        """Two fds are ready in one pass; the first callback closes the second fd and opens a new one."""
        told: List[str] = []
        first, first_peer = unix_pair()
        second, second_peer = unix_pair()
        number = second.fileno()
        newcomers: List[socket.socket] = []

        def replace_second(mask: int) -> None:
            reactor.unwatch(first)
            reactor.unwatch(second)
            second.close()
            newcomers.extend(unix_pair())
            assert newcomers[0].fileno() == number
            reactor.watch(newcomers[0], READ, lambda mask: told.append("newcomer"))

        reactor.watch(first, READ, replace_second)
        reactor.watch(second, READ, lambda mask: told.append("second"))
        first_peer.send(b"x")
        second_peer.send(b"x")
        reactor.run_once(0.0)
        assert selector.reported == 2
        assert told == []
        newcomers[1].send(b"x")
        reactor.run_once(0.0)
        assert told == ["newcomer"]
        reactor.unwatch(newcomers[0])
        for sock in (first, first_peer, second_peer, *newcomers):
            sock.close()

    def test_a_callback_may_unwatch_another_that_is_ready_too(self, reactor: Reactor) -> None:
        told: List[int] = []
        pairs = [unix_pair() for _ in range(2)]

        def only_one(number: int, mask: int) -> None:
            told.append(number)
            for ours, _ in pairs:
                reactor.unwatch(ours)

        for number, (ours, peer) in enumerate(pairs):
            reactor.watch(ours, READ, partial(only_one, number))
            peer.send(b"x")
        settle(reactor)
        assert len(told) == 1
        for ours, peer in pairs:
            ours.close()
            peer.close()

    def test_all_that_are_ready_get_their_turn_in_each_pass(self, reactor: Reactor) -> None:
        pairs = [unix_pair() for _ in range(84)]
        counts = [0] * len(pairs)

        def count(number: int, mask: int) -> None:
            counts[number] += 1

        for number, (ours, peer) in enumerate(pairs):
            reactor.watch(ours, READ, partial(count, number))
            peer.send(b"x")
        settle(reactor, 2)
        assert set(counts) == {2}
        for ours, peer in pairs:
            reactor.unwatch(ours)
            ours.close()
            peer.close()

    def test_the_shared_buffer(self, reactor: Reactor, pair: Pair) -> None:
        pair[1].send(b"hello")
        count = pair[0].recv_into(reactor.buffer)
        assert bytes(reactor.view[:count]) == b"hello"
        assert len(reactor.buffer) == BUFFER_BYTES


class TestFunctions:
    """call_soon, timers, and their order."""

    def test_order_in_a_pass(self, reactor: Reactor, clock: ManualClock, pair: Pair) -> None:
        order: List[str] = []
        reactor.call_soon(lambda: order.append("soon"))
        reactor.call_at(clock(), lambda: order.append("timer"))
        reactor.watch(pair[0], WRITE, lambda mask: order.append("fd"))
        reactor.run_once()
        assert order == ["timer", "fd", "soon"]
        reactor.unwatch(pair[0])

    def test_what_is_queued_while_the_queue_runs_waits_for_the_next_pass(self, reactor: Reactor) -> None:
        """LESSONS 3.39: a function that queues itself again does not keep the rest from its turn."""
        order: List[int] = []

        def again() -> None:
            order.append(len(order))
            reactor.call_soon(again)

        reactor.call_soon(again)
        reactor.run_once()
        assert order == [0]
        reactor.run_once()
        assert order == [0, 1]

    def test_timers_are_bounded_in_a_pass(self, reactor: Reactor, selector: CountingSelector) -> None:
        ran: List[int] = []
        for _ in range(MAX_TIMERS + 5):
            reactor.call_later(0.0, lambda: ran.append(1))
        reactor.run_once()
        assert len(ran) == MAX_TIMERS
        reactor.run_once()
        assert len(ran) == MAX_TIMERS + 5
        assert selector.timeouts == [0.0, 0.0]

    def test_now_is_the_time_of_the_pass(self, reactor: Reactor, clock: ManualClock) -> None:
        seen: List[float] = []

        def slow() -> None:
            clock.advance(0.01)
            seen.append(reactor.now)

        clock.advance(5.0)
        reactor.call_soon(slow)
        reactor.call_soon(slow)
        reactor.run_once()
        assert seen == [1005.0, 1005.0]

    def test_it_waits_until_the_next_timer(
        self, reactor: Reactor, clock: ManualClock, selector: CountingSelector
    ) -> None:
        # Binary fractions, so that the manual clock counts them exactly; really waited for, so short.
        quarter, half, full = 1 / 512, 1 / 256, 1 / 128
        reactor.run_once(full)
        reactor.call_later(half, lambda: None)
        reactor.run_once(0.0)
        reactor.run_once(quarter)
        reactor.run_once(7.0)
        reactor.run_once(None)
        clock.advance(1.0)
        reactor.run_once(7.0)
        reactor.call_soon(lambda: None)
        reactor.run_once(7.0)
        assert selector.timeouts == [full, 0.0, quarter, half, half, 0.0, 0.0]

    def test_without_anything_to_wait_for_it_waits_for_ever(
        self, reactor: Reactor, selector: CountingSelector, pair: Pair
    ) -> None:
        reactor.watch(pair[0], WRITE, lambda mask: reactor.stop())
        reactor.run()
        assert selector.timeouts == [None]
        reactor.unwatch(pair[0])

    def test_stop_ends_run_after_the_pass(self, reactor: Reactor) -> None:
        order: List[str] = []
        reactor.call_soon(reactor.stop)
        reactor.call_soon(lambda: order.append("same pass"))
        reactor.run()
        assert order == ["same pass"]
        reactor.call_soon(lambda: order.append("run again"))
        reactor.call_soon(reactor.stop)
        reactor.run()
        assert order == ["same pass", "run again"]

    def test_stop_before_run(self, reactor: Reactor) -> None:
        ran: List[str] = []
        reactor.call_soon(lambda: ran.append("not yet"))
        reactor.stop()
        reactor.run()
        assert ran == []

    def test_a_real_clock_and_a_real_selector(self, pair: Pair) -> None:
        reactor = Reactor()
        order: List[str] = []
        pair[0].send(b"x")
        reactor.watch(pair[1], READ, lambda mask: reactor.unwatch(pair[1]))
        reactor.call_later(0.002, lambda: order.append("timer"))
        reactor.call_later(0.004, reactor.stop)
        reactor.run()
        assert order == ["timer"]
        assert reactor.now - reactor.clock() < 0.0
        reactor.close()
        reactor.close()


class TestFaults:
    """The one boundary for exceptions, and the names of those who hold everyone up."""

    def test_a_fault_ends_only_its_callback(
        self, reactor: Reactor, clock: ManualClock, pair: Pair, capfd: pytest.CaptureFixture[str]
    ) -> None:
        ran: List[str] = []

        def faulty(*args: object) -> None:
            raise ValueError("out of order")

        reactor.call_at(clock(), faulty)
        reactor.call_at(clock(), lambda: ran.append("timer"))
        reactor.watch(pair[0], WRITE, faulty)
        reactor.watch(pair[1], WRITE, lambda mask: ran.append("fd"))
        reactor.call_soon(faulty)
        reactor.call_soon(lambda: ran.append("soon"))
        reactor.run_once()
        assert ran == ["timer", "fd", "soon"]
        err = capfd.readouterr().err
        assert err.count("fault in") == 3
        assert err.count("TestFaults.test_a_fault_ends_only_its_callback.<locals>.faulty") >= 3
        assert err.count("ValueError: out of order") == 3
        reactor.unwatch(pair[0])
        reactor.unwatch(pair[1])

    def test_what_is_no_exception_goes_through(self, reactor: Reactor) -> None:
        def leave() -> None:
            raise SystemExit(3)

        reactor.call_soon(leave)
        with pytest.raises(SystemExit):
            reactor.run_once()

    def test_slowness_is_of_no_interest_where_nobody_waits(
        self, clock: ManualClock, capfd: pytest.CaptureFixture[str]
    ) -> None:
        reactor = Reactor(clock, names_slow=False)
        reactor.call_soon(partial(clock.advance, 10.0))
        reactor.run_once()
        reactor.close()
        assert capfd.readouterr().err == ""

    def test_slow_callbacks_are_named_but_not_each_one(
        self, reactor: Reactor, clock: ManualClock, pair: Pair, capfd: pytest.CaptureFixture[str]
    ) -> None:
        class Handler:
            def __repr__(self) -> str:
                return "<Handler 17>"

            def ready(self, mask: int) -> None:
                clock.advance(0.125)

            def tick(self, seconds: float) -> None:
                clock.advance(seconds)

        handler = Handler()
        reactor.call_at(clock(), partial(handler.tick, 0.03125))
        reactor.watch(pair[0], WRITE, handler.ready)
        reactor.run_once()
        err = capfd.readouterr().err
        assert "Handler.ready of <Handler 17> took 125 ms" in err
        assert "tick" not in err
        reactor.run_once()
        assert capfd.readouterr().err == ""
        reactor.unwatch(pair[0])
        clock.advance(10.0)
        reactor.call_soon(partial(handler.tick, 0.25))
        reactor.run_once()
        err = capfd.readouterr().err
        assert "Handler.tick of <Handler 17> took 250 ms (1 more were slow before)" in err


class TestSignals:
    """Signals are handled in the loop."""

    def test_a_signal_wakes_the_loop_and_runs_its_function_there(self) -> None:
        reactor = Reactor()
        got: List[str] = []
        handler = signal.getsignal(signal.SIGUSR1)
        reactor.add_signal(signal.SIGUSR1, lambda: got.append("first"))
        reactor.add_signal(signal.SIGUSR1, lambda: got.append("usr1"))
        reactor.add_signal(signal.SIGUSR2, reactor.stop)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert got == []
        reactor.run_once(10.0)
        assert got == ["usr1"]
        main = threading.main_thread().ident
        assert main is not None
        killer = threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGUSR2))
        killer.start()
        reactor.run()
        killer.join()
        reactor.close()
        assert got == ["usr1"]
        assert signal.getsignal(signal.SIGUSR1) is handler

    def test_a_signal_may_close_the_reactor(self) -> None:
        reactor = Reactor()
        got: List[str] = []

        def close() -> None:
            got.append("closed")
            reactor.close()

        for signum in (signal.SIGUSR1, signal.SIGUSR2):
            reactor.add_signal(signum, close)
            os.kill(os.getpid(), signum)
        reactor.run_once(10.0)
        assert got == ["closed"]

    def test_signals_are_for_the_main_thread(self) -> None:
        reactor = Reactor()
        faults: List[BaseException] = []

        def try_it() -> None:
            try:
                reactor.add_signal(signal.SIGUSR1, reactor.stop)
            except ValueError as exc:
                faults.append(exc)

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert len(faults) == 1
        reactor.close()


def test_hang_ups_are_reported_even_if_nothing_is_asked_for() -> None:
    """Why a transport that wants nothing must not stay watched: this is the kernel's behaviour, not ours."""
    ours, peer = unix_pair()
    epoll = select.epoll()
    epoll.register(ours, 0)
    peer.close()
    assert epoll.poll(0) == [(ours.fileno(), select.EPOLLHUP)]
    assert epoll.poll(0) == [(ours.fileno(), select.EPOLLHUP)]
    epoll.close()
    ours.close()


def test_a_timer_may_be_years_away(clock: ManualClock) -> None:
    """The kernel waits for at most 24 days."""
    selector = Waiting()
    reactor = Reactor(clock, selector)
    reactor.call_later(10 * 365 * 86400, lambda: None)
    reactor.run_once()
    reactor.close()
    assert selector.waits == [MAX_WAIT]


class Waiting(selectors.DefaultSelector):
    """Notes for how long it is to wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: List[Optional[float]] = []

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        """Return at once."""
        self.waits.append(timeout)
        return []
