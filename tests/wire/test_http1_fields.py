"""Field lines: the section read at once, a line on its own, and the reasons given for bad ones."""

from __future__ import annotations

import re
from typing import Tuple

import pytest

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_fields import line_fault, parse_field, parse_fields
from tests.support.effort import LINEAR, growth

GOOD_LINES = [
    ("Host: a.example\r\n", ("Host", "a.example")),
    ("X-A: b\r\n", ("X-A", "b")),
    ("X-A:b\r\n", ("X-A", "b")),
    ("X-A:\r\n", ("X-A", "")),
    ("X-A: \t \r\n", ("X-A", "")),
    ("X-A:   b  c \t\r\n", ("X-A", "b  c")),
    ("X-A: b \r\n", ("X-A", "b")),
    ("X-A: b\t\r\n", ("X-A", "b")),
    ("X-A:  b\r\n", ("X-A", "b")),
    ("X-A: \tb\r\n", ("X-A", "b")),
    ("X-A:\tb\tc\r\n", ("X-A", "b\tc")),
    ("X-A: b: c\r\n", ("X-A", "b: c")),
    ("x_a: \xe9\x80\xff\xa0\r\n", ("x_a", "\xe9\x80\xff\xa0")),
    ("!#$%&'*+-.^_`|~09: 0\r\n", ("!#$%&'*+-.^_`|~09", "0")),
]

BAD_LINES = [
    ("X-A: b\n", "LF without CR"),
    ("X-A: b\rX-B: c\r\n", "CR without LF"),
    ("X-A: b\r\r\n", "CR without LF"),
    ("X-A: \0\r\n", "NUL"),
    (" X-A: b\r\n", "begins with white space"),
    ("\tfolded\r\n", "begins with white space"),
    (" \r\n", "begins with white space"),
    ("X-A\r\n", "'X-A' has no colon"),
    ("X-A : b\r\n", "white space between the header name 'X-A' and its colon"),
    ("X-A\t: b\r\n", "white space between"),
    (": b\r\n", "'' is no header name"),
    ("X A: b\r\n", "'X A' is no header name"),
    ("X(A): b\r\n", r"'X\(A\)' is no header name"),
    ("X-\xe4: b\r\n", "is no header name"),
    ('"X": b\r\n', "is no header name"),
    ("X-A: b\x01\r\n", "the value of the header 'X-A' has a control character"),
    ("X-A: \x7f\r\n", "control character"),
    ("X-A: a\x0bb\r\n", "control character"),
    ("X-A: a\x1bb\r\n", "control character"),
]


@pytest.mark.parametrize("line, field", GOOD_LINES)
def test_a_well_formed_line(line: str, field: Tuple[str, str]) -> None:
    assert parse_field(line) == field
    assert line_fault(line) is None


@pytest.mark.parametrize("line, why", BAD_LINES)
def test_a_malformed_line(line: str, why: str) -> None:
    """LESSONS 3.4."""
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        parse_field(line)
    assert caught.value.status == 400


@pytest.mark.parametrize("line, field", GOOD_LINES)
def test_a_line_means_the_same_in_any_section(line: str, field: Tuple[str, str]) -> None:
    usual = "Accept: */*\r\n"
    for before in (0, 2):
        for after in (0, 2):
            items = [("Accept", "*/*")] * before + [field] + [("Accept", "*/*")] * after
            text = "GET / HTTP/1.1\r\n" + usual * before + line + usual * after
            assert parse_fields(text + "\r\n", 16, before + 1 + after) == items
            assert parse_fields(text, 16, before + 1 + after) == items


@pytest.mark.parametrize("line, why", BAD_LINES)
def test_a_malformed_line_spoils_any_section(line: str, why: str) -> None:
    """LESSONS 3.4: the line must not be passed over, nor be read as two."""
    usual = "Accept: */*\r\n"
    for text in (line, usual + line, line + usual, usual + line + usual):
        with pytest.raises(RemoteProtocolError, match=why):
            parse_fields(text + "\r\n", 0, text.count("\n"))


def test_the_first_fault_counts() -> None:
    with pytest.raises(RemoteProtocolError, match="no colon"):
        parse_fields("A: b\r\nno colon\r\nX : y\r\n\r\n", 0, 3)


def test_an_empty_section() -> None:
    assert parse_fields("\r\n", 0, 0) == []


@pytest.mark.parametrize("code", range(0x100))
def test_every_character_in_a_value(code: int) -> None:
    """LESSONS 3.4: of the controls only HTAB may pass; CR and LF are no characters of a value at all."""
    line = f"X-A: a{chr(code)}b\r\n"
    if re.fullmatch(r"[\t -~\x80-\xff]", chr(code)):
        assert parse_field(line) == ("X-A", f"a{chr(code)}b")
        assert parse_fields(line, 0, 1) == [("X-A", f"a{chr(code)}b")]
    else:
        with pytest.raises(RemoteProtocolError):
            parse_field(line)
        with pytest.raises(RemoteProtocolError):
            parse_fields(line, 0, line.count("\n"))


@pytest.mark.parametrize(
    "head, filler, tail",
    [
        ("X-A:", " ", "\x01\r\n"),
        ("X-A:", " \t", "b\x01\r\n"),
        ("X-A: ", "b ", "\x01\r\n"),
        ("X-A: b", " ", "\x01\r\n"),
        ("X-A: b", " ", "\r\n"),
        ("", "b", "\r\n"),
        ("", "b", " : c\r\n"),
        ("X-A:", "\r", "\r\n"),
        ("", "X-A: b\r\n", "X\r\n"),
    ],
)
def test_no_line_takes_more_than_linear_time(head: str, filler: str, tail: str) -> None:
    """LESSONS 3.10: a pattern that tries all ways to divide the white space would."""

    def parse(size: int) -> None:
        text = head + filler * size + tail
        try:
            parse_fields(text, 0, text.count("\n"))
        except RemoteProtocolError:
            pass

    assert growth(parse, 2000) < LINEAR


def test_a_reason_repeats_only_a_little_of_the_line() -> None:
    for line in ("x\r\n", "x\xe4: b\r\n", "x : b\r\n", "x:\0\r\n"):
        long_line = line.replace("x", "x" * 9000)
        with pytest.raises(RemoteProtocolError) as caught:
            parse_field(long_line)
        assert len(caught.value.why) < 200
        assert caught.value.why.isascii()
