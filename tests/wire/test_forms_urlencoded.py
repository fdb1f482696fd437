"""Urlencoded forms: names, values and escapes, and what is refused."""

from __future__ import annotations

from typing import List, Tuple

import pytest

from lwsws.wire.form_urlencoded import UrlencodedReader
from lwsws.wire.forms import FormLimits, Part
from tests.support.effort import LINEAR, growth
from tests.support.forms import all_ways, read_form
from tests.support.wire_cases import byte_by_byte


@pytest.mark.parametrize("body, wanted", [
    (b"", []),
    (b"&", []),
    (b"&&&", []),
    (b"text=hello&send=SEND", [("text", b"hello"), ("send", b"SEND")]),
    (b"&a=1&&b=2&", [("a", b"1"), ("b", b"2")]),
    (b"a", [("a", b"")]),
    (b"a&b", [("a", b""), ("b", b"")]),
    (b"a=&=b&=", [("a", b""), ("", b"b"), ("", b"")]),
    (b"a=b=c==", [("a", b"b=c==")]),
    (b"a=1;b=2", [("a", b"1;b=2")]),
    (b"a+b=c+d++", [("a b", b"c d  ")]),
    (b"a%2Bb=%2b%20%26%3d%25", [("a+b", b"+ &=%")]),
    (b"%61%3D=%41%42", [("a=", b"AB")]),
    (b"a=%00%ff\x00\xff\r\n", [("a", b"\x00\xff\x00\xff\r\n")]),
    (b"n%C3%A9=\xc3\xa9", [("né", b"\xc3\xa9")]),
    (b"n%ff\xc3=1", [("n��", b"1")]),
    (b"a=1&a=2", [("a", b"1"), ("a", b"2")]),
])
def test_sound_forms(body: bytes, wanted: List[Tuple[str, bytes]]) -> None:
    form = all_ways(UrlencodedReader, body)
    assert form.fault is None
    assert form.values() == wanted
    assert all(part == Part(part.name) for part, _ in form.entries)


@pytest.mark.parametrize("body", [b"a=%", b"a=%4", b"a=%zz", b"a=%4g", b"a=%%41", b"a=1%+1", b"a=%4&b=1",
                                  b"a=% 41", b"a=%&", b"a=%u00e9", b"a=%-1", b"a=%\xff\xff"])
def test_a_bad_escape_in_a_value(body: bytes) -> None:
    form = all_ways(UrlencodedReader, b"ok=fine&" + body)
    assert form.fault is not None
    assert form.fault[0] == 400
    assert "a % without two hex digits" in form.fault[1]
    assert form.values() == [("ok", b"fine")]
    assert not form.is_incomplete


@pytest.mark.parametrize("body", [b"a%=1", b"a%4", b"a%zz&", b"%=", b"%%41=1"])
def test_a_bad_escape_in_a_name(body: bytes) -> None:
    form = all_ways(UrlencodedReader, body)
    assert form.entries == []
    assert form.fault is not None
    assert form.fault[0] == 400


def test_what_is_in_front_of_a_bad_escape_still_goes_out() -> None:
    form = all_ways(UrlencodedReader, b"a=%41b+%4x")
    assert form.entries == [(Part("a"), b"Ab ")]
    assert form.complete == 0


def test_a_value_larger_than_any_buffer_goes_out_as_it_comes() -> None:
    reader = UrlencodedReader(FormLimits(values=1 << 30))
    reader.receive_data(b"a=")
    assert reader.next_event() == Part("a")
    for _ in range(50):
        reader.receive_data(b"%41" * 1000)
        event = reader.next_event()
        assert getattr(event, "data", b"") == b"A" * 1000
        assert reader.next_event() is None


def test_every_escape_is_known() -> None:
    for octet in range(256):
        for escape in (b"%%%02x" % octet, b"%%%02X" % octet):
            assert read_form(UrlencodedReader(), [b"a=" + escape]).values() == [("a", bytes((octet,)))]


@pytest.mark.parametrize("unit", [b"a", b"a=1&", b"&", b"=", b"%41", b"a=%41%", b"+", b"&a&&"])
def test_the_effort_is_linear(unit: bytes) -> None:
    limits = FormLimits(parts=1 << 30, name=1 << 30, values=1 << 30)

    def whole(size: int) -> None:
        read_form(UrlencodedReader(limits), [unit * size])

    def bytewise(size: int) -> None:
        read_form(UrlencodedReader(limits), byte_by_byte(unit * size))

    assert growth(whole, 1000) < LINEAR
    assert growth(bytewise, 200) < LINEAR
