"""permessage-deflate: what is negotiated, and the two transforms."""

from __future__ import annotations

import random
import zlib
from typing import List, Optional

import pytest

from lwsws.wire.ws_deflate import (
    BUDGET,
    Deflate,
    DeflateParams,
    DeflateSettings,
    accepted_offer,
    deflate_alone,
)
from lwsws.wire.ws_extensions import parse_extensions
from lwsws.wire.ws_frames import WsProtocolError

TAIL = b"\x00\x00\xff\xff"
ROOM = 1 << 20
HELLO = bytes.fromhex("f248cdc9c90700")


def answer(parameters: str, settings: Optional[DeflateSettings] = None) -> Optional[str]:
    """What is answered to an offer with these parameters."""
    [(_, offer)] = parse_extensions("permessage-deflate" + parameters)
    params = accepted_offer(offer, settings or DeflateSettings())
    return None if params is None else str(params).partition("permessage-deflate")[2]


@pytest.mark.parametrize("offer, expected", [
    ("", ""),
    ("; server_no_context_takeover", "; server_no_context_takeover"),
    ("; client_no_context_takeover", "; client_no_context_takeover"),
    ("; client_no_context_takeover; server_no_context_takeover",
     "; server_no_context_takeover; client_no_context_takeover"),
    # The same or a smaller value (RFC 7692 7.1.2.1).
    ("; server_max_window_bits=15", "; server_max_window_bits=12"),
    ("; server_max_window_bits=12", "; server_max_window_bits=12"),
    ("; server_max_window_bits=9", "; server_max_window_bits=9"),
    ('; server_max_window_bits="10"', "; server_max_window_bits=10"),
    ("; client_max_window_bits", "; client_max_window_bits=12"),
    ("; client_max_window_bits=15", "; client_max_window_bits=12"),
    ("; client_max_window_bits=10", "; client_max_window_bits=10"),
    ("; client_max_window_bits=8", "; client_max_window_bits=8"),
    ("; client_max_window_bits; server_max_window_bits=10; server_no_context_takeover",
     "; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=12"),
])
def test_offers_that_are_accepted(offer: str, expected: str) -> None:
    assert answer(offer) == expected


@pytest.mark.parametrize("offer", [
    "; server_max_window_bits=8",  # zlib cannot
    "; server_max_window_bits",
    *(f"; {side}_max_window_bits={bits}" for side in ("server", "client")
      for bits in ("7", "16", "0", "08", "012", "-9", "1e1", "x", "12345678901234567890")),
    "; server_no_context_takeover=1",
    "; client_no_context_takeover=true",
    "; unknown",
    "; Server_no_context_takeover",
    "; client_max_window_bits; client_max_window_bits",
    "; client_max_window_bits=12; client_max_window_bits=12",
    "; server_no_context_takeover; server_no_context_takeover",
])
def test_offers_that_are_declined(offer: str) -> None:
    assert answer(offer) is None


def test_the_server_may_ask_for_no_takeover_by_itself() -> None:
    settings = DeflateSettings(no_context_takeover=True)
    assert answer("", settings) == "; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize("offer, bits", [("", 12), ("; server_max_window_bits=15", 12),
                                         ("; server_max_window_bits=9", 9)])
def test_our_window_is_not_larger_than_the_client_takes(offer: str, bits: int) -> None:
    [(_, parameters)] = parse_extensions("permessage-deflate" + offer)
    params = accepted_offer(parameters)
    assert params is not None
    assert params.window_bits == bits


def inflate(deflate: Deflate, *pieces: bytes) -> bytes:
    """A message given in `pieces`."""
    data = b""
    for number, piece in enumerate(pieces):
        deflate.feed(piece, number == len(pieces) - 1)
        while deflate.more:
            data += deflate.step(ROOM)
            deflate.budget = BUDGET
    return data


@pytest.mark.parametrize("pieces, said", [
    (["f248cdc9c90700"], b"Hello"),  # 7.2.3.1
    (["f248cd", "c9c90700"], b"Hello"),
    (["000500faff48656c6c6f00"], b"Hello"),  # 7.2.3.3: not compressed
    (["f348cdc9c9070000"], b"Hello"),  # 7.2.3.4: BFINAL
    (["f348cdc9c90700"], b"Hello"),  # the same without the empty block that belongs behind it
    (["f348cdc9c9070000", ""], b"Hello"),
    (["f248050000 00ffffcac9c90700"], b"Hello"),  # 7.2.3.5: two blocks
    (["f348cdc9c90700f348cdc9c9070000"], b"HelloHello"),  # two final blocks
    (["00"], b""),  # 7.2.3.6
    ([""], b""),  # what zlib leaves of an empty message right after a flush
    (["", "", "f248cdc9c90700", ""], b"Hello"),
])
def test_the_examples_of_rfc_7692_7_2_3(pieces: List[str], said: bytes) -> None:
    parts = [bytes.fromhex(piece) for piece in pieces]
    for params in (DeflateParams(), DeflateParams(client_no_context_takeover=True)):
        deflate = Deflate(params)
        assert inflate(deflate, *parts) == said
        single = [part[at : at + 1] for part in parts for at in range(len(part))]
        assert inflate(deflate, *single, b"") == said
        assert inflate(deflate, HELLO) == b"Hello"
        assert deflate.buffered == 0


def test_a_message_may_refer_to_the_one_before() -> None:
    deflate = Deflate(DeflateParams())
    assert inflate(deflate, HELLO) == b"Hello"
    assert inflate(deflate, bytes.fromhex("f200110000")) == b"Hello"  # 7.2.3.2


def test_without_takeover_no_message_may_refer_to_another() -> None:
    deflate = Deflate(DeflateParams(client_no_context_takeover=True))
    assert inflate(deflate, HELLO) == b"Hello"
    with pytest.raises(WsProtocolError) as caught:
        inflate(deflate, bytes.fromhex("f200110000"))
    assert caught.value.code == 1007


def test_empty_messages_do_not_disturb_the_context() -> None:
    deflate = Deflate(DeflateParams())
    assert [inflate(deflate, data) for data in (HELLO, b"", b"\0", bytes.fromhex("f200110000"))] == [
        b"Hello", b"", b"", b"Hello"]


@pytest.mark.parametrize("data", [
    "07",  # a block of the reserved kind
    "ff" * 10,
    "000500ffff48656c6c6f00",  # a stored block whose length and its complement do not fit
    "f200110000",  # refers to what was never sent
])
def test_damaged_data_is_1007(data: str) -> None:
    with pytest.raises(WsProtocolError, match="inflating failed") as caught:
        inflate(Deflate(DeflateParams()), bytes.fromhex(data))
    assert caught.value.code == 1007


@pytest.mark.parametrize("takeover", [True, False])
def test_a_message_cut_short_is_1007(takeover: bool) -> None:
    data = random.Random(1).choices(b"abcdefgh \n", k=600)
    whole = deflate_alone(bytes(data), 12)
    for size in range(1, len(whole)):
        deflate = Deflate(DeflateParams(client_no_context_takeover=not takeover))
        with pytest.raises(WsProtocolError) as caught:
            inflate(deflate, whole[:size])
        assert caught.value.code == 1007


def test_a_step_gives_at_most_what_there_is_room_for() -> None:
    deflate = Deflate(DeflateParams())
    deflate.feed(deflate_alone(b"a" * 1000, 12), True)
    steps = []
    while deflate.more:
        steps.append(len(deflate.step(300)))
    assert steps == [300, 300, 300, 100]


def test_a_filled_step_may_have_more_without_input() -> None:
    """zlib takes all input and still holds a part of what it said last."""
    deflate = Deflate(DeflateParams())
    deflate.feed(deflate_alone(b"a" * 258, 12), True)
    steps = [(deflate.step(257), deflate.more) for _ in range(2)]
    assert steps == [(b"a" * 257, True), (b"a", False)]


def test_what_comes_out_is_taken_from_the_budget() -> None:
    deflate = Deflate(DeflateParams())
    data = deflate_alone(bytes(BUDGET + 1000), 12)
    deflate.feed(data, True)
    assert (len(deflate.step(1 << 30)), deflate.more) == (BUDGET, True)
    assert deflate.budget <= 0
    deflate.budget = BUDGET
    assert (len(deflate.step(1 << 30)), deflate.more) == (1000, False)
    assert BUDGET - 1000 - 16 * (len(data) + len(TAIL)) < deflate.budget < BUDGET - 1000


def test_what_goes_in_is_taken_from_the_budget() -> None:
    """Empty blocks cost time and give nothing."""
    deflate = Deflate(DeflateParams())
    deflate.feed(b"\x00\x00\x00\xff\xff" * 10_000, True)
    used = []
    for _ in range(2):
        before = deflate.buffered
        while deflate.budget > 0:
            assert deflate.step(ROOM) == b""
        used.append(before - deflate.buffered)
        deflate.budget = BUDGET
    assert used == [16384, 16384]


def test_new_inflaters_are_taken_from_the_budget() -> None:
    """Each takes two bytes of input and gives nothing."""
    deflate = Deflate(DeflateParams())
    deflate.feed(b"\x03\x00" * 1000, True)
    steps = 0
    while deflate.budget > 0:
        assert deflate.step(ROOM) == b""
        steps += 1
    assert steps <= 100
    assert deflate.more


@pytest.mark.parametrize("bits, used", [(8, 9), (9, 9), (12, 12), (15, 15), (None, 15)])
def test_the_inflater_has_the_window_that_the_client_may_use(bits: Optional[int], used: int) -> None:
    distance = (1 << used) - 262  # the farthest that zlib refers to
    noise = random.Random(1).randbytes(distance)
    deflate = Deflate(DeflateParams(client_max_window_bits=bits))
    compressor = zlib.compressobj(9, zlib.DEFLATED, -used)
    for _ in range(2):
        data = compressor.compress(noise) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert inflate(deflate, data[:-4]) == noise
    assert len(data) < 100 + distance // 50


def test_a_compressor_goes_on_from_message_to_message() -> None:
    deflate = Deflate(DeflateParams())
    inflater = zlib.decompressobj(-12)
    text = random.Random(1).randbytes(500)
    first, second = deflate.compress(text), deflate.compress(text)
    assert len(second) < 20 < len(first)
    assert [inflater.decompress(data + TAIL) for data in (first, second)] == [text, text]


def test_a_dropped_compressor_begins_anew() -> None:
    deflate = Deflate(DeflateParams())
    inflater = zlib.decompressobj(-12)
    text = random.Random(1).randbytes(500)
    first = deflate.compress(text)
    deflate.drop_compressor()
    second = deflate.compress(text)
    assert second == first
    assert [inflater.decompress(data + TAIL) for data in (first, second)] == [text, text]


def test_without_takeover_each_message_is_compressed_alone() -> None:
    deflate = Deflate(DeflateParams(server_no_context_takeover=True))
    text = b"abc" * 100
    assert deflate.compress(text) == deflate.compress(text) == deflate_alone(text, 12)


@pytest.mark.parametrize("bits", [9, 12])
def test_the_compressor_keeps_to_its_window(bits: int) -> None:
    deflate = Deflate(DeflateParams(window_bits=bits))
    rand = random.Random(1)
    text = b"".join(rand.randbytes(size) * 3 for size in (50, 200, 400, 1000, 3000, 5000))
    inflater = zlib.decompressobj(-bits)
    assert [inflater.decompress(deflate.compress(text) + TAIL) for _ in range(2)] == [text, text]
