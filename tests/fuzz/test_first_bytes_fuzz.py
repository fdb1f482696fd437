"""Random beginnings of connections: what begins like HTTP is what the request reader may make a request of.

The two must agree, or a request would be sent to the fallback, or a fallback's client get an error page.
"""

from __future__ import annotations

import random

import pytest

from lwsws.wire.first_bytes import begins_like_http
from lwsws.wire.http1_request import RequestReader
from lwsws.wire.request import METHODS
from tests.fuzz.test_http1_request_fuzz import BITS, random_input
from tests.support.fuzzing import BATCHES, CASES, damage, seeds, told
from tests.support.wire_cases import transcribe

# More than is ever looked at.
BEGINNING = 40


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_beginnings(batch: int) -> None:
    outcomes = {True: 0, False: 0, None: 0}
    for seed in seeds(batch):
        rand = random.Random(seed)
        data = damage(rand, random_input(rand)[: rand.choice((4, 20, 20, 1000))], BITS)
        with told(f"seed {seed}: {data!r}"):
            answer = begins_like_http(data)
            for size in range(BEGINNING):
                step = begins_like_http(data[:size])
                assert step is None or step is answer, size
            seen = transcribe(RequestReader(), [data], first_only=True)
            if seen.requests:
                assert answer is (seen.requests[0].method in METHODS)
            elif answer is None:
                # Nothing wrong so far.
                assert seen.fault is None
        outcomes[answer] += 1
    # The generator must go on meeting all answers.
    assert min(outcomes.values()) > CASES // BATCHES // 100, outcomes
