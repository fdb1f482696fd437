"""Password files: how lines are read, what is noticed of changes, and when nobody gets in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Tuple

import pytest

from lwsws.handlers.passwordfile import (
    LOOK_INTERVAL,
    MAX_FAULTS_LOGGED,
    MAX_SECRETS,
    PasswordFile,
    read_accounts,
)
from lwsws.handlers.passwords import MAX_FILE_BYTES
from tests.support.clock import ManualClock

# Of the password "password".
PBKDF2 = "$pbkdf2-sha256$1000$.//.NTY3ODlhYmNkZWY$b1lTVZTx5KQlKw.apFha7JiwF2K5sdQHbC/CFaynObA"
BCRYPT = "$2b$05$IrLhtahi6GB7SPHktEFY8OYOUrcEcin1LQcd/vRX2i3gJ5zesdN4i"


def file_of(path: Path, content: bytes) -> PasswordFile:
    path.write_bytes(content)
    file = PasswordFile(str(path), ManualClock())
    file.refresh()
    return file


UNICODE_LINE = b"1\x0b2\x0c3\x1c4\xc2\x855\xe2\x80\xa86"     # what str.splitlines would split


@pytest.mark.parametrize("content, accepted, refused", [
    pytest.param(b"user:pass\n", ["user:pass"],
                 ["user:Pass", "user:pas", "user:pass ", "user:pass\n", "user:", "use:r:pass", "User:pass",
                  ":user:pass", ":"], id="one line"),
    pytest.param(b"a:1\nb:2", ["a:1", "b:2"], ["a:2", "b:1"], id="no last line end"),
    pytest.param(b"a:1\r\nb:2\r\n", ["a:1", "b:2"], ["a:1\r"], id="CRLF"),
    pytest.param(b"a:1\r\r\n", ["a:1\r"], ["a:1"], id="one CR only"),
    pytest.param(b"other:se:cret\n", ["other:se:cret"], ["other:se", "other:cret"], id="colon"),
    pytest.param(b"# comment:x\n#:y\n", ["# comment:x", "#:y"], [" comment:x"], id="# is no comment"),
    pytest.param(b" a : b \n", [" a : b "], ["a:b", "a: b "], id="blanks count"),
    pytest.param(b"a:%b\n" % UNICODE_LINE, [f"a:{UNICODE_LINE.decode()}"], ["a:1"],
                 id="LESSONS F6: only LF ends a line"),
    pytest.param(b"empty:\n", ["empty:"], ["empty:x"], id="empty password"),
    pytest.param(b"a:1\na:2\n", ["a:1", "a:2"], ["a:3"], id="two passwords"),
    pytest.param("jürgen:päss\n".encode(), ["jürgen:päss"], ["jurgen:pass"], id="UTF-8"),
    pytest.param(b"\n\n:\n:x\nword\n", [], [":", ":x", "word:", "word:word"], id="no users"),
    pytest.param(b"", [], [":", "a:"], id="empty file"),
])
def test_lines(tmp_path: Path, content: bytes, accepted: List[str], refused: List[str]) -> None:
    file = file_of(tmp_path / "pw", content)
    for pair in accepted:
        user, _, password = pair.partition(":")
        assert file.accepts_plain(user.encode(), password.encode())
    for pair in refused:
        user, _, password = pair.partition(":")
        assert not file.accepts_plain(user.encode(), password.encode())


def test_any_bytes_and_no_guessing_of_charsets(tmp_path: Path) -> None:
    file = file_of(tmp_path / "pw", b"j\xfcrgen:\xff\xfe\n")
    assert file.accepts_plain(b"j\xfcrgen", b"\xff\xfe")
    assert not file.accepts_plain("jürgen".encode(), b"\xff\xfe")


def test_hashes_are_no_plain_passwords(tmp_path: Path) -> None:
    """LESSONS 3.27, for hashes that can be checked and those that cannot."""
    file = file_of(tmp_path / "pw", f"a:{PBKDF2}\nb:{BCRYPT}\nc:$6$cut off\nd:plain\n".encode())
    assert file.hashes_of(b"a") == (PBKDF2,)
    assert not file.accepts_plain(b"a", PBKDF2.encode())
    for user, stored in ((b"b", BCRYPT), (b"c", "$6$cut off")):
        assert file.hashes_of(user) == ()
        assert not file.accepts_plain(user, stored.encode())
    assert file.accepts_plain(b"d", b"plain")


def test_decoys_are_hashes_of_the_file_and_stay_the_same(tmp_path: Path) -> None:
    hashes = [PBKDF2.replace("$1000$", f"${rounds}$") for rounds in (1000, 1001, 1002, 1003)]
    lines = "".join(f"u{number}:{text}\n" for number, text in enumerate(hashes))
    file = file_of(tmp_path / "pw", lines.encode())
    names = [b"nobody%d" % number for number in range(100)]
    decoys = [file.decoys_for(name) for name in names]
    assert {decoy for chosen in decoys for decoy in chosen} == set(hashes)
    assert [file.decoys_for(name) for name in names] == decoys
    assert {len(chosen) for chosen in decoys} == {1}


def test_no_decoys_where_all_is_plain(tmp_path: Path) -> None:
    file = file_of(tmp_path / "pw", f"a:1\nb:{BCRYPT}\n".encode())
    assert file.decoys_for(b"nobody") == ()


def test_faults_have_line_numbers_and_no_secrets() -> None:
    content = f"good:1\nword\n\nb:{BCRYPT}\n:x\nc:$6$cut off\nd:\ne:$6$rounds=999999999$salt${'.' * 86}\n"
    faults = read_accounts(content.encode()).faults
    assert faults == [
        (4, "bcrypt is not supported: run lwsws passwd"),
        (6, "malformed sha512 hash: run lwsws passwd"),
        (7, "this user has an empty password"),
        (8, "sha512 hash costs too much (500000 rounds at most): run lwsws passwd"),
        (2, "not user:secret: ignored, as are 1 more lines"),
    ]


def test_lines_for_one_user_are_limited() -> None:
    accounts = read_accounts(b"".join(b"a:%d\n" % number for number in range(MAX_SECRETS + 1)) + b"b:1\n")
    assert len(accounts.users[b"a"].plain) == MAX_SECRETS
    assert accounts.faults == [(5, "more than 4 lines for one user: this one is ignored")]


def test_warnings_are_logged_once_a_change(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    path = tmp_path / "pw"
    path.write_text(f"a:{BCRYPT}\n" + "b:\n" * 3 + "word\n" * 50)
    file = PasswordFile(str(path), clock)
    for _ in range(3):
        file.refresh()
        clock.advance(LOOK_INTERVAL)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith(f"{path}:1: bcrypt is not supported: run lwsws passwd")
    assert BCRYPT[10:] not in "".join(lines)
    path.write_text("".join(f"u{number}:\n" for number in range(MAX_FAULTS_LOGGED + 7)))
    file.refresh()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == MAX_FAULTS_LOGGED + 1
    assert lines[-1].endswith(f"{path}: 7 more lines have faults")


def test_a_change_is_seen_within_a_second(tmp_path: Path) -> None:
    """In place, of the same size and within one tick of the file system's clock."""
    clock = ManualClock()
    path = tmp_path / "pw"
    path.write_text("a:1\n")
    file = PasswordFile(str(path), clock)
    file.refresh()
    status = path.stat()
    path.write_text("a:2\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    clock.advance(LOOK_INTERVAL - 0.01)
    file.refresh()
    assert file.accepts_plain(b"a", b"1")
    clock.advance(0.01)
    file.refresh()
    assert file.accepts_plain(b"a", b"2")
    assert not file.accepts_plain(b"a", b"1")


def test_an_atomic_replacement_is_seen_and_forgets_what_was_verified(tmp_path: Path) -> None:
    clock = ManualClock()
    (tmp_path / "pw").write_text("a:1\n")
    file = PasswordFile(str(tmp_path / "pw"), clock)
    file.refresh()
    file.verified.add(b"key")
    clock.advance(LOOK_INTERVAL)
    file.refresh()
    assert file.verified.has(b"key")    # the file is the same
    (tmp_path / "new").write_text("a:2\n")
    os.rename(tmp_path / "new", tmp_path / "pw")
    clock.advance(LOOK_INTERVAL)
    file.refresh()
    assert file.accepts_plain(b"a", b"2")
    assert not file.verified.has(b"key")


def test_missing_then_there_then_gone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    path = tmp_path / "pw"
    file = PasswordFile(str(path), clock)
    for _ in range(3):
        file.refresh()
        clock.advance(LOOK_INTERVAL)
    assert not file.accepts_plain(b"a", b"1")
    path.write_text("a:1\n")
    file.refresh()
    assert file.accepts_plain(b"a", b"1")
    path.unlink()
    clock.advance(LOOK_INTERVAL)
    file.refresh()
    assert not file.accepts_plain(b"a", b"1")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.endswith(f"password file {path}: No such file or directory: nobody gets in")


def test_too_big(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = b"a:1\n"
    fits = line + b"b:" + b"x" * (MAX_FILE_BYTES - len(line) - 3) + b"\n"
    assert file_of(tmp_path / "pw", fits).accepts_plain(b"a", b"1")
    assert not file_of(tmp_path / "pw", fits + b"\n").accepts_plain(b"a", b"1")
    assert "larger than 1048576 bytes: nobody gets in" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["directory", "fifo", "device"])
def test_what_is_no_file(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pw"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    PasswordFile(str(path), ManualClock()).refresh()
    assert "not a regular file: nobody gets in" in capfd.readouterr().err


def test_a_file_of_hostile_lines_is_read_quickly() -> None:
    """The shapes that a careless pattern would need quadratic time for."""
    for piece in (b"$a", b"$a$", b"$", b"$a$b$" + b"x" * 15):
        secret = b"$a$" + piece * (MAX_FILE_BYTES // len(piece) // 2) + b"!"
        accounts = read_accounts(b"u:" + secret + b"\n")
        assert len(accounts.users[b"u"].plain) == 1


def test_it_is_read_by_who_may() -> None:
    asked: List[Tuple[str, int]] = []

    def read(path: str, most: int) -> bytes:
        asked.append((path, most))
        return b"user:pass\n"

    file = PasswordFile("/closed/users", ManualClock(), read)
    file.refresh()
    assert file.accepts_plain(b"user", b"pass")
    assert asked == [("/closed/users", MAX_FILE_BYTES)]
