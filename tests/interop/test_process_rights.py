"""What a serving process may do that root has started: little, and the rest by the way of its parent."""

from __future__ import annotations

import ast
import os
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, Iterator

import pytest

from tests.interop.test_certificate_swap import Files
from tests.support import procfs
from tests.support.certificates import Certificates
from tests.support.client import Client
from tests.support.programs import give_up
from tests.support.server import Server, connect, file_mount, free_ports, write_config
from tests.support.tls_site import tls_keys
from tests.support.waiting import wait_until

NOBODY = 65534

# A plugin that tells what it may do.  It imports nothing that is not there yet: nobody may not be allowed to
# read Python's own library.
PROBE = '''
import os
from lwsws.plugin import Protocol


def attempt(what):
    try:
        return repr(what())
    except Exception as error:
        return type(error).__name__


class Probe(Protocol):
    name = "probe"

    def http_request(self, s, request):
        secret = request.query
        s.respond(200, [], repr({
            "setuid": attempt(lambda: os.setuid(0)),
            "setgid": attempt(lambda: os.setgid(0)),
            "setgroups": attempt(lambda: os.setgroups([0])),
            "secret": attempt(lambda: open(secret).read()),
            "parent": attempt(lambda: os.kill(os.getppid(), 9)),
            "memory": attempt(lambda: open(f"/proc/{os.getppid()}/mem", "rb")),
        }).encode())
'''


class Site:
    """A server that root has started, which serves as nobody; key, secret and log are root's alone."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        folder.chmod(0o755)
        self.files = Files(folder / "site", certificates)
        self.files.folder.chmod(0o755)
        self.files.pair.key.chmod(0o600)
        self.private = folder / "private"
        self.private.mkdir(mode=0o700)
        self.log = self.private / "access.log"
        self.secret = self.private / "secret"
        self.secret.write_text("secret")
        (folder / "plugins").mkdir()
        (folder / "plugins" / "probe.py").write_text(PROBE)
        self.port, tls_port = free_ports(2)
        vhost = {"name": "localhost", "port": self.port, "access-log": str(self.log),
                 "ws-protocols": [{"probe": {}}],
                 "mounts": [file_mount(self.files.folder), {"mountpoint": "/probe", "origin": "callback://probe"}]}
        tls = {"name": "localhost", "port": tls_port, "mounts": [file_mount(self.files.folder)],
               **tls_keys(self.files.pair)}
        confdir = write_config(folder / "conf", [vhost, tls], uid=NOBODY, gid=NOBODY,
                               plugin_dir=str(folder / "plugins"))
        self.server = Server(confdir, [("127.0.0.1", tls_port), ("127.0.0.1", self.port)])

    def probe(self) -> Dict[str, str]:
        """What the plugin may do."""
        with Client(connect(("127.0.0.1", self.port))) as client:
            answer: Dict[str, str] = ast.literal_eval(client.get(f"/probe?{self.secret}").body.decode())
            return answer


@pytest.fixture(scope="module")
def site(certificates: Certificates) -> Iterator[Site]:
    if os.getuid() != 0:
        give_up("only root has rights to give up")
    with ExitStack() as stack:
        # pytest's own folders are closed to others.
        name = stack.enter_context(tempfile.TemporaryDirectory())
        made = Site(Path(name), certificates)
        stack.enter_context(made.server)
        yield made


def test_the_kernel_says_that_the_child_is_nobody(site: Site) -> None:
    """And that its parent is root (LESSONS 3.34)."""
    seen = procfs.status(site.server.pid)
    assert seen["Uid"].split() == seen["Gid"].split() == [str(NOBODY)] * 4
    assert seen["Groups"].split() in ([], [str(NOBODY)])
    assert [int(seen[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0] * 4
    assert (seen["NoNewPrivs"], seen["TracerPid"]) == ("1", "0")
    assert procfs.status(site.server.process.pid)["Uid"].split()[1] == "0"
    # Not dumpable: its files in /proc are root's, so that no other process of nobody can look into it.
    assert os.stat(f"/proc/{site.server.pid}/mem").st_uid == 0


def test_its_code_cannot_get_more(site: Site) -> None:
    assert site.probe() == {
        "setuid": "PermissionError", "setgid": "PermissionError", "setgroups": "PermissionError",
        "secret": "PermissionError", "parent": "PermissionError", "memory": "PermissionError"}


def test_it_has_nothing_open_that_is_roots(site: Site) -> None:
    """Neither the key nor what else its parent has."""
    with Client(connect(("127.0.0.1", site.port))) as client:
        client.get()
        opened = [path for path in procfs.open_files(site.server.pid) if path.startswith(str(site.private))]
        assert opened == [str(site.log)]
        assert str(site.files.pair.key) not in procfs.open_files(site.server.pid)


def test_a_new_key_of_root_is_taken(site: Site) -> None:
    """The parent reads it for the child, as it does after a renewal by certbot."""
    files = site.files
    assert files.meet(site.server) == "one"
    files.put(files.two)
    files.pair.key.chmod(0o600)
    site.server.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: files.meet(site.server) == "two", "the new certificate")
    pid = site.server.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: site.server.pid not in (pid, site.server.process.pid), "another process")
    assert files.meet(site.server) == "two"


def test_a_log_in_a_folder_of_root_is_opened_anew(site: Site) -> None:
    old = site.private / "access.log.1"
    with Client(connect(("127.0.0.1", site.port))) as client:
        client.get("/?first")
        wait_until(lambda: "/?first" in site.log.read_text(), "a line")
        site.log.rename(old)
        site.server.process.send_signal(signal.SIGUSR1)
        wait_until(site.log.exists, "a new file")
        client.get("/?second")
        wait_until(lambda: "/?second" in site.log.read_text(), "a line in it")
    info = site.log.stat()
    assert (info.st_uid, info.st_mode & 0o777) == (0, 0o640)
    assert "/?second" not in old.read_text()


def test_a_log_that_became_a_link_is_not_written(site: Site) -> None:
    """Nor is the way to it by the parent a way to write elsewhere."""
    victim = site.private / "victim"
    site.log.rename(site.private / "access.log.2")
    site.log.symlink_to(victim)
    try:
        site.server.process.send_signal(signal.SIGUSR1)
        site.server.wait_for(str(site.log))
        with Client(connect(("127.0.0.1", site.port))) as client:
            assert client.get().status == 200
        assert not victim.exists()
    finally:
        site.log.unlink()


def test_a_reload_keeps_it_so(site: Site) -> None:
    """A new generation is read by root, and serves as nobody."""
    before = site.server.pid
    assert "generation 2: " in site.server.reload()
    assert site.server.pid != before
    assert procfs.status(site.server.pid)["Uid"].split() == [str(NOBODY)] * 4
    assert site.probe()["setuid"] == "PermissionError"
    assert site.files.meet(site.server) == "two"
