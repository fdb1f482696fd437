"""Listening sockets: TCP of both families, unix sockets, interfaces, waiting for an address."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Iterator, List

import pytest

from lwsws.net import addresses
from lwsws.net.addresses import RETRY_SECONDS, BindRetry, interface_addresses, listen_tcp, listen_unix
from lwsws.net.reactor import Reactor
from tests.net.support import settle
from tests.support.clock import ManualClock


def has_ipv6() -> bool:
    """Whether the loopback has its IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback")


class TestTcp:
    """listen_tcp."""

    @pytest.mark.parametrize(
        "family, host",
        [
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET, ""),
            pytest.param(socket.AF_INET6, "::1", marks=needs_ipv6),
            pytest.param(socket.AF_INET6, "", marks=needs_ipv6),
        ],
    )
    def test_it_listens(self, family: int, host: str) -> None:
        sock = listen_tcp(host, 0, family)
        assert sock.family == family
        assert sock.gettimeout() == 0.0
        assert not sock.get_inheritable()
        loopback = "127.0.0.1" if family == socket.AF_INET else "::1"
        socket.create_connection((loopback, sock.getsockname()[1])).close()
        sock.close()

    @needs_ipv6
    def test_ipv6_sockets_leave_ipv4_alone(self) -> None:
        six = listen_tcp("", 0, socket.AF_INET6)
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        # On this port, IPv4 belongs to whoever listens there, and that is not us.
        with socket.socket() as four:
            four.connect_ex(("127.0.0.1", six.getsockname()[1]))
        with pytest.raises(BlockingIOError):
            six.accept()
        six.close()

    def test_a_port_in_time_wait_can_be_had_again(self) -> None:
        sock = listen_tcp("127.0.0.1", 0, socket.AF_INET)
        port = sock.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(True)
        accepted, _ = sock.accept()
        accepted.close()  # closing first is what leads to TIME_WAIT
        client.close()
        sock.close()
        listen_tcp("127.0.0.1", port, socket.AF_INET).close()

    def test_a_port_in_use_is_refused(self) -> None:
        sock = listen_tcp("127.0.0.1", 0, socket.AF_INET)
        with pytest.raises(OSError) as caught:
            listen_tcp("127.0.0.1", sock.getsockname()[1], socket.AF_INET)
        assert caught.value.errno == errno.EADDRINUSE
        sock.close()

    def test_an_address_that_is_not_ours(self) -> None:
        with pytest.raises(OSError) as caught:
            listen_tcp("192.0.2.1", 0, socket.AF_INET)
        assert caught.value.errno == errno.EADDRNOTAVAIL

    @pytest.mark.parametrize("host", ["localhost", "::1", "127.0.0.256"])
    def test_only_literal_addresses_of_the_family(self, host: str) -> None:
        with pytest.raises(OSError):
            listen_tcp(host, 0, socket.AF_INET)

    def test_fast_open(self) -> None:
        sock = listen_tcp("127.0.0.1", 0, socket.AF_INET, fastopen=5)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 5
        sock.close()


class TestUnix:
    """listen_unix: LESSONS 3.35."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        """A path at which nothing is."""
        return str(tmp_path / "socket")

    @pytest.fixture(autouse=True)
    def _umask(self) -> Iterator[None]:
        umask = os.umask(0o022)
        yield
        assert os.umask(umask) == 0o022, "the umask was not restored"

    def test_only_the_owner_may_connect(self, path: str) -> None:
        sock = listen_unix(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert sock.gettimeout() == 0.0
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        sock.close()

    def test_it_is_given_away(self, path: str) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root")
        sock = listen_unix(path, 12345, 23456)
        found = os.stat(path)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o600)
        sock.close()

    def test_giving_it_to_oneself(self, path: str) -> None:
        listen_unix(path, gid=os.getegid()).close()
        assert os.stat(path).st_gid == os.getegid()

    def test_what_cannot_be_given_away_leaves_nothing_behind(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(path: str, uid: int, gid: int, *, follow_symlinks: bool) -> None:
            assert not follow_symlinks
            raise PermissionError(errno.EPERM, "Operation not permitted", path)

        monkeypatch.setattr(os, "chown", refused)
        with pytest.raises(PermissionError):
            listen_unix(path, 12345, 23456)
        assert not os.path.lexists(path)

    def test_the_socket_of_a_server_that_is_gone_is_replaced(self, path: str) -> None:
        listen_unix(path).close()
        assert os.path.exists(path)
        sock = listen_unix(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        sock.close()

    def test_a_living_server_is_left_alone(self, path: str) -> None:
        first = listen_unix(path)
        with pytest.raises(OSError) as caught:
            listen_unix(path)
        assert caught.value.errno == errno.EADDRINUSE
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        first.close()

    def test_a_living_server_with_a_full_backlog_is_left_alone(self, path: str) -> None:
        first = listen_unix(path, backlog=0)
        clients = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            clients.append(client)
            client.setblocking(False)
            try:
                client.connect(path)
            except BlockingIOError:
                break
        with pytest.raises(OSError) as caught:
            listen_unix(path)
        assert caught.value.errno == errno.EADDRINUSE
        for client in clients:
            client.close()
        first.close()

    @pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling link", "datagram socket"])
    def test_what_is_no_stream_socket_is_left_alone(self, path: str, tmp_path: Path, kind: str) -> None:
        other = None
        if kind == "file":
            Path(path).write_text("precious", encoding="ascii")
        elif kind == "directory":
            os.mkdir(path)
        elif kind == "link":
            listen_unix(str(tmp_path / "target")).close()
            os.symlink(str(tmp_path / "target"), path)
        elif kind == "dangling link":
            os.symlink(str(tmp_path / "nothing"), path)
        else:
            other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            other.bind(path)
        before = os.lstat(path)
        with pytest.raises(OSError) as caught:
            listen_unix(path)
        assert caught.value.errno
        assert os.lstat(path) == before
        if other is not None:
            other.close()

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            listen_unix(str(tmp_path / "nowhere" / "socket"))


class TestInterfaces:
    """interface_addresses."""

    def test_the_loopback(self) -> None:
        assert interface_addresses("lo", socket.AF_INET) == ["127.0.0.1"]

    @needs_ipv6
    def test_the_loopback_of_ipv6(self) -> None:
        assert interface_addresses("lo", socket.AF_INET6) == ["::1"]

    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    @pytest.mark.parametrize("name", ["nosuchif0", "", "an-interface-name-that-is-too-long", "lo\0"])
    def test_no_such_interface(self, name: str, family: int) -> None:
        assert interface_addresses(name, family) == []

    def test_ipv6_addresses_of_all_kinds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Link-local ones need their scope; tentative and double ones cannot be bound."""
        table = tmp_path / "if_inet6"
        table.write_text(
            "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n"
            "fd000000000000000000000000000002 04 40 00 82     eth0\n"
            "20010db8000000000000000000000001 04 40 00 40     eth0\n"
            "20010db8000000000000000000000002 04 40 00 08     eth0\n"
            "20010db8000000000000000000000003 05 40 00 80    eth01\n"
            "00000000000000000000000000000001 01 80 10 80       lo\n",
            encoding="ascii",
        )
        monkeypatch.setattr(addresses, "IF_INET6", str(table))
        assert interface_addresses("eth0", socket.AF_INET6) == ["fe80::fc:ff:fe00:1%eth0", "fd00::2"]
        table.unlink()
        assert interface_addresses("eth0", socket.AF_INET6) == []

    @needs_ipv6
    def test_link_local_addresses_can_be_bound(self) -> None:
        for _, name in socket.if_nameindex():
            for address in interface_addresses(name, socket.AF_INET6):
                if "%" in address:
                    listen_tcp(address, 0, socket.AF_INET6).close()
                    return
        pytest.skip("needs an interface with a link-local address")


class TestBindRetry:
    """LESSONS 2, Network: an address that comes later; logged once, not at each look."""

    class Binding:
        """A bind that fails as told."""

        def __init__(self) -> None:
            self.fault = errno.EADDRNOTAVAIL
            self.tries = 0
            self.bound: List[socket.socket] = []

        def bind(self) -> socket.socket:
            """Fail, or give a listening socket."""
            self.tries += 1
            if self.fault:
                raise OSError(self.fault, os.strerror(self.fault))
            return listen_tcp("127.0.0.1", 0, socket.AF_INET)

    def test_it_binds_when_the_address_is_there(
        self, reactor: Reactor, clock: ManualClock, capfd: pytest.CaptureFixture[str]
    ) -> None:
        binding = self.Binding()
        BindRetry(reactor, binding.bind, binding.bound.append, "eth9:80")
        assert capfd.readouterr().err.count("eth9:80: its address does not exist") == 1
        for fault in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.EADDRNOTAVAIL):
            binding.fault = fault
            clock.advance(RETRY_SECONDS)
            settle(reactor)
        assert (binding.tries, binding.bound) == (3, [])
        assert capfd.readouterr().err == ""
        binding.fault = 0
        settle(reactor)
        assert binding.bound == []
        clock.advance(RETRY_SECONDS)
        settle(reactor)
        assert len(binding.bound) == 1
        assert capfd.readouterr().err.count("eth9:80: its address is there now") == 1
        clock.advance(10 * RETRY_SECONDS)
        settle(reactor)
        assert binding.tries == 4
        binding.bound[0].close()

    def test_another_fault_is_logged_once_and_waited_out(
        self, reactor: Reactor, clock: ManualClock, capfd: pytest.CaptureFixture[str]
    ) -> None:
        binding = self.Binding()
        BindRetry(reactor, binding.bind, binding.bound.append, "eth9:80")
        binding.fault = errno.EADDRINUSE
        for _ in range(3):
            clock.advance(RETRY_SECONDS)
            settle(reactor)
        assert capfd.readouterr().err.count("eth9:80: Address already in use") == 1
        binding.fault = 0
        clock.advance(RETRY_SECONDS)
        settle(reactor)
        binding.bound[0].close()

    def test_cancel(self, reactor: Reactor, clock: ManualClock) -> None:
        binding = self.Binding()
        retry = BindRetry(reactor, binding.bind, binding.bound.append, "eth9:80")
        clock.advance(RETRY_SECONDS)
        settle(reactor)
        retry.cancel()
        clock.advance(RETRY_SECONDS)
        settle(reactor)
        assert binding.tries == 1
