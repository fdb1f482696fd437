"""The response reader refusing: what could be read in two ways is a 502, and nothing is read after it."""

from __future__ import annotations

import pytest

from lwsws.wire.http1_response import MAX_INTERIMS, Limits, ResponseReader
from tests.support.answer_cases import OK, Answer, answer_head, answer_in_all_ways, read_answer
from tests.support.effort import LINEAR, growth
from tests.support.wire_cases import byte_by_byte

SMALL = Limits(line_bytes=40, head_bytes=100, header_count=4, chunk_line=16, trailer_bytes=32)
CHUNKED = answer_head(b"Transfer-Encoding: chunked")


def small(method: str) -> ResponseReader:
    return ResponseReader(method, SMALL)


def why(seen: Answer) -> str:
    """What is wrong with an answer that is a fault."""
    assert seen.fault is not None
    assert seen.fault[0] == 502
    assert len(seen.fault[1]) < 150
    assert seen.fault[1].isascii()
    assert not seen.ended
    return seen.fault[1]


def head_fault(data: bytes, method: str = "GET") -> str:
    seen = answer_in_all_ways(data, method)
    assert seen.responses == []
    return why(seen)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 x", b"HTTP/1.1 600 x",
        b"HTTP/1.1 999 x", b"HTTP/1.1 +20 x", b"HTTP/1.1 2\xb20 x", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK",
        b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.10 200 OK", b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK", b"ICY 200 OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\x01K",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\x7fK", b"<html>", b"\r\nHTTP/1.1 200 OK", b"\x15\x03\x01\x00\x02", b"SSH-2.0-x",
    ],
)
def test_malformed_status_lines(start: bytes) -> None:
    head_fault(answer_head(b"Content-Length: 0", start=start))


def test_line_ends_are_cr_lf() -> None:
    assert "LF without CR" in head_fault(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n")
    assert "LF without CR" in head_fault(b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "field",
    [b" folded", b"\tfolded", b"A : b", b": b", b"no colon", b"A\x00: b", b"A: \x00", b"A: \x7f", b"A: b\rc",
     b"A(: b", b"\xe9: b"],
)
def test_malformed_fields(field: bytes) -> None:
    """LESSONS 3.4 and 3.9, for what upstream sends."""
    head_fault(answer_head(b"Content-Length: 0", field))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "length",
    [b"", b"+5", b"-0", b"5, 5", b"5,5", b"0x5", b"5 5", b"5_0", b"5;", b"\xb2", b"1" * 20, b"five"])
def test_lengths_that_are_no_number(length: bytes, method: str) -> None:
    """LESSONS 3.1."""
    assert "Content-Length" in head_fault(answer_head(b"Content-Length: " + length), method)


@pytest.mark.parametrize("second", [b"5", b"6"])
def test_two_lengths(second: bytes) -> None:
    head_fault(answer_head(b"Content-Length: 5", b"content-length: " + second))


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"gzip, chunked", b"chunked, chunked", b"chunked;x=y", b"x-chunked", b"", b"\x0bchunked",
               b"identity", b"chunked,", b"chunked\xa0"])
def test_codings_but_chunked(coding: bytes) -> None:
    """LESSONS 3.2."""
    head_fault(answer_head(b"Transfer-Encoding: " + coding))


def test_two_codings() -> None:
    head_fault(answer_head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"))


def test_a_length_and_a_coding() -> None:
    for fields in ((b"Content-Length: 5", b"Transfer-Encoding: chunked"),
                   (b"Transfer-Encoding: chunked", b"Content-Length: 5")):
        assert "both" in head_fault(answer_head(*fields))
        assert "both" in head_fault(answer_head(*fields), "HEAD")


def test_chunks_in_http_1_0() -> None:
    head_fault(answer_head(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"))


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\nhello\r\n", b"5\r\nhelloo\r\n", b"5\r\nhello\n0\r\n\r\n", b"0x5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"5 \r\nhello\r\n", b"5;a\nb\r\nhello\r\n", b"5;\x00\r\nhello\r\n", b"\r\n", b"g\r\n",
        b"f" * 17 + b"\r\n",
        b"0\r\nA : b\r\n\r\n", b"0\r\nA: b\n\r\n", b"5;" + b"x" * 300 + b"\r\n",
        b"0\r\n" + b"A: " + b"x" * 20000 + b"\r\n\r\n",
    ],
)
def test_malformed_chunks(chunks: bytes) -> None:
    """LESSONS 3.3."""
    seen = answer_in_all_ways(CHUNKED + chunks)
    assert seen.response.chunked
    why(seen)


@pytest.mark.parametrize(
    "data",
    [b"", b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", CHUNKED,
     CHUNKED + b"5\r\nhello\r\n", CHUNKED + b"5\r\nhello\r\n0\r\n", CHUNKED + b"5\r\nhel",
     answer_head(start=b"HTTP/1.1 100 Continue")],
)
def test_the_connection_ends_too_early(data: bytes) -> None:
    """An answer that is cut off is never taken for a complete one."""
    assert "closed" in why(answer_in_all_ways(data, eof=True))


def test_an_end_without_any_answer_has_words_of_its_own() -> None:
    assert why(answer_in_all_ways(b"", eof=True)) == "the connection was closed without a response"


def test_too_many_interim_answers() -> None:
    interim = answer_head(start=b"HTTP/1.1 102 Processing")
    assert answer_in_all_ways(interim * MAX_INTERIMS + OK).ended
    seen = answer_in_all_ways(interim * (MAX_INTERIMS + 1) + OK)
    assert len(seen.interims) == MAX_INTERIMS
    assert "interim" in why(seen)


def test_interim_answers_in_http_1_0() -> None:
    """RFC 9110 15.2."""
    head_fault(answer_head(start=b"HTTP/1.0 100 Continue"))


def test_a_101_that_nobody_asked_for() -> None:
    """RFC 9110 7.8."""
    head_fault(answer_head(b"Upgrade: websocket", start=b"HTTP/1.1 101 Switching Protocols"))


@pytest.mark.parametrize("field", [b"Content-Length: 0", b"Transfer-Encoding: chunked"])
def test_a_101_with_a_body(field: bytes) -> None:
    seen = answer_in_all_ways(answer_head(b"Upgrade: websocket", field, start=b"HTTP/1.1 101 x"),
                              make=lambda method: ResponseReader(method, upgrade=True))
    why(seen)


def test_limits_of_the_head() -> None:
    """LESSONS 3.7."""
    line = b"HTTP/1.1 200 " + b"x" * 27
    assert answer_in_all_ways(answer_head(b"Content-Length: 0", start=line), make=small).ended
    assert "status line" in why(answer_in_all_ways(answer_head(start=line + b"x"), make=small))
    fields = [b"Content-Length: 0", b"A: b", b"A: b", b"A: b"]
    assert answer_in_all_ways(answer_head(*fields), make=small).ended
    assert "more than 4" in why(answer_in_all_ways(answer_head(*fields, b"A: b"), make=small))
    assert "response head is over" in why(answer_in_all_ways(answer_head(b"A: " + b"x" * 100), make=small))


def test_a_head_without_end_is_given_up_in_time() -> None:
    reader = small("GET")
    seen = read_answer(reader, byte_by_byte(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 500))
    assert "over" in why(seen)
    assert reader.buffered <= 101


def test_nothing_is_read_after_a_fault() -> None:
    """LESSONS 3.6."""
    reader = ResponseReader("GET")
    assert read_answer(reader, [b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"]).fault is not None
    assert read_answer(reader, [OK], eof=True).summary() == ([], [], b"", False, None)
    assert not reader.reusable
    assert not reader.done


def test_a_head_in_single_bytes_takes_linear_time() -> None:
    wide = Limits(10**7, 10**7, 10**7, 10**7, 10**7)

    def read(size: int) -> None:
        data = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (size // 6)
        read_answer(ResponseReader("GET", wide), byte_by_byte(data))

    assert growth(read, 3000) < LINEAR
