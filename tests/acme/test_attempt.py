"""The first steps of an attempt: a new account key is kept only when it is known to be one."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import pytest

from lwsws.acme.attempt import ORDER_SECONDS, Attempt
from lwsws.acme.schedule import Held
from lwsws.acme.store import Store
from lwsws.core.context import Context, Limits
from lwsws.net.fetch import Fetcher
from lwsws.net.openssl import Openssl
from lwsws.net.programs import KILL_SECONDS
from lwsws.net.reactor import Reactor
from lwsws.net.tls import ClientSettings, client_context
from lwsws.net.workers import Workers
from lwsws.wire.acme_answer import AcmeError
from tests.acme.conftest import MakeStore
from tests.acme.talking import PATIENCE, tool
from tests.support.clock import ManualClock
from tests.support.programs import need
from tests.support.waiting import run_until

# What nobody listens at.
NOWHERE = "https://127.0.0.1:1/dir"


class Bench:
    """Attempts at a CA that is not there, with an openssl that may be broken."""

    def __init__(self, store: Store, reactor: Reactor, folder: Path) -> None:
        self.store = store
        self.reactor = reactor
        self.workers = Workers(reactor, 1)
        self.context = Context(reactor, self.workers, Limits())
        self.told: List[Tuple[Optional[Held], Optional[AcmeError]]] = []
        self.said: List[str] = []
        self._program = folder / "openssl"
        self.tool()

    def tool(self, *cases: str) -> None:
        """Let the program do these, cases of sh for its first argument, instead of what it does."""
        lines = "\n".join(cases)
        self._program.write_text(f'#!/bin/sh\ncase $1 in\n{lines}\nesac\nexec {need("openssl")} "$@"\n')
        self._program.chmod(0o755)

    def begin(self) -> Attempt:
        """One attempt; nothing is told from within."""
        fetcher = Fetcher(self.reactor, self.workers, client_context(ClientSettings()), "test/1")
        openssl = Openssl(self.context.programs, str(self._program))
        attempt = Attempt(self.store, "", self.context, openssl, fetcher, self.said.append,
                          lambda held, error: self.told.append((held, error)))
        assert self.told == []
        return attempt

    def work(self) -> None:
        """An attempt that comes as far as to the CA, which it tries to reach for some time."""
        before = len(self.said)
        attempt = self.begin()
        run_until(self.reactor, lambda: any("127.0.0.1" in text for text in self.said[before:]))
        attempt.cancel()
        assert self.told == []

    def fault(self) -> str:
        """Why an attempt fails."""
        self.told.clear()
        self.begin()
        run_until(self.reactor, lambda: self.told)
        (held, error), = self.told
        assert held is None and error is not None
        return str(error)

    def close(self) -> None:
        """End it all."""
        self.context.end_programs()
        self.workers.stop(PATIENCE)


@pytest.fixture
def bench(make_store: MakeStore, reactor: Reactor, tmp_path: Path) -> Iterator[Bench]:
    """After which nothing is under way."""
    made = Bench(make_store(directory_url=NOWHERE), reactor, tmp_path)
    yield made
    made.close()


@pytest.fixture
def account(home: Path) -> Path:
    """The file of the account key."""
    return home / "account.pem"


def test_a_key_that_is_one_is_kept(bench: Bench, account: Path) -> None:
    """For an account that the CA may have opened already."""
    bench.work()
    key = account.read_bytes()
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert tool("pkey", data=key) == key
    assert bench.said[0] == "making an account key"
    bench.said.clear()
    bench.work()
    assert account.read_bytes() == key
    assert "making an account key" not in bench.said


JUNK_KEY = "genpkey) echo -----BEGIN PRIVATE KEY-----; echo AAAA; echo -----END PRIVATE KEY-----; exit 0;;"
ED25519 = f'genpkey) exec {need("openssl")} genpkey -algorithm ED25519;;'


@pytest.mark.parametrize("case, reason", [
    ("genpkey) exit 3;;", "openssl genpkey: exit status 3: it said nothing"),
    ("genpkey) echo junk; exit 0;;", "openssl genpkey: no output of the expected kind: it said nothing"),
    (JUNK_KEY, "the account key cannot be used: openssl pkey: exit status 1: "),
    ("pkey) exit 2;;", "the account key cannot be used: openssl pkey: exit status 2: it said nothing"),
    ("pkey) echo junk; exit 0;;", "the account key cannot be used: openssl pkey: no output of the expected"),
    ("pkey) printf '0\\003\\002\\001\\001'; exit 0;;", "the account key cannot be used: "),
    (ED25519, "the account key cannot be used: ")],
    ids=["no key", "junk", "no key in it", "no public half", "junk as that", "none as that", "of no use"])
def test_one_that_is_none_is_not(bench: Bench, account: Path, case: str, reason: str) -> None:
    """Else it would stand there for ever, and nothing works."""
    bench.tool(case)
    assert bench.fault().startswith(reason)
    assert account.read_bytes() == b""
    bench.tool()
    bench.told.clear()
    bench.work()
    assert b"PRIVATE KEY" in account.read_bytes()


def test_a_key_that_is_there_is_never_written_over(bench: Bench, account: Path) -> None:
    key = tool("genpkey", "-algorithm", "ED25519")
    for data in (key, b"-----BEGIN PRIVATE KEY-----\njunk\n", b"{}"):
        account.write_bytes(data)
        assert "account key" in bench.fault()
        assert account.read_bytes() == data
    assert bench.said == []


def test_a_full_disk(bench: Bench, home: Path) -> None:
    """An account whose key is lost is of no use, so none is opened."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limit[1]))
    try:
        assert bench.fault().startswith(f"cannot write '{home}/account.pem': ")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert bench.said == ["making an account key"]


def test_given_up_before_it_is_known(bench: Bench, account: Path, clock: ManualClock) -> None:
    bench.tool("genpkey) exec sleep 1000;;")
    attempt = bench.begin()
    run_until(bench.reactor, lambda: bench.context.programs.alive)
    attempt.cancel()
    clock.advance(KILL_SECONDS)
    run_until(bench.reactor, lambda: bench.context.programs.alive == 0)
    assert (bench.told, account.read_bytes()) == ([], b"")


def test_all_in_all_it_has_an_hour(bench: Bench, clock: ManualClock) -> None:
    """However patient each of its steps may be."""
    bench.begin()
    run_until(bench.reactor, lambda: any("trying again" in text for text in bench.said))
    clock.advance(ORDER_SECONDS - 1)
    bench.reactor.run_once(0)
    assert bench.told == []
    clock.advance(1)
    run_until(bench.reactor, lambda: bench.told)
    (held, error), = bench.told
    assert held is None and str(error) == "the order took longer than 60 minutes"
