"""Starting programs: what they find, and what is left when they cannot be started."""

from __future__ import annotations

import errno
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest

from lwsws.net.spawn import NOTHING, PIPE, PROGRAM_FILES, Command, Started, start
from tests.support.programs import need
from tests.support.source import ROOT

PATH = {b"PATH": os.defpath.encode()}
SHELL = "/bin/sh"


def read_all(fd: int) -> bytes:
    """All that comes from a pipe, which is closed then."""
    os.set_blocking(fd, True)
    with os.fdopen(fd, "rb") as file:
        return file.read()


def finish(started: Started) -> Tuple[str, str, int]:
    """What the program writes to stdout and stderr, and how it ends."""
    if started.stdin != -1:
        os.close(started.stdin)
    out, err = read_all(started.stdout), read_all(started.stderr)
    return out.decode(), err.decode(), started.popen.wait()


def shell(script: str, **more: object) -> Tuple[str, str, int]:
    """The same of a shell, without input."""
    return finish(start(Command((SHELL, "-c", script), PATH)._replace(**more)))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_zombies() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def test_outputs_and_status_are_told_apart() -> None:
    assert shell("echo out; echo err >&2; exit 7") == ("out\n", "err\n", 7)


def test_the_environment_is_what_is_given_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """LESSONS 3.21."""
    monkeypatch.setenv("SECRET", "ours")
    environment = {b"QUERY_STRING": b"a=\xff&b", b"EMPTY": b""}
    started = start(Command((need("env"),), environment))
    os.set_blocking(started.stdout, True)
    assert sorted(os.read(started.stdout, 1000).split(b"\n")) == [b"", b"EMPTY=", b"QUERY_STRING=a=\xff&b"]
    finish(started)


def test_arguments_arrive_as_they_are() -> None:
    """LESSONS 3.22: no shell looks at them."""
    command = Command((SHELL, "-c", 'printf "%s," "$@"', "x", "a b", "$(id)", "'", ""), PATH)
    assert finish(start(command))[0] == "a b,$(id),',,"


def test_input_from_a_pipe() -> None:
    started = start(Command((need("cat"),), PATH, stdin=PIPE))
    os.write(started.stdin, b"body")
    assert finish(started) == ("body", "", 0)


def test_input_from_a_file_which_is_closed_here() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"spooled")
        file.flush()
        fd = os.dup(file.fileno())
        file.seek(0)
        started = start(Command((need("cat"),), PATH, stdin=fd))
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
        assert finish(started) == ("spooled", "", 0)


def test_no_input_is_an_empty_one() -> None:
    assert shell("readlink /proc/self/fd/0; cat") == ("/dev/null\n", "", 0)


def test_a_program_can_open_its_outputs_by_name() -> None:
    """Sockets cannot be opened like that."""
    assert shell("echo a >/dev/stdout; echo b >/dev/stderr") == ("a\n", "b\n", 0)


def test_no_other_fd_is_inherited() -> None:
    """LESSONS 3.22: also none that somebody else, such as a plugin, made inheritable."""
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.set_inheritable(True)
        out, _, _ = finish(start(Command((need("ls"), "-l", "/proc/self/fd"), PATH)))
    targets = [line.rpartition(" -> ")[2] for line in out.splitlines()[1:]]
    assert targets[0] == "/dev/null"
    assert targets[3].endswith("/fd")   # the directory that ls reads
    assert len(targets) == 4


def filled_pipe(data: bytes) -> int:
    """The end to read of a pipe that holds `data`."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.write(writer, data)
    os.close(writer)
    return reader


def is_open(fd: int) -> bool:
    """Whether that is the number of an open fd of ours."""
    return os.path.exists(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize("stdin", [NOTHING, PIPE])
def test_fds_to_pass_on_are_inherited_and_closed_here(stdin: int) -> None:
    kept, *passed = [filled_pipe(data) for data in (b"kept", b"one", b"two")]
    names = [f"/dev/fd/{fd}" for fd in passed]
    command = Command((need("cat"), *names, f"/dev/fd/{kept}"), PATH, stdin=stdin, pass_fds=tuple(passed))
    out, err, status = finish(start(command))
    assert (out, status) == ("onetwo", 1)
    assert f"/dev/fd/{kept}" in err
    assert [is_open(fd) for fd in (kept, *passed)] == [True, False, False]
    os.close(kept)


def test_our_ends_do_not_block_and_are_inherited_by_nobody() -> None:
    started = start(Command((SHELL, "-c", "read line"), PATH, stdin=PIPE))
    ours = (started.stdin, started.stdout, started.stderr)
    assert [(os.get_blocking(fd), os.get_inheritable(fd)) for fd in ours] == [(False, False)] * 3
    assert finish(started)[2] == 1


def test_a_program_leads_a_session_of_its_own() -> None:
    started = start(Command((need("cat"), "/proc/self/stat"), PATH))
    pid = str(started.pid)
    words = finish(started)[0].split()
    assert (words[0], words[4], words[5]) == (pid, pid, pid)    # itself, its group, its session


def test_signals_are_neither_ignored_nor_blocked() -> None:
    """LESSONS 3.22.  Python itself ignores SIGPIPE."""
    out, _, _ = shell("grep -E '^Sig(Ign|Blk)' /proc/self/status")
    names_and_masks = out.split()
    assert names_and_masks[::2] == ["SigBlk:", "SigIgn:"]
    # Of 32 and 33 libc lets nobody change anything, and posix_spawn() of who started us has them ignored.
    assert [int(mask, 16) & ~(3 << 31) for mask in names_and_masks[1::2]] == [0, 0]


def test_limits_are_the_usual_ones() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard <= PROGRAM_FILES:
        pytest.skip(f"the limit of files is {hard} here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (PROGRAM_FILES + 1, hard))
    try:
        script = "read line; ulimit -Sn; ulimit -Hn; ulimit -Sc"
        started = start(Command((SHELL, "-c", script), PATH, stdin=PIPE))
        assert finish(started)[0].split() == [str(PROGRAM_FILES), str(hard), "0"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_directory_to_begin_in(tmp_path: Path) -> None:
    assert shell("pwd", directory=str(tmp_path))[0] == f"{tmp_path}\n"
    assert shell("pwd")[0] == f"{os.getcwd()}\n"


def make_program(path: Path, text: str, mode: int = 0o755) -> str:
    """A file to be started."""
    path.write_text(text)
    path.chmod(mode)
    return str(path)


FAULTS: Dict[str, Tuple[int, str]] = {
    "missing": (errno.ENOENT, "No such file or directory"),
    "no-interpreter": (errno.ENOENT, "the interpreter named in its first line is missing"),
    "not-executable": (errno.EACCES, "Permission denied"),
    "no-program": (errno.ENOEXEC, "Exec format error"),
    "too-much": (errno.E2BIG, "Argument list too long"),
    "nul": (errno.EINVAL, "embedded null byte"),
    "directory": (errno.ENOENT, "No such file or directory"),
    "variable": (errno.EINVAL, "illegal environment variable name"),
}


@pytest.mark.parametrize("stdin", ["nothing", "pipe", "file"])
@pytest.mark.parametrize("fault", FAULTS)
def test_who_cannot_be_started_leaves_nothing(tmp_path: Path, fault: str, stdin: str) -> None:
    make_program(tmp_path / "no-interpreter", "#!/no/such/interpreter\n")
    make_program(tmp_path / "not-executable", "#!/bin/sh\n", 0o644)
    make_program(tmp_path / "no-program", "just text\n")
    make_program(tmp_path / "good", "#!/bin/sh\n")
    path = str(tmp_path / (fault if "-" in fault or fault == "missing" else "good"))
    command = {
        "too-much": Command((str(tmp_path / "good"), "x" * 3_000_000), PATH),
        "nul": Command((str(tmp_path / "good"), "a\0b"), PATH),
        "directory": Command((str(tmp_path / "good"),), PATH, directory=str(tmp_path / "none")),
        "variable": Command((str(tmp_path / "good"),), {b"A=B": b""}),
    }.get(fault, Command((path,), PATH))
    fd = {"nothing": NOTHING, "pipe": PIPE}.get(stdin)
    if fd is None:
        fd = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
    passed = filled_pipe(b"")
    with pytest.raises(OSError) as raised:
        start(command._replace(stdin=fd, pass_fds=(passed,)))
    assert not is_open(passed)
    assert (raised.value.errno, raised.value.strerror) == FAULTS[fault]
    assert raised.value.filename == (str(tmp_path / "none") if fault == "directory" else command.argv[0])


def test_without_fds_nothing_is_started_and_nothing_lost() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for room in range(6):   # two pipes, and one that tells subprocess of faults
        spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        passed = os.dup(spare)
        lowest = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
        try:
            with pytest.raises(OSError) as raised:
                start(Command((SHELL, "-c", "exit"), PATH, stdin=spare, pass_fds=(passed,)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert raised.value.errno == errno.EMFILE
        assert not is_open(spare)
        assert not is_open(passed)


def test_one_that_nobody_wants_is_gone_at_once() -> None:
    reader, writer = os.pipe()
    started = start(Command((SHELL, "-c", "trap '' TERM; cat"), PATH, stdin=reader))
    started.discard()
    assert not os.path.exists(f"/proc/{started.pid}")
    poll = select.poll()
    poll.register(writer, 0)
    assert poll.poll(10_000) == [(writer, select.POLLERR)]  # the cat is gone as well
    os.close(writer)


def minimal_root(folder: Path, *programs: str) -> Path:
    """A directory with `programs` in /bin and what they are linked with."""
    listed = subprocess.run([need("ldd"), *programs], capture_output=True, text=True, check=True).stdout
    for file in {*programs, *(word for word in listed.split() if word.startswith("/") and word[-1] != ":")}:
        target = folder / ("bin/" + Path(file).name if file in programs else file.lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (folder / "work").mkdir()
    (folder / "work" / "hello").write_text("hello from inside\n")
    return folder


# Says what a program in a chroot says; perhaps as somebody else than root.
IN_CHROOT = """
import os, sys
from lwsws.net.jail import CLONE_NEWUSER, find_unshare
from lwsws.net.spawn import Command, start
root, user, keep = sys.argv[1], int(sys.argv[2]), sys.argv[3]
import ctypes   # as the server does, while it can read everything
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    if keep: ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as if started as that user
if user and os.fork() == 0:
    try:
        find_unshare()(CLONE_NEWUSER)
    except OSError:
        print("no user namespace", flush=True)
    os._exit(0)
try:
    started = start(Command(("/bin/sh", "-c", "pwd; cat hello; id -u; ls /"), {}, "/work", root))
except OSError as error:
    print(error.errno, error.strerror)
else:
    for fd in (started.stdout, started.stderr):
        os.set_blocking(fd, True)
        sys.stdout.buffer.write(os.fdopen(fd, "rb").read())
    print(started.popen.wait())
"""


def in_chroot(root: Path, user: int, keep: str = "") -> str:
    """What IN_CHROOT says; skipped where nobody gets a user namespace."""
    done = subprocess.run([sys.executable, "-c", IN_CHROOT, str(root), str(user), keep], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    if "no user namespace" in done.stdout:
        pytest.skip("not everybody gets a user namespace here")
    return done.stdout


@pytest.fixture(scope="module")
def small_root() -> Iterator[Path]:
    """A root directory that everybody can look into, with a few programs."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield minimal_root(Path(folder), SHELL, need("cat"), need("id"), need("ls"))


@pytest.mark.parametrize("user, keep, seen", [
    (0, "", 0),                     # a server that has stayed root
    (65533, "dumpable", 65533),     # one that somebody started who is not root
    (65533, "", 65534),             # one that has given up root
])
def test_a_chroot_also_without_root(small_root: Path, user: int, keep: str, seen: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    here, content, uid, *listed, status = in_chroot(small_root, user, keep).splitlines()
    assert (here, content, uid, status) == ("/work", "hello from inside", str(seen), "0")
    assert {"bin", "work"} <= set(listed)
    assert "proc" not in listed


def test_a_chroot_that_is_not_there(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with pytest.raises(FileNotFoundError, match=f"chroot to {tmp_path}/none: No such file"):
        start(Command(("/bin/sh",), PATH, chroot=str(tmp_path / "none")))
    with pytest.raises(FileNotFoundError, match=f"directory /none in {tmp_path}: No such file"):
        start(Command(("/bin/sh",), PATH, "/none", chroot=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match="No such file or directory: '/bin/sh'"):
        start(Command(("/bin/sh",), PATH, chroot=str(tmp_path)))
