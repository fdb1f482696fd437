"""Callback mounts: the answers of plugins, whole and bit by bit, and heads that must not be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

from lwsws.core.session import HttpSession
from tests.support.http_sessions import CallbackSite, each, fault

GET = b"GET /call HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CallbackSite]:
    """A site; nothing may be left open at its end."""
    site = CallbackSite(tmp_path)
    yield site
    site.bench.close()


def test_a_whole_answer(site: CallbackSite) -> None:
    fields = [("Content-Type", "text/plain"), ("X-Own", "a"), ("X-Own", "b\xe9")]
    plugin, peer = site.connect(request=lambda s: s.respond(201, fields, b"hello"))
    answer = peer.get("/call")
    assert (answer.status, answer.body) == (201, b"hello")
    assert [field for field in answer.fields if field[0] not in ("Date", "Server")] == \
        [*fields, ("Content-Length", "5")]
    assert fields == [("Content-Type", "text/plain"), ("X-Own", "a"), ("X-Own", "b\xe9")]
    assert plugin.events == ["request", "closed"]


@pytest.mark.parametrize("status", [400, 404, 405, 500, 503, 599])
def test_an_error_without_a_body_gets_the_page_of_the_server(site: CallbackSite, status: int) -> None:
    fields = [("Allow", "POST"), ("Content-Type", "a/b")]
    plugin, peer = site.connect(request=lambda s: s.respond(status, fields))
    answer = peer.get("/call")
    assert (answer.status, answer.get("allow"), answer.get("content-type")) == (status, "POST", "text/html")
    assert f"<b>{status}</b>".encode() in answer.body
    assert plugin.events == ["request", "closed"]
    assert not peer.eof


def test_an_error_with_a_body_is_sent_as_it_is(site: CallbackSite) -> None:
    _, peer = site.connect(request=lambda s: s.respond(404, [("Content-Type", "a/b")], b"own"))
    answer = peer.get("/call")
    assert (answer.status, answer.get("content-type"), answer.body) == (404, "a/b", b"own")


@pytest.mark.parametrize("status", [200, 204, 304])
def test_an_empty_answer(site: CallbackSite, status: int) -> None:
    _, peer = site.connect(request=lambda s: s.respond(status))
    for _ in range(2):
        answer = peer.get("/call")
        assert (answer.status, answer.body) == (status, b"")
        assert answer.get("content-length") == ("0" if status == 200 else None)


def streamed(length: Any) -> Any:
    """A hook that answers bit by bit."""
    def answer(s: HttpSession) -> None:
        s.start(200, [("Content-Type", "text/plain")], length)
        s.write(b"hel")
        s.write(b"")
        s.write(b"lo")
        s.finish()
    return answer


@pytest.mark.parametrize("length", [None, 5])
def test_an_answer_bit_by_bit(site: CallbackSite, length: Any) -> None:
    plugin, peer = site.connect(request=streamed(length))
    for _ in range(2):
        answer = peer.get("/call")
        assert answer.body == b"hello"
        assert answer.get("content-length") == (length and str(length))
        assert answer.get("transfer-encoding") == (None if length else "chunked")
    assert plugin.events == ["request", "closed"] * 2


def test_an_answer_bit_by_bit_to_http_1_0(site: CallbackSite) -> None:
    _, peer = site.connect(request=streamed(None))
    peer.send(b"GET /call HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert peer.receive().endswith(b"\r\n\r\nhello")
    assert peer.eof


@pytest.mark.parametrize("length", [None, 5])
def test_head_gets_the_same_head_and_no_body(site: CallbackSite, length: Any) -> None:
    _, peer = site.connect(request=streamed(length))
    answer = peer.ask("HEAD /call HTTP/1.1\nHost: localhost", "HEAD")
    assert answer.get("content-length") == (length and str(length))
    assert peer.receive() == b""
    assert not peer.eof


def test_an_answer_to_head_need_not_be_written(site: CallbackSite) -> None:
    def answer(s: HttpSession) -> None:
        s.start(200, length=5)
        s.finish()

    _, peer = site.connect(request=answer)
    assert peer.ask("HEAD /call HTTP/1.1\nHost: localhost", "HEAD").get("content-length") == "5"
    assert peer.ask("HEAD /call HTTP/1.1\nHost: localhost", "HEAD").get("content-length") == "5"


def test_an_answer_over_several_turns(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=each(lambda s: s.start(200), lambda s: s.set_timer(1)),
                                timer=each(lambda s: s.write(b"tick "), lambda s: s.set_timer(1)))
    peer.send(GET)
    for _ in range(100):
        site.bench.advance(1)
    plugin.session.finish()
    assert peer.answer().body == b"tick " * 100
    assert plugin.events[-1] == "closed"


def test_calls_after_the_answer_have_no_effect(site: CallbackSite) -> None:
    def too_much(s: HttpSession) -> None:
        s.respond(200, body=b"first")
        s.respond(200, body=b"second")
        s.start(200)
        s.write(b"more")
        s.finish()
        s.pause_body()
        s.resume_body()
        s.abort()

    plugin, peer = site.connect(request=too_much, closed=too_much)
    assert peer.get("/call").body == b"first"
    too_much(plugin.session)
    plugin.session.run_blocking(int, then=fault)
    assert peer.get("/call").body == b"first"
    assert plugin.events == ["request", "closed"] * 2


def test_answers_are_never_remembered(site: CallbackSite) -> None:
    _, peer = site.connect(request=lambda s: s.respond(200, body=b"ok"))
    for _ in range(5):
        peer.get("/call")
    assert len(site.bench.vhosts().answers) == 0


INJECTED = ("x\r\nSet-Cookie: a=b", "x\nSet-Cookie: a=b", "x\r", "\0", "\x7f", "日")


@pytest.mark.parametrize("status, fields", [
    *[(200, [("X-Own", value)]) for value in INJECTED],
    *[(404, [("X-Own", value)]) for value in INJECTED],
    *[(200, [(name, "x")]) for name in ("", "X Own", "X:", "X\r\nY", "é")],
    *[(200, [(name, "x")]) for name in ("Content-Length", "transfer-encoding", "Connection")],
    *[(status, []) for status in (0, 99, 100, 101, 199, 600, 1000, -200)],
])
@pytest.mark.parametrize("way", ["respond", "start"])
def test_a_head_that_must_not_be_sent_is_500(site: CallbackSite, capfd: pytest.CaptureFixture[str], way: str,
                                             status: int, fields: List[Tuple[str, str]]) -> None:
    def answer(s: HttpSession) -> None:
        if way == "respond":
            s.respond(status, fields, b"body")
        else:
            s.start(status, fields)

    plugin, peer = site.connect(request=answer)
    got = peer.get("/call")
    assert got.status == 500
    assert b"Cookie" not in got.head
    assert "LocalProtocolError" in capfd.readouterr().err
    assert plugin.events == ["request", "closed"]
    assert site.bench.connect().get("/nothing").status == 404


@pytest.mark.parametrize("body", ["text", 5, None, ["x"]])
def test_a_body_that_is_no_bytes_is_500(site: CallbackSite, body: Any,
                                        capfd: pytest.CaptureFixture[str]) -> None:
    _, peer = site.connect(request=lambda s: s.respond(200, body=body))
    assert peer.get("/call").status == 500
    assert "TypeError" in capfd.readouterr().err


def test_a_body_may_be_changed_once_it_is_given(site: CallbackSite) -> None:
    def answer(s: HttpSession) -> None:
        body: Any = bytearray(b"hello")
        s.respond(200, body=body)
        body[:] = b"HELLO"

    _, peer = site.connect(request=answer)
    assert peer.get("/call").body == b"hello"


@pytest.mark.parametrize("way", ["respond", "start"])
def test_a_phrase_and_a_date_of_the_plugin(site: CallbackSite, way: str) -> None:
    date = ("Date", "Mon, 01 Jan 2001 00:00:00 GMT")

    def answer(s: HttpSession) -> None:
        if way == "respond":
            s.respond(404, [date], b"", "Gone for lunch")
        else:
            s.start(404, [date], 0, "Gone for lunch")
            s.finish()

    _, peer = site.connect(request=answer)
    got = peer.get("/call")
    assert got.get("date") == date[1]
    if way == "start":      # else it is the page of the server
        assert got.head.startswith(b"HTTP/1.1 404 Gone for lunch\r\n")


@pytest.mark.parametrize("reason", INJECTED)
def test_a_phrase_that_must_not_be_sent_is_500(site: CallbackSite, reason: str) -> None:
    _, peer = site.connect(request=lambda s: s.respond(200, [], b"body", reason))
    got = peer.get("/call")
    assert got.status == 500 and b"Cookie" not in got.head


def test_configured_fields_replace_those_of_a_plugin(tmp_path: Path) -> None:
    site = CallbackSite(tmp_path, server_string="ours")
    _, peer = site.connect(request=lambda s: s.respond(200, [("server", "theirs"), ("X-Own", "1")], b"x"))
    got = peer.get("/call")
    assert (got.get("server"), got.get("x-own")) == ("ours", "1")
    site.bench.close()
