"""lws-status: who is here."""

from __future__ import annotations

import json
import re
from typing import List

import pytest

from lwsws import __version__
from lwsws.builtin import status
from lwsws.builtin.status import Status
from lwsws.core.protocol import Protocol
from tests.support.ws import WsBench, WsPeer

# From the recorded answers of the original.
SHAPE = (r'\{ "version":"([^"]*)", "wss_over_h2":"0", "hostname":"([^"]*)", "wsi":"(\d+)", "conns":\['
         r'(\{"peer":"[^"]*","time":"\d+","ua":"[^"]*"\}(,\{"peer":"[^"]*","time":"\d+","ua":"[^"]*"\})*)\]\}')


@pytest.fixture
def protocol(ws_bench: WsBench) -> Protocol:
    """The protocol of a vhost."""
    return ws_bench.begin(Status())


def enter(bench: WsBench, protocol: Protocol, *agents: str) -> List[WsPeer]:
    """Clients of these names."""
    return [bench.open(protocol, fields=f"User-Agent: {agent}\r\n" if agent else "") for agent in agents]


def leave(client: WsPeer) -> None:
    """Close it from its side."""
    client.send_close()
    client.peer.close()
    client.bench.settle()


def lists(client: WsPeer) -> List[List[str]]:
    """The User-Agents of each message that has come."""
    return [[each["ua"] for each in json.loads(message)["conns"]] for message in client.messages()]


def test_the_first_message_is_as_of_the_original(ws_bench: WsBench, protocol: Protocol) -> None:
    (client,) = enter(ws_bench, protocol, "ua/1")
    (message,) = client.messages()
    assert isinstance(message, str)
    found = re.fullmatch(SHAPE, message)
    assert found and found.group(1) == __version__ and found.group(3) == "1"
    (told,) = json.loads(message)["conns"]
    assert told["peer"] == "192.0.2.7" and told["ua"] == "ua/1"
    assert int(told["time"]) > 1_700_000_000


def test_everybody_hears_who_comes_and_goes_newest_first(ws_bench: WsBench, protocol: Protocol) -> None:
    (one,) = enter(ws_bench, protocol, "one")
    ws_bench.advance(1)
    (two,) = enter(ws_bench, protocol, "two")
    (message,) = two.messages()
    assert isinstance(message, str) and re.fullmatch(SHAPE, message)
    assert lists(one) == [["one"], ["two", "one"]]
    ws_bench.advance(1)
    assert lists(one) == lists(two) == []
    leave(one)
    assert lists(two) == [["two"]]


def test_a_crowd_is_told_of_once(ws_bench: WsBench, protocol: Protocol) -> None:
    (first,) = enter(ws_bench, protocol, "first")
    crowd = enter(ws_bench, protocol, *"abcdefghij")
    assert lists(first) == [["first"]]
    assert [client.messages() for client in crowd] == [[]] * 10
    ws_bench.advance(0.1)
    assert [lists(client) for client in (first, *crowd)] == [[[*"jihgfedcba", "first"]]] * 11


def test_the_list_ends_but_the_number_counts_all(
    ws_bench: WsBench, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "SHOWN", 3)
    clients = enter(ws_bench, protocol, *"abcde")
    ws_bench.advance(0.1)
    (message,) = clients[4].messages()
    told = json.loads(message)
    assert told["wsi"] == "5" and [each["ua"] for each in told["conns"]] == ["e", "d", "c"]


def test_much_to_send_is_sent_less_often(
    ws_bench: WsBench, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "SPEED", 100)
    (one,) = enter(ws_bench, protocol, "one")
    seconds = len(one.messages()[0]) / 100
    assert seconds > 1
    enter(ws_bench, protocol, "two")
    ws_bench.advance(seconds - 0.01)
    assert lists(one) == []
    ws_bench.advance(0.02)
    assert lists(one) == [["two", "one"]]


def test_a_name_with_anything_in_it_stays_one_string(ws_bench: WsBench, protocol: Protocol) -> None:
    odd, long, none = enter(ws_bench, protocol, 'a"b\\c<d>\xe4', "x" * 600, "")
    ws_bench.advance(0.1)
    assert lists(odd)[-1] == lists(long)[0] == lists(none)[0]
    ws_bench.advance(1)
    leave(odd)
    (told,) = lists(none)
    assert told == ["", "x" * 200]


def test_who_does_not_read_gets_the_newest_list_only(ws_bench: WsBench, protocol: Protocol) -> None:
    (slow,) = enter(ws_bench, protocol, "slow")
    assert lists(slow) == [["slow"]]
    big = "x" * 3_000_000
    slow.session.send(big)
    for agent in "abc":
        enter(ws_bench, protocol, agent)
        ws_bench.advance(1)
    messages = slow.messages()
    assert messages[0] == big and len(messages) == 2
    assert [each["ua"] for each in json.loads(messages[1])["conns"]] == ["c", "b", "a", "slow"]


def test_nothing_is_pending_without_clients(ws_bench: WsBench, protocol: Protocol) -> None:
    for agent in "ab":
        (client,) = enter(ws_bench, protocol, agent)
        assert lists(client) == [[agent]]
        leave(client)
        ws_bench.advance(60)
        assert ws_bench.reactor.timers.next_at() is None


def test_what_clients_say_is_ignored(ws_bench: WsBench, protocol: Protocol) -> None:
    (client,) = enter(ws_bench, protocol, "a")
    client.send_text("y" * (3 << 20))
    assert lists(client) == [["a"]]
