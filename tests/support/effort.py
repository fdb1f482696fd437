"""Measures how the effort of some work grows with the size of its input, to tell linear from quadratic.

No time limits in seconds, which fail on a busy machine and pass on a fast one: the work is done for a
size and for a multiple of it, each several times, and the best times are compared.
"""

from __future__ import annotations

from time import process_time
from typing import Callable

FACTOR = 8
# Linear work gives about FACTOR, quadratic about FACTOR squared; between them is room for noise.
LINEAR = FACTOR * 3


def growth(work: Callable[[int], object], size: int, tries: int = 5) -> float:
    """How many times longer `work(FACTOR * size)` takes than `work(size)`."""
    return _best(work, FACTOR * size, tries) / _best(work, size, tries)


def _best(work: Callable[[int], object], size: int, tries: int) -> float:
    times = []
    for _ in range(tries):
        begin = process_time()
        work(size)
        times.append(process_time() - begin)
    return min(times)
