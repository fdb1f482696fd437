"""The store of listening sockets: what one generation of processes gets.

Each test binds real sockets; the fixture _no_fd_leaks sees to it that none of them is lost.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import List, Tuple

import pytest

from lwsws.net.listening import MAX_PROCESSES, Endpoint, SocketStore, Terms
from tests.net.listening_support import (
    INET,
    INET6,
    UNIX,
    Make,
    at_path,
    few_descriptors,
    fill,
    socket_client,
    waiting,
)
from tests.net.support import has_ipv6, listen_tcp

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A path at which nothing is."""
    return str(tmp_path / "socket")


class TestEndpoint:
    """What it says about itself."""

    @pytest.mark.parametrize("endpoint, text, may_appear, has_file", [
        (Endpoint(INET, "0.0.0.0", 80), "0.0.0.0:80", False, False),
        (Endpoint(INET6, "::", 80), "[::]:80", False, False),
        (Endpoint(INET, "10.0.0.1", 80), "10.0.0.1:80", True, False),
        (Endpoint(INET6, "", 80, interface="eth0"), "eth0 port 80 (IPv6)", True, False),
        (Endpoint(UNIX, "", 0, path="/run/a"), "unix:/run/a", False, True),
        (Endpoint(UNIX, "", 0, path="@a"), "unix:@a", False, False),
        (Endpoint(0, "", 0, name="web"), "systemd:web", False, False),
    ])
    def test_properties(self, endpoint: Endpoint, text: str, may_appear: bool, has_file: bool) -> None:
        assert (str(endpoint), endpoint.may_appear, endpoint.has_file) == (text, may_appear, has_file)


class TestTake:
    """One generation binds."""

    def test_it_listens_at_once(self, generation: Make, loopback: Endpoint) -> None:
        one = generation()
        sock, = one.take(loopback)
        assert one.claims == {loopback}
        assert sock.gettimeout() == 0.0
        assert not sock.get_inheritable()
        fill(("127.0.0.1", loopback.port), 1)
        assert waiting([sock]) == 1

    def test_what_a_process_closes_goes_on(self, generation: Make, loopback: Endpoint) -> None:
        one = generation()
        one.take(loopback)
        one.end()
        fill(("127.0.0.1", loopback.port), 3)
        assert waiting(one.take(loopback)) == 3

    def test_each_process_has_a_part(self, generation: Make, loopback: Endpoint) -> None:
        one = generation(count=4)
        parts = one.take_all(loopback)
        assert [len(part) for part in parts] == [1, 1, 1, 1]
        fill(("127.0.0.1", loopback.port))
        shares = [waiting(part) for part in parts]
        assert sum(shares) == 64
        assert min(shares) > 0, "the kernel does not know that they are one group"

    def test_a_port_that_the_kernel_chooses(self, generation: Make) -> None:
        parts = generation(count=3).take_all(Endpoint(INET, "127.0.0.1", 0))
        assert len({part[0].getsockname() for part in parts}) == 1

    @needs_ipv6
    def test_both_families(self, generation: Make, port: int) -> None:
        one = generation(count=2)
        for endpoint in (Endpoint(INET, "0.0.0.0", port), Endpoint(INET6, "::", port)):
            assert one.take(endpoint)[0].family == endpoint.family

    def test_an_interface(self, generation: Make, port: int) -> None:
        sock, = generation().take(Endpoint(INET, "", port, interface="lo"))
        assert sock.getsockname() == ("127.0.0.1", port)

    def test_a_port_in_use_is_refused(self, store: SocketStore, generation: Make, loopback: Endpoint) -> None:
        """Also if both would share it: that is another server's."""
        other = listen_tcp("127.0.0.1", loopback.port, INET, reuse_port=True)
        for count in (1, 2):
            one = generation(count)
            with pytest.raises(OSError) as caught:
                one.take(loopback)
            assert caught.value.errno == errno.EADDRINUSE
            assert one.claims == set()
        other.close()
        generation().take(loopback)

    @pytest.mark.parametrize("endpoint, expected", [
        (Endpoint(INET, "192.0.2.1", 80), errno.EADDRNOTAVAIL),
        (Endpoint(INET, "", 80, interface="nosuchif0"), errno.EADDRNOTAVAIL),
        (Endpoint(UNIX, "", 0, path="/nowhere/socket"), errno.ENOENT),
        (Endpoint(0, "", 0, name="web"), errno.ENOENT),
        (Endpoint(0, "127.0.0.1", 80), errno.EINVAL),
        (Endpoint(UNIX, "127.0.0.1", 80), errno.EINVAL),
        (Endpoint(INET, "127.0.0.1", 0x10000), errno.EINVAL),
        (Endpoint(INET, "127.0.0.1", -1), errno.EINVAL),
        (Endpoint(INET, "localhost", 80), socket.EAI_NONAME),
    ])
    def test_what_cannot_be_had(self, generation: Make, endpoint: Endpoint, expected: int) -> None:
        one = generation()
        with pytest.raises(OSError) as caught:
            one.take(endpoint)
        assert caught.value.errno == expected
        assert one.claims == set()

    @pytest.mark.parametrize("terms, index", [
        (Terms(0), 0), (Terms(-1), 0), (Terms(MAX_PROCESSES + 1), 0), (Terms(2), 2), (Terms(2), -1),
        (Terms(fastopen=-1), 0), (Terms(fastopen=1 << 40), 0), (Terms(uid=-2), 0), (Terms(gid=1 << 32), 0),
    ])
    def test_numbers_that_make_no_sense(
        self, store: SocketStore, loopback: Endpoint, terms: Terms, index: int
    ) -> None:
        with pytest.raises(OSError) as caught:
            store.take(loopback, terms, set(), index)
        assert caught.value.errno == errno.EINVAL

    @pytest.mark.parametrize("hosts", [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
    def test_one_generation_may_not_have_overlapping_addresses(
        self, generation: Make, port: int, hosts: Tuple[str, str]
    ) -> None:
        """Neither at start nor, where it would be possible, in a reload."""
        first, second = (Endpoint(INET, host, port) for host in hosts)
        old = generation()
        old.take(first)
        for one in (old, generation()):
            one.take(first)
            with pytest.raises(OSError) as caught:
                one.take(second)
            assert caught.value.errno == errno.EADDRINUSE
        new = generation()
        new.take(second)
        with pytest.raises(OSError):
            new.take(first)

    def test_fast_open(self, generation: Make, loopback: Endpoint) -> None:
        def queues(sockets: List[socket.socket]) -> List[int]:
            return [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) for sock in sockets]

        old = generation(count=2, fastopen=5)
        old.take_all(loopback)
        assert queues(old.taken) == [5, 5]
        new = generation(count=3, fastopen=7)
        new.take_all(loopback)
        assert queues(new.taken) == [7, 7, 7]
        new.store.revert(old.claims)
        assert queues(old.taken) == [5, 5]

    def test_a_long_queue_for_fast_open(self, generation: Make, loopback: Endpoint) -> None:
        """As long as the configuration may name one; the kernel cuts it."""
        assert len(generation(fastopen=2 ** 31 - 1).take(loopback)) == 1


class TestNothingLeftBehind:
    """A take() that fails changes nothing, wherever it fails."""

    @pytest.mark.parametrize("count", range(6))
    def test_out_of_descriptors(self, generation: Make, loopback: Endpoint, count: int) -> None:
        """Four are bound, and one of them is duplicated."""
        one = generation(count=4)
        with few_descriptors(count), pytest.raises(OSError) as caught:
            for _ in range(3):
                one.take(loopback)
        assert caught.value.errno == errno.EMFILE
        if count < 5:
            assert one.claims == set()
            listen_tcp("127.0.0.1", loopback.port, INET).close()

    @pytest.mark.parametrize("count", range(4))
    def test_out_of_descriptors_while_growing(
        self, store: SocketStore, generation: Make, loopback: Endpoint, count: int
    ) -> None:
        old, new = generation(), generation(count=4)
        old.take(loopback)
        with few_descriptors(count), pytest.raises(OSError) as caught:
            new.take(loopback)
        assert caught.value.errno == errno.EMFILE
        assert new.claims == set()
        store.keep_only(old.claims)
        assert len(old.take(loopback)) == 1

    def test_a_file_that_cannot_be_given_away(
        self, generation: Make, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(path: str, uid: int, gid: int) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted", path)

        monkeypatch.setattr(os, "chown", refused)
        one = generation(uid=12345)
        with pytest.raises(PermissionError):
            one.take(at_path(path))
        assert not os.path.lexists(path)
        assert one.claims == set()
        # One that was there stays as it is.
        old, new = generation(), generation(uid=12345)
        old.take(at_path(path))
        with pytest.raises(PermissionError):
            new.take(at_path(path))
        socket_client(path).close()
        assert len(old.take(at_path(path))) == 1
