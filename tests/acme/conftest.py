"""Every test of ACME is watched: no descriptor and no program may be left, no callback may fail unnoticed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Callable, Iterator, List, Optional

import pytest

from lwsws.acme.store import Store
from lwsws.net.programs import Programs
from lwsws.net.reactor import Reactor
from lwsws.wire.acme import DNS_01
from tests.acme.support import Ages, Value, make_ages, settings
from tests.acme.talking import Hook, Talk, make_key
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock
from tests.support.docroot import open_fds, private_directory

Lines = Callable[[], List[str]]
MakeStore = Callable[..., Store]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory that nobody else can change, whatever the umask is."""
    return private_directory(tmp_path / "acme")


@pytest.fixture
def make_store(home: Path, _nothing_left: None) -> Iterator[MakeStore]:
    """Opens the files of certificates, whose options are those of support.py but for changes."""
    made: List[Store] = []

    def make(folder: Path = home, **changes: Optional[Value]) -> Store:
        made.append(Store(settings(folder, **changes)))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    """The open files of one certificate."""
    return make_store()


@pytest.fixture(scope="session")
def ages(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Ages:
    """Certificates that are told apart by their ages."""
    return make_ages(tmp_path_factory.mktemp("ages"), time.time(), certificates.ca)


@pytest.fixture
def clock() -> ManualClock:
    """The clock of `reactor`."""
    return ManualClock()


@pytest.fixture
def reactor(clock: ManualClock, _nothing_left: None, request: pytest.FixtureRequest) -> Iterator[Reactor]:
    """A reactor on the manual clock."""
    reactor = Reactor(clock)
    capfd: pytest.CaptureFixture[str] = request.getfixturevalue("capfd")
    yield reactor
    reactor.close()
    assert "fault in" not in capfd.readouterr().err


@pytest.fixture
def programs(reactor: Reactor) -> Iterator[Programs]:
    """The programs of `reactor`; whatever a test does, none is left."""
    programs = Programs(reactor)
    yield programs
    programs.close()
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


@pytest.fixture(scope="session")
def account_key() -> bytes:
    """One in PEM."""
    return make_key()


@pytest.fixture
def talk(store: Store, programs: Programs, clock: ManualClock, certificates: Certificates,
         account_key: bytes) -> Iterator[Talk]:
    """Conversations about a certificate by http-01 or tls-alpn-01."""
    made = Talk(store, programs, clock, certificates, account_key)
    yield made
    made.close()


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    """One that does nothing but note it."""
    return Hook(tmp_path)


@pytest.fixture
def dns_talk(make_store: MakeStore, programs: Programs, clock: ManualClock, certificates: Certificates,
             account_key: bytes, hook: Hook) -> Iterator[Talk]:
    """Conversations about one by dns-01."""
    store = make_store(challenge=DNS_01, dns_hook=str(hook.path))
    made = Talk(store, programs, clock, certificates, account_key)
    yield made
    made.close()


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    """What was logged since the last call, without the time."""
    return lambda: [line.partition("] ")[2] for line in capfd.readouterr().err.splitlines()]
