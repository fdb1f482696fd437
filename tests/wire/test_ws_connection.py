"""What is sent, and whole conversations with an independent client."""

from __future__ import annotations

import random
import sys
import tracemalloc
from typing import Callable, List, Tuple, Union

import pytest

from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.ws_connection import WsConnection
from lwsws.wire.ws_deflate import Deflate, DeflateParams
from lwsws.wire.ws_frames import Close, Opcode
from lwsws.wire.ws_message import PreparedMessage
from tests.support import ws_client
from tests.support.ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from tests.support.ws_events import hear, masked

TEXTS = ("", "Hello", "Gr\xfcn", "a" * 125, "a" * 126, "\xe9" * 63, "a" * 70_000)
WORDS = "Is it worth it to compress this? " * 20


def deflating(answer: str = "", window_bits: int = 12) -> Tuple[WsConnection, ws_client.Deflate]:
    """Both ends of a connection with permessage-deflate and these parameters."""
    params = DeflateParams(
        "server_no" in answer, "client_no" in answer, window_bits=window_bits,
        server_max_window_bits=window_bits)
    return WsConnection(deflate=Deflate(params)), ws_client.Deflate(str(params))


@pytest.mark.parametrize("text", TEXTS)
def test_messages_are_one_frame(text: str) -> None:
    data = text.encode()
    assert WsConnection().message(text) == frame(TEXT, data)
    assert WsConnection().message(data) == frame(BINARY, data)
    assert WsConnection().message(PreparedMessage(text)) == frame(TEXT, data)
    assert WsConnection().message(PreparedMessage(data)) == frame(BINARY, data)


def test_fragments_are_the_frames_of_one_message() -> None:
    ws = WsConnection()
    made = [ws.fragment("Hel", False), ws.ping(b"?"), ws.fragment("", False), ws.fragment("lo", True)]
    assert made == [
        frame(TEXT, b"Hel", False), frame(PING, b"?"), frame(CONTINUATION, b"", False),
        frame(CONTINUATION, b"lo")]
    assert ws.fragment(b"whole", True) == frame(BINARY, b"whole")
    assert ws.message("next") == frame(TEXT, b"next")


def test_a_message_may_not_stand_inside_another() -> None:
    ws = WsConnection()
    ws.fragment("a", False)
    for message in ("b", b"b", PreparedMessage("b")):
        with pytest.raises(LocalProtocolError, match="inside another"):
            ws.message(message)
    assert ws.fragment("c", True) == frame(CONTINUATION, b"c")


@pytest.mark.parametrize("first, second", [("a", b"b"), (b"a", "b")])
def test_the_fragments_of_a_message_are_of_one_type(
    first: Union[str, bytes], second: Union[str, bytes]
) -> None:
    ws = WsConnection()
    ws.fragment(first, False)
    with pytest.raises(LocalProtocolError, match="either all text or all binary"):
        ws.fragment(second, False)
    assert ws.fragment(first, True)[0] == 0x80


def test_text_that_is_no_unicode_is_refused() -> None:
    ws = WsConnection()
    for send in (ws.message, lambda text: ws.fragment(text, True)):
        with pytest.raises(LocalProtocolError, match="text"):
            send("\udcff")
    assert ws.message("fine") == frame(TEXT, b"fine")


def test_pings_and_pongs() -> None:
    ws = WsConnection()
    assert ws.ping() == frame(PING)
    assert ws.ping(b"a" * 125) == frame(PING, b"a" * 125)
    assert ws.pong(b"a") == frame(PONG, b"a")
    with pytest.raises(LocalProtocolError, match="126 bytes"):
        ws.ping(bytes(126))


def test_a_close_frame_is_sent_once() -> None:
    ws = WsConnection()
    assert not ws.close_sent
    made = [ws.close(1001, "bye"), ws.close(1000), ws.close(1006)]
    assert made == [frame(CLOSE, b"\x03\xe9bye"), b"", b""]
    assert ws.close_sent


def test_a_close_is_1000_unless_said_otherwise() -> None:
    assert WsConnection().close() == frame(CLOSE, b"\x03\xe8")
    assert WsConnection().close(1005) == frame(CLOSE)


def test_a_close_that_cannot_be_sent_was_not() -> None:
    ws = WsConnection()
    for code in (1006, 1015, 999, 1004):
        with pytest.raises(LocalProtocolError):
            ws.close(code)
    assert ws.close_sent is False
    assert ws.close(1000) == frame(CLOSE, b"\x03\xe8")


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1010, 1014, 3000, 4999])
def test_each_close_that_is_received_can_be_answered_with_its_code(code: int) -> None:
    payload = b"" if code == 1005 else code.to_bytes(2, "big")
    ws = WsConnection()
    [close] = hear(ws, [masked(CLOSE, payload)]).events
    assert isinstance(close, Close)
    assert ws.close(close.code) == frame(CLOSE, payload)


def test_nothing_is_sent_after_a_close() -> None:
    ws = WsConnection()
    ws.close()
    assert ws.pong(b"answer") == b""
    sends: List[Callable[[], bytes]] = [
        lambda: ws.message("a"), lambda: ws.message(PreparedMessage("a")),
        lambda: ws.fragment("a", True), ws.ping,
    ]
    for send in sends:
        with pytest.raises(LocalProtocolError, match="after a close"):
            send()


def test_what_comes_after_our_close_is_still_read() -> None:
    ws = WsConnection()
    ws.close()
    assert hear(ws, [masked(TEXT, b"late") + masked(CLOSE)]).events == ["late", Close(1005, "")]


@pytest.mark.parametrize("size, compressed", [
    (127, False), (128, True), (1 << 20, True), ((1 << 20) + 1, False),
])
def test_what_is_worth_it_is_compressed(size: int, compressed: bool) -> None:
    ws, _ = deflating()
    for message in (b"a" * size, PreparedMessage(b"a" * size)):
        assert bool(ws.message(message)[0] & 0x40) is compressed


@pytest.mark.parametrize("answer", ["", "server_no", "client_no", "server_no client_no"])
@pytest.mark.parametrize("bits", [9, 12])
def test_an_independent_client_reads_what_was_compressed(answer: str, bits: int) -> None:
    ws, client = deflating(answer, bits)
    rand = random.Random(bits)
    messages: List[Union[str, bytes]] = [
        WORDS, WORDS, "short", rand.randbytes(300), "x" * 5000, WORDS, rand.randbytes(300) * 3,
    ]
    assert [received(ws.message(message), client) for message in messages] == [
        message.encode() if isinstance(message, str) else message for message in messages]


@pytest.mark.parametrize("answer", ["", "server_no"])
def test_prepared_messages_may_come_between_others(answer: str) -> None:
    """They are in the client's window, but not in that of our compressor."""
    ws, client = deflating(answer)
    noise = random.Random(1).randbytes(500)
    prepared, other = PreparedMessage(noise + WORDS.encode()), PreparedMessage("short")
    for message in (WORDS, prepared, WORDS, prepared, other, prepared, WORDS, other, WORDS, noise, WORDS):
        said = received(ws.message(message), client)
        assert len(said) > 3 or message is other
        plain = message.plain if isinstance(message, PreparedMessage) else WsConnection().message(message)
        assert frame(plain[0] & 15, said) == plain


def test_plain_prepared_messages_leave_the_compressor_alone() -> None:
    ws, _ = deflating()
    first = ws.message(WORDS)
    ws.message(PreparedMessage("short"))
    assert len(ws.message(WORDS)) < len(first) // 3


def test_a_rested_connection_goes_on() -> None:
    ws, client = deflating()
    made = [ws.message(WORDS)]
    ws.rest()
    made += [ws.message(WORDS), ws.message(WORDS)]
    WsConnection().rest()
    assert made[0] == made[1]
    assert [received(one, client) for one in made] == [WORDS.encode()] * 3


def test_fragments_are_never_compressed() -> None:
    ws, client = deflating()
    assert received(ws.message(WORDS), client) == WORDS.encode()
    assert ws.fragment(WORDS, True) == frame(TEXT, WORDS.encode())
    assert received(ws.message(WORDS), client) == WORDS.encode()


def received(data: bytes, client: ws_client.Deflate) -> bytes:
    """What the client makes of the one frame in `data`."""
    size = data[1]
    head = 2 if size < 126 else 4 if size == 126 else 10
    assert data == frame(data[0] & 15, data[head:], rsv=data[0] >> 4 & 7)
    return client.decompress(data[head:]) if data[0] & 0x40 else data[head:]


@pytest.mark.parametrize("answer", ["", "server_no", "client_no"])
def test_what_a_client_compressed_is_echoed_to_it(answer: str) -> None:
    ws, client = deflating(answer)
    rand = random.Random(answer)
    for _ in range(30):
        text = "".join(rand.choices("abc \xe9\u20ac", k=rand.choice((1, 10, 200, 3000))))
        pieces = masked(TEXT, client.compress(text.encode()), rsv=4)
        [event] = hear(ws, [pieces[:7], pieces[7:]]).events
        assert event == text
        assert received(ws.message(text), client) == text.encode()


def test_an_idle_connection_is_small() -> None:
    limit = 400
    kept: List[WsConnection] = []
    WsConnection()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            ws = WsConnection()
            hear(ws, [masked(TEXT, b"a" * 500), masked(PING, b"a"), masked(BINARY, bytes(70_000), False),
                      masked(CONTINUATION)])
            ws.message("b" * 500)
            kept.append(ws)
        del ws
        each = (tracemalloc.get_traced_memory()[0] - before - sys.getsizeof(kept)) / len(kept)
    finally:
        tracemalloc.stop()
    assert each < limit


def test_opcodes_are_those_of_the_rfc() -> None:
    assert [int(opcode) for opcode in Opcode] == list(ws_client.OPCODES)
