"""A clock for tests that moves only when told to, so that no test ever waits for time to pass."""

from __future__ import annotations


class ManualClock:
    """Called for the time in seconds, like `time.monotonic`."""

    def __init__(self, start: float = 1000.0) -> None:
        self.time = start

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.time += seconds
