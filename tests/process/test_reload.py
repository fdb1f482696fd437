"""`lwsws --reload PID`, with this process in the place of the server's parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from lwsws.net.outcome import AGAIN, DONE, NOT_DONE, OutcomeListener, announce
from tests.support.source import ROOT

COMMAND = [sys.executable, str(ROOT / "lwsws.py"), "--reload"]


@pytest.fixture(autouse=True)
def name() -> Iterator[None]:
    """As the parent is called."""
    comm = Path("/proc/self/comm")
    before = comm.read_text()
    comm.write_text("lwsws")
    yield
    comm.write_text(before)


@pytest.fixture
def hups() -> Iterator[threading.Semaphore]:
    """Is released once for each SIGHUP."""
    seen = threading.Semaphore(0)
    before = signal.signal(signal.SIGHUP, lambda signum, frame: seen.release())
    yield seen
    signal.signal(signal.SIGHUP, before)


def ask(hups: threading.Semaphore, outcomes: List[Tuple[str, str]]) -> Tuple[int, str, str]:
    """What the command does when it is told these outcomes: exit code, output, errors."""
    with subprocess.Popen([*COMMAND, str(os.getpid())], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        assert hups.acquire(timeout=20)
        for word, text in outcomes:
            announce(os.getpid(), word, text)
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err


def test_it_went_well(hups: threading.Semaphore) -> None:
    assert ask(hups, [(DONE, "generation 2 serves")]) == (0, "generation 2 serves\n", "")


def test_it_failed(hups: threading.Semaphore) -> None:
    assert ask(hups, [(NOT_DONE, "a reason")]) == (1, "", "lwsws: reload failed: a reason\n")


def test_the_end_of_the_reload_before_is_not_taken_for_ours(hups: threading.Semaphore) -> None:
    assert ask(hups, [(AGAIN, "generation 2 serves"), (NOT_DONE, "a reason")])[0] == 1


def reload(pid: int) -> Tuple[int, str]:
    """Exit code and errors of the command."""
    done = subprocess.run([*COMMAND, str(pid)], capture_output=True, text=True, check=False, timeout=20)
    return done.returncode, done.stderr


def test_no_such_process() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert reload(process.pid) == (1, f"lwsws: reload failed: there is no process {process.pid}\n")


@pytest.mark.parametrize("name, why", [
    ("python3", "is not the parent process of lwsws"),
    ("lwsws-1.0", "is a serving process: the number of its parent, lwsws, is needed"),
])
def test_a_process_of_another_kind_gets_no_signal(name: str, why: str) -> None:
    Path("/proc/self/comm").write_text(name)
    assert reload(os.getpid()) == (1, f"lwsws: reload failed: process {os.getpid()} {why}\n")


def test_somebody_else_waits_as_well(hups: threading.Semaphore) -> None:
    listener = OutcomeListener(os.getpid())
    try:
        assert ask(hups, [(DONE, "x")])[0] == 0
        assert listener.wait(5) == (DONE, "x")
    finally:
        listener.close()
