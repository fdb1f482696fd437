"""Sockets that systemd passes: which endpoint means which of them."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Iterator, List, Set

import pytest

from lwsws.net.given import Given
from lwsws.net.listening import Endpoint, SocketStore, Terms
from tests.net.support import has_ipv6

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback")

INET, INET6, UNIX = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)


def tcp(host: str, port: int = 0) -> socket.socket:
    """A listening socket as systemd makes it: blocking."""
    return socket.create_server((host, port))


def dual(port: int = 0) -> socket.socket:
    """One that takes both families, as ListenStream=80 makes it."""
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)


def port_of(sock: socket.socket) -> int:
    """What it is bound to."""
    return int(sock.getsockname()[1])


class Taking:
    """A store with given sockets, and a generation that takes from it."""

    def __init__(self, *given: Given) -> None:
        self.store = SocketStore(given)
        self.claims: Set[Endpoint] = set()
        self.taken: List[socket.socket] = []

    def take(self, endpoint: Endpoint, terms: Terms = Terms(), index: int = 0) -> List[int]:  # noqa: B008
        """The inodes of what one process gets, which tell sockets apart."""
        sockets = self.store.take(endpoint, terms, self.claims, index)
        self.taken += sockets
        return [inode(sock) for sock in sockets]

    def close(self) -> None:
        """End all of it."""
        for sock in self.taken:
            sock.close()
        self.store.close()


def inode(sock: socket.socket) -> int:
    """Duplicates have the same."""
    return os.fstat(sock.fileno()).st_ino


@pytest.fixture
def closing() -> Iterator[List[Taking]]:
    """What is put in is closed at the end."""
    made: List[Taking] = []
    yield made
    for one in made:
        one.close()


def given(closing: List[Taking], *sockets: Given) -> Taking:
    """A store with these."""
    closing.append(Taking(*sockets))
    return closing[-1]


class TestByName:
    """`listen-fd`."""

    def test_one(self, closing: List[Taking]) -> None:
        web = tcp("127.0.0.1")
        it = given(closing, Given("other", tcp("127.0.0.1")), Given("web", web))
        endpoint = Endpoint(0, "", 0, name="web")
        assert it.take(endpoint) == [inode(web)]
        assert it.claims == {endpoint}
        assert it.taken[0].gettimeout() == 0.0
        assert not os.get_blocking(it.taken[0].fileno())

    def test_several_with_one_name_go_to_every_process(self, closing: List[Taking]) -> None:
        """One .socket unit with several ListenStream= lines."""
        sockets = [tcp("127.0.0.1"), tcp("127.0.0.1")]
        it = given(closing, *(Given("web", sock) for sock in sockets))
        expected = [inode(sock) for sock in sockets]
        for index in range(3):
            assert it.take(Endpoint(0, "", 0, name="web"), Terms(3), index) == expected

    def test_one_that_is_not_passed(self, closing: List[Taking]) -> None:
        it = given(closing, Given("other", tcp("127.0.0.1")))
        with pytest.raises(OSError, match="systemd passes no socket named 'web'") as caught:
            it.take(Endpoint(0, "", 0, name="web"))
        assert caught.value.errno == errno.ENOENT

    def test_not_for_two(self, closing: List[Taking]) -> None:
        """Two vhosts would answer by turns."""
        sock = tcp("127.0.0.1")
        it = given(closing, Given("web", sock))
        it.take(Endpoint(0, "", 0, name="web"))
        with pytest.raises(OSError, match=r"systemd:web has the socket web \(127\.0\.0\.1:") as caught:
            it.take(Endpoint(INET, "127.0.0.1", port_of(sock)))
        assert caught.value.errno == errno.EADDRINUSE


class TestByAddress:
    """An endpoint as it would be bound without systemd."""

    def test_tcp(self, closing: List[Taking]) -> None:
        sock = tcp("127.0.0.1")
        it = given(closing, Given("x", sock))
        assert it.take(Endpoint(INET, "127.0.0.1", port_of(sock)), Terms(4), 3) == [inode(sock)]
        assert it.store.unused() == []

    def test_an_interface(self, closing: List[Taking]) -> None:
        sock = tcp("127.0.0.1")
        it = given(closing, Given("x", sock))
        assert it.take(Endpoint(INET, "", port_of(sock), interface="lo")) == [inode(sock)]

    def test_unix(self, closing: List[Taking], tmp_path: Path) -> None:
        """Its file is systemd's: it stays, and keeps its owner."""
        path = str(tmp_path / "socket")
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        it = given(closing, Given("x", sock))
        before = os.stat(path)
        assert it.take(Endpoint(UNIX, "", 0, path=path), Terms(uid=12345)) == [inode(sock)]
        it.store.keep_only(())
        assert os.stat(path) == before
        it.store.close()
        assert os.path.exists(path)

    def test_abstract(self, closing: List[Taking]) -> None:
        name = f"lwsws-test-{os.getpid()}"
        sock = socket.socket(socket.AF_UNIX)
        sock.bind("\0" + name)
        sock.listen()
        it = given(closing, Given("x", sock))
        assert it.take(Endpoint(UNIX, "", 0, path="@" + name)) == [inode(sock)]

    def test_what_it_blocks_is_said(self, closing: List[Taking]) -> None:
        sock = tcp("0.0.0.0")
        it = given(closing, Given("web", sock))
        with pytest.raises(OSError, match=r"socket for that port: web \(0\.0\.0\.0:") as caught:
            it.take(Endpoint(INET, "127.0.0.1", port_of(sock)))
        assert caught.value.errno == errno.EADDRINUSE
        assert it.claims == set()

    def test_other_ports_are_bound(self, closing: List[Taking]) -> None:
        it = given(closing, Given("web", tcp("127.0.0.1")))
        taken, = it.take(Endpoint(INET, "127.0.0.1", 0))
        assert taken != inode(it.taken[0]) or it.store.unused()


@needs_ipv6
class TestDual:
    """[::] with IPv4: who asks first has it, the other is covered."""

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_both(self, closing: List[Taking], order: List[int]) -> None:
        sock = dual()
        both = [Endpoint(INET, "0.0.0.0", port_of(sock)), Endpoint(INET6, "::", port_of(sock))]
        first, second = (both[index] for index in order)
        it = given(closing, Given("web", sock))
        for _ in range(2):      # each process, and one that was restarted
            assert it.take(first) == [inode(sock)]
            assert it.take(second) == []
            assert it.claims == {first}

    @pytest.mark.parametrize("family, host", [(INET, "0.0.0.0"), (INET6, "::")])
    def test_alone(self, closing: List[Taking], family: int, host: str) -> None:
        sock = dual()
        it = given(closing, Given("web", sock))
        assert it.take(Endpoint(family, host, port_of(sock))) == [inode(sock)]

    def test_one_for_ipv6_alone_covers_nothing(self, closing: List[Taking]) -> None:
        six = socket.create_server(("::", 0), family=socket.AF_INET6)
        it = given(closing, Given("web", six))
        it.take(Endpoint(INET6, "::", port_of(six)))
        four, = it.take(Endpoint(INET, "0.0.0.0", port_of(six)))
        assert four != inode(six)

    def test_a_single_ipv4_address_is_not_covered(self, closing: List[Taking]) -> None:
        """Its vhost is not for all the world."""
        sock = dual()
        it = given(closing, Given("web", sock))
        with pytest.raises(OSError, match="systemd passes a socket for that port"):
            it.take(Endpoint(INET, "127.0.0.1", port_of(sock)))

    def test_ipv6_is_written_with_brackets(self, closing: List[Taking]) -> None:
        sock = dual()
        assert given(closing, Given("web", sock)).store.unused() == [f"web ([::]:{port_of(sock)})"]


class TestReload:
    """What is passed stays, whoever uses it."""

    def test_it_is_kept_for_later(self, closing: List[Taking]) -> None:
        sock = tcp("127.0.0.1")
        endpoint = Endpoint(INET, "127.0.0.1", port_of(sock))
        it = given(closing, Given("web", sock))
        label = f"web (127.0.0.1:{port_of(sock)})"
        assert it.store.unused() == [label]
        it.take(endpoint)
        assert it.store.unused() == []
        it.store.keep_only(())
        assert it.store.unused() == [label]
        it.claims = set()
        assert it.take(endpoint) == [inode(sock)]
        it.store.revert(())
        assert it.store.unused() == [label]

    def test_from_address_to_name(self, closing: List[Taking]) -> None:
        """Both generations use it for a while."""
        sock = tcp("127.0.0.1")
        it = given(closing, Given("web", sock))
        it.take(Endpoint(INET, "127.0.0.1", port_of(sock)))
        it.claims = set()
        assert it.take(Endpoint(0, "", 0, name="web")) == [inode(sock)]

    def test_abandoned(self, closing: List[Taking]) -> None:
        sock = tcp("127.0.0.1")
        given(closing, Given("web", sock)).store.abandon()
        assert sock.fileno() == -1
