"""The media type table and how a mount adds to it."""

from __future__ import annotations

from typing import Dict, Optional

import pytest

from lwsws.handlers.mime import TYPES, find_type, mime_type, normalise_extra, suffix_of
from lwsws.wire.headers import check_field


@pytest.mark.parametrize(
    "name, wanted",
    [
        # What the original serves (BEHAVIOUR.md, "Types").
        ("a.html", "text/html"), ("a.htm", "text/html"), ("a.js", "text/javascript"),
        ("a.mjs", "text/javascript"), ("a.css", "text/css"), ("a.png", "image/png"), ("a.jpg", "image/jpeg"),
        ("a.jpeg", "image/jpeg"), ("a.gif", "image/gif"), ("a.svg", "image/svg+xml"),
        ("a.ico", "image/x-icon"), ("a.gz", "application/gzip"),
        ("a.tar.gz", "application/gzip"), ("a.txt", "text/plain"), ("a.xml", "application/xml"),
        ("a.json", "application/json"), ("a.babylon", "application/json"), ("a.wasm", "application/wasm"),
        # Fonts by RFC 8081.
        ("a.woff", "font/woff"), ("a.woff2", "font/woff2"), ("a.ttf", "font/ttf"), ("a.otf", "font/otf"),
        # What has come since.
        ("a.webp", "image/webp"), ("a.avif", "image/avif"), ("a.pdf", "application/pdf"),
        ("a.mp4", "video/mp4"),
        ("a.webm", "video/webm"), ("a.mp3", "audio/mpeg"), ("a.ogg", "audio/ogg"), ("a.flac", "audio/flac"),
        ("a.wav", "audio/wav"), ("a.webmanifest", "application/manifest+json"), ("a.csv", "text/csv"),
        ("app.js.map", "application/json"),
        # Case does not matter.
        ("A.TXT", "text/plain"), ("a.HtMl", "text/html"),
    ],
)
def test_known_suffixes(name: str, wanted: str) -> None:
    assert mime_type(name, {}) == wanted


@pytest.mark.parametrize(
    "name",
    ["passwd", "noext", "html", "a.", "", ".", "a.zzz", "a.html.bak", "a.html~", "a.php", "a.py", "a.conf",
     "a.key", "a.pem", "a.sqlite", "a.zip", "a.doc", "a.tar", "a.html ", "a.htm\u0131"],
)
def test_unknown_suffixes_are_not_served(name: str) -> None:
    """LESSONS 3.18: the list is an allow-list."""
    assert mime_type(name, {}) is None


EXTRA = {".zip": "application/zip", "DOC": "text/evil", ".tar.gz": "application/x-tgz", ".txt": "text/mine",
         "LICENSE": "text/plain", ".raw": ""}


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("a.zip", "application/zip"),
        ("a.ZIP", "application/zip"),
        ("a.doc", "text/evil"),             # written without a dot, in capitals
        ("a.tar.gz", "application/x-tgz"),  # the longest suffix
        ("a.b.Tar.GZ", "application/x-tgz"),
        ("tar.gz", "application/x-tgz"),
        ("a.gz", "application/gzip"),       # the table is still there
        ("a.txt", "text/mine"),             # and gives way
        ("LICENSE", "text/plain"),
        ("a.license", "text/plain"),
        ("a.raw", ""),                      # served without a type
        ("azip", None),
        ("xLICENSE", None),
        ("a.zzz", None),
        ("", None),
    ],
)
def test_extra_mimetypes(name: str, wanted: Optional[str]) -> None:
    assert mime_type(name, EXTRA) == wanted
    assert mime_type("some.dir/" + name, EXTRA) == wanted


@pytest.mark.parametrize(
    "extra, name, wanted",
    [
        ({"*": ""}, "noext", ""),
        ({"*": ""}, "a.zzz", ""),
        ({"*": ""}, "a.txt", "text/plain"),     # only where the type is not known otherwise
        ({"*": "x/any", ".zzz": "text/evil"}, "a.zzz", "text/evil"),
        ({"*": "x/any", ".zzz": "text/evil"}, "a.yyy", "x/any"),
        ({"*": "x/any"}, "a.", "x/any"),
    ],
)
def test_a_star_stands_for_all_other_files(extra: Dict[str, str], name: str, wanted: str) -> None:
    assert mime_type(name, extra) == wanted


def test_a_name_of_many_dots_is_no_trouble() -> None:
    assert find_type("." * 255, normalise_extra({".x": "x/y"})) is None


def test_types_are_fit_for_a_header_and_have_no_charset() -> None:
    for suffix, kind in TYPES.items():
        check_field("Content-Type", kind)
        assert suffix == suffix.lower()
        assert suffix.startswith(".")
        assert ";" not in kind


@pytest.mark.parametrize("name, wanted", [("a.zzz", ".zzz"), ("a.b.ZZ", ".zz"), ("noext", "*"), ("a.", ".")])
def test_what_to_configure(name: str, wanted: str) -> None:
    assert suffix_of(name) == wanted
    assert mime_type(name, {suffix_of(name): "x/y"}) == "x/y"
