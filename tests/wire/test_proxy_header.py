"""The PROXY header: both versions as bytes, in pieces, with something behind them, and what is refused."""

from __future__ import annotations

from typing import Optional, Tuple, Union

import pytest

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.proxy_header import MAX_HEADER, ProxyHeader, read_proxy_header
from tests.support.hellos import CHROMIUM
from tests.support.wire_cases import GET, LEFTOVER

Outcome = Union[ProxyHeader, str, None]

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
# 192.0.2.1 port 56324 to 192.0.2.9 port 443
INET = bytes.fromhex("c0000201 c0000209 dc04 01bb")
# 2001:db8::1 port 56324 to 2001:db8::9 port 443
INET6 = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000009 dc04 01bb")
LONGEST = b"ffff:" * 7 + b"ffff"
UNIX = b"/run/a.sock".ljust(108, b"\0") + b"/run/b.sock".ljust(108, b"\0")
# ALPN h2, the checksum (which nobody has to check), four bytes that mean nothing.
VALUES = bytes.fromhex("010002 6832 030004 12345678 040004 00000000")


def binary(rest: bytes, kind: int, version_command: int = 0x21) -> bytes:
    """A header of version 2."""
    return SIGNATURE + bytes((version_command, kind)) + len(rest).to_bytes(2, "big") + rest


def outcome(data: bytes) -> Outcome:
    """The header, None if more is needed, or what is wrong."""
    try:
        return read_proxy_header(data)
    except RemoteProtocolError as error:
        # What is quoted of the beginning depends on how much of it there is.
        return str(error).partition(": it begins with ")[0]


def three_ways(data: bytes) -> Tuple[Outcome, int]:
    """What becomes of `data`, and after how many bytes; the same in pieces and with more behind it."""
    whole = outcome(data)
    steps = [outcome(data[:size]) for size in range(len(data) + 1)]
    decided = next((size for size, step in enumerate(steps) if step is not None), len(data))
    assert all(step == whole for step in steps[decided:])
    assert whole is None or all(outcome(data + more) == whole for more in (LEFTOVER, GET, CHROMIUM))
    return whole, decided


@pytest.mark.parametrize(
    "line, source",
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443", ("192.0.2.1", 56324)),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", ("255.255.255.255", 65535)),
        (b"PROXY TCP4 0.9.10.99 100.199.200.249 0 1", ("0.9.10.99", 0)),
        (b"PROXY TCP4 250.0.0.0 0.0.0.0 10 99", ("250.0.0.0", 10)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::9 56324 443", ("2001:db8::1", 56324)),
        (b"PROXY TCP6 2001:0DB8:0:0:0:0:0:0001 ::1 1 443", ("2001:db8::1", 1)),
        (b"PROXY TCP6 %b %b 65535 65535" % (LONGEST, LONGEST), (LONGEST.decode(), 65535)),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.9 7 443", ("192.0.2.1", 7)),
        (b"PROXY TCP6 ::ffff:c000:201 :: 7 443", ("192.0.2.1", 7)),
        (b"PROXY UNKNOWN", None),
        (b"PROXY UNKNOWN 192.0.2.1 192.0.2.9 56324 443", None),
        (b"PROXY UNKNOWN \0\xff anything", None),
        (b"PROXY UNKNOWN " + b"f" * 91, None),
    ],
)
def test_version_1(line: bytes, source: Optional[Tuple[str, int]]) -> None:
    data = line + b"\r\n"
    assert three_ways(data) == (ProxyHeader(len(data), source), len(data))


@pytest.mark.parametrize(
    "data, source",
    [
        (binary(INET, 0x11), ("192.0.2.1", 56324)),
        (binary(INET + VALUES, 0x11), ("192.0.2.1", 56324)),
        (binary(INET6, 0x21), ("2001:db8::1", 56324)),
        (binary(INET6 + VALUES, 0x21), ("2001:db8::1", 56324)),
        (binary(bytes(10) + b"\xff\xff" + INET[:4] + INET6[16:], 0x21), ("192.0.2.1", 56324)),
        (binary(bytes(36), 0x21), ("::", 0)),
        # Nobody who could be named: datagrams, unix sockets, unspecified in whole or in part.
        (binary(INET, 0x12), None),
        (binary(INET6, 0x22), None),
        (binary(UNIX, 0x31), None),
        (binary(UNIX + VALUES, 0x32), None),
        (binary(b"", 0x00), None),
        (binary(VALUES, 0x00), None),
        (binary(INET, 0x10), None),
        (binary(b"", 0x01), None),
        # LOCAL, for a health check: its family is ignored, and what comes with it skipped.
        (binary(b"", 0x00, 0x20), None),
        (binary(INET, 0x11, 0x20), None),
        (binary(b"xyz", 0x11, 0x20), None),
        (binary(VALUES, 0xFF, 0x20), None),
        (binary(INET + bytes(MAX_HEADER - 16 - len(INET)), 0x11), ("192.0.2.1", 56324)),
    ],
)
def test_version_2(data: bytes, source: Optional[Tuple[str, int]]) -> None:
    assert three_ways(data) == (ProxyHeader(len(data), source), len(data))


@pytest.mark.parametrize(
    "data, size",
    [
        (GET, 1),
        (CHROMIUM, 1),
        (b"\0", 1),
        (b"proxy TCP4", 1),
        (b"PROPFIND / HTTP/1.1\r\n", 4),
        (b"PROXY\r\n", 6),
        (b"PROXY\tUNKNOWN\r\n", 6),
        (b"\r\nGET / HTTP/1.1\r\n", 3),
        (SIGNATURE[:-1] + b"\r", 12),
        (b" PROXY UNKNOWN\r\n", 1),
    ],
)
def test_what_begins_no_header_is_refused_at_once(data: bytes, size: int) -> None:
    assert three_ways(data) == ("400: there is no PROXY header", size)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY ",
        b"PROXY  TCP4 192.0.2.1 192.0.2.9 1 2",
        b"PROXY TCP4",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2 ",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2 3",
        b"PROXY TCP4 192.0.2.1  192.0.2.9 1 2",
        b"PROXY TCP4\t192.0.2.1 192.0.2.9 1 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 01 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 00",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 +1 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 -1 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1_0 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 \xb2 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 100000 2",
        b"PROXY TCP4 a.test b.test 1 2",
        b"PROXY TCP4 192.0.2.1/24 192.0.2.9 1 2",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2",
        b"PROXY TCP6 [::1] [::1] 1 2",
        b"PROXY TCP5 192.0.2.1 192.0.2.9 1 2",
        b"PROXY UDP4 192.0.2.1 192.0.2.9 1 2",
        b"PROXY tcp4 192.0.2.1 192.0.2.9 1 2",
        b"PROXY UNIX /a /b",
        b"PROXY UNKNOWNS",
        b"PROXY unknown",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\0",
    ],
)
def test_malformed_lines(line: bytes) -> None:
    """The specification, 2.1: any sequence which does not exactly match the protocol must be discarded."""
    found, _ = three_ways(line + b"\r\n")
    assert isinstance(found, str)
    assert found.startswith("400: malformed PROXY line 'PROXY ")


@pytest.mark.parametrize(
    "family, address",
    [
        (4, b"192.0.2"),
        (4, b"192.0.2.1."),
        (4, b"192.0.2.256"),
        (4, b"192.0.2.01"),
        (4, b"192.0.2.1.1"),
        (4, b"1"),
        (4, b"c0.0.2.1"),
        (4, b"::1"),
        (4, b"::ffff:192.0.2.1"),
        (6, b"192.0.2.1"),
        (6, b":"),
        (6, b":::"),
        (6, b"1::2::3"),
        (6, b"1:2:3:4:5:6:7"),
        (6, b"1:2:3:4:5:6:7:8:9"),
        (6, b"12345::"),
        (6, b"::192.0.2.256"),
    ],
)
def test_malformed_addresses(family: int, address: bytes) -> None:
    good = b"192.0.2.9" if family == 4 else b"::1"
    for pair in (address + b" " + good, good + b" " + address):
        found, _ = three_ways(b"PROXY TCP%d %b 1 2\r\n" % (family, pair))
        assert found == f"400: {address.decode()!r} in the PROXY line is no IPv{family} address"


@pytest.mark.parametrize("ports", [b"65536 443", b"443 65536", b"99999 99999"])
def test_ports_that_do_not_exist(ports: bytes) -> None:
    found, _ = three_ways(b"PROXY TCP4 192.0.2.1 192.0.2.9 " + ports + b"\r\n")
    assert found == "400: a port in the PROXY line is over 65535"


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN\r\r\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY UNKNOWN a\nb\r\n",
        b"PROXY \n",
    ],
)
def test_a_line_ends_in_crlf_and_holds_no_part_of_it(data: bytes) -> None:
    assert three_ways(data)[0] == "400: the PROXY line does not end in CRLF"


@pytest.mark.parametrize("end", [b"\r\n", b"", b"\r"])
def test_a_line_is_at_most_107_bytes_long(end: bytes) -> None:
    data = b"PROXY UNKNOWN " + b"x" * 92 + end + b"x" * 20
    assert three_ways(data) == ("400: the PROXY line is over 107 bytes", 107)


@pytest.mark.parametrize(
    "data, why",
    [
        (binary(INET, 0x11, 0x11), "version and command 0x11"),
        (binary(INET, 0x11, 0x31), "version and command 0x31"),
        (binary(INET, 0x11, 0x22), "version and command 0x22"),
        (binary(INET, 0x11, 0x2F), "version and command 0x2f"),
        (binary(INET, 0x11, 0x01), "version and command 0x01"),
        (binary(INET, 0x41), "family and transport 0x41"),
        (binary(INET, 0x13), "family and transport 0x13"),
        (binary(INET, 0xFF), "family and transport 0xff"),
        (binary(INET[:-1], 0x11), "11 bytes for addresses of 12"),
        (binary(b"", 0x11), "0 bytes for addresses of 12"),
        (binary(INET, 0x21), "12 bytes for addresses of 36"),
        (binary(bytes(MAX_HEADER - 15), 0x11), f"{MAX_HEADER + 1} bytes, more than {MAX_HEADER}"),
        (binary(bytes(65535), 0x11, 0x20), f"65551 bytes, more than {MAX_HEADER}"),
    ],
)
def test_malformed_binary_headers_are_refused_by_their_first_16_bytes(data: bytes, why: str) -> None:
    assert three_ways(data[:100]) == (f"400: the PROXY header has {why}", 16)


@pytest.mark.parametrize("data", [b"PROXY TCP4 " + b"\x1b" * 90 + b"\r\n", b"\x1b" * 500, GET])
def test_an_error_repeats_a_little_in_printable_ascii(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_proxy_header(data)
    assert caught.value.why.endswith("'") or caught.value.why.endswith("...")
    assert len(caught.value.why) < 250
    assert caught.value.why.isascii()
    assert caught.value.why.isprintable()
