"""Paths of a proxy mount, to the origin and back: targets, Location, cookies, links."""

from __future__ import annotations

import re
from typing import Optional
from urllib.parse import urljoin

import pytest

from lwsws.wire.origin_paths import OriginPaths
from tests.support.effort import LINEAR, growth

ROOT = OriginPaths("/p", "/", [("http", "o.example", 8080)])
BASE = OriginPaths("/pp", "/base/path", [("http", "o.example", 8080), ("https", "2001:db8::1", 443)])
# Nothing moves, and so the beginning of a path is all that stands between us and another site.
BARE = OriginPaths("", "/", [("http", "o.example", 80)])
UNIX = OriginPaths("/p", "/", [("http", "localhost", 0)])


@pytest.mark.parametrize(
    "paths, rest, query, target",
    [
        (ROOT, "", None, "/"), (ROOT, "/", None, "/"), (ROOT, "/x", "a=b%20c", "/x?a=b%20c"),
        (ROOT, "/x", "", "/x?"),
        (ROOT, "/x", "a=\"\\|'", "/x?a=\"\\|'"), (ROOT, "/x", "\xc3\xbc=\x9b", "/x?%C3%BC=%9B"),
        (BASE, "", None, "/base/path"), (BASE, "/", None, "/base/path/"),
        (BASE, "/x/", None, "/base/path/x/"),
        (BASE, "", "q", "/base/path?q"), (BARE, "/", None, "/"), (BARE, "/a", None, "/a"),
        (OriginPaths("/p", "/base/", []), "", None, "/base/"),
        (OriginPaths("/p", "/base/", []), "/x", None, "/base/x"),
        (OriginPaths("/p", "", []), "", None, "/"), (OriginPaths("/p", "/a%20b", []), "/c", None, "/a%20b/c"),
    ],
)
def test_targets(paths: OriginPaths, rest: str, query: Optional[str], target: str) -> None:
    assert paths.target(rest, query) == target


@pytest.mark.parametrize(
    "rest, quoted",
    [("/a b", "/a%20b"), ("/%41", "/%2541"), ("/\xfc", "/%C3%BC"), ("/a?b#c", "/a%3Fb%23c"), ("/\r\nX: y",
                                                                                              "/%0D%0AX:%20y"),
     ("/a;b=c,d", "/a;b=c,d"), ("/\udcff", "/%FF"), ("/\\x", "/%5Cx")],
)
def test_targets_are_encoded_again(rest: str, quoted: str) -> None:
    """LESSONS 3.13: decoded once by us, to be decoded once by the origin."""
    assert ROOT.target(rest, None) == quoted


# Location


@pytest.mark.parametrize(
    "paths, value, mapped",
    [
        (ROOT, "/x", "/p/x"), (ROOT, "/", "/p/"), (ROOT, "http://o.example:8080/x?y#z", "/p/x?y#z"),
        (ROOT, "HTTP://O.Example:8080", "/p/"), (ROOT, "http://o.example.:8080?q", "/p/?q"),
        (ROOT, "//o.example:8080/x", "/p/x"), (ROOT, " /x\t", "/p/x"), (ROOT, "/a b", "/p/a b"),
        (BASE, "/base/path", "/pp"), (BASE, "/base/path/", "/pp/"), (BASE, "/base/path?q", "/pp?q"),
        (BASE, "http://o.example:8080/base/path/x", "/pp/x"),
        (BASE, "https://[2001:db8::1]/base/path/x", "/pp/x"),
        (BASE, "//[2001:DB8::1]/base/path/x", "/pp/x"), (BASE, "https://[2001:db8::1]:443/base/path", "/pp"),
        (BARE, "http://o.example/x", "/x"), (BARE, "http://o.example:80", "/"), (BARE, "/x", "/x"),
        (UNIX, "http://localhost/x", "/p/x"), (UNIX, "http://localhost:80/x", "/p/x"),
        (OriginPaths("/gr\xfc\xdf", "/", []), "/x", "/gr%C3%BC%C3%9F/x"),
        (OriginPaths("", "/base", []), "/base", "/"), (OriginPaths("/", "/base", []), "/base/x", "/x"),
    ],
)
def test_locations_of_the_origin(paths: OriginPaths, value: str, mapped: str) -> None:
    assert paths.location_field(value) == mapped


@pytest.mark.parametrize(
    "value",
    [
        "", "x", "../x", "?q", "#f", "mailto:a@b", "http://other.example/base/path",
        "http://o.example/base/path",
        "https://o.example:8080/base/path", "http://o.example:8080/other", "/other", "/base",
        "/base/pathology",
        "/base/path%2F", "http://u@o.example:8080/base/path", "http://o.example:8080@evil/base/path",
        "http://o.example:8080:1/base/path", "http://o.example:/base/path", "http:///base/path",
        "//evil/base/path",
        "http://o.example:8080\\base/path", "\\\\o.example:8080/base/path", "http:o.example/base/path",
        "http://[::1",
        "ftp://o.example:8080/base/path", "http://2001:db8::1/base/path", "http://[2001:db8::1]/base/path",
    ],
)
def test_other_locations_stay(value: str) -> None:
    """LESSONS 3.14: whole segments only."""
    assert BASE.location_field(value) == value


EVIL = ["//evil.example", "/\\evil.example", "/\t/evil.example", "/\t\\evil", "///evil", "/\\/evil",
        "//\t/evil"]


def looks_elsewhere(value: str) -> bool:
    """Whether a browser takes `value` for the URL of another site (WHATWG URL 4.4)."""
    return re.match(r"[a-z]+:|[/\\]{2}", re.sub(r"[\t\r\n]", "", value).strip(" "), re.IGNORECASE) is not None


@pytest.mark.parametrize("path", EVIL)
@pytest.mark.parametrize("paths", [BARE, OriginPaths("", "/base", [("http", "o.example", 80)])])
def test_no_mapped_location_leads_elsewhere(paths: OriginPaths, path: str) -> None:
    """LESSONS 3.16."""
    base = paths.target("", None).rstrip("/")
    mapped = paths.location_field(f"http://o.example{base}{path}")
    assert mapped.startswith("/")
    assert not looks_elsewhere(mapped)
    if base:
        assert not looks_elsewhere(paths.location_field(base + path))


def test_the_host_that_was_sent_counts_as_the_origin() -> None:
    """An origin that gets the client's Host makes its URLs with that."""
    value = "http://WWW.example/base/path/x"
    assert BASE.location_field(value) == value
    assert BASE.location_field(value, "www.example") == "/pp/x"
    assert BASE.location_field("http://www.example:81/base/path/x", "www.example:81") == "/pp/x"
    # A redirect from http to https must not become a loop.
    assert ROOT.location_field("https://www.example/x", "www.example") == "https://www.example/x"


# Cookies


@pytest.mark.parametrize(
    "paths, value, mapped",
    [
        (ROOT, "a=b", "a=b"), (ROOT, "a=b; Path=/", "a=b; Path=/"),
        (ROOT, "a=b;PATH= /app ;Secure", "a=b;PATH=/p/app;Secure"),
        (ROOT, "a=b; Path=app", "a=b; Path=app"), (ROOT, "a=b; Path", "a=b; Path"),
        (ROOT, "Path=/x", "Path=/x"),
        (BASE, "a=b; path=/base/path; HttpOnly", "a=b; path=/pp; HttpOnly"),
        (BASE, "a=b; path=/base/path/x", "a=b; path=/pp/x"),
        (BASE, "a=b; path=/base/pathology", "a=b; path=/base/pathology"),
        (BASE, "a=b; path=/base", "a=b; path=/base"), (BASE, "a=b; path=/", "a=b; path=/"),
        (ROOT, "a=b; Domain=o.example; Secure", "a=b; Secure"), (ROOT, "a=b;domain = .O.Example ", "a=b"),
        (ROOT, "a=b; Domain=example", "a=b; Domain=example"),
        (ROOT, "a=b; Domain=other.o.example", "a=b; Domain=other.o.example"),
        (BARE, "a=b; Path=/x; Max-Age=3;", "a=b; Path=/x; Max-Age=3;"),
        (ROOT, "__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure"),
        (OriginPaths("", "/base", []), "a=b; Path=/base", "a=b; Path=/"),
    ],
)
def test_cookies(paths: OriginPaths, value: str, mapped: str) -> None:
    assert paths.cookie(value) == mapped


# Links


@pytest.mark.parametrize(
    "paths, value, mapped",
    [
        (ROOT, b"/x?y&amp;z", b"/p/x?y&amp;z"), (ROOT, b"/", b"/p/"),
        (ROOT, b"http://o.example:8080/x", b"/p/x"),
        (ROOT, b"//o.example:8080", b"/p/"), (ROOT, b" \n/x\t ", b" \n/p/x\t "),
        (ROOT, b"/&#47;x", b"/p/&#47;x"),
        (ROOT, b"/\xe9", b"/p/\xe9"), (ROOT, b"/#a", b"/p/#a"), (ROOT, b"/?q", b"/p/?q"),
        (BASE, b"/base/path/x", b"/pp/x"), (BASE, b"/base/path", b"/pp"),
        (BARE, b"http://o.example/x", b"/x"),
        (OriginPaths("/it's&", "/", []), b"/x", b"/it%27s%26/x"),
        (OriginPaths("/a\"b<", "/", []), b"/x", b"/a%22b%3C/x"),
    ],
)
def test_links_of_the_origin(paths: OriginPaths, value: bytes, mapped: bytes) -> None:
    assert paths.link(value) == mapped


@pytest.mark.parametrize(
    "value",
    [b"", b" ", b"x", b"./x", b"#a", b"?q", b"data:,x", b"javascript:/x", b"https://o.example:8080/",
     b"http://other/x",
     b"//other/x", b"/\\other/x", b"http:\\\\o.example:8080\\x", b"mailto:/x", b"h", b"http", b"\x00/x"],
)
def test_other_links_stay(value: bytes) -> None:
    assert ROOT.link(value) == value


@pytest.mark.parametrize("path", [*EVIL, "/&#47;evil.example", "/&bsol;evil.example", "/\n/evil", "/\r/evil"])
def test_no_mapped_link_leads_elsewhere(path: str) -> None:
    """LESSONS 3.16."""
    value = f"http://o.example{path}".encode()
    mapped = BARE.link(value)
    assert mapped == value or re.match(rb"/(%2F|%5C)", mapped)


def test_a_link_means_the_same_to_the_origin() -> None:
    """What a browser makes of a mapped link leads, by our mapping of targets, to what the origin meant."""
    for value in ("/base/path/x", "/base/path/", "/base/path/a/../b", "/base/path?q=1"):
        ours = urljoin("http://us/pp/page", BASE.link(value.encode()).decode())
        path, _, query = ours.removeprefix("http://us/pp").partition("?")
        assert BASE.target(path, query or None) == urljoin("http://o.example:8080/base/path/page",
                                                           value).removeprefix(
            "http://o.example:8080")


RUNS = [("h", " ", "x"), (" ", " ", "/x"), ("http://", "a", "\\"), ("http://o.example:8080", "/", " "), ("a",
                                                                                                         "a",
                                                                                                         ":"),
        ("/", "\t", "x"), ("", ";", "path=/"), ("a;path=", " ", "/x"), ("http://", "[", ""),
        ("/base/path", "?", "\n"),
        ("http://o.example:", "8", "/"), ("//", "%41", "<"), ("/base/path/", "&", ""), ("/", "\\", "")]


@pytest.mark.parametrize("begin, run, end", RUNS)
def test_values_take_linear_time(begin: str, run: str, end: str) -> None:
    """LESSONS 3.10: a value in a page may be of 64 KiB, and is what somebody wrote into a forum."""

    def work(size: int) -> None:
        value = begin + run * size + end
        for paths in (ROOT, BASE, BARE):
            paths.link(value.encode())
            paths.location_field(value)
            paths.cookie(value)

    assert growth(work, 1000) < LINEAR
