"""Multipart forms: parts, their data and where it ends, and what is refused."""

from __future__ import annotations

from typing import Callable, Optional

import pytest

from lwsws.wire.form_multipart import MultipartReader, base_name
from lwsws.wire.forms import FormLimits, Part, PartData
from tests.support.effort import LINEAR, growth
from tests.support.forms import Form, all_ways, field, multipart, read_form
from tests.support.wire_cases import byte_by_byte

BOUNDARY = "----b1"
B = BOUNDARY.encode()


def read(body: bytes, boundary: str = BOUNDARY) -> Form:
    return all_ways(lambda: MultipartReader(boundary), body)


def part_of(*lines: bytes) -> Part:
    """The one part with these header lines."""
    form = read(multipart(B, (b"\r\n".join(lines), b"x")))
    assert form.fault is None
    ((part, data),) = form.entries
    assert data == b"x"
    return part


def test_values_and_files() -> None:
    body = (b"------b1\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nt\r\n"
            b"------b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n"
            b"Content-Type: text/plain\r\n\r\nfile content 12\r\n"
            b"------b1\r\nContent-Disposition: form-data; name=\"upload\"\r\n\r\nUpload\r\n------b1--\r\n")
    form = read(body)
    assert form.entries == [(Part("text"), b"t"), (Part("file", "a.txt", "text/plain"), b"file content 12"),
                            (Part("upload"), b"Upload")]
    assert form.complete == 3
    assert form.ended


@pytest.mark.parametrize("data", [
    b"", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"l1\r\nl2", b"--", b"\r\n--", b"\r\n-", b"--\r\n", b"\r\r\n",
    b"\r\n------b", b"\r\n------B1", b"------b", b"a------b1--\r\n", b"\n------b1--\r\n", b"\r------b1\r\n",
    b"\r\n -----b1", b"\r\n\r\n------b", b"\r\n--\r\n--\r\n----", b"\0" * 100, bytes(range(256)),
    b"\r\n-----b1\r\n", b"x" * 300 + b"\r", b"------\r\n",
])
@pytest.mark.parametrize("head", [field(b"f"), field(b"f", b"")])
def test_data_that_looks_like_a_boundary(head: bytes, data: bytes) -> None:
    form = read(multipart(B, (head, data), (field(b"last"), data)))
    assert form.fault is None
    assert form.values() == [("f", data), ("last", data)]


@pytest.mark.parametrize("boundary", ["b", "-", "--", "b" * 70, "a b", "b--", "'()+_,-./:=?"])
def test_any_boundary(boundary: str) -> None:
    for data in (b"", b"x", b"\r\n-", b"\r\n--" + boundary.encode()[:-1], b"\r\n\r\n"):
        form = read(multipart(boundary.encode(), (field(b"n"), data)), boundary)
        assert form.values() == [("n", data)]
        assert form.ended


def test_a_form_may_be_empty() -> None:
    """No browser sends it, but it says the same as an urlencoded body without a byte."""
    assert read(b"------b1--").ended
    assert read(b"------b1--\r\n").entries == []


@pytest.mark.parametrize("before, behind", [
    (b"", b""),
    (b"\r\n", b""),
    (b"This is a form.\r\n", b"That was all."),
    (b"-----b1\r\n\r\n", b"------b1\r\nno part\r\n"),
    (b"\r\n--\r\n-----", b"\r\n------b1--\r\n"),
])
def test_what_is_around_the_parts_is_ignored(before: bytes, behind: bytes) -> None:
    """RFC 2046 5.1.1."""
    if not before.endswith(b"\r\n"):
        before = before and before + b"\r\n"
    form = read(before + multipart(B, (field(b"a"), b"1")) + behind)
    assert form.values() == [("a", b"1")]
    assert form.ended


@pytest.mark.parametrize("end", [b"------b1--", b"------b1--\r", b"------b1--\r\n", b"------b1-- \t\r\n",
                                 b"------b1--  "])
def test_the_last_boundary_needs_no_line_end(end: bytes) -> None:
    form = read(b"------b1 \t\r\n" + field(b"a") + b"\r\n\r\n1\r\n" + end)
    assert form.values() == [("a", b"1")]
    assert form.ended


def test_a_part_of_header_fields_only() -> None:
    """RFC 2046 5.1.1: MIME-part-headers [CRLF *OCTET], and the CRLF that follows belongs to the boundary."""
    boundary = b"------b1"
    form = read(boundary + b"\r\n" + field(b"a") + b"\r\n\r\n" + boundary + b"\r\n" + field(b"b")
                + b"\r\n\r\n" + boundary + b"--\r\n")
    assert form.values() == [("a", b""), ("b", b"")]
    assert form.ended


@pytest.mark.parametrize("tail", [b"x", b" x\r\n", b"\n", b"-\r\n", b"---\r\n", b"--x\r\n", b"--\n",
                                  b" " * 80, b"--" + b" " * 80, b"\r\r\n", b" \r \r\n"])
def test_anything_else_behind_a_boundary_is_refused(tail: bytes) -> None:
    form = read(b"------b1\r\n" + field(b"a") + b"\r\n\r\n1\r\n------b1" + tail.ljust(80, b"x"))
    assert form.fault == (400, "something follows a boundary in its line")
    assert form.values() == [("a", b"1")]


def test_a_body_cut_short_is_incomplete_wherever_it_is_cut() -> None:
    body = multipart(B, (field(b"a"), b"1\r\n2"), (field(b"f", b"n"), b"3"))
    for size in range(len(body) - len(b"\r\n")):
        form = read_form(MultipartReader(BOUNDARY), [body[:size]])
        assert form.is_incomplete, size
        assert form.fault is not None
        assert form.fault[0] == 400
        assert form.fault[1].startswith("the body of the form ends ")
        assert form.values() == [("a", b"1\r\n2"), ("f", b"3")][: form.complete]
    assert read_form(MultipartReader(BOUNDARY), [body[: len(body) - 2]]).ended


# Heads.


@pytest.mark.parametrize("line, name", [
    (b'Content-Disposition: form-data; name="a"', "a"),
    (b'content-disposition:FORM-DATA;NAME=a', "a"),
    (b'Content-Disposition: form-data; name=""', ""),
    (b'Content-Disposition: form-data; name="a b;c=\xc3\xa9"', "a b;c=é"),
    (b'Content-Disposition: form-data; name="a\xff"', "a�"),
    (b'Content-Disposition: form-data; name="a\\"b\\\\"', 'a"b\\'),
    (b'Content-Disposition: form-data; name="a%22b"', "a%22b"),
    (b'Content-Disposition: form-data; x=y; name="a"; z="\\""', "a"),
])
def test_names(line: bytes, name: str) -> None:
    assert part_of(line) == Part(name)


@pytest.mark.parametrize("sent, wanted", [
    (b"a.txt", "a.txt"),
    (b"", ""),
    (b"/etc/passwd", "passwd"),
    (b"..\\..\\boot.ini", "boot.ini"),
    (b"C:\\dir\\new.txt", "new.txt"),
    (b"C:\\\\dir\\\\new.txt", "new.txt"),
    (b"dir/", ""),
    (b"..", ""),
    (b"a/.", ""),
    (b"a/ .. ", ""),
    (b"a\tb", "ab"),
    (b"a\\\"b<>&'.txt", "a\"b<>&'.txt"),
    ("é\u202etxt.exe".encode(), "étxt.exe"),
    ("a\u2028b\x85c".encode(), "abc"),
    (b"\xff.txt", "�.txt"),
    (b"...", "..."),
    (b" .htaccess ", ".htaccess"),
])
def test_file_names(sent: bytes, wanted: str) -> None:
    assert part_of(field(b"f", sent, b"text/plain; charset=utf-8")) == \
        Part("f", wanted, "text/plain; charset=utf-8")


def test_a_base_name_has_nothing_that_moves_in_a_file_system() -> None:
    for code in range(0x3000):
        name = base_name(f"a{chr(code)}b")
        assert "/" not in name
        assert "\\" not in name
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in name)
    assert base_name("a\0/..") == ""


@pytest.mark.parametrize("line", [b"Content-Transfer-Encoding: binary", b"content-transfer-encoding: 8BIT",
                                  b"Content-Length: 1", b"X-Own: \xff"])
def test_other_header_fields_of_parts(line: bytes) -> None:
    assert part_of(field(b"a"), line) == Part("a")


@pytest.mark.parametrize("head, why", [
    (b"Content-Type: text/plain", "does not have exactly one Content-Disposition"),
    (field(b"a") + b"\r\n" + field(b"b"), "does not have exactly one Content-Disposition"),
    (b"Content-Disposition: form-data", "is not form-data with a name"),
    (b'Content-Disposition: form-data; filename="a"', "is not form-data with a name"),
    (b'Content-Disposition: attachment; name="a"', "is not form-data with a name"),
    (b"Content-Disposition: ", "in a Content-Disposition: '' does not begin with a token"),
    (field(b"a") + b'; name="b"', "the parameter 'name' is given twice"),
    (field(b"a") + b'; filename="b"; FILENAME=c', "the parameter 'filename' is given twice"),
    (b'Content-Disposition: form-data; name="a', "is no parameter"),
    (b'Content-Disposition: form-data; name="a\\"', "is no parameter"),
    (b"Content-Disposition: form-data; name=a b", "is no parameter"),
    (b"Content-Disposition: form-data; name=\xc3\xa9", "is no parameter"),
    (field(b"a") + b"; filename*=utf-8''b", "a form has no names with a *"),
    (field(b"a") + b"; name*=utf-8''b", "a form has no names with a *"),
    (field(b"a") + b"\r\nContent-Transfer-Encoding: base64", "the Content-Transfer-Encoding 'base64'"),
    (field(b"a") + b"\r\nno colon", "in the header of a part: the header line 'no colon' has no colon"),
    (field(b"a") + b"\r\n folded", "a header line begins with white space"),
    (field(b"a") + b"\nX: y", "a line ends in LF without CR"),
    (field(b"a") + b"\r\nX: \0", "a NUL"),
    (field(b"a") + b"\r\n------b1", "has no colon"),
])
def test_malformed_heads(head: bytes, why: str) -> None:
    form = read(multipart(B, (field(b"ok"), b"fine"), (head, b"x")))
    assert form.fault is not None
    assert form.fault[0] == 400
    assert why in form.fault[1]
    assert form.values() == [("ok", b"fine")]
    assert not form.is_incomplete


def test_a_part_without_any_header() -> None:
    form = read(b"------b1\r\n\r\nhello\r\n\r\n------b1--\r\n")
    assert form.fault == (400, "a part of the form has no header")


# Size and time.


def test_a_file_goes_out_as_it_comes() -> None:
    reader = MultipartReader(BOUNDARY)
    reader.receive_data(b"--" + B + b"\r\n" + field(b"f", b"big") + b"\r\n\r\n")
    assert reader.next_event() == Part("f", "big")
    piece = bytes(range(256)) * 256
    for _ in range(100):
        reader.receive_data(piece)
        event = reader.next_event()
        assert isinstance(event, PartData)
        assert event.data == piece
        assert reader.next_event() is None


def delimiters(size: int) -> bytes:
    return b"\r\n------b" * size


def dashes(size: int) -> bytes:
    return b"-" * size * 8


def line_ends(size: int) -> bytes:
    return b"\r\n--" * size * 2


def returns(size: int) -> bytes:
    return b"\r" * size * 8


@pytest.mark.parametrize("data", [delimiters, dashes, line_ends, returns])
@pytest.mark.parametrize("boundary", [BOUNDARY, "-" * 70])
def test_the_effort_of_data_is_linear(data: Callable[[int], bytes], boundary: str) -> None:
    def whole(size: int) -> None:
        read_form(MultipartReader(boundary), [multipart(boundary.encode(), (field(b"f", b""), data(size)))])

    def bytewise(size: int) -> None:
        body = multipart(boundary.encode(), (field(b"f", b""), data(size)))
        read_form(MultipartReader(boundary), byte_by_byte(body))

    assert growth(whole, 2000) < LINEAR
    assert growth(bytewise, 50) < LINEAR


@pytest.mark.parametrize("head", [
    lambda size: b'Content-Disposition: form-data; name="' + b"\\" * size * 8,
    lambda size: b"Content-Disposition: form-data" + b"; a" * size * 2,
    lambda size: b"Content-Disposition: form-data;" + b" " * size * 8 + b"x",
    lambda size: b"Content-Disposition: form-data" + b' ;a="' * size,
    lambda size: b"X: y\r\n" * size,
    lambda size: b"".join(b"; p%d=v" % number for number in range(size)),
])
def test_the_effort_of_heads_is_linear(head: Callable[[int], bytes]) -> None:
    limits = FormLimits(part_head=1 << 30, name=1 << 30)

    def bytewise(size: int) -> None:
        body = b"--" + B + b"\r\n" + head(size) + b"\r\n\r\n"
        read_form(MultipartReader(BOUNDARY, limits), byte_by_byte(body))

    assert growth(bytewise, 60) < LINEAR


def test_many_small_parts_take_linear_time() -> None:
    limits = FormLimits(parts=1 << 30)

    def whole(size: int) -> Optional[Form]:
        return read_form(MultipartReader("b", limits), [multipart(b"b", *[(field(b"a"), b"1")] * size)])

    assert growth(whole, 100) < LINEAR
