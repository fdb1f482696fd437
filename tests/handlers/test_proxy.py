"""Proxy mounts: what the origin gets, what the client gets, and which connection it goes by."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

import pytest

from lwsws.handlers.basicauth import BasicAuthHandler, PasswordFile
from tests.support.proxy_site import OK, ProxySite

Make = Callable[..., ProxySite]

GET = b"GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body: bytes, *fields: str, length: int = -1) -> bytes:
    """A POST with this body, or its beginning if `length` says so."""
    announced = len(body) if length < 0 else length
    lines = ["POST /p/x HTTP/1.1", "Host: localhost", f"Content-Length: {announced}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# A request and its answer.


def test_a_request_and_its_answer(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(b"GET /p/a%20b/c?q=%20&r HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nX-Own: 1\r\n\r\n")
    origin = proxy.accept()
    assert origin.head() == (
        "GET /a%20b/c?q=%20&r HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{proxy.ports[0]}\r\n"
        "Accept: */*\r\nX-Own: 1\r\n"
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n"
        "Forwarded: for=192.0.2.7;proto=http;host=localhost\r\nVia: 1.1 lwsws\r\n"
        "X-Forwarded-Host: localhost\r\n")
    origin.send(
        b"HTTP/1.1 299 All Fine\r\nDate: yesterday\r\nServer: o/1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Keep-Alive: timeout=5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok")
    answer = peer.answer()
    assert answer.head == (
        b"HTTP/1.1 299 All Fine\r\nDate: yesterday\r\nServer: o/1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Length: 2\r\n\r\n")
    assert answer.body == b"ok"


def test_an_answer_without_a_date_gets_one(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(GET)
    proxy.accept().send(OK)
    assert peer.answer().get("date") is not None


def test_configured_fields_replace_those_of_the_origin(make_proxy: Make) -> None:
    proxy = make_proxy(headers=[{"X-Frame-Options": "DENY"}])
    peer = proxy.connect()
    peer.send(GET)
    proxy.accept().send(
        b"HTTP/1.1 200 OK\r\nx-frame-options: ALLOW\r\nX-Other: 1\r\nContent-Length: 0\r\n\r\n")
    answer = peer.answer()
    assert (answer.get("x-frame-options"), answer.get("x-other")) == ("DENY", "1")


@pytest.mark.parametrize("keys, wanted", [
    ({}, "127.0.0.1:PORT"), ({"proxy_keep_host": "1"}, "localhost")])
def test_the_host(make_proxy: Make, keys: Dict[str, str], wanted: str) -> None:
    proxy = make_proxy(**keys)
    peer = proxy.connect()
    peer.send(GET)
    assert proxy.accept().fields()["host"] == wanted.replace("PORT", str(proxy.ports[0]))


def test_the_word_of_a_trusted_peer_counts(make_proxy: Make) -> None:
    proxy = make_proxy(proxy_forwarded_from=["192.0.2.0/24"])
    for address, wanted in ((("192.0.2.7", 1), "198.51.100.1, 192.0.2.7"), (("192.0.3.7", 1), "192.0.3.7")):
        peer = proxy.connect(address=address)
        peer.send(b"GET /p/x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")
        assert proxy.accept().fields()["x-forwarded-for"] == wanted


@pytest.mark.parametrize("head, wanted", [
    (b"200 OK\r\nContent-Length: 5\r\n\r\n", "5"),
    (b"304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n", None),
    (b"204 No Content\r\n\r\n", None),
])
def test_answers_without_a_body(proxy: ProxySite, head: bytes, wanted: str) -> None:
    peer = proxy.connect()
    peer.send(GET.replace(b"GET", b"HEAD"))
    origin = proxy.accept()
    assert origin.head().startswith("HEAD /x ")
    origin.send(b"HTTP/1.1 " + head)
    answer = peer.answer("HEAD")
    assert (answer.status, answer.get("content-length")) == (int(head[:3]), wanted)
    peer.send(GET)
    assert proxy.accept().head().startswith("GET ")
    assert origin.closed    # it may yet send a body


def test_an_answer_in_chunks_and_an_answer_to_the_end(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert peer.receive().endswith(b"\r\n\r\n3\r\nabc\r\n")
    origin.send(b"2;x=y\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")
    assert peer.answer().body == b"abcde"
    peer.send(GET)
    origin.send(b"HTTP/1.0 200 OK\r\n\r\nfgh")
    origin.send(b"ij")
    origin.close()
    assert peer.answer().body == b"fghij"
    assert not peer.eof


def test_interim_answers(proxy: ProxySite) -> None:
    """All but 100 (Continue) are the client's, and none is sent to one of HTTP/1.0."""
    answers = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.send(answers)
    assert peer.answer().status == 103
    assert peer.answer().body == b"ok"
    peer.send(GET.replace(b"1.1", b"1.0"))
    origin.send(answers)
    assert peer.answer().status == 200


# Refusals and redirects of our own.


def test_trace_is_not_passed_on(proxy: ProxySite) -> None:
    answer = proxy.connect().ask("TRACE /p/x HTTP/1.1\nHost: localhost")
    assert answer.status == 405 and "GET" in (answer.get("allow") or "")
    assert proxy.is_quiet()


def test_circles_are_broken(proxy: ProxySite) -> None:
    via = ", ".join(["1.1 lwsws"] * 11)
    assert proxy.connect().get("/p/x", f"Via: {via}").status == 508
    assert proxy.is_quiet()


def test_the_mountpoint_without_its_slash(make_proxy: Make) -> None:
    proxy = make_proxy()
    answer = proxy.connect().get("/p?q=1")
    assert (answer.status, answer.get("location")) == (301, "http://localhost/p/?q=1")


def test_the_mountpoint_is_the_location_where_that_has_no_slash(make_proxy: Make) -> None:
    proxy = make_proxy(location="/api")
    peer = proxy.connect()
    peer.send(b"GET /p?q=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert proxy.accept().head().startswith("GET /api?q=1 HTTP/1.1\r\n")


# Request bodies.


def test_a_body_with_a_length(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(post(b"hello")[:-2])
    origin = proxy.accept()
    assert origin.fields()["content-length"] == "5"
    assert origin.take(3) == b"hel"
    peer.send(b"lo")
    assert origin.take(2) == b"lo"
    origin.send(OK)
    assert peer.answer().body == b"ok"
    peer.send(post(b"again"))
    assert origin.fields()["content-length"] == "5"
    assert origin.take(5) == b"again"


def test_a_body_in_chunks(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(b"POST /p/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    origin = proxy.accept()
    fields = origin.fields()
    assert fields["transfer-encoding"] == "chunked" and "content-length" not in fields
    assert origin.take(8) == b"3\r\nabc\r\n"
    peer.send(b"1;ext\r\nd\r\n0\r\nTrailer: x\r\n\r\n")
    assert origin.receive() == b"1\r\nd\r\n0\r\n\r\n"
    origin.send(OK)
    assert peer.answer().body == b"ok"


def test_a_post_without_a_body_says_so(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(post(b""))
    assert proxy.accept().fields()["content-length"] == "0"


def test_the_client_is_told_to_continue_when_the_origin_is_connected(make_proxy: Make) -> None:
    proxy = make_proxy()
    peer = proxy.connect()
    peer.send(post(b"", "Expect: 100-continue", length=5))
    origin = proxy.accept()
    assert "expect" not in origin.fields()
    assert peer.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.data = b""
    peer.send(b"hello")
    assert origin.take(5) == b"hello"
    origin.send(OK)
    assert peer.answer().body == b"ok"


def test_no_continue_without_an_origin(proxy: ProxySite) -> None:
    proxy.down()
    peer = proxy.connect()
    peer.send(post(b"", "Expect: 100-continue", length=5))
    assert peer.answer().status == 502


def test_an_answer_before_the_body_was_sent(proxy: ProxySite) -> None:
    """It is passed on, and the connection to the origin is not used again."""
    peer = proxy.connect()
    peer.send(post(b"x" * 1000, length=1 << 20))
    origin = proxy.accept()
    origin.head()
    origin.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    answer = peer.answer()
    assert (answer.status, answer.body, answer.get("connection")) == (413, b"no", "close")
    origin.receive()
    assert origin.eof and not len(proxy.pools[0])


def test_an_answer_of_an_origin_that_stopped_reading(proxy: ProxySite) -> None:
    """It has closed with our bytes unread, which resets the connection; its answer counts all the same."""
    peer = proxy.connect()
    peer.send(post(b"x" * 1000, length=1 << 20))
    origin = proxy.accept()
    origin.sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    origin.sock.close()
    peer.send(b"x" * 1000)
    assert peer.answer().status == 413


def test_a_body_over_the_limit_ends_the_connection_to_the_origin(make_proxy: Make) -> None:
    proxy = make_proxy(max_body="10")
    mount = proxy.bench.vhosts().default.routes.match("/p/x")
    assert mount is not None
    mount.max_body = 10
    peer = proxy.connect()
    peer.send(b"POST /p/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    origin = proxy.accept()
    peer.send(b"9\r\nabcdefghi\r\n")
    assert peer.answer().status == 413
    assert not origin.receive().endswith(b"0\r\n\r\n") and origin.eof


# Kept connections.


def test_one_connection_serves_many_requests(proxy: ProxySite) -> None:
    peer, other = proxy.connect(), proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    for following in (other, peer, None):
        origin.head()
        origin.send(OK)
        assert peer.answer().body == b"ok"
        if following is not None:
            peer = following
            peer.send(GET)
    assert proxy.is_quiet()


def test_pipelined_requests(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(GET * 3)
    origin = proxy.accept()
    for _ in range(3):
        assert origin.head()
        assert origin.receive() == b""
        origin.send(OK)
    assert [peer.answer().body for _ in range(3)] == [b"ok"] * 3


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    OK + b"H",
])
def test_a_connection_that_is_not_kept(proxy: ProxySite, answer: bytes) -> None:
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.head()
    origin.send(answer)
    assert peer.answer().body == b"ok"
    assert origin.closed


def test_a_kept_connection_that_the_origin_has_closed_is_not_used(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(GET)
    proxy.accept().send(OK)
    assert peer.answer().body == b"ok"
    assert len(proxy.pools[0]) == 1
    proxy.bench.advance(60)
    assert len(proxy.pools[0]) == 0


@pytest.mark.parametrize("request_", [GET, GET.replace(b"GET", b"DELETE")])
def test_a_kept_connection_that_ends_in_the_moment_of_its_use(proxy: ProxySite, request_: bytes) -> None:
    """The request is sent once more by a new one, but not a second time."""
    peer, origin = proxy.kept()
    peer.send(request_)
    origin.head()
    origin.close()
    second = proxy.accept()
    assert second.head().startswith(request_[:4].decode())
    second.close()
    assert peer.answer().status == 502
    assert proxy.is_quiet()


@pytest.mark.parametrize("request_", [post(b"hello"), post(b"")])
def test_what_cannot_be_repeated_is_not(proxy: ProxySite, request_: bytes) -> None:
    peer, origin = proxy.kept()
    peer.send(request_)
    origin.head()
    origin.receive()
    origin.close()
    assert peer.answer().status == 502
    assert proxy.is_quiet()


def test_what_cannot_be_repeated_goes_by_a_connection_that_was_just_used(proxy: ProxySite) -> None:
    peer, origin = proxy.kept()
    proxy.bench.advance(2)
    peer.send(post(b"hello"))
    second = proxy.accept()
    assert second.head().startswith("POST ")
    assert origin.receive() == b"" and not origin.eof


def test_what_an_origin_sends_too_much_is_nobodys_answer(proxy: ProxySite) -> None:
    """Here in the moment in which the next request comes."""
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.head()
    origin.send(OK)
    assert peer.answer().body == b"ok"
    origin.sock.sendall(OK.replace(b"ok", b"no"))
    peer.sock.sendall(GET)
    second = proxy.accept()
    second.send(OK)
    assert peer.answer().body == b"ok"


def test_the_password_of_the_mount_is_not_for_the_origin(proxy: ProxySite, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("me:secret\n")
    mount = proxy.bench.vhosts().default.routes.match("/p/x")
    assert mount is not None
    passwords = PasswordFile(str(tmp_path / "passwords"), proxy.bench.clock)
    plain = mount.handler
    for handler, wanted in ((plain, True), (BasicAuthHandler(passwords, plain), False)):
        mount.handler = handler
        peer = proxy.connect()
        peer.send(GET[:-2] + b"Authorization: Basic bWU6c2VjcmV0\r\nX-%d: 1\r\n\r\n" % wanted)
        assert ("authorization" in proxy.accept().fields()) == wanted
