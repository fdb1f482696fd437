"""The HTTPS client: what it sends, what it takes for an answer, which links it keeps."""

from __future__ import annotations

import socket
import threading
from typing import Any, Iterator, List, Optional, Tuple

import pytest

from lwsws.net.fetch import FETCH_SECONDS, IDLE_SECONDS, MAX_BODY, MAX_POOLS, MAX_URL, Reply, parse_url
from lwsws.net.reactor import Reactor
from lwsws.wire.errors import LocalProtocolError
from tests.net.connecting import Outgoing, entry, port_of
from tests.net.fetching import CHUNKED, EMPTY, HELLO, NAMES, OK, PATIENCE, Asking, Step, asking, hang_up
from tests.net.support import CountingSelector, has_ipv6, reset, settle
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock


@pytest.fixture
def ask(reactor: Reactor, clock: ManualClock, selector: CountingSelector, monkeypatch: pytest.MonkeyPatch,
        certificates: Certificates) -> Iterator[Asking]:
    """A fetcher and servers for it."""
    with asking(Outgoing(reactor, clock, selector, monkeypatch), certificates) as ask:
        yield ask


# What is sent.


def head(line: str, port: int, more: str = "") -> bytes:
    """The whole head of a request."""
    fields = "User-Agent: test/1\r\nAccept-Language: en\r\nAccept-Encoding: identity\r\n"
    return f"{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}{more}\r\n".encode("ascii")


def test_get(ask: Asking) -> None:
    server = ask.serve([OK + b"Replay-Nonce: abc\r\nContent-Length: 5\r\n\r\nhello"])
    ask.fetcher.fetch("GET", f"https://127.0.0.1:{server.port}/a?b=c#d", b"", "", ask.tell)
    reply, reason = ask.end()
    assert reply is not None and reason == ""
    assert (reply.status, reply.headers.get("replay-nonce"), reply.body) == (200, "abc", b"hello")
    assert server.requests == [head("GET /a?b=c", server.port)]


def test_head(ask: Asking) -> None:
    server = ask.serve([OK + b"Content-Length: 99999999\r\n\r\n"])
    assert ask.get(server.port, "HEAD").body == b""
    assert server.requests == [head("HEAD /dir", server.port)]


@pytest.mark.parametrize("body, more", [
    (b"{}", "Content-Type: text/plain\r\nContent-Length: 2\r\n"),
    (b"x" * 1_000_000, "Content-Type: text/plain\r\nContent-Length: 1000000\r\n"),
    (b"", "Content-Length: 0\r\n"),
])
def test_post(ask: Asking, body: bytes, more: str) -> None:
    server = ask.serve([b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"])
    assert ask.get(server.port, "POST", body).status == 201
    assert server.requests == [head("POST /dir", server.port, more) + body]


def test_what_cannot_be_sent_is_a_fault_of_the_caller(ask: Asking) -> None:
    for method, content_type in (("GE T", ""), ("GET", "a\r\nX: y")):
        with pytest.raises(LocalProtocolError):
            ask.fetcher.fetch(method, "https://a.test/", b"", content_type, ask.tell)
    ask.nothing_more()


def test_an_ipv6_address(ask: Asking) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on this system")
    server = ask.serve([HELLO], host="::1")
    assert ask.get(server.port, host="[::1]").body == b"hello"
    assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("host", ["acme.test", "ACME.test", "acme.test."])
def test_a_name(ask: Asking, host: str) -> None:
    server = ask.serve([HELLO])
    ask.net.name_servers(lambda: [entry(server.port)])
    assert ask.get(443, host=host).body == b"hello"
    assert f"\r\nHost: {host.lower()}\r\n".encode() in server.requests[0]


# What comes back.


@pytest.mark.parametrize("answer, status, body", [
    (CHUNKED + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n", 200, b"abcde"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n" + HELLO, 200, b"hello"),
    (b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, b""),
    (b"HTTP/1.1 404 x\r\nContent-Length: 1\r\n\r\nx", 404, b"x"),
    (b"HTTP/1.0 500 x\r\nContent-Length: 1\r\n\r\nx", 500, b"x"),
    (OK + b"Content-Length: %d\r\n\r\n" % MAX_BODY + bytes(MAX_BODY), 200, bytes(MAX_BODY)),
], ids=["chunks", "204", "interim", "redirect", "404", "1.0", "large"])
def test_answers(ask: Asking, answer: bytes, status: int, body: bytes) -> None:
    reply = ask.get(ask.serve([answer]).port)
    assert reply.status == status and reply.body == body


def test_a_body_that_ends_with_the_connection(ask: Asking) -> None:
    server = ask.serve([OK + b"\r\nall", hang_up])
    assert ask.get(server.port).body == b"all"
    ask.spin(lambda: server.left)


TOO_LONG = f"the answer is longer than {MAX_BODY} bytes"
CUT = "the connection was closed in the middle of a response"


@pytest.mark.parametrize("answer, reason", [
    ([OK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)], TOO_LONG),
    ([CHUNKED + (b"10000\r\n" + bytes(65536) + b"\r\n") * 20], TOO_LONG),
    ([OK + b"\r\n" + bytes(MAX_BODY + 1)], TOO_LONG),
    ([OK + b"X: " + b"x" * 70_000], "the response head is over 65536 bytes"),
    ([b"SSH-2.0-x\r\n"], "this is no HTTP/1 response: it begins with 'S'"),
    ([b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"], "101 without having been asked for"),
    ([OK + b"Content-Length: +2\r\n\r\nok"], "Content-Length '+2' is not one number"),
    ([OK + b"Content-Length: 9\r\n\r\nhello", hang_up], CUT),
    ([CHUNKED + b"5\r\nhello\r\n", hang_up], CUT),
    ([OK + b"Content-Le", hang_up], CUT),
    ([b"HTTP/1.1 100 Continue\r\n\r\n", hang_up], CUT),
    ([b"", hang_up], "the connection was closed without a response"),
    ([b"", reset], "the connection was lost: Connection reset by peer"),
], ids=["sized", "chunked", "until-eof", "head", "garbage", "101", "length", "cut-sized", "cut-chunked",
        "cut-head", "cut-interim", "nothing", "reset"])
def test_bad_answers(ask: Asking, answer: List[Step], reason: str) -> None:
    """Each is the end of the link."""
    server = ask.serve(answer)
    assert ask.fault(server.port) == reason
    ask.spin(lambda: server.left)
    assert ask.watched() == 0


# Kept links.


def test_requests_go_over_one_link(ask: Asking) -> None:
    server = ask.serve([HELLO, OK + b"Content-Length: 9\r\n\r\n", EMPTY, CHUNKED + b"0\r\n\r\n"])
    for method in ("GET", "HEAD", "POST", "GET"):
        assert ask.get(server.port, method).status == 200
    assert len(server.requests) == 4 and ask.watched() == 1


def test_one_that_was_idle_for_long_is_closed(ask: Asking) -> None:
    server = ask.serve([HELLO], [EMPTY])
    ask.get(server.port)
    ask.net.pass_time(IDLE_SECONDS - 0.1)
    assert not server.left and ask.watched() == 1
    ask.net.pass_time(0.2)
    ask.spin(lambda: server.left)
    assert ask.get(server.port).body == b""


@pytest.mark.parametrize("answer", [
    OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    HELLO + HELLO,
], ids=["close", "1.0", "surplus"])
def test_what_is_not_kept(ask: Asking, answer: bytes) -> None:
    server = ask.serve([answer], [EMPTY])
    assert ask.get(server.port).body == b"hello"
    ask.spin(lambda: server.left)
    assert ask.get(server.port).body == b""


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", [hang_up, reset])
def test_one_that_the_server_closes_when_it_is_used(ask: Asking, how: Step, method: str) -> None:
    """The request is sent again, over a new link."""
    server = ask.serve([EMPTY, b"", how], [HELLO])
    ask.get(server.port)
    assert ask.get(server.port, method, b"body" if method == "POST" else b"").body == b"hello"
    assert len(server.requests) == 3 and server.requests[1] == server.requests[2]


def test_one_that_the_server_has_closed_before(ask: Asking) -> None:
    server = ask.serve([EMPTY, hang_up], [HELLO])
    ask.get(server.port)
    ask.spin(lambda: server.left)
    assert ask.get(server.port).body == b"hello" and len(server.requests) == 2


def test_a_request_is_repeated_once(ask: Asking) -> None:
    server = ask.serve([EMPTY, b"", hang_up], [b"", hang_up], [HELLO])
    ask.get(server.port)
    assert ask.fault(server.port) == "the connection was closed without a response"


def test_a_request_that_has_a_part_of_an_answer_is_not_repeated(ask: Asking) -> None:
    server = ask.serve([EMPTY, b"H", hang_up], [HELLO])
    ask.get(server.port)
    assert ask.fault(server.port) == CUT


@pytest.mark.parametrize("second, reason", [
    ([[b""]], "no answer within 30 s"), ([], "TLS handshake: no answer within 30 s")])
def test_a_repeated_request_has_no_new_time_limit(ask: Asking, second: List[List[Step]], reason: str) -> None:
    """Whether the new link can be opened or not."""
    go = threading.Event()
    server = ask.serve([EMPTY, b"", lambda conn: go.wait(PATIENCE), hang_up], *second)
    ask.get(server.port)
    ask.begin(server.port)
    ask.spin(lambda: len(server.requests) == 2)
    ask.net.pass_time(FETCH_SECONDS - 1)
    go.set()
    ask.spin(lambda: server.left and len(server.requests) == 2 + len(second))
    settle(ask.reactor)
    assert ask.fetcher.busy
    ask.net.pass_time(1)
    assert ask.reason(f"127.0.0.1:{server.port}: ") == reason


def test_several_at_a_time(ask: Asking) -> None:
    server = ask.serve([HELLO, EMPTY], [HELLO])
    ask.begin(server.port)
    ask.begin(server.port)
    ask.spin(lambda: len(ask.told) == 2)
    ask.told.clear()
    assert ask.watched() == 2 and len(server.requests) == 2


def test_links_to_few_servers_are_kept(ask: Asking) -> None:
    """The one that was not used for longest goes."""
    server = ask.serve(*([EMPTY, EMPTY] for _ in NAMES))
    ask.net.name_servers(lambda: [entry(server.port)])
    for name in [*NAMES[:-1], NAMES[0], NAMES[-1]]:
        assert ask.get(443, host=name).status == 200
    ask.spin(lambda: server.left)
    assert server.left == [1] and ask.watched() == MAX_POOLS


def test_a_request_from_within_the_answer_to_another(ask: Asking) -> None:
    server = ask.serve([EMPTY, HELLO])

    def again(reply: Optional[Reply], reason: str) -> None:
        assert reply is not None
        ask.begin(server.port)

    ask.fetcher.fetch("GET", f"https://127.0.0.1:{server.port}/", b"", "", again)
    reply, _ = ask.end()
    assert reply is not None and reply.body == b"hello"


# Who cannot be spoken to.


def test_nobody_listens(ask: Asking) -> None:
    assert ask.fault(ask.net.dead_port()) == "Connection refused"


def unknown() -> List[Tuple[Any, ...]]:
    """A name server that knows nobody."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_that_nobody_has(ask: Asking) -> None:
    ask.net.name_servers(unknown)
    ask.begin(443, host="acme.test")
    assert ask.end() == (None, "acme.test: cannot look up acme.test: Name or service not known")


@pytest.mark.parametrize("which, host, words", [
    ("a", "127.0.0.1", "IP address mismatch"),
    ("a", "localhost", "Hostname mismatch"),
    ("stranger", "127.0.0.1", "unable to get local issuer certificate"),
])
def test_a_certificate_that_is_no_good(ask: Asking, certificates: Certificates, which: str, host: str,
                                       words: str) -> None:
    server = ask.serve([HELLO], pair=getattr(certificates, which))
    reason = ask.fault(server.port, host)
    assert reason.startswith("TLS handshake: certificate verify failed: ") and words in reason
    assert server.requests == []


def test_a_server_without_tls(ask: Asking) -> None:
    listener = ask.net.listen()
    ask.begin(port_of(listener))
    settle(ask.reactor)
    with listener.accept()[0] as end:
        end.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert ask.reason("127.0.0.1:").endswith(": TLS handshake: wrong version number")


# URLs.


@pytest.mark.parametrize("url, authority, target", [
    ("https://a.test", "a.test", "/"),
    ("HTTPS://A.test:443/B#c", "a.test", "/B"),
    ("https://a.test?b", "a.test", "/?b"),
    ("https://a.test:65535/a//b;c?d=/?#e#f", "a.test:65535", "/a//b;c?d=/?"),
    ("https://192.0.2.1/", "192.0.2.1", "/"),
    ("https://[2001:DB8::1]:14000/dir", "[2001:db8::1]:14000", "/dir"),
    ("https://[::1]", "[::1]", "/"),
    ("https://unix:1/", "unix:1", "/"),
])
def test_urls(url: str, authority: str, target: str) -> None:
    place = parse_url(url)
    assert (place.authority, place.target) == (authority, target)


@pytest.mark.parametrize("url", [
    "", "/dir", "http://a.test/", "ftp://a.test/", "https:/a.test", "//a.test/", " https://a.test/",
    "https://", "https:///dir", "https://:443/", "https://?a", "https://.a.test/", "https://a..test/",
    "https://me@a.test/", "https://me:secret@a.test/", "https://a.test\\@b.test/", "https://a.test%2Fb/",
    "https://a.test:/", "https://a.test:0/", "https://a.test:65536/", "https://a.test:123456/",
    "https://a.test:-1/", "https://a.test:1_0/", "https://a.test:1:2/",
    "https://::1/", "https://[::1/", "https://[::1]x/", "https://[]/", "https://[127.0.0.1]/",
    "https://[fe80::1%25eth0]/", "https://[1::2::3]/", "https://127.1/", "https://2130706433/", "https://1.2.3.4.5/",
    "https://a.test/a b", "https://a.test/\r\nX: y", "https://a.test/\0", "https://a.test/\x7f", "https://a.test/\n",
    "https://a.test/\xe9", "https://\xe9.test/", "https://a.test/\u2028", f"https://{'a' * 254}/",
    "https://a.test/".ljust(MAX_URL + 1, "x"),
])
def test_bad_urls(ask: Asking, url: str) -> None:
    """The reason is of one line, however long the URL."""
    ask.fetcher.fetch("GET", url, b"", "", ask.tell)
    reply, reason = ask.end()
    assert reply is None and "URL" in reason and reason.isprintable() and reason.isascii()
    assert len(reason) < 200
    ask.nothing_more()
