"""The response reader: bytes in any pieces to events, where a body ends, and if the connection is kept."""

from __future__ import annotations

import pytest

from lwsws.wire.errors import LocalProtocolError, RemoteProtocolError
from lwsws.wire.http1_response import BOUNDLESS, Data, EndOfMessage, Interim, Response, ResponseReader
from tests.support.answer_cases import OK, answer_head, answer_in_all_ways, read_answer
from tests.support.wire_cases import LEFTOVER

CHUNKED = (answer_head(b"Transfer-Encoding: chunked")
           + b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n")


def test_a_sized_answer() -> None:
    seen = answer_in_all_ways(b"HTTP/1.1 404 Not  Here \xe9\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello")
    response = seen.response
    assert (seen.body, seen.ended, seen.interims) == (b"hello", True, [])
    assert (response.status, response.reason, response.version) == (404, "Not  Here \xe9", "1.1")
    assert response.headers.items == [("Content-Length", "5"), ("X-A", "b")]
    assert (response.content_length, response.chunked, response.has_body) == (5, False, True)
    assert response.keep_alive


def test_a_chunked_answer() -> None:
    seen = answer_in_all_ways(CHUNKED)
    assert (seen.body, seen.ended) == (b"hello world", True)
    assert (seen.response.chunked, seen.response.content_length) == (True, None)
    # LESSONS 3.3: trailers are not merged into the header fields.
    assert "x-sum" not in seen.response.headers


def test_an_answer_up_to_the_end_of_the_connection() -> None:
    seen = answer_in_all_ways(answer_head() + b"any\r\n\r\nthing", eof=True)
    assert (seen.body, seen.ended) == (b"any\r\n\r\nthing", True)
    assert (seen.response.content_length, seen.response.has_body) == (None, True)
    assert not seen.response.keep_alive


def test_an_empty_answer_up_to_the_end_of_the_connection() -> None:
    seen = answer_in_all_ways(answer_head(start=b"HTTP/1.0 200 OK"), eof=True)
    assert (seen.body, seen.ended, seen.response.version) == (b"", True, "1.0")


@pytest.mark.parametrize(
    "start, reason",
    [(b"HTTP/1.1 200 ", ""), (b"HTTP/1.1 200", ""), (b"HTTP/1.1 599 \t~", "\t~"), (b"HTTP/1.0 300 a:b",
                                                                                   "a:b")],
)
def test_status_lines(start: bytes, reason: str) -> None:
    seen = answer_in_all_ways(answer_head(b"Content-Length: 0", start=start))
    assert (seen.response.status, seen.response.reason) == (int(start[9:12]), reason)


@pytest.mark.parametrize(
    "method, start",
    [
        ("HEAD", b"HTTP/1.1 200 OK"),
        ("GET", b"HTTP/1.1 204 No Content"),
        ("GET", b"HTTP/1.1 304 Not Modified"),
        ("POST", b"HTTP/1.0 304 Not Modified"),
    ],
)
def test_answers_without_body_whatever_their_length_says(method: str, start: bytes) -> None:
    """RFC 9112 6.3, rule 1."""
    seen = answer_in_all_ways(answer_head(b"Content-Length: 7", start=start), method)
    assert (seen.body, seen.ended) == (b"", True)
    assert (seen.response.has_body, seen.response.content_length) == (False, 7)
    bare = answer_in_all_ways(answer_head(start=start), method)
    assert (bare.ended, bare.response.content_length, bare.response.has_body) == (True, None, False)


def test_the_answer_to_head_may_say_that_it_would_be_chunked() -> None:
    seen = answer_in_all_ways(answer_head(b"Transfer-Encoding: Chunked"), "HEAD")
    assert (seen.ended, seen.response.chunked, seen.response.has_body) == (True, True, False)
    assert seen.response.keep_alive


def test_a_method_in_lower_case_is_not_head() -> None:
    assert answer_in_all_ways(OK, "head").body == b"hello"


def test_interim_answers_come_before_the_answer() -> None:
    data = answer_head(start=b"HTTP/1.1 100 Continue") + answer_head(b"Link: </a>",
                                                                     start=b"HTTP/1.1 103 x") + OK
    seen = answer_in_all_ways(data)
    assert seen.interims == [(100, []), (103, [("Link", "</a>")])]
    assert (seen.body, seen.ended) == (b"hello", True)


def test_an_interim_answer_has_no_body_whatever_it_says() -> None:
    """RFC 9112 6.3, rule 1: it ends with the empty line."""
    seen = answer_in_all_ways(answer_head(b"Content-Length: 500", start=b"HTTP/1.1 102 x") + OK)
    assert ([status for status, _ in seen.interims], seen.body, seen.ended) == ([102], b"hello", True)


@pytest.mark.parametrize(
    "start, connection, kept",
    [
        (b"HTTP/1.1 200 OK", b"X: y", True),
        (b"HTTP/1.1 200 OK", b"Connection: Close", False),
        (b"HTTP/1.1 200 OK", b"Connection: x, close", False),
        (b"HTTP/1.0 200 OK", b"X: y", False),
        (b"HTTP/1.0 200 OK", b"Connection: Keep-Alive", True),
    ],
)
def test_whether_the_connection_is_kept(start: bytes, connection: bytes, kept: bool) -> None:
    """RFC 9112 9.3."""
    reader = ResponseReader("GET")
    seen = read_answer(reader, [answer_head(connection, b"Content-Length: 1", start=start)])
    assert seen.response.keep_alive is kept
    reader.receive_data(b"x")
    assert isinstance(reader.next_event(), Data)
    before = reader.reusable
    assert isinstance(reader.next_event(), EndOfMessage)
    assert reader.done
    assert (before, reader.reusable) == (False, kept)


def test_a_closed_connection_is_not_reusable() -> None:
    reader = ResponseReader("GET")
    read_answer(reader, [OK])
    before = reader.reusable
    reader.receive_eof()
    assert (before, reader.reusable) == (True, False)
    assert reader.next_event() is None


def test_surplus_can_come_later() -> None:
    reader = ResponseReader("GET")
    read_answer(reader, [OK])
    before = reader.surplus, reader.reusable
    reader.receive_data(b"H")
    assert (before, reader.surplus, reader.reusable) == ((False, True), True, False)
    assert reader.next_event() is None


def test_what_follows_a_101_is_left_alone() -> None:
    reader = ResponseReader("GET", upgrade=True)
    head = answer_head(b"Upgrade: websocket", start=b"HTTP/1.1 101 Switching Protocols")
    seen = read_answer(reader, [answer_head(start=b"HTTP/1.1 103 x") + head + LEFTOVER])
    assert ([status for status, _ in seen.interims], seen.response.status) == ([103], 101)
    assert (seen.ended, reader.done, reader.reusable) == (False, True, False)
    assert not seen.response.has_body
    assert reader.leftover() == LEFTOVER


def test_another_answer_to_an_upgrade_is_an_ordinary_one() -> None:
    seen = answer_in_all_ways(OK, make=lambda method: ResponseReader(method, upgrade=True))
    assert (seen.body, seen.ended) == (b"hello", True)


def test_started_tells_whether_anything_came() -> None:
    """A kept connection that breaks before has not been seen by the origin, most likely."""
    reader = ResponseReader("GET")
    before = reader.started
    reader.receive_data(b"H")
    assert (before, reader.started) == (False, True)
    interim = ResponseReader("GET")
    interim.receive_data(b"HTTP/1.1 103 x\r\n\r\n")
    assert isinstance(interim.next_event(), Interim)
    assert interim.started


def test_data_comes_as_it_was_received() -> None:
    reader = ResponseReader("GET")
    reader.receive_data(OK[:-3])
    assert isinstance(reader.next_event(), Response)
    first = reader.next_event()
    assert isinstance(first, Data)
    assert first.data == b"he"
    assert reader.next_event() is None


# Bytes that go by without the reader


def begun(data: bytes) -> ResponseReader:
    reader = ResponseReader("GET")
    reader.receive_data(data)
    assert isinstance(reader.next_event(), Response)
    return reader


def test_bytes_of_a_sized_body_may_pass_by() -> None:
    reader = begun(OK[:-5])
    assert reader.body_ahead == 5
    reader.passed(3)
    assert (reader.body_ahead, reader.next_event()) == (2, None)
    with pytest.raises(LocalProtocolError):
        reader.passed(3)
    reader.passed(2)
    assert reader.body_ahead == 0
    assert isinstance(reader.next_event(), EndOfMessage)
    assert reader.reusable


def test_nothing_may_pass_while_bytes_are_held() -> None:
    reader = begun(OK[:-3])
    assert reader.body_ahead == 0
    with pytest.raises(LocalProtocolError):
        reader.passed(1)
    assert isinstance(reader.next_event(), Data)
    assert reader.body_ahead == 3


def test_a_body_without_end_may_pass_by() -> None:
    reader = begun(answer_head())
    assert reader.body_ahead == BOUNDLESS
    reader.passed(1 << 40)
    assert reader.body_ahead == BOUNDLESS
    reader.receive_eof()
    assert isinstance(reader.next_event(), EndOfMessage)


def test_chunks_may_not_pass_by() -> None:
    reader = begun(answer_head(b"Transfer-Encoding: chunked"))
    assert reader.body_ahead == 0
    reader.receive_data(b"5\r\nhe")
    assert isinstance(reader.next_event(), Data)
    assert reader.body_ahead == 0


def test_a_sized_body_that_passes_by_must_be_complete() -> None:
    reader = begun(OK[:-5])
    reader.passed(4)
    reader.receive_eof()
    with pytest.raises(RemoteProtocolError):
        reader.next_event()
