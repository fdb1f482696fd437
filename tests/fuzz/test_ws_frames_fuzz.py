"""Seeded random and damaged frames against the WebSocket reader, without sockets.

Whatever the bytes are, the reader

* raises WsProtocolError with one of three codes, or nothing, and after that says and reads nothing more;
* gives the same events for the whole, for random pieces, and byte by byte, also where messages are given out
  piece by piece;
* gives out what was put into well-formed frames, and nothing longer than its limit.
"""

from __future__ import annotations

import random
import zlib
from typing import Callable, List, Tuple

import pytest

from lwsws.wire.ws_connection import WsConnection, WsLimits
from lwsws.wire.ws_deflate import Deflate, DeflateParams
from lwsws.wire.ws_frames import Close, Event, Fragment, Ping, Pong
from tests.support.fuzzing import BATCHES, CASES, perhaps_damaged, seeds, told
from tests.support.wire_cases import byte_by_byte
from tests.support.ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.support.ws_events import Heard, hear, masked

TAIL = b"\x00\x00\xff\xff"
TEXTS = (
    *("", "a", "Hello", "Gr\xfc\xdfe \u20ac", "\U0001f600" * 30),
    *("x" * 125, "x" * 126, "ab" * 100, "z" * 1100),
)
CODES = (1000, 1001, 1010, 3000, 4999)
LIMIT = 600
# What damage puts in.
BITS = (
    *(b"\0", b"\xff", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\x03\x00", TAIL),
    *(b"\x81\x00", b"\x88\x81", b"\xfe\x00", masked(PING), masked(CONTINUATION), masked(CLOSE)),
    *(masked(TEXT, b"a", fin=False), masked(TEXT, b"\xff")),
    *(masked(TEXT, b"\0", rsv=4), masked(BINARY, b"\xf2\x48", fin=False, rsv=4), b"\xff\x00\x00\x00\x00"),
)


class Sender:
    """A client that sends random messages."""

    def __init__(self, rand: random.Random, deflating: bool) -> None:
        self.rand = rand
        self.compressor = zlib.compressobj(rand.choice((0, 1, 6)), zlib.DEFLATED, -12) if deflating else None
        self.expected: List[Event] = []

    def message(self) -> bytes:
        """The frames of one message, with control frames between them."""
        text = self.rand.choice(TEXTS)
        opcode = self.rand.choice((TEXT, BINARY))
        data, rsv = text.encode(), 0
        if self.compressor is not None and self.rand.random() < 0.7:
            data, rsv = self.compressed(data), 4
        frames = b""
        pieces = self.pieces(data)
        for number, piece in enumerate(pieces):
            frames += self.control()
            key = self.rand.randbytes(4)
            is_last = number == len(pieces) - 1
            frames += masked(CONTINUATION if number else opcode, piece, is_last, 0 if number else rsv, key)
        self.expected.append(text if opcode == TEXT else text.encode())
        return frames

    def compressed(self, data: bytes) -> bytes:
        """`data` as a compressed payload, in one block or in several."""
        assert self.compressor is not None
        compress = self.compressor.compress
        cut = self.rand.randrange(len(data) + 1)
        made = compress(data[:cut])
        if self.rand.random() < 0.3:
            made += self.compressor.flush(zlib.Z_SYNC_FLUSH)
        made += compress(data[cut:]) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        return made[: -len(TAIL)]

    def pieces(self, data: bytes) -> List[bytes]:
        """`data` cut at a few places, or not at all."""
        cuts = sorted(self.rand.randrange(len(data) + 1) for _ in range(self.rand.choice((0, 0, 1, 4))))
        return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]

    def control(self) -> bytes:
        """Often nothing, or a ping or pong."""
        if self.rand.random() < 0.7:
            return b""
        data = self.rand.choice((b"", b"ping", bytes(125)))
        opcode = self.rand.choice((PING, PONG))
        self.expected.append(Ping(data) if opcode == PING else Pong(data))
        return masked(opcode, data)

    def close(self) -> bytes:
        """A close frame."""
        code, reason = self.rand.choice(CODES), self.rand.choice(("", "bye", "\xfc" * 60))
        self.expected.append(Close(code, reason))
        return masked(CLOSE, code.to_bytes(2, "big") + reason.encode())


def random_input(rand: random.Random, deflating: bool) -> Tuple[bytes, List[Event]]:
    """A few messages, perhaps with a close behind them, and what should come of them."""
    sender = Sender(rand, deflating)
    data = b"".join(sender.message() for _ in range(rand.choice((1, 1, 2, 4))))
    if rand.random() < 0.3:
        data += sender.close()
    return data, sender.expected


def makers(rand: random.Random, deflating: bool, limit: int) -> List[Callable[[], WsConnection]]:
    """Connections for whole messages, and for those that come piece by piece."""
    params = DeflateParams(client_max_window_bits=rand.choice((12, 15)))

    def make(fragments: bool) -> WsConnection:
        return WsConnection(WsLimits(limit, 10), Deflate(params) if deflating else None, fragments)

    return [lambda: make(False), lambda: make(True)]


def check_events(seen: Heard, limit: int, is_whole: bool) -> None:
    """What everybody above relies on."""
    assert seen.code in (None, 1002, 1007, 1009)
    for number, event in enumerate(seen.events):
        if isinstance(event, Close):
            assert number == len(seen.events) - 1
            assert seen.fault is None
            assert event.code == 1005 or 1000 <= event.code <= 4999
        elif isinstance(event, (Ping, Pong)):
            assert len(event.data) <= 125
        elif isinstance(event, Fragment):
            assert not is_whole
        else:
            assert is_whole
            assert len(event.encode() if isinstance(event, str) else event) <= limit


def check_stopped(ws: WsConnection) -> None:
    """LESSONS 3.6: nothing more, and nothing kept."""
    assert hear(ws, [masked(TEXT, b"late"), masked(CLOSE)]) == Heard([], None)
    assert (ws.buffered, ws.in_message, ws.pending) == (0, False, False)


def outcome(seen: Heard, deflating: bool) -> object:
    """What must not depend on the pieces; what is wrong with compressed data may be told differently."""
    events, fault = seen.summary()
    return (events, seen.code) if deflating else (events, fault)


def check_case(
    rand: random.Random, data: bytes, *, deflating: bool, single_bytes: bool
) -> Tuple[Heard, Heard]:
    """Read `data` in several ways, compare them, and check what came of it in each mode."""
    limit = LIMIT if rand.random() < 0.3 else 1 << 20
    all_seen: List[Heard] = []
    for make in makers(rand, deflating, limit):
        ws = make()
        seen = hear(ws, [data])
        check_events(seen, limit, is_whole=not all_seen)
        if seen.fault is not None or ws.close_received:
            check_stopped(ws)
        cuts = sorted(rand.randrange(len(data) + 1) for _ in range(rand.randrange(1, 6)))
        pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]
        for way in (pieces, byte_by_byte(data))[: 1 + single_bytes]:
            assert outcome(hear(make(), way), deflating) == outcome(seen, deflating), way
        all_seen.append(seen)
    whole, streamed = all_seen
    return whole, streamed


def as_whole(events: List[Event]) -> List[str]:
    """Events as text for comparing, joined fragments like the message that they are."""
    return [repr(event.data) if isinstance(event, Fragment) else repr(event) for event in events]


# A case of byte by byte costs as much as ten others.
CASES_BETWEEN_SINGLE_BYTES = 5


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_frames(batch: int) -> None:
    outcomes = {"sound": 0, 1002: 0, 1007: 0, 1009: 0}
    for number, seed in enumerate(seeds(batch)):
        rand = random.Random(seed)
        deflating, single_bytes = number % 2 == 0, number % CASES_BETWEEN_SINGLE_BYTES == 0
        sound, expected = random_input(rand, deflating)
        data = perhaps_damaged(rand, sound, BITS)
        with told(f"seed {seed}: {data!r}"):
            whole, streamed = check_case(rand, data, deflating=deflating, single_bytes=single_bytes)
            if data == sound:
                assert as_whole(streamed.events) == as_whole(expected)
                assert whole.code in (None, 1009)
                if whole.fault is None:
                    assert as_whole(whole.events) == as_whole(expected)
        outcomes["sound" if whole.code is None else whole.code] += 1
    # The generator must go on meeting all outcomes.
    assert min(outcomes.values()) >= CASES // BATCHES // 100, outcomes
