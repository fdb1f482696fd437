"""Reloads and restarts under load: no client loses anything.

A few of them here; `make soak` (LWSWS_SOAK=50) does many.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from tests.support import procfs
from tests.support.reload_load import Fresh, Given, Kept, Load, Session, make_site
from tests.support.server import Server, connect, file_mount, free_ports, site_server, write_config
from tests.support.waiting import wait_until

# How often the server is reloaded by each test; restarts take longer, because downloads are waited for.
RELOADS = int(os.environ.get("LWSWS_SOAK", "4"))
RESTARTS = max(1, RELOADS // 10)

ECHO = {"ws-protocols": [{"lws-echo": {"default": "1"}}]}
# What the parent may grow by; a thing forgotten at each reload would be more in the long run.
GROWTH = 1 << 20


@pytest.fixture
def files(tmp_path: Path) -> Tuple[Path, Given]:
    """A folder with what the clients ask for."""
    folder = tmp_path / "www"
    folder.mkdir()
    return folder, make_site(folder)


def vhosts(folder: Path, port: int, **keys: Any) -> List[Dict[str, Any]]:
    """A vhost with the files and the echo."""
    named = {name.replace("_", "-"): value for name, value in keys.items()}
    return [{"name": "localhost", "port": port, "mounts": [file_mount(folder)], **ECHO, **named}]


def only_newest_is_left(server: Server) -> bool:
    """Whether processes of older generations have ended."""
    return len(server.generations()) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_reloads_lose_nothing(files: Tuple[Path, Given], tmp_path: Path, processes: int) -> None:
    """With two processes, every other reload goes back to one: nothing that waits for the second is lost."""
    folder, given = files
    (port,) = free_ports(1)
    confdir = write_config(tmp_path / "conf", vhosts(folder, port), count_processes=processes)
    with Server(confdir, [("127.0.0.1", port)]) as server:
        with Load(("127.0.0.1", port), given) as load:
            for number in range(RELOADS):
                count = processes if number % 2 else 1
                write_config(confdir, vhosts(folder, port), count_processes=count)
                assert f"generation {number + 2}: " in server.reload()
                assert len(server.generations()[number + 2]) == count
                if number == 0:
                    files_open, memory = procfs.fd_count(server.process.pid), procfs.rss(server.process.pid)
                load.at_it(0.1)
            assert 1 in server.generations()    # the sessions are older than all reloads
        print(load.summary())
        load.check()
        assert load.stale == 0
        wait_until(lambda: only_newest_is_left(server), "the end of the old generations")
        # Each process has two channels, and a configuration for each generation is kept.
        assert procfs.fd_count(server.process.pid) <= files_open
        assert procfs.rss(server.process.pid) < memory + GROWTH


def test_restarts_under_socket_activation_lose_nothing(files: Tuple[Path, Given], tmp_path: Path) -> None:
    """We are systemd and have the socket: who comes while nobody serves waits in its queue."""
    folder, given = files
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        address = sock.getsockname()
        confdir = write_config(tmp_path / "conf", vhosts(folder, 80, listen_fd="web"), shutdown_timeout=30)
        with Load(address, given, may_restart=True) as load:
            for _ in range(RESTARTS + 1):
                with Server(confdir, [address], sockets=[("web", sock)]):
                    load.at_it(0.2)
            last = Server(confdir, [address], sockets=[("web", sock)])
            with last:
                load.at_it(0.2)
                load.end()
        print(load.summary())
        load.check()
        assert load.stale > 0   # sessions were told to go
        with connect(address):
            pass    # the socket is still ours


def test_what_is_lost_is_told(files: Tuple[Path, Given], tmp_path: Path) -> None:
    """The load itself: it sees a server that dies, and wrong answers."""
    folder, given = files
    server = site_server(tmp_path / "conf", vhosts(folder, free_ports(1)[0]))
    with server, Load(("127.0.0.1", server.port), given, kinds=[Kept, Fresh, Session]) as load:
        load.at_it(0.1)
        assert load.faults == []
        (folder / "page.html").write_bytes(b"other")
        wait_until(lambda: any("kept: AssertionError: a wrong" in text for text in load.faults), "seen")
        server.kill()
        wait_until(lambda: any("fresh: ConnectionRefused" in text for text in load.faults), "refused")
        wait_until(lambda: any("session: Connection" in text for text in load.faults), "a lost session")
    with pytest.raises(AssertionError, match="session: Connection"):
        load.check()
