"""Basic auth with hashes: what happens while a password is at a worker, and after."""

from __future__ import annotations

import pytest

from lwsws.handlers.attempts import MAX_FAILURES, REMEMBER
from lwsws.handlers.passwordfile import LOOK_INTERVAL
from tests.support.auth_site import HASH, AuthSite, log_in, request, wait_for_answer


def test_hashes_are_checked_on_a_worker_and_others_are_served_meanwhile(site: AuthSite) -> None:
    site.hold_worker()
    waiting = {}
    for credentials in ("hashed:password", "hashed:nope", "nobody:x", "user:nope"):
        waiting[credentials] = site.bench.connect()
        waiting[credentials].send(request(credentials))
    assert log_in(site, "user:pass").status == 200      # plain and right: at once
    for peer in waiting.values():
        assert peer.receive() == b""
    site.release.set()
    statuses = {credentials: wait_for_answer(peer).status for credentials, peer in waiting.items()}
    assert statuses == {"hashed:password": 200, "hashed:nope": 401, "nobody:x": 401, "user:nope": 401}


def test_without_hashes_nothing_goes_to_a_worker(plain_site: AuthSite) -> None:
    plain_site.hold_worker()
    assert log_in(plain_site, "user:pass").status == 200
    assert log_in(plain_site, "user:nope").status == 401
    assert log_in(plain_site, "nobody:pass").status == 401


def test_a_right_password_is_remembered_for_a_minute(site: AuthSite) -> None:
    assert log_in(site, "hashed:password").status == 200
    site.hold_worker()
    site.bench.advance(REMEMBER - 1)
    assert log_in(site, "hashed:password").status == 200
    wrong, late = site.bench.connect(), site.bench.connect()
    wrong.send(request("hashed:passwor"))
    site.bench.advance(1)
    late.send(request("hashed:password"))
    assert wrong.receive() == b""
    assert late.receive() == b""
    site.release.set()
    assert wait_for_answer(wrong).status == 401
    assert wait_for_answer(late).status == 200


def test_a_changed_file_forgets_who_was_right(site: AuthSite) -> None:
    assert log_in(site, "hashed:password").status == 200
    site.hold_worker()
    site.write(f"hashed:{HASH}", "new:line")
    site.bench.advance(LOOK_INTERVAL)
    peer = site.bench.connect()
    peer.send(request("hashed:password"))
    assert peer.receive() == b""
    site.release.set()
    assert wait_for_answer(peer).status == 200


def test_pipelined_requests_are_answered_in_order(site: AuthSite) -> None:
    peer = site.bench.connect()
    tried = ("hashed:password", "user:pass", "hashed:nope", "nobody:x", "user:pass")
    peer.send(b"".join(map(request, tried)))
    assert [wait_for_answer(peer).status for _ in range(5)] == [200, 200, 401, 401, 200]


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
def test_the_body_waits_for_the_worker(site: AuthSite, pieces: str) -> None:
    site.hold_worker()
    peer = site.bench.connect()
    body = bytes(range(256)) * 8
    data = request("hashed:password", "/", f"Content-Length: {len(body)}", method="POST") + body
    for start in range(0, len(data), len(data) if pieces == "whole" else 1):
        peer.send(data if pieces == "whole" else data[start:start + 1])
    peer.send(request("user:pass"))
    assert peer.receive() == b""
    site.release.set()
    assert wait_for_answer(peer).body == body
    assert wait_for_answer(peer).body == b"hello user"


@pytest.mark.parametrize("credentials", ["hashed:nope", "user:nope", "nobody:x"])
def test_the_body_of_somebody_refused_is_not_taken(site: AuthSite, credentials: str) -> None:
    peer = site.bench.connect()
    peer.send(request(credentials, "/", "Content-Length: 5", method="POST") + b"hello" + request("user:pass"))
    assert wait_for_answer(peer).status == 401
    assert wait_for_answer(peer).body == b"hello user"


@pytest.mark.parametrize("credentials, status", [("hashed:password", 200), ("hashed:nope", 401)])
def test_100_continue_is_for_those_who_got_in(site: AuthSite, credentials: str, status: int) -> None:
    site.hold_worker()
    peer = site.bench.connect()
    peer.send(request(credentials, "/", "Content-Length: 5", "Expect: 100-continue", method="PUT"))
    assert peer.receive() == b""
    site.release.set()
    if status == 200:
        assert wait_for_answer(peer).status == 100
        peer.send(b"hello")
        assert peer.answer().body == b"hello"
    else:
        assert wait_for_answer(peer).status == 401


@pytest.mark.parametrize("credentials", ["hashed:password", "user:pass"])
def test_faults_of_the_inner_handler(site: AuthSite, credentials: str,
                                     capfd: pytest.CaptureFixture[str]) -> None:
    assert log_in(site, credentials, "/missing").status == 404
    assert log_in(site, credentials, "/broken").status == 500
    site.bench.run()
    assert "ZeroDivisionError: a fault of the inner handler" in capfd.readouterr().err
    assert log_in(site, credentials).status == 200


def test_faults_of_the_inner_handler_after_a_worker(site: AuthSite,
                                                    capfd: pytest.CaptureFixture[str]) -> None:
    assert log_in(site, "hashed:password", "/broken").status == 500
    assert "ZeroDivisionError: a fault of the inner handler" in capfd.readouterr().err
    site.bench.advance(REMEMBER)
    assert log_in(site, "hashed:password", "/missing").status == 404


@pytest.mark.parametrize("credentials", ["hashed:password", "hashed:nope"])
def test_a_client_that_does_not_wait(site: AuthSite, credentials: str,
                                     capfd: pytest.CaptureFixture[str]) -> None:
    site.hold_worker()
    peer = site.bench.connect()
    peer.send(request(credentials))
    peer.connection.abort()
    site.wait_for_worker()
    assert log_in(site, "hashed:password").status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_guesses_of_clients_that_do_not_wait_count(site: AuthSite) -> None:
    for _ in range(MAX_FAILURES):
        peer = site.bench.connect()
        peer.send(request("hashed:nope"))
        peer.connection.abort()
    site.wait_for_worker()
    assert log_in(site, "user:pass").status == 429


def test_no_room_at_the_workers(site: AuthSite) -> None:
    site.hold_worker()
    site.fill_queue()
    answer = log_in(site, "hashed:password")
    assert (answer.status, answer.get("Retry-After")) == (503, "1")
    assert log_in(site, "nobody:x").status == 503
    assert log_in(site, "user:pass").status == 200
    site.wait_for_worker()
    assert log_in(site, "hashed:password").status == 200
