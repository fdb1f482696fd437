"""A config directory of five vhosts, each in its file: two share a port, one is on a unix socket, one on
IPv6 only, and one on an interface that appears while the others serve."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import pytest

from tests.interop.conftest import Serve
from tests.support.bytecode import shared_bytecode
from tests.support.client import Answer, Client
from tests.support.netns import Network
from tests.support.programs import need
from tests.support.server import Server, connect, file_mount, free_ports, site_server, write_config
from tests.support.source import ROOT
from tests.support.waiting import wait_until

LATE = "lwst0"  # the interface that is not there at first
LATE_ADDRESS = "192.0.2.7"  # RFC 5737: for documentation, so nobody has it
LATE_URL = f"http://{LATE_ADDRESS}:8082/"
LATE_SECONDS = 6.0  # the server looks every two seconds

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")


def docroot(folder: Path, name: str) -> Path:
    """A directory whose one page says whose it is."""
    root = folder / "www" / name
    root.mkdir(parents=True)
    (root / "index.html").write_text(f"<p>This is {name}</p>")
    return root


def five_vhosts(folder: Path, ports: List[int]) -> Path:
    """The configuration directory; `ports` are for the two that share, the IPv6 and the late one."""
    keys: List[Dict[str, Any]] = [
        {"port": ports[0]},
        {"port": str(ports[0])},
        {"unix-socket": "1", "interface": str(folder / "gamma.sock")},
        {"port": ports[1], "ipv6only": "on"},
        {"port": ports[2], "interface": LATE, "noipv6": "1"},
    ]
    (folder / "conf.d").mkdir()
    (folder / "conf").write_text('# the global section\n{"global": {"server-string": "five"}}\n')
    for name, more in zip(NAMES, keys):
        vhost = {"name": f"{name}.test", "mounts": [file_mount(docroot(folder, name))], **more}
        text = f"# the site of {name}\n" + json.dumps({"vhosts": [vhost]}, indent=1)
        (folder / "conf.d" / f"{name}.test").write_text(text)
    return folder


def ask(sock: socket.socket, host: str) -> Tuple[int, str]:
    """Status and page of / on a new connection, with this Host field."""
    with Client(sock) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer: Answer = client.answer()
        return answer.status, answer.body.decode()


def page(name: str) -> Tuple[int, str]:
    """What `ask` gives for the page of vhost `name`."""
    return 200, f"<p>This is {name}</p>"


@pytest.fixture(scope="module")
def ports() -> List[int]:
    """The ports of the two that share, of the IPv6 one and of the late one."""
    return free_ports(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the configuration, the pages and the unix socket are."""
    return tmp_path_factory.mktemp("five")


@pytest.fixture(scope="module")
def server(folder: Path, ports: List[int]) -> Iterator[Server]:
    """The five vhosts on this machine, where the late interface never appears."""
    with Server(five_vhosts(folder, ports), [("127.0.0.1", ports[0])]) as started:
        yield started


class TestOnThisMachine:
    """All that needs neither root nor an interface."""

    @pytest.mark.parametrize(
        "host, name",
        [
            ("alpha.test", "alpha"),
            ("beta.test", "beta"),
            ("BETA.Test", "beta"),
            ("beta.test:{}", "beta"),
            ("www.beta.test", "beta"),
            ("nobody.test", "alpha"),
            ("127.0.0.1:{}", "alpha"),
            ("gamma.test", "alpha"),
        ],
    )
    def test_two_share_a_port(self, server: Server, ports: List[int], host: str, name: str) -> None:
        assert ask(server.connect(), host.format(ports[0])) == page(name)

    def test_without_a_name_the_first_one_answers(self, server: Server) -> None:
        with Client(server.connect()) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.answer().body == page("alpha")[1].encode()

    def test_the_unix_socket_is_for_its_owner_only(self, server: Server, folder: Path) -> None:
        path = folder / "gamma.sock"
        found = path.lstat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_uid == os.getuid()
        assert ask(connect(str(path)), "anything") == page("gamma")

    def test_curl_talks_to_the_unix_socket(self, server: Server, folder: Path) -> None:
        curl = [need("curl"), "-sS", "-m", "10", "--unix-socket", str(folder / "gamma.sock")]
        done = subprocess.run(
            [*curl, "-w", "%{http_code} %{num_connects}\n", "http://x/", "http://x/?2"],
            stdout=subprocess.PIPE,
            check=True,
        )
        gamma = page("gamma")[1]
        assert done.stdout.decode() == f"{gamma}200 1\n{gamma}200 0\n"

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
    def test_the_ipv6_one_is_on_ipv6_only(self, server: Server, ports: List[int]) -> None:
        assert ask(connect(("::1", ports[1])), "delta.test") == page("delta")
        with pytest.raises(ConnectionRefusedError):
            connect(("127.0.0.1", ports[1]))

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
    def test_the_shared_port_is_on_both(self, server: Server, ports: List[int]) -> None:
        assert ask(connect(("::1", ports[0])), "beta.test") == page("beta")

    def test_the_log_says_what_is_where(self, server: Server, ports: List[int], folder: Path) -> None:
        log = server.log()
        text = (folder / "conf.d" / "epsilon.test").read_text()
        line = text[: text.index('"interface"')].count("\n") + 1
        default = "for alpha.test, beta.test; alpha.test answers unknown names"
        assert f"listening on 0.0.0.0:{ports[0]} {default}\n" in log
        assert f"listening on unix:{folder / 'gamma.sock'} for gamma.test\n" in log
        assert f"http://beta.test:{ports[0]}/ -> file://{folder / 'www' / 'beta'}\n" in log
        assert f"0.0.0.0:{ports[1]}" not in log
        assert f"{folder / 'conf.d' / 'epsilon.test'}:{line}:17: vhosts[0].interface: there is" in log
        assert f"there is no network interface '{LATE}' now" in log
        assert f"{LATE} port {ports[2]} (IPv4): its address does not exist; looking for it" in log
        assert log.count("looking for it") == 1


class TestUnixSocketFile:
    """What lies at the path of the socket before and after (LESSONS 3.35)."""

    @pytest.fixture
    def start(self, serve: Serve, tmp_path: Path) -> Callable[[], Server]:
        root = docroot(tmp_path, "gamma")
        vhost = {"unix-socket": "1", "interface": str(tmp_path / "sock"), "mounts": [file_mount(root)]}
        return lambda: serve([vhost])

    def test_it_is_removed_at_the_end(self, start: Callable[[], Server], tmp_path: Path) -> None:
        server = start()
        assert ask(server.connect(), "x") == page("gamma")
        server.stop()
        assert not os.path.lexists(tmp_path / "sock")

    def test_one_that_a_crash_left_is_replaced(self, start: Callable[[], Server], tmp_path: Path) -> None:
        start().kill()
        assert stat.S_ISSOCK((tmp_path / "sock").lstat().st_mode)
        assert ask(start().connect(), "x") == page("gamma")

    @pytest.mark.parametrize("kind", ["file", "link", "directory"])
    def test_anything_else_is_left_alone(self, tmp_path: Path, kind: str) -> None:
        path, precious = tmp_path / "sock", tmp_path / "precious"
        precious.write_text("precious")
        if kind == "file":
            path.write_text("precious")
        elif kind == "link":
            path.symlink_to(precious)
        else:
            path.mkdir()
        said = refused(tmp_path, path)
        assert f"{str(path)!r} exists and is not a socket" in said
        assert os.path.lexists(path) and path.is_symlink() == (kind == "link")
        assert kind == "directory" or path.read_text() == "precious"

    def test_one_in_use_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "sock"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            said = refused(tmp_path, path)
            assert f"cannot listen on unix:{path}: another process listens on it" in said
            connect(str(path)).close()

    def test_a_second_server_does_not_harm_the_first(
        self, start: Callable[[], Server], tmp_path: Path
    ) -> None:
        first = start()
        assert "another process listens on it" in Server(tmp_path / "conf0", []).refused()
        assert ask(first.connect(), "x") == page("gamma")


def refused(tmp_path: Path, path: Path) -> str:
    """What the server says when it will not start with a unix socket at `path`."""
    vhost = {"unix-socket": "1", "interface": str(path), "mounts": [file_mount(tmp_path)]}
    return site_server(tmp_path / "conf", [vhost]).refused()


class Late(NamedTuple):
    """A network whose late interface has its address now, and what serves there: the five vhosts, and the
    usual configuration, which is port 80 and a user who serves; the parent binds it for him."""

    network: Network
    five: Server
    usual: Server

    def fetch(self, url: str, host: str = LATE_ADDRESS) -> str:
        """What curl shows of `url`; "" if nobody answers."""
        command = self.network.inside(need("curl"), "-s", "-g", "-m", "5", "-H", f"Host: {host}", url)
        return subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.decode()

    def others_serve(self) -> None:
        """The vhosts of the five that are not on the late interface do."""
        others = {"alpha": "127.0.0.1:8080", "beta": "127.0.0.1:8080", "delta": "[::1]:8081"}
        for name, address in others.items():
            assert self.fetch(f"http://{address}/", f"{name}.test") == page(name)[1]
        assert ask(self.five.connect(), "x") == page("gamma")

    def appear(self) -> None:
        """Make the interface, and give it its address."""
        self.network.add_interface(LATE)
        self.others_serve()
        self.network.ip(f"addr add {LATE_ADDRESS}/24 dev {LATE}")
        self.network.ip(f"link set {LATE} up")


def started(network: Network, confdir: Path, path: Path) -> Server:
    """A server in `network`; its unix socket tells when it is ready, as a path is in every network."""
    command = network.inside(sys.executable, str(ROOT / "lwsws.py"), "-c", str(confdir))
    return Server(confdir, [str(path)], command=command, environment=shared_bytecode())


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Late]:
    """The interface appears when both servers look for it, and those of the five that can serve do."""
    folder, usual = tmp_path_factory.mktemp("late"), tmp_path_factory.mktemp("usual")
    five = five_vhosts(folder, [8080, 8081, 8082])
    vhosts: List[Dict[str, Any]] = [
        {"name": "a.test", "mounts": [], "unix-socket": "1", "interface": str(usual / "sock")},
        {"name": "b.test", "mounts": [], "port": 80, "interface": LATE, "noipv6": "1"},
    ]
    write_config(usual, vhosts, uid=65534, gid=65534)
    with Network() as network:
        network.ip("link set lo up")
        with started(network, five, folder / "gamma.sock") as one, \
                started(network, usual, usual / "sock") as other:
            late = Late(network, one, other)
            one.wait_for(f"{LATE} port 8082 (IPv4): its address does not exist; looking for it")
            other.wait_for("looking for it")
            late.others_serve()
            assert late.fetch(LATE_URL) == ""
            late.appear()
            yield late


class TestInterfaceThatAppears:
    """The fifth vhost gets its interface while the others serve."""

    def test_it(self, late: Late) -> None:
        wait_until(lambda: late.fetch(LATE_URL) == page("epsilon")[1], "the late vhost", LATE_SECONDS)
        late.others_serve()
        log = late.five.log()
        assert f"{LATE} port 8082 (IPv4): its address is there now\n" in log
        assert log.count("looking for it") == 1

    def test_on_a_port_that_needs_root(self, late: Late) -> None:
        late.usual.wait_for("its address is there now", LATE_SECONDS)
        assert "404" in late.fetch(f"http://{LATE_ADDRESS}/")
