"""Messages prepared for many receivers."""

from __future__ import annotations

import random
import zlib

import pytest

from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.ws_message import PreparedMessage

TEXT = "Gr\xfc\xdfe " * 100
TAIL = b"\x00\x00\xff\xff"


def test_plain_is_the_whole_message_as_one_frame() -> None:
    assert PreparedMessage("Hello").plain == bytes.fromhex("810548656c6c6f")
    assert PreparedMessage(b"Hello").plain == bytes.fromhex("820548656c6c6f")
    assert PreparedMessage("").plain == b"\x81\x00"


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_the_compressed_form_inflates_in_the_window_it_was_made_for(bits: int) -> None:
    noise = random.Random(1).randbytes
    data = noise(200) * 20 + noise(3000) * 4 + noise(20000) * 2
    made = PreparedMessage(data).deflated(bits)
    assert made[:2] == b"\xc2\x7e"
    assert zlib.decompressobj(-bits).decompress(made[4:] + TAIL) == data


def test_the_compressed_form_of_a_text_says_so() -> None:
    made = PreparedMessage(TEXT).deflated(12)
    assert made[0] == 0xC1
    assert zlib.decompressobj(-12).decompress(made[2:] + TAIL) == TEXT.encode()


def test_each_form_is_made_once() -> None:
    message = PreparedMessage(TEXT)
    assert message.plain is message.plain
    assert message.deflated(12) is message.deflated(12)
    assert message.deflated(9) is message.deflated(9)


@pytest.mark.parametrize("data", [b"a" * 127, random.Random(1).randbytes(500), b"", bytes((1 << 20) + 1)])
def test_what_is_not_worth_compressing_stays_plain(data: bytes) -> None:
    message = PreparedMessage(data)
    assert message.deflated(12) is message.plain


@pytest.mark.parametrize("size", [128, 1 << 20])
def test_what_is_worth_compressing_is_compressed(size: int) -> None:
    message = PreparedMessage(b"a" * size)
    assert len(message.deflated(12)) < len(message.plain)


def test_text_that_is_no_unicode_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        PreparedMessage("\udc80")


def test_it_shows_what_it_is() -> None:
    assert repr(PreparedMessage("\xfc")) == "PreparedMessage(TEXT, 2 bytes)"
