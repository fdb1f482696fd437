"""Waiting for something that another process does: looked for again and again, up to a limit in time."""

from __future__ import annotations

import time
from typing import Callable

# Between two looks: short against what is waited for, long enough to leave the CPU to the others.
PAUSE_SECONDS = 0.01


def wait_until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Return as soon as `condition()` is true; AssertionError with `what` if it is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(PAUSE_SECONDS)
