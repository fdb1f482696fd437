"""How the files of many vhosts are looked at: a few at a time, and not while nobody answers."""

from __future__ import annotations

import errno
import ssl
from pathlib import Path
from typing import Iterator

import pytest

from lwsws.net.keeper import OwnKeeper
from lwsws.net.regular_file import FileState
from lwsws.server.certificates import AT_A_TIME, LOOK_SECONDS
from tests.server.certificate_site import Site
from tests.support.certificates import Certificates

VHOSTS = 2 * AT_A_TIME + 1
FILES = 2   # of each


class FarKeeper(OwnKeeper):
    """Counts how often it is asked for a file, and may be out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.is_away = False

    def state(self, path: str) -> FileState:
        self.asked += 1
        if self.is_away:
            raise TimeoutError(errno.ETIMEDOUT, "the parent process does not answer")
        return super().state(path)


@pytest.fixture
def keeper() -> FarKeeper:
    """Who is asked for the files."""
    return FarKeeper()


@pytest.fixture
def site(tmp_path: Path, certificates: Certificates, keeper: FarKeeper) -> Iterator[Site]:
    """Many vhosts with the same pair, and at last one with its own."""
    site = Site(tmp_path, certificates)
    site.keeper = keeper
    site.put(certificates.a)
    site.put(certificates.a, "last")
    site.start(*[site.config()] * (VHOSTS - 1), site.config("last"))
    yield site
    site.close()


def has_new_one(site: Site) -> bool:
    """Whether the last vhost has got the other certificate."""
    return site.served(site.vhosts[-1]) == ssl.PEM_cert_to_DER_cert(site.made.b.cert.read_text())


def test_a_few_at_a_time(site: Site, keeper: FarKeeper) -> None:
    """So that no connection stands still while all of them are looked at."""
    for _ in range(2):
        site.clock.advance(LOOK_SECONDS)
        counts = []
        for _ in range(6):
            before = keeper.asked
            site.reactor.run_once(0)
            counts.append(keeper.asked - before)
        assert max(counts) <= AT_A_TIME * FILES
        assert sum(counts) == VHOSTS * FILES


def test_nobody_is_left_out(site: Site) -> None:
    site.put(site.made.b, "last")
    site.look()
    assert has_new_one(site)


def test_the_rest_is_put_off_if_nobody_answers(
    site: Site, keeper: FarKeeper, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each question costs seconds then."""
    keeper.is_away = True
    site.put(site.made.b, "last")
    site.look()
    assert keeper.asked == 1
    site.check_now()
    assert keeper.asked == 2
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2
    assert all("the parent process does not answer" in line for line in told)
    keeper.is_away = False
    site.look()
    assert has_new_one(site)


def test_a_look_that_is_under_way_ends_with_the_watch(site: Site, keeper: FarKeeper) -> None:
    site.clock.advance(LOOK_SECONDS)
    site.reactor.run_once(0)
    before = keeper.asked
    assert 0 < before < VHOSTS * FILES
    assert site.watch is not None
    site.watch.close()
    site.settle()
    assert keeper.asked == before
