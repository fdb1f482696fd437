"""Outgoing connections: real sockets, a clock that stands still, name servers that say what a test wants."""

from __future__ import annotations

import errno
import os
import resource
import selectors
import socket
import threading
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

from lwsws.net.connector import CONNECT_SECONDS, MAX_ADDRESSES, RETRY_SECONDS, Connector, is_own_echo
from lwsws.net.onward import parse_onward
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from tests.net.connecting import Attempt, Outgoing, entry, port_of
from tests.net.support import CountingSelector, settle, spin
from tests.support.clock import ManualClock
from tests.support.server import free_ports


@pytest.fixture
def net(reactor: Reactor, clock: ManualClock, selector: CountingSelector,
        monkeypatch: pytest.MonkeyPatch) -> Iterator[Outgoing]:
    """Where to connect to."""
    net = Outgoing(reactor, clock, selector, monkeypatch)
    yield net
    net.close()


# It works.


def test_an_address_is_connected_to_without_a_worker(net: Outgoing) -> None:
    server = net.listen()
    before = threading.active_count()
    attempt = net.connect(f"ipv4:127.0.0.1:{port_of(server)}")
    assert attempt.wait() == "done"
    assert threading.active_count() == before
    sock = attempt.sock
    assert sock is not None
    assert not sock.getblocking()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    with server.accept()[0] as accepted:
        sock.send(b"hello")
        assert accepted.recv(5) == b"hello"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_an_ipv6_address_is_connected_to(net: Outgoing) -> None:
    try:
        server = net.listen(family=socket.AF_INET6, address=("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this system")
    assert net.connect(f"[::1]:{port_of(server)}").wait() == "done"


@pytest.mark.parametrize("abstract", [False, True])
def test_a_unix_socket_is_connected_to(net: Outgoing, tmp_path: Path, abstract: bool) -> None:
    path = f"@lwsws-{os.getpid()}" if abstract else str(tmp_path / "s")
    net.listen(family=socket.AF_UNIX, address="\0" + path[1:] if abstract else path)
    assert net.connect(f"unix:{path}").wait() == "done"


def test_a_name_is_looked_up_by_a_worker(net: Outgoing) -> None:
    port = port_of(net.listen())
    net.name_servers(lambda: [entry(port)])
    assert net.connect("some.name:1").wait() == "done"


def test_localhost_is_really_looked_up(net: Outgoing) -> None:
    assert net.connect(f"ipv4:localhost:{port_of(net.listen())}").wait() == "done"


def test_the_addresses_of_a_name_are_tried_in_order(net: Outgoing) -> None:
    first, second, dead = net.listen(), net.listen(), net.dead_port()
    net.name_servers(lambda: [entry(dead), entry(port_of(second)), entry(port_of(first))])
    attempt = net.connect("some.name:1")
    assert attempt.wait() == "done"
    assert attempt.sock is not None and attempt.sock.getpeername() == second.getsockname()


def test_an_address_that_does_not_answer_leaves_time_for_the_next_one(net: Outgoing) -> None:
    silent, server = net.full(), net.listen()
    net.name_servers(lambda: [entry(port_of(silent)), entry(port_of(server))])
    attempt = net.connect("some.name:1")
    # Watched: the pool's wake-up, and the first address.
    spin(net.reactor, lambda: len(net.selector.get_map()) == 2)
    net.pass_time(CONNECT_SECONDS / 2 - 0.1)
    assert not attempt.said
    net.pass_time(0.2)
    assert attempt.wait() == "done"
    assert attempt.sock is not None and attempt.sock.getpeername() == server.getsockname()


# It does not work.


def test_a_refusal_is_told(net: Outgoing) -> None:
    assert net.connect(f"127.0.0.1:{net.dead_port()}").wait() == "Connection refused"


def test_a_socket_file_that_is_not_there_is_told(net: Outgoing, tmp_path: Path) -> None:
    assert net.connect(f"unix:{tmp_path}/none").wait() == "No such file or directory"


def test_all_addresses_are_told_if_none_works(net: Outgoing) -> None:
    dead = net.dead_port()
    net.name_servers(lambda: [entry(dead)] * (MAX_ADDRESSES + 1))
    said = net.connect("some.name:1").wait()
    assert said == "; ".join(["127.0.0.1: Connection refused"] * MAX_ADDRESSES)


def test_a_name_without_an_address_is_told(net: Outgoing) -> None:
    def unknown() -> List[Tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    net.name_servers(unknown)
    assert net.connect("some.name:1").wait() == "cannot look up some.name: Name or service not known"
    net.name_servers(list)
    assert net.connect("some.name:1").wait() == "it has no address"


def test_a_scope_that_does_not_exist_is_told(net: Outgoing) -> None:
    said = net.connect("[fe80::1%nowhere]:1").wait()
    assert said.startswith("cannot look up fe80::1%nowhere: ")


def test_one_that_does_not_answer_is_given_up(net: Outgoing) -> None:
    attempt = net.connect(f"127.0.0.1:{port_of(net.full())}")
    settle(net.reactor)
    net.pass_time(CONNECT_SECONDS - 0.1)
    assert not attempt.said
    net.pass_time(0.2)
    assert attempt.wait() == "no answer"


def test_name_servers_that_do_not_answer_are_given_up_and_their_late_answer_is_dropped(net: Outgoing) -> None:
    port, asked, answered = port_of(net.listen()), threading.Event(), threading.Event()

    def slowly() -> List[Tuple[Any, ...]]:
        asked.set()
        assert answered.wait(10)
        return [entry(port)]

    net.name_servers(slowly)
    attempt = net.connect("some.name:1")
    settle(net.reactor)
    assert asked.wait(10)
    net.pass_time(CONNECT_SECONDS + 0.1)
    assert attempt.wait() == "cannot look up some.name: no answer within 20 s"
    answered.set()
    net.work_off()
    assert len(attempt.said) == 1
    assert len(net.selector.get_map()) == 1     # the pool's wake-up


def test_a_pool_that_takes_no_more_jobs_is_told(net: Outgoing) -> None:
    assert net.workers.stop(timeout=10)
    assert net.connect("some.name:1").wait().startswith("cannot look up some.name: ")


def test_being_out_of_fds_is_told(net: Outgoing) -> None:
    port = port_of(net.listen())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        assert net.connect(f"127.0.0.1:{port}").wait() == "Too many open files"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class FullSelector(selectors.DefaultSelector):
    """Takes no sockets, as epoll does at /proc/sys/fs/epoll/max_user_watches."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_socket_that_cannot_be_watched_is_told(net: Outgoing) -> None:
    reactor = Reactor(selector=FullSelector())
    attempt = Attempt(reactor, Workers(reactor, 1), parse_onward(f"127.0.0.1:{port_of(net.listen())}"))
    assert attempt.wait() == "No space left on device"
    reactor.close()


# Itself.


def test_a_socket_that_is_connected_to_itself_is_known() -> None:
    with socket.socket() as sock, socket.socket() as server:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        sock.send(b"echo")
        assert sock.recv(4) == b"echo"
        assert is_own_echo(sock)
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as other:
            assert not is_own_echo(other)
    for sock in socket.socketpair():
        assert not is_own_echo(sock)
        sock.close()


def test_meeting_itself_counts_as_a_refusal(net: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel chooses the port for our end by chance, so here it is chosen for it."""
    class Unlucky(socket.socket):
        def connect_ex(self, address: Any) -> int:
            self.bind(address)
            return super().connect_ex(address)

    attempt = net.connect(f"127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setattr(socket, "socket", Unlucky)
    assert attempt.wait() == "Connection refused"


# A full unix socket.


def test_a_full_unix_socket_is_tried_again_until_there_is_room(net: Outgoing, tmp_path: Path) -> None:
    server = net.full(socket.AF_UNIX, str(tmp_path / "s"))
    attempt = net.connect(f"unix:{tmp_path}/s")
    for _ in range(3):
        settle(net.reactor)
        net.pass_time(RETRY_SECONDS * 1.1)
    assert not attempt.said
    server.accept()[0].close()
    net.pass_time(RETRY_SECONDS * 1.1)
    assert attempt.wait() == "done"


def test_a_unix_socket_that_stays_full_is_given_up(net: Outgoing, tmp_path: Path) -> None:
    net.full(socket.AF_UNIX, str(tmp_path / "s"))
    attempt = net.connect(f"unix:{tmp_path}/s")
    settle(net.reactor)
    net.pass_time(CONNECT_SECONDS - 0.01)
    assert attempt.wait() == "its queue of connections is full"


# Cancelling.


def nothing_more(net: Outgoing, attempt: Attempt, watched: int = 0) -> None:
    """Cancel, and see that nothing comes of it any more and so many fds are still watched."""
    attempt.connector.cancel()
    attempt.connector.cancel()
    assert attempt.connector.closed
    for _ in range(4):
        net.pass_time(CONNECT_SECONDS)
    assert not attempt.said
    assert len(net.selector.get_map()) == watched


def test_cancelled_before_it_began(net: Outgoing) -> None:
    nothing_more(net, net.connect(f"127.0.0.1:{port_of(net.listen())}"))


def test_cancelled_while_the_name_is_looked_up(net: Outgoing) -> None:
    port, answered = port_of(net.listen()), threading.Event()

    def slowly() -> List[Tuple[Any, ...]]:
        assert answered.wait(10)
        return [entry(port)]

    net.name_servers(slowly)
    attempt = net.connect("some.name:1")
    settle(net.reactor)
    attempt.connector.cancel()
    answered.set()
    net.work_off()
    nothing_more(net, attempt, watched=1)   # the pool's wake-up


def test_cancelled_while_it_connects(net: Outgoing) -> None:
    attempt = net.connect(f"127.0.0.1:{port_of(net.full())}")
    settle(net.reactor)
    assert len(net.selector.get_map()) == 1
    nothing_more(net, attempt)


def test_cancelled_when_the_kernel_has_connected_already(net: Outgoing) -> None:
    server = net.listen()
    attempt = net.connect(f"127.0.0.1:{port_of(server)}")
    net.reactor.run_once(0)
    with server.accept()[0] as accepted:
        accepted.settimeout(10)
        nothing_more(net, attempt)
        assert accepted.recv(1) == b""


def test_cancelled_between_two_tries_of_a_full_unix_socket(net: Outgoing, tmp_path: Path) -> None:
    server = net.full(socket.AF_UNIX, str(tmp_path / "s"))
    attempt = net.connect(f"unix:{tmp_path}/s")
    settle(net.reactor)
    server.accept()[0].close()
    nothing_more(net, attempt)


def test_cancelled_after_its_end_it_leaves_the_socket_alone(net: Outgoing) -> None:
    server = net.listen()
    attempt = net.connect(f"127.0.0.1:{port_of(server)}")
    assert attempt.wait() == "done"
    attempt.connector.cancel()
    net.pass_time(CONNECT_SECONDS)
    assert attempt.said == ["done"]
    assert attempt.sock is not None and attempt.sock.send(b"x") == 1


def test_who_is_told_may_connect_anew(net: Outgoing) -> None:
    """The usual thing to do after a failure, so nothing of the old attempt may get in the way."""
    server = net.listen()
    again: List[Attempt] = []

    def connected(sock: socket.socket) -> None:
        raise AssertionError("connected to a port that nobody listens on")

    def failed(reason: str) -> None:
        again.append(net.connect(f"127.0.0.1:{port_of(server)}"))

    Connector(net.reactor, net.workers, parse_onward(f"127.0.0.1:{net.dead_port()}"), connected, failed)
    spin(net.reactor, lambda: bool(again))
    assert again[0].wait() == "done"
