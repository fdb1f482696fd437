"""Disks that are full, and what is remembered of the state: nobody may read what is not there any more."""

from __future__ import annotations

import os
import resource
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from lwsws.acme.pending import hold
from lwsws.acme.state import State
from lwsws.acme.store import NEEDED_BYTES, Pair, Store, StoreError
from tests.acme.conftest import MakeStore
from tests.acme.support import Ages, content, full_state, updates


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """No file becomes larger than `size` bytes."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


# What cannot be written.


def test_a_full_disk_is_said(store: Store, home: Path) -> None:
    store.write_state(State(mark="m"))
    with full_after(20):
        with pytest.raises(StoreError, match=f"cannot write '{home}/cert.pem.acme': "):
            store.write_state(full_state())
        with pytest.raises(StoreError, match=f"cannot write '{home}/key.pem.upd': "):
            store.write_pair(Pair(b"x" * 100, b"y" * 100))
    assert store.read_state() == State()
    store.write_state(State(mark="n"))
    assert store.read_state() == State(mark="n")


@pytest.mark.parametrize("certificate, key, failing", [
    (5000, 100, "cert.pem"), (100, 5000, "key.pem"), (5000, 5000, "key.pem")])
def test_the_last_certificate_stays(store: Store, ages: Ages, home: Path, certificate: int, key: int,
                                    failing: str) -> None:
    """It waits for the next start, and is served meanwhile: better than none."""
    store.write_pair(content(ages.young))
    with full_after(4000), pytest.raises(StoreError, match=f"cannot write '{home}/{failing}.upd': "):
        store.write_pair(Pair(b"x" * certificate, b"y" * key))
    assert store.read_pair() == content(ages.young)
    hold(store.read_pair(), store.settings)
    assert [path.read_bytes() for path in updates(store)] == list(content(ages.young))


def test_without_a_last_one_nothing_stays(store: Store) -> None:
    for pair in (Pair(b"x" * 5000, b"y"), Pair(b"x", b"y" * 5000)):
        with full_after(4000), pytest.raises(StoreError, match="cannot write"):
            store.write_pair(pair)
        assert store.read_pair().certificate[:4000] in (b"", b"x" * 4000)
        store.clear_pair()


def test_where_not_even_the_last_one_can_be_put_back(store: Store, ages: Ages) -> None:
    """What is there then is no certificate at all, so nobody takes a new key for that of an old one."""
    store.write_pair(content(ages.young))
    with full_after(50), pytest.raises(StoreError, match="cannot write"):
        store.write_pair(content(ages.old))
    assert store.read_pair().certificate == b""


@pytest.mark.parametrize("blocks, size, is_enough", [
    (NEEDED_BYTES // 4096, 4096, True), (NEEDED_BYTES // 4096 - 1, 4096, False), (0, 4096, False),
    (1, NEEDED_BYTES, True), (10 ** 12, 512, True)])
def test_room(store: Store, home: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, size: int,
              is_enough: bool) -> None:
    """What only root may use does not count, nor are blocks always of one size."""
    real = os.fstatvfs
    asked: List[str] = []

    def fstatvfs(fd: int) -> Any:
        asked.append(os.readlink(f"/proc/self/fd/{fd}"))
        values = list(real(fd))
        values[1], values[3], values[4] = size, 10 ** 9, blocks     # f_frsize, f_bfree, f_bavail
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "fstatvfs", fstatvfs)
    if is_enough:
        store.check_room()
    else:
        with pytest.raises(StoreError) as raised:
            store.check_room()
        assert str(raised.value) == f"the disk of '{home}/cert.pem' is full"
    assert asked == [f"{home}/cert.pem.upd"]


def test_there_is_room_here(store: Store) -> None:
    store.check_room()


# What is remembered.


def test_the_newest_state_is_read_though_the_clock_of_files_stands_still(make_store: MakeStore) -> None:
    """States of one size that follow each other within a tick of it have the same version."""
    one, other = make_store(), make_store()
    versions = set()
    for number in range(1000, 1500):
        one.write_state(State(mark=f"m{number}"))
        versions.add(one.state_version())
        assert other.read_state().mark == one.read_state().mark == f"m{number}"
    assert len(versions) <= 500


def written(home: Path, state: bytes, seconds: float) -> None:
    """Let the file of state be that, as if it was written so many seconds from now."""
    path = home / "cert.pem.acme"
    path.write_bytes(state)
    moment = path.stat().st_mtime + seconds
    os.utime(path, (moment, moment))


def test_a_state_that_is_old_is_not_read_again(store: Store, home: Path) -> None:
    written(home, b'{"mark": "old"}\n', -10)
    first = store.read_state()
    assert first == State(mark="old")
    assert store.read_state() is first
    written(home, b'{"mark": "new"}\n', -9)
    second = store.read_state()
    assert second == State(mark="new")
    assert store.read_state() is second


@pytest.mark.parametrize("age, is_remembered", [
    (0, False), (99_000_000, False), (101_000_000, True), (10 ** 12, True), (-10 ** 12, False)])
def test_one_that_may_change_yet_is_read_each_time(store: Store, home: Path, monkeypatch: pytest.MonkeyPatch,
                                                   age: int, is_remembered: bool) -> None:
    """Within a tick of the clock of files, in nanoseconds, or where that is ahead of ours."""
    written(home, b'{"mark": "young"}\n', 0)
    moment = (home / "cert.pem.acme").stat().st_mtime_ns + age
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    first = store.read_state()
    assert first == State(mark="young")
    assert (store.read_state() is first) == is_remembered


def test_an_old_state_is_not_what_is_read_of_a_young_one(store: Store, home: Path) -> None:
    written(home, b'{"mark": "old"}\n', -10)
    assert store.read_state().mark == "old"
    written(home, b'{"mark": "young"}\n', 5)
    assert store.read_state().mark == "young"
    written(home, b"", 5)
    assert store.read_state() == State()


def test_a_file_that_was_closed_has_no_state(store: Store, home: Path) -> None:
    written(home, b'{"mark": "old"}\n', -10)
    assert store.read_state().mark == "old"
    store.close()
    assert store.read_state() == State()
