"""Seeded random and damaged certificates against the reader.

Whatever the bytes are, the reader gives out a certificate or raises ValueError, in words and names that are
fit for a log; and it reads what was put into a well-formed one.
"""

from __future__ import annotations

import datetime
import random
import re
from typing import Tuple, Union

import pytest

from lwsws.wire.certificate import MAX_SUBJECT, Certificate, covers, read_certificate
from tests.support import der
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, told

NAMES = ("a.test", "*.a.test", "localhost", "x" * 63 + ".test", "127.0.0.1", "::1", "2001:db8::1")
ADDRESSES = {
    "127.0.0.1": b"\x7f\0\0\1",
    "::1": bytes(15) + b"\1",
    "2001:db8::1": bytes.fromhex("20010db8000000000000000000000001"),
}
SUBJECTS = ("a.test", "A Name, Inc.", "Gr\xfcn", "line\nline", "", "x" * 150)
# What damage puts in.
BITS = (
    *(b"\0", b"\x80", b"\x81\x80", b"\x82\xff\xff", b"\xff", b"\x30\x80", b"\x1f\x81", der.SERIAL, der.DATE),
    *(der.VERSION_3, der.SUBJECT, der.VALIDITY, der.alternatives(der.dns(b"b")), b"\x17\x0d", b"Z", b"x" * 9),
)


def random_certificate(rand: random.Random) -> Tuple[bytes, Certificate]:
    """A well-formed certificate, and what stands in it."""
    begin, end = rand.randrange(-631152000, 2524608000), rand.randrange(2524608000, 253402300800)
    names, subject = tuple(rand.choices(NAMES, k=rand.randrange(6))), rand.choice(SUBJECTS)
    extensions = [der.alternatives(*map(general_name, names))]
    if rand.random() < 0.5:
        extensions.insert(rand.randrange(2), der.extension(der.BASIC_CONSTRAINTS, b"\x30\0", critical=True))
    data = der.certificate(
        *extensions,
        validity=der.element(der.SEQUENCE, der.element(der.UTC_TIME, zulu(begin)[2:]), long_time(end)),
        subject=der.element(der.SEQUENCE, der.attribute(der.ORGANIZATION, subject)),
    )
    text = "O=" + subject.replace(",", "\\,").replace("\n", "\\n")
    return data, Certificate(begin, end, names, text)


def general_name(name: str) -> bytes:
    """One of the names in subjectAltName, DNS names in capitals."""
    if name in ADDRESSES:
        return der.element(der.IP_ADDRESS, ADDRESSES[name])
    return der.dns(name.upper().encode())


def long_time(seconds: int) -> bytes:
    return der.element(der.GENERALIZED_TIME, zulu(seconds))


def zulu(seconds: int) -> bytes:
    """Unix seconds as a certificate has them, with four digits of the year."""
    date = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return f"{date.year:04}{date:%m%d%H%M%S}Z".encode()


def outcome(data: bytes) -> Union[Certificate, str]:
    """The certificate, or what is wrong with it."""
    try:
        return read_certificate(data)
    except ValueError as error:
        return str(error)


def check_certificate(found: Certificate) -> None:
    """What everybody above relies on."""
    assert found.subject.isprintable()
    assert len(found.subject) <= MAX_SUBJECT + len("...")
    for name in found.names:
        assert re.fullmatch(r"[!-@\[-~]+", name)
        if re.fullmatch(r"[a-z0-9.:*]*[a-z0-9]", name):
            assert covers(found.names, name.replace("*", "x", 1) if name.startswith("*.") else name), name
    for seconds in (found.not_before, found.not_after):
        assert -62167219200 <= seconds <= 253402300800  # the years 0 to 9999


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_certificates(batch: int) -> None:
    outcomes = {"certificate": 0, "fault": 0}
    for seed in seeds(batch):
        rand = random.Random(seed)
        whole, expected = random_certificate(rand)
        data = perhaps_damaged(rand, whole, BITS)
        with told(f"seed {seed}: {data!r}"):
            found = outcome(data)
            assert data is not whole or found == expected
            if isinstance(found, Certificate):
                check_certificate(found)
        outcomes["certificate" if isinstance(found, Certificate) else "fault"] += 1
    # The generator must go on meeting both sides of the rules.
    assert min(outcomes.values()) > CASES // BATCHES // 5, outcomes
