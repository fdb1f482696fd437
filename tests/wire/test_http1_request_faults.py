"""The request reader refusing: malformed heads and bodies, limits, and that nothing is read after a fault."""

from __future__ import annotations

from typing import Callable, List, Tuple

import pytest

from lwsws.wire.errors import LocalProtocolError, RemoteProtocolError
from lwsws.wire.http1_request import Data, EndOfMessage, Limits, Request, RequestReader
from tests.support.wire_cases import GET, POST, head, three_ways, transcribe

SMALL = Limits(line_bytes=40, head_bytes=100, header_count=4, chunk_line=16, trailer_bytes=32)


def small() -> RequestReader:
    return RequestReader(SMALL)


def fault_of(data: bytes, make: Callable[[], RequestReader] = RequestReader) -> Tuple[int, str]:
    """Status and reason of the fault that `data` is, read in three ways; nothing may come before it."""
    seen = three_ways(data, make)
    assert seen.requests == []
    assert seen.fault is not None
    assert len(seen.fault[1]) < 150
    assert seen.fault[1].isascii()
    return seen.fault


def status_of(data: bytes, make: Callable[[], RequestReader] = RequestReader) -> int:
    return fault_of(data, make)[0]


def padded_head(size: int, start: bytes = b"GET / HTTP/1.1") -> bytes:
    """A head of `size` bytes, filled up with one field."""
    filler = size - len(head(b"X: ", start=start))
    return head(b"X: " + b"x" * filler, start=start)


@pytest.mark.parametrize(
    "line, status",
    [
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/9.9", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET /", 400),
        (b"GET / ", 400),
        (b"GET", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / HTTP/1.", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/1.1 x", 400),
        (b"GET / HTTP/1.\xb2", 400),
        (b"GET / FTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET /  HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET /\tHTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\x01 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\r HTTP/1.1", 400),
        (b"GET  HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"G\xc4T / HTTP/1.1", 400),
        (b"GET:/ / HTTP/1.1", 400),
        (b"SSH-2.0-OpenSSH_9.2", 400),
        (b"HELP", 400),
        (b"x" * 33 + b" / HTTP/1.1", 501),
        (b"CONNECT a.example:443 HTTP/1.1", 501),
        (b"GET /%00 HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
    ],
)
def test_bad_request_lines(line: bytes, status: int) -> None:
    """LESSONS 3.4 and 3.5."""
    assert status_of(head(start=line)) == status


@pytest.mark.parametrize(
    "first", [b"\x16", b"\x00", b" ", b"\t", b"\n", b"\x80", b"\xff", b"{", b"<", b'"', b":"]
)
def test_what_cannot_begin_a_request_is_refused_at_its_first_byte(first: bytes) -> None:
    """A TLS hello on a plain port would otherwise wait for a line end until the deadline."""
    status, why = fault_of(first)
    assert status == 400
    assert "no HTTP request" in why
    assert fault_of(first + b"\x03\x01\x02\x00\r\n\r\n") == (status, why)
    assert fault_of(b"\r\n" + first) == (status, why)


def test_only_one_empty_line_may_come_first() -> None:
    assert status_of(b"\r\n\r\n" + GET) == 400
    assert status_of(b"\r\n\r") == 400
    assert status_of(b"\rG") == 400


@pytest.mark.parametrize(
    "line",
    [
        b"X-A : b",
        b"X-A\t: b",
        b": b",
        b"X-A",
        b"X A: b",
        b"X-\xe4: b",
        b"X-A: b\x00c",
        b"X-A: b\rc",
        b"X-A: b\nX-B: c",
        b"X-A: b\n",
        b"X-A: b\r\r\n",
        b"X-A: \x01",
        b"X-A: \x7f",
        b"X-A: b\r\n folded",
        b"X-A: b\r\n\tfolded",
        b" X-A: b",
        b"\t",
    ],
)
def test_bad_field_lines(line: bytes) -> None:
    """LESSONS 3.4."""
    assert status_of(head(line)) == 400
    assert status_of(head(b"Accept: */*", line, b"Accept-Language: en")) == 400
    assert status_of(head(host=line)) == 400


def test_a_bare_lf_is_refused_when_it_comes() -> None:
    """LESSONS 3.4: a head with bare LF has no end to wait for."""
    assert fault_of(b"GET / HTTP/1.1\n") == (400, "a line ends in LF without CR")
    assert fault_of(b"GET / HTTP/1.1\r\nHost: a.example\n\n") == (400, "a line ends in LF without CR")
    assert fault_of(b"GET / HTTP/1.1\r\nHost: a.example\r\n\n") == (400, "a line ends in LF without CR")


def test_the_first_fault_counts() -> None:
    """However much of the head is there, and whatever else is wrong with it."""
    assert status_of(b"GET / HTTP/2.0\r\nX : y\r\n\r\n") == 505
    assert status_of(b"GET / HTTP/2.0\r\n") == 505
    assert "colon" in fault_of(b"GET /%zz HTTP/1.1\r\nX : y\r\nno colon\r\n\r\n")[1]


@pytest.mark.parametrize(
    "lines, status",
    [
        ([b"Host: a.example"], 400),
        ([b"Content-Length: 5", b"Content-Length: 5"], 400),
        ([b"Content-Length: 5, 5"], 400),
        ([b"Content-Length: +5"], 400),
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: \x0bchunked"], 400),
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Expect: the unexpected"], 417),
    ],
)
def test_heads_that_contradict_the_rules(lines: List[bytes], status: int) -> None:
    """LESSONS 3.1, 3.2 and 3.5; the cases are in test_request.py."""
    assert status_of(head(*lines)) == status


@pytest.mark.parametrize(
    "body, status",
    [
        (b"x\r\n", 400),
        (b"5\nhello\r\n0\r\n\r\n", 400),
        (b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
        (b"5\r\nhelloxx", 400),
        (b"5\r\nhello\n0\r\n\r\n", 400),
        (b"1;" + b"x" * 300, 400),
        (b"0\r\nX : y\r\n\r\n", 400),
        (b"0\r\n" + b"X: y\r\n" * 1000, 431),
    ],
)
def test_bad_chunks(body: bytes, status: int) -> None:
    """LESSONS 3.3; the cases are in test_http1_body.py."""
    seen = three_ways(head(b"Transfer-Encoding: chunked") + body)
    assert len(seen.requests) == 1
    assert seen.ended == 0
    assert seen.fault is not None
    assert seen.fault[0] == status


def assert_stopped(reader: RequestReader) -> None:
    """LESSONS 3.6: whatever comes now, nothing is read and nothing is kept."""
    held = reader.buffered
    reader.receive_data(GET)
    assert reader.next_event() is None
    assert reader.buffered == held
    reader.receive_eof()
    assert reader.next_event() is None
    with pytest.raises(LocalProtocolError):
        reader.start_next()


@pytest.mark.parametrize(
    "data", [b"\x16", b"GET / HTTP/2.0\r\n", head(b"X : y"), head(b"Content-Length: x"), head(b"X") + GET]
)
def test_after_a_fault_nothing_is_read(data: bytes) -> None:
    """LESSONS 3.6."""
    reader = RequestReader()
    reader.receive_data(data)
    with pytest.raises(RemoteProtocolError):
        reader.next_event()
    assert_stopped(reader)


def test_after_a_fault_in_a_body_nothing_is_read() -> None:
    """LESSONS 3.6."""
    reader = RequestReader()
    reader.receive_data(head(b"Transfer-Encoding: chunked") + b"zz\r\n" + GET)
    assert isinstance(reader.next_event(), Request)
    with pytest.raises(RemoteProtocolError):
        reader.next_event()
    assert_stopped(reader)


# Limits


def test_a_request_line_at_and_over_its_limit() -> None:
    """LESSONS 3.7."""
    longest = b"GET /" + b"x" * 26 + b" HTTP/1.1"
    assert len(longest) == SMALL.line_bytes
    assert three_ways(head(start=longest), small).ended == 1
    assert status_of(head(start=longest.replace(b"/", b"/x")), small) == 414


def test_a_request_line_without_end_is_cut_off_at_its_limit() -> None:
    """LESSONS 3.7: as soon as it is clear that it cannot end in time."""
    line = b"GET /" + b"x" * (SMALL.line_bytes - 5)
    assert three_ways(line + b"\r", small).fault is None
    assert status_of(line + b"\rx", small) == 414
    assert status_of(line + b"xx", small) == 414
    assert status_of(b"x" * 10**5) == 414


def test_a_head_at_and_over_its_limit() -> None:
    """LESSONS 3.7."""
    assert three_ways(padded_head(SMALL.head_bytes), small).ended == 1
    assert status_of(padded_head(SMALL.head_bytes + 1), small) == 431
    assert three_ways(b"\r\n" + padded_head(SMALL.head_bytes), small).ended == 1
    assert three_ways(padded_head(16384)).ended == 1
    assert status_of(padded_head(16385)) == 431


def test_a_head_without_end_is_cut_off_at_its_limit() -> None:
    """LESSONS 3.7."""
    begun = padded_head(SMALL.head_bytes + 10)[: SMALL.head_bytes - 1]
    assert three_ways(begun, small).fault is None
    assert status_of(begun + b"x", small) == 431


def test_the_limit_of_the_head_holds_even_below_that_of_its_line() -> None:
    """LESSONS 3.7: nobody should configure this, but then it must not mean "no limit"."""
    assert status_of(padded_head(101), lambda: RequestReader(Limits(line_bytes=200, head_bytes=100))) == 431


def test_the_number_of_fields_is_limited() -> None:
    """LESSONS 3.7."""
    assert three_ways(head(b"A:", b"B:", b"C:"), small).ended == 1
    assert status_of(head(b"A:", b"B:", b"C:", b"D:"), small) == 431
    assert three_ways(head(*[b"A: b"] * 99)).ended == 1
    assert fault_of(head(*[b"A: b"] * 100)) == (431, "more than 100 headers")


def test_a_fault_before_the_limit_counts_first() -> None:
    assert status_of(head(b"A : b", b"B:", b"C:", b"D:"), small) == 400
    assert status_of(head(b"A:", b"B:", b"C:", b"D:", b"E : b"), small) == 431
    assert status_of(b"GET / HTTP/2.0\r\n" + b"x" * 200, small) == 505


def test_limits_are_for_each_request() -> None:
    request = head(b"A:", b"B:", b"C:")
    assert three_ways(request * 10, small).ended == 10


def test_a_sized_body_over_the_limit_is_refused_at_once() -> None:
    """LESSONS 3.7."""
    reader = RequestReader()
    reader.receive_data(POST)
    reader.next_event()
    reader.limit_body(5)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.limit_body(4)
    assert caught.value.status == 413
    assert_stopped(reader)


def test_a_chunked_body_is_refused_when_it_goes_over_the_limit() -> None:
    """LESSONS 3.7: when the size is announced, not when the data has come."""
    reader = RequestReader()
    reader.receive_data(head(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n1\r\n")
    reader.next_event()
    reader.limit_body(5)
    assert isinstance(reader.next_event(), Data)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next_event()
    assert caught.value.status == 413
    assert_stopped(reader)


def test_a_limit_is_for_one_body() -> None:
    """Neither one set too early nor one of the request before."""
    reader = RequestReader()
    reader.receive_data(POST + POST)
    reader.limit_body(0)
    reader.next_event()
    reader.limit_body(5)
    while not isinstance(reader.next_event(), EndOfMessage):
        pass
    reader.limit_body(0)
    reader.start_next()
    assert transcribe(reader, [b""]).bodies == [b"hello"]


def test_a_request_without_body_has_no_body_to_limit() -> None:
    reader = RequestReader()
    reader.receive_data(GET)
    reader.next_event()
    reader.limit_body(0)
    assert isinstance(reader.next_event(), EndOfMessage)
