"""Origins of mounts: what each spelling means, and what is refused or doubted."""

from __future__ import annotations

import pytest

from lwsws.config.origin import Origin, doubt, has_control, parse_origin


@pytest.mark.parametrize("text, origin", [
    ("file:///var/www", Origin("file", "file", "/var/www")),
    ("file:///var/www/hash#dir", Origin("file", "file", "/var/www/hash#dir")),
    ("FILE:///Var", Origin("file", "file", "/Var")),
    ("file://../two", Origin("file", "file", "../two")),
    ("cgi:///usr/lib/cgit.cgi", Origin("cgi", "cgi", "/usr/lib/cgit.cgi")),
    ("callback://protocol-post-demo", Origin("callback", "callback", "protocol-post-demo")),
    ("gzip:///var/www", Origin("gzip", "gzip", "/var/www")),
    (">https://localhost", Origin("redirect", "https", "https://localhost", "localhost")),
    ("^http://Host:81/x?y=z#f", Origin("redirect", "http", "http://Host:81/x?y=z#f", "host")),
    ("^https://[::1]:81/", Origin("redirect", "https", "https://[::1]:81/", "::1")),
    (">http:///usr/share", Origin("redirect", "http", "http:///usr/share")),
    (">http://h/a b/ü%20", Origin("redirect", "http", "http://h/a%20b/%C3%BC%20", "h")),
    ("http://127.0.0.1:8080", Origin("proxy", "http", "http://127.0.0.1:8080", "127.0.0.1", 8080, "/")),
    ("https://Libwebsockets.org/base", Origin("proxy", "https", "https://Libwebsockets.org/base",
                                              "libwebsockets.org", 443, "/base")),
    ("http://[::1]/", Origin("proxy", "http", "http://[::1]/", "::1", 80, "/")),
    ("http://h:/x?y#z", Origin("proxy", "http", "http://h:/x?y#z", "h", 80, "/x")),
    ("http://h?y/z", Origin("proxy", "http", "http://h?y/z", "h", 80, "/")),
    ("http://+/run/o.sock:/a b", Origin("proxy", "http", "http://+/run/o.sock:/a b", "localhost", 0, "/a%20b",
                                        "/run/o.sock")),
    ("http://+@nosuch:/", Origin("proxy", "http", "http://+@nosuch:/", "localhost", 0, "/", "@nosuch")),
    ("http://+/o.sock", Origin("proxy", "http", "http://+/o.sock", "localhost", 0, "/", "/o.sock")),
])
def test_origins(text: str, origin: Origin) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize("text, words", [
    ("ftp://x", 'unsupported protocol:// in the origin "ftp://x"'),
    ("/var/www", 'write "file:///var/www"'),
    ("www", "unsupported protocol://"),
    ("", "unsupported protocol://"),
    (">ftp://x", "a redirect is"),
    (">file:///x", "a redirect is"),
    (">>http://x", "a redirect is"),
    ("file:/var/www", "unsupported protocol://"),
    ("file://", "a path is missing"),
    ("cgi://", "a path is missing"),
    ("callback://", "the name of a protocol is missing"),
    ("http://", "no host"),
    ("http:///x", "no host"),
    ("http://user:pw@h/", "user name or password"),
    ("http://h:0/", "not a port"),
    ("http://h:65536/", "not a port"),
    ("http://h:8a/", "not a port"),
    ("http://h:\u0661/", "not a port"),
    ("http://[::1]x/", "not a port"),
    ("http://a b/", "not a host name"),
    ("http://ü/", "not a host name"),
    ("http://[::1/", "not a host name"),
    ("http://+run/o.sock:/", "a unix socket origin is"),
    ("http://+", "a unix socket origin is"),
    ("http://unix:/run/o.sock:/", "for a unix socket write"),
    ("http://+@:/", "a unix socket origin is"),
    (">http://h/\r\nSet-Cookie: a=b", "control characters"),
    ("file:///a\0b", "control characters"),
])
def test_refusals(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_origin(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("text, words", [
    (">http:///x", "names no host"),
    (">https://", "names no host"),
    ("file://var/www", 'three slashes, "file:///var/www"'),
    ("file://../two", 'three slashes, "file:///two"'),
    ("cgi://x.cgi", "three slashes"),
    ("http://h/?a=b", 'follows "?"'),
])
def test_doubts(text: str, words: str) -> None:
    assert words in doubt(parse_origin(text))


@pytest.mark.parametrize("text", ["file:///x", ">http://h", "http://h/x", "http://+/s:/", "callback://a",
                                  "cgi:///x"])
def test_usual_origins_are_not_doubted(text: str) -> None:
    assert doubt(parse_origin(text)) == ""


@pytest.mark.parametrize("text", ["file:///x", "gzip:///x", "cgi:///x", "callback://a", ">http://h/x", "http://h/x",
                                  "http://+/s:/x"])
def test_text_is_what_was_written(text: str) -> None:
    assert parse_origin(text).text == text


def test_a_data_directory_of_undecodable_bytes_can_stand_in_a_redirect() -> None:
    assert parse_origin(">http://h/\udce9").target == "http://h/%E9"


def test_control_characters() -> None:
    assert [char for char in map(chr, range(0x3000)) if has_control(char)] == [
        chr(code) for code in (*range(32), 127)]
