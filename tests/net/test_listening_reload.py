"""The store of listening sockets when a new generation of processes comes: it takes over, or it fails.

Nothing that waits in a backlog may be lost, and no client may come to who does not serve yet.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Set, Tuple

import pytest

from lwsws.net import bind
from lwsws.net.listening import Endpoint, SocketStore, Terms
from tests.net.listening_support import (
    INET,
    Make,
    at_path,
    fill,
    is_listening,
    socket_client,
    waiting,
)
from tests.net.support import listen_tcp

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A path at which nothing is."""
    return str(tmp_path / "socket")


class TestReload:
    """A new generation comes: it takes over, or it fails."""

    def test_the_same_sockets_go_on(self, store: SocketStore, generation: Make, loopback: Endpoint) -> None:
        old, new = generation(count=2), generation(count=2)
        old.take_all(loopback)
        fill(("127.0.0.1", loopback.port))
        new.take_all(loopback)
        store.keep_only(new.claims)
        old.end()
        assert waiting(new.taken) == 64

    @pytest.mark.parametrize("counts", [(1, 2), (2, 4), (1, 3), (4, 2), (3, 1), (4, 3)])
    def test_more_or_fewer_processes(
        self, store: SocketStore, generation: Make, loopback: Endpoint, counts: Tuple[int, int]
    ) -> None:
        """Nothing in any backlog is lost, and what comes reaches those who serve."""
        before, after = counts
        old, new = generation(before), generation(after)
        old.take_all(loopback)
        fill(("127.0.0.1", loopback.port))
        parts = new.take_all(loopback)
        assert sorted(len(part) for part in parts) == sorted(
            len(range(index, max(counts), after)) for index in range(after))
        fill(("127.0.0.1", loopback.port))
        assert waiting(old.taken) == 128, "clients came to who does not serve yet"
        new.serve()
        store.keep_only(new.claims)
        fill(("127.0.0.1", loopback.port))
        old.end()
        assert waiting(new.taken) == 64
        assert all(waiting(part) == 0 and is_listening(part[0]) for part in parts)

    def test_the_sockets_of_one_that_is_missing_rest(
        self, store: SocketStore, generation: Make, loopback: Endpoint
    ) -> None:
        """Clients come to the other one, until it is there again."""
        both = generation(count=2)
        first, second = both.take_all(loopback)
        store.rest(both.claims, 2, 1)
        fill(("127.0.0.1", loopback.port))
        assert (waiting(first), is_listening(second[0])) == (64, False)
        bind.start_listening(second[0])
        fill(("127.0.0.1", loopback.port))
        assert waiting(second) > 0

    @pytest.mark.parametrize("serving", [False, True])
    def test_a_generation_that_wanted_more_fails(
        self, store: SocketStore, generation: Make, loopback: Endpoint, serving: bool
    ) -> None:
        """The sockets that only it had are closed: nobody would accept from them."""
        old, new = generation(1), generation(3)
        old.take(loopback)
        new.take_all(loopback)
        if serving:
            new.serve()
        new.end()
        store.revert(old.claims)
        fill(("127.0.0.1", loopback.port))
        assert waiting(old.taken) == 64

    def test_what_grew_and_settled_stays(
        self, store: SocketStore, generation: Make, loopback: Endpoint
    ) -> None:
        one, two, three = generation(1), generation(3), generation(4)
        one.take(loopback)
        two.take_all(loopback)
        store.keep_only(two.claims)
        three.take_all(loopback)
        three.end()
        store.revert(two.claims)
        assert len(generation(1).take(loopback)) == 3

    def test_a_restarted_process_changes_nothing(
        self, generation: Make, loopback: Endpoint
    ) -> None:
        old = generation(2)
        old.take_all(loopback)
        generation(4).take_all(loopback)
        assert len(old.take(loopback, 0)) == 2      # it may have more than it had, never less
        with pytest.raises(OSError):
            old.store.take(loopback, Terms(8), old.claims, 7)

    @pytest.mark.parametrize("hosts", [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
    @pytest.mark.parametrize("counts", [(1, 1), (1, 2), (2, 2)])
    def test_an_overlapping_address(
        self, store: SocketStore, generation: Make, port: int, hosts: Tuple[str, str], counts: Tuple[int, int]
    ) -> None:
        """127.0.0.1:80 becomes 0.0.0.0:80, or the other way round, and clients never see a gap."""
        before, after = (Endpoint(INET, host, port) for host in hosts)
        old, new = generation(counts[0]), generation(counts[1])
        old.take_all(before)
        new.take_all(after)
        fill(("127.0.0.1", port))
        assert waiting(old.taken) == 64, "clients came to who does not serve yet"
        new.serve()
        store.keep_only(new.claims)
        old.end()
        fill(("127.0.0.1", port))
        assert waiting(new.taken) == 64

    def test_an_overlapping_address_of_one_that_fails(
        self, store: SocketStore, generation: Make, port: int
    ) -> None:
        old, new = generation(), generation()
        old.take(Endpoint(INET, "0.0.0.0", port))
        new.take(Endpoint(INET, "127.0.0.1", port))
        new.serve()
        new.end()
        store.revert(old.claims)
        fill(("127.0.0.1", port))
        assert waiting(old.taken) == 64

    def test_the_port_of_somebody_else_beside_an_old_one(
        self, store: SocketStore, generation: Make, loopback: Endpoint
    ) -> None:
        other = listen_tcp("127.0.0.2", loopback.port, INET)
        generation().take(loopback)
        with pytest.raises(OSError) as caught:
            generation().take(loopback._replace(host="0.0.0.0"))
        assert caught.value.errno == errno.EADDRINUSE
        other.close()

    def test_what_is_not_claimed_any_more_is_closed(
        self, store: SocketStore, generation: Make, loopback: Endpoint
    ) -> None:
        old = generation()
        old.take(loopback)
        old.end()
        store.keep_only(())
        with pytest.raises(ConnectionRefusedError):
            fill(("127.0.0.1", loopback.port), 1)

    def test_what_was_only_for_one_that_failed_is_closed(
        self, store: SocketStore, generation: Make, loopback: Endpoint
    ) -> None:
        old, new = generation(), generation()
        new.take(loopback)
        new.end()
        store.revert(old.claims)
        with pytest.raises(ConnectionRefusedError):
            fill(("127.0.0.1", loopback.port), 1)

    def test_an_interface_that_got_another_address(
        self, store: SocketStore, generation: Make, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = {"eth0": ["127.0.0.5"]}
        monkeypatch.setattr(bind, "interface_addresses", lambda name, family: table[name])
        endpoint = Endpoint(INET, "", port, interface="eth0")
        old, failing, new = generation(), generation(), generation()
        assert old.take(endpoint)[0].getsockname()[0] == "127.0.0.5"
        table["eth0"] = []
        assert generation().take(endpoint)[0].getsockname()[0] == "127.0.0.5", "away for a moment"
        table["eth0"] = ["127.0.0.6", "127.0.0.5"]
        assert generation().take(endpoint)[0].getsockname()[0] == "127.0.0.5", "it still has that one"
        table["eth0"] = ["127.0.0.6"]
        assert old.take(endpoint)[0].getsockname()[0] == "127.0.0.5", "only a new generation looks"
        assert failing.take(endpoint)[0].getsockname()[0] == "127.0.0.6"
        fill(("127.0.0.5", port), 1)
        failing.end()
        store.revert(old.claims)
        assert old.take(endpoint)[0].getsockname()[0] == "127.0.0.5"
        assert new.take(endpoint)[0].getsockname()[0] == "127.0.0.6"
        store.keep_only(new.claims)
        assert waiting(old.taken) == 1

    def test_an_address_that_went_from_an_interface_to_a_vhost(
        self, store: SocketStore, generation: Make, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is replaced is still bound, and may not be in the way."""
        table = ["127.0.0.5"]
        monkeypatch.setattr(bind, "interface_addresses", lambda name, family: table)
        old, new = generation(), generation()
        old.take(Endpoint(INET, "", port, interface="eth0"))
        table[0] = "127.0.0.6"
        new.take(Endpoint(INET, "", port, interface="eth0"))
        new.take(Endpoint(INET, "127.0.0.5", port))
        new.serve()
        store.keep_only(new.claims)
        old.end()
        for host in ("127.0.0.5", "127.0.0.6"):
            fill((host, port), 1)
        assert waiting(new.taken) == 2


class TestSocketFiles:
    """Unix sockets: one for all processes, with a file that comes and goes with it."""

    def test_all_share_one(self, generation: Make, path: str) -> None:
        one = generation(count=3)
        for part in one.take_all(at_path(path)):
            client = socket_client(path)
            assert waiting(part) == 1
            client.close()

    def test_the_file_goes_with_the_claim(self, store: SocketStore, generation: Make, path: str) -> None:
        old, new = generation(), generation()
        old.take(at_path(path))
        new.take(at_path(path))
        store.keep_only(new.claims)
        assert os.path.exists(path)
        store.revert(())
        assert not os.path.lexists(path)

    def test_an_abstract_one(self, store: SocketStore, generation: Make) -> None:
        name = f"lwsws-test-{os.getpid()}"
        old, new = generation(), generation()
        old.take(at_path("@" + name))
        socket_client("\0" + name).close()
        assert waiting(new.take(at_path("@" + name))) == 1
        store.keep_only(new.claims)

    def test_a_file_of_that_name_is_not_an_abstract_one(
        self, generation: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        name = f"@lwsws-test-{os.getpid()}"
        Path(name).touch()
        for _ in range(2):
            generation().take(at_path(name))
        assert Path(name).exists()

    def test_a_file_that_somebody_removed_comes_back(
        self, store: SocketStore, generation: Make, path: str
    ) -> None:
        old, failing, new = generation(), generation(), generation()
        old.take(at_path(path))
        os.unlink(path)
        failing.take(at_path(path))
        failing.end()
        store.revert(old.claims)
        assert not os.path.lexists(path)
        new.take(at_path(path))
        store.keep_only(new.claims)
        socket_client(path).close()
        assert (waiting(old.taken), waiting(new.taken)) == (0, 1)

    @pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
    def test_one_that_somebody_shut_down_is_bound_anew(
        self, store: SocketStore, generation: Make, path: str, how: int
    ) -> None:
        """Any process that has it can do that to all; then nobody can reach it any more."""
        old, new = generation(), generation()
        sock, = old.take(at_path(path))
        sock.shutdown(how)
        new.take(at_path(path))
        store.keep_only(new.claims)
        socket_client(path).close()
        assert waiting(new.taken) == 1

    def test_clients_that_wait_keep_it(self, store: SocketStore, generation: Make, path: str) -> None:
        old, new = generation(), generation()
        old.take(at_path(path))
        with socket_client(path):
            new.take(at_path(path))
            store.keep_only(new.claims)
            assert waiting(new.taken) == 1

    def test_the_file_of_somebody_else_is_left_alone(
        self, store: SocketStore, generation: Make, path: str
    ) -> None:
        old = generation()
        old.take(at_path(path))
        os.unlink(path)
        other = bind.listen_unix(path)
        with pytest.raises(OSError) as caught:
            generation().take(at_path(path))
        assert caught.value.errno == errno.EADDRINUSE
        assert len(old.take(at_path(path))) == 1
        store.keep_only(())
        assert os.path.exists(path)
        other.close()

    @needs_root
    def test_another_owner(self, store: SocketStore, generation: Make, path: str) -> None:
        def owner() -> Tuple[int, int]:
            return os.stat(path).st_uid, os.stat(path).st_gid

        one, two, three = generation(uid=12345), generation(uid=54321, gid=23456), generation()
        one.take(at_path(path))
        assert owner() == (12345, os.getegid())
        two.take(at_path(path))
        assert owner() == (54321, 23456)
        one.take(at_path(path))
        assert owner() == (54321, 23456), "only a new generation changes it"
        store.revert(one.claims)
        assert owner() == (12345, os.getegid())
        three.take(at_path(path))
        assert owner() == (os.geteuid(), os.getegid())

    def test_a_forked_child_removes_no_file(self, store: SocketStore, path: str, loopback: Endpoint) -> None:
        child = SocketStore()
        claims: Set[Endpoint] = set()
        for endpoint in (at_path(path), loopback):
            for sock in child.take(endpoint, Terms(2), claims):
                sock.close()
        child.abandon()
        assert os.path.exists(path)
        with pytest.raises(ConnectionRefusedError):
            socket_client(path)
