"""Basic auth with real exchanges: the credentials, and who gets in (LESSONS 3.26, 3.27)."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Tuple

import pytest

from lwsws.handlers.attempts import MAX_FAILURES
from lwsws.handlers.basicauth import MAX_ENCODED, parse_credentials
from lwsws.handlers.passwordfile import LOOK_INTERVAL
from tests.support.auth_site import CHALLENGE, HASH, SHA512, AuthSite, log_in, request, wait_for_answer

# The field.

@pytest.mark.parametrize("value, credentials", [
    ("Basic dXNlcjpwYXNz", (b"user", b"pass")),
    ("basic dXNlcjpwYXNz", (b"user", b"pass")),
    ("bAsIc   dXNlcjpwYXNz", (b"user", b"pass")),
    ("Basic dXNlcjo=", (b"user", b"")),
    ("Basic YTpi", (b"a", b"b")),
    ("Basic YTpiYw==", (b"a", b"bc")),
    ("Basic b3RoZXI6c2U6Y3JldA==", (b"other", b"se:cret")),
    ("Basic IyBjb21tZW50Ong=", (b"# comment", b"x")),
    ("Basic " + base64.b64encode("jürgen:päß".encode()).decode(), ("jürgen".encode(), "päß".encode())),
    ("Basic " + base64.b64encode(b"j\xfcrgen:p\xe4\xdf\x85").decode(), (b"j\xfcrgen", b"p\xe4\xdf\x85")),
])
def test_credentials(value: str, credentials: Tuple[bytes, bytes]) -> None:
    assert parse_credentials(value) == credentials


def encoded(data: bytes) -> str:
    return "Basic " + base64.b64encode(data).decode()


@pytest.mark.parametrize("value", [
    "", "Basic", "Basic ", "Basic =", "Basic ==", "Bearer dXNlcjpwYXNz", "Digest username=\"user\"",
    "dXNlcjpwYXNz",
    "BasicdXNlcjpwYXNz", "Basic\tdXNlcjpwYXNz", " Basic dXNlcjpwYXNz", "Basic dXNlcjpwYXNz ",
    "Basic dXNlcjpwYXNz\n",
    "Basic dXNlcjpwYXNz=", "Basic dXNlcjo", "Basic dXNlcjo==", "Basic YTpiYw", "Basic YTpiYw=",
    "Basic YTpiYw===",
    "Basic YTpiYx==",               # bits beyond the last byte
    "Basic dXNlcjp-YXNz", "Basic dXNlcjp_YXNz", "Basic dXNl cjpwYXNz", "Basic !XNlcjpwYXNz",
    "Basic dXNlcjpwYXN\xe9",
    "Basic dXNlcjpwYXNz, Basic dXNlcjpwYXNz",       # the field twice
    "Basic realm=\"x\"",
    "Ba\u017fic dXNlcjpwYXNz",      # the long s is an s to a pattern that ignores case
    encoded(b"user"), encoded(b""), encoded(b":"), encoded(b":pass"), encoded(b"::"),
    encoded(b"user:pass\n"), encoded(b"user:pass\r"), encoded(b"user\nother:pass"), encoded(b"\nuser:pass"),
    encoded(b"user:pa\x00ss"), encoded(b"user\x00:pass"), encoded(b"user:pass\x7f"), encoded(b"us\ter:pass"),
    encoded(b"user:" + b"x" * MAX_ENCODED),
])
def test_malformed_credentials(value: str) -> None:
    assert parse_credentials(value) is None


# Who gets in.

def test_without_credentials(plain_site: AuthSite) -> None:
    answer = plain_site.bench.connect().get("/")
    assert answer.status == 401
    assert answer.get("WWW-Authenticate") == CHALLENGE
    assert answer.get("Connection") is None


@pytest.mark.parametrize("value", [
    "Basic", "Basic !", "Basic Og==", "Basic OnBhc3M=", "Basic dXNlcg==", "Basic dXNlcjpwYXNzCg==",
    "Bearer dXNlcjpwYXNz", "Basic " + "QUFB" * 1000,
])
def test_malformed_is_401_and_not_counted(plain_site: AuthSite, value: str) -> None:
    """`:` alone and a newline let in with the original; the others were 403 there."""
    peer = plain_site.bench.connect()
    for _ in range(MAX_FAILURES + 1):
        answer = peer.get("/", f"Authorization: {value}")
        assert (answer.status, answer.get("WWW-Authenticate")) == (401, CHALLENGE)


@pytest.mark.parametrize("credentials, status", [
    ("user:pass", 200), ("user:nope", 401), ("user:pas", 401), ("user:passs", 401), ("user:", 401),
    ("user:Pass", 401), ("User:pass", 401), ("use:r:pass", 401), ("nobody:pass", 401), ("nobody:", 401),
    ("other:se:cret", 200), ("other:se", 401), ("# comment:x", 200), ("empty:", 200), ("empty:x", 401),
    ("hashed:password", 200), ("hashed:passwore", 401), ("hashed:", 401),
    (f"hashed:{HASH}", 401), ("nobody:password", 401), ("user:password", 401),
])
def test_who_gets_in(site: AuthSite, credentials: str, status: int) -> None:
    """Of the last three: LESSONS 3.27, a decoy that is met, a decoy that is met by a plain user."""
    answer = log_in(site, credentials)
    assert answer.status == status
    if status == 200:
        assert answer.body == f"hello {credentials.partition(':')[0]}".encode()
    else:
        assert answer.get("WWW-Authenticate") == CHALLENGE
        assert b"hello" not in answer.body


def test_names_in_both_charsets(site: AuthSite) -> None:
    site.path.write_bytes("jürgen:1\n".encode() + "jörg:2\n".encode("latin-1"))
    for name, charset, password in (("jürgen", "utf-8", b"1"), ("jörg", "latin-1", b"2")):
        peer = site.bench.connect()
        value = base64.b64encode(name.encode(charset) + b":" + password).decode()
        assert peer.get("/", f"Authorization: basic {value}").body == f"hello {name}".encode()


def test_head_has_no_body(plain_site: AuthSite) -> None:
    peer = plain_site.bench.connect()
    peer.send(request(None, method="HEAD") + request("user:pass"))
    assert peer.answer("HEAD").status == 401
    assert peer.answer().status == 200


def test_the_next_request_must_log_in_too(plain_site: AuthSite) -> None:
    peer = plain_site.bench.connect()
    peer.send(request("user:pass") + request(None) + request("user:nope") + request("user:pass"))
    assert [peer.answer().status for _ in range(4)] == [200, 401, 401, 200]


def test_a_missing_file_lets_nobody_in(site: AuthSite) -> None:
    site.path.unlink()
    for credentials in ("user:pass", "hashed:password", ":", "nobody:"):
        assert log_in(site, credentials).status == 401


def test_a_changed_file_counts_within_a_second(site: AuthSite) -> None:
    assert log_in(site, "user:pass").status == 200
    assert log_in(site, "hashed:password").status == 200
    os.rename(site.path, site.path.with_suffix(".old"))
    site.write("user:other", f"hashed:{SHA512}")
    site.bench.advance(LOOK_INTERVAL)
    assert log_in(site, "user:pass").status == 401
    assert log_in(site, "hashed:password").status == 401
    assert log_in(site, "user:other").status == 200
    assert log_in(site, "hashed:se:cret").status == 200


def test_a_site_as_the_server_builds_it(tmp_path: Path) -> None:
    """The file handler behind it; and what needs a log-in is not remembered by the request's bytes."""
    site = AuthSite(tmp_path, "user:pass", f"hashed:{HASH}")
    for credentials in ("user:pass", "hashed:password"):
        peer = site.bench.connect()
        for _ in range(2):
            peer.send(request(credentials, "/plain.txt"))
            answer = wait_for_answer(peer)
            assert (answer.status, answer.body) == (200, b"hello world\n")
        assert site.bench.vhosts().answers.get(request(credentials, "/plain.txt")) is None
    assert log_in(site, "user:nope", "/plain.txt").status == 401
    assert log_in(site, "hashed:nope", "/plain.txt").status == 401
    site.close()
