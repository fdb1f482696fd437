"""Every test of the net layer is watched: no fd may be left open, no callback may fail unnoticed."""

from __future__ import annotations

import os
from typing import Iterator, List, Set

import pytest

from lwsws.net.listening import Endpoint, SocketStore, Terms
from lwsws.net.programs import Programs
from lwsws.net.reactor import Reactor
from tests.net.listening_support import INET, Generation, Make
from tests.net.splice_support import PAIRS, Way, roomy_tcp_pair
from tests.net.support import Connected, CountingSelector, fill_unix_buffer, tcp_pair, unix_pair
from tests.net.tls_support import VERSIONS, Secured, client_context, server_context
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock
from tests.support.server import free_ports


def open_fds() -> Set[str]:
    """The numbers of the open fds, without that of the directory in which we look."""
    return {fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


@pytest.fixture(autouse=True)
def _no_fd_leaks() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() - before == set()


@pytest.fixture
def clock() -> ManualClock:
    """The clock of `reactor`."""
    return ManualClock()


@pytest.fixture
def selector(_no_fd_leaks: None) -> CountingSelector:
    """The selector of `reactor`, which closes it."""
    return CountingSelector()


@pytest.fixture
def reactor(
    clock: ManualClock, selector: CountingSelector, capfd: pytest.CaptureFixture[str], _no_fd_leaks: None
) -> Iterator[Reactor]:
    """A reactor on the manual clock.  A test that expects a fault in a callback takes it from `capfd`."""
    reactor = Reactor(clock, selector)
    yield reactor
    reactor.close()
    assert "fault in" not in capfd.readouterr().err


@pytest.fixture(params=["unix", "tcp"])
def conn(request: pytest.FixtureRequest, reactor: Reactor) -> Iterator[Connected]:
    """A started transport, once on a unix socket and once on TCP."""
    made = Connected(reactor, *(unix_pair() if request.param == "unix" else tcp_pair()))
    made.transport.start()
    yield made
    made.finish()
    assert made.got.over, "connection_lost was never told"


@pytest.fixture
def tcp(reactor: Reactor) -> Iterator[Connected]:
    """A started transport on TCP."""
    made = Connected(reactor, *tcp_pair())
    made.transport.start()
    yield made
    made.finish()
    assert made.got.over, "connection_lost was never told"


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """TLS 1.2, TLS 1.3."""
    name: str = request.param
    return name


@pytest.fixture
def fresh(reactor: Reactor, certificates: Certificates, version: str) -> Iterator[Secured]:
    """A TLS transport on TCP before its handshake."""
    made = Secured(reactor, server_context(certificates, version), client_context(certificates))
    yield made
    made.finish()


@pytest.fixture
def secured(fresh: Secured) -> Secured:
    """The same after its handshake."""
    return fresh.handshake()


@pytest.fixture
def tight(reactor: Reactor, certificates: Certificates, version: str) -> Iterator[Secured]:
    """The same on a unix socket whose send buffer holds less than a record."""
    ours, peer = unix_pair()
    fill_unix_buffer(ours)
    server, client = server_context(certificates, version), client_context(certificates)
    made = Secured(reactor, server, client, (ours, peer))
    yield made.handshake()
    made.finish()


@pytest.fixture(params=PAIRS)
def way(request: pytest.FixtureRequest, reactor: Reactor) -> Iterator[Way]:
    """A direction that may splice, over TCP and over unix sockets."""
    make = PAIRS[request.param]
    made = Way(reactor, (make(), make()))
    yield made
    made.finish()


@pytest.fixture
def narrow(reactor: Reactor) -> Iterator[Way]:
    """A direction that may splice, over TCP; the sockets hold little."""
    made = Way(reactor, (roomy_tcp_pair(), tcp_pair()))
    yield made
    made.finish()


@pytest.fixture
def store(_no_fd_leaks: None) -> Iterator[SocketStore]:
    """A store with nothing passed by systemd."""
    store = SocketStore()
    yield store
    store.close()


@pytest.fixture
def generation(store: SocketStore) -> Iterator[Make]:
    """Makes generations that use `store`."""
    made: List[Generation] = []

    def make(count: int = 1, fastopen: int = 0, uid: int = -1, gid: int = -1) -> Generation:
        made.append(Generation(store, Terms(count, fastopen, uid, gid)))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def port() -> int:
    """One that nobody uses, on no address."""
    return free_ports(1)[0]


@pytest.fixture
def loopback(port: int) -> Endpoint:
    """127.0.0.1 with that port."""
    return Endpoint(INET, "127.0.0.1", port)


@pytest.fixture
def programs(reactor: Reactor) -> Iterator[Programs]:
    """All programs of a test; whatever it does, none is left."""
    programs = Programs(reactor)
    yield programs
    for program in list(programs._alive):
        program.kill_now()
    programs.close()
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
