"""Seeded random and damaged DER against its reader, and against those of keys, signatures and certificates.

Whatever the bytes are: elements that give the same bytes again, a key that can be used, a signature of the
right size, or ValueError.
"""

from __future__ import annotations

import base64
import json
import random
import re
from typing import Any, Callable, List, Optional, Tuple

import pytest

from lwsws.wire.base64url import b64url, from_b64url
from lwsws.wire.certificate import renewal_identifier
from lwsws.wire.der import Element, element, elements_of, integer
from lwsws.wire.jws import MIN_RSA_BITS, PublicKey, private_key_pem, raw_signature, read_public_key
from tests.support import der
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, told

EC_ALGORITHM = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")
# What damage puts in.
BITS = (b"\0", b"\x80", b"\x81\x80", b"\x82\xff\xff", b"\xff", b"\x30\x80", b"\x1f\x81", b"\x30\0", b"\2\1\0",
        b"\3\1\0", b"\2\0", b"\2\2\0\x80", EC_ALGORITHM, RSA_ALGORITHM, b"x" * 9)


def random_elements(rand: random.Random, depth: int = 0) -> bytes:
    """Some elements, in each other."""
    contents = [
        random_elements(rand, depth + 1) if depth < 3 and rand.random() < 0.5
        else rand.getrandbits(8 * 300).to_bytes(300, "big")[: rand.choice((0, 1, 5, 127, 128, 255, 256))]
        for _ in range(rand.randrange(4))
    ]
    return b"".join(der.element(rand.choice((2, 3, 4, 6, 0x30, 0x31, 0x80, 0xA0)), each) for each in contents)


def random_key(rand: random.Random) -> bytes:
    """A well-formed public key, P-256 or RSA."""
    if rand.random() < 0.5:
        point = b"\4" + rand.getrandbits(512).to_bytes(64, "big")
        return der.element(0x30, EC_ALGORITHM, der.element(3, b"\0", point))
    modulus = rand.getrandbits(MIN_RSA_BITS) | 1 << MIN_RSA_BITS - 1
    key = der.element(0x30, integer(modulus), integer(rand.choice((3, 65537))))
    return der.element(0x30, RSA_ALGORITHM, der.element(3, b"\0", key))


def random_signature(rand: random.Random) -> bytes:
    """A signature on P-256; small numbers come often."""
    numbers = [rand.getrandbits(rand.choice((1, 8, 128, 247, 248, 255, 256))) for _ in range(2)]
    return der.element(0x30, *map(integer, numbers))


def random_certificate(rand: random.Random) -> bytes:
    """A certificate with an authorityKeyIdentifier."""
    identifier = der.element(0x30, der.element(0x80, rand.getrandbits(160).to_bytes(20, "big")))
    authority = der.extension(bytes.fromhex("551d23"), identifier)
    return der.certificate(authority, der.alternatives(der.dns(b"a")))


def outcome(read: Callable[[Any], Any], data: Any) -> Any:
    """What is read; None for ValueError."""
    try:
        return read(data)
    except ValueError:
        return None


def check_elements(found: List[Element], data: bytes) -> None:
    """There is one form only."""
    assert b"".join(element(tag, content) for tag, content in found) == data


def check_key(found: PublicKey, data: bytes) -> None:
    """Its numbers are those in the DER, and its thumbprint is one."""
    x_or_n = from_b64url(found.jwk.get("x", found.jwk.get("n", "")))
    assert x_or_n in data
    assert set(found.jwk) == ({"crv", "kty", "x", "y"} if found.algorithm == "ES256" else {"e", "kty", "n"})
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", found.thumbprint)


def check_signature(found: bytes, data: bytes) -> None:
    """Both halves without their zeros are in the DER."""
    assert len(found) == 64
    assert found[:32].lstrip(b"\0") in data
    assert found[32:].lstrip(b"\0") in data


def check_identifier(found: str, data: bytes) -> None:
    """Both parts are in the DER; "" if it has not both."""
    assert all(from_b64url(part) in data for part in found.split("."))


Case = Tuple[Callable[[random.Random], bytes], Callable[[bytes], Any], Callable[[Any, bytes], None]]
READERS: List[Case] = [
    (random_elements, elements_of, check_elements),
    (random_key, read_public_key, check_key),
    (random_signature, lambda data: raw_signature("ES256", data), check_signature),
    (random_certificate, renewal_identifier, check_identifier),
]


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("make, read, check", READERS, ids=["elements", "key", "signature", "identifier"])
def test_random_der(
    make: Callable[[random.Random], bytes],
    read: Callable[[bytes], Any],
    check: Callable[[Any, bytes], None],
    batch: int,
) -> None:
    read_ones = 0
    for seed in seeds(batch):
        rand = random.Random(seed)
        whole = make(rand)
        data = perhaps_damaged(rand, whole, BITS) if rand.random() < 0.98 else rand.choice(BITS)
        with told(f"seed {seed}: {data!r}"):
            found = outcome(read, data)
            assert data is not whole or found is not None
            if found is not None:
                check(found, data)
        read_ones += found is not None
    # The generator must go on meeting both sides of the rules.
    assert CASES // BATCHES // 5 < read_ones < CASES // BATCHES


SIZES = (b64url(bytes(32)), b64url(bytes(31)))
VALUES: Tuple[Any, ...] = (None, 7, [], "", "AA", "A", "+", "EC", "RSA", "P-256", "P-384", *SIZES)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_private_keys(batch: int) -> None:
    for seed in seeds(batch):
        rand = random.Random(seed)
        names = ("kty", "crv", "x", "y", "d", "n", "e", "p", "q", "dp", "dq", "qi")
        jwk = {name: b64url(rand.getrandbits(256).to_bytes(32, "big")) for name in names}
        jwk.update(kty=rand.choice(("EC", "RSA")), crv="P-256")
        changes = {rand.choice(names): rand.choice(VALUES) for _ in range(rand.choice((0, 0, 1, 3)))}
        with told(f"seed {seed}: {json.dumps({**jwk, **changes})}"):
            pem: Optional[bytes] = outcome(private_key_pem, {**jwk, **changes})
            assert changes or pem is not None
            if pem is not None:
                body = b"".join(line for line in pem.splitlines() if not line.startswith(b"-"))
                check_elements(elements_of(base64.b64decode(body, validate=True)), base64.b64decode(body))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_base64url(batch: int) -> None:
    for seed in seeds(batch):
        rand = random.Random(seed)
        text = "".join(rand.choices("AZaz09-_+/= \n\xe4", [9] * 8 + [0.2] * 6, k=rand.randrange(12)))
        with told(f"seed {seed}: {text!r}"):
            found: Optional[bytes] = outcome(from_b64url, text)
            if found is not None:
                assert from_b64url(b64url(found)) == found
                assert len(b64url(found)) == len(text.rstrip("="))
