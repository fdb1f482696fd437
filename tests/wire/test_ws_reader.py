"""What comes of well-formed frames: messages, fragments, pings, pongs and closes."""

from __future__ import annotations

import random
from typing import Callable, List

import pytest

from lwsws.wire.ws_connection import WsConnection, WsLimits
from lwsws.wire.ws_frames import STRIDED, Close, Event, Fragment, Ping, Pong
from lwsws.wire.ws_reader import FRAMES_PER_TURN
from tests.support.effort import LINEAR, growth
from tests.support.wire_cases import byte_by_byte
from tests.support.ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.support.ws_events import Heard, hear, masked, three_ways

UMLAUTS = "Gr\xfc\xdfe \u20ac \U0001f600"


def streamed() -> WsConnection:
    return WsConnection(fragments=True)


def said(*events: Event) -> object:
    return Heard(list(events), None).summary()


def test_the_masked_frames_of_rfc_6455_5_7() -> None:
    data = bytes.fromhex("818537fa213d7f9f4d5158") + bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert three_ways(data).summary() == said("Hello", Pong(b"Hello"))


@pytest.mark.parametrize("size", [0, 1, 2, 124, 125, 126, 127, STRIDED - 1, STRIDED, 65535, 65536, 70001])
def test_messages_of_all_sizes(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = ("\xe9" * size)[: size // 2] + "x" * (size % 2)
    assert hear(WsConnection(), [masked(BINARY, data) + masked(TEXT, text.encode())]).events == [data, text]
    frame = masked(BINARY, data)
    for cut in (1, 2, 5, 6, 7, 9, 13, 14, 15, len(frame) // 2, len(frame) - 1):
        assert hear(WsConnection(), [frame[:cut], frame[cut:]]).events == [data]
        assert hear(streamed(), [frame[:cut], frame[cut:]]).events == [Fragment(data, True, True)]


@pytest.mark.parametrize("text", ["", "a", UMLAUTS, "\0", "\ufeff", "\uffff", "\U0010ffff", "\ufffe"])
@pytest.mark.parametrize("make", [WsConnection, streamed])
def test_text_is_a_str(text: str, make: Callable[[], WsConnection]) -> None:
    heard = three_ways(masked(TEXT, text.encode()), make)
    assert heard.summary() == said(text if make is WsConnection else Fragment(text, True, True))


def test_binary_is_bytes() -> None:
    heard = three_ways(masked(BINARY, b"\xff\xfe") + masked(BINARY, b""))
    assert heard.summary() == said(b"\xff\xfe", b"")


def fragmented(opcode: int, *pieces: bytes) -> List[bytes]:
    """The frames of a message in these pieces."""
    last = len(pieces) - 1
    return [masked(CONTINUATION if at else opcode, piece, at == last) for at, piece in enumerate(pieces)]


@pytest.mark.parametrize("pieces", [
    (b"Hel", b"lo"), (b"", b"Hello"), (b"Hello", b""), (b"", b"", b""), (b"a" * 200, b"b" * STRIDED, b"c"),
    (b"H", b"", b"e", b"llo"),
])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_in_fragments_is_one_message(opcode: int, pieces: List[bytes]) -> None:
    data = b"".join(fragmented(opcode, *pieces))
    whole = b"".join(pieces)
    message = whole.decode() if opcode == TEXT else whole
    assert three_ways(data + masked(TEXT, b"next")).summary() == said(message, "next")
    heard = three_ways(data + masked(TEXT, b"next"), streamed)
    assert heard.summary() == said(Fragment(message, True, True), Fragment("next", True, True))


def test_control_frames_come_between_fragments() -> None:
    first, second, third = fragmented(TEXT, b"a", b"b", b"c")
    data = first + masked(PING, b"1") + second + masked(PONG) + masked(PING) + third
    assert three_ways(data).summary() == said(Ping(b"1"), Pong(b""), Ping(b""), "abc")


def test_characters_may_be_cut_anywhere() -> None:
    data = b"".join(fragmented(TEXT, *byte_by_byte(UMLAUTS.encode()), b""))
    assert three_ways(data).events == [UMLAUTS]
    assert three_ways(data, streamed).events == [Fragment(UMLAUTS, True, True)]


def test_fragments_are_given_out_as_they_come() -> None:
    ws = streamed()
    frame = masked(TEXT, "a\u20acb".encode(), fin=False) + masked(CONTINUATION)
    seen = []
    for byte in byte_by_byte(frame):
        ws.receive_data(byte)
        seen += [event for event in [ws.next_event()] if event is not None]
    assert seen == [
        Fragment("a", True, False), Fragment("\u20ac", False, False), Fragment("b", False, False),
        Fragment("", False, True)]


def test_fragments_need_no_memory() -> None:
    ws = WsConnection(WsLimits(message=10, fragments=2), fragments=True)
    piece = masked(CONTINUATION, bytes(1000), fin=False)
    ws.receive_data(masked(BINARY, b"x" * 1000, fin=False) + piece * 5)
    assert len([ws.next_event() for _ in range(6)]) == 6
    assert ws.in_message
    assert ws.buffered == 0


@pytest.mark.parametrize("payload, close", [
    (b"", Close(1005, "")),
    (b"\x03\xe8", Close(1000, "")),
    (b"\x03\xe9Gr\xc3\xbcn", Close(1001, "Gr\xfcn")),
    (b"\x0b\xb8" + b"x" * 123, Close(3000, "x" * 123)),
    (b"\x13\x87", Close(4999, "")),
])
def test_closes(payload: bytes, close: Close) -> None:
    assert three_ways(masked(TEXT, b"a") + masked(CLOSE, payload)).summary() == said("a", close)


def test_nothing_follows_a_close() -> None:
    ws = WsConnection()
    heard = hear(ws, [masked(CLOSE) + masked(TEXT, b"late"), masked(TEXT, b"later"), b"\xff\xff"])
    assert heard.summary() == said(Close(1005, ""))
    assert ws.close_received
    assert ws.buffered == 0
    assert ws.next_event() is None


def test_a_close_ends_a_message_that_is_not_complete() -> None:
    ws = WsConnection()
    assert hear(ws, [masked(TEXT, b"a", fin=False) + masked(CLOSE)]).events == [Close(1005, "")]
    assert not ws.in_message


def test_controls_with_125_bytes() -> None:
    data = bytes(range(125))
    heard = three_ways(masked(PING, data) + masked(PONG, data))
    assert heard.summary() == said(Ping(data), Pong(data))


def test_the_key_of_each_frame_is_its_own() -> None:
    keys = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\4\x80")
    data = b"".join(masked(TEXT, b"Hello, you", key=key) for key in keys)
    assert three_ways(data).events == ["Hello, you"] * 3


def test_in_message_says_whether_one_has_begun() -> None:
    ws = WsConnection()
    states = []
    for piece in (b"", masked(TEXT, b"", fin=False), masked(PING), masked(CONTINUATION, b"a")[:-1]):
        hear(ws, [piece])
        states.append(ws.in_message)
    hear(ws, [masked(CONTINUATION, b"a")[-1:]])
    assert [*states, ws.in_message] == [False, True, True, True, False]


def test_buffered_counts_what_is_not_read() -> None:
    ws = WsConnection()
    ws.receive_data(masked(TEXT, b"one") * 2)
    counts = [ws.buffered]
    for _ in range(2):
        ws.next_event()
        counts.append(ws.buffered)
    assert counts == [18, 9, 0]
    ws.receive_data(masked(PING, bytes(125))[:-1])
    assert ws.next_event() is None
    assert ws.buffered == 130
    assert hear(WsConnection(), [masked(BINARY, bytes(500))[:-1]]).events == []


def test_a_partial_payload_is_not_held_as_input() -> None:
    ws = WsConnection()
    assert hear(ws, [masked(BINARY, bytes(50000))[:-1]]).events == []
    assert ws.buffered == 0
    assert hear(ws, [masked(BINARY, bytes(50000))[-1:]]).events == [bytes(50000)]


def test_data_may_come_before_the_events_are_taken() -> None:
    ws = WsConnection()
    for byte in byte_by_byte(masked(TEXT, b"one") + masked(TEXT, b"two") + masked(PING)):
        ws.receive_data(byte)
    assert hear(ws, [b""]).events == ["one", "two", Ping(b"")]


@pytest.mark.parametrize("make", [WsConnection, streamed])
@pytest.mark.parametrize("control", [b"", masked(PING)])
def test_frames_without_an_event_are_bounded_in_a_turn(
    make: Callable[[], WsConnection], control: bytes
) -> None:
    """LESSONS 3.39: 64 KiB hold 10,000 empty fragments."""
    ws = make()
    ws.receive_data(masked(BINARY, b"", False) + (masked(CONTINUATION, b"", False) * 100 + control) * 50)
    left: List[int] = []
    while not left or ws.pending:
        while ws.next_event() is not None:
            pass
        left.append(ws.buffered)
    assert left[-1] == 0
    assert len(left) == 1 + 5001 // FRAMES_PER_TURN


# Frames that take the short way, and such that do not but look like it.
SHORT_WAY = (
    masked(TEXT, b""),
    masked(BINARY, b""),
    masked(TEXT, UMLAUTS.encode()),
    masked(BINARY, bytes(125)),
    masked(TEXT, b"a" * 126),
    masked(BINARY, bytes(65535)),
    masked(BINARY, bytes(65536)),
    masked(TEXT, b"\xff"),
    masked(TEXT, b"\xff" * 126),
    masked(TEXT, b"a", rsv=1),
    masked(TEXT, b"a", rsv=4),
    masked(TEXT, b"a", fin=False) + masked(TEXT, b"b"),
    masked(PING, b"a"),
    masked(CONTINUATION, b"a"),
    masked(CLOSE, b"a"),
    bytes.fromhex("810161"),
    bytes.fromhex("827e0080") + bytes(132),
    bytes.fromhex("827f0000000000010000") + bytes(65536),
    bytes.fromhex("81fe000100000000"),
    bytes.fromhex("81fe007d00000000") + bytes(125),
    bytes.fromhex("83810000000000"),
)


@pytest.mark.parametrize("data", SHORT_WAY)
@pytest.mark.parametrize("limit", [0, 1, 124, 125, 126, 65534, 65535, 1 << 20])
def test_the_short_way_gives_what_the_long_way_gives(data: bytes, limit: int) -> None:
    """Only the long way knows what to do with a frame that comes in two pieces."""
    pair = masked(TEXT, b"") + data + masked(BINARY, b"")
    # Byte by byte, or cut in the payload.
    pieces = byte_by_byte(pair) if len(pair) < 1000 else [pair[:25], pair[25:]]
    expected = hear(WsConnection(WsLimits(limit)), pieces).summary()
    assert hear(WsConnection(WsLimits(limit)), [pair]).summary() == expected
    assert hear(WsConnection(WsLimits(limit)), [pair[:-1], pair[-1:]]).summary() == expected


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize("make", [WsConnection, streamed])
def test_large_messages_take_linear_time(piece: int, make: Callable[[], WsConnection]) -> None:
    """LESSONS 3.10."""
    def read(size: int) -> None:
        for opcode in (TEXT, BINARY):
            frame = masked(opcode, b"a" * size)
            pieces = [frame[at : at + piece] for at in range(0, len(frame), piece)]
            ws = make()
            for one in pieces:
                ws.receive_data(one)
                while ws.next_event() is not None:
                    pass

    assert growth(read, 2000 if piece == 1 else 100_000) < LINEAR


def test_many_frames_at_once_take_linear_time() -> None:
    def read(count: int) -> None:
        heard = hear(WsConnection(), [masked(TEXT, b"a") * count + masked(PING) * count])
        assert len(heard.events) == 2 * count

    assert growth(read, 500) < LINEAR


def test_autobahn_9_large_messages_and_many_fragments() -> None:
    """9.1.6, 9.2.6: 16 MiB in one frame; 9.3.1: 4 MiB in 65536 fragments."""
    wide = WsLimits(message=16 << 20)
    large = masked(TEXT, b"*" * (16 << 20))
    pieces = [large[at : at + 65536] for at in range(0, len(large), 65536)]
    [event] = hear(WsConnection(wide), pieces).events
    assert event == "*" * (16 << 20)
    begin, middle, end = fragmented(BINARY, b"*" * 64, b"*" * 64, b"*" * 64)
    [event] = hear(WsConnection(wide), [begin + middle * 65534 + end]).events
    assert event == b"*" * (4 << 20)
