"""Certificates: what is read out of them is what the openssl tool reads, and whom they cover."""

from __future__ import annotations

import base64
import re
import ssl
import subprocess
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import pytest

from lwsws.wire.certificate import (
    MAX_SUBJECT,
    Certificate,
    covers,
    is_self_issued,
    read_certificate,
    renewal_identifier,
)
from tests.support.certificates import Certificates, make_certificate, openssl
from tests.support.der import (
    ALGORITHM,
    BASIC_CONSTRAINTS,
    COMMON_NAME,
    GENERALIZED_TIME,
    ISSUER,
    KEY,
    ORGANIZATION,
    SEQUENCE,
    SERIAL,
    SUBJECT,
    SUBJECT_ALT_NAME,
    UTC_TIME,
    VALIDITY,
    VERSION_3,
    alternatives,
    attribute,
    certificate,
    dns,
    element,
    extension,
    of_subject,
    signed,
)
from tests.support.effort import LINEAR, growth
from tests.support.programs import need

# 1 January of the years 1960, 2049, 2050, 2080 and the last second of 9999, in unix seconds.
Y1960, Y2049, Y2050, Y2080, LAST = -315619200, 2493072000, 2524608000, 3471292800, 253402300799


def read_pem(path: Path) -> Certificate:
    """The certificate in a PEM file."""
    return read_certificate(ssl.PEM_cert_to_DER_cert(path.read_text()))


class Told(NamedTuple):
    """What the openssl tool says of a certificate."""

    not_before: int
    not_after: int
    names: List[str]  # as it writes them, "DNS:a.test"
    subject: str


def told_by_openssl(path: Path) -> Told:
    """What the openssl tool says of the certificate in a PEM file."""
    shown = ["-noout", "-dates", "-subject", "-ext", "subjectAltName"]
    form = ["-nameopt", "utf8,esc_2253,sep_comma_plus_space"]
    command = [need("openssl"), "x509", "-in", str(path), *shown, *form]
    text = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    values = dict(re.findall(r"^(notBefore|notAfter|subject)=(.*)$", text, re.MULTILINE))
    begin, end = (ssl.cert_time_to_seconds(values[key]) for key in ("notBefore", "notAfter"))
    names = re.search(r"Subject Alternative Name:.*\n *(.*)", text)
    return Told(begin, end, names.group(1).split(", ") if names else [], values["subject"])


def as_openssl_writes(names: Sequence[str]) -> Iterator[str]:
    """The names in the form of the openssl tool: IPv6 addresses with all their groups."""
    for name in names:
        if ":" in name:
            left, _, right = name.partition("::")
            groups = [left.split(":") if left else [], right.split(":") if right else []]
            zeros = ["0"] * (8 - sum(map(len, groups)))
            yield "IP Address:" + ":".join(groups[0] + zeros + groups[1]).upper()
        else:
            yield ("IP Address:" if re.fullmatch(r"[0-9.]+", name) else "DNS:") + name


def check_against_openssl(path: Path) -> Certificate:
    """Read a certificate, and fail if the openssl tool reads something else."""
    found, told = read_pem(path), told_by_openssl(path)
    assert (found.not_before, found.not_after) == (told.not_before, told.not_after)
    assert found.subject == told.subject
    if told.names:
        assert list(as_openssl_writes(found.names)) == told.names
    return found


# Against the openssl tool


@pytest.mark.parametrize("key_type", ["ec", "rsa", "ed25519"])
def test_certificates_of_every_kind(key_type: str, tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "a.test", ["a.test", "www.a.test"], key_type=key_type)
    found = check_against_openssl(pair.cert)
    assert found.names == ("a.test", "www.a.test")
    assert found.subject == "CN=a.test"
    assert found.not_after - found.not_before == 30 * 86400


def test_certificates_of_a_ca(certificates: Certificates) -> None:
    for pair in (certificates.ca, certificates.a, certificates.client):
        check_against_openssl(pair.cert)


@pytest.mark.parametrize(
    "names",
    [
        ["*.a.test"],
        ["a.test", "*.a.test", "xn--bcher-kva.test"],
        ["127.0.0.1", "::1", "2001:db8::1:0:0:1", "255.255.255.255", "fe80::"],
        ["a.test", "192.0.2.1"],
        [f"host-{number}.a.test" for number in range(300)],
    ],
    ids=["wildcard", "several", "addresses", "both", "many"],
)
def test_alternative_names(names: Sequence[str], tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "other.test", names)
    assert check_against_openssl(pair.cert).names == tuple(names)


def test_without_alternative_names_the_common_name_counts(tmp_path: Path) -> None:
    assert check_against_openssl(make_certificate(tmp_path, "A.test").cert).names == ("a.test",)


@pytest.mark.parametrize(
    "not_before, not_after",
    [(Y1960, Y2049), (Y2050 - 1, Y2050), (Y2050, Y2080), (Y1960, LAST), (1709164800, 1709251199)],
)
def test_dates(not_before: int, not_after: int, tmp_path: Path) -> None:
    """RFC 5280 4.1.2.5: two digits of the year through 2049, four from 2050 on."""
    pair = make_certificate(tmp_path, "a.test", ["a.test"], not_before=not_before, not_after=not_after)
    found = check_against_openssl(pair.cert)
    assert (found.not_before, found.not_after) == (not_before, not_after)


@pytest.mark.parametrize(
    "subject, text",
    [
        ("/C=DE/ST=Berlin/L=Berlin/O=Example/OU=Tests/CN=a.test", None),
        ("/O=Gr\xfcn & S\xf6hne/CN=a.test", "O=Gr\xfcn & S\xf6hne, CN=a.test"),
        ("/O=A, B \\+ C <D>; \"E\"/CN=a.test", r"O=A\, B \+ C \<D\>\; \"E\", CN=a.test"),
        ("/DC=test/DC=a/UID=someone/serialNumber=7/emailAddress=a@a.test", None),
    ],
)
def test_subjects(subject: str, text: Optional[str], tmp_path: Path) -> None:
    configuration = tmp_path / "req.cnf"
    configuration.write_text("[req]\ndistinguished_name = subject\n[subject]\n")
    files = ["-config", str(configuration), "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt")]
    openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-utf8", "-subj", subject, *files)
    found = check_against_openssl(tmp_path / "crt")
    assert found.subject == (text or subject[1:].replace("/", ", "))


# Put together from parts


def subject_of(*attributes: bytes) -> str:
    return read_certificate(of_subject(*attributes)).subject


def names_of(*names: bytes) -> Tuple[str, ...]:
    return read_certificate(certificate(alternatives(*names))).names


def test_the_one_of_parts_is_read() -> None:
    assert read_certificate(certificate()) == (0, Y2050 - 1, ("a.test",), "CN=a.test")


def test_version_1_has_no_version() -> None:
    fields = [SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, KEY]
    assert read_certificate(signed(*fields)) == read_certificate(certificate())


def test_other_extensions_and_fields_are_passed_over() -> None:
    constraints = extension(BASIC_CONSTRAINTS, element(SEQUENCE), critical=True)
    assert read_certificate(certificate(constraints)).names == ("a.test",)
    named = certificate(constraints, alternatives(dns(b"b.test")), constraints)
    assert read_certificate(named).names == ("b.test",)
    fields = [VERSION_3, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, KEY, element(0x81, b"\0id")]
    assert read_certificate(signed(*fields)).names == ("a.test",)


def test_a_critical_extension_of_names_counts_too() -> None:
    """RFC 5280 4.2.1.6: it must be critical if the subject is empty."""
    names = extension(SUBJECT_ALT_NAME, element(SEQUENCE, dns(b"b.test")), critical=True)
    assert read_certificate(certificate(names, subject=element(SEQUENCE))) == (0, Y2050 - 1, ("b.test",), "")


def test_names_of_other_kinds_keep_the_common_name_from_counting() -> None:
    assert names_of(element(0x81, b"someone@a.test"), element(0x86, b"https://a.test/")) == ()
    assert names_of() == ()


@pytest.mark.parametrize(
    "name", [b"", b"a b", b"a.test\0", b"a\n", b"gr\xc3\xbcn.test", b"127.0.0.1", b"::1", b"0.0.0.0"]
)
def test_what_no_client_takes_for_a_host_is_left_out(name: bytes) -> None:
    assert names_of(dns(b"A.Test"), dns(name), dns(b"b.test")) == ("a.test", "b.test")
    common = attribute(COMMON_NAME, name.decode("latin-1"))
    assert read_certificate(of_subject(common)).names == ()


def test_a_common_name_that_is_no_host_stays_in_the_subject() -> None:
    found = read_certificate(of_subject(attribute(COMMON_NAME, "An Example CA")))
    assert (found.names, found.subject) == ((), "CN=An Example CA")


@pytest.mark.parametrize(
    "tag, charset, value",
    [
        (0x0C, "utf-8", "Gr\xfcn \u65e5\u672c"),
        (0x13, "ascii", "Green"),
        (0x14, "latin-1", "Gr\xfcn"),
        (0x16, "ascii", "green@a.test"),
        (0x1C, "utf-32-be", "Gr\xfcn \U0001f600"),
        (0x1E, "utf-16-be", "Gr\xfcn \u65e5"),
    ],
)
def test_character_sets(tag: int, charset: str, value: str) -> None:
    assert subject_of(attribute(ORGANIZATION, value, tag, charset)) == f"O={value}"


def test_a_subject_is_one_line_that_cannot_pretend_to_be_more() -> None:
    """LESSONS 3.36."""
    hostile = "a\r\nb\x1b[2J\0\u2028\u202e"
    assert subject_of(attribute(ORGANIZATION, hostile)) == r"O=a\r\nb\x1b[2J\x00\u2028\u202e"
    assert subject_of(attribute(ORGANIZATION, "x, CN=b.test\\")) == r"O=x\, CN=b.test\\"
    assert subject_of(attribute(ORGANIZATION, "\xff", charset="latin-1")) == r"O=\\xff"
    longest = "x" * (MAX_SUBJECT - len("O="))
    assert subject_of(attribute(ORGANIZATION, longest)) == f"O={longest}"
    assert subject_of(attribute(ORGANIZATION, longest + "x")) == f"O={longest}..."


def test_parts_of_a_subject_that_have_no_name_are_left_out() -> None:
    unknown = attribute(bytes.fromhex("2b0601040182373c020103"), "DE")
    strange = attribute(ORGANIZATION, "x", tag=0x03)
    assert subject_of(unknown, strange, attribute(COMMON_NAME, "a.test")) == "CN=a.test"


@pytest.mark.parametrize(
    "tag, text, seconds",
    [
        (UTC_TIME, b"500101000000Z", -631152000),
        (UTC_TIME, b"491231235959Z", Y2050 - 1),
        (UTC_TIME, b"000229120000Z", 951825600),
        (GENERALIZED_TIME, b"20000229120000Z", 951825600),
        (GENERALIZED_TIME, b"99991231235959Z", LAST),
        (GENERALIZED_TIME, b"00010101000000Z", -62135596800),
    ],
)
def test_times(tag: int, text: bytes, seconds: int) -> None:
    validity = element(SEQUENCE, element(tag, text), element(tag, text))
    found = read_certificate(certificate(validity=validity))
    assert (found.not_before, found.not_after) == (seconds, seconds)


def test_a_long_certificate_takes_linear_time() -> None:
    assert growth(lambda size: names_of(*[dns(b"%d.test" % number) for number in range(size)]), 500) < LINEAR
    assert growth(lambda size: subject_of(*[attribute(COMMON_NAME, "\n")] * size), 500) < LINEAR


# What an ACME server calls it


AUTHORITY_KEY = bytes.fromhex("551d23")
KEY_ID = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")


def authority(*parts: bytes) -> bytes:
    """The extension authorityKeyIdentifier (RFC 5280 4.2.1.1)."""
    return extension(AUTHORITY_KEY, element(SEQUENCE, *parts))


def key_id(value: bytes) -> bytes:
    """The same with this and nothing else."""
    return authority(element(0x80, value))


def numbered(serial: bytes, *extensions: bytes, version: bytes = VERSION_3) -> bytes:
    """A certificate with this serial number."""
    last = element(0xA3, element(SEQUENCE, *extensions)) if extensions else b""
    return signed(version, element(2, serial), ALGORITHM, ISSUER, VALIDITY, SUBJECT, KEY, last)


@pytest.mark.parametrize(
    "der, name",
    [
        # RFC 9773 4.1
        (numbered(b"\0\x87\x65\x43\x21", key_id(KEY_ID)), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"),
        (numbered(b"\1", extension(BASIC_CONSTRAINTS, b""), key_id(b"\xff"), alternatives(dns(b"a.test"))),
         "_w.AQ"),
        (numbered(b"\1", authority(element(0x80, b"x"), element(0xA1, b""), element(0x82, b"\2"))), "eA.AQ"),
        (numbered(b"\x7f" * 20, key_id(b"x")), "eA." + "f39_" * 6 + "f38"),
        (numbered(b"\1", key_id(b"x"), version=b""), "eA.AQ"),
        # Nothing that names the key of the issuer.
        (numbered(b"\1"), ""),
        (numbered(b"\1", alternatives(dns(b"a.test"))), ""),
        (numbered(b"\1", authority()), ""),
        (numbered(b"", key_id(b"x")), ""),
        (numbered(b"\1", authority(element(0xA1, b""), element(0x82, b"\1"))), ""),
    ],
)
def test_renewal_identifiers(der: bytes, name: str) -> None:
    assert renewal_identifier(der) == name


def test_the_renewal_identifier_is_made_of_what_openssl_shows(certificates: Certificates) -> None:
    shown = ["-noout", "-serial", "-ext", "authorityKeyIdentifier"]
    command = [need("openssl"), "x509", "-in", str(certificates.a.cert), *shown]
    text = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    serial, key = re.findall(r"serial=([0-9A-F]+)|(?:keyid:)?((?:[0-9A-F]{2}:){19}[0-9A-F]{2})", text)
    found = renewal_identifier(ssl.PEM_cert_to_DER_cert(certificates.a.cert.read_text()))
    octets = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in found.split(".")]
    assert octets[0].hex(":").upper() == key[1]
    assert int.from_bytes(octets[1], "big") == int(serial[0], 16)


@pytest.mark.parametrize(
    "der",
    [
        b"", b"\x30\0", b"\x30", b"no certificate", element(SEQUENCE, SERIAL),
        certificate() * 2, certificate()[:-1],
        numbered(b"\1", extension(AUTHORITY_KEY, b"")), numbered(b"\1", extension(AUTHORITY_KEY, b"\4\0")),
        numbered(b"\1", extension(AUTHORITY_KEY, element(SEQUENCE) * 2)),
        numbered(b"\1", authority(b"\x80\5x")), numbered(b"\1", element(SEQUENCE, element(4, b""))),
    ],
)
def test_renewal_identifier_of_what_is_none(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        renewal_identifier(der)


# Whom it covers


@pytest.mark.parametrize(
    "names, host",
    [
        (["a.test"], "a.test"),
        (["a.test"], "A.TEST"),
        (["a.test"], "a.test."),
        (["b.test", "a.test"], "a.test"),
        (["localhost"], "localhost"),
        (["*.a.test"], "b.a.test"),
        (["*.a.test"], "B.A.Test."),
        (["*.a.test"], "xn--bcher-kva.a.test"),
        (["*.a.test"], "*.a.test"),  # the name of a vhost that has all of them
        (["*.test"], "a.test"),
        (["127.0.0.1"], "127.0.0.1"),
        (["::1"], "::1"),
        (["::1"], "[::1]"),
        (["2001:db8::1"], "[2001:DB8:0:0:0:0:0:1]"),
    ],
)
def test_covers(names: Sequence[str], host: str) -> None:
    """RFC 9525 6.3."""
    assert covers(names, host)


@pytest.mark.parametrize(
    "names, host",
    [
        ([], "a.test"),
        ([], ""),
        (["a.test"], ""),
        (["a.test"], "b.test"),
        (["a.test"], "www.a.test"),
        (["www.a.test"], "a.test"),
        (["a.test"], "a.test.."),
        (["*.a.test"], "a.test"),
        (["*.a.test"], "c.b.a.test"),
        (["*.a.test"], ".a.test"),
        (["*.a.test"], "ba.test"),
        (["b*.a.test"], "bb.a.test"),
        (["*b.a.test"], "bb.a.test"),
        (["b.*.test"], "b.a.test"),
        (["*.*.test"], "b.a.test"),
        (["*"], "localhost"),
        (["*"], "a.test"),
        (["*."], "a"),
        (["*.0.0.1"], "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.2"),
        (["::1"], "::2"),
        (["a.test"], "a.test\0.b.test"),
    ],
)
def test_does_not_cover(names: Sequence[str], host: str) -> None:
    """RFC 9525 6.3."""
    assert not covers(names, host)


def test_who_has_issued_it(certificates: Certificates) -> None:
    own = ssl.PEM_cert_to_DER_cert(certificates.ca.cert.read_text())
    other = ssl.PEM_cert_to_DER_cert(certificates.a.cert.read_text())
    assert is_self_issued(own) and not is_self_issued(other)
    with pytest.raises(ValueError, match="no certificate"):
        is_self_issued(b"\x30\x00")
