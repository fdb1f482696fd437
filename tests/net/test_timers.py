"""Timers and deadlines on a manual clock."""

from __future__ import annotations

import gc
import random
import weakref
from functools import partial
from typing import Callable, List

import pytest

from lwsws.net import timers as timers_module
from lwsws.net.timers import MIN_DEAD, NEVER, Deadline, Timer, Timers
from tests.support.clock import ManualClock


@pytest.fixture
def timers(clock: ManualClock) -> Timers:
    """Timers on the manual clock."""
    return Timers(clock)


def run(timers: Timers) -> int:
    """Run all that is due."""
    return timers.run_due(timers.clock(), 1_000_000)


def test_timers_run_in_order_of_time_and_equal_ones_in_order_of_making(timers: Timers) -> None:
    ran: List[str] = []
    for at, name in ((30.0, "c"), (10.0, "a1"), (20.0, "b"), (10.0, "a2")):
        timers.call_at(at, partial(ran.append, name))
    assert timers.run_due(25.0, 10) == 3
    assert ran == ["a1", "a2", "b"]


def test_nothing_runs_early(timers: Timers, clock: ManualClock) -> None:
    ran: List[float] = []
    timers.call_later(5.0, lambda: ran.append(clock()))
    clock.advance(4.999)
    assert run(timers) == 0
    clock.advance(0.001)
    assert run(timers) == 1
    assert run(timers) == 0
    assert ran == [1005.0]


def test_next_at_is_the_earliest_time(timers: Timers) -> None:
    assert timers.next_at() is None
    timers.call_at(7.0, lambda: None)
    timers.call_at(3.0, lambda: None)
    assert timers.next_at() == 3.0
    run(timers)
    assert timers.next_at() is None


def test_the_limit_leaves_the_rest_for_later(timers: Timers) -> None:
    ran: List[int] = []
    for number in range(5):
        timers.call_at(1.0, partial(ran.append, number))
    assert timers.run_due(1.0, 3) == 3
    assert timers.run_due(1.0, 3) == 2
    assert ran == [0, 1, 2, 3, 4]


def test_a_cancelled_timer_does_not_run(timers: Timers) -> None:
    ran: List[str] = []
    timer = timers.call_at(1.0, lambda: ran.append("cancelled"))
    timers.call_at(2.0, lambda: ran.append("kept"))
    timer.cancel()
    timer.cancel()
    assert run(timers) == 1
    timer.cancel()
    assert ran == ["kept"]


def test_a_timer_may_cancel_another_that_is_due_with_it(timers: Timers) -> None:
    ran: List[str] = []
    others: List[Timer] = []

    def cancel_others() -> None:
        for timer in others:
            timer.cancel()

    timers.call_at(1.0, cancel_others)
    others.append(timers.call_at(1.0, lambda: ran.append("second")))
    run(timers)
    assert ran == []


def test_a_timer_made_by_a_timer_waits_for_its_own_time(timers: Timers, clock: ManualClock) -> None:
    ran: List[float] = []

    def again() -> None:
        ran.append(clock())
        timers.call_later(1.0, again)

    timers.call_later(1.0, again)
    for _ in range(3):
        clock.advance(1.0)
        run(timers)
    assert ran == [1001.0, 1002.0, 1003.0]


def test_cancelled_timers_leave_the_heap_and_free_what_they_hold(timers: Timers) -> None:
    class Held:
        def method(self) -> None: ...

    held = Held()
    alive = weakref.ref(held)
    timers.call_at(1e9, held.method).cancel()
    del held
    assert alive() is None
    for _ in range(10_000):
        timers.call_at(1e9, lambda: None).cancel()
    assert len(timers) <= 2 * MIN_DEAD


class TestDeadline:
    """One deadline that is set again and again."""

    @pytest.fixture
    def expired(self) -> List[str]:
        """The reasons told so far."""
        return []

    @pytest.fixture
    def deadline(self, timers: Timers, expired: List[str]) -> Deadline:
        """A deadline that is not set."""
        return Deadline(timers, expired.append)

    def test_it_expires_once_and_is_clear_then(
        self, timers: Timers, clock: ManualClock, deadline: Deadline, expired: List[str]
    ) -> None:
        assert (deadline.at, deadline.why) == (NEVER, "")
        deadline.set(1010.0, "HEAD")
        assert (deadline.at, deadline.why) == (1010.0, "HEAD")
        clock.advance(9.9)
        run(timers)
        assert expired == []
        clock.advance(0.1)
        run(timers)
        clock.advance(100.0)
        run(timers)
        assert expired == ["HEAD"]
        assert (deadline.at, deadline.why) == (NEVER, "")

    def test_moving_it_later_costs_no_heap_work(
        self, timers: Timers, clock: ManualClock, deadline: Deadline, expired: List[str]
    ) -> None:
        for _ in range(1000):
            clock.advance(1.0)
            deadline.set(clock() + 1500.0, "IDLE")
            assert timers.next_at() == 2501.0
        assert len(timers) == 1
        clock.advance(600.0)
        run(timers)
        assert expired == []
        assert (len(timers), timers.next_at()) == (1, 3500.0)
        clock.advance(900.0)
        run(timers)
        assert expired == ["IDLE"]

    def test_moving_it_earlier_counts(
        self, timers: Timers, clock: ManualClock, deadline: Deadline, expired: List[str]
    ) -> None:
        deadline.set(1030.0, "RESPONSE")
        deadline.set(1005.0, "CLOSE")
        clock.advance(5.0)
        run(timers)
        assert expired == ["CLOSE"]
        clock.advance(100.0)
        run(timers)
        assert expired == ["CLOSE"]

    def test_earlier_then_later_to_the_same_time_expires_once(
        self, timers: Timers, clock: ManualClock, deadline: Deadline, expired: List[str]
    ) -> None:
        for at in (1010.0, 1005.0, 1010.0):
            deadline.set(at, "BODY")
        for _ in range(20):
            clock.advance(1.0)
            run(timers)
        assert expired == ["BODY"]
        assert len(timers) == 0

    def test_a_cleared_one_does_not_expire(
        self, timers: Timers, clock: ManualClock, deadline: Deadline, expired: List[str]
    ) -> None:
        deadline.clear()
        deadline.set(1005.0, "HEAD")
        deadline.clear()
        deadline.clear()
        clock.advance(10.0)
        run(timers)
        assert expired == []
        assert len(timers) == 0

    def test_clearing_and_setting_uses_the_same_entry(self, timers: Timers, deadline: Deadline) -> None:
        for number in range(1000):
            deadline.set(1005.0 + number, "HEAD")
            deadline.clear()
        assert len(timers) == 1

    def test_the_callback_may_set_the_next_one(self, timers: Timers, clock: ManualClock) -> None:
        told: List[str] = []

        def expired(why: str) -> None:
            told.append(why)
            if why == "HEAD":
                deadline.set(clock() + 2.0, "CLOSE")

        deadline = Deadline(timers, expired)
        deadline.set(1001.0, "HEAD")
        for _ in range(5):
            clock.advance(1.0)
            run(timers)
        assert told == ["HEAD", "CLOSE"]

    def test_many_short_lives_leave_no_heap_behind(self, timers: Timers) -> None:
        """LESSONS 3.40: connections that are gone are not kept until their limits have passed."""

        class Connection:
            def __init__(self) -> None:
                self.deadline = Deadline(timers, self.expired)

            def expired(self, why: str) -> None: ...

        gone: List[Callable[[], object]] = []
        for _ in range(2000):
            connection = Connection()
            connection.deadline.set(1e9, "IDLE")
            connection.deadline.clear()
            gone.append(weakref.ref(connection))
        del connection
        gc.collect()
        assert len(timers) <= 2 * MIN_DEAD
        assert sum(ref() is not None for ref in gone) <= 2 * MIN_DEAD


@pytest.mark.parametrize("count, min_dead", [(10, 1), (20, 2), (40, 3), (150, MIN_DEAD)])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_model_without_a_heap(
    seed: int, count: int, min_dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many deadlines and timers, moved at random: each expires at the first step at or after its time.

    With few dead entries allowed the heap is rebuilt often.
    """
    monkeypatch.setattr(timers_module, "MIN_DEAD", min_dead)
    rng = random.Random(f"{seed} {count}")
    clock = ManualClock(0.0)
    timers = Timers(clock)
    told: List[str] = []
    deadlines = [Deadline(timers, told.append) for _ in range(count)]
    model = [NEVER] * len(deadlines)
    live_timers = {}
    for step in range(800):
        number = rng.randrange(len(deadlines))
        choice = rng.random()
        at = clock() + rng.randrange(0, 60)
        if choice < 0.55:
            deadlines[number].set(at, str(number))
            model[number] = at
        elif choice < 0.75:
            deadlines[number].clear()
            model[number] = NEVER
        elif choice < 0.9:
            name = f"timer{step}"
            live_timers[name] = (at, timers.call_at(at, partial(told.append, name)))
        elif live_timers:
            name = rng.choice(sorted(live_timers))
            live_timers.pop(name)[1].cancel()
        if rng.random() < 0.3:
            clock.advance(rng.randrange(0, 10))
            told.clear()
            run(timers)
            due = [str(n) for n, at in enumerate(model) if at <= clock()]
            due += [name for name, (at, _) in live_timers.items() if at <= clock()]
            assert sorted(told) == sorted(due)
            for name in due:
                if name in live_timers:
                    del live_timers[name]
                else:
                    model[int(name)] = NEVER
        live = sum(at != NEVER for at in model) + len(live_timers)
        assert len(timers) - timers._dead == live
    clock.advance(1000.0)
    run(timers)
    assert (len(timers), timers._dead, timers.next_at()) == (0, 0, None)


def test_an_ended_deadline_holds_nobody() -> None:
    """Its entry may stay in the heap for long."""
    class Somebody:
        def expired(self, why: str) -> None:
            """Never called."""

    clock = ManualClock()
    timers = Timers(clock)
    somebody = Somebody()
    watched = weakref.ref(somebody)
    deadline = Deadline(timers, somebody.expired)
    deadline.set(clock() + 300, "idle")
    deadline.end()
    del somebody
    assert watched() is None
    assert (deadline.at, deadline.why) == (NEVER, "")
    clock.advance(301)
    assert timers.take_due(clock()) is None
