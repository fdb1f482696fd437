"""What the server says of itself to plugins."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

from lwsws import __version__
from lwsws.core.peers import Peers
from lwsws.server.plugin_server import PluginServer
from lwsws.server.report import make_own_slot, memory, own_row, report
from lwsws.server.scoreboard import DEPRECATED, SERVING, STARTING, Row, Scoreboard, Slot
from tests.support.peer import Bench
from tests.support.upgrade import asked
from tests.support.waiting import wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Two vhosts on a port, the first with files and WebSockets."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_text("a")
    mount = {"mountpoint": "/", "origin": f"file://{tmp_path}/www", "cache-max-age": "7", "cache-reuse": "1"}
    bench = Bench(tmp_path, {"mounts": [mount], "ws-protocols": [{"lws-echo": {}}], "sts": "1"},
                  {"name": "b.test"})
    yield bench
    bench.close()


def told_by(bench: Bench, slot: Optional[Slot] = None, **keys: bool) -> Dict[str, Any]:
    """The report of a process that began 12 s ago, or of that with this `slot`."""
    return report(bench.context, bench.site, bench.clock() - 12, 100, slot or make_own_slot(), **keys)


def test_everything_is_told(bench: Bench) -> None:
    bench.connect().get("/a.txt")
    bench.connect().get("/no", host="b.test")
    asked(bench.connect())
    bench.connect().send(b"no http\r\n\r\n")
    bench.advance(12)
    told = told_by(bench)
    assert (told["version"], told["pid"], told["uptime"]) == (__version__, os.getpid(), 12)
    assert (told["connections"], told["accepted"], told["max_connections"]) == (3, 4, 100)
    assert (told["websockets"], told["listening"], told["stopping"]) == (1, 2, False)
    assert told["programs"] == {"started": 0, "running": 0}
    assert told["workers"] == {"threads": 0, "busy": 0, "waiting": 0}
    assert told["memory"] > 1 << 20 and told["fds_max"] > 0
    first, second = told["vhosts"]
    assert (first["name"], first["port"], first["tls"], first["sts"]) == ("localhost", 7681, False, True)
    assert first["protocols"] == ["lws-echo"]
    assert first["mounts"] == [{
        "mountpoint": "/", "origin": f"file://{bench.config.vhosts[0].mounts[0].origin.target}",
        "default": "index.html", "cache_max_age": 7, "cache_reuse": 1, "cache_revalidate": 0,
        "cache_intermediaries": 0}]
    counts = {key: first["traffic"][key] for key in ("connections", "requests", "upgrades", "rejected")}
    assert counts == {"connections": 4, "requests": 2, "upgrades": 1, "rejected": 1}
    assert second["traffic"]["requests"] == 1 and second["traffic"]["tx"] > 0
    for way in ("rx", "tx"):
        assert told["traffic"][way] == first["traffic"][way] + second["traffic"][way] > 0
    assert told["traffic"]["requests"] == 3


def test_bytes_of_open_connections_count(bench: Bench) -> None:
    peer = bench.connect()
    peer.get("/a.txt")
    before = told_by(bench)["vhosts"][0]["traffic"]
    transport = peer.connection.transport
    assert (before["rx"], before["tx"]) == (transport.bytes_received, transport.bytes_sent)
    peer.connection.abort()
    bench.run()
    assert told_by(bench)["vhosts"][0]["traffic"] == before


def test_answers_from_memory_count(bench: Bench) -> None:
    peer = bench.connect()
    for _ in range(4):
        peer.get("/a.txt")
    assert told_by(bench)["vhosts"][0]["traffic"]["requests"] == 4


def test_vhosts_can_be_hidden(bench: Bench) -> None:
    assert told_by(bench, hide_vhosts=True)["vhosts"] == []


def test_a_process_alone_tells_of_itself(bench: Bench) -> None:
    bench.context.peers = Peers(1, 1, bench.clock)
    bench.context.peers.refused = 7
    bench.connect()
    told = told_by(bench)
    assert (told["generation"], told["process"], told["state"], told["refused"]) == (1, 0, "serving", 7)
    (process,) = told["processes"]
    assert process.pop("uptime") >= 0
    assert process == {"pid": os.getpid(), "generation": 1, "index": 0, "state": "serving", "connections": 1,
                       "websockets": 0, "accepted": 1, "refused": 7, "threads": 0, "busy": 0}


def test_all_processes_are_told_of(bench: Bench) -> None:
    """Our own row as it is now, those of others as they were written."""
    now = int(bench.context.wall_clock())
    board = Scoreboard(4)
    board.slot(0).write(Row(0, 3, 1, now - 60, STARTING))
    board.slot(2).write(Row(99, 2, 0, now - 3600, DEPRECATED, 2, websockets=1, accepted=50, busy=1))
    told = told_by(bench, board.slot(0))
    assert (told["generation"], told["process"]) == (3, 1)
    old, own = told["processes"]
    assert old == {"pid": 99, "generation": 2, "index": 0, "state": "deprecated", "uptime": 3600,
                   "connections": 2, "websockets": 1, "accepted": 50, "refused": 0, "threads": 0, "busy": 1}
    assert (own["pid"], own["state"], own["uptime"]) == (os.getpid(), "serving", 60)
    assert board.rows()[1].state == SERVING    # for others to read


def test_the_clock_may_be_set_back(bench: Bench) -> None:
    board = Scoreboard(1)
    board.slot(0).write(Row(0, 1, 0, int(bench.context.wall_clock()) + 1000))
    assert told_by(bench, board.slot(0))["processes"][0]["uptime"] == 0


def test_the_state_is_that_of_the_service(bench: Bench) -> None:
    bench.context.winding_down = True
    assert told_by(bench)["state"] == "deprecated"
    bench.context.stopping = True
    told = told_by(bench)
    assert (told["state"], told["stopping"]) == ("stopping", True)


def test_a_row_counts_what_is_open(bench: Bench) -> None:
    bench.connect()
    asked(bench.connect())
    slot = make_own_slot()
    row = own_row(bench.context, bench.site, slot)
    assert (row.pid, row.generation, row.state) == (os.getpid(), 1, SERVING)
    assert (row.connections, row.websockets, row.accepted) == (2, 1, 2)
    assert slot.row().connections == 0     # it is only made, not written


def test_memory_is_that_of_this_process() -> None:
    assert 1 << 20 < memory() < 1 << 36


def test_plugins_ask_the_server(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    told: List[object] = []
    server = PluginServer(bench.reactor, bench.workers, lambda hide_vhosts: {"hidden": hide_vhosts})
    assert server.version == __version__
    assert server.status(True) == {"hidden": True}
    server.log("a line\nN: forged \x1b[2J")
    assert capfd.readouterr().err.endswith("N: a line\\nN: forged \\x1b[2J\n")
    server.log("a fault", "warn")
    assert capfd.readouterr().err.endswith("] W: a fault\n")
    with pytest.raises(ValueError, match="no log level 'warning': it is one of err, warn, notice"):
        server.log("a line", "warning")
    server.call_later(5, lambda: told.append("later"))
    server.call_later(5, lambda: told.append("never")).cancel()
    bench.advance(5)
    assert told == ["later"]
    for seconds in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="cannot be put off"):
            server.call_later(seconds, lambda: None)
    server.run_blocking(int, "7", then=lambda result, error: told.append(result))

    def is_told() -> bool:
        bench.run()
        return len(told) == 2

    wait_until(is_told, "the result of the job")
    assert told[1] == 7


def test_plugins_have_threads_of_their_own(bench: Bench, capfd: pytest.CaptureFixture[str],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    told: List[object] = []
    server = PluginServer(bench.reactor, bench.workers, lambda hide_vhosts: {})
    monkeypatch.setattr(sys, "setswitchinterval", told.append)
    pool = server.make_pool(1, "mine")
    assert told.pop() == 0.0005     # threads that compute must not keep all connections waiting

    def job() -> str:
        server.call_from_thread(lambda: told.append("called"))
        server.call_from_thread(lambda: told.append(1 // 0))
        return threading.current_thread().name

    pool.run_blocking(job, then=lambda result, error: told.append(result))

    def is_told() -> bool:
        bench.run()
        return len(told) == 2

    wait_until(is_told, "the result of the job")
    assert told == ["called", "lwsws-mine-1"]
    assert "call from a thread: fault in" in capfd.readouterr().err
    with pytest.raises(ValueError, match="0 threads"):
        server.make_pool(0, "none")
