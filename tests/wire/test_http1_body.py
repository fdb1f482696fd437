"""Bodies by size and in chunks: what belongs to them, where they end, and what is refused."""

from __future__ import annotations

from typing import List, Tuple, Union

import pytest

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_body import EXTENSION_ALLOWANCE, ChunkedBody, SizedBody, UnsizedBody
from tests.support.wire_cases import byte_by_byte

LINE_BYTES = 32
TRAILER_BYTES = 64

Body = Union[SizedBody, ChunkedBody, UnsizedBody]


def chunked() -> ChunkedBody:
    return ChunkedBody(LINE_BYTES, TRAILER_BYTES)


def read_all(body: Body, pieces: List[bytes]) -> Tuple[bytes, bytes]:
    """The data of `body` in `pieces`, and what is left over."""
    buffer = bytearray()
    data = b""
    for piece in pieces:
        buffer += piece
        part = body.read(buffer)
        while part:
            data += part
            part = body.read(buffer)
    return data, bytes(buffer)


def ways(data: bytes) -> List[List[bytes]]:
    return [[data], byte_by_byte(data)]


def fault_of(data: bytes) -> Tuple[bytes, int, str]:
    """The data before the fault in a chunked body, the status and the reason; the same in all ways."""
    outcomes = set()
    for pieces in (*ways(data), [data + b"\r\nleftover"]):
        body, buffer, read = chunked(), bytearray(), b""
        with pytest.raises(RemoteProtocolError) as caught:
            for piece in pieces:
                buffer += piece
                part = body.read(buffer)
                while part:
                    read += part
                    part = body.read(buffer)
        assert not body.complete
        outcomes.add((read, caught.value.status, caught.value.why))
    assert len(outcomes) == 1
    return outcomes.pop()


def test_a_sized_body_takes_its_bytes_and_no_more() -> None:
    for pieces in ways(b"hello" + b"leftover"):
        body = SizedBody(5)
        assert not body.complete
        assert read_all(body, pieces) == (b"hello", b"leftover")
        assert body.complete


def test_a_sized_body_gives_what_is_there() -> None:
    body = SizedBody(10)
    buffer = bytearray(b"hel")
    assert body.read(buffer) == b"hel"
    assert body.read(buffer) == b""
    assert not body.complete


def test_a_sized_body_is_limited_by_its_size() -> None:
    SizedBody(5).limit(5)
    with pytest.raises(RemoteProtocolError) as caught:
        SizedBody(6).limit(5)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"00000000000000A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        (b'5 \t; n = "a;b\t\xff"\r\nhello\r\n0\r\n\r\n', b"hello"),
        (b"1;\r\nx\r\n0\r\n\r\n", b"x"),
        (b"0\r\nX-A: b\r\nContent-Length: 7\r\n\r\n", b""),
    ],
)
def test_chunked_bodies(data: bytes, expected: bytes) -> None:
    """RFC 9112 7.1, LESSONS 3.3."""
    for leftover in (b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"\0"):
        for pieces in ways(data + leftover):
            body = chunked()
            assert read_all(body, pieces) == (expected, leftover)
            assert body.complete


def test_chunk_data_is_given_as_it_comes() -> None:
    body = chunked()
    buffer = bytearray(b"a\r\nhel")
    assert body.read(buffer) == b"hel"
    assert body.read(buffer) == b""
    buffer += b"lo"
    assert body.read(buffer) == b"lo"


@pytest.mark.parametrize(
    "size",
    [
        b"",
        b" 5",
        b"5 ",
        b"5\t",
        b"+5",
        b"-5",
        b"0x5",
        b"5_0",
        b"5h",
        b"g",
        b"\xb2",
        b"5,5",
        b"5\x00",
        b"5\x0b",
        b"00000000000000005",  # 17 digits
        b"5 name=value",
        b"5;a\rb",
        b"5;a\x00b",
        b"5;a\x7fb",
        b"\r5",
        b"5\r",
    ],
)
def test_malformed_chunk_sizes(size: bytes) -> None:
    """LESSONS 3.3 and F6."""
    assert fault_of(size + b"\r\nhello\r\n0\r\n\r\n") == (b"", 400, "a malformed chunk size line")


def test_an_lf_does_not_end_a_chunk_line() -> None:
    """LESSONS 3.3: an LF in an extension has been used to hide requests (CVE-2024-52304)."""
    assert fault_of(b"5\nhello\r\n0\r\n\r\n")[1:] == (400, "a malformed chunk size line")
    assert fault_of(b"5;a\nb\r\nhello\r\n0\r\n\r\n")[1:] == (400, "a malformed chunk size line")


def test_a_chunk_line_is_bounded() -> None:
    """LESSONS 3.3."""
    longest = b"1;" + b"x" * (LINE_BYTES - 4) + b"\r\n"
    assert len(longest) == LINE_BYTES
    assert read_all(chunked(), [longest + b"y\r\n0\r\n\r\n"]) == (b"y", b"")
    assert fault_of(b"1;x" + longest[2:])[1:] == (400, f"a chunk size line over {LINE_BYTES} bytes")
    assert fault_of(b"1" * LINE_BYTES)[1] == 400


def test_extensions_may_not_outweigh_the_data() -> None:
    """LESSONS 3.3: each chunk of one byte with a full line of extension is work for nothing."""
    line = b"1;" + b"x" * 20 + b"\r\ny\r\n"
    status, why = fault_of(line * (EXTENSION_ALLOWANCE // 19))[1:]
    assert (status, why) == (400, "more bytes of chunk extensions than of data")
    big = b"40;" + b"x" * 20 + b"\r\n" + b"y" * 64 + b"\r\n"
    assert read_all(chunked(), [big * 1000 + b"0\r\n\r\n"]) == (b"y" * 64000, b"")


@pytest.mark.parametrize("end", [b"xx", b"\n\r", b"\nx", b"\rx", b"\n", b"0\r\n\r\n", b"\r\r\n"])
def test_the_end_of_a_chunk_is_verified(end: bytes) -> None:
    """LESSONS 3.3."""
    data, status, _ = fault_of(b"5\r\nhello" + end + b"0\r\n\r\n")
    assert (data, status) == (b"hello", 400)


@pytest.mark.parametrize(
    "trailer",
    [b"X-A\r\n", b" X-A: b\r\n", b"X-A : b\r\n", b"X-A: b\n", b"X-A: \0\r\n", b": b\r\n", b"\n", b"\r\r\n"],
)
def test_trailers_are_checked_like_header_fields(trailer: bytes) -> None:
    """LESSONS 3.3: CVE-2025-53643."""
    assert fault_of(b"0\r\nOk: ok\r\n" + trailer + b"\r\n")[1] == 400


def test_trailers_are_bounded_in_bytes() -> None:
    """LESSONS 3.3 and 3.7; the empty line at the end counts, too."""
    fields = b"X-A: " + b"b" * 23 + b"\r\n" + b"X-B: " + b"b" * 25 + b"\r\n"
    assert len(fields + b"\r\n") == TRAILER_BYTES
    assert read_all(chunked(), [b"0\r\n" + fields + b"\r\n"]) == (b"", b"")
    assert fault_of(b"0\r\nX" + fields + b"\r\n")[1] == 431
    assert fault_of(b"0\r\n" + b"x" * TRAILER_BYTES)[1] == 431


def test_the_sum_of_the_chunks_is_limited() -> None:
    """LESSONS 3.7: refused when the size is announced, before the data comes."""
    for pieces in ways(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"):
        body = chunked()
        body.limit(5)
        assert read_all(body, pieces) == (b"abcde", b"")
        body = chunked()
        body.limit(4)
        with pytest.raises(RemoteProtocolError) as caught:
            read_all(body, pieces)
        assert caught.value.status == 413


def test_a_limit_set_late_holds_for_what_was_read() -> None:
    body = chunked()
    assert body.read(bytearray(b"ffffffffffffffff\r\nx")) == b"x"
    with pytest.raises(RemoteProtocolError) as caught:
        body.limit(1000)
    assert caught.value.status == 413


# Bodies that only responses have


def test_bytes_that_go_another_way_count() -> None:
    body = SizedBody(5)
    body.skip(2)
    assert (body.remaining, body.complete) == (3, False)
    buffer = bytearray(b"hello")
    assert body.read(buffer) == b"hel"
    assert (body.remaining, body.complete, bytes(buffer)) == (0, True, b"lo")


def test_a_body_without_size_takes_all() -> None:
    body = UnsizedBody()
    for pieces in ways(b"hello"):
        assert read_all(body, pieces) == (b"hello", b"")
    assert not body.complete
