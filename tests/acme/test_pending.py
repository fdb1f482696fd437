"""The new certificate: when it is better than the one in its place, who reads it, and how it gets there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Dict, Tuple

import pytest

from lwsws.acme.pending import KEY_MODE, PendingFiles, promote, replace, waiting
from lwsws.acme.settings import NEW, OLD
from lwsws.acme.store import Pair, Store
from lwsws.net.keeper import OwnKeeper
from lwsws.net.regular_file import file_state, read_regular_file
from lwsws.net.tls import ServerSettings, server_context
from lwsws.net.tls_files import PemFiles
from tests.acme.conftest import MakeStore
from tests.acme.support import NAME, Ages, came, content, in_place, mode, put, updates
from tests.support import certificates as made
from tests.support.certificates import make_certificate

KEEPER = OwnKeeper()
LIMIT = 1 << 20
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, who may give files away")
EMPTY = Pair(b"", b"")
NOTHING = (False, "")
# When files in place came if it was after what waits, and when that did.
LATER, BEFORE = (-10, -10), -20


def better(store: Store) -> bool:
    """Whether what waits is taken."""
    found = waiting(store, KEEPER, time.time())
    assert found is None or found.pair == store.read_pair()
    return found is not None


# What waits.


def test_nothing_waits(store: Store, ages: Ages) -> None:
    assert not better(store)
    put(store, ages.old)
    assert not better(store)


def test_nothing_is_in_place(store: Store, ages: Ages) -> None:
    store.write_pair(content(ages.old))
    found = waiting(store, KEEPER, time.time())
    assert found is not None
    assert found.pair == content(ages.old)
    assert found.held.certificate.names == (NAME,)


@pytest.mark.parametrize("there, comes", [
    ("old", "young"), ("young", "old"), ("young", "young"), ("younger", "old")])
@pytest.mark.parametrize("certificate, key, is_better", [
    (-30, -30, True), (-10, -10, False), (-30, -10, False), (-10, -30, False)])
def test_what_came_last_counts(store: Store, ages: Ages, there: str, comes: str, certificate: int, key: int,
                               is_better: bool) -> None:
    """Whatever the dates in the certificates are: those of a CA for tests may begin later."""
    put(store, getattr(ages, there), (certificate, key))
    store.write_pair(content(getattr(ages, comes)))
    came(store, BEFORE)
    assert better(store) == is_better


@pytest.mark.parametrize("certificate, key, is_better", [
    (1000, 1000, True), (1000, -30, True), (-30, 10 ** 9, True), (1000, -10, False), (-10, 1000, False)])
def test_a_time_that_has_not_come_yet_says_nothing(store: Store, ages: Ages, certificate: int, key: int,
                                                   is_better: bool) -> None:
    """The clock was ahead when they were copied there: that must not keep new ones away for ever."""
    put(store, ages.old, (certificate, key))
    store.write_pair(content(ages.young))
    came(store, BEFORE)
    assert better(store) == is_better


def test_at_the_same_time(store: Store, ages: Ages, home: Path) -> None:
    """Clocks of files tick slowly."""
    put(store, ages.old)
    store.write_pair(content(ages.young))
    moment = updates(store)[0].stat().st_mtime_ns
    for name in ("cert.pem", "key.pem"):
        os.utime(home / name, ns=(moment, moment))
    assert better(store)


def test_one_of_no_use_does_not_count_though_it_came_last(store: Store, ages: Ages) -> None:
    store.write_pair(content(ages.young))
    came(store, BEFORE)
    put(store, made.Pair(ages.old.cert, ages.younger.key), LATER)
    assert better(store)
    put(store, ages.old, LATER)
    assert not better(store)


@pytest.mark.parametrize("keep", [0, 1, 60, 200, -40, -2])
@pytest.mark.parametrize("part", [0, 1])
def test_what_is_torn_is_none(store: Store, ages: Ages, keep: int, part: int) -> None:
    put(store, ages.old)
    store.write_pair(content(ages.young))
    path = updates(store)[part]
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    assert not better(store)
    path.write_bytes(data[:keep].ljust(len(data), b"\0"))
    assert not better(store)
    path.write_bytes(data)
    assert better(store)


def test_a_key_of_another_certificate(store: Store, ages: Ages) -> None:
    put(store, ages.old)
    store.write_pair(Pair(content(ages.younger).certificate, content(ages.young).key))
    assert not better(store)


@pytest.mark.parametrize("damage", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("how", ["missing", "empty", "junk", "another", "folder"])
def test_what_is_in_place_is_of_no_use(store: Store, ages: Ages, home: Path, damage: str, how: str) -> None:
    put(store, ages.younger)
    path = home / damage
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "missing":
        another = ages.young.cert if damage == "cert.pem" else ages.young.key
        path.write_bytes({"empty": b"", "junk": b"junk", "another": another.read_bytes()}[how])
    store.write_pair(content(ages.old))
    assert better(store)


# Who reads it.


@pytest.fixture
def files(store: Store) -> PendingFiles:
    """Those of `store`."""
    return PendingFiles(OwnKeeper(), [store])


def read_pair(files: PendingFiles, store: Store) -> Pair:
    return Pair(files.read(store.settings.cert_path, LIMIT), files.read(store.settings.key_path, LIMIT))


def test_read_in_place_of_what_is_there(store: Store, files: PendingFiles, ages: Ages) -> None:
    put(store, ages.old)
    assert read_pair(files, store) == content(ages.old)
    store.write_pair(content(ages.young))
    assert read_pair(files, store) == content(ages.young)
    assert files.placed.read(store.settings.cert_path, LIMIT) == content(ages.old).certificate
    came(store, BEFORE)
    put(store, ages.younger, LATER)
    assert read_pair(files, store) == content(ages.younger)
    store.clear_pair()
    assert read_pair(files, store) == content(ages.younger)


def test_paths_in_another_form(store: Store, files: PendingFiles, ages: Ages, home: Path) -> None:
    store.write_pair(content(ages.young))
    assert files.read(f"{home}//x/../cert.pem", LIMIT) == content(ages.young).certificate
    assert files.read(f"{home}/./key.pem", LIMIT) == content(ages.young).key


def test_other_files_are_read_as_ever(store: Store, files: PendingFiles, ages: Ages, home: Path) -> None:
    store.write_pair(content(ages.young))
    (home / "other").write_text("x")
    assert files.read(f"{home}/other", LIMIT) == b"x"
    assert files.state(f"{home}/other") == file_state(f"{home}/other")
    with pytest.raises(FileNotFoundError):
        files.read(f"{home}/missing", LIMIT)
    with pytest.raises(OSError, match="larger than 0 bytes"):
        files.read(f"{home}/other", 0)
    store.clear_pair()
    with pytest.raises(FileNotFoundError):
        files.read(store.settings.cert_path, LIMIT)
    assert files.anew == OwnKeeper.anew


def test_each_store_for_itself(make_store: MakeStore, ages: Ages, home: Path) -> None:
    one, other = make_store(), make_store(cert_path=f"{home}/c2", key_path=f"{home}/k2")
    both = PendingFiles(OwnKeeper(), [one, other])
    put(one, ages.old)
    put(other, ages.old)
    other.write_pair(content(ages.young))
    assert read_pair(both, one) == content(ages.old)
    assert read_pair(both, other) == content(ages.young)


def test_the_state_tells_of_both(store: Store, files: PendingFiles, ages: Ages) -> None:
    for path in (store.settings.cert_path, store.settings.key_path):
        seen = [files.state(path)]
        store.write_pair(content(ages.young))
        seen.append(files.state(path))
        put(store, ages.old)
        seen.append(files.state(path))
        store.clear_pair()
        seen.append(files.state(path))
        assert len(set(seen)) == 4
        assert files.state(path) == seen[-1]


def test_a_context_of_what_waits(store: Store, files: PendingFiles, ages: Ages) -> None:
    put(store, ages.old)
    store.write_pair(content(ages.young))
    server_context(ServerSettings(store.settings.cert_path, store.settings.key_path), PemFiles(files.read))


# The next start.


def test_nothing_to_do(store: Store, ages: Ages, home: Path) -> None:
    assert promote(store, KEEPER, time.time()) == NOTHING
    put(store, ages.old)
    before = sorted(os.listdir(home))
    assert promote(store, KEEPER, time.time()) == NOTHING
    assert sorted(os.listdir(home)) == before


def test_the_first_one(store: Store, ages: Ages, home: Path) -> None:
    store.write_pair(content(ages.young))
    before = os.umask(0)
    try:
        said = promote(store, KEEPER, time.time())
    finally:
        os.umask(before)
    assert said == (True, f"the certificate that came for {NAME} is in its place now: {home}/cert.pem")
    assert in_place(store) == content(ages.young)
    assert store.read_pair() == EMPTY
    assert (mode(home / "cert.pem"), mode(home / "key.pem")) == (0o600, 0o600)
    assert sorted(os.listdir(home)) == ["account.pem", "cert.pem", "cert.pem.acme", "cert.pem.upd", "key.pem",
                                        "key.pem.upd"]


def test_the_old_ones_stay_beside_it(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old)
    (home / "cert.pem.old").write_text("older")
    (home / "key.pem.new").symlink_to("/etc/passwd")
    store.write_pair(content(ages.young))
    promoted(store)
    assert in_place(store) == content(ages.young)
    assert backup(home) == content(ages.old)
    assert store.read_pair() == EMPTY
    assert not any(path.name.endswith(NEW) for path in home.iterdir())
    assert promote(store, KEEPER, time.time()) == NOTHING
    assert backup(home) == content(ages.old)


def promoted(store: Store) -> None:
    """Let what waits be put in place, which must be done."""
    is_done, said = promote(store, KEEPER, time.time())
    assert is_done and "is in its place now" in said


def left_alone(store: Store) -> str:
    """Why what waits is not put in place."""
    is_done, said = promote(store, KEEPER, time.time())
    assert not is_done
    return said


def backup(home: Path) -> Pair:
    """What was in place before."""
    return Pair((home / f"cert.pem{OLD}").read_bytes(), (home / f"key.pem{OLD}").read_bytes())


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o644, 0o400])
def test_the_mode_stays(store: Store, ages: Ages, home: Path, bits: int) -> None:
    put(store, ages.old)
    (home / "cert.pem").chmod(bits)
    (home / "key.pem").chmod(bits)   # whose key is nobody else's, whatever it was
    store.write_pair(content(ages.young))
    promoted(store)
    assert (mode(home / "cert.pem"), mode(home / "key.pem")) == (bits, bits & 0o640)
    assert (mode(home / "cert.pem.old"), mode(home / "key.pem.old")) == (bits, bits & 0o640)


def test_nothing_becomes_a_program_or_one_for_another_user(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old)
    (home / "cert.pem").chmod(0o6755)
    store.write_pair(content(ages.young))
    promoted(store)
    assert mode(home / "cert.pem") == 0o644


@needs_root
def test_the_owner_stays(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old)
    os.chown(home / "key.pem", 0, 12345)
    os.chown(home / "cert.pem", 23456, 12345)
    (home / "key.pem").chmod(0o640)
    store.write_pair(content(ages.young))
    promoted(store)
    owners: Dict[str, object] = {}
    for path in home.iterdir():
        owners[path.name] = path.stat().st_uid, path.stat().st_gid
    assert owners["key.pem"] == owners["key.pem.old"] == (0, 12345)
    assert owners["cert.pem"] == owners["cert.pem.old"] == (23456, 12345)
    assert mode(home / "key.pem") == 0o640
    assert in_place(store) == content(ages.young)


def test_links_are_followed_to_what_is_meant(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old)
    (home / "live").mkdir(mode=0o700)
    for name in ("cert.pem", "key.pem"):
        (home / name).rename(home / "live" / f"1{name}")
        (home / name).symlink_to(f"live/1{name}")
    store.write_pair(content(ages.young))
    promoted(store)
    assert in_place(store) == content(ages.young)
    assert sorted(os.listdir(home / "live")) == ["1cert.pem", "1cert.pem.old", "1key.pem", "1key.pem.old"]
    assert (home / "cert.pem").is_symlink() and (home / "key.pem").is_symlink()
    assert not (home / "live" / "1cert.pem").is_symlink()
    assert (home / "live" / "1key.pem.old").read_bytes() == content(ages.old).key


def test_a_torn_one_is_left_alone(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old)
    store.write_pair(content(ages.young))
    certificate, key = updates(store)
    certificate.write_bytes(certificate.read_bytes()[:400])
    before = store.read_pair()
    of_no_use = f"{home}/cert.pem.upd is of no use, and left alone: there is no whole certificate in it"
    assert left_alone(store) == of_no_use
    assert (in_place(store), store.read_pair()) == (content(ages.old), before)
    certificate.write_bytes(b"")
    assert left_alone(store) == of_no_use
    key.write_bytes(b"")
    assert promote(store, KEEPER, time.time()) == NOTHING
    assert in_place(store) == content(ages.old)


def test_one_that_is_older_is_left_alone(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old, LATER)
    store.write_pair(content(ages.young))
    came(store, BEFORE)
    assert left_alone(store) == f"{home}/cert.pem.upd is older than what is there, and left alone"
    assert (in_place(store), store.read_pair()) == (content(ages.old), content(ages.young))


def test_what_cannot_be_done_changes_nothing(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old)
    store.write_pair(content(ages.young))
    (home / "key.pem.new").mkdir()
    with pytest.raises(OSError):
        promote(store, KEEPER, time.time())
    assert (in_place(store), store.read_pair()) == (content(ages.old), content(ages.young))
    assert not (home / "key.pem.old").exists()


# Interrupted.


def interrupted(store: Store, old: made.Pair, new: made.Pair) -> None:
    """Where the power went between the key and the certificate."""
    put(store, old)
    store.write_pair(content(new))
    replace(store.settings.key_path, content(new).key, KEY_MODE)


def test_it_is_done_again(store: Store, ages: Ages) -> None:
    interrupted(store, ages.old, ages.young)
    files = PendingFiles(OwnKeeper(), [store])
    assert read_pair(files, store) == content(ages.young)   # also where nobody may do it
    promoted(store)
    assert in_place(store) == content(ages.young)
    assert store.read_pair() == EMPTY


def test_what_it_left_half_written_is_no_hindrance(store: Store, ages: Ages, home: Path) -> None:
    put(store, ages.old)
    store.write_pair(content(ages.young))
    (home / "key.pem.new").write_bytes(b"-----BEGIN PRI")
    (home / "cert.pem.new").write_bytes(b"")
    promoted(store)
    assert in_place(store) == content(ages.young)


def test_the_backup_is_a_pair_though_it_was_interrupted(store: Store, ages: Ages, home: Path) -> None:
    """The old key must not give way to the new one, which is in place already."""
    interrupted(store, ages.old, ages.young)
    assert (home / "key.pem.old").read_bytes() == content(ages.old).key
    promoted(store)
    assert in_place(store) == content(ages.young)
    assert backup(home) == content(ages.old)
    assert store.read_pair() == EMPTY


def test_interrupted_before_the_key(store: Store, ages: Ages, home: Path) -> None:
    """The old key has its second name, and the new one is not there yet."""
    put(store, ages.old)
    store.write_pair(content(ages.young))
    os.link(home / "key.pem", home / "key.pem.old")
    promoted(store)
    assert (in_place(store), backup(home)) == (content(ages.young), content(ages.old))


@pytest.mark.parametrize("when", [LATER, (-30, -30), (1000, 1000)])
def test_what_has_its_place_already_does_not_wait_any_more(store: Store, ages: Ages, home: Path,
                                                           when: Tuple[int, int]) -> None:
    """The power went after both, before the new ones were given up: nothing is to be said of it for ever."""
    put(store, ages.young, when)
    store.write_pair(content(ages.young))
    came(store, BEFORE)
    is_done, said = promote(store, KEEPER, time.time())
    assert is_done == bool(said) == (when != LATER)
    assert store.read_pair() == EMPTY
    assert in_place(store) == content(ages.young)
    assert not any(path.name.endswith(OLD) for path in home.iterdir())
    assert promote(store, KEEPER, time.time()) == NOTHING


# One file.


def test_a_file_in_place_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        replace(str(path), b"new", 0o666)
        assert reader.read() == b"old"
    assert read_regular_file(str(path), 10) == b"new"
    assert sorted(os.listdir(tmp_path)) == ["file", f"file{OLD}"]


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace(f"{tmp_path}/no/file", b"new", 0o666)


def test_the_longer_chain_of_an_authority(store: Store, ages: Ages, certificates: made.Certificates) -> None:
    """What comes first counts; what follows is only sent along."""
    chain = content(ages.young).certificate + certificates.ca.cert.read_bytes()
    store.write_pair(Pair(chain, content(ages.young).key))
    promoted(store)
    assert in_place(store).certificate == chain


def test_an_rsa_key(store: Store, tmp_path: Path, certificates: made.Certificates) -> None:
    pair = make_certificate(tmp_path, "rsa", [NAME], certificates.ca, key_type="rsa")
    store.write_pair(content(pair))
    promoted(store)
    assert in_place(store) == content(pair)
