"""What is no ClientHello, malformed, or too much: how early it shows, and that OpenSSL refuses it as well."""

from __future__ import annotations

from typing import Sequence, Tuple

import pytest

from lwsws.wire.client_hello import MAX_HELLO, MAX_RECORDS, ClientHello
from tests.support.hellos import (
    ALPN,
    GREASE,
    SERVER_NAME,
    SSL2,
    extension,
    hello,
    in_records,
    message,
    name_for_openssl,
    named,
    offering,
    outcome,
    padded,
    record,
    three_ways,
    vector,
)
from tests.support.wire_cases import GET

NAMED = hello(named(b"a.test"))


def fault(data: bytes) -> Tuple[str, int]:
    """What is wrong with the hello in `data`, and after how many bytes that shows."""
    found, size = three_ways(data)
    assert isinstance(found, tuple)
    assert found[0] == "HelloError", found
    return str(found[1]), size


# What is no TLS at all


@pytest.mark.parametrize(
    "data, size",
    [
        (GET, 1),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 1),
        (b"\r\n", 1),
        (b"\0", 1),
        (SSL2, 1),
        (record(b"\2(", kind=21), 1),  # an alert
        (b"\x16\x02\x01\x00\x05\x01", 2),
        (b"\x16\xfe\xff", 2),  # DTLS
        (b"\x16GET / HTTP", 2),
        (in_records(message(named(b"a.test"), kind=2)), 6),
        (record(b"\0\0\0\0"), 6),  # HelloRequest
    ],
)
def test_what_is_no_tls(data: bytes, size: int) -> None:
    """LESSONS 1, T7: it shows at the first byte, or with the first message."""
    found, decided = three_ways(data)
    assert isinstance(found, tuple)
    assert found[0] == "NotTls"
    assert decided == size


def test_nothing_says_nothing() -> None:
    for size in range(6):
        assert outcome(NAMED[:size]) is None


# What is TLS, but malformed


def broken(*extensions: bytes) -> bytes:
    """A hello with these extensions and one that is in order."""
    return hello(*extensions, named(b"a.test"))


@pytest.mark.parametrize(
    "data",
    [
        hello(named()),
        hello(named(b"a.test", b"b.test")),
        hello(named(b"a.test", b"a.test")),
        hello(named(b"a.test", kind=1)),
        hello(extension(SERVER_NAME, b"")),
        hello(extension(SERVER_NAME, b"\0\4\0\0\1")),
        hello(extension(SERVER_NAME, vector(2, b"\0" + vector(2, b"a.test")) + b"x")),
        hello(extension(SERVER_NAME, vector(2, b"\0" + vector(2, b"a.test") + b"x"))),
        hello(extension(SERVER_NAME, vector(2, b"\0" + b"\0\7a.test"))),
        hello(extension(SERVER_NAME, vector(2, b"\0" + b"\0\5a.test"))),
        hello(extension(SERVER_NAME, b"\0\5\0" + vector(2, b"a.test"))),
    ],
)
def test_a_server_name_that_is_not_exactly_one(data: bytes) -> None:
    """RFC 6066 3; what could be read as two names would be read as different ones."""
    assert fault(data) == ("its server name is not exactly one host name", len(data))
    assert name_for_openssl(data) is None


@pytest.mark.parametrize(
    "name",
    [b"", b"x" * 256, b"a b", b"a\0b", b"a.test\0", b"\x1b[2J", b"a\n", b"\x7f", b"gr\xc3\xbcn.test"],
)
def test_a_server_name_that_no_host_has(name: bytes) -> None:
    """It would end up in logs and messages."""
    assert fault(hello(named(name)))[0] == "its server name has a character, or a length, that no name has"


@pytest.mark.parametrize(
    "data",
    [
        offering(),
        offering(b""),
        offering(b"h2", b""),
        offering(b"", b"h2"),
        extension(ALPN, b""),
        extension(ALPN, b"\0"),
        extension(ALPN, b"\0\0"),
        extension(ALPN, b"\0\3\3h2"),
        extension(ALPN, b"\0\4\2h2"),
        extension(ALPN, b"\0\2\2h2"),
        extension(ALPN, b"\0\3\2h2x"),
        extension(ALPN, b"\2h2"),
    ],
)
def test_a_malformed_list_of_protocols(data: bytes) -> None:
    """RFC 7301 3.1."""
    assert fault(broken(data))[0] == "its list of protocols is malformed"


@pytest.mark.parametrize(
    "extensions, why",
    [
        ([GREASE, GREASE], "the extension 6682 comes twice"),
        ([named(b"a.test"), named(b"b.test")], "the extension 0 comes twice"),
        ([offering(b"h2"), GREASE, offering(b"h2")], "the extension 16 comes twice"),
        ([GREASE, b"\0"], "its last extension is cut short"),
        ([GREASE, b"\0\x17\0"], "its last extension is cut short"),
        ([b"\0\x17\0\1"], "its last extension is cut short"),
        ([b"\0\x15\xff\xff", bytes(3000)], "its last extension is cut short"),
    ],
)
def test_malformed_extensions(extensions: Sequence[bytes], why: str) -> None:
    assert fault(hello(*extensions))[0] == why


def reshaped(begin: bytes, end: bytes = b"\0\0") -> bytes:
    """A hello in one record of `begin`, which follows version and random, and `end`."""
    return record(b"\1" + vector(3, b"\x03\x03" + bytes(32) + begin + end))


IMPOSSIBLE = "its session id, cipher suites or compression methods have an impossible length"
EARLY = "it ends too early"
UNEVEN = "its extensions do not end where it ends"


@pytest.mark.parametrize(
    "data, why",
    [
        (reshaped(b"\x21" + bytes(33) + b"\0\2\x13\1" + b"\1\0"), IMPOSSIBLE),
        (reshaped(b"\0" + b"\0\0" + b"\1\0"), IMPOSSIBLE),
        (reshaped(b"\0" + b"\0\3\x13\1\0" + b"\1\0"), IMPOSSIBLE),
        (reshaped(b"\0" + b"\0\2\x13\1" + b"\0"), IMPOSSIBLE),
        (reshaped(b"\0" + b"\0\2\x13\1" + b"\4\0"), IMPOSSIBLE),
        (reshaped(b"\0" + b"\0\2\x13\1" + b"\1\0", b"\0"), UNEVEN),
        (reshaped(b"\0" + b"\0\2\x13\1" + b"\1\0", b"\0\1"), UNEVEN),
        (reshaped(b"\0" + b"\0\2\x13\1" + b"\1\0", b"\0\0\0"), UNEVEN),
        (reshaped(b"\0" + b"\xff\xfe\x13\1" + b"\1\0"), EARLY),
        (reshaped(b"\0" + b"\0\6\x13\1" + b"\1\0"), EARLY),
        (reshaped(b"\0", b"\0"), EARLY),
        (reshaped(b"\x20", bytes(31)), EARLY),
        (record(b"\1" + vector(3, b"\x03\x03" + bytes(32))), EARLY),
        (record(b"\1" + vector(3, b"")), EARLY),
    ],
)
def test_a_malformed_hello(data: bytes, why: str) -> None:
    assert fault(data) == (why, len(data))
    assert name_for_openssl(data) is None


def test_the_same_without_a_fault() -> None:
    assert three_ways(reshaped(b"\0" + b"\0\2\x13\1" + b"\1\0"))[0] == ClientHello("", ())


WHOLE = message(named(b"a.test"))
FIRST, SECOND = WHOLE[:20], WHOLE[20:]
FOREIGN = "a record of another kind comes before its end"
MORE = "something follows it in its record"


@pytest.mark.parametrize(
    "data, why, size",
    [
        (b"\x16\x03\x01\x00\x00" + NAMED, "a record of 0 bytes", 6),
        (b"\x16\x03\x01\x40\x01\x01" + bytes(20), "a record of 16385 bytes", 6),
        (b"\x16\x03\x01\xff\xff\x01" + bytes(20), "a record of 65535 bytes", 6),
        (record(FIRST) + record(b"") + record(SECOND), "a record of 0 bytes", 30),
        (record(FIRST) + record(SECOND, kind=23), FOREIGN, 30),
        (record(FIRST) + record(b"\2\x28", kind=21), FOREIGN, 30),
        (record(FIRST) + record(SECOND, version=b"\x02\x00"), FOREIGN, 30),
        (record(WHOLE + b"x"), MORE, 9),
        (record(WHOLE[:3]) + record(WHOLE[3:] + WHOLE), MORE, 14),
        (record(FIRST) + record(SECOND + b"x"), MORE, 30),
    ],
)
def test_malformed_records(data: bytes, why: str, size: int) -> None:
    """RFC 8446 5.1."""
    assert fault(data) == (why, size)


# Limits


def test_a_longer_one_is_refused_as_soon_as_its_length_is_known() -> None:
    data = in_records(padded(MAX_HELLO + 1, named(b"a.test")), 100)
    assert fault(data[:50]) == (f"it is longer than {MAX_HELLO} bytes", 9)
    assert fault(record(b"\1\1\0\0" + bytes(10))) == (f"it is longer than {MAX_HELLO} bytes", 9)


def test_no_more_records_than_there_may_be() -> None:
    assert outcome(in_records(padded(MAX_RECORDS), 1)) == ClientHello("", ())
    text, size = fault(in_records(padded(MAX_RECORDS + 1), 1))
    assert text == f"more than {MAX_RECORDS} records"
    assert size == MAX_RECORDS * 6


GROUPS, KEYS = "its list of groups is malformed", "its list of keys is malformed"
FINITE = extension(10, b"\0\4\0\x1d\1\0")


@pytest.mark.parametrize("parts, why", [
    ((extension(10, b""),), GROUPS),
    ((extension(10, b"\0\0"),), GROUPS),
    ((extension(10, b"\0\3\0\x1d\1"),), GROUPS),
    ((extension(10, b"\0\4\0\x1d"),), GROUPS),
    ((FINITE, extension(51, b"")), KEYS),
    ((FINITE, extension(51, b"\0\5\0\x1d\0\2k")), KEYS),
    ((FINITE, extension(51, b"\0\6\0\x1d\0\1k")), KEYS),
])
def test_malformed_ways_to_exchange_keys(parts: Tuple[bytes, ...], why: str) -> None:
    assert fault(hello(*parts)) == (why, len(hello(*parts)))
