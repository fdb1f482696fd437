"""lws-server-status: what it tells and when."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Event
from typing import Any, Dict, List, Tuple

import pytest

from lwsws.builtin.server_status import (
    ServerStatus,
    context_report,
    load_averages,
    read_file,
    read_files,
    read_statm,
    status_report,
    vhost_report,
)
from lwsws.core.options import OptionError, Options
from tests.support.raw import VHOST
from tests.support.ws import WsBench, WsPeer

TRAFFIC = {"rx": 1, "tx": 2, "connections": 3, "requests": 4, "upgrades": 5, "rejected": 6}
MOUNT = {"mountpoint": "/", "origin": "file:///www", "cache_max_age": 7, "cache_reuse": 1,
         "cache_revalidate": 0, "cache_intermediaries": 0, "default": ""}
SITE = {"name": "a.test", "port": 443, "tls": True, "sts": False, "traffic": TRAFFIC,
        "mounts": [MOUNT, {**MOUNT, "mountpoint": "/x", "default": "x.html"}],
        "protocols": ["lws-status", "chat"]}
PROCESS = {"pid": 16, "generation": 2, "index": 0, "state": "deprecated", "uptime": 3600, "connections": 1,
           "websockets": 1, "accepted": 70, "refused": 5, "threads": 2, "busy": 1}
STATUS: Dict[str, Any] = {
    "version": "1.2", "pid": 17, "generation": 3, "process": 1, "state": "serving", "uptime": 61.9,
    "connections": 8, "accepted": 9, "refused": 6, "max_connections": 100,
    "websockets": 4, "listening": 2, "stopping": False, "memory": 4096, "fds_max": 1024,
    "workers": {"threads": 1, "busy": 0, "waiting": 3}, "programs": {"started": 12, "running": 2},
    "processes": [PROCESS], "traffic": TRAFFIC,
    "vhosts": [SITE]}

PERIOD = 5.0

TRAFFIC_TEXT = ('"rx": "1", "tx": "2", "h1_conn": "3", "h1_trans": "4", "h2_trans": "0", "ws_upg": "5", '
                '"rejected": "6", ')


def test_the_report_has_the_names_and_the_order_of_the_original() -> None:
    report = status_report({**STATUS, "vhosts": []}, "1 2 3", ["0.10", "0.20", "0.30"])
    assert json.dumps(report) == (
        '{"version": "1.2", "uptime": "61", "l1": "0.10", "l2": "0.20", "l3": "0.30", "statm": "1 2 3", '
        '"heap": 4096, "contexts": [{"context_uptime": "61", "cgi_spawned": "12", "pt_fd_max": "1024", '
        '"ah_pool_max": "100", "deprecated": "0", "wsi_alive": "10", '
        '"pt": [{"fds_count": "10", "ah_pool_inuse": "0", "ah_wait_list": "0"}], "vhosts": [], '
        f'"listen_wsi": "2", {TRAFFIC_TEXT}"h2_alpn": "0", "h2_subs": "0", "h2_upg": "0", "cgi_alive": "2", '
        '"lwsws": {"pid": "17", "generation": "3", "process": "1", "state": "serving", "connections": "8", '
        '"max_connections": "100", "accepted": "9", "refused": "6", "websockets": "4", "memory": "4096", '
        '"workers": {"threads": "1", "busy": "0", "waiting": "3"}, '
        '"processes": [{"pid": "16", "generation": "2", "index": "0", "state": "deprecated", '
        '"uptime": "3600", "connections": "1", "websockets": "1", "accepted": "70", "refused": "5", '
        '"threads": "2", "busy": "1"}]}}]}')


def test_a_vhost_is_told_as_by_the_original() -> None:
    mount = ('"origin": "file:///www", "cache_max_age": "7", "cache_reuse": "1", "cache_revalidate": "0", '
             '"cache_intermediaries": "0"')
    assert json.dumps(vhost_report(SITE)) == (
        f'{{"name": "a.test", "port": "443", "use_ssl": "1", "sts": "0", {TRAFFIC_TEXT}'
        '"h2_upg": "0", "h2_alpn": "0", "h2_subs": "0", '
        f'"mounts": [{{"mountpoint": "/", {mount}}}, {{"mountpoint": "/x", {mount}, "default": "x.html"}}], '
        '"ws-protocols": [{"lws-status": {"status": "ok"}}, {"chat": {"status": "ok"}}]}')


@pytest.mark.parametrize("state", ["deprecated", "stopping"])
def test_a_server_that_finishes_is_deprecated(state: str) -> None:
    assert context_report({**STATUS, "state": state})["deprecated"] == "1"


def test_statm_and_loads_are_those_of_the_system() -> None:
    numbers = read_statm().split()
    assert len(numbers) == 7 and int(numbers[1]) > 1000
    assert [float(load) >= 0 for load in load_averages()] == [True] * 3


def test_files_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    temperature, long, quote = tmp_path / "temp", tmp_path / "long", tmp_path / "quote"
    temperature.write_text("42000\n")
    long.write_bytes(b"x" * 254 + "ä".encode())
    quote.write_bytes(b'quo"te\\back\ttab\xff')
    assert read_files([str(path) for path in (temperature, long, quote)]) == [
        "42000\n", "x" * 254 + "\N{REPLACEMENT CHARACTER}", 'quo"te\\back\ttab\N{REPLACEMENT CHARACTER}']


def test_what_cannot_be_read_is_unknown_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert read_file(str(tmp_path / "missing")) == "(unknown)"
    assert read_file(str(tmp_path)) == "(unknown)"
    assert read_file("null\0byte") == "(unknown)"
    assert read_file(str(fifo)) == ""
    writer = os.open(fifo, os.O_RDWR)
    assert read_file(str(fifo)) == "(unknown)"
    os.close(writer)


@pytest.mark.parametrize("value", ["99", "0", "-5", "5s", "86400001"])
def test_a_period_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(OptionError, match="update-ms"):
        ServerStatus().init(VHOST, Options([("update-ms", value)]))


class Watched:
    """A server that says how it is, and clients that watch it."""

    def __init__(self, bench: WsBench, *options: Tuple[str, str]) -> None:
        self.bench = bench
        self.asked: List[bool] = []     # with which hide_vhosts
        bench.status = self.status
        self.protocol = ServerStatus()
        bench.begin(self.protocol)
        self.protocol.init(VHOST, Options(options))

    def status(self, hide_vhosts: bool) -> Dict[str, Any]:
        """The number of times that this was asked is the number of connections."""
        self.asked.append(hide_vhosts)
        return {**STATUS, "connections": len(self.asked)}

    def enter(self) -> WsPeer:
        """A new client."""
        return self.bench.open(self.protocol)

    def leave(self, client: WsPeer) -> None:
        """Close a client from its side."""
        client.send_close()
        client.peer.close()
        self.bench.settle()


def counts(client: WsPeer) -> List[int]:
    """The numbers of connections in the messages that have come."""
    reports = [json.loads(message) for message in client.messages()]
    return [int(report["i"]["contexts"][0]["lwsws"]["connections"]) for report in reports]


def files(client: WsPeer) -> List[Dict[str, str]]:
    """The files in the one message that has come."""
    (message,) = client.messages()
    found: List[Dict[str, str]] = json.loads(message)["files"]
    return found


def test_one_message_comes_at_once_and_one_each_period(ws_bench: WsBench) -> None:
    watched = Watched(ws_bench)
    client = watched.enter()
    (message,) = client.messages()
    assert isinstance(message, str) and message.startswith('{"i":{"version":"1.2",') and "\n" not in message
    assert message.endswith('}]},"files":[]}')
    for count in (2, 3):
        ws_bench.advance(PERIOD - 0.1)
        assert client.messages() == []
        ws_bench.advance(0.1)
        assert counts(client) == [count]
    assert watched.asked == [False] * 3


def test_all_get_the_same_and_a_newcomer_the_last_one(ws_bench: WsBench) -> None:
    watched = Watched(ws_bench, ("update-ms", "1000"))
    one = watched.enter()
    assert counts(one) == [1]
    two = watched.enter()
    assert counts(one) == [] and counts(two) == [1]
    ws_bench.advance(1)
    assert counts(one) == counts(two) == [2]


def test_nothing_is_done_while_nobody_watches(ws_bench: WsBench) -> None:
    watched = Watched(ws_bench)
    watched.leave(watched.enter())
    ws_bench.advance(PERIOD)
    assert ws_bench.reactor.timers.next_at() is None
    assert len(watched.asked) == 1
    client = watched.enter()
    assert counts(client) == [2]
    ws_bench.advance(PERIOD)
    assert counts(client) == [3]
    watched.leave(client)
    # Within the same period: still what is so now.
    assert counts(watched.enter()) == [4]


@pytest.mark.parametrize("value, hides", [("1", True), ("yes", True), ("0", False), ("", False)])
def test_vhosts_are_hidden_if_that_is_wanted(ws_bench: WsBench, value: str, hides: bool) -> None:
    watched = Watched(ws_bench, ("hide-vhosts", value))
    watched.enter()
    assert watched.asked == [hides]


def test_files_are_read_anew_each_period(ws_bench: WsBench, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    watched = Watched(ws_bench, ("filepath", str(two)), ("filespath", str(one)))
    client, early = watched.enter(), watched.enter()
    ws_bench.work_off()
    told = [{"path": str(one), "val": "1"}, {"path": str(two), "val": "(unknown)"}]
    assert files(client) == files(early) == told
    two.write_text("2")
    ws_bench.advance(PERIOD)
    ws_bench.work_off()
    told[1]["val"] = "2"
    assert files(client) == told


def test_a_file_that_takes_long_keeps_nobody_waiting(ws_bench: WsBench, tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("1")
    watched = Watched(ws_bench, ("filespath", str(path)))
    gate = Event()
    ws_bench.workers.submit(gate.wait, lambda result, error: None)    # the only worker is busy
    client = watched.enter()
    assert client.messages() == []
    ws_bench.advance(PERIOD)
    assert files(client) == [{"path": str(path), "val": "(unknown)"}]
    gate.set()
    ws_bench.work_off()
    assert files(client) == [{"path": str(path), "val": "1"}]


def test_what_is_read_for_nobody_is_dropped(ws_bench: WsBench, tmp_path: Path) -> None:
    watched = Watched(ws_bench, ("filespath", str(tmp_path / "one")))
    gate = Event()
    ws_bench.workers.submit(gate.wait, lambda result, error: None)    # the only worker is busy
    watched.leave(watched.enter())
    gate.set()
    ws_bench.work_off()
    assert watched.asked == []


def test_what_clients_say_is_ignored(ws_bench: WsBench) -> None:
    client = Watched(ws_bench).enter()
    client.send_binary(bytes(3 << 20))
    assert counts(client) == [1]
