"""Redirects: configured ones, and the slash after a mountpoint or directory.  LESSONS 3.16."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Optional

import pytest

from lwsws.handlers.redirect import joined, quoted_query
from tests.support.peer import Bench, Peer


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    (tmp_path / "www" / "sub").mkdir(parents=True)
    origin = f"file://{tmp_path}/www"
    bench = Bench(
        tmp_path,
        {
            "mounts": [
                {"mountpoint": "/", "origin": ">https://other.example"},
                {"mountpoint": "/h", "origin": "^http://other.example/base"},
                {"mountpoint": "/app", "origin": ">http://other.example/base", "append-path": "1"},
                {"mountpoint": "/apps", "origin": ">https://other.example:8443/base/", "append-path": "1"},
                {"mountpoint": "/bare", "origin": ">https://other.example", "append-path": "1"},
                {"mountpoint": "/search", "origin": ">https://other.example/?q=x", "append-path": "1"},
                {"mountpoint": "/file", "origin": origin},
            ]
        },
    )
    yield bench.connect()
    bench.close()


@pytest.mark.parametrize(
    "target, location",
    [
        ("/", "https://other.example"),
        ("/a/b/c?d=e", "https://other.example"),        # without append-path exactly what is configured
        ("/h", "http://other.example/base"),
        ("/h/x?y", "http://other.example/base"),
        ("/app", "http://other.example/base"),
        ("/app/", "http://other.example/base/"),
        ("/app/x/y", "http://other.example/base/x/y"),
        ("/app/x?a=b&c=%20d", "http://other.example/base/x?a=b&c=%20d"),
        ("/app?a", "http://other.example/base?a"),
        ("/app?", "http://other.example/base?"),
        ("/app/a%20b/%C3%A9", "http://other.example/base/a%20b/%C3%A9"),
        ("/app/a%3Fb%23c%25", "http://other.example/base/a%3Fb%23c%25"),
        ("/apps/x", "https://other.example:8443/base/x"),
        ("/apps/", "https://other.example:8443/base/"),
        ("/apps", "https://other.example:8443/base/"),
        ("/bare/x", "https://other.example/x"),
        ("/bare", "https://other.example"),
        ("/bare?x", "https://other.example?x"),
        ("/search?y", "https://other.example/?q=x&y"),
        # What would like to become another host or another header line.
        ("/bare//evil.example/", "https://other.example/evil.example/"),
        ("/bare/%2f%2fevil.example", "https://other.example/evil.example"),
        ("/bare/@evil.example", "https://other.example/@evil.example"),
        ("/bare/%5c%5cevil.example", "https://other.example/%5C%5Cevil.example"),
        ("/bare/../../app/x", "http://other.example/base/x"),
        ("/app/%0d%0aSet-Cookie:%20a=b", "http://other.example/base/%0D%0ASet-Cookie:%20a=b"),
        ("/app/?<\"'\\^`{|}>", "http://other.example/base/?%3C%22'%5C%5E%60%7B%7C%7D%3E"),
        ("/app/?\xe9", "http://other.example/base/?%E9"),
    ],
)
def test_configured_redirects(peer: Peer, target: str, location: str) -> None:
    answer = peer.get(target)
    assert (answer.status, answer.get("location"), answer.body) == (301, location, b"")
    assert answer.get("set-cookie") is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_any_method_is_redirected(peer: Peer, method: str) -> None:
    request = f"{method} /h HTTP/1.1\nHost: localhost"
    answer = peer.ask(request + ("\nContent-Length: 0" if method in ("POST", "PUT") else ""), method)
    assert (answer.status, answer.get("location")) == (301, "http://other.example/base")
    assert peer.get("/h").status == 301     # the connection lives on


def test_a_posted_body_is_read_past(peer: Peer) -> None:
    peer.send(b"POST /h HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
              b"GET /app HTTP/1.1\r\nHost: x\r\n\r\n")
    assert peer.answer().get("location") == "http://other.example/base"
    assert peer.answer().get("location") == "http://other.example/base"


@pytest.mark.parametrize(
    "target, host, location",
    [
        ("/file", "localhost", "http://localhost/file/"),
        ("/file", "localhost:7681", "http://localhost:7681/file/"),
        ("/file", "LocalHost:80", "http://LocalHost:80/file/"),
        ("/file?a=b&c", "localhost", "http://localhost/file/?a=b&c"),
        ("/file?", "localhost", "http://localhost/file/?"),
        ("/file/sub?a", "localhost", "http://localhost/file/sub/?a"),
        ("//file", "localhost", "http://localhost/file/"),
        # A name that is not the vhost's is not repeated.
        ("/file", "evil.example", "/file/"),
        ("/file", "www.localhost", "/file/"),
        ("/file?a", "evil.example:7681", "/file/?a"),
    ],
)
def test_a_slash_is_added(peer: Peer, target: str, host: str, location: str) -> None:
    answer = peer.get(target, host=host)
    assert (answer.status, answer.get("location"), answer.body) == (301, location, b"")


@pytest.mark.parametrize(
    "request_line, location", [("GET http://LOCALHOST:99/file HTTP/1.1", "http://LOCALHOST:99/file/"),
                               ("GET http://evil.example/file HTTP/1.1", "/file/")],
)
def test_the_authority_of_absolute_form_counts_as_host(peer: Peer, request_line: str, location: str) -> None:
    """RFC 9112 3.2.2."""
    assert peer.ask(f"{request_line}\nHost: other.example").get("location") == location


def test_without_host_the_location_is_a_path(peer: Peer) -> None:
    assert peer.ask("GET /file HTTP/1.0").get("location") == "/file/"


@pytest.mark.parametrize(
    "target, rest, query, location",
    [
        ("http://a", "", None, "http://a"),
        ("http://a", "", "", "http://a?"),
        ("http://a", "/", None, "http://a/"),
        ("http://a/", "/", None, "http://a/"),
        ("http://a/", "", None, "http://a/"),
        ("http://a//", "/x", None, "http://a//x"),
        ("http://a", "/\\evil", "q", "http://a/%5Cevil?q"),
    ],
)
def test_joined(target: str, rest: str, query: Optional[str], location: str) -> None:
    assert joined(target, rest, query) == location


def test_a_query_keeps_what_urls_may_hold() -> None:
    kept = "abcXYZ019-._~!$&'()*+,;=:@/?%41"
    assert quoted_query(kept) == "?" + kept
    assert quoted_query(None) == ""
    assert quoted_query("\r\n\x00 \xff#") == "?%0D%0A%00%20%FF%23"
