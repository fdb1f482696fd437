"""Frames as bytes: the examples of RFC 6455 5.7, masking, lengths, close codes."""

from __future__ import annotations

import random

import pytest

from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.ws_frames import (
    MAX_REASON,
    STRIDED,
    CloseCode,
    Opcode,
    WsProtocolError,
    close_frame,
    control_frame,
    frame,
    read_close,
    read_length,
    unmask,
    unmask_large,
)

# RFC 6455 7.4.1 and the registry; 1004 has no meaning, the rest below 3000 is not given out.
GOOD_CODES = (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999)
NEVER_SENT = (1005, 1006, 1015)
BAD_CODES = (0, 1, 999, 1004, *NEVER_SENT, 1016, 1100, 2000, 2999, 5000, 65535)


@pytest.mark.parametrize("expected, made", [
    ("810548656c6c6f", frame(Opcode.TEXT, b"Hello")),
    ("010348656c", frame(Opcode.TEXT, b"Hel", fin=False)),
    ("80026c6f", frame(Opcode.CONTINUATION, b"lo")),
    ("890548656c6c6f", control_frame(Opcode.PING, b"Hello")),
    ("827e0100" + "00" * 256, frame(Opcode.BINARY, bytes(256))),
    ("827f0000000000010000" + "00" * 65536, frame(Opcode.BINARY, bytes(65536))),
])
def test_the_unmasked_frames_of_rfc_6455_5_7(expected: str, made: bytes) -> None:
    assert made == bytes.fromhex(expected)


def test_the_compressed_frame_of_rfc_7692_7_2_3_1() -> None:
    payload = bytes.fromhex("f248cdc9c90700")
    assert frame(Opcode.TEXT, payload, rsv1=True) == bytes.fromhex("c107f248cdc9c90700")


@pytest.mark.parametrize("size, head", [
    (0, "8200"), (125, "827d"), (126, "827e007e"), (65535, "827effff"), (65536, "827f0000000000010000"),
])
def test_a_length_takes_as_few_bytes_as_it_can(size: int, head: str) -> None:
    assert frame(Opcode.BINARY, bytes(size))[: len(head) // 2] == bytes.fromhex(head)


def test_the_masked_example_of_rfc_6455_5_7() -> None:
    assert unmask(bytes.fromhex("7f9f4d5158"), bytes.fromhex("37fa213d")) == b"Hello"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, *range(STRIDED - 1, STRIDED + 3), 7003])
@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4, 65537])
def test_masking_combines_each_byte_with_its_byte_of_the_key(size: int, offset: int) -> None:
    data, key = random.Random(size).randbytes(size), b"\x00\x81\x7f\xff"
    expected = bytes(byte ^ key[(offset + at) % 4] for at, byte in enumerate(data))
    assert unmask(data, key, offset) == expected
    assert isinstance(unmask(data, key, offset), bytes)
    assert unmask(expected, key, offset) == data


@pytest.mark.parametrize("size", [0, 1, 4, 7, 3000])
def test_both_ways_of_unmasking_say_the_same(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert unmask_large(data, b"\x01\x02\x04\x80") == unmask(data, b"\x01\x02\x04\x80")


def test_a_control_frame_has_at_most_125_bytes() -> None:
    assert control_frame(Opcode.PONG, bytes(125)) == b"\x8a\x7d" + bytes(125)
    with pytest.raises(LocalProtocolError):
        control_frame(Opcode.PONG, bytes(126))


@pytest.mark.parametrize("data, expected", [
    ("8180", (0, 2)),
    ("81fd", (125, 2)),
    ("82fe007e", (126, 4)),
    ("82feffff", (65535, 4)),
    ("82ff0000000000010000", (65536, 10)),
    ("82ff7fffffffffffffff", ((1 << 63) - 1, 10)),
    ("", None),
    ("81", None),
    ("81fe", None),
    ("81fe00", None),
    ("81ff00000000000100", None),
])
def test_lengths_are_read_once_they_are_there(data: str, expected: object) -> None:
    assert read_length(bytes.fromhex(data), 0) == expected
    shifted = b"xyz" + bytes.fromhex(data)
    found = read_length(shifted, 3)
    assert (found and (found[0], found[1] - 3)) == expected


@pytest.mark.parametrize("data, why", [
    ("8100", "masked"),
    ("817e", "masked"),
    ("88fe", "125"),
    ("89ff", "125"),
    ("82fe007d", "length"),
    ("82fe0000", "length"),
    ("82ff000000000000ffff", "length"),
    ("82ff8000000000000000", "length"),
    ("82ffffffffffffffffff", "length"),
])
def test_lengths_that_break_a_rule_are_1002(data: str, why: str) -> None:
    with pytest.raises(WsProtocolError, match=why) as caught:
        read_length(bytes.fromhex(data), 0)
    assert caught.value.code == 1002


@pytest.mark.parametrize("code", GOOD_CODES)
def test_close_codes_go_both_ways(code: int) -> None:
    made = close_frame(code, "gr\xfcn")
    assert made == b"\x88\x07" + code.to_bytes(2, "big") + b"gr\xc3\xbcn"
    assert read_close(made[2:]) == (code, "gr\xfcn")


def test_an_empty_close_frame_is_1005() -> None:
    assert close_frame(1005, "not sent") == b"\x88\x00"
    assert read_close(b"") == (1005, "")
    assert type(read_close(b"")[0]) is int


@pytest.mark.parametrize("code", BAD_CODES)
def test_close_codes_that_nobody_may_send_are_1002(code: int) -> None:
    with pytest.raises(WsProtocolError, match=f"the code {code}$") as caught:
        read_close(code.to_bytes(2, "big"))
    assert caught.value.code == 1002


@pytest.mark.parametrize("code", [code for code in BAD_CODES if code != 1005] + [-1, 1 << 16])
def test_close_codes_that_must_not_be_sent_are_our_fault(code: int) -> None:
    with pytest.raises(LocalProtocolError, match="close code"):
        close_frame(code)


def test_half_a_close_code_is_1002() -> None:
    with pytest.raises(WsProtocolError, match="half a code") as caught:
        read_close(b"\x03")
    assert caught.value.code == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"gr\xc3", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_a_close_reason_that_is_not_utf8_is_1007(reason: bytes) -> None:
    with pytest.raises(WsProtocolError, match="UTF-8") as caught:
        read_close(b"\x03\xe8" + reason)
    assert caught.value.code == 1007


@pytest.mark.parametrize("reason, sent", [
    ("x" * 123, b"x" * 123),
    ("x" * 124, b"x" * 123),
    ("x" * 122 + "\xfc", b"x" * 122),
    ("x" * 121 + "\xfc!", b"x" * 121 + b"\xc3\xbc"),
    ("\U0001f600" * 31, b"\xf0\x9f\x98\x80" * 30),
])
def test_a_close_reason_is_cut_between_characters(reason: str, sent: bytes) -> None:
    assert close_frame(1000, reason)[4:] == sent
    assert len(sent) <= MAX_REASON


def test_a_reason_that_is_no_unicode_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        close_frame(1000, "\ud800")


def test_a_fault_tells_its_code_as_a_number() -> None:
    fault = WsProtocolError(CloseCode.TOO_BIG, "too much")
    assert (fault.code, type(fault.code), fault.why, str(fault)) == (1009, int, "too much", "1009: too much")
