"""The two kinds of protocol errors, and how much of the peer's text they repeat."""

from __future__ import annotations

from lwsws.wire.errors import EXCERPT_CHARACTERS, RemoteProtocolError, excerpt


def test_a_remote_error_carries_its_status_and_reason() -> None:
    error = RemoteProtocolError(431, "more than 100 headers")
    assert (error.status, error.why) == (431, "more than 100 headers")
    assert str(error) == "431: more than 100 headers"


def test_an_excerpt_is_quoted_printable_ascii() -> None:
    assert excerpt("a\r\n\x1b[2J\xe9\u2028") == r"'a\r\n\x1b[2J\xe9\u2028'"


def test_an_excerpt_is_short() -> None:
    assert excerpt("x" * EXCERPT_CHARACTERS) == repr("x" * EXCERPT_CHARACTERS)
    assert excerpt("x" * 10**6) == repr("x" * EXCERPT_CHARACTERS) + "..."
