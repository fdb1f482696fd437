"""lws-mirror-protocol: what one says, all of its world hear."""

from __future__ import annotations

from typing import List

import pytest

from lwsws.builtin import mirror
from lwsws.builtin.mirror import Mirror
from lwsws.core.protocol import Protocol
from lwsws.net.transport import HIGH
from tests.support.ws import WsBench, WsPeer
from tests.support.ws_client import CONTINUATION, TEXT

BLOCK = bytes(60_000)


@pytest.fixture
def protocol(ws_bench: WsBench) -> Protocol:
    """The mirror of a vhost."""
    return ws_bench.begin(Mirror())


def enter(bench: WsBench, protocol: Protocol, *names: str) -> List[WsPeer]:
    """Clients of these worlds."""
    return [bench.open(protocol, f"/?mirror={name}" if name else "/") for name in names]


def leave(client: WsPeer) -> None:
    """Close it from its side."""
    client.send_close()
    client.peer.close()
    client.bench.settle()


def test_a_message_goes_to_all_of_the_same_world(ws_bench: WsBench, protocol: Protocol) -> None:
    clients = enter(ws_bench, protocol, "", "", "a%20b", "a+b", "A+b")
    clients[0].send_text("c #ff0000 1 2 3 4;")
    clients[2].send_text("grüße")
    assert [client.messages() for client in clients] == [
        ["c #ff0000 1 2 3 4;"], ["c #ff0000 1 2 3 4;"], ["grüße"], ["grüße"], []]


def test_binary_stays_binary_and_pieces_become_one_message(ws_bench: WsBench, protocol: Protocol) -> None:
    one, two = enter(ws_bench, protocol, "", "")
    one.send_binary(bytes(range(256)))
    one.send_frame(TEXT, b"a", fin=False)
    two.send_text("between")
    one.send_frame(CONTINUATION, b"b")
    assert one.messages() == two.messages() == [bytes(range(256)), "between", "ab"]


def test_a_world_remembers_nothing(ws_bench: WsBench, protocol: Protocol) -> None:
    (first,) = enter(ws_bench, protocol, "a")
    first.send_text("early")
    (second,) = enter(ws_bench, protocol, "a")
    assert first.messages() == ["early"]
    leave(first)
    second.send_text("late")
    assert second.messages() == ["late"]


def test_worlds_have_a_limit_and_go_with_their_last_client(
    ws_bench: WsBench, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MAX_WORLDS", 2)
    one, two, three = enter(ws_bench, protocol, "a", "b", "c")
    assert three.closed_with() == (1013, "too many mirrors")
    (other,) = enter(ws_bench, protocol, "b")
    leave(two)
    (early,) = enter(ws_bench, protocol, "c")
    assert early.closed_with() == (1013, "too many mirrors")
    leave(other)
    (late,) = enter(ws_bench, protocol, "c")
    late.send_text("room")
    assert late.messages() == ["room"]
    assert one.messages() == []


def test_a_long_name_is_refused(ws_bench: WsBench, protocol: Protocol) -> None:
    long, longest = enter(ws_bench, protocol, "x" * 65, "x" * 64)
    assert long.closed_with() == (1008, "the name of a mirror may have 64 characters")
    longest.send_text("in")
    assert longest.messages() == ["in"]


def test_who_does_not_read_misses_something_and_holds_up_nobody(
    ws_bench: WsBench, protocol: Protocol
) -> None:
    one, two, stuck = enter(ws_bench, protocol, "", "", "")
    for _ in range(20):
        one.send_binary(BLOCK)
        assert one.messages() == two.messages() == [BLOCK]
    assert HIGH < stuck.session.queued < HIGH + 2 * len(BLOCK)
    got = stuck.messages()
    assert got == [BLOCK] * len(got) and 2 < len(got) < 20


def test_who_does_not_read_for_long_is_closed(ws_bench: WsBench, protocol: Protocol) -> None:
    one, stuck = enter(ws_bench, protocol, "", "")

    def fall_behind() -> None:
        for _ in range(20):
            one.send_binary(BLOCK)
            one.messages()
        ws_bench.advance(4.9)
        assert not stuck.session.over

    fall_behind()
    stuck.messages()
    # It has caught up in time, so it stays, and hears again what is said.
    ws_bench.advance(60)
    one.send_text("still here?")
    assert stuck.messages() == one.messages() == ["still here?"]
    fall_behind()
    ws_bench.advance(0.2)
    one.send_text("on we go")
    assert one.messages() == ["on we go"]
    assert stuck.closed_with() == (1013, "too slow for this mirror")
    leave(stuck)
    assert protocol.sessions == {one.session}
