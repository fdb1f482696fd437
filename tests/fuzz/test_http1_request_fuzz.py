"""Seeded random and mutated requests against the request reader, without sockets.

Each case is a few hundred bytes: well-formed requests put together from parts, then damaged in ways that
requests are damaged by attackers and by the network.  Whatever they are, the reader

* raises RemoteProtocolError or nothing, and after that says and reads nothing more;
* gives the same events for the whole, for random pieces, and byte by byte;
* gives out only requests that keep the promises of its documentation, and the bodies they announce.
"""

from __future__ import annotations

import random
import re
from typing import Callable, List, Tuple

import pytest

from lwsws.wire.http1_fields import parse_fields
from lwsws.wire.http1_request import Limits, Request, RequestReader
from tests.support.effort import LINEAR, growth
from tests.support.fuzzing import BATCHES, CASES, damage, told
from tests.support.wire_cases import GET, Transcript, byte_by_byte, head, transcribe

# A case of byte by byte costs as much as ten others.
CASES_BETWEEN_SINGLE_BYTES = 5

# Small enough to be met by many cases.
TIGHT = Limits(line_bytes=60, head_bytes=160, header_count=5, chunk_line=12, trailer_bytes=24)
TIGHT_BODY = 20

METHODS = (b"GET", b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"get", b"M-SEARCH", b"x" * 33)
TARGETS = (
    *(b"/", b"/index.html", b"/a/b?c=d", b"/%2e%2e/x", b"/..//../x", b"/gr\xc3\xbc", b"/" + b"x" * 50, b"*"),
    *(b"http://b.example:81/x", b"http://", b"/a%00", b"/%zz", b"/a#b", b"/\xff", b"a", b""),
)
VERSIONS = (
    *(b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"),
    *(b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1x", b"HTTP/1.1 ", b""),
)
GOOD_FIELDS = (
    *(b"Accept: */*", b"User-Agent: fuzz/1.0 (x; y)", b"Connection: close", b"Connection: keep-alive, x"),
    *(b"Cookie: a=b; c=d", b"X-Empty:", b"X-Space:  a  b \t", b"X-Bytes: \x80\xff", b"x_under: score"),
    *(b"Upgrade: h2c", b"Expect: 100-continue"),
)
BAD_FIELDS = (
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 5, 5"),
    *(b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked "),
    *(b"Transfer-Encoding: gzip, chunked", b"Host: b.example", b"Host:", b"Host: a b", b"Expect: x"),
    *(b" folded", b"X-Colon : y", b": y", b"colonless"),
)
GOOD_CHUNKS = (b"5\r\nhello\r\n", b"1\r\nx\r\n", b"a;x=y\r\n0123456789\r\n", b"003\r\n\r\n\r\r\n")
LAST_CHUNKS = (b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n")
BAD_CHUNKS = (b"5\r\nhelloo\r\n", b"5\nhello\r\n", b"0x1\r\nx\r\n", b"1;a\nb\r\nx\r\n", b"f" * 17)
# What damage puts in.
BITS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b": ", b"\r\n\r\n", b"\r\n ", b"\x0b", b"\x7f"),
    *(b"\x80", b"%", b"%00", b"..", b"0", b"5\r\n", b"\x16\x03\x01", b"Host: a\r\n", b"x" * 70),
    *(b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", GET, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
)
# How many of the parts above are fit for a well-formed request.
GOOD_LINE = ((METHODS, 6), (TARGETS, 7), (VERSIONS, 6))


def random_message(rand: random.Random) -> bytes:
    """A request that is well-formed more often than not."""
    odd = rand.random() < 0.2
    line = b" ".join(rand.choice(parts if odd else parts[:good]) for parts, good in GOOD_LINE)
    fields = rand.choices(GOOD_FIELDS, k=rand.randrange(5))
    if rand.random() < 0.95:
        fields.append(b"Host: a.example")
    if rand.random() < 0.15:
        fields.append(rand.choice(BAD_FIELDS))
    framing, body = random_body(rand)
    fields += framing
    rand.shuffle(fields)
    return b"\r\n".join([line, *fields, b"", body])


def random_body(rand: random.Random) -> Tuple[List[bytes], bytes]:
    """The fields that announce a body, and the body."""
    kind = rand.random()
    if kind < 0.4:
        return [], b""
    if kind < 0.7:
        body = bytes(rand.choices(b"ab\r\n0\x00", k=rand.randrange(40)))
        return [b"Content-Length: %d" % len(body)], body
    last = rand.choice(LAST_CHUNKS if rand.random() < 0.8 else BAD_CHUNKS)
    return [b"Transfer-Encoding: chunked"], b"".join(rand.choices(GOOD_CHUNKS, k=rand.randrange(4))) + last


def random_input(rand: random.Random) -> bytes:
    """One to four messages, in half of the cases damaged, in some of them cut short."""
    data = b"".join(random_message(rand) for _ in range(rand.choice((1, 1, 1, 2, 4))))
    if rand.random() < 0.05:
        data = b"\r\n" + data
    if rand.random() < 0.5:
        for _ in range(rand.choice((1, 1, 2, 5))):
            data = damage(rand, data, BITS)
    if rand.random() < 0.1:
        data = data[: rand.randrange(len(data) + 1)]
    return data


def random_pieces(rand: random.Random, data: bytes) -> List[bytes]:
    """`data` cut at a few places."""
    cuts = sorted(rand.randrange(len(data) + 1) for _ in range(rand.randrange(1, 6)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]


def check_request(request: Request, body: bytes, complete: bool) -> None:
    """What everybody above relies on."""
    assert request.version in ("1.0", "1.1")
    assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}", request.method)
    assert request.method != "CONNECT"
    assert request.path == "*" or request.path.startswith("/")
    assert not {"", ".", ".."} & set(request.path.split("/")[1:-1])
    assert "\0" not in request.path
    assert re.fullmatch(r"[!-~\x80-\xff]+", request.target)
    for name, value in request.headers.items:
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        assert re.fullmatch(r"([!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?)?", value)
    assert len(request.headers.all("host")) <= 1
    assert request.version == "1.0" or "host" in request.headers
    assert re.fullmatch(r"([a-z0-9.%!$&'()*+,;=~_-]*|\[[0-9a-f:.]+\])", request.host_name)
    check_framing(request, body, complete)
    check_raw(request)


def check_framing(request: Request, body: bytes, complete: bool) -> None:
    """LESSONS 3.1 and 3.2: exactly one way to know where the body ends, and it ends there."""
    lengths, codings = request.headers.all("content-length"), request.headers.all("transfer-encoding")
    assert len(lengths) + len(codings) <= 1
    assert request.chunked == bool(codings)
    if codings:
        assert codings[0].lower() == "chunked"
        assert request.version == "1.1"
        assert request.content_length is None
    else:
        assert request.content_length == (int(lengths[0]) if lengths else 0)
        assert len(body) <= request.content_length
        assert complete == (len(body) == request.content_length)


def check_raw(request: Request) -> None:
    """The head as it was received says what the request says."""
    line, _, fields = request.raw.decode("latin-1").partition("\r\n")
    assert line == f"{request.method} {request.target} HTTP/{request.version}"
    assert parse_fields(fields, 0, len(request.headers)) == request.headers.items
    assert fields.count("\n") == len(request.headers) + 1


def check_stopped(reader: RequestReader) -> None:
    """LESSONS 3.6: after a fault nothing more, and nothing kept."""
    held = reader.buffered
    assert transcribe(reader, [GET], eof=True).summary() == ([], [], 0, None)
    assert reader.buffered == held


def check_case(rand: random.Random, data: bytes, *, single_bytes: bool) -> Transcript:
    """Read `data` in several ways, compare them, and check what came."""
    limits = TIGHT if rand.random() < 0.3 else Limits()
    max_body = TIGHT_BODY if rand.random() < 0.2 else None
    eof = rand.random() < 0.5

    reader = RequestReader(limits)
    seen = transcribe(reader, [data], eof=eof, max_body=max_body)
    if seen.fault is not None:
        check_stopped(reader)
    for pieces in (random_pieces(rand, data), byte_by_byte(data))[: 1 + single_bytes]:
        again = transcribe(RequestReader(limits), pieces, eof=eof, max_body=max_body)
        assert again.summary() == seen.summary(), pieces

    for number, (request, body) in enumerate(zip(seen.requests, seen.bodies)):
        check_request(request, body, number < seen.ended)
    assert len(seen.requests) - seen.ended in (0, 1)
    return seen


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_requests(batch: int) -> None:
    outcomes = {"complete": 0, "fault": 0}
    for number in range(CASES // BATCHES):
        seed = f"{batch}.{number}"
        rand = random.Random(seed)
        data = random_input(rand)
        with told(f"seed {seed}: {data!r}"):
            seen = check_case(rand, data, single_bytes=number % CASES_BETWEEN_SINGLE_BYTES == 0)
        outcomes["complete"] += seen.ended > 0
        outcomes["fault"] += seen.fault is not None
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 5, outcomes


def noise(alphabet: bytes) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        return bytes(random.Random(size).choices(alphabet, k=size))

    return make


HOSTILE: Tuple[Tuple[bytes, Callable[[int], bytes]], ...] = (
    (b"", noise(bytes(range(33, 127)))),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", noise(b"ab \t,;=\r")),
    (b"GET / HTTP/1.1\r\nHost: a\r\n", lambda size: b"X:\r\n" * (size // 4)),
    (b"GET / HTTP/1.1\r\nHost: a\r\n", lambda size: b"X:\ty\t\r\n" * (size // 7) + b"\r\n"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX:", lambda size: b" " * size + b"\x01\r\n\r\n"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nAccept: ", lambda size: b"a,;" * (size // 3) + b"\r\n\r\n"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ", lambda size: b", " * (size // 2) + b"\r\n\r\n"),
    (b"GET /", lambda size: b"%2e%2e/" * (size // 7) + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET / HTTP/1.1\r\nHost: ", lambda size: b"%41" * (size // 3) + b"<\r\n\r\n"),
    (head(b"Transfer-Encoding: chunked"), lambda size: b"1\r\nx\r\n" * (size // 6)),
)


@pytest.mark.parametrize("begin, fill", HOSTILE)
@pytest.mark.parametrize("piece", [1, 1000])
def test_hostile_input_takes_linear_time(begin: bytes, fill: Callable[[int], bytes], piece: int) -> None:
    """LESSONS 3.10."""
    wide = Limits(10**7, 10**7, 10**7, 10**7, 10**7)

    def read(size: int) -> None:
        data = begin + fill(size)
        transcribe(RequestReader(wide), [data[at : at + piece] for at in range(0, len(data), piece)])

    assert growth(read, 3000 if piece == 1 else 20000) < LINEAR
