"""Certificates at the start, their dates, and loading them while they change."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import List

import pytest

from lwsws.config.model import GlobalConfig, VhostConfig
from lwsws.net.keeper import OwnKeeper
from lwsws.net.tls_files import TlsError
from lwsws.server.certificates import (
    DAY,
    MAX_READS,
    date_fault,
    expiry_warning,
    file_states,
    load_anew,
    load_tls,
)
from lwsws.server.tls_settings import server_settings
from lwsws.wire.certificate import Certificate
from lwsws.wire.dates import UNSET_CLOCK
from tests.support.certificates import Certificates, Pair, make_certificate


def put(folder: Path, pair: Pair) -> None:
    """Make the files of the vhost copies of `pair`, as a renewal does it."""
    for source, name in ((pair.cert, "crt"), (pair.key, "key")):
        shutil.copy(source, folder / "new")
        (folder / "new").replace(folder / name)


@pytest.fixture
def vhost(tmp_path: Path, certificates: Certificates) -> VhostConfig:
    """One with the certificate of a.test."""
    put(tmp_path, certificates.a)
    return VhostConfig(name="a.test", port=443, host_ssl_cert=f"{tmp_path}/crt",
                       host_ssl_key=f"{tmp_path}/key")


# At the start.


def test_loaded_at_the_start(vhost: VhostConfig) -> None:
    tls = load_tls(vhost, GlobalConfig())
    assert tls.name == "a.test"
    assert tls.context is not None
    assert tls.certificate is not None
    assert tls.certificate.names == ("a.test",)
    assert tls.files == file_states(tls.settings.files, OwnKeeper())
    assert len(tls.files) == 2


def test_without_a_certificate_there_is_no_start(vhost: VhostConfig, tmp_path: Path) -> None:
    (tmp_path / "crt").unlink()
    with pytest.raises(TlsError, match="there is no file"):
        load_tls(vhost, GlobalConfig())


def test_a_missing_certificate_may_be_ignored_but_not_a_bad_one(
        vhost: VhostConfig, tmp_path: Path, certificates: Certificates) -> None:
    vhost = vhost._replace(ignore_missing_cert=True)
    shutil.copy(certificates.b.cert, tmp_path / "crt")
    with pytest.raises(TlsError, match="is not the key"):
        load_tls(vhost, GlobalConfig())
    for name in ("crt", "key"):
        put(tmp_path, certificates.a)
        (tmp_path / name).unlink()
        tls = load_tls(vhost, GlobalConfig())
        assert (tls.context, tls.certificate) == (None, None)
    put(tmp_path, certificates.a)
    assert load_tls(vhost._replace(host_ssl_ca=f"{tmp_path}/no"), GlobalConfig()).context is None


def test_an_expired_certificate_is_served_at_the_start(vhost: VhostConfig, tmp_path: Path) -> None:
    put(tmp_path, make_certificate(tmp_path, "old", not_after=int(time.time()) - DAY))
    assert load_tls(vhost, GlobalConfig()).context is not None


# Files that change while they are read.


def test_files_that_change_meanwhile_are_read_again(
        vhost: VhostConfig, tmp_path: Path, certificates: Certificates) -> None:
    settings = server_settings(vhost, GlobalConfig())
    calls: List[int] = []

    def wall() -> float:
        calls.append(1)
        if len(calls) == 1:     # the states were seen, and nothing else yet
            put(tmp_path, certificates.b)
        return time.time()

    loaded = load_anew(settings, wall, OwnKeeper())
    assert len(calls) == 2
    assert loaded.files == file_states(settings.files, OwnKeeper())
    assert loaded.certificate is not None
    assert loaded.certificate.names == ("b.test",)


def test_files_that_change_all_the_time_are_left_to_the_next_look(
        vhost: VhostConfig, tmp_path: Path, certificates: Certificates) -> None:
    settings = server_settings(vhost, GlobalConfig())
    calls: List[int] = []

    def wall() -> float:
        calls.append(1)
        put(tmp_path, certificates.b if len(calls) % 2 else certificates.a)
        return time.time()

    loaded = load_anew(settings, wall, OwnKeeper())
    assert len(calls) == MAX_READS
    assert loaded.files != file_states(settings.files, OwnKeeper())


# Dates.


START, END = UNSET_CLOCK + 100 * DAY, UNSET_CLOCK + 200 * DAY
DATED = Certificate(START, END, ("a.test",), "CN=a.test")
FIRST_DAY, LAST_DAY = "Wed, 10 Apr 2024 00:00:00 GMT", "Fri, 19 Jul 2024 00:00:00 GMT"


@pytest.mark.parametrize("now, reason", [
    (START, ""), (END, ""), (START - 1, f"is not valid before {FIRST_DAY}"),
    (END + 1, f"has expired on {LAST_DAY}"), (UNSET_CLOCK, f"is not valid before {FIRST_DAY}"),
    (UNSET_CLOCK - 1, ""), (0, ""),
])
def test_dates(now: int, reason: str) -> None:
    assert date_fault(DATED, now) == reason


@pytest.mark.parametrize("now, warning", [
    (END - 14 * DAY, ""), (END - 14 * DAY + 1, f"expires in 13 days, on {LAST_DAY}"),
    (END - 2 * DAY + 1, f"expires in 1 day, on {LAST_DAY}"),
    (END - DAY + 1, f"expires within a day, on {LAST_DAY}"), (END, f"expires within a day, on {LAST_DAY}"),
    (END + 1, f"has expired on {LAST_DAY}"), (START, ""), (0, ""),
])
def test_an_end_that_comes_near(now: int, warning: str) -> None:
    assert expiry_warning(DATED, now) == warning


def test_a_clock_that_was_never_set_sees_no_end() -> None:
    ancient = Certificate(0, UNSET_CLOCK, (), "")
    assert expiry_warning(ancient, UNSET_CLOCK - 1) == ""
    assert expiry_warning(ancient, UNSET_CLOCK).startswith("expires within a day")
