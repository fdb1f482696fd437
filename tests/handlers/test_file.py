"""The file handler, bytes in and bytes out: a real configuration, reactor, transport and http role."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from lwsws import log
from lwsws.config.model import MountConfig
from lwsws.config.origin import Origin
from lwsws.handlers.file import cache_control
from lwsws.handlers.openfile import SMALL_FILE
from lwsws.wire.dates import format_date
from tests.support.docroot import DATE, FILES, MTIME
from tests.support.peer import Bench, Peer

# What a whole file looks like.


def test_the_fields_of_a_file(peer: Peer) -> None:
    answer = peer.get("/plain.txt")
    etag = answer.get("etag")
    assert etag is not None
    assert re.fullmatch('"[0-9a-f]+-[0-9a-f]+"', etag)
    assert (answer.status, answer.body) == (200, b"hello world\n")
    own = [field for field in answer.fields if field[0] not in ("Date", "Server")]
    assert own == [
        ("Content-Type", "text/plain"), ("Accept-Ranges", "bytes"), ("Cache-Control", "no-store"),
        ("ETag", etag), ("Last-Modified", DATE), ("Content-Length", "12"),
    ]


@pytest.mark.parametrize(
    "target, name",
    [
        ("/", "index.html"),
        ("/sub/", "sub/index.html"),
        ("/sub/a.txt", "sub/a.txt"),
        ("/sub/../plain.txt?x=y", "plain.txt"),
        ("/..", "index.html"),
        ("/UPPER.TXT", "UPPER.TXT"),
        ("/a%20b.txt", "a b.txt"),
        ("/per%25cent.txt", "per%cent.txt"),
        ("/semi;x.txt", "semi;x.txt"),
        ("/plus+.txt", "plus+.txt"),
        ("/u%C3%A9.txt", "u\u00e9.txt"),
        ("/u\xc3\xa9.txt", "u\u00e9.txt"),
        ("/link.txt", "plain.txt"),
        ("/dirlink/a.txt", "sub/a.txt"),
        ("/empty.txt", "empty.txt"),
        ("/just.txt", "just.txt"),
        ("/above.txt", "above.txt"),
        ("/big.txt", "big.txt"),
        ("/txt/", "plain.txt"),
        ("/txt/sub/a.txt", "sub/a.txt"),
        ("/exact/", "ten.txt"),
        ("/.well-known/note.txt", ".well-known/note.txt"),
        ("/all/.hidden.txt", ".hidden.txt"),
        ("/all/.git/config.txt", ".git/config.txt"),
        ("/follow/link.txt", "plain.txt"),
    ],
)
def test_files_are_served(peer: Peer, target: str, name: str) -> None:
    answer = peer.get(target)
    assert (answer.status, answer.body) == (200, FILES[name])
    head = peer.ask(f"HEAD {target} HTTP/1.1\nHost: localhost", "HEAD")
    assert [field for field in head.fields if field[0] != "Date"] == [
        field for field in answer.fields if field[0] != "Date"]
    assert peer.get("/ten.txt").body == b"0123456789"   # nothing of a body came after the HEAD


@pytest.mark.parametrize(
    "target",
    [
        "/nope.txt", "/nope/", "/nodefault/", "/plain.txt/", "/plain.txt/x", "/gone/", "/gone/plain.txt",
        "/afile/", "/fifo.txt", "/loop.txt", "/out.txt", "/nolinks/link.txt", "/sub/index.html/",
        "/" + "x" * 300 + ".txt", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt",
        "/..\\secret.txt", "/..%5csecret.txt", "/%252e%252e/secret.txt", "/sub/..%2f..%2fsecret.txt",
        "/..;/secret.txt", "/.../secret.txt", "/.hidden.txt", "/.git/config.txt", "/sub/.env.txt",
        "/.well-known/.x/y.txt", "/sub/.well-known/y.txt",
        "/.well-knownx/y.txt", "/txt/.well-known/note.txt", "/.git", "/%2ehidden.txt", "/exact/plain.txt/",
    ],
)
def test_what_is_not_there_is_404(peer: Peer, target: str) -> None:
    """LESSONS 3.13, 3.15 and 3.18; of what is hidden a client learns nothing."""
    answer = peer.get(target)
    assert answer.status == 404
    assert b"SECRET" not in answer.body
    assert peer.get("/ten.txt").status == 200


def test_links_out_of_the_root_are_followed_only_on_purpose(peer: Peer) -> None:
    assert peer.get("/follow/out.txt").body == b"SECRET"


@pytest.mark.parametrize("target", ["/sub", "/sub?x", "/dirlink", "/nodefault", "/.well-known"])
def test_a_directory_without_slash_is_redirected(peer: Peer, target: str) -> None:
    answer = peer.get(target)
    path, mark, query = target.partition("?")
    assert (answer.status, answer.get("location")) == (301, f"http://localhost{path}/{mark}{query}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: run as another user")
def test_what_may_not_be_read_is_403(peer: Peer, docroot: Path) -> None:
    (docroot / "plain.txt").chmod(0)
    assert peer.get("/plain.txt").status == 403


# exact-match.


def test_exact_match_answers_for_the_mountpoint_only(peer: Peer) -> None:
    assert peer.get("/exact").get("location") == "http://localhost/exact/"
    assert peer.get("/exact/").body == b"0123456789"
    assert peer.get("/exact/plain.txt").status == 404   # that of the mount "/"


# Methods.


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_files_can_only_be_read(peer: Peer, method: str) -> None:
    answer = peer.ask(f"{method} /plain.txt HTTP/1.1\nHost: localhost\nContent-Length: 0")
    assert (answer.status, answer.get("allow")) == (405, "GET, HEAD, OPTIONS")
    assert b"hello" not in answer.body


def test_options_says_what_can_be_done(peer: Peer) -> None:
    answer = peer.ask("OPTIONS /plain.txt HTTP/1.1\nHost: localhost")
    assert (answer.status, answer.get("allow")) == (204, "GET, HEAD, OPTIONS")
    assert peer.get("/ten.txt").status == 200


def test_a_mountpoint_without_slash_redirects_a_post_too(peer: Peer) -> None:
    """As recorded of the original."""
    answer = peer.ask("POST /txt HTTP/1.1\nHost: localhost\nContent-Length: 0")
    assert (answer.status, answer.get("location")) == (301, "http://localhost/txt/")


# Media types.


@pytest.mark.parametrize("target", ["/noext", "/weird.zzz", "/zzz/noext"])
def test_an_unknown_suffix_is_415(
    peer: Peer, capfd: pytest.CaptureFixture[str], target: str
) -> None:
    log.set_level(log.DEFAULT_MASK | log.INFO)
    try:
        answer = peer.get(target)
    finally:
        log.set_level(log.DEFAULT_MASK)
    assert answer.status == 415
    assert b"SECRET" not in answer.body
    assert b"extra-mimetypes" in answer.body
    said = capfd.readouterr().err
    suffix = "*" if target.endswith("noext") else ".zzz"
    assert f'"extra-mimetypes": {{ "{suffix}": "the/type" }}' in said


def test_a_log_line_cannot_be_forged(
    peer: Peer, docroot: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """LESSONS 3.36."""
    (docroot / "x\nE: forged.\x1bzz").write_bytes(b"")
    log.set_level(log.DEFAULT_MASK | log.INFO)
    try:
        assert peer.get("/x%0AE:%20forged.%1bzz").status == 415
    finally:
        log.set_level(log.DEFAULT_MASK)
    said = capfd.readouterr().err
    assert "forged" in said
    assert "\nE: forged" not in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    "target, kind",
    [
        ("/zzz/weird.zzz", "text/evil"), ("/zzz/plain.txt", "text/mine"), ("/zzz/index.html", "text/html"),
        ("/all/weird.zzz", None), ("/all/noext", None), ("/all/plain.txt", "text/plain"),
        ("/any/noext", "x/any"),
    ],
)
def test_extra_mimetypes(peer: Peer, target: str, kind: Optional[str]) -> None:
    answer = peer.get(target)
    assert (answer.status, answer.get("content-type")) == (200, kind)


# Cache-Control.


@pytest.mark.parametrize(
    "keys, wanted",
    [
        ({}, "no-store"),
        ({"cache_max_age": 60}, "no-store"),
        ({"cache_reuse": True}, "no-store"),
        ({"cache_max_age": 60, "cache_reuse": True}, "private, max-age=60"),
        ({"cache_max_age": 60, "cache_reuse": True, "cache_intermediaries": True}, "public, max-age=60"),
        (
            {"cache_max_age": 60, "cache_reuse": True, "cache_revalidate": True},
            "must-revalidate, private, max-age=60",
        ),
        (
            {"cache_max_age": 9, "cache_reuse": True, "cache_revalidate": True, "cache_intermediaries": True},
            "must-revalidate, public, max-age=9",
        ),
        ({"cache_revalidate": True}, "no-store"),
        ({"cache_no": True}, "no-cache"),
        ({"cache_no": True, "cache_max_age": 60, "cache_reuse": True}, "no-cache"),
    ],
)
def test_cache_control(keys: Dict[str, Any], wanted: str) -> None:
    """The exact words of BEHAVIOUR.md, "Static files"."""
    assert cache_control(MountConfig("/", Origin("file", "file", "/x"), **keys)) == wanted


def test_cache_control_is_sent(peer: Peer) -> None:
    assert peer.get("/cached/plain.txt").get("cache-control") == "must-revalidate, private, max-age=60"


# Conditions.


def test_not_modified(peer: Peer) -> None:
    etag = peer.get("/plain.txt").get("etag")
    for fields in ([f"If-None-Match: {etag}"], [f'If-None-Match: "x", W/{etag}'], ["If-None-Match: *"],
                   [f"If-Modified-Since: {DATE}"]):
        answer = peer.get("/plain.txt", *fields)
        assert answer.status == 304
        own = [field for field in answer.fields if field[0] not in ("Date", "Server")]
        assert own == [("Cache-Control", "no-store"), ("ETag", etag), ("Last-Modified", DATE)]
    assert peer.get("/plain.txt", 'If-None-Match: "x"').status == 200
    assert peer.ask(f"HEAD /plain.txt HTTP/1.1\nHost: localhost\nIf-None-Match: {etag}", "HEAD").status == 304
    assert peer.get("/ten.txt").body == b"0123456789"


def test_a_changed_file_has_another_etag(peer: Peer, docroot: Path, bench: Bench) -> None:
    before = peer.get("/plain.txt").get("etag")
    os.utime(docroot / "plain.txt", (MTIME, MTIME + 5))
    bench.advance(1)
    answer = peer.get("/plain.txt", f"If-None-Match: {before}")
    assert answer.status == 200
    assert answer.get("etag") != before
    assert answer.get("last-modified") == format_date(MTIME + 5)


def test_a_file_of_the_future_is_not_called_so(peer: Peer, docroot: Path) -> None:
    """RFC 9110 8.8.2.1."""
    os.utime(docroot / "plain.txt", (MTIME, 4102444800))
    answer = peer.get("/plain.txt")
    assert answer.get("last-modified") == answer.get("date")


def test_a_failed_precondition(peer: Peer) -> None:
    assert peer.get("/plain.txt", 'If-Match: "x"').status == 412
    assert peer.get("/plain.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT").status == 412
    assert peer.get("/nope.txt", 'If-Match: "x"').status == 404


# The error document.


@pytest.mark.parametrize("content", [b"<h1>own 404</h1>", b"x" * (SMALL_FILE * 3)], ids=["small", "big"])
def test_the_error_document_is_served_in_place(
    tmp_path: Path, docroot: Path, bench: Bench, content: bytes
) -> None:
    peer = bench.connect()
    assert peer.get("/nope.txt").body.startswith(b"<!doctype html>")    # it is not there yet
    (docroot / "own").mkdir()
    (docroot / "own" / "404.html").write_bytes(content)
    bench.advance(1)
    for fields in ([], ["Range: bytes=0-1"], ["If-None-Match: *"]):
        answer = peer.get("/nope.txt", *fields)
        assert (answer.status, answer.body, answer.get("content-type")) == (404, content, "text/html")
        assert answer.get("etag") is None
    head = peer.ask("HEAD /nope.txt HTTP/1.1\nHost: localhost", "HEAD")
    assert (head.status, head.get("content-length")) == (404, str(len(content)))
    # The document itself is an ordinary file.
    assert peer.get("/own/404.html").status == 200


@pytest.mark.parametrize("kind", ["directory", "unknown suffix", "link out"])
def test_an_error_document_that_cannot_be_served(peer: Peer, docroot: Path, kind: str) -> None:
    (docroot / "own").mkdir()
    if kind == "directory":
        (docroot / "own" / "404.html").mkdir()
    elif kind == "link out":
        os.symlink("../../secret.txt", docroot / "own" / "404.html")
    answer = peer.get("/nope.txt")
    assert answer.status == 404
    assert b"404" in answer.body
    assert b"SECRET" not in answer.body
