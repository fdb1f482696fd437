"""DER: elements are read strictly and written as short as they can be."""

from __future__ import annotations

from typing import List

import pytest

from lwsws.wire.der import (
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    contents_of,
    element,
    elements_of,
    integer,
    only,
    tags_of,
    unsigned,
)
from tests.support.effort import LINEAR, growth

# Contents and the whole element, at the sizes where the length gets an octet more (X.690 8.1.3).
SIZES = [(0, "0400"), (1, "0401"), (127, "047f"), (128, "048180"), (255, "0481ff"), (256, "04820100"),
         (65535, "0482ffff"), (65536, "0483010000")]
# X.690 8.3: as few octets as it can be, the highest bit is the sign.
NUMBERS = [(0, "00"), (1, "01"), (127, "7f"), (128, "0080"), (255, "00ff"), (256, "0100"), (32767, "7fff"),
           (32768, "008000"), (1 << 255, "0080" + "00" * 31), ((1 << 255) - 1, "7f" + "ff" * 31)]


@pytest.mark.parametrize("size, head", SIZES)
def test_lengths(size: int, head: str) -> None:
    content = b"\xa5" * size
    data = bytes.fromhex(head) + content
    assert element(OCTET_STRING, content) == data
    assert elements_of(data) == [(OCTET_STRING, content)]
    assert elements_of(data + b"\5\0" + data) == [(4, content), (5, b""), (4, content)]


@pytest.mark.parametrize("number, content", NUMBERS)
def test_numbers(number: int, content: str) -> None:
    octets = bytes.fromhex(content)
    assert integer(number) == bytes((2, len(octets))) + octets
    assert unsigned(octets) == number


def test_elements_hold_elements() -> None:
    data = element(SEQUENCE, integer(1), element(OCTET_STRING, b"x"), element(SEQUENCE))
    assert data.hex() == "3008020101040178" + "3000"
    parts = elements_of(only(contents_of(data, SEQUENCE)))
    assert parts == [(INTEGER, b"\1"), (OCTET_STRING, b"x"), (SEQUENCE, b"")]
    assert tags_of(parts) == [2, 4, 0x30]


def test_nothing_holds_nothing() -> None:
    assert elements_of(b"") == []
    assert contents_of(b"", SEQUENCE) == []
    assert tags_of([]) == []


def test_a_length_in_more_octets_than_anybody_needs() -> None:
    """126 octets are the most that a length can have; there is never so much behind it."""
    with pytest.raises(ValueError, match="it is cut short"):
        elements_of(b"\4\xfe" + b"\1" * 126 + bytes(99))


@pytest.mark.parametrize(
    "data",
    [
        "04", "30", "00",  # no length
        "0401", "0405aaaaaaaa", "3003020101" + "0202",  # no content, or not all of it
        "0481", "0482", "048201", "0482ff", "0483010000",  # not all of the length
        "0480", "04800000", "308002010100" + "00",  # the indefinite form
        "048100", "04817f" + "00" * 127, "04820080" + "00" * 128, "048300010000",  # more octets than it needs
        "04ff" + "01" * 127, "04ff",  # reserved
        "1f0100", "3f8101" + "00", "ff0100", "9f00", "1f",  # a tag of several octets
        "0400" + "04", "0400" + "1f00", "0400" + "0480",  # something wrong behind something right
    ],
)
def test_what_is_no_der(data: str) -> None:
    with pytest.raises(ValueError, match=r"^it is cut short"):
        elements_of(bytes.fromhex(data))


def test_every_piece_of_an_element_is_cut_short() -> None:
    data = element(SEQUENCE, bytes(300))
    for size in range(1, len(data)):
        with pytest.raises(ValueError, match="it is cut short"):
            elements_of(data[:size])


@pytest.mark.parametrize("contents", [[], [b"a", b"b"], [b""] * 9])
def test_one_where_one_must_be(contents: List[bytes]) -> None:
    with pytest.raises(ValueError, match=f"^{len(contents)} elements stand where one must be$"):
        only(contents)
    assert only([b"a"]) == b"a"


def test_contents_of_one_kind() -> None:
    assert contents_of(integer(1) + integer(2), INTEGER) == [b"\1", b"\2"]
    for data in (integer(1) + b"\4\0", b"\4\0" + integer(1), b"\4\0"):
        with pytest.raises(ValueError, match="another tag stands among those with 0x02"):
            contents_of(data, INTEGER)


@pytest.mark.parametrize("content", [b"", b"\x80", b"\xff\xff", b"\x80" + bytes(31)])
def test_numbers_that_are_none_or_negative(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^a number in it is malformed$"):
        unsigned(content)


def test_many_elements_take_linear_time() -> None:
    assert growth(lambda size: elements_of(b"\4\0" * size), 2000) < LINEAR
    assert growth(lambda size: elements_of(element(OCTET_STRING, bytes(100)) * size), 500) < LINEAR
