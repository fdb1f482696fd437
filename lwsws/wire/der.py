"""DER, in which keys and certificates are written (X.690): tag, length, content.

The content of a SEQUENCE is elements again.  Reading is strict, and every fault a ValueError; each tag of
what is read or written here fits into one octet.
"""

from __future__ import annotations

from typing import Iterable, List, Sequence, Tuple

# Tags (X.680 8.6).
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
SET = 0x31

_LONG_TAG = 0x1F  # these bits say that the tag goes on in the next octet
_LONG_LENGTH = 0x80  # this bit, that the others count the octets of the length

Element = Tuple[int, bytes]  # tag and content


# Reading.


def only(contents: Sequence[bytes]) -> bytes:
    """The one of `contents`; ValueError if there are more, or none."""
    if len(contents) != 1:
        raise ValueError(f"{len(contents)} elements stand where one must be")
    return contents[0]


def contents_of(data: bytes, tag: int) -> List[bytes]:
    """The contents of the elements that `data` is made of; all must have this tag."""
    elements = elements_of(data)
    if any(found != tag for found, _ in elements):
        raise ValueError(f"an element with another tag stands among those with {tag:#04x}")
    return [content for _, content in elements]


def tags_of(elements: Iterable[Element]) -> List[int]:
    """The tags of `elements`."""
    return [tag for tag, _ in elements]


def elements_of(data: bytes) -> List[Element]:
    """The elements that `data` is made of, which must end with the last of them."""
    elements = []
    at = 0
    while at < len(data):
        begin, end = _content(data, at)
        elements.append((data[at], data[begin:end]))
        at = end
    return elements


def _content(data: bytes, at: int) -> Tuple[int, int]:
    """Where the content of the element at `at` begins and ends (X.690 8.1)."""
    begin = at + 2
    if begin > len(data) or data[at] & _LONG_TAG == _LONG_TAG:
        raise ValueError("it is cut short, or no DER")
    length = data[at + 1]
    if length >= _LONG_LENGTH:
        octets = data[begin : begin + length - _LONG_LENGTH]
        begin += length - _LONG_LENGTH
        length = int.from_bytes(octets, "big")
        # X.690 10.1: the definite form, in as few octets as it can be.
        if octets[:1] in (b"", b"\0") or length < _LONG_LENGTH:
            raise ValueError("it is cut short, or no DER")
    if begin + length > len(data):
        raise ValueError("it is cut short")
    return begin, begin + length


def unsigned(content: bytes) -> int:
    """The number in the content of an INTEGER, which must not be negative."""
    if not content or content[0] & 0x80:
        raise ValueError("a number in it is malformed")
    return int.from_bytes(content, "big")


# Writing.


def element(tag: int, *contents: bytes) -> bytes:
    """One element; its content is `contents` in a row."""
    content = b"".join(contents)
    size = len(content)
    if size < _LONG_LENGTH:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_LENGTH | len(octets))) + octets + content


def integer(number: int) -> bytes:
    """A number that is not negative, as an INTEGER."""
    # The highest bit is the sign, so it has to be free.
    return element(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))
