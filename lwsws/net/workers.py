"""The worker pool: what would block the reactor is done by threads, and its result comes back to the reactor.

A job is a function of plain values that returns a plain value; it never touches the reactor's objects.
Queue and results are deques; the condition is held only to take a job or to put one in.  Results are
delivered in the order in which the jobs ended, a bounded number per pass.  A job that has something to say
before it ends does so by call(), the one thing here for any thread; what one thread says arrives in order,
its result last.

A pool can have others beside it (beside()), for jobs that may wait for long and must not hold up those of
the server.  They deliver by the same way, and end with it.

Threads start one by one as jobs find no idle one, so a server that never has a job never has a thread.
They are no daemons: a job in the middle of writing a file is not torn apart at exit, unless the process
is ended by force because stop() did not succeed in its time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Callable, Deque, List, Optional, Protocol, TypeVar, Union

from lwsws import log
from lwsws.net.reactor import READ, Reactor
from lwsws.net.wakeup import Wakeup

T = TypeVar("T")

# Jobs that wait for a thread.  At 50 ms a job and four threads this is a quarter of a minute of work; whoever
# came later would not wait for his answer anyway.
QUEUE_LIMIT = 1024
# Results delivered in one pass; the other connections come before the rest.
MAX_RESULTS = 64


class Overloaded(Exception):
    """The queue is full, or the pool was stopped; worth a 503."""


class JobAborted(Exception):
    """The job tried to end its thread, as by sys.exit()."""


class Owner(Protocol):
    """Who wants the result; once closed, nobody does."""

    @property
    def closed(self) -> bool:
        """Whether the result is of no use any more."""


class Task:
    """A job, whom to tell, and then what came out of it."""

    __slots__ = ("job", "then", "owner", "dispose", "result", "error")

    def __init__(
        self,
        job: Callable[[], Any],
        then: Callable[[Any, Optional[Exception]], None],
        owner: Optional[Owner],
        dispose: Optional[Callable[[Any], None]],
    ) -> None:
        self.job = job
        self.then = then
        self.owner = owner
        self.dispose = dispose
        self.result: Any = None
        self.error: Optional[Exception] = None

    def run(self) -> None:
        """Do the job and note its outcome; on a worker thread."""
        try:
            self.result = self.job()
        except BaseException as exc:
            # Such as SystemExit would end the thread, and nobody would know.
            if isinstance(exc, Exception):
                self.error = exc
            else:
                self.error = JobAborted(f"the job was ended by {exc!r}")
                self.error.__cause__ = exc

    def discard(self) -> None:
        """Nobody wants the result: get rid of what it holds."""
        if self.dispose is not None and self.error is None:
            self.dispose(self.result)


Action = Callable[[], None]


class Returns:
    """What the threads of some pools have for the reactor: results of jobs, and calls.

    The wakeup is made when it is first needed, so a server whose pools do nothing does without.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._done: Deque[Union[Task, Action]] = deque()
        self._lock = threading.Lock()   # guards what follows
        self._wakeup: Optional[Wakeup] = None
        self._closed = False

    def open(self) -> None:
        """Be ready to be told something.  From any thread: a selector can be added to while it waits."""
        with self._lock:
            if self._wakeup is None and not self._closed:
                wakeup = Wakeup()
                self._reactor.watch(wakeup, READ, self._woken)
                self._wakeup = wakeup

    def put(self, done: Union[Task, Action]) -> None:
        """Have the reactor deliver `done`, or call it; from any thread.  What comes after close() waits for
        another close()."""
        self._done.append(done)
        if self._wakeup is None:
            self.open()
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.wake()

    def close(self) -> None:
        """Deliver nothing any more, and dispose of the results."""
        with self._lock:
            self._closed = True
            wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._reactor.unwatch(wakeup)
            wakeup.close()
        while self._done:
            done = self._done.popleft()
            if isinstance(done, Task):
                self._reactor.guarded(done.discard)

    def _woken(self, mask: int) -> None:
        wakeup = self._wakeup
        if wakeup is None:
            return
        wakeup.drain()
        for _ in range(MAX_RESULTS):
            if not self._done:
                return
            self._deliver(self._done.popleft())
        if self._done:
            wakeup.wake()

    def _deliver(self, done: Union[Task, Action]) -> None:
        if not isinstance(done, Task):
            self._reactor.guarded(done)
        elif done.owner is not None and done.owner.closed:
            self._reactor.guarded(done.discard)
        else:
            # The error knows the frame it came from and that knows the task: no circle, please.
            error, done.error = done.error, None
            self._reactor.guarded(done.then, done.result, error)


class Workers:
    """A pool of at most `count` threads.  Its methods, but for call(), are for the reactor's thread."""

    def __init__(self, reactor: Reactor, count: int, queue_limit: int = QUEUE_LIMIT, name: str = "worker",
                 returns: Optional[Returns] = None) -> None:
        """`returns` are those of the pool that it stands beside, if there is one; `name` is that of its
        threads."""
        self._reactor = reactor
        self._count = count
        self._queue_limit = queue_limit
        self._name = name
        self._returns = Returns(reactor) if returns is None else returns
        self._beside: List[Workers] = []
        self._names = 0  # threads that were ever started
        # The condition guards what follows.
        self._condition = threading.Condition()
        self._jobs: Deque[Task] = deque()
        self._threads: List[threading.Thread] = []
        self._busy = 0  # threads that have a job
        self._stopping = False

    @property
    def threads(self) -> int:
        """How many threads there are, with those of the pools beside it."""
        return len(self._threads) + sum(pool.threads for pool in self._beside)

    @property
    def busy(self) -> int:
        """How many of them have a job."""
        return self._busy + sum(pool.busy for pool in self._beside)

    @property
    def waiting(self) -> int:
        """How many jobs no thread has begun."""
        return len(self._jobs) + sum(pool.waiting for pool in self._beside)

    def beside(self, count: int, name: str, queue_limit: int = QUEUE_LIMIT) -> Workers:
        """Another pool, of at most `count` threads called `name`, that is stopped with this one."""
        pool = Workers(self._reactor, count, queue_limit, name, self._returns)
        self._beside.append(pool)
        return pool

    def call(self, fn: Action) -> None:
        """Have the reactor call `fn`, in a later turn.  For any thread; nothing happens after stop()."""
        self._returns.put(fn)

    def submit(
        self,
        job: Callable[[], T],
        then: Callable[[Optional[T], Optional[Exception]], None],
        owner: Optional[Owner] = None,
        dispose: Optional[Callable[[T], None]] = None,
    ) -> None:
        """Have a thread call `job` and the reactor call `then(result, None)` or `then(None, error)`.

        If `owner` is closed by then, `dispose(result)` is called instead, where there is a result.
        Overloaded if too many jobs wait, if no thread can be started, and after stop().
        """
        if self._stopping or len(self._jobs) >= self._queue_limit:
            raise Overloaded(f"{len(self._jobs)} jobs are waiting")
        self._returns.open()
        with self._condition:
            free = len(self._threads) - self._busy
            lacking = free <= len(self._jobs) and len(self._threads) < self._count
        if lacking:
            self._start_thread()
        with self._condition:
            self._jobs.append(Task(job, then, owner, dispose))
            self._condition.notify()

    def stop(self, timeout: float) -> bool:
        """Forget the jobs that no thread has begun, wait at most `timeout` seconds for the others, those of
        the pools beside this one too.

        Their results are disposed of.  Returns whether all threads have ended; if not, the interpreter would
        wait for them at its exit.
        """
        threads = self._end_threads()
        give_up = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        self._returns.close()
        return not any(thread.is_alive() for thread in threads)

    def _end_threads(self) -> List[threading.Thread]:
        """Let no thread take another job; returns all of them."""
        with self._condition:
            self._stopping = True
            self._jobs.clear()
            self._condition.notify_all()
            threads = list(self._threads)
        for pool in self._beside:
            threads += pool._end_threads()
        return threads

    # -- on the reactor's thread

    def _start_thread(self) -> None:
        name = f"lwsws-{self._name}-{self._names + 1}"
        thread = threading.Thread(target=self._work, name=name)
        with self._condition:
            self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError as exc:  # the system has no more threads for us
            with self._condition:
                self._threads.remove(thread)
                remaining = len(self._threads)
            log.warn(f"workers: cannot start {name}, {remaining} threads do the work: {exc}")
            if not remaining:
                raise Overloaded(str(exc)) from exc
            return
        self._names += 1

    # -- on the worker's thread

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """Wait for a job and do it; False if there will be none any more."""
        task = self._take()
        if task is None:
            return False
        task.run()
        with self._condition:
            self._busy -= 1  # before the result is known, so that the next job need not start a thread
        self._returns.put(task)
        return True

    def _take(self) -> Optional[Task]:
        with self._condition:
            while not self._jobs:
                if self._stopping:
                    return None
                self._condition.wait()
            self._busy += 1
            return self._jobs.popleft()
