"""The request reader: bytes in any pieces to events, limits, faults, and what is left over."""

from __future__ import annotations

from typing import List

import pytest

from lwsws.wire.errors import LocalProtocolError, RemoteProtocolError
from lwsws.wire.http1_request import Data, EndOfMessage, Limits, Request, RequestReader
from tests.support.effort import LINEAR, growth
from tests.support.wire_cases import GET, POST, Transcript, byte_by_byte, head, three_ways, transcribe

CHUNKED = (
    b"PUT /file HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
)


def test_a_request_without_body() -> None:
    seen = three_ways(b"GET /a%20b?c=d HTTP/1.1\r\nHost: A.example:81\r\naCCept: */*\r\n\r\n")
    assert (seen.bodies, seen.ended, seen.fault) == ([b""], 1, None)
    request = seen.requests[0]
    assert (request.method, request.target, request.version) == ("GET", "/a%20b?c=d", "1.1")
    assert (request.path, request.query, request.form) == ("/a b", "c=d", "origin")
    assert (request.host, request.host_name, request.host_port) == ("A.example:81", "a.example", 81)
    assert request.headers.items == [("Host", "A.example:81"), ("aCCept", "*/*")]


def test_the_events_of_a_request_without_body() -> None:
    reader = RequestReader()
    reader.receive_data(GET)
    assert isinstance(reader.next_event(), Request)
    assert isinstance(reader.next_event(), EndOfMessage)
    assert reader.next_event() is None


def test_a_sized_body() -> None:
    seen = three_ways(POST)
    assert (seen.bodies, seen.ended, seen.fault) == ([b"hello"], 1, None)
    assert seen.requests[0].content_length == 5


def test_a_chunked_body() -> None:
    seen = three_ways(CHUNKED)
    assert (seen.bodies, seen.ended, seen.fault) == ([b"hello world"], 1, None)
    assert seen.requests[0].chunked
    # LESSONS 3.3: trailers are not merged into the header fields.
    assert "x-sum" not in seen.requests[0].headers


def test_data_comes_as_it_was_received() -> None:
    """Nothing waits for the rest of a body."""
    reader = RequestReader()
    reader.receive_data(POST[:-3])
    assert isinstance(reader.next_event(), Request)
    first = reader.next_event()
    assert isinstance(first, Data)
    assert first.data == b"he"
    assert reader.next_event() is None
    reader.receive_data(POST[-3:])
    second = reader.next_event()
    assert isinstance(second, Data)
    assert second.data == b"llo"
    assert isinstance(reader.next_event(), EndOfMessage)


def test_pipelined_requests_come_in_order() -> None:
    data = GET + POST + b"\r\n" + CHUNKED + GET
    seen = three_ways(data)
    assert [request.method for request in seen.requests] == ["GET", "POST", "PUT", "GET"]
    assert seen.bodies == [b"", b"hello", b"hello world", b""]
    assert (seen.ended, seen.fault) == (4, None)


def test_the_next_request_waits_for_start_next() -> None:
    reader = RequestReader()
    reader.receive_data(GET + GET)
    assert isinstance(reader.next_event(), Request)
    assert isinstance(reader.next_event(), EndOfMessage)
    assert reader.next_event() is None
    assert reader.buffered == len(GET)
    reader.start_next()
    assert isinstance(reader.next_event(), Request)


def test_start_next_is_refused_before_the_end() -> None:
    reader = RequestReader()
    with pytest.raises(LocalProtocolError):
        reader.start_next()
    reader.receive_data(POST)
    reader.next_event()
    with pytest.raises(LocalProtocolError):
        reader.start_next()


def test_the_raw_head_is_kept() -> None:
    for pieces in ([b"\r\n" + POST], byte_by_byte(b"\r\n" + POST)):
        seen = transcribe(RequestReader(), pieces)
        assert seen.requests[0].raw == POST[:-5]


def test_one_empty_line_in_front_is_skipped() -> None:
    """RFC 9112 2.2."""
    assert three_ways(b"\r\n" + GET).ended == 1
    assert three_ways(GET + b"\r\n" + GET + b"\r\n").ended == 2


def test_every_method_that_is_a_token_is_read() -> None:
    for method in (b"GET", b"get", b"M-SEARCH", b"!#$%&'*+-.^_`|~09", b"x" * 32):
        assert three_ways(head(start=method + b" / HTTP/1.1")).requests[0].method == method.decode()


def test_field_values_keep_their_bytes() -> None:
    seen = three_ways(head(b"X-A: \xff\x80 \t b  ", b"X_B:", b"X-C:c"))
    assert seen.requests[0].headers.items[1:] == [("X-A", "\xff\x80 \t b"), ("X_B", ""), ("X-C", "c")]


# The end of the input


@pytest.mark.parametrize(
    "data, ended", [(b"", 0), (b"\r\n", 0), (GET, 1), (POST + CHUNKED, 2), (GET + b"\r\n", 1)]
)
def test_eof_between_requests_is_no_fault(data: bytes, ended: int) -> None:
    seen = three_ways(data, eof=True)
    assert (seen.ended, seen.fault) == (ended, None)


def test_eof_inside_a_message_is_a_fault() -> None:
    for data in (GET, POST, CHUNKED):
        for cut in range(1, len(data)):
            seen = transcribe(RequestReader(), [data[:cut]], eof=True)
            assert seen.fault == (400, "the connection was closed in the middle of a request"), data[:cut]
            assert seen.ended == 0


def test_what_came_before_eof_is_still_read() -> None:
    """A client may half-close and wait for its answers."""
    reader = RequestReader()
    reader.receive_data(GET + GET + b"GET")
    reader.receive_eof()
    seen = transcribe(reader, [b""])
    assert (seen.ended, seen.fault and seen.fault[0]) == (2, 400)


# What the role asks


def test_started_tells_whether_a_request_is_under_way() -> None:
    reader = RequestReader()
    states: List[bool] = []
    for piece in (b"", b"\r\n", *byte_by_byte(POST)):
        reader.receive_data(piece)
        event = reader.next_event()
        while event is not None and not isinstance(event, EndOfMessage):
            event = reader.next_event()
        states.append(reader.started)
    # Not before the first byte of the request line, and no longer when the message is complete.
    assert states == [False, False] + [True] * (len(POST) - 1) + [False]
    reader.receive_data(b"G")
    assert reader.started


def test_a_request_is_under_way_until_its_end_was_given_out() -> None:
    reader = RequestReader()
    reader.receive_data(GET)
    events = [(type(reader.next_event()), reader.started) for _ in range(3)]
    assert events == [(Request, True), (EndOfMessage, False), (type(None), False)]


def test_buffered_counts_the_bytes_not_used_yet() -> None:
    reader = RequestReader()
    reader.receive_data(GET[:10])
    assert reader.buffered == 10
    reader.next_event()
    assert reader.buffered == 10
    reader.receive_data(GET[10:] + b"more")
    reader.next_event()
    assert reader.buffered == 4


def test_leftover_takes_out_what_was_not_used() -> None:
    reader = RequestReader()
    reader.receive_data(GET + b"\x81\x05hello")
    reader.next_event()
    reader.next_event()
    assert reader.leftover() == b"\x81\x05hello"
    assert reader.leftover() == b""
    assert reader.buffered == 0
    assert not reader.started


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x00\xa5", b"\r\nSSH-2.0-x\r\n", b"\r\n\r\n", b"HELO there\r\n\r\n"]
)
def test_after_a_fault_in_the_first_head_all_bytes_are_left(data: bytes) -> None:
    """Another role may make sense of them: the raw fallback gets everything that came."""
    for pieces in ([data], byte_by_byte(data)):
        reader = RequestReader()
        given = b""
        with pytest.raises(RemoteProtocolError):
            for piece in pieces:
                reader.receive_data(piece)
                given += piece
                reader.next_event()
        assert reader.leftover() == given


def test_events_and_requests_show_what_they_are() -> None:
    seen = three_ways(GET).requests[0]
    assert repr(seen) == "Request('GET', '/', '1.1', Headers([('Host', 'a.example')]))"
    assert repr(Data(b"x")) == "Data(b'x')"
    assert repr(EndOfMessage()) == "EndOfMessage()"


# Effort


def read_bytes(data: bytes) -> Transcript:
    """Byte by byte, with limits that do not get in the way."""
    return transcribe(RequestReader(Limits(10**6, 10**6, 10**6, 10**6, 10**6)), byte_by_byte(data))


@pytest.mark.parametrize(
    "begin, filler, end",
    [
        (b"GET /", b"x", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x", b"\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X:\r\n", b"\r\n"),
        (head(b"Transfer-Encoding: chunked"), b"1\r\nx\r\n", b"0\r\n\r\n"),
        (head(b"Transfer-Encoding: chunked") + b"1;", b"x", b"\r\ny\r\n"),
        (head(b"Transfer-Encoding: chunked") + b"0\r\nX: ", b"x", b"\r\n\r\n"),
        (head(b"Transfer-Encoding: chunked") + b"0\r\n", b"X:\r\n", b"\r\n"),
    ],
)
def test_single_bytes_take_linear_time(begin: bytes, filler: bytes, end: bytes) -> None:
    """LESSONS 3.10: nothing is looked at again when the next byte comes."""

    def read(size: int) -> None:
        assert read_bytes(begin + filler * (size // len(filler)) + end).requests

    assert growth(read, 4000) < LINEAR


@pytest.mark.parametrize("data", [GET, POST, CHUNKED])
def test_pipelined_requests_take_linear_time(data: bytes) -> None:
    """LESSONS 3.10: taking one from the front does not move all the others each time."""
    assert growth(lambda size: transcribe(RequestReader(), [data * size]), 250) < LINEAR
