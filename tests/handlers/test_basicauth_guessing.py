"""Basic auth and those who guess: addresses that wait (LESSONS 3.28), and what the log says."""

from __future__ import annotations

from typing import Any, List

import pytest

from lwsws.handlers.attempts import MAX_FAILURES, MAX_PENDING, WINDOW
from tests.support.auth_site import HASH, AuthSite, authorization, log_in, request, wait_for_answer

PEER = ("192.0.2.7", 4711)


def fail(site: AuthSite, times: int, credentials: str = "user:nope", address: Any = PEER) -> List[int]:
    return [log_in(site, credentials, address=address).status for _ in range(times)]


@pytest.mark.parametrize("credentials", ["user:nope", "nobody:x", "hashed:nope"])
def test_after_ten_failures_the_address_waits(site: AuthSite, credentials: str) -> None:
    assert fail(site, MAX_FAILURES, credentials) == [401] * MAX_FAILURES
    site.bench.advance(WINDOW / 2)
    for tried in (credentials, "user:pass", "hashed:password"):
        answer = log_in(site, tried)
        assert (answer.status, answer.get("Retry-After")) == (429, str(WINDOW // 2))
        assert answer.get("WWW-Authenticate") is None
    assert log_in(site, "user:pass", address=("192.0.2.8", 4711)).status == 200
    site.bench.advance(WINDOW / 2)
    assert log_in(site, "user:pass").status == 200


def test_who_waits_still_gets_the_challenge(plain_site: AuthSite) -> None:
    fail(plain_site, MAX_FAILURES)
    assert plain_site.bench.connect().get("/").status == 401


def test_ipv6_is_counted_by_network(plain_site: AuthSite) -> None:
    for number in range(MAX_FAILURES):
        fail(plain_site, 1, address=(f"2001:db8::{number:x}", 4711, 0, 0))
    assert log_in(plain_site, "user:pass", address=("2001:db8::ffff", 4711, 0, 0)).status == 429
    assert log_in(plain_site, "user:pass", address=("2001:db8:0:1::1", 4711, 0, 0)).status == 200


@pytest.mark.parametrize("credentials", ["user:pass", "hashed:password"])
def test_a_success_clears_the_failures(site: AuthSite, credentials: str) -> None:
    fail(site, MAX_FAILURES - 1)
    assert log_in(site, credentials).status == 200
    assert fail(site, MAX_FAILURES) == [401] * MAX_FAILURES
    assert log_in(site, credentials).status == 429


def test_unix_socket_peers_do_not_wait(plain_site: AuthSite) -> None:
    assert fail(plain_site, 3 * MAX_FAILURES, address="") == [401] * (3 * MAX_FAILURES)
    assert log_in(plain_site, "user:pass", address="").status == 200


def test_guesses_sent_all_at_once_gain_nothing(site: AuthSite) -> None:
    site.hold_worker()
    peers = [site.bench.connect() for _ in range(MAX_PENDING + 1)]
    for peer in peers:
        peer.send(request("hashed:nope"))
    answer = peers[-1].answer()
    assert (answer.status, answer.get("Retry-After")) == (429, "1")
    assert all(peer.receive() == b"" for peer in peers[:-1])
    site.release.set()
    assert [wait_for_answer(peer).status for peer in peers[:-1]] == [401] * MAX_PENDING
    assert log_in(site, "hashed:password").status == 429


def test_many_right_ones_at_once_get_in(site: AuthSite) -> None:
    """As when a browser opens a page with pictures, or an office behind one address comes to work."""
    site.hold_worker()
    peers = [site.bench.connect() for _ in range(MAX_PENDING)]
    for peer in peers:
        peer.send(request("hashed:password"))
    site.release.set()
    assert [wait_for_answer(peer).status for peer in peers] == [200] * MAX_PENDING


# The log.

@pytest.mark.parametrize("credentials", ['ev\u0130l"name:pass-word', "hashed:pass-word"])
def test_failures_are_logged_without_secrets(site: AuthSite, credentials: str,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    fail(site, MAX_FAILURES, credentials)
    log_in(site, credentials)
    lines = capfd.readouterr().err.splitlines()
    name = {"e": r"ev\xc4\xb0l\x22name", "h": "hashed"}[credentials[0]]
    failures = [line for line in lines if f'192.0.2.7: basic auth failed for user "{name}"' in line]
    assert len(failures) == MAX_FAILURES
    assert len([line for line in lines if line.endswith("192.0.2.7: too many failures, has to wait")]) == 1
    text = "\n".join(lines)
    for secret in ("pass-word", authorization(credentials).split()[-1], HASH[-20:]):
        assert secret not in text
    assert text.isascii()


def test_long_names_are_cut_in_the_log(plain_site: AuthSite, capfd: pytest.CaptureFixture[str]) -> None:
    log_in(plain_site, "x" * 900 + ":y")
    assert f'user "{"x" * 64}"' in capfd.readouterr().err
