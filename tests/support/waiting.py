"""Waiting for something: looked for again and again, up to a limit."""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from lwsws.net.reactor import Reactor

# Between two looks: short against what is waited for, long enough to leave the CPU to the others.
PAUSE_SECONDS = 0.01
# Of a reactor in this process: each pass waits a little for the kernel, so they are many only if one fails.
PASSES, PASS_SECONDS = 500, 0.02


def wait_until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Return as soon as `condition()` is true; AssertionError with `what` if it is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(PAUSE_SECONDS)


def run_until(reactor: Reactor, condition: Callable[[], object]) -> None:
    """Run `reactor` until `condition()` is true; AssertionError if it is not after PASSES."""
    for _ in range(PASSES):
        if condition():
            return
        reactor.run_once(PASS_SECONDS)
    raise AssertionError("the condition never came to hold")


def exit_code(process: subprocess.Popen[Any], seconds: float) -> int:
    """The exit code of `process` once it has ended; subprocess.TimeoutExpired after `seconds`.

    Popen.wait() looks now and then, up to 50 ms apart; this one is told at once, if the kernel can (5.3).
    """
    if process.returncode is None:  # or its number could be somebody else's by now
        with suppress(OSError):
            fd = os.pidfd_open(process.pid)
            try:
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(seconds * 1000)
            finally:
                os.close(fd)
            seconds = 0.0
    return process.wait(seconds)
