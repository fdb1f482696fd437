"""Seeded random and damaged PROXY headers of both versions against the reader.

Whatever the bytes are, the reader gives out a header or raises RemoteProtocolError, stays with that whatever
follows, never takes more than there is, and names no source that is not an IP address in its shortest form.
"""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Optional, Tuple, Union

import pytest

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.proxy_header import MAX_HEADER, ProxyHeader, read_proxy_header
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, some_sizes, told
from tests.support.wire_cases import GET

CASES_BETWEEN_ALL_SIZES = 5

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
# What damage puts in.
BITS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\0", b":", b"::", b".", b"0", b"256", b"-", b"ffff", b"65536"),
    *(b"\xff\xff", b"PROXY ", b"TCP4", b"TCP6", b"UNKNOWN", SIGNATURE, b"\x21\x11\x00\x0c", b"x" * 60, GET),
)


def random_source(rand: random.Random, family: int) -> bytes:
    """An address of 4 or 16 bytes, zeros in many."""
    if family == 6 and rand.random() < 0.2:
        return bytes(10) + b"\xff\xff" + rand.getrandbits(32).to_bytes(4, "big")
    return bytes(rand.choices((0, 0, 1, 0x20, 255, rand.randrange(256)), k=4 if family == 4 else 16))


def random_header(rand: random.Random) -> Tuple[bytes, Optional[Tuple[str, int]]]:
    """A well-formed header, and the source that stands in it."""
    family = rand.choice((4, 6))
    source, port = random_source(rand, family), rand.choice((0, 1, 443, rand.randrange(65536)))
    if rand.random() < 0.5:
        if rand.random() < 0.1:
            return b"PROXY UNKNOWN" + rand.choice((b"", b" ", b" x y z")) + b"\r\n", None
        text = as_text(rand, source)
        line = f"PROXY TCP{family} {text} {text} {port} 443\r\n"
        return line.encode(), (shortest(source), port)
    known = rand.random() < 0.7
    command = rand.choice((0x21, 0x21, 0x20)) if known else 0x20
    kind = (0x11 if family == 4 else 0x21) if known else rand.randrange(256)
    rest = source * 2 + port.to_bytes(2, "big") + b"\1\xbb" + rand.choice((b"", b"\4\0\1x", b"x" * 300))
    header = SIGNATURE + bytes((command, kind)) + len(rest).to_bytes(2, "big") + rest
    return header, (shortest(source), port) if command == 0x21 else None


def as_text(rand: random.Random, source: bytes) -> str:
    """One of the ways to write an address."""
    if len(source) == 16 and rand.random() < 0.3:
        form = rand.choice(("{:04X}", "{:x}"))
        return ":".join(form.format(source[at] << 8 | source[at + 1]) for at in range(0, 16, 2))
    return str(ip_address(source))


def shortest(source: bytes) -> str:
    """How an address is to be given out."""
    mapped = len(source) == 16 and source.startswith(bytes(10) + b"\xff\xff")
    return str(ip_address(source[12:] if mapped else source))


def outcome(data: bytes) -> Union[ProxyHeader, str, None]:
    """The header, None if more is needed, or what is wrong, without what is quoted of the bytes."""
    try:
        return read_proxy_header(data)
    except RemoteProtocolError as error:
        return str(error).partition(": it begins")[0]


def check_header(header: ProxyHeader, data: bytes) -> None:
    """What everybody above relies on."""
    assert 15 <= header.length <= min(len(data), MAX_HEADER)
    if header.source is not None:
        address, port = header.source
        assert str(ip_address(address)) == address
        assert not address.startswith("::ffff:") or "." not in address
        assert 0 <= port <= 65535


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_headers(batch: int) -> None:
    outcomes = {"header": 0, "fault": 0}
    for number, seed in enumerate(seeds(batch)):
        rand = random.Random(seed)
        whole, source = random_header(rand)
        data = perhaps_damaged(rand, whole, BITS)
        with told(f"seed {seed}: {data!r}"):
            found = outcome(data)
            assert data is not whole or found == ProxyHeader(len(whole), source)
            decided = None
            for size in some_sizes(rand, data, number % CASES_BETWEEN_ALL_SIZES == 0):
                step = outcome(data[:size])
                assert decided is None or step == decided, size
                decided = step
            if isinstance(found, ProxyHeader):
                check_header(found, data)
        outcomes["header"] += isinstance(found, ProxyHeader)
        outcomes["fault"] += isinstance(found, str)
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 8, outcomes
