"""Seeded random and damaged forms of both kinds against their readers.

Whatever the bytes are and wherever they are cut, a reader gives out the same: the entries of a sound form as
they were written, else one fault and nothing after it.
"""

from __future__ import annotations

import random
from typing import Dict, List, Tuple

import pytest

from lwsws.wire.form_multipart import MultipartReader
from lwsws.wire.form_urlencoded import UrlencodedReader
from lwsws.wire.forms import FormLimits, FormReader
from tests.support.forms import Form, field, multipart, read_form
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, told
from tests.support.wire_cases import byte_by_byte

LIMITS = FormLimits(parts=8, part_head=160, name=40, values=200, around=40)
BOUNDARIES = (b"b", b"----b1", b"--", b"x" * 70, b"a b")
CASES_BYTE_BY_BYTE = 3

# What data is made of, and what damage puts in.
BITS = (
    *(b"\r\n", b"\r", b"\n", b"--", b"-", b"\r\n--", b"\r\n\r\n", b"\0", b"\xff", b"x" * 50),
    *(b"%", b"%4", b"%41", b"&", b"=", b"+", b"a=1"),
    *(b'"', b"\\", b";", b"Content-Disposition: form-data", b'; name="n"', b"; filename=f"),
)

Entries = List[Tuple[str, bytes]]


def random_data(rand: random.Random, boundary: bytes) -> bytes:
    """Bytes that are hard to tell from a delimiter and hold none."""
    near = boundary[: rand.randrange(len(boundary))]
    data = b"".join(rand.choice((near, *BITS)) for _ in range(rand.choice((0, 1, 3, 8))))
    return data.replace(b"--" + boundary, b"")[:60]


def random_name(rand: random.Random) -> str:
    return "".join(rand.choices("ab c;=&+é日", k=rand.randrange(6)))


def random_multipart(rand: random.Random, boundary: bytes) -> Tuple[bytes, Entries]:
    """A sound form, and its entries."""
    parts, entries = [], []
    for _ in range(rand.randrange(5)):
        name, data = random_name(rand), random_data(rand, boundary)
        if b"\r\n--" + boundary in b"\r\n" + data + b"\r\n":
            data = b""
        filename = rand.choice((None, b"", b"f.txt"))
        parts.append((field(name.encode(), filename, rand.choice((b"", b"text/plain"))), data))
        entries.append((name, data))
    return multipart(boundary, *parts), entries


def random_urlencoded(rand: random.Random) -> Tuple[bytes, Entries]:
    """A sound form, and its entries."""
    entries = [(random_name(rand), random_data(rand, b"b")) for _ in range(rand.randrange(5))]
    pieces = [escaped(rand, name.encode()) + b"=" + escaped(rand, data) for name, data in entries]
    return b"&".join(pieces), entries


def escaped(rand: random.Random, data: bytes) -> bytes:
    """One of the ways to write `data`."""
    octets = []
    for octet in data:
        if octet == 0x20 and rand.random() < 0.5:
            octets.append(b"+")
        elif octet in b"%&=+ " or rand.random() < 0.2:
            octets.append(rand.choice((b"%%%02x", b"%%%02X")) % octet)
        else:
            octets.append(bytes((octet,)))
    return b"".join(octets)


def random_pieces(rand: random.Random, data: bytes) -> List[bytes]:
    """`data` cut at some places."""
    cuts = sorted(rand.choices(range(len(data) + 1), k=rand.choice((1, 2, 5))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]


def check(form: Form, outcomes: Dict[str, int]) -> None:
    """What everybody above relies on."""
    assert form.ended == (form.fault is None)
    if form.fault is not None:
        assert form.fault[0] in (400, 413)
    assert len(form.entries) <= LIMITS.parts
    assert sum(len(data) for part, data in form.entries if part.filename is None) <= LIMITS.values
    assert all(len(part.name.encode()) <= LIMITS.name for part, _ in form.entries)
    assert not any(set(part.filename or "") & set("/\\\r\n\0") for part, _ in form.entries)
    outcomes["sound" if form.ended else "fault"] += 1


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_forms(batch: int) -> None:
    outcomes = {"sound": 0, "fault": 0}
    for number, seed in enumerate(seeds(batch)):
        rand = random.Random(seed)
        boundary = rand.choice(BOUNDARIES)
        is_multipart = rand.random() < 0.6
        whole, entries = random_multipart(rand, boundary) if is_multipart else random_urlencoded(rand)
        data = perhaps_damaged(rand, whole, (*BITS, boundary, b"\r\n--" + boundary, b"--" + boundary + b"--"))

        def reader(boundary: bytes = boundary, is_multipart: bool = is_multipart) -> FormReader:
            return MultipartReader(boundary.decode(), LIMITS) if is_multipart else UrlencodedReader(LIMITS)

        with told(f"seed {seed}: {boundary!r} {data!r}"):
            form = read_form(reader(), [data])
            check(form, outcomes)
            if data is whole and sum(len(value) for _, value in entries) <= LIMITS.values:
                assert form.fault is None
                assert form.values() == entries
            assert read_form(reader(), random_pieces(rand, data)) == form
            if number % CASES_BYTE_BY_BYTE == 0:
                assert read_form(reader(), byte_by_byte(data)) == form
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 8, outcomes
