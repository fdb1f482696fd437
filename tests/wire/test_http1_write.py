"""Response heads and chunks, byte for byte, and what is refused to be written."""

from __future__ import annotations

import pytest

from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.http1_write import LAST_CHUNK, REASONS, chunk, fixed_fields, response_head

CONTROLS = [chr(code) for code in sorted({*range(0x20), 0x7F} - {0x09})]


def test_a_head() -> None:
    assert response_head(200, [("Content-Type", "text/html"), ("Content-Length", "5")]) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n"
    )


def test_a_head_without_fields() -> None:
    assert response_head(404, []) == b"HTTP/1.1 404 Not Found\r\n\r\n"


def test_fixed_fields_come_first_and_as_they_are() -> None:
    fixed = fixed_fields([("Server", "lwsws"), ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")])
    assert response_head(304, [("ETag", '"x"')], fixed) == (
        b"HTTP/1.1 304 Not Modified\r\nServer: lwsws\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b'ETag: "x"\r\n\r\n'
    )


def test_no_fields_are_no_bytes() -> None:
    assert fixed_fields([]) == b""


def test_values_may_hold_tabs_and_bytes_beyond_ascii() -> None:
    assert fixed_fields([("X-A", "a\tb"), ("X-B", "\xe9\x80\xff")]) == b"X-A: a\tb\r\nX-B: \xe9\x80\xff\r\n"


def test_a_reason_of_ones_own() -> None:
    assert response_head(200, [], reason="Fine") == b"HTTP/1.1 200 Fine\r\n\r\n"
    assert response_head(200, [], reason="") == b"HTTP/1.1 200 \r\n\r\n"


def test_a_status_without_a_known_reason_keeps_its_space() -> None:
    assert 299 not in REASONS
    assert response_head(299, []) == b"HTTP/1.1 299 \r\n\r\n"


@pytest.mark.parametrize("status", [0, 99, 600, 1000, -200])
def test_a_status_has_three_digits_and_a_class(status: int) -> None:
    with pytest.raises(LocalProtocolError):
        response_head(status, [])


@pytest.mark.parametrize("control", CONTROLS)
def test_no_control_character_gets_out(control: str) -> None:
    """LESSONS 3.9: neither in values and names nor in the phrase."""
    for fields in ([("X-A", f"a{control}b")], [("X-A", control), ("X-B", "b")], [(f"X{control}A", "b")]):
        with pytest.raises(LocalProtocolError, match="control character"):
            response_head(200, fields)
    with pytest.raises(LocalProtocolError, match="control character"):
        response_head(200, [], reason=f"OK{control}")


@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: x=1", "a\r\n\r\n<html>", "\r\n", "a\nb", "a\rb", "a\r\n b", "\n\r"]
)
def test_no_field_can_begin_another(value: str) -> None:
    """LESSONS 3.9: response splitting."""
    with pytest.raises(LocalProtocolError):
        response_head(302, [("Location", value), ("X-B", "b")])


def test_a_fault_names_the_fields_but_not_their_values() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        response_head(200, [("Set-Cookie", "secret\n")])
    assert "Set-Cookie" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_text_beyond_latin_1_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="latin-1"):
        response_head(200, [("X-A", "\u20ac")])
    with pytest.raises(LocalProtocolError, match="latin-1"):
        response_head(200, [], reason="\u20ac")


def test_chunks() -> None:
    """RFC 9112 7.1."""
    body = chunk(b"hello") + chunk(b"x" * 26) + LAST_CHUNK
    assert body == b"5\r\nhello\r\n1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"


def test_no_data_is_no_chunk() -> None:
    """A chunk of size zero would end the body."""
    assert chunk(b"") == b""


def test_every_reason_can_be_written() -> None:
    for status, reason in REASONS.items():
        assert response_head(status, []) == f"HTTP/1.1 {status} {reason}\r\n\r\n".encode("ascii")
