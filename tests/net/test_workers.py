"""The worker pool.  Jobs wait for each other by events and barriers, never by time."""

from __future__ import annotations

import functools
import sys
import threading
from asyncio import CancelledError
from typing import Any, Callable, Iterator, List, Optional, Tuple

import pytest

from lwsws.net.reactor import Reactor
from lwsws.net.workers import MAX_RESULTS, JobAborted, Overloaded, Workers
from tests.net.support import CountingSelector, settle, spin

PATIENCE_SECONDS = 10.0

Outcome = Tuple[Any, Optional[Exception]]


class Session:
    """The owner of a job."""

    def __init__(self) -> None:
        self.closed = False


class Gate:
    """Holds jobs until opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.reached = threading.Semaphore(0)

    def hold(self) -> str:
        """The job: wait for the gate to open; returns the name of the thread."""
        self.reached.release()
        assert self._open.wait(PATIENCE_SECONDS)
        return threading.current_thread().name

    def wait_for(self, count: int) -> None:
        """Wait until so many jobs are held."""
        for _ in range(count):
            assert self.reached.acquire(timeout=PATIENCE_SECONDS)

    def open(self) -> None:
        """Let all jobs go on."""
        self._open.set()


@pytest.fixture
def make(reactor: Reactor) -> Iterator[Callable[..., Workers]]:
    """Makes pools and stops them at the end."""
    pools: List[Workers] = []

    def make(count: int, **options: Any) -> Workers:
        pools.append(Workers(reactor, count, **options))
        return pools[-1]

    yield make
    for pool in pools:
        assert pool.stop(PATIENCE_SECONDS)
    assert worker_names() == set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open in the end, whatever happens."""
    gate = Gate()
    yield gate
    gate.open()


def worker_names() -> set[str]:
    """The names of the living worker threads."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("lwsws-worker")}


def test_a_job_runs_on_a_worker_and_its_result_comes_to_the_reactor(
    reactor: Reactor, make: Callable[..., Workers]
) -> None:
    workers = make(2)
    outcomes: List[Tuple[Outcome, str]] = []
    workers.submit(
        lambda: threading.current_thread().name,
        lambda result, error: outcomes.append(((result, error), threading.current_thread().name)),
    )
    spin(reactor, lambda: bool(outcomes))
    assert outcomes == [(("lwsws-worker-1", None), threading.current_thread().name)]


def test_an_exception_of_the_job_is_delivered(reactor: Reactor, make: Callable[..., Workers]) -> None:
    workers = make(1)
    outcomes: List[Outcome] = []

    def faulty() -> int:
        raise ValueError("no such name")

    workers.submit(faulty, lambda result, error: outcomes.append((result, error)))
    spin(reactor, lambda: bool(outcomes))
    result, error = outcomes[0]
    assert result is None
    assert isinstance(error, ValueError)
    assert str(error) == "no such name"


def test_threads_start_only_when_needed(
    reactor: Reactor, make: Callable[..., Workers], gate: Gate, selector: CountingSelector
) -> None:
    workers = make(3)
    assert (worker_names(), selector.changes) == (set(), 0)
    names: List[Optional[str]] = []

    def then(name: Optional[str], error: Optional[Exception]) -> None:
        names.append(name)

    for number in range(5):
        workers.submit(gate.hold, then)
        assert len(worker_names()) == min(number + 1, 3)
    gate.open()
    spin(reactor, lambda: len(names) == 5)
    assert set(names) <= {"lwsws-worker-1", "lwsws-worker-2", "lwsws-worker-3"}
    assert len(worker_names()) == 3


def test_an_idle_thread_is_used_again(reactor: Reactor, make: Callable[..., Workers]) -> None:
    workers = make(8)
    names: List[Optional[str]] = []
    for number in range(50):
        workers.submit(
            lambda: threading.current_thread().name, lambda name, error: names.append(name)
        )
        spin(reactor, lambda number=number: len(names) == number + 1)  # type: ignore[misc]
    assert set(names) == {"lwsws-worker-1"}


def test_results_come_in_the_order_in_which_the_jobs_ended(
    reactor: Reactor, make: Callable[..., Workers]
) -> None:
    workers = make(2)
    second_is_done = threading.Event()
    order: List[str] = []

    def first() -> str:
        assert second_is_done.wait(PATIENCE_SECONDS)
        return "first"

    def then(name: Optional[str], error: Optional[Exception]) -> None:
        order.append(str(name))
        second_is_done.set()

    workers.submit(first, then)
    workers.submit(lambda: "second", then)
    spin(reactor, lambda: len(order) == 2)
    assert order == ["second", "first"]


def test_the_queue_is_bounded(reactor: Reactor, make: Callable[..., Workers], gate: Gate) -> None:
    """LESSONS 3.40: past the limit new work is refused, it does not take memory."""
    workers = make(1, queue_limit=3)
    done: List[Optional[str]] = []

    def then(name: Optional[str], error: Optional[Exception]) -> None:
        done.append(name)

    workers.submit(gate.hold, then)
    gate.wait_for(1)
    for _ in range(3):
        workers.submit(gate.hold, then)
    with pytest.raises(Overloaded):
        workers.submit(gate.hold, then)
    gate.open()
    spin(reactor, lambda: len(done) == 4)
    workers.submit(gate.hold, then)
    spin(reactor, lambda: len(done) == 5)


def test_a_closed_owner_is_not_told_and_its_result_is_disposed_of(
    reactor: Reactor, make: Callable[..., Workers], gate: Gate
) -> None:
    workers = make(1)
    told: List[str] = []
    gone, here = Session(), Session()
    for name, owner in (("gone", gone), ("here", here)):
        workers.submit(
            gate.hold,
            lambda result, error, name=name: told.append(f"{name}: then"),  # type: ignore[misc]
            owner=owner,
            dispose=lambda result, name=name: told.append(f"{name}: dispose {result}"),  # type: ignore[misc]
        )
    gone.closed = True
    gate.open()
    spin(reactor, lambda: len(told) == 2)
    assert told == ["gone: dispose lwsws-worker-1", "here: then"]


def test_an_owner_that_closes_in_the_same_pass(
    reactor: Reactor, make: Callable[..., Workers], gate: Gate
) -> None:
    """The first result closes the owner of the second one, which is there already."""
    workers = make(1)
    owner = Session()
    told: List[str] = []
    last = threading.Event()

    def close(result: Optional[str], error: Optional[Exception]) -> None:
        owner.closed = True

    workers.submit(gate.hold, close)
    workers.submit(
        lambda: 1,
        lambda result, error: told.append("then"),
        owner,
        lambda result: told.append("dispose"),
    )
    workers.submit(last.set, lambda result, error: None)
    gate.open()
    assert last.wait(PATIENCE_SECONDS)
    spin(reactor, lambda: bool(told))
    assert told == ["dispose"]


def test_the_failed_job_of_a_closed_owner_has_nothing_to_dispose_of(
    reactor: Reactor, make: Callable[..., Workers]
) -> None:
    workers = make(1)
    owner = Session()
    owner.closed = True
    told: List[str] = []
    workers.submit(
        lambda: 1 // 0,
        lambda result, error: told.append("then"),
        owner,
        lambda result: told.append("dispose"),
    )
    workers.submit(lambda: None, lambda result, error: told.append("next"))
    spin(reactor, lambda: bool(told))
    assert told == ["next"]


def test_a_fault_in_then_does_not_stop_the_others(
    reactor: Reactor, make: Callable[..., Workers], capfd: pytest.CaptureFixture[str]
) -> None:
    workers = make(1)
    told: List[int] = []

    def faulty(result: Optional[int], error: Optional[Exception]) -> None:
        raise ValueError("out of order")

    for _ in range(3):
        workers.submit(lambda: 1, faulty)
    workers.submit(lambda: 2, lambda result, error: told.append(2))
    spin(reactor, lambda: bool(told))
    assert capfd.readouterr().err.count("ValueError: out of order") == 3


def test_results_are_bounded_in_a_pass(reactor: Reactor, make: Callable[..., Workers]) -> None:
    """LESSONS 3.39."""
    workers = make(1)
    done: List[int] = []
    last = threading.Event()
    for _ in range(MAX_RESULTS + 10):
        workers.submit(lambda: 1, lambda result, error: done.append(1))
    workers.submit(last.set, lambda result, error: done.append(2))
    assert last.wait(PATIENCE_SECONDS)
    reactor.run_once(PATIENCE_SECONDS)
    assert len(done) == MAX_RESULTS
    spin(reactor, lambda: done[-1] == 2)
    assert len(done) == MAX_RESULTS + 11


def test_then_may_submit_the_next_job(reactor: Reactor, make: Callable[..., Workers]) -> None:
    workers = make(1)
    done: List[int] = []

    def then(result: Optional[int], error: Optional[Exception]) -> None:
        done.append(1)
        if len(done) < 5:
            workers.submit(lambda: 1, then)

    workers.submit(lambda: 1, then)
    spin(reactor, lambda: len(done) == 5)


def test_a_job_that_calls_exit_is_answered_and_the_pool_works_on(
    reactor: Reactor, make: Callable[..., Workers]
) -> None:
    workers = make(1)
    outcomes: List[Outcome] = []

    def then(result: object, error: Optional[Exception]) -> None:
        outcomes.append((result, error))

    def cancel() -> None:
        raise CancelledError

    for job in (sys.exit, cancel, sys.exit):
        workers.submit(job, then)
        spin(reactor, lambda: isinstance(outcomes[-1:] and outcomes[-1][1], JobAborted))
        outcomes.clear()
    workers.submit(lambda: 5, then)
    spin(reactor, lambda: bool(outcomes))
    assert outcomes == [(5, None)]


def test_stop_waits_for_jobs_and_drops_those_not_begun(
    reactor: Reactor, make: Callable[..., Workers], gate: Gate, selector: CountingSelector
) -> None:
    workers = make(1)
    told: List[str] = []
    begun = threading.Event()
    workers.submit(
        gate.hold,
        lambda result, error: told.append("then"),
        dispose=lambda result: told.append(f"dispose {result}"),
    )
    workers.submit(begun.set, lambda result, error: told.append("not begun"))
    gate.wait_for(1)
    assert workers.stop(0.0) is False
    gate.open()
    assert workers.stop(PATIENCE_SECONDS) is True
    settle(reactor)
    assert not begun.is_set()
    assert told == ["dispose lwsws-worker-1"]
    with pytest.raises(Overloaded):
        workers.submit(gate.hold, lambda result, error: None)


def test_stopping_an_unused_pool(make: Callable[..., Workers]) -> None:
    workers = make(4)
    assert workers.stop(0.0) is True
    assert workers.stop(0.0) is True


def test_no_thread_to_be_had(
    reactor: Reactor,
    make: Callable[..., Workers],
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Without any thread a job would never be done; with one the others can be done without."""
    real_start = threading.Thread.start
    refuse = [True]

    def start(thread: threading.Thread) -> None:
        if refuse[0]:
            raise RuntimeError("can't start new thread")
        real_start(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    workers = make(2)
    done: List[Optional[str]] = []

    def then(name: Optional[str], error: Optional[Exception]) -> None:
        done.append(name)

    with pytest.raises(Overloaded):
        workers.submit(gate.hold, then)
    refuse[0] = False
    workers.submit(gate.hold, then)
    gate.wait_for(1)
    refuse[0] = True
    workers.submit(gate.hold, then)
    gate.open()
    spin(reactor, lambda: len(done) == 2)
    assert done == ["lwsws-worker-1"] * 2
    assert "cannot start lwsws-worker-2, 1 threads do the work" in capfd.readouterr().err


# Calls from threads, and pools beside others.


def test_a_thread_has_the_reactor_call(reactor: Reactor, make: Callable[..., Workers]) -> None:
    """Also one that is none of the pool's, before there was any job."""
    workers = make(1)
    names: List[str] = []

    def say() -> None:
        workers.call(lambda: names.append(threading.current_thread().name))

    thread = threading.Thread(target=say)
    thread.start()
    spin(reactor, lambda: bool(names))
    thread.join(PATIENCE_SECONDS)
    assert names == [threading.current_thread().name]


def test_what_a_job_says_comes_in_order_and_before_its_result(
    reactor: Reactor, make: Callable[..., Workers]
) -> None:
    workers = make(1)
    told: List[Any] = []

    def job() -> str:
        for number in range(MAX_RESULTS + 10):
            workers.call(functools.partial(told.append, number))
        return "result"

    workers.beside(1, "other").submit(job, lambda result, error: told.append(result))
    spin(reactor, lambda: "result" in told)
    assert told == [*range(MAX_RESULTS + 10), "result"]


def test_a_faulty_call_harms_nobody(reactor: Reactor, make: Callable[..., Workers],
                                    capfd: pytest.CaptureFixture[str]) -> None:
    workers = make(1)
    told: List[str] = []
    workers.call([].pop)
    workers.call(lambda: told.append("next"))
    spin(reactor, lambda: bool(told))
    assert "IndexError" in capfd.readouterr().err


def test_a_pool_beside_another(reactor: Reactor, make: Callable[..., Workers], gate: Gate) -> None:
    """Its jobs do not hold up the others', and are counted with them."""
    workers = make(1)
    slow = workers.beside(2, "slow")
    names: List[Optional[str]] = []
    for _ in range(3):
        slow.submit(gate.hold, lambda name, error: names.append(name))
    gate.wait_for(2)
    workers.submit(lambda: threading.current_thread().name, lambda name, error: names.append(name))
    spin(reactor, lambda: bool(names))
    assert names == ["lwsws-worker-1"]
    assert (workers.threads, workers.busy, workers.waiting) == (3, 2, 1)
    gate.open()
    spin(reactor, lambda: len(names) == 4)
    assert set(names[1:]) <= {"lwsws-slow-1", "lwsws-slow-2"}


def test_stop_ends_the_pools_beside_it(reactor: Reactor, make: Callable[..., Workers], gate: Gate) -> None:
    workers = make(1)
    slow = workers.beside(1, "slow")
    told: List[str] = []
    for _ in range(2):
        slow.submit(gate.hold, lambda name, error: told.append("then"), None, told.append)
    gate.wait_for(1)
    assert workers.stop(0.0) is False
    gate.open()
    assert workers.stop(PATIENCE_SECONDS) is True
    assert told == ["lwsws-slow-1"]     # disposed of; the second one never began
    workers.call(lambda: told.append("called"))
    settle(reactor)
    assert told == ["lwsws-slow-1"]
    with pytest.raises(Overloaded):
        slow.submit(lambda: None, lambda result, error: None)
