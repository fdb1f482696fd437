"""What a server must know of an X.509 certificate: from when to when it holds, and for which names.

`ssl` gives this for the certificate of a peer only, and only of one that it could verify.  So a certificate
is read here, from its DER (RFC 5280 4.1):

    Certificate     SEQUENCE of the signed part, the algorithm, the signature
      signed part   [version,] serial, algorithm, issuer, validity, subject, key [, ...] [, extensions]
        extension   SEQUENCE of an identifier, perhaps a flag, and an OCTET STRING that holds its value

The reader is strict about the DER (der.py), but looks at no more of the certificate than it needs: whether it
is any good, OpenSSL decides.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from lwsws.wire.base64url import b64url
from lwsws.wire.dates import seconds_since_1970
from lwsws.wire.der import (
    BIT_STRING,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Element,
    contents_of,
    elements_of,
    only,
    tags_of,
)

# The subject is text for people, in one line of a log.
MAX_SUBJECT = 200

# Further tags (X.680 8.6): universal ones, and those in brackets in RFC 5280.
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_VERSION = 0xA0
_EXTENSIONS = 0xA3
_DNS_NAME = 0x82
_IP_ADDRESS = 0x87
_KEY_IDENTIFIER = 0x80

_CERTIFICATE = [SEQUENCE, SEQUENCE, BIT_STRING]
_SIGNED_PART = [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE]
_ISSUER, _VALIDITY, _SUBJECT = 2, 3, 4

# The digits of a time: with seconds, without a fraction (4.1.2.5).
_TIME_DIGITS = {_UTC_TIME: len("YYMMDDHHMMSS"), _GENERALIZED_TIME: len("YYYYMMDDHHMMSS")}

_SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))  # 2.5.29.17
_AUTHORITY_KEY = bytes((0x55, 0x1D, 0x23))  # 2.5.29.35
_COMMON_NAME = bytes((0x55, 0x04, 0x03))  # 2.5.4.3
# How the parts of a subject are called (RFC 4514 3 and OpenSSL); others are left out of the text.
_ATTRIBUTES: Dict[bytes, str] = {
    _COMMON_NAME: "CN",
    bytes((0x55, 0x04, 0x05)): "serialNumber",
    bytes((0x55, 0x04, 0x06)): "C",
    bytes((0x55, 0x04, 0x07)): "L",
    bytes((0x55, 0x04, 0x08)): "ST",
    bytes((0x55, 0x04, 0x0A)): "O",
    bytes((0x55, 0x04, 0x0B)): "OU",
    bytes.fromhex("2a864886f70d010901"): "emailAddress",
    bytes.fromhex("0992268993f22c640119"): "DC",
    bytes.fromhex("0992268993f22c640101"): "UID",
}
# The character sets of the string types that X.520 allows in a name.
_STRINGS: Dict[int, str] = {
    0x0C: "utf-8",
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString, in practice
    0x16: "ascii",  # IA5String
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_SPECIAL = re.compile(r'[,+"\\<>;]')  # RFC 4514 2.4

# What could be a host: ASCII without white space.
_HOST = re.compile(r"[!-~]+")


class Certificate(NamedTuple):
    """What is written in a certificate.

    Dates are in unix seconds, both still inside.  `names` are the hosts it is for: DNS names in lower case,
    perhaps with a wildcard, and IP addresses in their shortest form.  `subject` is text for people, like
    "O=Example, CN=a.example", maybe "".
    """

    not_before: int
    not_after: int
    names: Tuple[str, ...]
    subject: str


def read_certificate(der: bytes) -> Certificate:
    """Read the certificate `der`; ValueError with the reason if it is none.

    Its names are those of subjectAltName, and the common name if there is no such extension.  What no client
    takes for a host is left out: a name with white space, or an IP address written as a DNS name.
    """
    parts = elements_of(only(contents_of(der, SEQUENCE)))
    if tags_of(parts) != _CERTIFICATE:
        raise ValueError("it is no certificate")
    fields = elements_of(parts[0][1])
    if tags_of(fields[:1]) == [_VERSION]:
        del fields[0]
    if tags_of(fields[: len(_SIGNED_PART)]) != _SIGNED_PART:
        raise ValueError("it lacks a field that every certificate has")
    not_before, not_after = _read_validity(fields[_VALIDITY][1])
    attributes = _read_subject(fields[_SUBJECT][1])
    names = _read_names(fields[len(_SIGNED_PART) :])
    if names is None:
        names = list(_hosts(value for kind, value in attributes if kind == _COMMON_NAME))
    return Certificate(not_before, not_after, tuple(names), _subject_text(attributes))


def renewal_identifier(der: bytes) -> str:
    """What an ACME server calls the certificate `der` (RFC 9773 4.1): its issuer's key and its number in
    base64url; "" if it does not name that key.  ValueError as above."""
    parts = elements_of(only(contents_of(der, SEQUENCE)))
    if tags_of(parts) != _CERTIFICATE:
        raise ValueError("it is no certificate")
    fields = elements_of(parts[0][1])
    serial = next((content for tag, content in fields[:2] if tag == INTEGER), b"")
    found = [value for kind, value in _extensions(fields) if kind == _AUTHORITY_KEY]
    keys = [content for tag, content in elements_of(only(contents_of(found[0], SEQUENCE)))
            if tag == _KEY_IDENTIFIER] if found else []
    return f"{b64url(keys[0])}.{b64url(serial)}" if keys and serial else ""


def is_self_issued(der: bytes) -> bool:
    """Whether whom the certificate `der` is for is who has issued it (RFC 5280 3.2).  ValueError as above."""
    parts = elements_of(only(contents_of(der, SEQUENCE)))
    if tags_of(parts) != _CERTIFICATE:
        raise ValueError("it is no certificate")
    fields = [field for field in elements_of(parts[0][1]) if field[0] != _VERSION]
    return len(fields) > _SUBJECT and fields[_ISSUER] == fields[_SUBJECT]


def covers(names: Sequence[str], host: str) -> bool:
    """Whether a certificate with `names` is one for `host`, a DNS name or an IP address (RFC 9525 6.3)."""
    host = host.lower().removesuffix(".").strip("[]")
    address = _address(host)
    if address:
        return address in names
    # The wildcard is the whole left-most label, and stands for exactly one.
    label, dot, parent = host.partition(".")
    return host in names or bool(label and dot and f"*.{parent}" in names)


def is_for(names: Sequence[str], site: str) -> bool:
    """Whether clients of the vhost `site` may get a certificate with `names`: it covers the name, or a
    subdomain of it, for which the vhost stands too."""
    below = f".{site}"
    return covers(names, site) or any(name.endswith(below) for name in names)


def _read_validity(data: bytes) -> Tuple[int, int]:
    """The two dates in a Validity."""
    dates = [_read_time(tag, content) for tag, content in elements_of(data)]
    if len(dates) != 2:
        raise ValueError("its validity is not two dates")
    return dates[0], dates[1]


def _read_time(tag: int, content: bytes) -> int:
    digits = content[:-1]
    if len(digits) != _TIME_DIGITS.get(tag) or not digits.isdigit() or content[-1:] != b"Z":
        raise ValueError("a date in it is malformed")
    year, rest = int(digits[:-10]), digits[-10:]
    if tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000  # RFC 5280 4.1.2.5.1
    month, day, hour, minute, second = (int(rest[at : at + 2]) for at in range(0, 10, 2))
    seconds = seconds_since_1970(year, month, day, hour, minute, second)
    if seconds is None:
        raise ValueError("a date in it does not exist")
    return seconds


def _read_subject(data: bytes) -> List[Tuple[bytes, str]]:
    """The attributes in a Name: identifier and text of each."""
    attributes = []
    for relative in contents_of(data, SET):
        for attribute in contents_of(relative, SEQUENCE):
            pair = elements_of(attribute)
            if len(pair) != 2 or pair[0][0] != OBJECT_IDENTIFIER:
                raise ValueError("its subject is malformed")
            (_, kind), (string, value) = pair
            if string in _STRINGS:
                attributes.append((kind, value.decode(_STRINGS[string], "backslashreplace")))
    return attributes


def _subject_text(attributes: Iterable[Tuple[bytes, str]]) -> str:
    known = [(_ATTRIBUTES[kind], value) for kind, value in attributes if kind in _ATTRIBUTES]
    text = ", ".join(f"{name}={_escaped(value)}" for name, value in known)
    return text if len(text) <= MAX_SUBJECT else text[:MAX_SUBJECT] + "..."


def _escaped(value: str) -> str:
    """`value` so that it fits in a line and cannot be taken for more than one."""
    value = _SPECIAL.sub(r"\\\g<0>", value)
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value)


def _read_names(fields: Iterable[Element]) -> Optional[List[str]]:
    """The hosts in subjectAltName among the last fields of the signed part; None without that extension."""
    found = [value for kind, value in _extensions(fields) if kind == _SUBJECT_ALT_NAME]
    if not found:
        return None
    # RFC 5280 4.2: MUST NOT include more than one instance of a particular extension.
    value = only(found)
    return list(_alternatives(only(contents_of(value, SEQUENCE))))


def _extensions(fields: Iterable[Element]) -> Iterator[Tuple[bytes, bytes]]:
    """Identifier and value of each extension."""
    wrapped = [content for tag, content in fields if tag == _EXTENSIONS]
    if not wrapped:
        return
    extensions = only(contents_of(only(wrapped), SEQUENCE))
    for extension in contents_of(extensions, SEQUENCE):
        parts = elements_of(extension)
        # Between the two may stand whether it is critical.
        if len(parts) < 2 or parts[0][0] != OBJECT_IDENTIFIER or parts[-1][0] != OCTET_STRING:
            raise ValueError("an extension of it is malformed")
        yield parts[0][1], parts[-1][1]


def _alternatives(data: bytes) -> Iterator[str]:
    """The hosts among the GeneralNames in `data` (RFC 5280 4.2.1.6)."""
    for tag, content in elements_of(data):
        if tag == _DNS_NAME:
            yield from _hosts([content.decode("latin-1")])
        elif tag == _IP_ADDRESS:
            if len(content) not in (4, 16):
                raise ValueError("an IP address in it is malformed")
            yield _shortest(content)


def _hosts(names: Iterable[str]) -> Iterator[str]:
    """Those of `names` that a client would take for a DNS name."""
    for name in names:
        if _HOST.fullmatch(name) is not None and not _address(name):
            yield name.lower()


def _address(host: str) -> str:
    """The IP address `host` in its shortest form, "" if it is none."""
    # Hardly any name ends in a digit, so hardly any is tried.
    if ":" not in host and not host[-1:].isdigit():
        return ""
    try:
        return _shortest(host)
    except ValueError:
        return ""


def _shortest(address: Union[str, bytes]) -> str:
    # Loaded when needed: few certificates have addresses.
    from ipaddress import ip_address

    return str(ip_address(address))
