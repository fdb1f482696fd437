"""Parent and serving processes: who dies is replaced, and a reload takes over or leaves all as it is."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import pytest

from tests.support import procfs
from tests.support.certificates import Certificates
from tests.support.client import Client
from tests.support.reload_load import Fresh, Kept, Load, Session, make_site
from tests.support.server import Address, Server, connect, file_mount, free_ports, refuses, write_config
from tests.support.source import ROOT
from tests.support.waiting import wait_until
from tests.support.ws_client import open_websocket

ECHO = {"ws-protocols": [{"lws-echo": {"default": "1"}}]}

# A server whose delays are short, so that many deaths take no long time.
IMPATIENT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from lwsws.process import parent
parent.FIRST_DELAY = parent.MAX_DELAY = 0.01
from lwsws.cli import main
sys.exit(main())
"""


def vhost(folder: Path, port: int, **keys: Any) -> Dict[str, Any]:
    """A vhost with the files of `folder` and an echo."""
    named = {name.replace("_", "-"): value for name, value in keys.items()}
    return {"name": "localhost", "port": port, "mounts": [file_mount(folder)], **ECHO, **named}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything of the server is; `www` has its files."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "www").mkdir()
    (folder / "www" / "index.html").write_bytes(b"index")
    return folder


class Site:
    """A server whose configuration is `good` wherever a test does not change it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.confdir = folder / "conf"
        self.restore()
        self.server = Server(self.confdir, [("127.0.0.1", port)])

    def restore(self) -> None:
        """Write the good configuration."""
        self.write([vhost(self.folder / "www", self.port)])

    def write(self, vhosts: List[Dict[str, Any]], **settings: Any) -> None:
        """Write another one."""
        write_config(self.confdir, vhosts, **settings)

    def page(self, address: Address) -> bytes:
        """What a client of `address` gets."""
        with Client(connect(address)) as client:
            return client.get().body


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    site = Site(folder, free_ports(1)[0])
    with site.server:
        yield site
        wait_until(lambda: len(site.server.generations()) == 1, "the end of the old generations")


def test_a_killed_process_is_replaced_soon(site: Site) -> None:
    """Who comes meanwhile waits a moment: the listening sockets are the parent's."""
    server = site.server
    given = make_site(site.folder / "www")
    with Load(("127.0.0.1", site.port), given, kinds=[Kept, Fresh, Session]) as load:
        load.at_it(0.1)
        killed, begun = server.pid, time.monotonic()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: server.pid not in (killed, server.process.pid), "a new process")
        assert site.page(server.address) == b"index"
        assert time.monotonic() - begun < 5
        load.at_it(0.1)
    # One fault at most of each client, whose connection was cut; nobody was refused.
    assert len(load.faults) <= 3
    assert not any("Refused" in fault for fault in load.faults), load.faults
    assert f"serving process {killed} (lwsws-1.0) was ended by SIGKILL" in server.log()


def test_deaths_in_a_row_end_it_all(folder: Path) -> None:
    (port,) = free_ports(1)
    confdir = write_config(folder / "mortal", [vhost(folder / "www", port)])
    command = [sys.executable, "-B", "-c", IMPATIENT, "-c", str(confdir)]
    server = Server(confdir, [("127.0.0.1", port)], command=command)
    with closing(server):
        server.notices.wait_for("READY=1")
        killed: Set[int] = set()
        while server.is_alive():
            for child in server.children():
                if child.pid not in killed:
                    killed.add(child.pid)
                    os.kill(child.pid, signal.SIGKILL)
            server.pause()
        assert (server.process.returncode, len(killed)) == (1, 10)
        assert "10 in a row have ended" in server.log()
        assert refuses(("127.0.0.1", port))


class Break:
    """Ways to break the configuration of a site; each returns what the log must say."""

    def __init__(self, site: Site, certificates: Certificates, until_the_end: ExitStack) -> None:
        self.site = site
        self.until_the_end = until_the_end
        self.certificates = certificates
        self.good = vhost(site.folder / "www", site.port)
        self.file = str(site.confdir / "conf.d" / "site")

    def _plugin(self, text: str) -> str:
        plugins = self.site.folder / "plugins"
        plugins.mkdir(exist_ok=True)
        (plugins / "faulty.py").write_text(text)
        self.site.write([self.good], plugin_dir=str(plugins))
        self.until_the_end.callback(self.site.server.excuse)
        return f'File "{plugins}/faulty.py", line 1'

    def a_slip_of_the_pen(self) -> List[str]:
        Path(self.file).write_text('{"vhosts": [\n  {"name": "x",,}]}')
        return [f"{self.file}:2:"]

    def an_empty_file(self) -> List[str]:
        Path(self.file).write_text("")
        return [f"{self.file}: skipped", f"{self.site.confdir}/conf: Need at least one vhost"]

    def no_conf(self) -> List[str]:
        (self.site.confdir / "conf").unlink()
        return [f"{self.site.confdir}/conf"]

    def no_vhost(self) -> List[str]:
        self.site.write([])
        return [f"{self.site.confdir}/conf: Need at least one vhost"]

    def an_origin_of_no_kind(self) -> List[str]:
        self.site.write([{**self.good, "mounts": [{"mountpoint": "/", "origin": "gopher://x"}]}])
        return [f"{self.file}:", "gopher"]

    def a_missing_certificate(self) -> List[str]:
        self.site.write([{**self.good, "host-ssl-cert": "/none.pem", "host-ssl-key": "/none.pem"}])
        return [f"{self.file}:", "/none.pem"]

    def a_certificate_without_key(self) -> List[str]:
        self.site.write([{**self.good, "host-ssl-cert": str(self.certificates.a.cert)}])
        return [f"{self.file}:", "host-ssl-key"]

    def a_key_of_another(self) -> List[str]:
        keys = {"host-ssl-cert": str(self.certificates.a.cert),
                "host-ssl-key": str(self.certificates.b.key)}
        self.site.write([{**self.good, **keys}])
        return [f"{self.file}:"]

    def a_port_of_another_process(self) -> List[str]:
        other = self.until_the_end.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = other.getsockname()[1]
        self.site.write([self.good, {**self.good, "interface": "127.0.0.1", "port": port}])
        return [f"{self.file}:", f"cannot listen on 127.0.0.1:{port}: Address already in use"]

    def an_unknown_user(self) -> List[str]:
        self.site.write([self.good], username="no-such-one")
        return [f"{self.site.confdir}/conf:", "no-such-one"]

    def a_log_in_no_directory(self) -> List[str]:
        self.site.write([{**self.good, "access-log": "/no/such/folder/log"}])
        return [f"{self.file}:", "/no/such/folder"]

    def a_plugin_that_raises(self) -> List[str]:
        return [self._plugin("print(1 / 0)"), "ZeroDivisionError", f"{self.site.confdir}/conf:3:"]

    def a_plugin_that_exits(self) -> List[str]:
        return [self._plugin("import sys; sys.exit(0)"), "SystemExit", f"{self.site.confdir}/conf:3:"]

    def a_plugin_that_ends_the_process(self) -> List[str]:
        self._plugin("import os; os._exit(0)")
        return ["has ended"]


WAYS = [name for name in vars(Break) if not name.startswith("_")]


@pytest.mark.parametrize("way", WAYS)
def test_a_reload_that_cannot_be_leaves_all_as_it_is(
    site: Site, certificates: Certificates, way: str
) -> None:
    server, before, seen = site.server, site.server.children(), len(site.server.log())
    descriptors = procfs.fd_count(server.process.pid)
    with open_websocket("127.0.0.1", site.port) as ws, ExitStack() as stack:
        stack.callback(site.restore)
        expected = getattr(Break(site, certificates, stack), way)()
        assert "RELOAD FAILED" in server.reload()
        told = server.log()[seen:]
        assert [text for text in expected if text not in told] == [], told
        assert "Traceback" not in told or "plugin" in way
        assert f"generation {before[0].generation} goes on with its configuration" in told
        wait_until(lambda: server.children() == before, "the end of the new process")
        ws.send_text("still here")
        assert ws.receive_text() == "still here"
        assert site.page(server.address) == b"index"
        wait_until(lambda: procfs.fd_count(server.process.pid) <= descriptors, "no descriptor more")


def test_a_number_of_processes_that_is_none(site: Site) -> None:
    """Is complained about, and is no reason not to serve: one serves."""
    server, seen = site.server, len(site.server.log())
    site.write([vhost(site.folder / "www", site.port)], count_processes="many")
    try:
        assert "RELOAD FAILED" not in server.reload()
        assert f"{site.confdir}/conf:3:" in server.log()[seen:]
        assert len(server.generations()[max(server.generations())]) == 1
        assert site.page(server.address) == b"index"
    finally:
        site.restore()


def test_what_listens_is_what_the_configuration_says(site: Site) -> None:
    """Addresses come and go with a reload; what stays is never closed, nor is a unix socket made anew."""
    server, www = site.server, site.folder / "www"
    old, new = free_ports(2)
    path = site.folder / "sock"
    unix = {"name": "localhost", "unix-socket": "1", "interface": str(path), "mounts": [file_mount(www)]}
    local = {"interface": "127.0.0.1"}
    try:
        site.write([vhost(www, site.port), unix, {**vhost(www, old), **local}])
        server.reload()
        inode, descriptors = path.stat().st_ino, procfs.fd_count(server.process.pid)
        addresses: List[Address] = [("127.0.0.1", site.port), str(path), ("127.0.0.1", old)]
        assert [site.page(address) for address in addresses] == [b"index"] * 3
        assert refuses(("127.0.0.1", new))
        with Client(connect(str(path))) as kept, Client(connect(("127.0.0.1", old))) as leaving:
            assert kept.get().body == leaving.get().body == b"index"
            site.write([vhost(www, site.port), unix, {**vhost(www, new), **local}])
            server.reload()
            assert path.stat().st_ino == inode
            assert [site.page(address) for address in (str(path), ("127.0.0.1", new))] == [b"index"] * 2
            wait_until(lambda: refuses(("127.0.0.1", old)), "the old address closed")
            # Who was there is answered once more, and then asked to come again.
            for client in (kept, leaving):
                answer = client.get()
                assert (answer.body, answer.fields["connection"]) == (b"index", "close")
            wait_until(lambda: procfs.fd_count(server.process.pid) <= descriptors, "the old one closed")
    finally:
        site.restore()
        server.reload()
    assert not path.exists()
    wait_until(lambda: refuses(("127.0.0.1", new)), "the new address closed")


def test_an_address_may_grow_to_all(site: Site) -> None:
    """From 127.0.0.1 to every address of the same port, and back, while clients come."""
    given = make_site(site.folder / "www")
    (port,) = free_ports(1)
    good = vhost(site.folder / "www", site.port)
    try:
        site.write([good, vhost(site.folder / "www", port, interface="127.0.0.1")])
        site.server.reload()
        with Load(("127.0.0.1", port), given, kinds=[Kept, Fresh]) as load:
            for keys in ({}, {"interface": "127.0.0.1"}):
                site.write([good, vhost(site.folder / "www", port, **keys)])
                assert "RELOAD FAILED" not in site.server.reload()
                load.at_it(0.1)
        # Who knocks at 127.0.0.1 in the very moment in which that socket closes may be cut off: the kernel
        # has no way to hand him to the other one.
        assert len(load.faults) <= 1 and "Refused" not in "".join(load.faults), load.faults
    finally:
        site.restore()
        site.server.reload()
