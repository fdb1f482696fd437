"""The files of one certificate: whose they must be, the lock, what is kept in them and when it is whole."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from lwsws.acme.pending import hold
from lwsws.acme.settings import STATE, UPD
from lwsws.acme.state import State, encode
from lwsws.acme.store import MAX_KEY, Pair, Store, StoreError, check_directory
from lwsws.net.tls_files import TlsError
from lwsws.wire.base64url import b64url
from tests.acme.conftest import MakeStore
from tests.acme.support import Ages, content, full_state, mode, settings, updates
from tests.support.docroot import open_fds
from tests.support.programs import need

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, who may give files away")
NAMES = ["account.pem", "cert.pem" + STATE, "cert.pem" + UPD, "key.pem" + UPD]
OTHER_UID = 12345


def refused(home: Path, **changes: Any) -> str:
    """Why the files cannot be opened; nothing stays open then."""
    before = open_fds()
    with pytest.raises(StoreError) as raised:
        Store(settings(home, **changes))
    assert open_fds() == before
    return str(raised.value)


def tool(*arguments: str, data: bytes = b"") -> bytes:
    """What openssl writes."""
    done = subprocess.run([need("openssl"), *arguments], input=data, capture_output=True, check=True)
    return done.stdout


# Opening.


def test_files_are_made_for_their_owner_alone(make_store: MakeStore, home: Path) -> None:
    before = os.umask(0)
    try:
        make_store()
    finally:
        os.umask(before)
    assert sorted(os.listdir(home)) == NAMES
    assert {mode(home / name) for name in NAMES} == {0o600}
    assert {(home / name).stat().st_size for name in NAMES} == {0}


def test_what_there_is_stays_and_becomes_private(make_store: MakeStore, home: Path) -> None:
    for name in NAMES:
        (home / name).write_text(f"content of {name}")
        (home / name).chmod(0o644)
    make_store()
    assert sorted(os.listdir(home)) == NAMES
    for name in NAMES:
        assert mode(home / name) == 0o600
        assert (home / name).read_text() == f"content of {name}"


def test_no_program_inherits_them(store: Store, home: Path) -> None:
    ours = [fd for fd in open_fds() if os.path.exists(f"/proc/self/fd/{fd}")
            and os.readlink(f"/proc/self/fd/{fd}").startswith(str(home))]
    assert len(ours) == 4
    assert not any(os.get_inheritable(int(fd)) for fd in ours)


@pytest.mark.parametrize("bits", [0o720, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_may_change(home: Path, bits: int) -> None:
    home.chmod(bits)
    assert refused(home) == (f"cannot use '{home}/account.pem': others may write to the directory {home}: "
                             "chmod go-w it")
    home.chmod(0o755)
    assert os.listdir(home) == []
    check_directory(str(home))


@needs_root
def test_a_directory_of_somebody_else(home: Path) -> None:
    os.chown(home, OTHER_UID, -1)
    assert refused(home).endswith(f"the directory {home} belongs to uid {OTHER_UID}: chown it to root")


@needs_root
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_somebody_else(home: Path, name: str) -> None:
    (home / name).touch()
    os.chown(home / name, OTHER_UID, -1)
    assert refused(home) == f"cannot use '{home}/{name}': it belongs to uid {OTHER_UID}: chown it"


def test_a_missing_directory(home: Path) -> None:
    assert refused(home / "no") == f"cannot use '{home}/no/account.pem': No such file or directory"
    (home / "file").touch()
    assert "is no directory" in refused(home / "file")


def test_the_directories_may_be_several(make_store: MakeStore, home: Path) -> None:
    places = {name: home / name for name in ("a", "c", "k")}
    for place in places.values():
        place.mkdir(mode=0o700)
    changes = {"auth_path": f"{home}/a/x", "cert_path": f"{home}/c/x", "key_path": f"{home}/k/x"}
    make_store(**changes)
    assert {name: sorted(os.listdir(place)) for name, place in places.items()} == {
        "a": ["x"], "c": ["x.acme", "x.upd"], "k": ["x.upd"]}
    places["k"].chmod(0o777)
    assert refused(home, **changes).startswith(f"cannot use '{home}/k/x.upd': others may write to")


def make_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def make_link_to_a_file(path: Path) -> None:
    (path.parent / "elsewhere").touch()
    make_link(path)


def make_hard_link(path: Path) -> None:
    path.touch()
    os.link(path, path.parent / "elsewhere")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make, reason", [
    (make_link, "Too many levels of symbolic links"),
    (make_link_to_a_file, "Too many levels of symbolic links"),
    (os.mkfifo, "it is not a regular file"), (make_hard_link, "it has several names (hard links)"),
    (make_socket, "No such device or address"), (os.mkdir, "Is a directory")])
def test_what_is_no_file_of_its_own(home: Path, name: str, make: Callable[[Path], None], reason: str) -> None:
    make(home / name)
    assert refused(home) == f"cannot use '{home}/{name}': {reason}"
    assert not (home / "elsewhere").exists() or (home / "elsewhere").stat().st_size == 0


@needs_root
def test_a_device_is_no_file(home: Path) -> None:
    try:
        os.mknod(home / "account.pem", 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices can be made here")
    assert "account.pem" in refused(home)


# The lock.


def test_one_at_a_time(make_store: MakeStore) -> None:
    one, other = make_store(), make_store()
    assert one.lock()
    assert one.lock()       # it has it already
    assert not other.lock()
    one.unlock()
    assert other.lock()
    assert not one.lock()


def test_it_ends_with_the_files(make_store: MakeStore) -> None:
    one, other = make_store(), make_store()
    assert one.lock()
    one.close()
    assert other.lock()
    one.close()     # which may be said twice
    assert not make_store().lock()


def test_it_is_of_the_account(make_store: MakeStore, home: Path) -> None:
    one = make_store()
    same = make_store(cert_path=f"{home}/c2", key_path=f"{home}/k2")
    other = make_store(auth_path=f"{home}/a2", cert_path=f"{home}/c3", key_path=f"{home}/k3")
    assert one.lock()
    assert not same.lock()
    assert other.lock()


TAKER = """\
import fcntl, sys
file = open(sys.argv[1], "r+")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("busy", flush=True)
else:
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_between_processes(store: Store, home: Path) -> None:
    command = [sys.executable, "-c", TAKER, str(home / "account.pem")]
    assert store.lock()
    done = subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert done.stdout == "busy\n"
    store.unlock()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout is not None and taker.stdout.readline() == "taken\n"
        assert not store.lock()
        taker.kill()
        taker.wait()
    assert store.lock()


def test_who_is_closed_has_no_lock(store: Store) -> None:
    store.close()
    store.unlock()


# The account key.


def test_at_first_there_is_none(store: Store, home: Path) -> None:
    assert store.account_key() == b""
    (home / "account.pem").write_text(" \n\n")
    assert store.account_key() == b""


def test_a_key_is_kept(make_store: MakeStore, home: Path) -> None:
    key = tool("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    store = make_store()
    store.save_account_key(b"x" * 5000)
    store.save_account_key(key)
    assert (home / "account.pem").read_bytes() == key
    assert store.account_key() == key
    assert make_store().account_key() == key
    assert mode(home / "account.pem") == 0o600


@pytest.mark.parametrize("label", ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"])
def test_a_key_in_pem_as_it_is(store: Store, home: Path, label: str) -> None:
    text = f"# a comment\n-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()
    (home / "account.pem").write_bytes(text)
    assert store.account_key() == text


def numbers(text: bytes, name: str) -> bytes:
    """The number that the tool shows under `name`."""
    rows = text.decode().split(f"\n{name}:", 1)[1].splitlines()
    digits = [rows[0].strip()] if rows[0].strip() else []
    for row in rows[1:]:
        if not row.startswith(" "):
            break
        digits.append(row.strip())
    return bytes.fromhex("".join(digits).replace(":", ""))


def ec_jwk(pem: bytes) -> Dict[str, str]:
    """A key on P-256 as the original writes it."""
    text = b"\n" + tool("pkey", "-text", "-noout", data=pem)
    point, secret = numbers(text, "pub"), numbers(text, "priv")
    return {"crv": "P-256", "kty": "EC", "x": b64url(point[1:33]), "y": b64url(point[33:]),
            "d": b64url(secret[-32:].rjust(32, b"\0"))}


def rsa_jwk(pem: bytes) -> Dict[str, str]:
    """The same of an RSA key."""
    text = b"\n" + tool("rsa", "-text", "-noout", data=pem)
    names = {"modulus": "n", "privateExponent": "d", "prime1": "p", "prime2": "q", "exponent1": "dp",
             "exponent2": "dq", "coefficient": "qi"}
    return {"kty": "RSA", "e": "AQAB", **{short: b64url(numbers(text, name).lstrip(b"\0"))
                                          for name, short in names.items()}}


@pytest.mark.parametrize("arguments, make", [
    (["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], ec_jwk),
    (["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], rsa_jwk)],
    ids=["ec", "rsa"])
def test_a_key_as_jwk(store: Store, home: Path, arguments: List[str],
                      make: Callable[[bytes], Dict[str, str]]) -> None:
    pem = tool("genpkey", "-algorithm", *arguments)
    (home / "account.pem").write_text(json.dumps({**make(pem), "use": "sig", "kid": "x"}, indent=1) + "\n")
    found = store.account_key()
    assert found.startswith(b"-----BEGIN ")
    # The very same key: its private half too.
    assert tool("pkey", "-outform", "DER", data=found) == tool("pkey", "-outform", "DER", data=pem)


@pytest.mark.parametrize("data", [
    b"garbage", b"\0" * 241, b"\xff\xfe", b"{}", b"[]", b"null", b"1", b'"PRIVATE"',
    b'{"kty": "oct", "k": "AA"}',
    b'{"kty": "EC"}', b'{"kty": "EC", "crv": "P-384"}', b'{"kty": "EC", "crv": "P-256", "x": 1}',
    b'{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ", "d": "AQ"}', b'{"kty": "RSA", "n": "$"}',
    b'{"kty": "RSA", "n": "\\u00e4"}', b"[" * MAX_KEY, b"-----BEGIN CERTIFICATE-----\n", b'{"kty": ["EC"]}'],
    ids=lambda data: ascii(data[:40]))
def test_something_else_is_said_and_kept(store: Store, home: Path, data: bytes) -> None:
    (home / "account.pem").write_bytes(data)
    with pytest.raises(StoreError) as raised:
        store.account_key()
    text = str(raised.value)
    assert text.startswith(f"there is no account key in '{home}/account.pem', neither in PEM nor as JWK (")
    assert text.endswith("). Move it away, and a new account will be made")
    assert (home / "account.pem").read_bytes() == data


@pytest.mark.parametrize("size, is_taken", [(MAX_KEY, True), (MAX_KEY + 1, False), (10 * MAX_KEY, False)])
def test_what_is_too_large_for_a_key(store: Store, home: Path, size: int, is_taken: bool) -> None:
    """The tool gets it through a pipe, which holds 64 KiB."""
    data = b"-----BEGIN PRIVATE KEY-----\n".ljust(size, b"#")
    (home / "account.pem").write_bytes(data)
    if is_taken:
        assert store.account_key() == data
        return
    with pytest.raises(StoreError) as raised:
        store.account_key()
    assert str(raised.value) == f"'{home}/account.pem' is larger than an account key can be"
    assert (home / "account.pem").read_bytes() == data


# The state.


def test_state(make_store: MakeStore, home: Path) -> None:
    one, other = make_store(), make_store()
    assert one.read_state() == State()
    one.write_state(full_state())
    assert other.read_state() == one.read_state() == full_state()
    assert (home / "cert.pem.acme").read_bytes() == encode(full_state())


def test_a_shorter_state_leaves_nothing_of_a_longer_one(store: Store, home: Path) -> None:
    store.write_state(full_state()._replace(error="x" * 10_000))
    store.write_state(State(mark="m"))
    assert (home / "cert.pem.acme").read_bytes() == b'{"mark": "m"}\n'
    assert store.read_state() == State(mark="m")
    # And where the power goes before the rest is cut off:
    (home / "cert.pem.acme").write_bytes(b'{"mark": "m"}\n' + encode(full_state())[14:])
    assert store.read_state() == State(mark="m")


def test_a_version_for_each_state(make_store: MakeStore) -> None:
    one, other = make_store(), make_store()
    seen = [other.state_version()]
    for state in (State(mark="a"), State(mark="b" * 1000), State(mark="c"), State()):
        one.write_state(state)
        seen.append(other.state_version())
        assert seen[-1] != seen[-2]
        assert other.state_version() == seen[-1]


# The new certificate.


def test_a_pair(make_store: MakeStore, home: Path, ages: Ages) -> None:
    one, other = make_store(), make_store()
    assert one.read_pair() == Pair(b"", b"")
    one.write_pair(Pair(b"x" * 20000, b"y" * 20000))
    one.write_pair(content(ages.young))
    assert other.read_pair() == content(ages.young)
    assert [path.read_bytes() for path in updates(one)] == list(content(ages.young))
    assert {mode(path) for path in updates(one)} == {0o600}
    one.clear_pair()
    assert other.read_pair() == Pair(b"", b"")
    assert not (home / "cert.pem").exists() and not (home / "key.pem").exists()


def test_a_version_for_each_pair(make_store: MakeStore, ages: Ages) -> None:
    one, other = make_store(), make_store()
    seen = {other.pair_state()}
    for pair in (ages.old, ages.young):
        one.write_pair(content(pair))
        seen.add(other.pair_state())
        assert other.pair_state() == other.pair_state()
    one.clear_pair()
    seen.add(other.pair_state())
    assert len(seen) == 4


def test_cut_short_at_any_point_it_is_never_taken_for_whole(store: Store, ages: Ages) -> None:
    """Each step of writing: the old certificate, its key, the new key, the new certificate."""
    old, new = content(ages.old), content(ages.young)
    certificate, key = updates(store)
    steps = [(old.certificate, old.key), (b"", old.key), (b"", b"")]
    steps += [(b"", new.key[:count]) for count in (1, 30, 100, len(new.key))]
    steps += [(new.certificate[:count], new.key) for count in (1, 30, 500, len(new.certificate) - 30)]
    whole = []
    for on_disk in (*steps, (new.certificate, new.key)):
        certificate.write_bytes(on_disk[0])
        key.write_bytes(on_disk[1])
        assert store.read_pair() == Pair(*on_disk)
        try:
            hold(store.read_pair(), store.settings)
        except TlsError:
            continue
        whole.append(on_disk)
    assert whole == [tuple(old), tuple(new)]


def test_a_new_key_is_not_that_of_an_old_certificate(store: Store, ages: Ages) -> None:
    for pair in (Pair(content(ages.old).certificate, content(ages.young).key),
                 Pair(content(ages.young).certificate, content(ages.old).key)):
        with pytest.raises(TlsError, match=r"key\.pem\.upd' is not the key of the certificate in '.*upd'"):
            hold(pair, store.settings)


def test_what_is_held(store: Store, ages: Ages) -> None:
    held = hold(content(ages.young), store.settings)
    assert held.certificate.names == ("w.test",)
    assert held.certificate.not_after - held.certificate.not_before == 90 * 86400
    assert held.identifier.count(".") == 1


def test_files_that_are_locked_are_read(make_store: MakeStore, ages: Ages) -> None:
    """By all processes, also while one works."""
    one, other = make_store(), make_store()
    assert one.lock()
    one.write_state(full_state())
    one.write_pair(content(ages.young))
    assert not other.lock()
    assert (other.read_state(), other.read_pair()) == (full_state(), content(ages.young))
