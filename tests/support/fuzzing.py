"""What the fuzz tests share: how many cases they try, what damage is, and how a failure tells its case.

LWSWS_FUZZ_CASES=1000000 in the environment runs more cases; a failure names the seed and the bytes.
"""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from typing import Iterator, List, Sequence

CASES = int(os.environ.get("LWSWS_FUZZ_CASES", "2000"))
BATCHES = 20


def seeds(batch: int) -> Iterator[str]:
    """The seeds of the cases in one of BATCHES."""
    return (f"{batch}.{number}" for number in range(CASES // BATCHES))


@contextmanager
def told(case: str) -> Iterator[None]:
    """Print `case` if it fails, whatever the failure is."""
    passed = False
    try:
        yield
        passed = True
    finally:
        if not passed:
            print(case)


def damage(rand: random.Random, data: bytes, bits: Sequence[bytes]) -> bytes:
    """`data` with something put in (one of `bits`, or any byte), taken out, doubled or replaced."""
    at = rand.randrange(len(data) + 1)
    to = min(len(data), at + rand.choice((0, 1, 1, 2, 10)))
    middle = rand.choice((b"", rand.choice(bits), data[at:to] * 2, bytes((rand.randrange(256),))))
    return data[:at] + middle + data[to:]


def perhaps_damaged(rand: random.Random, data: bytes, bits: Sequence[bytes]) -> bytes:
    """In half of the cases `data`, else a damaged copy, sometimes cut short."""
    if rand.random() < 0.5:
        return data
    for _ in range(rand.choice((1, 1, 2, 5))):
        data = damage(rand, data, bits) if rand.random() < 0.5 else changed(rand, data)
    return data[: rand.randrange(len(data) + 1)] if rand.random() < 0.1 else data


def changed(rand: random.Random, data: bytes) -> bytes:
    """`data` with one byte a little higher or lower, as a wrong length is."""
    if not data:
        return data
    at = rand.randrange(len(data))
    return data[:at] + bytes((data[at] + rand.choice((-1, 1, 128)) & 255,)) + data[at + 1 :]


def some_sizes(rand: random.Random, data: bytes, every: bool) -> List[int]:
    """How much of `data` may have come at one time or another: each size, or only a few."""
    sizes = range(len(data) + 1)
    return list(sizes) if every else sorted(rand.choices(sizes, k=4))
