"""Seeded random and mutated answers against the response reader, without sockets.

Whatever they are, the reader

* raises RemoteProtocolError 502 or nothing, and after that says nothing more;
* gives the same for the whole, for random pieces and byte by byte;
* gives out only answers whose end is beyond doubt.
"""

from __future__ import annotations

import random
import re
from typing import List

import pytest

from lwsws.wire.http1_response import MAX_INTERIMS, Limits, Response, ResponseReader
from tests.support.answer_cases import OK, Answer, read_answer
from tests.support.fuzzing import BATCHES, CASES, damage, told
from tests.support.wire_cases import byte_by_byte

TIGHT = Limits(line_bytes=40, head_bytes=120, header_count=4, chunk_line=12, trailer_bytes=24)
CASES_BETWEEN_SINGLE_BYTES = 5

STARTS = (
    *(b"HTTP/1.1 200 OK",) * 5, b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 404", b"HTTP/1.1 599 ", b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 200 O\tK \xe9",
)
BAD_STARTS = (b"HTTP/1.1 20 OK", b"HTTP/1.1 600 x", b"HTTP/2 200", b"ICY 200 OK", b"HTTP/1.1  200 OK", b"",
              b"HTTP/1.1")
FIELDS = (
    b"Content-Type: text/html", b"Connection: close", b"Connection: keep-alive, x", b"Set-Cookie: a=b",
    b"Set-Cookie: c=d",
    b"X-Empty:", b"Server:  a  b \t", b"X: \x80\xff", b"x_under: score",
)
BAD_FIELDS = (
    b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 5, 5", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip", b" folded", b"X : y", b": y", b"colonless",
    b"Content-Length: 99999999999999999999",
)
CHUNKS = (b"5\r\nhello\r\n", b"1\r\nx\r\n", b"a;x=y\r\n0123456789\r\n", b"003\r\n\r\n\r\r\n")
LAST_CHUNKS = (b"0\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n", b"0\r\n\r\n", b"0\r\nX\r\n\r\n", b"0x0\r\n\r\n")
INTERIMS = (b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") * 4 + (b"HTTP/1.0 100 x\r\n\r\n",)
BITS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\r\n\r\n", b"\r\n ", b"\x0b", b"\x7f", b"\x80", b"0",
      b"x" * 50),
    *(b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n", OK,
      b"HTTP/1.1 100 x\r\n\r\n"),
)


def random_answer(rand: random.Random) -> bytes:
    """An answer that is well-formed more often than not, perhaps with something in front or behind."""
    fields = rand.choices(FIELDS, k=rand.randrange(4))
    if rand.random() < 0.15:
        fields.append(rand.choice(BAD_FIELDS))
    kind, body = rand.random(), b""
    if kind < 0.4:
        body = bytes(rand.choices(b"ab\r\n0\x00", k=rand.randrange(40)))
        fields.append(b"Content-Length: %d" % len(body))
    elif kind < 0.8:
        body = b"".join(rand.choices(CHUNKS, k=rand.randrange(4))) + rand.choice(LAST_CHUNKS)
        fields.append(b"Transfer-Encoding: chunked")
    rand.shuffle(fields)
    start = rand.choice(STARTS if rand.random() < 0.9 else BAD_STARTS)
    interims = rand.choices(INTERIMS, k=rand.choice((0, 0, 0, 0, 1, 2)))
    if rand.random() < 0.05:
        interims = [INTERIMS[0]] * (MAX_INTERIMS + rand.randrange(2))
    return b"".join(interims) + b"\r\n".join([start, *fields, b"", body]) + rand.choice((b"", b"", b"", OK,
                                                                                         b"x"))


def random_input(rand: random.Random) -> bytes:
    data = random_answer(rand)
    if rand.random() < 0.5:
        for _ in range(rand.choice((1, 1, 2, 5))):
            data = damage(rand, data, BITS)
    return data[: rand.randrange(len(data) + 1)] if rand.random() < 0.1 else data


def cut(rand: random.Random, data: bytes) -> List[bytes]:
    places = sorted(rand.randrange(len(data) + 1) for _ in range(rand.randrange(1, 6)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)])]


def check_response(response: Response, seen: Answer, method: str) -> None:
    """What everybody above relies on."""
    assert 200 <= response.status <= 599 or response.status == 101
    assert re.fullmatch(r"[\t -~\x80-\xff]*", response.reason)
    for name, value in response.headers.items:
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        assert re.fullmatch(r"([!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?)?", value)
    lengths, codings = response.headers.all("content-length"), response.headers.all("transfer-encoding")
    assert len(lengths) + len(codings) <= 1
    assert response.chunked == bool(codings)
    assert response.content_length == (int(lengths[0]) if lengths else None)
    if method == "HEAD" or response.status in (101, 204, 304):
        assert seen.body == b""
        assert not response.has_body
    elif lengths:
        assert len(seen.body) <= int(lengths[0])
        assert seen.ended == (len(seen.body) == int(lengths[0]))


def check_case(rand: random.Random, data: bytes, *, single_bytes: bool) -> Answer:
    limits = TIGHT if rand.random() < 0.2 else Limits()
    method = rand.choice(("GET", "GET", "POST", "HEAD"))
    upgrade, eof = rand.random() < 0.2, rand.random() < 0.5
    reader = ResponseReader(method, limits, upgrade=upgrade)
    seen = read_answer(reader, [data], eof=eof)
    for pieces in (cut(rand, data), byte_by_byte(data))[: 1 + single_bytes]:
        again = read_answer(ResponseReader(method, limits, upgrade=upgrade), pieces, eof=eof)
        assert again.summary() == seen.summary(), pieces
    if seen.fault is not None:
        assert seen.fault[0] == 502
        assert not reader.reusable
        assert read_answer(reader, [OK], eof=True).summary() == ([], [], b"", False, None)
    assert reader.done == (seen.ended or any(response.status == 101 for response in seen.responses))
    assert len(seen.interims) <= MAX_INTERIMS
    for response in seen.responses:
        check_response(response, seen, method)
        if reader.reusable:
            assert not eof
            assert data.endswith(seen.body) or response.chunked
    return seen


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_answers(batch: int) -> None:
    outcomes = {"complete": 0, "fault": 0}
    for number in range(CASES // BATCHES):
        seed = f"{batch}.{number}"
        rand = random.Random(seed)
        data = random_input(rand)
        with told(f"seed {seed}: {data!r}"):
            seen = check_case(rand, data, single_bytes=number % CASES_BETWEEN_SINGLE_BYTES == 0)
        outcomes["complete"] += seen.ended
        outcomes["fault"] += seen.fault is not None
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 5, outcomes
