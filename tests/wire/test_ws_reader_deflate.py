"""Compressed messages in frames: RFC 7692 7.2, the bounds of what comes out, and turns of the loop."""

from __future__ import annotations

import random
import zlib
from typing import Callable, List

import pytest

from lwsws.wire.ws_connection import WsConnection, WsLimits
from lwsws.wire.ws_deflate import BUDGET, Deflate, DeflateParams
from lwsws.wire.ws_frames import Close, Fragment, Ping, WsProtocolError
from tests.support.ws_client import BINARY, CLOSE, CONTINUATION, PING, TEXT
from tests.support.ws_events import Heard, hear, masked, three_ways

HELLO = bytes.fromhex("f248cdc9c90700")
TAIL = b"\x00\x00\xff\xff"


def deflating(limit: int = 1 << 20, fragments: bool = False, alone: bool = False) -> WsConnection:
    """A connection for messages of up to `limit` bytes; `alone` is without the client's context takeover."""
    params = DeflateParams(client_no_context_takeover=alone)
    return WsConnection(WsLimits(limit), Deflate(params), fragments)


def streamed() -> WsConnection:
    return deflating(fragments=True)


def compressed(data: bytes, level: int = 6) -> bytes:
    """A whole message without history."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]


def sent(data: bytes, opcode: int = BINARY) -> bytes:
    return masked(opcode, compressed(data), rsv=4)


def one_turn(ws: WsConnection) -> List[object]:
    """What comes until next_event() gives None."""
    events: List[object] = []
    while (event := ws.next_event()) is not None:
        events.append(event)
    return events


@pytest.mark.parametrize("frames", [
    masked(TEXT, HELLO, rsv=4),
    masked(TEXT, HELLO[:3], False, rsv=4) + masked(CONTINUATION, HELLO[3:]),
    masked(TEXT, HELLO, False, rsv=4) + masked(CONTINUATION),
    masked(TEXT, b"", False, rsv=4) + masked(CONTINUATION, HELLO),
    masked(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=4),
    masked(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4),
    masked(TEXT, bytes.fromhex("f348cdc9c907"), False, rsv=4) + masked(CONTINUATION, b"\0\0"),
    masked(TEXT, bytes.fromhex("f2480500"), False, rsv=4)
    + masked(CONTINUATION, bytes.fromhex("0000ffffcac9c90700")),
])
@pytest.mark.parametrize("alone", [False, True])
def test_the_messages_of_rfc_7692_7_2_3(frames: bytes, alone: bool) -> None:
    twice = frames + masked(BINARY, b"plain") + frames
    heard = three_ways(twice, lambda: deflating(alone=alone))
    assert heard.summary() == Heard(["Hello", b"plain", "Hello"], None).summary()
    heard = three_ways(twice, streamed)
    hello = Fragment("Hello", True, True)
    assert heard.summary() == Heard([hello, Fragment(b"plain", True, True), hello], None).summary()


def test_a_message_may_refer_to_earlier_ones() -> None:
    """RFC 7692 7.2.3.2; messages that are not compressed are no part of the window."""
    again = masked(TEXT, bytes.fromhex("f200110000"), rsv=4)
    data = masked(TEXT, HELLO, rsv=4) + masked(TEXT, b"x" * 50) + again
    assert three_ways(data, deflating).events == ["Hello", "x" * 50, "Hello"]


@pytest.mark.parametrize("payload", [b"\0", b""])
@pytest.mark.parametrize("make, empty", [(deflating, ""), (streamed, Fragment("", True, True))])
def test_empty_messages(payload: bytes, make: Callable[[], WsConnection], empty: object) -> None:
    data = masked(TEXT, payload, rsv=4)
    assert three_ways(data + data, make).events == [empty, empty]
    split = masked(TEXT, b"", False, rsv=4) + masked(CONTINUATION, b"", False) + masked(CONTINUATION, payload)
    assert three_ways(split, make).events == [empty]


def test_control_frames_come_between_compressed_fragments() -> None:
    data = masked(TEXT, HELLO[:2], False, rsv=4) + masked(PING, b"1") + masked(CONTINUATION, HELLO[2:])
    assert three_ways(data, deflating).summary() == Heard([Ping(b"1"), "Hello"], None).summary()
    begun = masked(TEXT, HELLO[:2], False, rsv=4) + masked(CLOSE)
    assert three_ways(begun, deflating).summary() == Heard([Close(1005, "")], None).summary()


@pytest.mark.parametrize("make", [deflating, streamed, lambda: deflating(alone=True)])
@pytest.mark.parametrize("size", [1, 125, 1000, 70_000, BUDGET + 7])
def test_what_was_compressed_comes_out(size: int, make: Callable[[], WsConnection]) -> None:
    rand = random.Random(size)
    for data in (rand.randbytes(size), b"a" * size, bytes(rand.choices(b"ab \n", k=size))):
        frame = sent(data)
        cut = len(frame) // 2
        for pieces in ([frame], [frame[:cut], frame[cut:]], [frame[:-1], frame[-1:]]):
            [event] = hear(make(), pieces).events
            assert event in (data, Fragment(data, True, True))


def test_a_message_as_long_as_the_limit_is_taken() -> None:
    data = sent(b"a" * 1000) + sent(random.Random(1).randbytes(1000))
    assert len(three_ways(data, lambda: deflating(1000)).events) == 2


def test_data_that_does_not_compress_may_be_a_little_longer_than_the_limit() -> None:
    noise = random.Random(1).randbytes(100_000)
    frame = masked(BINARY, compressed(noise, level=0), rsv=4)
    assert len(frame) > 100_000 + 14
    assert hear(deflating(100_000), [frame]).events == [noise]


HALF = compressed(b"a" * 600)


@pytest.mark.parametrize("frames", [
    sent(b"a" * 1001),
    sent(b"a" * 1001, TEXT),
    sent(bytes(10_000_000)),
    masked(BINARY, HALF + TAIL, False, rsv=4) + masked(CONTINUATION, HALF),
    masked(BINARY, b"\0" * 1190, rsv=4),
    masked(BINARY, b"", False, rsv=4) + masked(CONTINUATION, b"\0" * 1190),
])
def test_what_comes_out_over_the_limit_is_1009(frames: bytes) -> None:
    """LESSONS 3.31: the bomb is stopped by what came out of it."""
    heard = hear(deflating(1000), [frames])
    assert heard.fault == (1009, "a message has more than 1000 bytes")
    if len(frames) < 5000:
        assert three_ways(frames, lambda: deflating(1000)) == heard


def test_after_a_bomb_nothing_is_pending() -> None:
    ws = deflating(1 << 16)
    ws.receive_data(sent(bytes(50_000_000)))
    with pytest.raises(WsProtocolError):
        one_turn(ws)
    assert (ws.in_message, ws.pending) == (False, False)


@pytest.mark.parametrize("payload", [
    b"\x07", b"\xff" * 5, bytes.fromhex("f200110000"), HELLO[:-1], HELLO[:2],
])
def test_damaged_or_incomplete_data_is_1007(payload: bytes) -> None:
    for make in (deflating, streamed):
        heard = three_ways(masked(PING) + masked(BINARY, payload, rsv=4), make)
        assert heard.events[:1] == [Ping(b"")]
        assert heard.code == 1007


@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc3"])
@pytest.mark.parametrize("make", [deflating, streamed])
def test_compressed_text_that_is_not_utf8_is_1007(bad: bytes, make: Callable[[], WsConnection]) -> None:
    frame = sent(b"fine so far " * 20 + bad, TEXT)
    assert three_ways(frame, make).fault == (1007, "a text message is not UTF-8")


def test_text_that_is_not_utf8_is_so_before_it_is_too_long() -> None:
    frame = sent(b"\xff" + b"a" * 2000, TEXT)
    assert three_ways(frame, lambda: deflating(1000)).code == 1007


def test_a_turn_inflates_no_more_than_its_budget() -> None:
    """LESSONS 3.39."""
    size = 5 * BUDGET // 2
    ws = deflating()
    ws.receive_data(sent(bytes(size)) + masked(PING))
    turns = [(one_turn(ws), ws.pending) for _ in range(4)]
    assert turns == [([], True), ([], True), ([bytes(size), Ping(b"")], False), ([], False)]


def test_compressed_bytes_are_bounded_in_a_turn_too() -> None:
    ws = deflating()
    ws.receive_data(masked(BINARY, b"\x00\x00\x00\xff\xff" * 20_000 + b"\0", rsv=4))
    held: List[int] = []
    while not held or ws.pending:
        events = one_turn(ws)
        held.append(ws.buffered)
    assert events == [b""]
    assert all(before - after <= 16384 + 8192 for before, after in zip(held, held[1:]))


def test_fragments_of_a_turn_come_to_no_more_than_its_budget() -> None:
    ws = streamed()
    ws.receive_data(sent(bytes(5 * BUDGET // 2)))
    sizes: List[int] = []
    while not sizes or ws.pending:
        events = one_turn(ws)
        sizes.append(sum(len(event.data) for event in events if isinstance(event, Fragment)))
    assert sum(sizes) == 5 * BUDGET // 2
    assert max(sizes) <= BUDGET
    assert len(sizes) <= 4
    assert isinstance(events[-1], Fragment) and events[-1].final


def test_many_small_messages_share_the_budget_of_a_turn() -> None:
    message = bytes(BUDGET // 4)
    ws = deflating(alone=True)
    ws.receive_data(sent(message) * 10)
    turns: List[int] = []
    while not turns or ws.pending:
        turns.append(len(one_turn(ws)))
    assert sum(turns) == 10
    assert max(turns) == 4


def test_a_new_turn_has_the_whole_budget() -> None:
    message = bytes(BUDGET // 2)
    ws = deflating(alone=True)
    for _ in range(5):
        ws.receive_data(sent(message))
        assert (one_turn(ws), ws.pending) == ([message], False)


def test_data_may_come_while_there_is_more_to_inflate() -> None:
    message = bytes(BUDGET * 2)
    frame = sent(message)
    ws = deflating(alone=True)
    ws.receive_data(frame[:-10])
    one_turn(ws)
    assert ws.pending
    assert ws.buffered > 0
    ws.receive_data(frame[-10:] + masked(TEXT, b"next"))
    assert hear(ws, [b""]).events == [message, "next"]


def test_empty_final_blocks_do_not_hold_up_the_loop() -> None:
    """Each needs a new inflater, and gives nothing that the limit could count."""
    ws = deflating()
    ws.receive_data(masked(BINARY, b"\x03\x00" * 30_000, rsv=4))
    turns = 0
    while not turns or ws.pending:
        events = one_turn(ws)
        turns += 1
    assert events == [b""]
    assert turns > 100


@pytest.mark.parametrize("bits", [8, 9, 12, 15])
def test_autobahn_13_windows(bits: int) -> None:
    params = DeflateParams(client_max_window_bits=bits)
    compressor = zlib.compressobj(6, zlib.DEFLATED, -max(bits, 9))
    text = "".join(random.Random(bits).choices("abcdefgh \u20ac\n", k=20_000))
    ws = WsConnection(deflate=Deflate(params))
    for _ in range(5):
        data = compressor.compress(text.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
        frame = masked(TEXT, data[: -len(TAIL)], rsv=4)
        assert hear(ws, [frame[at : at + 1000] for at in range(0, len(frame), 1000)]).events == [text]
