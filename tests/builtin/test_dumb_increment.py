"""dumb-increment-protocol: a counter for each client."""

from __future__ import annotations

from lwsws.builtin.dumb_increment import DumbIncrement
from tests.support.ws import WsBench, WsPeer

TICK = 0.05
BIG = "x" * 3_000_000


def counting(bench: WsBench) -> WsPeer:
    """The only client of a counter of its own."""
    return bench.open(bench.begin(DumbIncrement()))


def test_each_client_counts_from_0_with_every_tick(ws_bench: WsBench) -> None:
    protocol = ws_bench.begin(DumbIncrement())
    first = ws_bench.open(protocol)
    assert first.messages() == []
    for number in range(3):
        ws_bench.advance(TICK)
        assert first.messages() == [str(number)]
    ws_bench.advance(TICK / 2)
    second = ws_bench.open(protocol)
    for number in range(2):
        ws_bench.advance(TICK / 2)
        assert first.messages() == [str(3 + number)] and second.messages() == [str(number)]
        ws_bench.advance(TICK / 2)
        assert first.messages() == second.messages() == []


def test_reset_begins_at_0_again_for_who_said_it(ws_bench: WsBench) -> None:
    protocol = ws_bench.begin(DumbIncrement())
    clients = [ws_bench.open(protocol) for _ in range(3)]
    for _ in range(2):
        ws_bench.advance(TICK)
    assert [client.messages() for client in clients] == [["0", "1"]] * 3
    clients[0].send_text("reset\n")
    clients[1].send_binary(b"reset\n")
    clients[2].send_text("reset")
    ws_bench.advance(TICK)
    assert [client.messages() for client in clients] == [["0"], ["0"], ["2"]]


def test_closeme_closes_and_nothing_comes_after(ws_bench: WsBench) -> None:
    client = counting(ws_bench)
    ws_bench.advance(TICK)
    assert client.messages() == ["0"]
    client.send_text("closeme\n")
    ws_bench.advance(TICK)
    ws_bench.advance(TICK)
    assert client.closed_with() == (1001, "seeya")
    client.send_close(1001)
    assert client.peer.over and client.frames() == []


def test_who_does_not_read_is_owed_one_number(ws_bench: WsBench) -> None:
    client = counting(ws_bench)
    client.session.send(BIG)
    for _ in range(10):
        ws_bench.advance(TICK)
    assert client.messages() == [BIG, "0"]
    ws_bench.advance(TICK)
    assert client.messages() == ["1"]


def test_nothing_ticks_without_clients(ws_bench: WsBench) -> None:
    protocol = ws_bench.begin(DumbIncrement())
    for _ in range(2):
        client = ws_bench.open(protocol)
        ws_bench.advance(TICK)
        assert client.messages() == ["0"]
        client.send_close()
        client.peer.close()
        ws_bench.settle()
        ws_bench.advance(60)
        assert ws_bench.reactor.timers.next_at() is None
