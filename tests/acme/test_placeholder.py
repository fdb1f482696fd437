"""Certificates of one's own, until there are real ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator, List, Sequence

import pytest

from lwsws.acme.pending import PendingFiles
from lwsws.acme.placeholder import AGAIN_SECONDS, ANEW_SECONDS, DAYS, Group, Placeholders
from lwsws.acme.settings import DAY
from lwsws.acme.store import Store
from lwsws.net.keeper import OwnKeeper
from lwsws.net.openssl import Openssl
from lwsws.net.programs import KILL_SECONDS, Programs
from lwsws.net.tls import ServerSettings, ServerTls, server_context
from lwsws.wire.certificate import Certificate, read_certificate
from tests.acme.conftest import Lines
from tests.acme.support import NAME, Ages
from tests.net.support import settle, spin
from tests.support.certificates import Certificates
from tests.support.clock import ManualClock
from tests.support.handshake import any_client, shake
from tests.support.programs import need

NAMES = (NAME, "b.test")


class Bench:
    """Vhosts that have no certificate yet, and placeholders for them."""

    def __init__(self, store: Store, programs: Programs, clock: ManualClock) -> None:
        self.store = store
        self.programs = programs
        self.reactor = programs.reactor
        self.clock = clock
        self.placeholders: List[Placeholders] = []

    def vhost(self, name: str, ca: str = "") -> ServerTls:
        """One with the files of the store."""
        settings = self.store.settings
        return ServerTls(name, ServerSettings(settings.cert_path, settings.key_path, ca, alpn=("http/1.1",)))

    def begin(self, vhosts: Sequence[ServerTls], tool: str = "") -> Placeholders:
        """A placeholder for these."""
        return self.begin_all([(NAMES, vhosts)], tool)

    def begin_all(self, groups: Sequence[Group], tool: str = "") -> Placeholders:
        """Several."""
        files = PendingFiles(OwnKeeper(), [self.store])
        openssl = Openssl(self.programs, tool or need("openssl"))
        self.placeholders.append(Placeholders(self.reactor, openssl, files, groups))
        return self.placeholders[-1]

    def settle(self) -> None:
        """Let the programs that run come to their ends, and what that brings about."""
        for _ in range(6):      # two programs for each certificate
            settle(self.reactor)
            spin(self.reactor, lambda: self.programs.alive == 0)

    def close(self) -> None:
        """End it."""
        for placeholder in self.placeholders:
            placeholder.close()


@pytest.fixture
def bench(store: Store, programs: Programs, clock: ManualClock) -> Iterator[Bench]:
    """After which none is made any more."""
    made = Bench(store, programs, clock)
    yield made
    made.close()


def served(tls: ServerTls) -> Certificate:
    """The certificate that a client gets."""
    assert tls.context is not None
    ends = shake(tls.context, any_client(), NAME)
    der = ends.client.getpeercert(True)
    ends.close()
    assert ends.failure == "" and der is not None
    return read_certificate(der)


def test_made_for_all_that_have_none(bench: Bench, lines: Lines, home: Path) -> None:
    one, other = bench.vhost("one"), bench.vhost("other")
    bench.begin([one, other])
    assert one.context is None
    bench.settle()
    found = served(one)
    assert found == served(other)
    assert found.names == NAMES
    assert found.not_after - found.not_before == DAYS * DAY
    assert abs(found.not_before - time.time()) < 60
    assert one.context is not other.context
    assert [line for line in lines() if line.startswith("N: ")] == [
        f"N: TLS of {name}: a placeholder until there is a certificate" for name in ("one", "other")]
    assert not (home / "cert.pem").exists() and not (home / "key.pem").exists()
    assert one.certificate is None      # whose end nobody need be warned of


def test_other_vhosts_are_left_alone(bench: Bench, ages: Ages) -> None:
    one, other = bench.vhost("one"), bench.vhost("other")
    real = other.context = server_context(ServerSettings(str(ages.old.cert), str(ages.old.key)))
    bench.begin([one])
    bench.settle()
    assert one.context is not None
    assert other.context is real


@pytest.mark.parametrize("programs_before", [0, 1, 2])
def test_one_that_has_got_a_real_one_meanwhile(bench: Bench, ages: Ages, programs_before: int) -> None:
    one, other = bench.vhost("one"), bench.vhost("other")
    bench.begin([one, other])
    spin(bench.reactor, lambda: bench.programs.started == programs_before)
    real = one.context = server_context(ServerSettings(str(ages.old.cert), str(ages.old.key)))
    bench.settle()
    assert one.context is real
    assert served(other).names == NAMES
    bench.clock.advance(ANEW_SECONDS)
    bench.settle()
    assert one.context is real


def test_none_is_made_for_nobody(bench: Bench, ages: Ages) -> None:
    tls = bench.vhost("one")
    bench.begin([tls])
    tls.context = server_context(ServerSettings(str(ages.old.cert), str(ages.old.key)))
    bench.settle()
    assert bench.programs.started == 0


def test_made_anew_before_it_ends(bench: Bench) -> None:
    tls = bench.vhost("one")
    bench.begin([tls])
    contexts = set()
    for _ in range(3):
        bench.settle()
        contexts.add(tls.context)
        bench.clock.advance(ANEW_SECONDS - 1)
        bench.settle()
        assert tls.context in contexts
        bench.clock.advance(1)
    assert len(contexts) == 3
    assert ANEW_SECONDS <= (DAYS - 1) * DAY


def test_not_any_more_when_a_real_one_has_come(bench: Bench, ages: Ages) -> None:
    one, other = bench.vhost("one"), bench.vhost("other")
    bench.begin([one, other])
    bench.settle()
    before = other.context
    real = one.context = server_context(ServerSettings(str(ages.old.cert), str(ages.old.key)))
    bench.clock.advance(ANEW_SECONDS)
    bench.settle()
    assert one.context is real
    assert other.context is not before
    other.context = real
    count = bench.programs.started
    bench.clock.advance(10 * ANEW_SECONDS)
    bench.settle()
    assert bench.programs.started == count


def test_each_certificate_for_itself(bench: Bench, lines: Lines, ages: Ages) -> None:
    """One after the other; what fails keeps none of the others from theirs."""
    one, two, three = (bench.vhost(name) for name in ("one", "two", "three"))
    bench.begin_all([(("one.test",), [one]), (("nobody.test",), []), (("two.test",), [two]),
                     ((NAME,), [three])])
    most = 0
    for _ in range(1000):
        if three.context is not None and bench.programs.alive == 0:
            break
        bench.reactor.run_once(0.02)
        most = max(most, bench.programs.alive)
    assert (most, bench.programs.started) == (1, 6)
    assert [served(tls).names for tls in (one, two, three)] == [("one.test",), ("two.test",), (NAME,)]
    assert len([line for line in lines() if "a placeholder until" in line]) == 3
    real = two.context = server_context(ServerSettings(str(ages.old.cert), str(ages.old.key)))
    bench.clock.advance(ANEW_SECONDS)
    bench.settle()
    assert (two.context, bench.programs.started) == (real, 10)
    assert not [line for line in lines() if "a placeholder until" in line]


@pytest.mark.parametrize("programs_before", [0, 1, 2])
def test_closed(bench: Bench, programs_before: int) -> None:
    tls = bench.vhost("one")
    placeholder = bench.begin([tls])
    spin(bench.reactor, lambda: bench.programs.started == programs_before)
    placeholder.close()
    placeholder.close()
    bench.clock.advance(KILL_SECONDS)
    bench.settle()
    bench.clock.advance(ANEW_SECONDS)
    bench.settle()
    assert tls.context is None
    assert bench.programs.started == programs_before


def test_closed_it_is_served_on(bench: Bench) -> None:
    tls = bench.vhost("one")
    placeholder = bench.begin([tls])
    bench.settle()
    placeholder.close()
    assert served(tls).names == NAMES


def test_what_else_a_vhost_needs_is_read(bench: Bench, certificates: Certificates, lines: Lines,
                                         tmp_path: Path) -> None:
    good = bench.vhost("good", str(certificates.ca.cert))
    bad = bench.vhost("bad", f"{tmp_path}/none")
    bench.begin([bad, good])
    bench.settle()
    assert bad.context is None
    assert served(good).names == NAMES
    assert f"E: TLS of bad: no placeholder: there is no file '{tmp_path}/none'" in lines()


@pytest.mark.parametrize("script, reason", [
    ("exit 1", "openssl genpkey: exit status 1: it said nothing"),
    ("[ $1 = req ] && exit 2; exec OPENSSL \"$@\"", "openssl req: exit status 2: it said nothing")])
def test_without_the_tool(bench: Bench, tmp_path: Path, lines: Lines, script: str, reason: str) -> None:
    tool = tmp_path / "openssl"
    tool.write_text("#!/bin/sh\n" + script.replace("OPENSSL", need("openssl")) + "\n")
    tool.chmod(0o755)
    tls = bench.vhost("one")
    bench.begin([tls], str(tool))
    bench.settle()
    assert tls.context is None
    assert f"E: acme: {NAME}: no placeholder: {reason}" in lines()


def test_one_failure_is_not_for_ever(bench: Bench, tmp_path: Path) -> None:
    """Out of memory or descriptors, for a moment, a day before the placeholder ends."""
    tool, flag = tmp_path / "openssl", tmp_path / "broken"
    tool.write_text(f'#!/bin/sh\n[ -e {flag} ] && exit 1\nexec {need("openssl")} "$@"\n')
    tool.chmod(0o755)
    tls = bench.vhost("one")
    bench.begin([tls], str(tool))
    bench.settle()
    first = tls.context
    flag.touch()
    bench.clock.advance(ANEW_SECONDS)
    bench.settle()
    assert tls.context is first
    flag.unlink()
    count = bench.programs.started
    bench.clock.advance(AGAIN_SECONDS - 1)
    bench.settle()
    assert (tls.context, bench.programs.started) == (first, count)
    bench.clock.advance(1)
    bench.settle()
    second = tls.context
    assert second is not first
    bench.clock.advance(AGAIN_SECONDS)
    bench.settle()
    assert tls.context is second    # all is well again
    bench.clock.advance(ANEW_SECONDS - AGAIN_SECONDS)
    bench.settle()
    assert tls.context is not second


def test_a_failure_keeps_on_being_tried(bench: Bench, tmp_path: Path, lines: Lines) -> None:
    tool = tmp_path / "openssl"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    bench.begin([bench.vhost("one")], str(tool))
    for count in range(1, 5):
        bench.settle()
        assert bench.programs.started == count
        assert len(lines()) == 1
        bench.clock.advance(AGAIN_SECONDS)
