"""Listening sockets: TCP of both families, unix sockets, interfaces."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Iterator

import pytest

from lwsws.net import bind
from lwsws.net.bind import (
    bind_tcp,
    file_id,
    give_away,
    interface_addresses,
    is_dual,
    listen_unix,
    overlap,
    remove_socket_file,
    spot,
    start_listening,
    tcp_address,
    tcp_addresses,
)
from tests.net.support import has_ipv6, listen_tcp

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class TestTcp:
    """bind_tcp and start_listening."""

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
        sock = bind_tcp(tcp_address("127.0.0.1", 0, socket.AF_INET), socket.AF_INET, fastopen=5)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 5
        sock.close()

    def test_only_who_says_so_shares_a_port(self) -> None:
        first = listen_tcp("127.0.0.1", 0, socket.AF_INET)
        port = first.getsockname()[1]
        with pytest.raises(OSError):
            listen_tcp("127.0.0.1", port, socket.AF_INET, reuse_port=True)
        bind.share_port(first)
        listen_tcp("127.0.0.1", port, socket.AF_INET, reuse_port=True).close()
        with pytest.raises(OSError):
            listen_tcp("127.0.0.1", port, socket.AF_INET)
        first.close()

    def test_bound_is_not_listening(self) -> None:
        sock = bind_tcp(tcp_address("127.0.0.1", 0, socket.AF_INET), socket.AF_INET)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(sock.getsockname())
        for _ in range(2):
            start_listening(sock)
            socket.create_connection(sock.getsockname()).close()
        sock.close()

    @needs_ipv6
    def test_a_dual_socket_is_known(self) -> None:
        with socket.socket(socket.AF_INET6) as sock:
            assert is_dual(sock) is (not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            assert is_dual(sock)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            assert not is_dual(sock)
        with socket.socket(socket.AF_INET) as sock:
            assert not is_dual(sock)


class TestSpots:
    """Which addresses are the same, and which take each other's connections."""

    @pytest.mark.parametrize("host, family, expected", [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 80, 0)),
        ("", socket.AF_INET, ("0.0.0.0", 80, 0)),
        ("0:0::1", socket.AF_INET6, ("::1", 80, 0)),
        ("", socket.AF_INET6, ("::", 80, 0)),
        ("fe80::1%lo", socket.AF_INET6, ("fe80::1", 80, 1)),
    ])
    def test_a_spot_has_one_spelling(self, host: str, family: int, expected: bind.Spot) -> None:
        assert spot(tcp_address(host, 80, family)) == expected

    @pytest.mark.parametrize("one, other, expected", [
        (("127.0.0.1", 80, 0), ("127.0.0.1", 80, 0), True),
        (("127.0.0.1", 80, 0), ("127.0.0.1", 81, 0), False),
        (("127.0.0.1", 80, 0), ("127.0.0.2", 80, 0), False),
        (("127.0.0.1", 80, 0), ("0.0.0.0", 80, 0), True),
        (("127.0.0.1", 80, 0), ("0.0.0.0", 81, 0), False),
        (("fe80::1", 80, 1), ("fe80::1", 80, 2), False),
        (("fe80::1", 80, 1), ("::", 80, 0), True),
    ])
    def test_spots_overlap(self, one: bind.Spot, other: bind.Spot, expected: bool) -> None:
        assert overlap(one, other) is expected
        assert overlap(other, one) is expected

    def test_addresses_of_an_interface(self) -> None:
        assert tcp_addresses("", "lo", 80, socket.AF_INET) == [("127.0.0.1", 80)]
        assert tcp_addresses("127.0.0.2", "", 80, socket.AF_INET) == [("127.0.0.2", 80)]
        assert tcp_addresses("", "nosuchif0", 80, socket.AF_INET) == []


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
        first = listen_unix(path)
        first.listen(0)
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

    @pytest.mark.parametrize("prefix", ["/tmp/", "@"])
    def test_a_name_that_is_too_long(self, prefix: str) -> None:
        with pytest.raises(OSError) as caught:
            listen_unix(prefix + "x" * bind.MAX_SOCKET_PATH)
        assert caught.value.errno == errno.ENAMETOOLONG

    def test_an_abstract_one(self, path: str) -> None:
        sock = listen_unix("@" + path[:100])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + path[:100])
        sock.close()
        assert not os.path.lexists(path)


class TestGivingAway:
    """What is given away is the socket that we made, whatever happens to its name."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Iterator[str]:
        """A socket of ours."""
        path = str(tmp_path / "socket")
        sock = listen_unix(path)
        yield path
        sock.close()

    def swap(self, path: str, kind: str) -> None:
        """What somebody who can write to the directory may do between bind(2) and chown(2)."""
        os.rename(path, path + ".moved")
        if kind == "link":
            os.symlink(path + ".moved", path)
        elif kind == "hard link":
            os.link(path + ".moved", path)
        elif kind == "file":
            Path(path).touch()
        elif kind == "foreign socket":
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(path)
            os.chown(path, 12345, -1)

    @needs_root
    def test_one_of_ours(self, path: str) -> None:
        give_away(path, 12345, 23456)
        found = os.stat(path)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o600)

    def test_giving_it_to_oneself(self, path: str) -> None:
        give_away(path, -1, os.getegid())
        assert os.stat(path).st_gid == os.getegid()

    @pytest.mark.parametrize("kind", ["link", "hard link", "file", "nothing"])
    def test_something_else_is_refused(self, path: str, kind: str) -> None:
        self.swap(path, kind)
        with pytest.raises(OSError):
            give_away(path, -1, os.getegid())

    @needs_root
    def test_the_socket_of_somebody_else_is_refused(self, path: str) -> None:
        self.swap(path, "foreign socket")
        with pytest.raises(PermissionError):
            give_away(path, 23456, -1)
        assert os.stat(path).st_uid == 12345

    @needs_root
    def test_a_known_one_may_belong_to_somebody(self, path: str) -> None:
        give_away(path, 12345, 23456, file_id(path))
        give_away(path, 54321, -1, file_id(path))
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (54321, 23456)

    def test_one_of_ours_that_is_not_the_known_one(self, path: str) -> None:
        known = file_id(path)
        os.rename(path, path + ".moved")
        sock = listen_unix(path)
        with pytest.raises(PermissionError):
            give_away(path, -1, os.getegid(), known)
        sock.close()

    def test_removing(self, path: str) -> None:
        known = file_id(path)
        assert known is not None
        remove_socket_file(path, (known[0], known[1] + 1))
        assert os.path.exists(path)
        remove_socket_file(path, known)
        assert not os.path.lexists(path)
        remove_socket_file(path, known)
        remove_socket_file(path + "/nowhere/socket", known)


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
        monkeypatch.setattr(bind, "IF_INET6", str(table))
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
