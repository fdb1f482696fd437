"""Which reader a content type gets, and what both readers have in common."""

from __future__ import annotations

import pytest

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.form_multipart import MultipartReader
from lwsws.wire.form_parts import PART_END, FormEnd, FormLimits, Part, PartData
from lwsws.wire.form_urlencoded import UrlencodedReader
from lwsws.wire.forms import FormError, FormIncomplete, form_reader
from lwsws.wire.parameters import parse_parameters
from tests.support.forms import all_ways, field, multipart


@pytest.mark.parametrize("text", [
    "application/x-www-form-urlencoded",
    "Application/X-WWW-Form-Urlencoded",
    "application/x-www-form-urlencoded; charset=UTF-8",
    "application/x-www-form-urlencoded ;charset=UTF-8",
    "application/x-www-form-urlencoded; what ever",
])
def test_urlencoded_forms(text: str) -> None:
    assert isinstance(form_reader(text), UrlencodedReader)


@pytest.mark.parametrize("text, boundary", [
    ("multipart/form-data; boundary=abc", b"abc"),
    ("multipart/form-data;boundary=abc", b"abc"),
    ("Multipart/Form-Data ;\t BOUNDARY=abc ; charset=utf-8", b"abc"),
    ("multipart/form-data; charset=utf-8; boundary=\"abc\"", b"abc"),
    ("multipart/form-data; boundary=\"a b'c?:=/,\"", b"a b'c?:=/,"),
    ("multipart/form-data; boundary=----=_Part_7_(x)", b"----=_Part_7_(x)"),
    ("multipart/form-data; boundary=----WebKitFormBoundaryAbCdEf0123456789", None),
    ("multipart/form-data; boundary=" + "b" * 70, b"b" * 70),
])
def test_multipart_forms(text: str, boundary: bytes) -> None:
    reader = form_reader(text)
    assert isinstance(reader, MultipartReader)
    if boundary is not None:
        reader.receive_data(multipart(boundary, (field(b"a"), b"1")))
        assert reader.next_event() == Part("a")


@pytest.mark.parametrize("text", ["", "text/plain", "application/json", "multipart/mixed; boundary=a", ";",
                                  "application/x-www-form-urlencoded, text/plain"])
def test_what_is_no_form(text: str) -> None:
    assert form_reader(text) is None


@pytest.mark.parametrize("parameters, why", [
    ("", "has no boundary"),
    ("; charset=utf-8", "has no boundary"),
    ("; boundary", "'; boundary' is no parameter"),
    ("; boundary=", "'; boundary=' is no parameter"),
    ('; boundary="a', "is no parameter"),
    ("; boundary=a; boundary=a", "the parameter 'boundary' is given twice"),
    ("; boundary=a, multipart/form-data; boundary=b", "is no parameter"),
    ('; boundary=""', "'' is no boundary"),
    ('; boundary="a "', "'a ' is no boundary"),
    ("; boundary=" + "b" * 71, "is no boundary"),
    ('; boundary="a\x09b"', "is no boundary"),
    ('; boundary="\xe9"', "is no boundary"),
    ("; boundary=a_b#c", "'a_b#c' is no boundary"),
])
def test_a_multipart_form_without_a_boundary_is_refused(parameters: str, why: str) -> None:
    with pytest.raises(FormError) as caught:
        form_reader("multipart/form-data" + parameters)
    assert caught.value.status == 400
    assert why in caught.value.why


def test_a_fault_comes_once_and_nothing_after_it() -> None:
    reader = form_reader("application/x-www-form-urlencoded")
    assert reader is not None
    reader.receive_data(b"a=%zz&b=1")
    assert reader.next_event() == Part("a")
    with pytest.raises(RemoteProtocolError, match="400: "):
        reader.next_event()
    reader.receive_data(b"&c=1")
    reader.receive_eof()
    assert reader.next_event() is None


def test_nothing_comes_after_the_end() -> None:
    reader = UrlencodedReader()
    reader.receive_eof()
    assert isinstance(reader.next_event(), FormEnd)
    reader.receive_data(b"a=1")
    assert reader.next_event() is None


def test_events_can_be_told_apart_in_a_log() -> None:
    events = [Part("a"), PartData(b"x"), PART_END, FormEnd()]
    told = "[Part(name='a', filename=None, content_type=''), PartData(b'x'), PartEnd(), FormEnd()]"
    assert repr(events) == told


SMALL = FormLimits(parts=3, part_head=100, name=10, values=20, around=30)


def test_the_limits_hold_for_urlencoded_forms() -> None:
    def fault(body: bytes) -> object:
        return all_ways(lambda: UrlencodedReader(SMALL), body).fault

    assert fault(b"a=1&b&c=3&&") is None
    assert fault(b"a&b&c&d") == (413, "the form has more than 3 entries")
    assert fault(b"a=" + b"x" * 10 + b"&b=" + b"y" * 10) is None
    assert fault(b"a=" + b"x" * 10 + b"&b=" + b"y" * 11) == (413, "the values of the form are over 20 bytes")
    assert fault(b"a=" + b"%41" * 20) is None
    assert fault(b"n" * 10) is None
    assert fault(b"%41" * 10 + b"=") is None
    for name in (b"n" * 11, b"n" * 31, b"%41" * 11, b"n" * 40 + b"=x", b"n" * 11 + b"&"):
        assert fault(name) == (413, "a name in the form is over 10 bytes")


def test_the_limits_hold_for_multipart_forms() -> None:
    def fault(*parts: bytes, data: bytes = b"", before: bytes = b"", behind: bytes = b"") -> object:
        body = before + multipart(b"b", *((part, data) for part in parts)) + behind
        return all_ways(lambda: MultipartReader("b", SMALL), body).fault

    assert fault(*[field(b"a")] * 3) is None
    assert fault(*[field(b"a")] * 4) == (413, "the form has more than 3 entries")
    assert fault(*[field(b"a")] * 2, data=b"x" * 10) is None
    assert fault(*[field(b"a")] * 2, data=b"x" * 11) == (413, "the values of the form are over 20 bytes")
    assert fault(*[field(b"a", b"f")] * 3, data=b"x" * 200) is None     # files do not count
    assert fault(field(b"n" * 10, b"f" * 10)) is None
    assert fault(field(b"n" * 11)) == (413, "a name in the form is over 10 bytes")
    assert fault(field(b"n", b"f" * 11)) == (413, "a name in the form is over 10 bytes")
    head = field(b"a") + b"\r\nX: "
    assert fault(head + b"x" * (96 - len(head))) is None
    assert fault(head + b"x" * (97 - len(head))) == (413, "the header of a part is over 100 bytes")
    assert fault(head + b"x" * 500) == (413, "the header of a part is over 100 bytes")
    outside = (400, "over 30 bytes are outside of the parts of the form")
    assert fault(before=b"p" * 28 + b"\r\n", behind=b"e" * 30) is None
    assert fault(before=b"p" * 31 + b"\r\n") == outside
    assert fault(behind=b"e" * 31) == outside


def test_data_goes_out_up_to_the_limit_wherever_it_was_cut() -> None:
    form = all_ways(lambda: UrlencodedReader(SMALL), b"a=" + b"x" * 15 + b"&b=" + b"y" * 9 + b"%zz")
    assert form.entries == [(Part("a"), b"x" * 15), (Part("b"), b"y" * 5)]
    assert form.complete == 1


def test_an_incomplete_form_is_a_fault_of_its_own() -> None:
    assert issubclass(FormIncomplete, FormError)
    form = all_ways(lambda: MultipartReader("b"), multipart(b"b", (field(b"a"), b"1"))[:-4])
    assert form.is_incomplete
    assert form.values() == [("a", b"1")]


@pytest.mark.parametrize("text, wanted", [
    ("form-data", ("form-data", {})),
    ("Form-Data", ("form-data", {})),
    ('form-data; Name="a;b=c"; x=1', ("form-data", {"name": "a;b=c", "x": "1"})),
    (r'form-data; name="a\"b\\c"', ("form-data", {"name": 'a"b\\c'})),
    (r'form-data; name="C:\dir\new.txt"', ("form-data", {"name": r"C:\dir\new.txt"})),
    ("a;", ("a", {})),
    ("a; ; b=c;;\td=e ;", ("a", {"b": "c", "d": "e"})),     # RFC 9110 5.6.6
    ('text/plain ; charset="utf-8"\t;q=1 ', ("text/plain", {"charset": "utf-8", "q": "1"})),
])
def test_values_with_parameters(text: str, wanted: object) -> None:
    assert parse_parameters(text) == wanted


@pytest.mark.parametrize("text", ["", ";", "a b", "a; b", "a; b=", "a; =c", 'a; b="c', 'a; b="c"d',
                                  r'a; b="c\"', "a; b=c d", "a; b=c; B=c", "a, b", "a; b = c", '"a"'])
def test_malformed_values_with_parameters(text: str) -> None:
    with pytest.raises(ValueError):
        parse_parameters(text)
