"""The syntax of Sec-WebSocket-Extensions."""

from __future__ import annotations

from typing import Any, List

import pytest

from lwsws.wire.ws_extensions import parse_extensions
from tests.support.effort import LINEAR, growth


@pytest.mark.parametrize("value, expected", [
    ("foo", [("foo", [])]),
    # RFC 6455 9.1.
    ("bar; baz=2", [("bar", [("baz", "2")])]),
    ("foo, bar; baz=2", [("foo", []), ("bar", [("baz", "2")])]),
    ("deflate-stream", [("deflate-stream", [])]),
    ("mux; max-channels=4; flow-control, deflate-stream",
     [("mux", [("max-channels", "4"), ("flow-control", None)]), ("deflate-stream", [])]),
    ("private-extension", [("private-extension", [])]),
    # RFC 7692 7.1.3.
    ("permessage-deflate; client_max_window_bits; server_max_window_bits=10",
     [("permessage-deflate", [("client_max_window_bits", None), ("server_max_window_bits", "10")])]),
    ('a; b="c"', [("a", [("b", "c")])]),
    (r'a; b="c\d"', [("a", [("b", "cd")])]),
    ('a; b="c", d', [("a", [("b", "c")]), ("d", [])]),
    ("a;b=c;d", [("a", [("b", "c"), ("d", None)])]),
    ("\ta ;\tb = c , d\t", [("a", [("b", "c")]), ("d", [])]),
    ("a; b; b=1", [("a", [("b", None), ("b", "1")])]),
    ("A; B=C", [("A", [("B", "C")])]),
    (", a,, b ,", [("a", []), ("b", [])]),
    ("", []),
    (" ", []),
    (",", []),
])
def test_offers_are_read(value: str, expected: List[Any]) -> None:
    assert parse_extensions(value) == expected


@pytest.mark.parametrize("value, why", [
    (";", "no extension"),
    ("a;", "no parameter"),
    ("a;;b", "no parameter"),
    ("a; ,b", "no parameter"),
    ("a; =b", "no parameter"),
    ("a b", "comma"),
    ("a; b c", "comma"),
    ("a=b", "comma"),
    ("a; b=", "no value"),
    ("a; b=,", "no value"),
    ("a; b=\"", "no value"),
    ('a; b=""', "no value"),
    ('a; b="c', "no value"),
    ('a; b="c d"', "no value"),
    ('a; b="c,d"', "no value"),
    (r'a; b="c\"', "no value"),
    (r'a; b="\""', "no value"),
    ('a; b="c"d', "comma"),
    ("a; b='c d'", "comma"),
    ("a/b", "comma"),
    ("\xfc", "no extension"),
    ("a\x00", "comma"),
    ("a; b=c=d", "comma"),
    ('"a"', "no extension"),
])
def test_what_is_malformed_is_refused(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_extensions(value)


@pytest.mark.parametrize("part", ["a,", "a;b", ";b=c", ' "', "a;b=\"\\c", ",", "x"])
def test_long_values_take_linear_time(part: str) -> None:
    """LESSONS 3.10."""
    def parse(size: int) -> None:
        try:
            parse_extensions(part * size)
        except ValueError:
            pass

    assert growth(parse, 2000) < LINEAR
