"""Request targets, path normalisation, quoting for a Location, and hosts."""

from __future__ import annotations

import random
import socket
from typing import Optional

import pytest

from lwsws.wire import target
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.target import Target, is_ipv6, normal_path, parse_host, parse_target, quote_path
from tests.support.effort import LINEAR, growth


@pytest.mark.parametrize(
    "raw, path, query",
    [
        ("/", "/", None),
        ("/?", "/", ""),
        ("/a/b.html?x=1&y=%00?/../", "/a/b.html", "x=1&y=%00?/../"),
        ("/a/", "/a/", None),
        ("/a.b/.c/...", "/a.b/.c/...", None),
        ("/a:b@c;d=e,f+g\\h", "/a:b@c;d=e,f+g\\h", None),
        ("/%61%2Fb", "/a/b", None),
        ("/a%3Fb?c", "/a?b", "c"),
        ("/%23", "/#", None),
        ("/a+b%2Bc%20d", "/a+b+c d", None),
        ("/gr\xc3\xbc\xc3\x9fe", "/gr\xfc\xdfe", None),
        ("/gr%c3%bc%C3%9Fe", "/gr\xfc\xdfe", None),
        ("/?gr\xc3\xbc", "/", "gr\xc3\xbc"),
        ("/%0d%0aX:y", "/\r\nX:y", None),
        ("/%F0%9F%98%80", "/\U0001f600", None),
    ],
)
def test_origin_form(raw: str, path: str, query: Optional[str]) -> None:
    assert parse_target("GET", raw) == Target("origin", path, query, None)


@pytest.mark.parametrize(
    "raw, path",
    [
        ("/.", "/"),
        ("/..", "/"),
        ("/../..//../x", "/x"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("//a//b//", "/a/b/"),
        ("//", "/"),
        ("//evil.example/x", "/evil.example/x"),
        ("/%2e%2E/x", "/x"),
        ("/a/%2e./x", "/x"),
        ("/..%2fx", "/x"),
        ("/a%2f..%2f..%2f..%2fx", "/x"),
        ("/a/..\\..\\x", "/a/..\\..\\x"),
        ("/a/...", "/a/..."),
        ("/.a/..b/c..", "/.a/..b/c.."),
        # Decoded once: what is an escape after that is a name.
        ("/%252e%252e/x", "/%2e%2e/x"),
        ("/%252f", "/%2f"),
        ("/a/%2e", "/a/"),
        ("/a%2f", "/a/"),
        # Full-width dots are characters like others; overlong encodings of real ones are refused below.
        ("/\uff0e\uff0e/x".encode().decode("latin-1"), "/\uff0e\uff0e/x"),
    ],
)
def test_paths_are_normal_and_never_above_the_root(raw: str, path: str) -> None:
    """LESSONS 3.13."""
    assert parse_target("GET", raw).path == path


def test_no_path_of_dots_slashes_and_escapes_gets_above_the_root() -> None:
    """LESSONS 3.13: whatever the spelling, the outcome has no dot segment and is stable."""
    choice = random.Random(13).choice
    parts = "/ // . .. %2e %2E%2e %2f /.. /../ a %61 %25 \\ %5c \xc3\xa9".split()
    for _ in range(3000):
        raw = "/" + "".join(choice(parts) for _ in range(choice(range(12))))
        path = parse_target("GET", raw).path
        assert path.startswith("/")
        assert not {"", ".", ".."} & set(path[1:].split("/")[:-1]), raw
        assert path.split("/")[-1] not in (".", ".."), raw
        assert normal_path(quote_path(path)) == path, raw


def test_the_case_of_a_path_is_kept() -> None:
    """LESSONS 3.17."""
    assert parse_target("GET", "/\xc4\xb0A/%C4%B0a").path == "/\u0130A/\u0130a"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "x",
        "index.html",
        "?x",
        "%2f",
        "/a b",
        "/a\tb",
        "/a\r",
        "/a\nb",
        "/a\0b",
        "/\x7f",
        "/a#b",
        "#",
        "/?a#b",
        "/? ",
        "/%",
        "/%4",
        "/%zz",
        "/%4g",
        "/%%41",
        "/%+1",
        "/% 1",
        "/a%00b",
        "/%00",
        "/%ff",
        "/\xff",
        "/%c3",
        "/%c0%ae%c0%ae/",  # ".." in overlong UTF-8
        "/%ed%a0%80",
        "/%u002e",
        "/%\xb2\xb2",
        "a.example:80",
        "ftp://a.example/",
        "http:/a.example/",
        "http:a.example",
        "http:///x",
        "http://",
        "https://?x",
        "http://user@a.example/",
        "http://user:password@a.example/",
        "http://a.example\\@b.example/#",
        "xhttp://a.example/",
    ],
)
def test_what_is_no_target_of_a_get(raw: str) -> None:
    """LESSONS 3.13 and 3.4."""
    with pytest.raises(RemoteProtocolError) as caught:
        parse_target("GET", raw)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "raw, expected",
    [
        ("http://a.example/x?y", Target("absolute", "/x", "y", "a.example")),
        ("HTTPS://A.example:8443/%61/../b", Target("absolute", "/b", None, "A.example:8443")),
        ("http://a.example", Target("absolute", "/", None, "a.example")),
        ("http://a.example?q", Target("absolute", "/", "q", "a.example")),
        ("http://[::1]:80//x/.", Target("absolute", "/x/", None, "[::1]:80")),
    ],
)
def test_absolute_form(raw: str, expected: Target) -> None:
    """RFC 9112 3.2.2."""
    assert parse_target("GET", raw) == expected


def test_asterisk_form_is_for_options() -> None:
    """RFC 9112 3.2.4."""
    assert parse_target("OPTIONS", "*") == Target("asterisk", "*", None, None)
    with pytest.raises(RemoteProtocolError) as caught:
        parse_target("GET", "*")
    assert caught.value.status == 400


@pytest.mark.parametrize("raw", ["a.example:443", "/x", "http://a.example/"])
def test_connect_is_not_implemented(raw: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_target("CONNECT", raw)
    assert caught.value.status == 501


def test_an_error_repeats_only_a_little_of_the_target() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_target("GET", "/\x1b" + "x" * 5000)
    assert len(caught.value.why) < 150
    assert caught.value.why.isascii()
    assert caught.value.why.isprintable()


@pytest.mark.parametrize(
    "path, quoted",
    [
        ("/", "/"),
        ("/a/b-c_d.e~/", "/a/b-c_d.e~/"),
        ("/a b", "/a%20b"),
        ("/%41", "/%2541"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/gr\xfc\xdfe", "/gr%C3%BC%C3%9Fe"),
        ("/a\r\nSet-Cookie: x=1", "/a%0D%0ASet-Cookie:%20x=1"),
        ('/"<>', "/%22%3C%3E"),
        ("//evil.example", "/%2Fevil.example"),
        ("///evil.example", "/%2F/evil.example"),
        ("/\\evil.example", "/%5Cevil.example"),
        ("/\t/evil.example", "/%09/evil.example"),
        ("/\udcff", "/%FF"),
    ],
)
def test_quote_path(path: str, quoted: str) -> None:
    """LESSONS 3.16: a Location never begins with "//" or "/\\"."""
    assert quote_path(path) == quoted


@pytest.mark.parametrize(
    "value, name, port",
    [
        ("", "", None),
        ("A.Example", "a.example", None),
        ("a.example:8080", "a.example", 8080),
        ("a.example.:80", "a.example.", 80),
        ("127.0.0.1:65535", "127.0.0.1", 65535),
        ("localhost:00080", "localhost", 80),
        ("[::1]", "[::1]", None),
        ("[2001:DB8::1]:443", "[2001:db8::1]", 443),
        ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", None),
        ("under_score.example", "under_score.example", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("%C3%BC.example", "%c3%bc.example", None),
        ("!$&'()*+,;=~-._", "!$&'()*+,;=~-._", None),
        ("x" * 3000, "x" * 3000, None),
    ],
)
def test_parse_host(value: str, name: str, port: Optional[int]) -> None:
    """LESSONS 3.5, RFC 9110 7.2; asked twice, since the second answer is remembered."""
    assert parse_host(value) == (name, port)
    assert parse_host(value) == (name, port)


@pytest.mark.parametrize(
    "value",
    [
        ":80",
        "a:",
        "a:b",
        "a:65536",
        "a:999999",
        "a:000080",
        "a:-1",
        "a:+1",
        "a: 80",
        "a:80 ",
        "a:80:80",
        "a:\u0661",
        "a b",
        "a, b",
        "a/b",
        "a\\b",
        "user@a",
        "a?b",
        "a#b",
        "a\x00",
        "a\n",
        "<script>",
        "gr\xfcn.example",
        "%",
        "%zz.example",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[::1]x",
        "[::1]]",
        "[::g]",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "[v1.x]",
    ],
)
def test_what_is_no_host(value: str) -> None:
    """LESSONS 3.5; asked twice, since a refusal must not be remembered as an answer."""
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no host|no IPv6"):
            parse_host(value)


def test_remembered_hosts_are_bounded_in_number_and_length() -> None:
    """The peer chooses them, so they must not fill the memory."""
    for number in range(3 * target.MAX_KNOWN_HOSTS):
        parse_host(f"{number}.example")
        assert len(target._known_hosts) <= target.MAX_KNOWN_HOSTS
    parse_host("y" * 4000)
    assert max(map(len, target._known_hosts)) <= target.MAX_KNOWN_LENGTH


def test_ipv6_addresses_are_those_of_inet_pton() -> None:
    choice = random.Random(6).choice
    groups = ("", "", "::", "0", "1", "ffff", "ABCD", "12345", "g", "1.2.3.4", "256.0.0.1", "01.2.3.4", "1.2")
    seen = {True: 0, False: 0}
    for _ in range(20000):
        text = ":".join(choice(groups) for _ in range(choice(range(1, 10))))
        expected = _inet_pton_takes(text)
        assert is_ipv6(text) == expected, text
        seen[expected] += 1
    assert min(seen.values()) > 200


def _inet_pton_takes(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "filler, tail", [("a%", ""), ("%41", " "), ("a", "\x00"), ("[:", ""), ("a:", ""), ("1.", "")]
)
def test_no_host_takes_more_than_linear_time(filler: str, tail: str) -> None:
    """LESSONS 3.10: a pattern that tries all ways to divide the text would never come back."""

    def parse(size: int) -> None:
        try:
            parse_host(filler * size + tail)
        except ValueError:
            pass

    assert growth(parse, 4000) < LINEAR


@pytest.mark.parametrize("filler", ["/..", "/a", "/a/../", "%2e%2e%2f", "%41", "/?", "/.", "//"])
def test_no_target_takes_more_than_linear_time(filler: str) -> None:
    """LESSONS 3.10."""
    assert growth(lambda size: parse_target("GET", "/" + filler * size), 1000) < LINEAR
