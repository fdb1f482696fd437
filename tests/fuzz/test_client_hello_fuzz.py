"""Seeded random and damaged ClientHellos against the reader, and beside OpenSSL.

Whatever the bytes are, the reader

* gives out a hello, or raises NotTls or HelloError, and stays with that whatever follows;
* reads what was put into a well-formed one;
* never finds another server name than OpenSSL: that would be another vhost's certificate for the client.
"""

from __future__ import annotations

import random
import re
from typing import List, Tuple

import pytest

from lwsws.wire.client_hello import MAX_RECORDS, ClientHello
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, some_sizes, told
from tests.support.hellos import (
    CURL_TLS12,
    GREASE,
    extension,
    in_records,
    message,
    name_for_openssl,
    named,
    offering,
    outcome,
    record,
)
from tests.support.wire_cases import GET

# A case of each costs as much as ten others, or three, and the first grows as the square of its size.
CASES_BETWEEN_ALL_SIZES = 20
SHORT = 500
CASES_BETWEEN_OPENSSL = 5

NAMES = (b"a.test", b"A.Test.", b"localhost", b"127.0.0.1", b"x" * 60 + b".test", b"xn--bcher-kva.test")
PROTOCOLS = (b"h2", b"http/1.1", b"acme-tls/1", b"\x1a\x1a", b"x" * 255)
OTHERS = (
    *(GREASE, extension(0x2A2A, b"\0"), extension(23, b""), extension(10, b"\0\4\0\x1d\0\x17")),
    *(extension(43, b"\4\3\4\3\3"), extension(13, b"\0\4\4\3\x08\4"), extension(0xFF01, b"\0")),
)
# What damage puts in.
BITS = (
    *(b"\0", b"\0\0", b"\xff\xff", b"\x16\x03\x01", record(b""), record(b"\2\x28", kind=21), GREASE),
    *(named(b"b.test"), offering(b"h2"), b"\0\6b.test", b"b.test", b".", b"\x80", b"x" * 40, GET, CURL_TLS12),
)
NAME = re.compile(r"[!-@\[-~]{0,255}")


def random_hello(rand: random.Random) -> Tuple[bytes, ClientHello]:
    """A well-formed hello, and what stands in it."""
    extensions = rand.sample(OTHERS, rand.randrange(len(OTHERS)))
    name = rand.choice(NAMES) if rand.random() < 0.8 else b""
    protocols = rand.choices(PROTOCOLS[:-1], k=rand.choice((0, 1, 2, 5)))
    if rand.random() < 0.05:
        protocols.append(PROTOCOLS[-1])
    extensions += [named(name)] if name else []
    extensions += [offering(*protocols)] if protocols else []
    rand.shuffle(extensions)
    session, suites = rand.choice((b"", b"s" * 32)), rand.choice((b"\xc0\x2f", b"\x13\1\xc0\x2f" * 9))
    whole = message(*extensions, session=session, suites=suites)
    data = in_records(whole, rand.choice((*[1 << 14] * 6, 1, 2, 4, 50, 50, len(whole) - 1)))
    expected = name.decode().lower().removesuffix(".")
    return data, ClientHello(expected, tuple(protocol.decode("latin-1") for protocol in protocols))


def check_steps(data: bytes, sizes: List[int]) -> None:
    """What is certain from some of `data` is certain from more of it."""
    decided = None
    for size in sizes:
        found = outcome(data[:size])
        assert decided is None or found == decided, size
        decided = found


def check_hello(hello: ClientHello) -> None:
    """What everybody above relies on."""
    assert NAME.fullmatch(hello.server_name)
    assert "" not in hello.alpn
    assert all(len(protocol) < 256 for protocol in hello.alpn)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_hellos(batch: int) -> None:
    outcomes = {"hello": 0, "fault": 0}
    for number, seed in enumerate(seeds(batch)):
        rand = random.Random(seed)
        whole, expected = random_hello(rand)
        data = perhaps_damaged(rand, whole, BITS)
        with told(f"seed {seed}: {data!r}"):
            found = outcome(data)
            assert data is not whole or len(whole) > 6 * MAX_RECORDS or found == expected
            every = number % CASES_BETWEEN_ALL_SIZES == 0 and len(data) < SHORT
            check_steps(data, some_sizes(rand, data, every))
            if isinstance(found, ClientHello):
                check_hello(found)
                if number % CASES_BETWEEN_OPENSSL == 0:
                    name = name_for_openssl(data)
                    assert name is None or name.lower().removesuffix(".") == found.server_name
                outcomes["hello"] += 1
            outcomes["fault"] += isinstance(found, tuple) and found[0] == "HelloError"
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 8, outcomes
