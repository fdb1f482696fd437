"""What a server has to refuse, and with which code (RFC 6455 5, 7.4 and 8.1)."""

from __future__ import annotations

from typing import Tuple

import pytest

from lwsws.wire.ws_connection import WsConnection, WsLimits
from lwsws.wire.ws_deflate import Deflate, DeflateParams
from lwsws.wire.ws_frames import WsProtocolError
from tests.support.wire_cases import byte_by_byte
from tests.support.ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from tests.support.ws_events import hear, masked, three_ways

BEGUN = masked(TEXT, b"a", fin=False)


def deflating() -> WsConnection:
    return WsConnection(deflate=Deflate(DeflateParams()))


def streamed() -> WsConnection:
    return WsConnection(fragments=True)


@pytest.mark.parametrize("data, why", [
    # LESSONS 3.30; RFC 6455 5.1.
    (frame(TEXT, b"a"), "not masked"),
    (frame(PING), "not masked"),
    (frame(BINARY, bytes(300)), "not masked"),
    # RFC 6455 5.2; Autobahn 3.
    *((masked(opcode, b"a", rsv=rsv), "reserved bits")
      for rsv in range(1, 8) for opcode in (TEXT, BINARY, CLOSE, PING, PONG)),
    *((BEGUN + masked(CONTINUATION, b"a", rsv=rsv), "reserved bits") for rsv in range(1, 8)),
    # Autobahn 4.
    *((masked(opcode), f"reserved opcode {opcode}") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *((BEGUN + masked(opcode), f"reserved opcode {opcode}") for opcode in (3, 7, 11, 15)),
    # RFC 6455 5.5; Autobahn 2.5 and 5.1.
    *((masked(opcode, bytes(126)), "more than 125") for opcode in (CLOSE, PING, PONG)),
    *((masked(opcode, bytes(65536)), "more than 125") for opcode in (CLOSE, PING, PONG)),
    *((masked(opcode, b"a", fin=False), "control frame is fragmented") for opcode in (CLOSE, PING, PONG)),
    # RFC 6455 5.4; Autobahn 5.9 to 5.18.
    (masked(CONTINUATION, b"a"), "without a message"),
    (masked(CONTINUATION, b"a", fin=False), "without a message"),
    (masked(TEXT, b"a") + masked(CONTINUATION), "without a message"),
    (BEGUN + masked(CONTINUATION) + masked(CONTINUATION), "without a message"),
    (BEGUN + masked(TEXT, b"b"), "inside another"),
    (BEGUN + masked(BINARY, b"b", fin=False), "inside another"),
    (BEGUN + masked(PING) + masked(TEXT, b"b"), "inside another"),
    # RFC 6455 5.2: the shortest form, and at most 63 bits.
    *((bytes.fromhex(head), "written wrongly") for head in (
        "81fe007d", "82fe0000", "82ff000000000000ffff", "82ff8000000000000000", "82ffffffffffffffffff")),
    # RFC 6455 5.5.1; Autobahn 7.3 and 7.9.
    (masked(CLOSE, b"\x03"), "half a code"),
    *((masked(CLOSE, code.to_bytes(2, "big") + b"why"), f"the code {code}")
      for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)),
])
def test_breaches_of_the_protocol_are_1002(data: bytes, why: str) -> None:
    for make in (WsConnection, streamed):
        heard = three_ways(data, make)
        assert heard.fault is not None
        assert heard.code == 1002
        assert why in heard.fault[1]


def test_what_came_before_a_fault_is_given_out() -> None:
    heard = three_ways(masked(TEXT, b"one") + masked(TEXT, b"two") + masked(3) + masked(TEXT, b"three"))
    assert heard.events == ["one", "two"]
    assert heard.code == 1002


@pytest.mark.parametrize("data, size", [
    (masked(3), 1),
    (masked(PING, fin=False), 1),
    (masked(TEXT, rsv=2), 1),
    (masked(CONTINUATION), 1),
    (frame(TEXT, b"abc"), 2),
    (masked(PING, bytes(126)), 2),
    (masked(BINARY, bytes(11)), 2),
    (bytes.fromhex("82fe007d"), 4),
    (masked(BINARY, bytes(126)), 4),
    (bytes.fromhex("82ff000000000000ffff"), 10),
    (masked(BINARY, bytes(65536)), 10),
])
def test_a_fault_shows_itself_at_once(data: bytes, size: int) -> None:
    """LESSONS 3.39: nothing waits for the rest of a frame that will be refused."""
    ws = WsConnection(WsLimits(message=10))
    assert hear(ws, byte_by_byte(data[: size - 1])).fault is None
    assert hear(ws, [data[size - 1 : size]]).fault is not None


def test_after_a_fault_nothing_more_is_read() -> None:
    ws = WsConnection()
    ws.receive_data(masked(3) + masked(TEXT, b"late"))
    with pytest.raises(WsProtocolError):
        ws.next_event()
    ws.receive_data(masked(TEXT, b"later") + masked(CLOSE))
    assert ws.next_event() is None
    assert (ws.buffered, ws.in_message, ws.pending, ws.close_received) == (0, False, False, False)


# Bytes that are no UTF-8 at all, and how many of them it takes to know (Autobahn 6.3 to 6.23).
NOT_UTF8 = (
    (b"\x80", 1), (b"\xbf", 1), (b"\xfe", 1), (b"\xff", 1), (b"\xc0\xaf", 1), (b"\xc1\xbf", 1),
    (b"\xf5\x80\x80\x80", 1), (b"\xf8\x88\x80\x80\x80", 1), (b"\xfc\x84\x80\x80\x80\x80", 1),
    (b"\xe0\x80\xaf", 2), (b"\xe0\x9f\xbf", 2), (b"\xed\xa0\x80", 2), (b"\xed\xbf\xbf", 2),
    (b"\xf0\x80\x80\xaf", 2), (b"\xf0\x8f\xbf\xbf", 2), (b"\xf4\x90\x80\x80", 2),
    (b"\xc3a", 2), (b"\xe2\x82a", 3), (b"\xf0\x9f\x98a", 4), (b"\xed\xa0\x80\xed\xb0\x80", 2),
)
# And what is no text for want of an end.
CUT = (b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f\x98")
VALID = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()  # that of Autobahn


@pytest.mark.parametrize("bad", [bad for bad, _ in NOT_UTF8] + list(CUT))
@pytest.mark.parametrize("before", [b"", VALID, b"a" * 200])
def test_text_that_is_not_utf8_is_1007(before: bytes, bad: bytes) -> None:
    for data in (
        masked(TEXT, before + bad),
        masked(TEXT, before, fin=False) + masked(PING) + masked(CONTINUATION, bad),
        masked(TEXT, before + bad[:1], fin=False) + masked(CONTINUATION, bad[1:]),
        masked(TEXT, before + bad, fin=False) + masked(CONTINUATION),
    ):
        for make in (WsConnection, streamed):
            assert three_ways(data, make).fault == (1007, "a text message is not UTF-8")


@pytest.mark.parametrize("bad, size", NOT_UTF8)
@pytest.mark.parametrize("fragments", [False, True])
def test_text_fails_at_the_first_wrong_byte(bad: bytes, size: int, fragments: bool) -> None:
    """Autobahn 6.4: also inside of a frame, and before it is clear how the message ends."""
    data = masked(TEXT, VALID + bad + b"x" * 300, fin=False)
    begin = 4 + 4 + len(VALID)
    ws = WsConnection(fragments=fragments)
    assert hear(ws, [data[: begin + size - 1]]).fault is None
    assert hear(ws, [data[begin + size - 1 : begin + size]]).code == 1007


def test_binary_may_be_anything() -> None:
    for bad, _ in NOT_UTF8:
        assert three_ways(masked(BINARY, bad)).events == [bad]


@pytest.mark.parametrize("frames", [(11,), (10, 1), (4, 4, 3), (0, 11), (5, 0, 6), (500,), (70000,)])
def test_a_message_over_the_limit_is_1009(frames: Tuple[int, ...]) -> None:
    last = len(frames) - 1
    data = b"".join(
        masked(CONTINUATION if at else BINARY, bytes(size), at == last) for at, size in enumerate(frames))
    heard = three_ways(data, lambda: WsConnection(WsLimits(message=10)))
    assert heard.fault == (1009, "a message has more than 10 bytes")


def test_a_message_as_long_as_the_limit_is_taken() -> None:
    data = masked(BINARY, bytes(10)) + masked(TEXT, b"a" * 6, fin=False) + masked(CONTINUATION, b"b" * 4)
    heard = three_ways(data, lambda: WsConnection(WsLimits(message=10)))
    assert heard.events == [bytes(10), "aaaaaabbbb"]
    assert heard.fault is None


def test_too_many_fragments_are_1009() -> None:
    def make() -> WsConnection:
        return WsConnection(WsLimits(fragments=3))

    three = BEGUN + masked(CONTINUATION, fin=False) + masked(PING) * 5
    assert three_ways((three + masked(CONTINUATION)) * 2, make).events.count("a") == 2
    heard = three_ways(three + masked(CONTINUATION, fin=False) + masked(CONTINUATION), make)
    assert heard.fault == (1009, "a message has more than 3 frames")


def test_rsv1_is_for_the_first_frame_of_a_compressed_message_only() -> None:
    """RFC 7692 6.1; Autobahn 3 with the extension."""
    for data in (
        masked(TEXT, b"\xf2\x48", fin=False, rsv=4) + masked(CONTINUATION, b"\xcd\xc9\xc9\x07\x00", rsv=4),
        masked(PING, b"a", rsv=4),
        masked(CLOSE, rsv=4),
        masked(TEXT, b"a", rsv=2),
        masked(TEXT, b"a", rsv=5),
    ):
        heard = three_ways(data, deflating)
        assert heard.fault == (1002, "a frame has reserved bits set")
