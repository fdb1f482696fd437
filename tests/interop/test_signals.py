"""Signals and the end: what is open is finished, nothing new is begun, and nothing is left behind."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import pytest

from tests.interop.conftest import Serve
from tests.support.bytecode import shared_bytecode
from tests.support.client import Client
from tests.support.procfs import status, thread_count
from tests.support.programs import give_up
from tests.support.server import (
    Server,
    ServerFailed,
    connect,
    file_mount,
    free_ports,
    refuses,
    site_server,
    write_config,
)
from tests.support.source import ROOT
from tests.support.waiting import exit_code, wait_until

PAGE = b"<p>page</p>"
BIG = 20_000_000  # more than the socket buffers of both sides hold
STOPPING = [signal.SIGTERM, signal.SIGINT]
END_SECONDS = 10.0
NOBODY = 65534
F_SETPIPE_SZ = 1031  # linux/fcntl.h; the fcntl module has it since 3.10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page, and a file that takes a while."""
    folder = tmp_path_factory.mktemp("www")
    (folder / "index.html").write_bytes(PAGE)
    (folder / "big.txt").write_bytes(os.urandom(BIG // 2).hex().encode())
    return folder


def site(root: Path, **keys: Any) -> List[Dict[str, Any]]:
    """One vhost of these files, with more `keys` (_ for -)."""
    return [{"mounts": [file_mount(root)], **{name.replace("_", "-"): value for name, value in keys.items()}}]


def begin(server: Server) -> Client:
    """A download that has begun, and takes nothing more for now."""
    client = Client(server.connect())
    client.send(b"GET /big.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.head().fields["content-length"] == str(BIG)
    return client


def wait_for_end(server: Server) -> None:
    """Wait until the server has ended with code 0, which takes far less than the 30 s that it might wait."""
    try:
        code = exit_code(server.process, END_SECONDS)
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"still there after {END_SECONDS:.0f} s:\n{server.log()}") from None
    assert (code, "Traceback" in server.log()) == (0, False), server.log()


class TestStop:
    """SIGTERM and SIGINT."""

    @pytest.mark.parametrize("signum", STOPPING)
    def test_an_idle_server_ends_at_once(self, serve: Serve, root: Path, signum: int) -> None:
        server = serve(site(root), shutdown_timeout=30)
        with Client(server.connect()) as busy:
            assert busy.get().body == PAGE
            server.process.send_signal(signum)
            server.wait_for("still open")
            answer = busy.get()  # nobody has told it yet
            assert (answer.body, answer.fields["connection"]) == (PAGE, "close")
            assert busy.rest() == b""
        wait_for_end(server)
        assert refuses(server.address)
        assert not Path(f"/proc/{server.pid}").exists()

    def test_a_download_is_finished(self, serve: Serve, root: Path) -> None:
        by_signal = {signum: serve(site(root), shutdown_timeout=30) for signum in STOPPING}
        with ExitStack() as stack:
            clients = [stack.enter_context(begin(server)) for server in by_signal.values()]
            for signum, server in by_signal.items():
                server.process.send_signal(signum)
                server.wait_for("still open")
                assert refuses(server.address)
                assert server.process.poll() is None
            wanted = hashlib.sha256((root / "big.txt").read_bytes()).digest()
            for client in clients:
                assert hashlib.sha256(client.body(BIG)).digest() == wanted
            for client in clients:
                assert client.rest() == b""
        for server in by_signal.values():
            wait_for_end(server)

    def test_one_request_follows_the_answer(self, serve: Serve, root: Path) -> None:
        """Of those pipelined behind the download the first is answered, and told that it is the last."""
        server = serve(site(root), shutdown_timeout=30)
        with begin(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("still open")
            rest = client.rest()
            client.data = rest[BIG:]
            answer = client.answer()
            assert (answer.status, answer.fields["connection"], answer.body) == (200, "close", PAGE)
            assert client.data == b""
        wait_for_end(server)

    def test_a_head_that_is_under_way_is_waited_for(self, serve: Serve, root: Path) -> None:
        server = serve(site(root), shutdown_timeout=30)
        with Client(server.connect()) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: loc")
            with Client(server.connect()) as other:
                assert other.get().body == PAGE  # so the first bytes of the former have been read
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("still open")
            client.send(b"alhost\r\n\r\n")
            answer = client.answer()
            assert (answer.body, answer.fields["connection"]) == (PAGE, "close")
            assert client.rest() == b""
        wait_for_end(server)

    def test_a_stalled_download_is_not_waited_for_longer(self, serve: Serve, root: Path) -> None:
        by_signal = {signum: serve(site(root), shutdown_timeout=1) for signum in STOPPING}
        with ExitStack() as stack:
            clients = [stack.enter_context(begin(server)) for server in by_signal.values()]
            begun = time.monotonic()
            for signum, server in by_signal.items():
                server.process.send_signal(signum)
            for server in by_signal.values():
                wait_for_end(server)
                assert 0.9 < time.monotonic() - begun < 6
            for client in clients:
                assert len(client.rest()) < BIG  # and the client can tell

    @pytest.mark.parametrize("signum", STOPPING)
    def test_a_second_signal_ends_it_at_once(self, serve: Serve, root: Path, signum: int) -> None:
        server = serve(site(root), shutdown_timeout=30)
        with begin(server):
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("still open, waiting up to 30 s")
            server.process.send_signal(signum)
            wait_for_end(server)

    def test_workers_end_with_it(self, serve: Serve, root: Path, tmp_path: Path) -> None:
        """While two of them are hashing passwords."""
        passwords = tmp_path / "passwords"
        passwords.write_text(f"joe:{slow_hash()}\n")
        passwords.chmod(0o600)
        vhost = {"mounts": [file_mount(root, basic_auth=str(passwords))]}
        server = serve([vhost], count_threads=2, shutdown_timeout=30)
        assert thread_count(server.pid) == 1  # none before there is work
        with Client(server.connect()) as one, Client(server.connect()) as two:
            for client in (one, two):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic am9lOng=\r\n\r\n")
            wait_until(lambda: thread_count(server.pid) > 1, "workers")
            server.process.send_signal(signal.SIGTERM)
            assert one.answer().status == two.answer().status == 401
        wait_for_end(server)
        assert not Path(f"/proc/{server.pid}").exists()

    def test_a_signal_right_after_the_start(self, root: Path, tmp_path: Path) -> None:
        """Once it says that it listens, the end is an orderly one, with no socket file left behind."""
        path = tmp_path / "sock"
        # More start-up lines than the pipe holds: the server waits among them until all are read.
        mounts = [file_mount(root, f"/{number}") for number in range(200)]
        confdir = write_config(
            tmp_path / "conf", [{"mounts": mounts, "unix-socket": "1", "interface": str(path)}]
        )
        command = [sys.executable, str(ROOT / "lwsws.py"), "-c", str(confdir)]
        environment = {**os.environ, **shared_bytecode()}
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stderr is not None
            fcntl.fcntl(process.stderr.fileno(), F_SETPIPE_SZ, 2 * 4096)
            said = b""
            while b"listening on" not in said:
                said += os.read(process.stderr.fileno(), 100)
            process.terminate()
            process.communicate(timeout=10)
        assert (process.returncode, path.exists()) == (0, False)


def slow_hash() -> str:
    """A password hash that takes a worker some tenths of a second."""
    from lwsws.handlers.passwords import make_hash

    return make_hash(b"unknown", "pbkdf2")


class TestOthers:
    """SIGUSR1 and SIGHUP."""

    def test_usr1_reopens_the_access_log(self, serve: Serve, root: Path, tmp_path: Path) -> None:
        log, old = tmp_path / "access.log", tmp_path / "access.log.1"
        server = serve(site(root, access_log=str(log)))
        with Client(server.connect()) as client:
            client.get("/?first")
            wait_until(lambda: "/?first" in log.read_text(), "a line")
            log.rename(old)
            client.get("/?second")
            wait_until(lambda: "/?second" in old.read_text(), "a line in the renamed file")
            assert not log.exists()
            server.process.send_signal(signal.SIGUSR1)
            server.wait_for("reopened 1 access log")
            client.get("/?third")
            wait_until(lambda: "/?third" in log.read_text(), "a line in the new file")
        assert "/?third" not in old.read_text()
        assert log.stat().st_mode & 0o777 == 0o640 & ~current_umask()

    def test_hup_does_not_kill_what_has_no_parent(self, root: Path, tmp_path: Path) -> None:
        """With one it is a reload (see test_reload.py)."""
        alone = site_server(tmp_path / "conf", site(root), arguments=["-f"])
        with alone as server, Client(server.connect()) as client:
            assert client.get().body == PAGE
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("a reload needs a parent process")
            assert client.get().body == PAGE

    def test_the_children_of_a_parent_ignore_hup(self, serve: Serve, root: Path) -> None:
        """As of all signals that a terminal, or `killall`, sends to everybody."""
        server = serve(site(root))
        with Client(server.connect()) as client:
            for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
                os.kill(server.pid, signum)
                assert client.get().body == PAGE
            assert len(server.children()) == 1

    def test_a_burst_of_signals(self, serve: Serve, root: Path, tmp_path: Path) -> None:
        """Reloads that are asked for while one is under way become one more."""
        server = serve(site(root, access_log=str(tmp_path / "log")))
        for _ in range(200):
            server.process.send_signal(signal.SIGUSR1)
            server.process.send_signal(signal.SIGHUP)
            with Client(server.connect()) as client:
                assert client.get().body == PAGE
        wait_until(lambda: len(server.generations()) == 1, "the end of all generations but one")
        assert server.log().count("the next generation") < 200


@contextmanager
def unread(confdir: Path, options: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server whose log goes into a small pipe, from which nobody takes anything once it has started."""
    command = [sys.executable, str(ROOT / "lwsws.py"), "-c", str(confdir), *options]
    environment = {**os.environ, **shared_bytecode()}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stderr is not None
            fcntl.fcntl(process.stderr.fileno(), F_SETPIPE_SZ, 2 * 4096)
            while b"->" not in os.read(process.stderr.fileno(), 1000):  # the last line of the start
                pass
            yield process
        finally:
            process.kill()


def test_a_log_that_nobody_reads_does_not_stop_it(root: Path, tmp_path: Path) -> None:
    """What lwsws/log.py promises, with a parent and without; standard error is a pipe here, whose reader
    hangs."""
    kinds: List[Tuple[List[str], int]] = [([], signal.SIGUSR2), (["-f"], signal.SIGHUP)]
    processes = []
    with ExitStack() as stack:
        for port, (options, signum) in zip(free_ports(len(kinds)), kinds):
            vhost = {"name": "localhost", **site(root, port=port)[0]}
            process = stack.enter_context(unread(write_config(tmp_path / str(port), [vhost]), options))
            processes.append(process)
            client = stack.enter_context(Client(connect(("127.0.0.1", port), timeout=2)))
            for _ in range(100):  # each of them is worth a line
                process.send_signal(signum)
                assert client.get().body == PAGE
        for process in processes:
            process.terminate()
        for process in processes:
            assert process.wait(5) == 0


def current_umask() -> int:
    """The umask of this process, which its children have too."""
    return int(status(os.getpid())["Umask"], 8)


class TestStartThatFails:
    """Exit code 1, and what is wrong in the log."""

    def test_a_port_in_use(self, root: Path, tmp_path: Path) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            log = site_server(tmp_path / "conf", site(root, port=port, interface="127.0.0.1")).refused()
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in log
        assert f"{tmp_path / 'conf' / 'conf.d' / 'site'}:" in log

    def test_no_conf(self, tmp_path: Path) -> None:
        log = Server(tmp_path, []).refused()
        assert str(tmp_path / "conf") in log
        assert "not starting" in log

    def test_no_directory(self, tmp_path: Path) -> None:
        assert str(tmp_path / "none") in Server(tmp_path / "none", []).refused()

    def test_a_slip_of_the_pen(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "conf").write_text('{"global": {}}')
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d" / "a").write_text('{"vhosts": [{\n  "name": "x",,\n}]}')
        (tmp_path / "conf.d" / "b").write_text('{"vhosts": [{"name": "y", "mounts": 3}]}')
        log = Server(tmp_path, []).refused()
        assert f"{tmp_path / 'conf.d' / 'a'}:2:15: " in log
        assert f"{tmp_path / 'conf.d' / 'b'}:1:" in log  # all files, not only the first fault

    @pytest.mark.parametrize("key", ["username", "groupname"])
    def test_an_unknown_user_or_group(self, root: Path, tmp_path: Path, key: str) -> None:
        log = site_server(tmp_path / "conf", site(root), **{key: "no-such-one"}).refused()
        assert "'no-such-one' on this system" in log
        assert f"global.{key}" in log

    def test_an_access_log_that_cannot_be_opened(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        log = site_server(tmp_path / "conf", site(root, access_log=str(tmp_path / "link"))).refused()
        assert "access-log" in log and str(tmp_path / "link") in log
        assert not (tmp_path / "elsewhere").exists()


class TestPrivileges:
    """Started as root with a user configured (LESSONS 3.34)."""

    def test_root_is_given_up(self, serve: Serve) -> None:
        if os.getuid() != 0:
            give_up("only root has privileges to give up")
        with tempfile.TemporaryDirectory() as name:  # pytest's own are for root only
            folder = Path(name)
            folder.chmod(0o755)
            (folder / "index.html").write_bytes(PAGE)
            log = folder / "access.log"
            server = serve(site(folder, access_log=str(log)), uid=NOBODY, gid=NOBODY)
            with Client(server.connect()) as client:
                assert client.get().body == PAGE
            seen = status(server.pid)
            assert seen["Uid"].split() == seen["Gid"].split() == [str(NOBODY)] * 4
            assert seen["Groups"].split() in ([], [str(NOBODY)])
            assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == 0
            assert log.stat().st_uid == 0  # opened before
