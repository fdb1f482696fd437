"""CGI on the wire: variables of a request; the output of programs whole, byte by byte, with more behind."""

from __future__ import annotations

from typing import List, Optional, Tuple

import pytest

from lwsws.wire.cgi import MAX_FIELDS, MAX_HEAD, CgiHead, http_variables
from tests.support.cgi_output import Output, read_pieces
from tests.support.wire_cases import LEFTOVER, byte_by_byte

TEXT = b"Content-Type: text/plain\n"
PLAIN = [("Content-Type", "text/plain")]


def read(data: bytes, method: str = "GET", eof: bool = True) -> Output:
    """What comes of `data`, the same whether it comes whole or byte by byte."""
    whole = read_pieces([data], method, eof)
    assert read_pieces(byte_by_byte(data), method, eof) == whole
    return whole


def head_of(data: bytes, method: str = "GET") -> CgiHead:
    output = read(data, method)
    assert output.head is not None and output.ended, output.fault
    return output.head


# The variables.


def test_fields_become_variables() -> None:
    items = [("Host", "a.example:81"), ("X-Forwarded-For", "10.0.0.1"), ("accept", "*/*"), ("X-9", "\xe9")]
    assert http_variables(items) == {"HTTP_HOST": "a.example:81", "HTTP_X_FORWARDED_FOR": "10.0.0.1",
                                     "HTTP_ACCEPT": "*/*", "HTTP_X_9": "\xe9"}


@pytest.mark.parametrize("name", [
    "Proxy", "proxy", "PROXY", "Content-Length", "Content-Type", "Authorization", "Proxy-Authorization",
    "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
    "X_Real_IP", "X.Y", "X~", "X!"])
def test_fields_without_a_variable(name: str) -> None:
    """LESSONS 3.21: above all no HTTP_PROXY, and no "_" that is taken for "-"."""
    assert http_variables([(name, "x"), ("X-Y", "y")]) == {"HTTP_X_Y": "y"}


def test_repeated_fields_are_joined() -> None:
    items = [("Accept", "a"), ("Cookie", "a=1"), ("ACCEPT", "b"), ("cookie", "b=2"), ("accept", "c")]
    assert http_variables(items) == {"HTTP_ACCEPT": "a, b, c", "HTTP_COOKIE": "a=1; b=2"}


# Heads.


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_document(end: bytes) -> None:
    data = b"Content-Type: text/plain\nX-A:  1 \nSet-Cookie: a=1\nSet-Cookie: b=2\n\n".replace(b"\n", end)
    output = read(data + b"hello\r\n\nworld")
    fields = [*PLAIN, ("X-A", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert output == Output(CgiHead(200, None, fields), b"hello\r\n\nworld", True, "")


def test_line_ends_may_be_mixed() -> None:
    assert read(b"Content-Type: text/plain\r\nX: y\n\r\n\nbody").body == b"\nbody"
    assert read(b"Content-Type: text/plain\nX: y\r\n\n\r\nbody").body == b"\r\nbody"


@pytest.mark.parametrize("status, wanted", [
    (b"404", (404, None)),
    (b"404 Not here", (404, "Not here")),
    (b"418 I am a  teapot ", (418, "I am a  teapot")),
    (b"200 ", (200, None)),
    (b"599\tTab", (599, "Tab")),
    (b"299 \xe9", (299, "\xe9")),
])
def test_a_status(status: bytes, wanted: Tuple[int, Optional[str]]) -> None:
    head = head_of(b"Status: " + status + b"\n\n")
    assert (head.status, head.reason, head.fields) == (*wanted, [])


@pytest.mark.parametrize("status", [
    b"", b"40", b"4040", b"100 Continue", b"101", b"600", b"OK", b"200OK", b"-200", b"+200", b"2 0",
    b"\xb2\xb2\xb2", b"HTTP/1.1 200 OK"])
def test_no_status(status: bytes) -> None:
    assert "Status" in read(TEXT + b"Status: " + status + b"\n\n").fault


def test_fields_of_the_server_are_dropped() -> None:
    dropped = (b"Status: 200\nConnection: keep-alive\nKeep-Alive: x\nDate: x\nTrailer: x\nUpgrade: x\nTE: x\n"
               b"Proxy-Connection: x\nContent-Length: 0\n")
    assert head_of(TEXT + dropped + b"Server: mine\n\n").fields == [*PLAIN, ("Server", "mine")]


@pytest.mark.parametrize("location", [
    b"http://else.example/x", b"//else.example/x", b"/\\else.example", b"next.html", b"?q", b"/x#part",
    b"https://else.example/\xc3\xa9", b"mailto:a@b.example"])
def test_a_location_for_the_client(location: bytes) -> None:
    head = head_of(b"Location: " + location + b"\n\n")
    assert head == CgiHead(302, None, [("Location", location.decode("latin-1"))])


@pytest.mark.parametrize("location", [b"/", b"/x", b"/x/y?a=b&c=//d", b"/%2e%2e/x"])
def test_a_location_of_this_server(location: bytes) -> None:
    """RFC 3875 6.2.2; a body behind it is no answer."""
    for data in (b"Location: " + location + b"\n\n", b"location:" + location + b"\r\n\r\nbody"):
        assert read(data) == Output(CgiHead(302, None, [], None, location.decode()), b"", True, "")


def test_a_path_with_other_fields_is_for_the_client() -> None:
    assert head_of(b"Location: /x\n" + TEXT + b"\n") == CgiHead(302, None, [("Location", "/x"), *PLAIN])
    assert head_of(b"Status: 303\nLocation: /x\n\n") == CgiHead(303, None, [("Location", "/x")])
    assert head_of(b"Status: 201 Made\nLocation: a b\n\n").status == 201


@pytest.mark.parametrize("location", [b"", b"a b", b'/"x"', b"<x>"])
def test_no_location(location: bytes) -> None:
    assert "Location" in read(b"Location: " + location + b"\n\n").fault


@pytest.mark.parametrize("data, why", [
    (b"", "it wrote nothing"),
    (b"\n", "none of the headers"),
    (b"\r\nContent-Type: text/plain\n\n", "none of the headers"),
    (b"X-A: 1\n\nbody", "none of the headers"),
    (b"Content-Length: 4\n\nbody", "none of the headers"),
    (b"hello\n", "has no colon"),
    (b"hello", "before its head was complete"),
    (TEXT, "before its head was complete"),
    (b"<html>\n\n", "has no colon"),
    (TEXT + b" folded\n\n", "white space"),
    (b"Content-Type : text/plain\n\n", "white space"),
    (TEXT + b"X: a\rb\n\n", "CR"),
    (TEXT + b"X: a\r\r\n\n", "CR"),
    (TEXT + b"X: a\0b\n\n", "NUL"),
    (TEXT + b"X: a\x1b\n\n", "control character"),
    (TEXT + b"X\x01Y: a\n\n", "no header name"),
    (TEXT + b"<b>: \x1b\n\n", "no header name"),
    (b"<b>: Content-Type: text/plain\n\n", "none of the headers"),
    (TEXT + TEXT + b"\n", "content-type twice"),
    (b"Status: 200\nstatus: 200\n\n", "status twice"),
    (b"Location: /x\nLocation: /x\n\n", "location twice"),
    (TEXT + b"Content-Length: 1\nContent-Length: 1\n\na", "content-length twice"),
    (TEXT + b"Content-Length: 1, 1\n\na", "no number"),
    (TEXT + b"Content-Length: +1\n\na", "no number"),
    (TEXT + b"Content-Length: \n\na", "no number"),
    (TEXT + b"Transfer-Encoding: gzip\n\n", "Transfer-Encoding"),
    (TEXT + b"Transfer-Encoding: chunked\nContent-Length: 1\n\n", "Transfer-Encoding"),
])
def test_no_head(data: bytes, why: str) -> None:
    output = read(data)
    assert output.head is None
    assert why in output.fault
    assert read_pieces([data + LEFTOVER]).head is None


@pytest.mark.parametrize("line", [
    b"<!--: spam", b"<br /><b>Warning</b>:  on line 1: x", b": a", b"X Y: a", b'"a":', b"(x)\xe9: y"])
def test_lines_that_cannot_be_fields_are_dropped(line: bytes) -> None:
    """As Python's cgitb and PHP write them when a program fails."""
    head = head_of(line + b"\r\n" + TEXT + line + b"\n\n")
    assert (head.status, head.fields, len(head.dropped)) == (200, PLAIN, 2)
    assert head_of(b"HTTP/1.1 200 OK\n" + line + b"\n\n").dropped == head.dropped[:1]


def test_the_head_is_bounded() -> None:
    most = TEXT + b"X: " + b"x" * (MAX_HEAD - len(TEXT) - 5) + b"\n\n"
    assert len(most) == MAX_HEAD
    assert read_pieces([most]).ended
    assert f"over {MAX_HEAD}" in read_pieces([b"Y" + most]).fault
    assert f"over {MAX_HEAD}" in read_pieces([b"x" * 1000] * 66, eof=False).fault
    assert head_of(TEXT + b"X: 1\n" * (MAX_FIELDS - 1) + b"\n").status == 200
    assert f"more than {MAX_FIELDS}" in read(TEXT + b"X: 1\n" * MAX_FIELDS + b"\n").fault


# Whole HTTP heads.


@pytest.mark.parametrize("line, wanted", [
    (b"HTTP/1.1 200 OK", (200, "OK")),
    (b"HTTP/1.0 404 Not Found", (404, "Not Found")),
    (b"HTTP/1.1 299", (299, None)),
    (b"HTTP/1.1 204 ", (204, None)),
])
def test_a_whole_head(line: bytes, wanted: Tuple[int, Optional[str]]) -> None:
    head = head_of(line + b"\r\nX-A: 1\r\nConnection: close\r\nDate: x\r\n\r\n")
    assert head == CgiHead(*wanted, [("X-A", "1")])


@pytest.mark.parametrize("line", [b"HTTP/1.1 100 Continue", b"HTTP/1.1 999 x", b"HTTP/2 200", b"HTTP/1.1 20",
                                  b"HTTP/1.1  200 OK", b"HTTP/1.1 200 a\x1bb"])
def test_no_whole_head(line: bytes) -> None:
    assert read(line + b"\r\nContent-Type: text/plain\r\n\r\n").fault


def test_a_location_in_a_whole_head_is_for_the_client() -> None:
    assert head_of(b"HTTP/1.1 302 Found\nLocation: /x\n\n").fields == [("Location", "/x")]


# Bodies.


def test_a_length() -> None:
    data = TEXT + b"Content-Length: 5\n\nhello"
    for output in (read(data, eof=False), read(data), read_pieces([data + LEFTOVER]), read(data + b"more")):
        assert output == Output(CgiHead(200, None, PLAIN, 5), b"hello", True, "")


def test_a_length_of_nothing() -> None:
    assert read(TEXT + b"Content-Length: 0\n\nmore", eof=False) == Output(
        CgiHead(200, None, PLAIN, 0), b"", True, "")


def test_less_than_the_length() -> None:
    output = read(TEXT + b"Content-Length: 5\n\nhell")
    assert (output.body, output.ended) == (b"hell", False)
    assert "before its answer was complete" in output.fault


@pytest.mark.parametrize("start", [TEXT, b"HTTP/1.1 200 OK\n" + TEXT])
def test_chunks(start: bytes) -> None:
    data = start + b"Transfer-Encoding: chunked\n\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n"
    for output in (read(data, eof=False), read(data), read_pieces([data + LEFTOVER])):
        assert output.head is not None and output.head.fields == PLAIN and output.head.length is None
        assert (output.body, output.ended) == (b"abcde", True)
    assert "before its answer was complete" in read(data[:-4]).fault


@pytest.mark.parametrize("body", [b"hello", b"3\nabc\n0\n\n", b"3\r\nabcd\r\n0\r\n\r\n", b"x" * 300])
def test_no_chunks(body: bytes) -> None:
    output = read(TEXT + b"Transfer-Encoding: chunked\n\n" + body)
    assert output.fault and not output.ended


def test_an_open_body_ends_with_the_program() -> None:
    assert read(TEXT + b"\nhello", eof=False).ended is False
    assert read(TEXT + b"\n") == Output(CgiHead(200, None, PLAIN), b"", True, "")


@pytest.mark.parametrize("method, head", [
    ("HEAD", TEXT), ("HEAD", TEXT + b"Content-Length: 5\n"), ("GET", b"Status: 204\n"),
    ("GET", b"Status: 304\n")])
def test_answers_without_a_body(method: str, head: bytes) -> None:
    for eof in (False, True):
        output = read(head + b"\nhello", method, eof)
        assert (output.body, output.ended) == (b"", True)


def test_large_pieces_are_passed_on() -> None:
    pieces: List[bytes] = [TEXT + b"\n", b"a" * 65536, b"b" * 65536]
    assert read_pieces(pieces).body == pieces[1] + pieces[2]
