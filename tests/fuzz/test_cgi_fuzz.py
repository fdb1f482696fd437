"""Seeded random and damaged output of programs against the reader of it.

Whatever the bytes are and wherever they are cut, the same comes of them, and nothing that could harm the
answer to the client: no framing of the program's, no control character, never more than its Content-Length.
"""

from __future__ import annotations

import random
from typing import Dict, List

import pytest

from lwsws.wire.cgi import DROPPED
from lwsws.wire.http1_write import response_head
from tests.support.cgi_output import Output, read_pieces
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, told
from tests.support.wire_cases import byte_by_byte

CASES_BYTE_BY_BYTE = 3

LINES = (
    *(b"Content-Type: text/plain", b"Content-Type: a", b"Location: /x", b"Location: http://a.example/"),
    *(b"Status: 200 OK", b"Status: 404", b"Status: 304", b"HTTP/1.1 200 OK", b"X-A: 1", b"Cookie: a=\xe9"),
    *(b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close"),
)
BODIES = (b"", b"hello", b"hello world", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"\n\n", b"\r\n" * 3)
BITS = (b"\r\n", b"\n", b"\r", b":", b" ", b"\0", b"\xff", b"Content-Length: 5\n", b"\n\n", *LINES[:4])


def random_output(rand: random.Random) -> bytes:
    """What a program may write."""
    end = rand.choice((b"\n", b"\r\n"))
    lines = rand.sample(LINES, rand.randrange(1, 4))
    return b"".join(line + end for line in lines) + end + rand.choice(BODIES)


def random_pieces(rand: random.Random, data: bytes) -> List[bytes]:
    """`data` cut at some places."""
    cuts = sorted(rand.choices(range(len(data) + 1), k=rand.choice((1, 2, 5))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]


def check(output: Output, outcomes: Dict[str, int]) -> None:
    """What the handler relies on."""
    assert output.ended == (not output.fault)
    assert not output.fault.startswith("wrong")
    outcomes["sound" if output.ended else "fault"] += 1
    head = output.head
    if head is None:
        assert output.fault and not output.body
        return
    assert 200 <= head.status <= 599
    assert not DROPPED.intersection(name.lower() for name, _ in head.fields)
    response_head(head.status, head.fields, reason=head.reason)     # raises for what may not be sent
    if head.length is not None:
        assert len(output.body) <= head.length
        assert output.fault or not output.body or len(output.body) == head.length
    if head.local:
        assert head.local.startswith("/") and not output.body and not head.fields


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_output(batch: int) -> None:
    outcomes = {"sound": 0, "fault": 0}
    for number, seed in enumerate(seeds(batch)):
        rand = random.Random(seed)
        method = rand.choice(("GET", "GET", "POST", "HEAD"))
        data = perhaps_damaged(rand, random_output(rand), BITS)
        with told(f"seed {seed}: {method} {data!r}"):
            output = read_pieces([data], method)
            check(output, outcomes)
            assert read_pieces(random_pieces(rand, data), method) == output
            if number % CASES_BYTE_BY_BYTE == 0:
                assert read_pieces(byte_by_byte(data), method) == output
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 8, outcomes
