"""The wake-up socketpair and the signals that come through it."""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import Iterator, List

import pytest

from lwsws.net.wakeup import Signals, Wakeup


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    """An open one."""
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


def is_readable(wakeup: Wakeup) -> bool:
    """Whether the reactor would see it."""
    return bool(select.select([wakeup], [], [], 0)[0])


def test_waking_makes_it_readable_until_drained(wakeup: Wakeup) -> None:
    assert not is_readable(wakeup)
    assert wakeup.drain() == b""
    wakeup.wake()
    wakeup.wake()
    assert is_readable(wakeup)
    assert wakeup.drain() == b"\0\0"
    assert not is_readable(wakeup)


def test_full_is_fine(wakeup: Wakeup) -> None:
    for _ in range(10_000):
        wakeup.wake()
    assert is_readable(wakeup)
    drained = 0
    while is_readable(wakeup):
        drained += len(wakeup.drain())
    assert 0 < drained < 10_000
    wakeup.wake()
    assert is_readable(wakeup)


def test_waking_from_another_thread(wakeup: Wakeup) -> None:
    thread = threading.Thread(target=wakeup.wake)
    thread.start()
    assert select.select([wakeup], [], [], 10)[0]
    thread.join()


def test_waking_a_closed_one_is_harmless(wakeup: Wakeup) -> None:
    wakeup.close()
    wakeup.wake()


class TestSignals:
    """On the main thread, where pytest runs us."""

    def test_each_signal_is_told_once(self) -> None:
        signals = Signals()
        signals.catch(signal.SIGUSR2)
        signals.catch(signal.SIGUSR1)
        for signum in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR1):
            os.kill(os.getpid(), signum)
        assert is_readable(signals.wakeup)
        assert signals.take() == [signal.SIGUSR1, signal.SIGUSR2]
        assert signals.take() == []
        assert not is_readable(signals.wakeup)
        signals.close()

    def test_no_signal_is_lost_when_the_socketpair_is_full(self) -> None:
        signals = Signals()
        signals.catch(signal.SIGUSR1)
        for _ in range(10_000):
            signals.wakeup.wake()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert is_readable(signals.wakeup)
        assert signals.take() == [signal.SIGUSR1]
        signals.close()

    def test_close_restores_what_was_there(self) -> None:
        before: List[int] = []
        other = Wakeup()
        old_handler = signal.signal(signal.SIGUSR1, lambda signum, frame: before.append(signum))
        old_fd = signal.set_wakeup_fd(other.sender_fileno())
        signals = Signals()
        signals.catch(signal.SIGUSR1)
        signals.catch(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (before, signals.take()) == ([], [signal.SIGUSR1])
        signals.close()
        assert not is_readable(other)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert before == [signal.SIGUSR1]
        assert signal.set_wakeup_fd(old_fd) == other.sender_fileno()
        assert is_readable(other)
        signal.signal(signal.SIGUSR1, old_handler)
        other.close()
