"""`lwsws passwd` as a program: lines it writes, files it replaces, what it refuses."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import pytest

from lwsws.handlers.passwordfile import PasswordFile
from lwsws.handlers.passwords import verify
from lwsws.passwd import MAX_PASSWORD_BYTES, MAX_USER_BYTES
from tests.support.bytecode import shared_bytecode

ROOT = Path(__file__).resolve().parents[1]
# Python without what belongs to the machine, which takes longer than the program.  The default scheme has its
# usual costs, the others the least that there may be (tests/handlers/test_passwords.py has the usual ones).
PYTHON = [sys.executable, "-S", "-c"]
START = """import sys
from lwsws.handlers import passwords
from lwsws.passwd import main
passwords.PBKDF2_ROUNDS = passwords.SHA512_ROUNDS = 1000
sys.exit(main(sys.argv[1:]))
"""
PROGRAM = [*PYTHON, START]
ENVIRONMENT = {**os.environ, **shared_bytecode(), "PYTHONPATH": str(ROOT)}


def run(arguments: Sequence[str], typed: bytes = b"", cwd: Optional[Path] = None) -> Tuple[int, str, str]:
    """Run `lwsws passwd ARGUMENTS` with `typed` as standard input: exit code, output, error output."""
    done = subprocess.run([*PROGRAM, *arguments], input=typed, cwd=cwd or ROOT, env=ENVIRONMENT,
                          capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def secrets_in(path: Path) -> List[Tuple[str, str]]:
    lines = path.read_text().splitlines()
    return [(line.partition(":")[0], line.partition(":")[2]) for line in lines]


def test_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    code, output, errors = run([str(path), "bob"], b"se:cret\n")
    assert (code, output) == (0, "")
    assert errors.startswith(f"{path} is new and only its owner can read it")
    [(user, secret)] = secrets_in(path)
    assert user == "bob"
    assert secret.startswith("$scrypt$ln=14,r=8,p=1$")
    assert verify(b"se:cret", secret)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["pw"]       # nothing left over


@pytest.mark.parametrize("scheme, start", [
    ("scrypt", "$scrypt$"), ("pbkdf2", "$pbkdf2-sha256$"), ("sha512", "$6$rounds="),
])
def test_schemes_and_printing(scheme: str, start: str) -> None:
    select = ["-s", scheme]
    for arguments in ([*select, "-", "bob"], [*select, "-n", "bob"], ["-n", *select, "--", "bob"]):
        code, output, errors = run(arguments, b"secret")
        assert (code, errors) == (0, "")
        assert output.endswith("\n")
        user, _, secret = output[:-1].partition(":")
        assert user == "bob"
        assert secret.startswith(start)
        assert verify(b"secret", secret)


@pytest.mark.parametrize("typed", [b"secret", b"secret\n", b"secret\r\n", b"secret\nsecond line\n"])
def test_the_first_line_of_standard_input(typed: bytes) -> None:
    code, output, _ = run(["-s", "sha512", "-", "bob"], typed)
    assert code == 0
    assert verify(b"secret", output[len("bob:"):-1])


def test_all_other_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_bytes(b"# c\r\n\nbob:old\nbobby:x\nBob:y\nword\n\xff:\xfe\nbob:older\nlast:nonl")
    path.chmod(0o640)
    code, _, errors = run([str(path), "bob"], b"new")
    assert (code, errors) == (0, "")
    lines = path.read_bytes().split(b"\n")
    assert verify(b"new", lines[2][len(b"bob:"):].decode())
    assert lines[2].startswith(b"bob:")
    assert lines[:2] == [b"# c\r", b""]
    assert lines[3:] == [b"bobby:x", b"Bob:y", b"word", b"\xff:\xfe", b"last:nonl", b""]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_user_is_added_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_bytes(b"a:1")
    assert run(["-s", "sha512", str(path), "j\u00fcrgen"], b"x")[0] == 0
    assert [user for user, _ in secrets_in(path)] == ["a", "j\u00fcrgen"]


def test_the_server_takes_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("plain:text\n")
    assert run([str(path), "bob"], b"secret")[0] == 0
    file = PasswordFile(str(path))
    file.refresh()
    assert file.accepts_plain(b"plain", b"text")
    [stored] = file.hashes_of(b"bob")
    assert verify(b"secret", stored)


def test_delete(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("a:1\nbob:2\nb:3\nbob:4\n")
    assert run(["-D", str(path), "bob"]) == (0, "", "")
    assert path.read_text() == "a:1\nb:3\n"
    code, _, errors = run(["-D", str(path), "bob"])
    assert (code, errors) == (1, "lwsws passwd: no user bob in the file\n")
    assert path.read_text() == "a:1\nb:3\n"
    assert run(["-D", str(tmp_path / "missing"), "bob"])[0] == 1
    assert os.listdir(tmp_path) == ["pw"]


def test_the_last_user_leaves_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("bob:2\n")
    assert run(["-D", str(path), "bob"])[0] == 0
    assert path.read_bytes() == b""
    assert run(["-s", "sha512", str(path), "amy"], b"x")[0] == 0
    assert [user for user, _ in secrets_in(path)] == ["amy"]


def test_the_file_is_replaced_not_rewritten(tmp_path: Path) -> None:
    """Who has the old file open reads the old file to its end."""
    path = tmp_path / "pw"
    path.write_text("bob:old\n")
    with open(path) as old:
        assert run(["-s", "sha512", str(path), "bob"], b"new")[0] == 0
        assert old.read() == "bob:old\n"
    assert path.read_text() != "bob:old\n"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("a:1\n")
    link = tmp_path / "link"
    link.symlink_to("real")
    assert run(["-s", "sha512", "link", "bob"], b"x", cwd=tmp_path)[0] == 0
    assert link.is_symlink()
    assert [user for user, _ in secrets_in(tmp_path / "real")] == ["a", "bob"]


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("")
    users = [f"user{number}" for number in range(6)]
    children = [subprocess.Popen([*PROGRAM, "-s", "sha512", str(path), user], env=ENVIRONMENT,
                                 stdin=subprocess.PIPE) for user in users]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"secret\n")
        child.stdin.flush()     # all of them work now
    for child in children:
        child.communicate()
        assert child.returncode == 0
    assert sorted(user for user, _ in secrets_in(path)) == users


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to own files as somebody else")
def test_root_keeps_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("a:1\n")
    path.chmod(0o440)
    os.chown(path, 12345, 23456)
    assert run(["-s", "sha512", str(path), "bob"], b"x")[0] == 0
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 23456, 0o440)


SOMEBODY_ELSE = """if True:
    import os, sys
    from lwsws.passwd import main
    os.setgid(12345)
    os.setuid(12345)
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_the_file_of_somebody_else_is_left_alone() -> None:
    """Otherwise the server might not be able to read the file any more, or others might."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = Path(directory, "pw")
        path.write_text("a:1\n")
        path.chmod(0o644)
        command = [sys.executable, "-c", SOMEBODY_ELSE, "-s", "sha512", str(path), "bob"]
        done = subprocess.run(command, input=b"x", cwd=ROOT, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 1
        assert b"belongs to another user: run this as its owner or as root" in done.stderr
        assert path.read_text() == "a:1\n"
        assert os.listdir(directory) == ["pw"]


@pytest.mark.parametrize("user", ["", "a:b", "a\nb", "a\x7f", "x" * (MAX_USER_BYTES + 1)])
def test_bad_users(tmp_path: Path, user: str) -> None:
    code, output, errors = run([str(tmp_path / "pw"), user], b"secret")
    assert (code, output) == (1, "")
    assert errors.startswith("lwsws passwd: a user name ")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("typed, why", [
    (b"", "an empty password is no protection"),
    (b"\n", "an empty password is no protection"),
    (b"a\tb\n", "control characters"),
    (b"a\x00b\n", "control characters"),
    (b"x" * (MAX_PASSWORD_BYTES + 1) + b"\n", "at most 512 bytes"),
    (b"x" * 100000, "at most 512 bytes"),
])
def test_bad_passwords(tmp_path: Path, typed: bytes, why: str) -> None:
    code, output, errors = run([str(tmp_path / "pw"), "bob"], typed)
    assert (code, output) == (1, "")
    assert why in errors
    assert errors.endswith("nothing changed\n")
    assert os.listdir(tmp_path) == []


def test_the_longest_of_both_fit_the_header() -> None:
    """What passwd accepts, the server must accept."""
    from base64 import b64encode

    from lwsws.handlers.basicauth import parse_credentials
    user, password = b"u" * MAX_USER_BYTES, b"p" * MAX_PASSWORD_BYTES
    code, output, _ = run(["-s", "sha512", "-n", user.decode()], password + b"\r\n")
    assert code == 0
    assert verify(password, output[MAX_USER_BYTES + 1:-1])
    assert parse_credentials("Basic " + b64encode(user + b":" + password).decode()) == (user, password)


@pytest.mark.parametrize("arguments, why", [
    ([], "give FILE and USER"),
    (["pw"], "give FILE and USER"),
    (["pw", "bob", "secret"], "give FILE and USER"),
    (["-n", "pw", "bob"], "give USER"),
    (["-n"], "give USER"),
    (["-s"], "-s needs a scheme"),
    (["-s", "md5", "pw", "bob"], "no scheme md5: give one of scrypt, pbkdf2, sha512"),
    (["-x", "pw", "bob"], "unknown option -x"),
    (["--delete", "pw", "bob"], "unknown option --delete"),
    (["-D", "-", "bob"], "-D needs a file"),
    (["-D", "-n", "bob"], "-D needs a file"),
])
def test_misuse(tmp_path: Path, arguments: List[str], why: str) -> None:
    code, output, errors = run(arguments, b"secret", cwd=tmp_path)
    assert (code, output) == (2, "")
    assert errors.startswith(f"lwsws passwd: {why}\n\nusage: lwsws passwd ")
    assert os.listdir(tmp_path) == []


def test_help() -> None:
    for arguments in (["-h"], ["--help"], ["-D", "-h"]):
        code, output, errors = run(arguments)
        assert (code, errors) == (0, "")
        assert output.startswith("usage: lwsws passwd [-s SCHEME] FILE USER\n")


@pytest.mark.parametrize("make", [
    pytest.param(lambda path: path.mkdir(), id="directory"),
    pytest.param(os.mkfifo, id="fifo"),
    pytest.param(lambda path: path.symlink_to("/dev/null"), id="device"),
    pytest.param(lambda path: path.symlink_to(path.name), id="loop"),
    pytest.param(lambda path: path.symlink_to("/nonexistent/pw"), id="no directory"),
    pytest.param(lambda path: path.write_bytes(b"x" * (1 << 20)), id="too big"),
])
def test_what_cannot_be_replaced(tmp_path: Path, make: object) -> None:
    path = tmp_path / "pw"
    assert callable(make)
    make(path)
    inode = path.lstat().st_ino
    code, output, errors = run(["-s", "sha512", str(path), "bob"], b"secret")
    assert (code, output) == (1, "")
    assert errors.startswith("lwsws passwd: /")
    assert os.listdir(tmp_path) == ["pw"]
    assert path.lstat().st_ino == inode


def on_a_terminal(arguments: Sequence[str], typed: Sequence[bytes]) -> Tuple[int, str]:
    """Run with a terminal of its own, type each line at its prompt: exit code and all output."""
    terminal, tty = os.openpty()
    # In a session of its own the program gets the first terminal it opens as its own (/dev/tty).
    program = "import os; os.open(os.ttyname(0), os.O_RDWR)\n" + START
    child = subprocess.Popen([*PYTHON, program, *arguments], env=ENVIRONMENT, start_new_session=True,
                             stdin=tty, stdout=tty, stderr=tty)
    os.close(tty)
    shown = b""
    lines = list(typed)
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:     # the program has ended
            break
        if not piece:
            break
        shown += piece
        if lines and (shown.endswith(b": ")):
            os.write(terminal, lines.pop(0))
    os.close(terminal)
    return child.wait(), shown.decode()


def test_a_terminal_is_asked_twice_and_shows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    code, shown = on_a_terminal(["-s", "sha512", str(path), "bob"], ["p\u00e4ss w\n".encode()] * 2)
    assert code == 0
    assert "New password for bob: " in shown
    assert "Once more: " in shown
    assert "w\r\n" not in shown
    assert verify("p\u00e4ss w".encode(), secrets_in(path)[0][1])


@pytest.mark.parametrize("typed, why", [
    ([b"one\n", b"two\n"], "the two passwords differ: nothing changed"),
    ([b"\n", b"\n"], "an empty password is no protection: nothing changed"),
    ([b"\x03"], "lwsws passwd: nothing changed"),
    ([b"one\n", b"\x04"], "lwsws passwd: nothing changed"),
])
def test_a_terminal_where_nothing_comes_of_it(tmp_path: Path, typed: List[bytes], why: str) -> None:
    code, shown = on_a_terminal([str(tmp_path / "pw"), "bob"], typed)
    assert code == 1
    assert why in shown
    assert "Traceback" not in shown
    assert os.listdir(tmp_path) == []
