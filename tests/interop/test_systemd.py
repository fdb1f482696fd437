"""systemd: what it is told, the sockets that it passes, and the watchdog.

It is played by the tests; `systemd-socket-activate` is its own.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.support import procfs
from tests.support.client import Client
from tests.support.programs import need
from tests.support.server import Server, connect, file_mount, free_ports, write_config
from tests.support.source import ROOT
from tests.support.waiting import wait_until

WATCHDOG_USEC = 1_000_000


@pytest.fixture
def www(tmp_path: Path) -> Path:
    """A folder with a page."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "index.html").write_bytes(b"index")
    return folder


def vhost(www: Path, **keys: Any) -> Dict[str, Any]:
    """A vhost of it, with more `keys` (_ for -)."""
    named = {name.replace("_", "-"): value for name, value in keys.items()}
    return {"name": "localhost", "mounts": [file_mount(www)], **named}


def test_what_systemd_is_told(www: Path, tmp_path: Path) -> None:
    """sd_notify(3), and what `Type=notify-reload` of systemd.service(5) asks for."""
    (port,) = free_ports(1)
    confdir = write_config(tmp_path / "conf", [vhost(www, port=port)])
    with Server(confdir, [("127.0.0.1", port)]) as server:
        ready = server.notices.messages[0]
        assert ready == {"READY": "1", "MAINPID": str(server.process.pid),
                         "STATUS": "generation 1: serving 1 vhost"}
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert server.reload().startswith("generation 2: serving 1 vhost")   # the older one may be there yet
        reloading = server.notices.messages[1]
        assert (reloading.pop("RELOADING"), list(reloading)) == ("1", ["MONOTONIC_USEC"])
        assert before < int(reloading["MONOTONIC_USEC"]) < before + 60_000_000
        (confdir / "conf").write_text("{")
        status = server.reload()
        assert status.startswith(f"RELOAD FAILED: {confdir / 'conf'}:1:2: parsing error: ")
        assert "; generation 2: serving 1 vhost" in status
        for pid in (server.process.pid, server.pid):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"NOTIFY_SOCKET" in environment  # as it was started; what it hands on is another matter
        server.stop()
        server.notices.wait_for("STOPPING=1")


def test_a_process_that_hangs_is_replaced(www: Path, tmp_path: Path) -> None:
    """By its parent; and the watchdog is not fed while no other one is well."""
    (port,) = free_ports(1)
    confdir = write_config(tmp_path / "conf", [vhost(www, port=port)])
    environment = {"WATCHDOG_USEC": str(WATCHDOG_USEC)}
    with Server(confdir, [("127.0.0.1", port)], environment=environment) as server:
        server.notices.wait_for("WATCHDOG=1")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            server.wait_for(f"process {server.pid} (lwsws-1.0) gives no sign of life: ending it")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        server.wait_for("(lwsws-1.0) was ended by SIGABRT")
        begin = len(server.notices.messages)
        with Client(connect(("127.0.0.1", port))) as client:
            assert client.get().body == b"index"
        server.notices.wait_for("WATCHDOG=1", begin=begin)


def test_sockets_by_name_and_by_address(www: Path, tmp_path: Path) -> None:
    """Two that systemd passes, and one of our own; those of systemd outlive the server."""
    (own,) = free_ports(1)
    path = str(tmp_path / "sock")
    with socket.create_server(("127.0.0.1", 0)) as web, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        address = web.getsockname()
        vhosts: List[Dict[str, Any]] = [
            vhost(www, listen_fd="web"),
            vhost(www, unix_socket="1", interface=path),
            vhost(www, port=own),
        ]
        confdir = write_config(tmp_path / "conf", vhosts)
        passed = [("web", web), ("unknown", unix)]
        with Server(confdir, [address, path, ("127.0.0.1", own)], sockets=passed) as server:
            for place in (address, path, ("127.0.0.1", own)):
                with Client(connect(place)) as client:
                    assert client.get().body == b"index"
            inode = os.stat(path).st_ino
            server.reload()
            with Client(connect(address)) as client:
                assert client.get().body == b"index"
        assert os.stat(path).st_ino == inode
        connect(address).close()
        connect(path).close()


def test_a_name_that_is_not_passed(www: Path, tmp_path: Path) -> None:
    confdir = write_config(tmp_path / "conf", [vhost(www, listen_fd="web")])
    log = Server(confdir, []).refused()
    assert "systemd passes no socket named 'web'" in log
    assert f"{confdir}/conf.d/site:" in log


def test_systemd_socket_activate(www: Path, tmp_path: Path) -> None:
    """systemd's own tool starts the server when the first client is there."""
    tool = need("systemd-socket-activate")
    (port,) = free_ports(1)
    confdir = write_config(tmp_path / "conf", [vhost(www, port=port, interface="127.0.0.1")])
    lwsws = [sys.executable, "-B", str(ROOT / "lwsws.py"), "-c", str(confdir)]
    command = [tool, "-E", "NOTIFY_SOCKET", "-l", f"127.0.0.1:{port}", *lwsws]
    with Server(confdir, [("127.0.0.1", port)], command=command) as server:
        with Client(server.connect()) as client:
            assert client.get().body == b"index"
        server.notices.wait_for("READY=1")
        assert procfs.name(server.pid) == "lwsws-1.0"
        wait_until(lambda: len(server.children()) == 1, "one process")
