"""lws-echo: what comes goes back."""

from __future__ import annotations

from lwsws.builtin.echo import Echo
from lwsws.net.transport import HIGH
from lwsws.roles.raw import RawRole
from lwsws.wire.ws_connection import WsLimits
from tests.net.support import tcp_pair
from tests.support.raw import RawBench
from tests.support.ws import WsBench
from tests.support.ws_client import CONTINUATION, TEXT, Frame


def test_text_comes_back_as_text_and_binary_as_binary(ws_bench: WsBench) -> None:
    client = ws_bench.open(ws_bench.begin(Echo()))
    client.send_text("grüße")
    client.send_binary(bytes(range(256)))
    client.send_text("")
    client.send_binary(b"")
    assert client.messages() == ["grüße", bytes(range(256)), "", b""]


def test_a_message_in_pieces_comes_back_in_one(ws_bench: WsBench) -> None:
    client = ws_bench.open(ws_bench.begin(Echo()))
    client.send_frame(TEXT, b"one ", fin=False)
    assert client.frames() == []
    client.send_frame(CONTINUATION, b"message")
    assert client.frames() == [Frame(TEXT, b"one message", True, 0)]


def test_nothing_more_is_taken_from_a_client_that_does_not_read(ws_bench: WsBench) -> None:
    client = ws_bench.open(ws_bench.begin(Echo()), limits=WsLimits(HIGH))
    message = bytes(HIGH)
    sent = 0
    while client.peer.send_some(b"") == 0 and sent < 40 and not client.session.is_high:
        client.send_binary(message)
        sent += 1
    assert 1 < sent < 40
    assert HIGH < client.session.queued <= 2 * HIGH + 100
    assert client.messages() == [message] * sent


def test_raw_bytes_come_back_as_they_came(bench: RawBench) -> None:
    client = bench.connect(RawRole(Echo()), tcp_pair)
    for data in (b"hello\r\n", bytes(range(256))):
        client.send(data)
        bench.until(client.receive)
        assert client.data == data
        client.data.clear()
    client.send(b"bye")
    client.half_close()
    bench.until(lambda: client.over)
    assert client.data == b"bye"
