"""Callback mounts: what a plugin hears of a request and in which order, and what it may ask for."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any, Iterator, List, Optional

import pytest

from lwsws.core.options import Options
from lwsws.core.session import HttpSession
from lwsws.handlers.basicauth import BasicAuthHandler, PasswordFile
from lwsws.handlers.callback import CallbackHandler
from lwsws.net.transport import HIGH
from tests.support.http_sessions import VHOST, CallbackSite, HttpNotes, each, fault, post, respond_ok

# A job that a test lets go on ends by itself, where the test has failed.
JOB_SECONDS = 10.0

GET = b"GET /call HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CallbackSite]:
    """A site; nothing may be left open at its end."""
    site = CallbackSite(tmp_path)
    yield site
    site.bench.close()


# The order of things.


def test_a_request_without_a_body(site: CallbackSite) -> None:
    plugin, peer = site.connect(end=respond_ok)
    assert peer.get("/call").body == b"ok"
    assert plugin.events == ["request", "end", "closed"]
    assert peer.get("/call").status == 200
    assert plugin.events == ["request", "end", "closed"] * 2


def test_a_request_with_a_body(site: CallbackSite) -> None:
    plugin, peer = site.connect(end=respond_ok)
    peer.send(post(b"hello")[:-2])
    assert plugin.events == ["request", "body"]
    assert peer.receive() == b""
    peer.send(b"lo")
    assert peer.answer().body == b"ok"
    assert plugin.events == ["request", "body", "body", "end", "closed"]
    assert plugin.body == b"hello"


@pytest.mark.parametrize("body, wanted", [(b"", ["end"]), (b"5\r\nhello\r\n", ["body", "end"])])
def test_a_chunked_body(site: CallbackSite, body: bytes, wanted: List[str]) -> None:
    plugin, peer = site.connect(end=respond_ok)
    head = b"PUT /call HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer.send(head + body + b"0\r\n\r\n")
    assert peer.answer().body == b"ok"
    assert plugin.events == ["request", *wanted, "closed"]


def test_an_answer_before_the_body_came(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=respond_ok)
    request = post(b"x" * 1000)
    peer.send(request[:-500])
    assert peer.answer().body == b"ok"
    peer.send(request[-500:] + GET)
    assert peer.answer().body == b"ok"
    assert plugin.events == ["request", "closed"] * 2


def test_an_answer_before_a_large_body_came_closes_the_connection(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=respond_ok)
    peer.send(post(b"x" * 1000, announced=1 << 20))
    answer = peer.answer()
    assert (answer.body, answer.get("connection")) == (b"ok", "close")
    assert plugin.events == ["request", "closed"]


def test_an_answer_in_the_middle_of_the_body(site: CallbackSite) -> None:
    plugin, peer = site.connect(body=respond_ok)
    peer.send(post(b"x" * 10, announced=20))
    assert peer.answer().status == 200
    peer.send(b"x" * 10 + GET)
    assert plugin.events == ["request", "body", "closed", "request", "end"]


@pytest.mark.parametrize("event", ["request", "end"])
def test_pipelined_requests_are_answered_in_order(site: CallbackSite, event: str) -> None:
    def number(s: HttpSession) -> None:
        s.respond(200, body=str(len(plugin.sessions_seen)).encode())

    plugin, peer = site.connect(**{event: number})
    peer.send((GET + post(b"")) * 20)
    assert [peer.answer().body for _ in range(40)] == [str(count).encode() for count in range(1, 41)]
    assert not peer.eof


def test_a_pipelined_request_waits_for_an_answer_given_later(site: CallbackSite) -> None:
    """The second one is told in no call of the first, whatever completes its answer."""
    for event in ("timer", "writable"):
        plugin, peer = site.connect(request=each(lambda s: s.set_timer(1), lambda s: s.request_writable()),
                                    **{event: respond_ok})
        peer.send(GET + GET)
        site.bench.advance(1)
        assert peer.answer().body == b"ok"
        site.bench.advance(1)
        assert peer.answer().body == b"ok"
        assert plugin.events.count("closed") == 2
        peer.connection.abort()


def test_a_session_answered_in_a_call_for_another_one(site: CallbackSite) -> None:
    """As a long poll is."""
    def answer_first(s: HttpSession) -> None:
        if len(plugin.sessions_seen) == 2:
            plugin.sessions_seen[0].respond(200, body=b"from the other")
            s.respond(200, body=b"own")

    plugin, waiting = site.connect(request=answer_first)
    waiting.send(GET + GET)
    assert waiting.receive() == b""
    assert site.bench.connect().get("/call").body == b"own"
    assert waiting.answer().body == b"from the other"
    assert plugin.events == ["request", "end", "request", "closed", "closed", "request", "end"]


def test_100_continue_is_sent_before_the_body_is_waited_for(site: CallbackSite) -> None:
    _, peer = site.connect(end=respond_ok)
    peer.send(post(b"", "Expect: 100-continue", announced=5))
    assert peer.answer().status == 100
    peer.send(b"hello")
    assert peer.answer().body == b"ok"
    assert not peer.eof


def test_100_continue_is_not_sent_by_a_plugin_that_answers_at_once(site: CallbackSite) -> None:
    _, peer = site.connect(request=lambda s: s.respond(403, body=b"no"))
    peer.send(post(b"", "Expect: 100-continue", announced=5))
    answer = peer.answer()
    assert (answer.status, answer.get("connection")) == (403, "close")
    assert peer.closed


def test_100_continue_waits_for_a_plugin_that_has_paused(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=each(lambda s: s.pause_body(), lambda s: s.set_timer(1)),
                                end=respond_ok, timer=lambda s: s.resume_body())
    peer.send(post(b"", "Expect: 100-continue", announced=5))
    assert peer.receive() == b""
    site.bench.advance(1)
    assert peer.answer().status == 100
    peer.send(b"hello")
    assert peer.answer().body == b"ok"
    assert plugin.events == ["request", "timer", "body", "end", "closed"]


# The body, paused.


def test_a_paused_body_waits(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.pause_body(), end=respond_ok)
    peer.send(post(b"hello"))
    assert plugin.events == ["request"]
    plugin.session.resume_body()
    assert plugin.events == ["request"]     # never in the middle of a call
    site.bench.run()
    assert plugin.events == ["request", "body", "end", "closed"]
    assert peer.answer().body == b"ok"


def test_the_end_of_a_body_that_there_is_not_waits_too(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.pause_body(), end=respond_ok)
    peer.send(GET)
    assert plugin.events == ["request"]
    plugin.session.resume_body()
    plugin.session.resume_body()
    assert peer.answer().body == b"ok"
    assert plugin.events == ["request", "end", "closed"]


def test_a_body_paused_piece_by_piece_comes_whole_and_without_filling_the_memory(site: CallbackSite) -> None:
    go_on = threading.Semaphore(0)
    paused: List[HttpSession] = []

    def pause(s: HttpSession) -> None:
        s.pause_body()
        paused.append(s)
        s.run_blocking(go_on.acquire, True, JOB_SECONDS, then=lambda s, result, error: s.resume_body())

    plugin, peer = site.connect(body=pause, end=lambda s: s.respond(200, body=b"%d" % len(plugin.body)))
    size, sent = 4 << 20, 0
    request = post(bytes(size))
    most = 0
    while plugin.events[-1:] != ["closed"]:
        try:
            sent += peer.sock.send(request[sent:sent + 100000])
        except BlockingIOError:
            pass
        was_paused = bool(paused)
        site.bench.reactor.run_once(0.01)
        role: Any = peer.connection.role
        if role.reader is not None:
            most = max(most, role.reader.buffered)
        if was_paused:  # for a whole turn
            paused.clear()
            go_on.release()
    assert peer.answer().body == b"%d" % size
    assert plugin.events.count("body") > 10
    assert 64 * 1024 < most < 512 * 1024


def test_a_body_that_stays_paused_is_no_fault_of_the_client(site: CallbackSite) -> None:
    plugin, peer = site.connect(body=lambda s: s.pause_body(), end=respond_ok)
    peer.send(post(b"hello")[:-1])
    for _ in range(10):
        site.bench.advance(5)
    assert peer.receive() == b""
    plugin.session.resume_body()
    peer.send(b"o")
    plugin.session.resume_body()
    assert peer.answer().body == b"ok"
    assert plugin.body == b"hello"


def test_pausing_and_resuming_in_one_call_changes_nothing(site: CallbackSite) -> None:
    def both(s: HttpSession) -> None:
        s.pause_body()
        s.resume_body()

    plugin, peer = site.connect(request=both, body=both, end=respond_ok)
    peer.send(post(b"hello"))
    assert peer.answer().body == b"ok"
    assert plugin.body == b"hello"


# What a session knows.


def test_what_a_session_knows_of_its_request(site: CallbackSite) -> None:
    plugin = HttpNotes(end=respond_ok)
    site.serve(plugin, [("a", "1"), ("a", "2")], auth_mask=5)
    peer = site.bench.connect()
    peer.ask("PUT /call/deep/../er%20?q=%31 HTTP/1.1\nHost: localhost:7681\nX-A: 1\nX-A: 2")
    s = plugin.session
    assert (s.request.method, s.request.path, s.request.query) == ("PUT", "/call/er ", "q=%31")
    assert (s.request.host, s.request.headers.get("x-a"), s.request.headers.all("x-a")) == \
        ("localhost:7681", "1, 2", ["1", "2"])
    assert (s.rest, s.username, s.auth_mask, s.peer, s.vhost) == ("/er ", "", 5, "192.0.2.7", VHOST)
    assert isinstance(s.options, Options)
    assert s.options.all("a") == ("1", "2")
    assert s.ident == peer.connection.ident
    assert s.user is None
    peer.get("/call")
    assert plugin.session.rest == ""
    assert plugin.session is not s


def test_a_mount_without_its_protocol_is_503(site: CallbackSite) -> None:
    plugin, peer = site.connect()
    site.plugin = None
    answer = peer.get("/call")
    assert answer.status == 503
    assert b"the protocol of this mount is not offered by this vhost" in answer.body
    assert plugin.events == []


# Timers, workers, writing later.


def test_the_timer(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.set_timer(10), timer=respond_ok)
    peer.send(GET)
    site.bench.advance(9)
    plugin.session.set_timer(5)
    site.bench.advance(4)
    assert peer.receive() == b""
    plugin.session.set_timer(None)
    site.bench.advance(4)
    plugin.session.set_timer(0)
    site.bench.advance(0)
    assert peer.answer().body == b"ok"
    assert plugin.events == ["request", "end", "timer", "closed"]
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="a timer cannot be set"):
            plugin.session.set_timer(seconds)


def test_no_timer_comes_once_the_session_is_over(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.set_timer(1), end=respond_ok)
    assert peer.get("/call").body == b"ok"
    plugin.session.set_timer(1)
    plugin.session.request_writable()
    site.bench.advance(2)
    assert plugin.events == ["request", "end", "closed"]


def run_worker(site: CallbackSite) -> None:
    """Let the worker do all it was given before."""
    done: List[Optional[Exception]] = []
    site.bench.workers.submit(lambda: None, lambda result, error: done.append(error))
    while not done:
        site.bench.reactor.run_once(10)


def test_blocking_work(site: CallbackSite) -> None:
    def ask(s: HttpSession) -> None:
        s.run_blocking(divmod, 7, 2, then=lambda s, result, error: s.respond(200, body=repr(result).encode()))

    plugin, peer = site.connect(request=ask)
    peer.send(GET)
    run_worker(site)
    assert peer.answer().body == b"(3, 1)"
    assert plugin.events == ["request", "end", "closed"]


def test_blocking_work_that_fails(site: CallbackSite) -> None:
    def told(s: HttpSession, result: Any, error: Optional[Exception]) -> None:
        s.respond(200, body=f"{result} {error}".encode())

    _, peer = site.connect(request=lambda s: s.run_blocking(divmod, 7, 0, then=told))
    peer.send(GET)
    run_worker(site)
    assert re.fullmatch(rb"None integer .*zero", peer.answer().body)


def test_the_result_of_blocking_work_for_a_client_gone_is_dropped(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.run_blocking(lambda: None, then=fault))
    peer.send(GET)
    peer.connection.abort()
    run_worker(site)
    assert plugin.events == ["request", "end", "closed"]


def test_writable_comes_in_a_later_turn_and_once(site: CallbackSite) -> None:
    def ask_twice(s: HttpSession) -> None:
        s.request_writable()
        s.request_writable()

    plugin, peer = site.connect(request=ask_twice)
    peer.send(GET)
    assert plugin.events == ["request", "end", "writable"]
    plugin.session.request_writable()
    assert plugin.events[-1] == "writable"
    site.bench.run()
    assert plugin.events == ["request", "end", "writable", "writable"]


def test_a_large_answer_is_written_as_the_client_takes_it(site: CallbackSite) -> None:
    piece, size = b"0123456789abcdef" * 4096, 4 << 20
    most = 0

    def go_on(s: HttpSession) -> None:
        nonlocal most
        s.user = s.user or 0
        while s.user < size and not s.is_high:
            s.write(piece)
            s.user += len(piece)
            most = max(most, peer.connection.transport.size)
        if s.user < size:
            s.request_writable()
        else:
            s.finish()

    def begin(s: HttpSession) -> None:
        s.start(200, length=size)
        go_on(s)

    plugin, peer = site.connect(request=begin, writable=go_on)
    peer.send(GET)
    body = peer.answer().body
    assert body == piece * (size // len(piece))
    assert plugin.events[-1] == "closed"
    assert most <= HIGH + len(piece)


def test_an_answer_while_the_body_is_paused_and_was_not_asked_for(site: CallbackSite) -> None:
    """The client may leave the body out, so nothing can follow on this connection."""
    plugin, peer = site.connect(request=lambda s: s.pause_body())
    peer.send(post(b"", "Expect: 100-continue", announced=5))
    plugin.session.respond(403, body=b"no")
    answer = peer.answer()
    assert (answer.status, answer.get("connection")) == (403, "close")


def test_a_body_paused_by_a_timer_is_no_fault_of_the_client(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.set_timer(1), timer=lambda s: s.pause_body(),
                                end=respond_ok)
    peer.send(post(b"hello")[:-1])
    site.bench.advance(1)
    for _ in range(10):
        site.bench.advance(5)
    plugin.session.resume_body()
    peer.send(b"o")
    assert peer.answer().body == b"ok"
    assert plugin.body == b"hello"


def test_the_user_who_logged_in(tmp_path: Path, site: CallbackSite) -> None:
    path = tmp_path / "passwords"
    path.write_text("user:pass\n")
    path.chmod(0o600)
    plugin = HttpNotes(request=lambda s: s.respond(200, body=s.username.encode()))
    inner = CallbackHandler(lambda: plugin, VHOST, Options(), 0)
    site.bench.mount("/call", BasicAuthHandler(PasswordFile(str(path), site.bench.clock), inner))
    peer = site.bench.connect()
    assert peer.get("/call").status == 401
    assert peer.get("/call", "Authorization: Basic dXNlcjpwYXNz").body == b"user"
    assert plugin.events == ["request", "closed"]
