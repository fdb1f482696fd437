"""Measures how the effort of some work grows with the size of its input, to tell linear from quadratic.

No time limits in seconds, which fail on a busy machine and pass on a fast one: the work is done for a
size and for a multiple of it, and the best times are compared.
"""

from __future__ import annotations

from time import process_time
from typing import Callable

FACTOR = 8
# Linear work gives about FACTOR, quadratic about FACTOR squared; between them is room for noise.
LINEAR = FACTOR * 3
# A busy machine is given so many chances to show its best.
ROUNDS = 8


def growth(work: Callable[[int], object], size: int) -> float:
    """How many times longer `work(FACTOR * size)` takes than `work(size)`."""
    ratio = small = big = float("inf")
    for _ in range(ROUNDS):
        small = min(small, _seconds(work, size))
        big = min(big, _seconds(work, FACTOR * size))
        ratio = big / small
        if ratio < LINEAR:
            break
    return ratio


def _seconds(work: Callable[[int], object], size: int) -> float:
    begin = process_time()
    work(size)
    return process_time() - begin
