"""Callback mounts when something goes wrong: plugins at fault in any method, clients gone or slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, List

import pytest

from lwsws.core.exchange import RESPONSE_TIMEOUT
from lwsws.core.session import HttpSession
from lwsws.handlers.callback import MAX_QUEUED
from tests.support.http_sessions import CallbackSite, Hook, HttpNotes, each, fault, post, respond_ok

GET = b"GET /call HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"POST /call HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

# The hooks that bring a session to each method.
WAYS = {
    "request": {},
    "body": {},
    "end": {},
    "writable": {"request": lambda s: s.request_writable()},
    "timer": {"request": lambda s: s.set_timer(0)},
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CallbackSite]:
    """A site; nothing may be left open at its end."""
    site = CallbackSite(tmp_path)
    yield site
    site.bench.close()


def start(s: HttpSession) -> None:
    """A hook that begins an answer."""
    s.start(200, length=10)
    s.write(b"hello")


def check_site(site: CallbackSite) -> None:
    """The next connection is served."""
    plugin = HttpNotes(end=respond_ok)
    site.serve(plugin)
    assert site.bench.connect().get("/call").body == b"ok"
    assert plugin.events == ["request", "end", "closed"]


# Faults of the plugin.


@pytest.mark.parametrize("event", WAYS)
def test_a_fault_before_the_answer_is_500(site: CallbackSite, event: str,
                                          capfd: pytest.CaptureFixture[str]) -> None:
    plugin, peer = site.connect(**WAYS[event], **{event: fault})
    peer.send(post(b"hello"))
    site.bench.advance(0)
    answer = peer.answer()
    assert answer.status == 500
    assert b"fault of the plugin" not in answer.body
    assert plugin.events[-2:] == [event, "closed"]
    logged = capfd.readouterr().err
    assert "ZeroDivisionError: a fault of the plugin" in logged
    assert f"conn {peer.connection.ident}: fault in " in logged
    check_site(site)


@pytest.mark.parametrize("event", WAYS)
def test_a_fault_in_the_middle_of_the_answer_breaks_it_off(site: CallbackSite, event: str) -> None:
    hooks: Any = dict(WAYS[event])
    hooks["request"] = each(start, hooks.get("request", lambda s: None))
    hooks[event] = each(hooks[event], fault) if event in hooks else fault
    plugin, peer = site.connect(**hooks)
    peer.send(post(b"hello") + GET)
    site.bench.advance(0)
    assert peer.receive().endswith(b"\r\n\r\nhello")
    assert peer.eof
    assert plugin.events[-1] == "closed"
    assert plugin.events.count("closed") == plugin.events.count("request") == 1
    check_site(site)


def test_a_fault_in_the_last_method_is_logged_and_no_more(site: CallbackSite,
                                                          capfd: pytest.CaptureFixture[str]) -> None:
    plugin, peer = site.connect(request=respond_ok, closed=fault)
    assert peer.get("/call").body == b"ok"
    assert peer.get("/call").body == b"ok"
    assert capfd.readouterr().err.count("ZeroDivisionError: ") == 2
    assert plugin.events == ["request", "closed"] * 2


def test_a_fault_after_the_answer_was_given_is_500_all_the_same(site: CallbackSite) -> None:
    _, peer = site.connect(request=each(respond_ok, fault))
    assert peer.get("/call").status == 500


def test_a_fault_with_the_result_of_blocking_work(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.run_blocking(int, then=fault))
    peer.send(GET)
    while plugin.events[-1] != "closed":
        site.bench.reactor.run_once(10)
    assert peer.answer().status == 500
    check_site(site)


@pytest.mark.parametrize("hook, why", [
    (lambda s: s.write(b"x"), "no answer was begun"),
    (lambda s: s.finish(), "no answer was begun"),
    (lambda s: s.start(200, length=-1), "an answer cannot have -1 bytes"),
])
def test_calls_out_of_turn_before_the_answer(site: CallbackSite, hook: Hook, why: str,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    _, peer = site.connect(request=hook)
    assert peer.get("/call").status == 500
    assert f"LocalProtocolError: {why}" in capfd.readouterr().err


@pytest.mark.parametrize("hook, why", [
    (lambda s: s.start(200), "a second answer"),
    (lambda s: s.respond(200), "a second answer"),
    (lambda s: s.respond(404), "a second answer"),
    (lambda s: s.write(b"x" * 6), "1 bytes more than the length"),
    (lambda s: s.finish(), "5 bytes less than the length"),
])
def test_calls_out_of_turn_in_the_middle_of_the_answer(site: CallbackSite, hook: Hook, why: str,
                                                       capfd: pytest.CaptureFixture[str]) -> None:
    plugin, peer = site.connect(request=each(start, hook))
    peer.send(GET)
    assert peer.receive().endswith(b"\r\n\r\nhello")
    assert peer.eof
    assert f"LocalProtocolError: {why}" in capfd.readouterr().err
    assert plugin.events == ["request", "closed"]


def test_a_fault_in_a_call_for_another_session_is_that_ones(site: CallbackSite) -> None:
    def meddle(s: HttpSession) -> None:
        if len(plugin.sessions_seen) == 2:
            plugin.sessions_seen[0].write(b"x")

    plugin, first = site.connect(request=meddle)
    first.send(GET)
    assert site.bench.connect().get("/call").status == 500
    assert not first.eof
    plugin.sessions_seen[0].respond(200)
    assert first.answer().status == 200


@pytest.mark.parametrize("hook", [
    lambda s: s.abort(),
    each(lambda s: s.abort(), fault),
    each(respond_ok, lambda s: s.abort(), fault),
    each(start, lambda s: s.abort()),
])
@pytest.mark.parametrize("event", WAYS)
def test_a_plugin_may_abort(site: CallbackSite, event: str, hook: Hook) -> None:
    plugin, peer = site.connect(**WAYS[event], **{event: hook})
    peer.send(post(b"hello"))
    site.bench.advance(0)
    peer.receive()
    assert plugin.events[-2:] == [event, "closed"]
    assert plugin.events.count("closed") == 1
    check_site(site)


# Clients.


@pytest.mark.parametrize("sent, events", [
    (post(b"hello")[:-5], ["request", "closed"]),
    (post(b"hello")[:-2], ["request", "body", "closed"]),
    (post(b"hello"), ["request", "body", "end", "closed"]),
    (GET, ["request", "end", "closed"]),
    (GET + GET, ["request", "end", "closed"]),
])
def test_a_client_that_is_gone(site: CallbackSite, sent: bytes, events: List[str]) -> None:
    plugin, peer = site.connect(request=lambda s: s.set_timer(1))
    peer.send(sent)
    peer.connection.abort()
    site.bench.run()
    assert plugin.events == events
    plugin.session.respond(200)
    plugin.session.request_writable()
    site.bench.advance(5)
    assert plugin.events == events


def test_a_client_that_is_gone_while_its_body_is_paused(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=lambda s: s.pause_body())
    peer.send(post(b"hello"))
    peer.connection.abort()
    site.bench.run()
    plugin.session.resume_body()
    site.bench.run()
    assert plugin.events == ["request", "closed"]


def test_a_client_that_is_gone_in_the_middle_of_its_answer(site: CallbackSite) -> None:
    plugin, peer = site.connect(request=start)
    peer.send(GET)
    peer.sock.close()
    site.bench.run()
    for _ in range(3):
        plugin.session.write(b"x")
        site.bench.run()
    assert plugin.events == ["request", "end", "closed"]


def test_a_client_that_half_closes_gets_its_answer(site: CallbackSite) -> None:
    plugin, peer = site.connect()
    peer.send(GET)
    peer.half_close()
    plugin.session.respond(200, body=b"late")
    assert peer.answer().body == b"late"
    assert peer.closed
    assert plugin.events == ["request", "end", "closed"]


def test_a_body_cut_short_by_a_half_close_is_400(site: CallbackSite) -> None:
    plugin, peer = site.connect()
    peer.send(post(b"hello")[:-1])
    peer.half_close()
    assert peer.answer().status == 400
    assert plugin.events == ["request", "body", "closed"]


def test_a_body_that_stops_coming_is_408(site: CallbackSite) -> None:
    plugin, peer = site.connect()
    peer.send(post(b"hello")[:-1])
    site.bench.advance(5)
    assert peer.answer().status == 408
    assert plugin.events == ["request", "body", "closed"]


def test_a_malformed_body_is_400(site: CallbackSite) -> None:
    plugin, peer = site.connect()
    peer.send(CHUNKED + b"5\r\nhello\r\nx\r\n")
    assert peer.answer().status == 400
    assert plugin.events == ["request", "body", "closed"]


def test_a_body_over_the_limit_of_the_mount(site: CallbackSite) -> None:
    plugin = HttpNotes()
    site.serve(plugin, max_body=5)
    peer = site.bench.connect()
    peer.send(post(b"123456"))
    assert peer.answer().status == 413
    assert plugin.events == []
    peer = site.bench.connect()
    peer.send(CHUNKED + b"5\r\nhello\r\n1\r\n")
    assert peer.answer().status == 413
    assert plugin.events == ["request", "body", "closed"]


@pytest.mark.parametrize("sent", [GET, post(b"hello")])
def test_a_plugin_that_never_answers_is_503(site: CallbackSite, sent: bytes) -> None:
    plugin, peer = site.connect()
    peer.send(sent)
    site.bench.advance(RESPONSE_TIMEOUT)
    assert peer.answer().status == 503
    assert plugin.events[-1] == "closed"
    plugin.session.respond(200)
    site.bench.run()
    assert plugin.events.count("closed") == 1
    check_site(site)


def test_a_plugin_may_ask_for_patience(site: CallbackSite) -> None:
    def ask(s: HttpSession) -> None:
        s.patience = 2 * s.patience

    _, peer = site.connect(request=ask)
    peer.send(GET)
    site.bench.advance(RESPONSE_TIMEOUT + 1)
    assert peer.receive() == b""
    site.bench.advance(RESPONSE_TIMEOUT)
    assert peer.answer().status == 503
    check_site(site)


def test_more_than_is_good_for_the_memory_ends_the_session(site: CallbackSite,
                                                           capfd: pytest.CaptureFixture[str]) -> None:
    most = 0

    def flood(s: HttpSession) -> None:
        nonlocal most
        s.start(200)
        for _ in range(40):
            s.write(bytes(1 << 20))
            most = max(most, peer.connection.transport.size)

    plugin, peer = site.connect(request=flood)
    peer.send(GET)
    assert plugin.events == ["request", "closed"]
    assert MAX_QUEUED < most <= MAX_QUEUED + (1 << 20)
    assert "bytes wait to be sent: aborted" in capfd.readouterr().err
    check_site(site)
