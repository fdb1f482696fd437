"""Certificates put together from parts in DER, well-formed or not; their keys and signatures are none."""

from __future__ import annotations

SEQUENCE = 0x30
SET = 0x31
UTF8 = 0x0C
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
DNS_NAME = 0x82
IP_ADDRESS = 0x87

COMMON_NAME = bytes.fromhex("550403")
ORGANIZATION = bytes.fromhex("55040a")
SUBJECT_ALT_NAME = bytes.fromhex("551d11")
BASIC_CONSTRAINTS = bytes.fromhex("551d13")


def element(tag: int, *contents: bytes) -> bytes:
    """One element with these contents."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def attribute(kind: bytes, value: str, tag: int = UTF8, charset: str = "utf-8") -> bytes:
    """One part of a subject."""
    return element(SET, element(SEQUENCE, element(6, kind), element(tag, value.encode(charset))))


def extension(kind: bytes, value: bytes, critical: bool = False) -> bytes:
    """One extension."""
    return element(SEQUENCE, element(6, kind), element(1, b"\xff") if critical else b"", element(4, value))


def alternatives(*names: bytes) -> bytes:
    """The extension subjectAltName with these GeneralNames."""
    return extension(SUBJECT_ALT_NAME, element(SEQUENCE, *names))


def dns(name: bytes) -> bytes:
    """A DNS name among the GeneralNames."""
    return element(DNS_NAME, name)


VERSION_3 = element(0xA0, element(2, b"\2"))
SERIAL = element(2, b"\1")
ALGORITHM = element(SEQUENCE, element(6, bytes.fromhex("2a8648ce3d040302")))
ISSUER = element(SEQUENCE, attribute(COMMON_NAME, "issuer"))
DATE = element(UTC_TIME, b"260101000000Z")
VALIDITY = element(SEQUENCE, element(UTC_TIME, b"700101000000Z"), element(UTC_TIME, b"491231235959Z"))
SUBJECT = element(SEQUENCE, attribute(COMMON_NAME, "a.test"))
KEY = element(SEQUENCE, ALGORITHM, element(3, b"\0key"))
SIGNATURE = element(3, b"\0signature")


def certificate(*extensions: bytes, validity: bytes = VALIDITY, subject: bytes = SUBJECT) -> bytes:
    """A certificate."""
    fields = [VERSION_3, SERIAL, ALGORITHM, ISSUER, validity, subject, KEY]
    if extensions:
        fields.append(element(0xA3, element(SEQUENCE, *extensions)))
    return signed(*fields)


def signed(*fields: bytes) -> bytes:
    """A certificate whose signed part is made of these."""
    return element(SEQUENCE, element(SEQUENCE, *fields), ALGORITHM, SIGNATURE)


def of_subject(*attributes: bytes) -> bytes:
    """A certificate with this subject."""
    return certificate(subject=element(SEQUENCE, *attributes))
