"""Proxy mounts remember the heads that they have made: these are what would have been made anew."""

from __future__ import annotations

from typing import Callable, List

import pytest

from lwsws.handlers import proxy_answer, proxy_request
from tests.support.peer import Peer
from tests.support.proxy_site import OriginEnd, ProxySite

Make = Callable[..., ProxySite]

GET = b"GET /p/x?q HTTP/1.1\r\nHost: localhost\r\nCookie: a=b\r\n\r\n"
HEAD = (b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: o\r\nX-Own: 1\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n")


class Line:
    """A client, and the one kept connection to the origin."""

    def __init__(self, proxy: ProxySite) -> None:
        self.proxy = proxy
        self.peer = proxy.connect()
        self.peer.send(GET)
        self.origin: OriginEnd = proxy.accept()
        self.first = self.finish(self.peer, HEAD + b"ok")

    def ask(self, answer: bytes, request: bytes = GET) -> bytes:
        """What the client gets if the origin answers so, and the origin's head in `seen`."""
        self.peer.send(request)
        return self.finish(self.peer, answer)

    def finish(self, peer: Peer, answer: bytes) -> bytes:
        """The origin answers."""
        self.seen = self.origin.head()
        self.origin.send(answer)
        data, peer.data = peer.receive(), b""
        return data

    @property
    def known(self) -> int:
        """How many heads of answers are remembered."""
        handler = self.proxy.bench.vhosts().default.routes.match("/p/x")
        assert handler is not None
        return len(handler.handler.answers)  # type: ignore[attr-defined]


@pytest.fixture
def line(proxy: ProxySite) -> Line:
    """After a first request."""
    return Line(proxy)


def test_the_same_bytes_each_time(line: Line) -> None:
    first = line.seen
    assert line.known == 1
    for body in (b"ok", b"no", b"\r\n"):
        assert line.ask(HEAD + body) == line.first[:-2] + body
        assert line.seen == first
    assert line.known == 1


def test_a_known_head_in_pieces_or_with_another_body(line: Line) -> None:
    line.peer.send(GET)
    line.origin.head()
    for piece in (HEAD[:20], HEAD[20:], b"o"):
        line.origin.send(piece)
    line.origin.send(b"k")
    assert line.peer.receive() == line.first


def test_a_known_head_with_something_behind_it(line: Line) -> None:
    """The connection is not used again."""
    assert line.ask(HEAD + b"ok!") == line.first
    assert line.origin.eof or line.origin.closed


@pytest.mark.parametrize("request_, wanted", [
    (GET.replace(b"1.1", b"1.0"), b"\r\nContent-Length: 2\r\n\r\nok"),
    (GET[:-2] + b"Connection: close\r\n\r\n", b"\r\nConnection: close\r\n\r\nok"),
    (GET.replace(b"GET", b"HEAD"), b"\r\nContent-Length: 2\r\n\r\n"),
])
def test_requests_whose_answer_has_another_head(line: Line, request_: bytes, wanted: bytes) -> None:
    answer = HEAD if request_.startswith(b"HEAD") else HEAD + b"ok"
    assert line.ask(answer, request_).endswith(wanted)
    assert line.known == 1


def test_a_request_whose_body_is_not_complete(line: Line) -> None:
    """Its connection to the origin cannot be used again, whatever is known."""
    line.peer.send(GET[:-2] + b"Content-Length: 9\r\n\r\nhalf")
    line.origin.head()
    line.origin.send(HEAD + b"ok")
    assert line.peer.receive().endswith(b"ok")
    line.origin.receive()
    assert line.origin.eof


@pytest.mark.parametrize("head", [
    HEAD.replace(b"200 OK", b"404 No"),
    HEAD.replace(b"Date", b"Data"),
    HEAD.replace(b"X-Own: 1", b"Connection: close"),
    HEAD.replace(b"X-Own: 1", b"Set-Cookie: a=b"),
    HEAD.replace(b"X-Own: 1", b"Location: /y"),
    HEAD.replace(b"X-Own: 1", b"X-Own: " + b"1" * proxy_answer.MAX_KNOWN_BYTES),
])
def test_heads_that_are_not_remembered(line: Line, head: bytes) -> None:
    assert line.ask(head + b"ok").endswith(b"ok")
    assert line.known == 1


def test_not_too_many_are_remembered(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_answer, "MAX_KNOWN", 3)
    monkeypatch.setattr(proxy_request, "MAX_KNOWN", 3)
    counts: List[int] = []
    for number in range(6):
        head = HEAD.replace(b"X-Own: 1", b"X-Own: %d" % number)
        line.ask(head + b"ok", GET.replace(b"?q", b"?%d" % number))
        assert line.seen.startswith(f"GET /x?{number} ")
        counts.append(line.known)
    assert max(counts) == 3 and line.known < 4


def test_each_client_is_named(line: Line) -> None:
    other = line.proxy.connect(address=("192.0.2.8", 1))
    other.send(GET)
    assert line.finish(other, HEAD + b"ok") == line.first
    assert "X-Forwarded-For: 192.0.2.8\r\n" in line.seen
    assert line.ask(HEAD + b"ok") == line.first
    assert "X-Forwarded-For: 192.0.2.7\r\n" in line.seen


def test_each_origin_is_named(make_proxy: Make) -> None:
    proxy = make_proxy(origins=2)
    for index in (1, 0):
        peer = proxy.connect()
        peer.send(GET)
        origin = proxy.accept(index)
        assert origin.fields()["host"] == f"127.0.0.1:{proxy.ports[index]}"


PAGE = b'<a href="/y">'
PAGE_HEAD = HEAD.replace(b"text/plain", b"text/html").replace(b"Length: 2", b"Length: %d" % len(PAGE))


def test_a_page_that_was_rewritten(line: Line) -> None:
    """It is known as a whole: with another body it is another one, and so it is with something behind it."""
    first = line.ask(PAGE_HEAD + PAGE)
    assert first.endswith(b'<a href="/p/y">') and line.known == 2
    assert line.ask(PAGE_HEAD + PAGE) == first
    assert line.ask(PAGE_HEAD + PAGE.replace(b"y", b"z")).endswith(b'<a href="/p/z">')
    assert line.known == 3
    chunked = PAGE_HEAD.replace(b"Content-Length: 13", b"Transfer-Encoding: chunked")
    for _ in range(2):
        assert line.ask(chunked + b"d\r\n" + PAGE + b"\r\n0\r\n\r\n") == first
    assert line.known == 4
    assert line.ask(PAGE_HEAD + PAGE + b"!") == first
    assert line.origin.closed


def test_not_too_many_pages_are_remembered(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_answer, "MAX_PAGES", 3)
    for number in range(8):
        line.ask(PAGE_HEAD + PAGE.replace(b"y", b"%d" % number))
    assert line.known == 3
    large = PAGE + b" " * proxy_answer.MAX_PAGE_BYTES
    line.ask(PAGE_HEAD.replace(b"Length: 13", b"Length: %d" % len(large)) + large)
    assert line.known == 3


def test_a_page_with_an_interim_answer_in_front(line: Line) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    for _ in range(2):
        assert line.ask(hints + PAGE_HEAD + PAGE).startswith(b"HTTP/1.1 103 ")
        assert line.ask(hints + HEAD + b"ok").startswith(b"HTTP/1.1 103 ")
