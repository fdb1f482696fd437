"""Header fields: order and case kept, lookup without case, lists, tokens, codings, and the check."""

from __future__ import annotations

from typing import Dict, List, Optional

import pytest

from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.headers import MAX_CODINGS, Headers, accepted_codings, check_field, is_token, tokens


def test_the_fields_stay_as_they_were_sent() -> None:
    sent = [("HoSt", "a.example"), ("X-B", "2"), ("X-A", "1")]
    headers = Headers(sent)
    assert headers.items == sent
    assert len(headers) == 3


def test_lookup_is_by_lower_case_name() -> None:
    headers = Headers([("HoSt", "a.example")])
    assert headers.get("host") == "a.example"
    assert headers.all("host") == ["a.example"]
    assert "host" in headers
    assert headers.get("accept") is None
    assert headers.all("accept") == []
    assert "accept" not in headers


def test_repeated_fields_are_joined_in_order() -> None:
    headers = Headers([("Accept", "a"), ("Host", "h"), ("ACCEPT", ""), ("accept", "b, c")])
    assert headers.get("accept") == "a, , b, c"
    assert headers.all("accept") == ["a", "", "b, c"]
    assert headers.get("host") == "h"
    assert len(headers) == 4


def test_changing_the_list_given_in_changes_nothing() -> None:
    sent = [("Host", "a.example")]
    headers = Headers(sent)
    sent.clear()
    assert headers.items == [("Host", "a.example")]


@pytest.mark.parametrize(
    "value, members",
    [
        ("", []),
        ("close", ["close"]),
        ("Keep-Alive, Upgrade", ["keep-alive", "upgrade"]),
        (" \ta\t ,\t,, b ,", ["a", "b"]),
        ("a b", ["a b"]),
        ("a\x0b,b", ["a\x0b", "b"]),
    ],
)
def test_tokens(value: str, members: List[str]) -> None:
    assert tokens(value) == members


@pytest.mark.parametrize("text", ["GET", "x", "!#$%&'*+-.^_`|~09azAZ"])
def test_what_is_a_token(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("character", sorted({chr(code) for code in range(0x100)} - set("!#$%&'*+-.^_`|~")))
def test_a_token_holds_letters_digits_and_some_marks_only(character: str) -> None:
    assert is_token(character) == (character.isascii() and character.isalnum())
    assert is_token(f"a{character}b") == is_token(character)


@pytest.mark.parametrize("text", ["", "a\n", "\u0661", "\u212a"])
def test_what_is_no_token(text: str) -> None:
    assert not is_token(text)


@pytest.mark.parametrize(
    "value, codings",
    [
        (None, {}),
        ("", {}),
        ("gzip", {"gzip": 1.0}),
        ("GZip, br;q=0.5 , *;Q=0", {"gzip": 1.0, "br": 0.5, "*": 0.0}),
        ("gzip ; q=0.001,identity;q=1.000", {"gzip": 0.001, "identity": 1.0}),
        ("x-gzip", {"gzip": 1.0}),
        ("gzip;q=0.2, gzip", {"gzip": 0.2}),
        (",, ,gzip,", {"gzip": 1.0}),
        # A malformed weight: the sender may have meant "do not", so the coding is not used.
        ("gzip;q=1.5, br;q=-1, zstd;q=0.1234, a;q=, b;, c;level=1, d;q=1;e=2, f;q=.5, ok", {"ok": 1.0}),
        ("gzip;q=\u0661", {}),
        ("not a token, br", {"br": 1.0}),
    ],
)
def test_accepted_codings(value: Optional[str], codings: Dict[str, float]) -> None:
    assert accepted_codings(value) == codings


def test_a_long_list_of_codings_is_cut() -> None:
    """LESSONS 3.10: no more work than a list deserves."""
    assert len(accepted_codings(",".join(f"c{number}" for number in range(5000)))) == MAX_CODINGS


def test_fields_that_may_be_sent() -> None:
    check_field("X-Frame-Options", "")
    check_field("x_a", "tab\tand \xe9")


@pytest.mark.parametrize("name", ["", "a b", "a:", "X\r\nY", "n\xe4me", "X-A "])
def test_a_name_that_is_no_token_is_not_sent(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="no header field name"):
        check_field(name, "value")


@pytest.mark.parametrize("code", sorted({*range(0x20), 0x7F} - {0x09}))
def test_no_control_character_is_sent_in_a_value(code: int) -> None:
    """LESSONS 3.9."""
    with pytest.raises(LocalProtocolError, match="header field X-A"):
        check_field("X-A", f"a{chr(code)}b")


def test_a_character_that_is_no_byte_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        check_field("X-A", "\u20ac")
