"""What is no certificate: malformed DER, missing parts, dates that do not exist."""

from __future__ import annotations

import pytest

from lwsws.wire.certificate import read_certificate
from tests.support.der import (
    ALGORITHM,
    BASIC_CONSTRAINTS,
    DATE,
    GENERALIZED_TIME,
    IP_ADDRESS,
    ISSUER,
    KEY,
    SEQUENCE,
    SERIAL,
    SET,
    SIGNATURE,
    SUBJECT,
    SUBJECT_ALT_NAME,
    UTC_TIME,
    VALIDITY,
    VERSION_3,
    alternatives,
    certificate,
    dns,
    element,
    extension,
    of_subject,
    signed,
)
from tests.support.wire_cases import LEFTOVER


@pytest.mark.parametrize(
    "tag, text",
    [
        (UTC_TIME, b""),
        (UTC_TIME, b"Z"),
        (UTC_TIME, b"2601010000Z"),
        (UTC_TIME, b"260101000000"),
        (UTC_TIME, b"260101000000z"),
        (UTC_TIME, b"260101000000+0000"),
        (UTC_TIME, b"20260101000000Z"),
        (UTC_TIME, b"2601 1000000Z"),
        (UTC_TIME, b"26010100000\xb2Z"),
        (UTC_TIME, b"+60101000000Z"),
        (GENERALIZED_TIME, b"260101000000Z"),
        (GENERALIZED_TIME, b"20260101000000.5Z"),
        (GENERALIZED_TIME, b"20260101000000"),
        (UTC_TIME, b"260001000000Z"),
        (UTC_TIME, b"261301000000Z"),
        (UTC_TIME, b"260100000000Z"),
        (UTC_TIME, b"260229000000Z"),
        (GENERALIZED_TIME, b"21000229000000Z"),
        (UTC_TIME, b"260101240000Z"),
        (UTC_TIME, b"260101006000Z"),
        (UTC_TIME, b"260101000061Z"),
        (0x13, b"260101000000Z"),
    ],
)
def test_malformed_times(tag: int, text: bytes) -> None:
    for pair in ((DATE, element(tag, text)), (element(tag, text), DATE)):
        with pytest.raises(ValueError, match="a date in it"):
            read_certificate(certificate(validity=element(SEQUENCE, *pair)))


@pytest.mark.parametrize(
    "der, why",
    [
        (b"", "0 elements stand where one must be"),
        (b"-----BEGIN CERTIFICATE-----\n", "it is cut short"),
        (b"0", "it is cut short"),
        (b"\x30\x00", "it is no certificate"),
        (certificate() + certificate(), "2 elements"),
        (certificate() + LEFTOVER, "it is cut short"),
        (certificate() + element(4, b"x"), "another tag"),
        (element(SET, certificate()), "another tag"),
        (element(SEQUENCE, certificate()), "it is no certificate"),
        (element(SEQUENCE, element(SEQUENCE), ALGORITHM), "it is no certificate"),
        (element(SEQUENCE, element(SEQUENCE), ALGORITHM, SIGNATURE, SIGNATURE), "it is no certificate"),
        (signed(), "it lacks a field"),
        (signed(VERSION_3), "it lacks a field"),
        (signed(VERSION_3, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT), "it lacks a field"),
        (signed(VERSION_3, VERSION_3, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, KEY), "it lacks a field"),
        (signed(ALGORITHM, SERIAL, ISSUER, VALIDITY, SUBJECT, KEY), "it lacks a field"),
        *[(certificate(validity=element(SEQUENCE, DATE * count)), "not two dates") for count in (0, 1, 3)],
        (of_subject(element(SEQUENCE)), "another tag"),
        (of_subject(element(SET, element(SET))), "another tag"),
        (of_subject(element(SET, element(SEQUENCE))), "its subject is malformed"),
        (of_subject(element(SET, element(SEQUENCE, SERIAL, SERIAL))), "its subject is malformed"),
        (certificate(element(SEQUENCE)), "an extension of it is malformed"),
        (certificate(element(SEQUENCE, element(6, SUBJECT_ALT_NAME))), "an extension of it is malformed"),
        (certificate(element(SEQUENCE, element(6, b"x"), element(1, b"\xff"))), "an extension of it"),
        (certificate(SERIAL), "another tag"),
        (certificate(alternatives(dns(b"a")), alternatives(dns(b"b"))), "2 elements"),
        (certificate(extension(SUBJECT_ALT_NAME, b"")), "0 elements"),
        (certificate(extension(SUBJECT_ALT_NAME, dns(b"a.test"))), "another tag"),
        (certificate(extension(SUBJECT_ALT_NAME, element(SEQUENCE) * 2)), "2 elements"),
        (certificate(alternatives(element(IP_ADDRESS, b"\x7f\0\0"))), "an IP address in it"),
        (certificate(alternatives(element(IP_ADDRESS, bytes(8)))), "an IP address in it"),
        (certificate(alternatives(b"\x82")), "it is cut short"),
        (certificate(alternatives(b"\x82\x05a")), "it is cut short"),
    ],
)
def test_what_is_no_certificate(der: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_certificate(der)


@pytest.mark.parametrize(
    "name",
    [
        b"\x82\x81\x06a.test",  # a length that fits into one octet
        b"\x82\x82\x00\x06a.test",
        b"\x82\x82\x00\x86" + b"x" * 134,  # and one that fits into two
        b"\x82\x80a.test\0\0",  # without one
        b"\x82\x80" + b"x" * 128 + b"\0\0",
        b"\x82\x85\x00\x00\x00\x00\x06a.test",
        b"\x9f\x02\x06a.test",  # a tag of two octets
        b"\x82\xff" + b"\xff" * 127,
        b"\x82\x84\xff\xff\xff\xffa.test",
    ],
)
def test_ber_is_refused(name: bytes) -> None:
    """X.690 10: one value has one encoding, so nobody can read another certificate out of the same bytes."""
    with pytest.raises(ValueError, match=r"it is cut short|no DER"):
        read_certificate(certificate(alternatives(dns(b"b.test"), name)))


def test_no_part_of_a_certificate_is_one() -> None:
    whole = certificate(alternatives(dns(b"x" * 200)), extension(BASIC_CONSTRAINTS, b""))
    for size in range(len(whole)):
        with pytest.raises(ValueError, match=r"it is cut short|0 elements"):
            read_certificate(whole[:size])
