"""The openssl tool as a copy in memory: its own user runs it, and nobody else of that user looks into it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, Optional, Tuple

import pytest

from lwsws.net.memory_file import has_memory_files, name_of
from lwsws.net.openssl import ENVIRONMENT, Openssl, Tool, hidden_copy
from lwsws.net.programs import Programs
from lwsws.net.run import Finished, InputFile, OpenFile, Run
from tests.net.support import settle, spin
from tests.support.programs import need
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SECRET = b"the key of the site"
needs_root = pytest.mark.skipif(os.getuid() != 0 or not has_memory_files(),
                                reason="needs root, who may become somebody else, and files in memory")


# Files that are open already.


def ended(programs: Programs, *argv: Any) -> Tuple[Optional[Finished], str]:
    """What is told of a run."""
    told: List[Tuple[Optional[Finished], str]] = []
    Run(programs, argv, lambda finished, reason: told.append((finished, reason)), label="test", seconds=10.0,
        environment=ENVIRONMENT)
    spin(programs.reactor, lambda: bool(told))
    settle(programs.reactor)
    (only,) = told
    return only


def test_an_open_file_as_an_argument(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        assert file.read() == b"content"
        path.unlink()
        argv = (need("cat"), OpenFile(file.fileno()), InputFile(b", more, "), OpenFile(file.fileno()))
        assert ended(programs, *argv) == (Finished(0, b"content, more, content", b""), "")
        assert file.seek(0) == 0 and file.read() == b"content"      # it stays ours
        assert not os.get_inheritable(file.fileno())


def test_an_open_file_as_the_program(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(Path(need("echo")).read_bytes())
    path.chmod(0o755)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    path.unlink()
    for _ in range(2):
        assert ended(programs, OpenFile(fd), "hello") == (Finished(0, b"hello\n", b""), "")
    os.close(fd)
    finished, reason = ended(programs, OpenFile(fd), InputFile(b"x"))
    assert (finished, reason) == (None, "test cannot be started: Bad file descriptor")


@pytest.mark.parametrize("position", [0, 1, 3])
def test_one_that_is_not_open(programs: Programs, position: int) -> None:
    """Nothing stays open of what was made before."""
    argv: List[Any] = [need("cat"), InputFile(b"x"), InputFile(b"y")]
    argv.insert(position, OpenFile(10 ** 6))
    assert ended(programs, *argv) == (None, "test cannot be started: Bad file descriptor")
    assert programs.started == 0


# The copy.


@pytest.fixture
def copy() -> Iterator[int]:
    """One of the tool."""
    fd = hidden_copy(need("openssl"))
    yield fd
    os.close(fd)


@needs_root
def test_it_is_whole_and_for_nobody_to_read_or_change(copy: int) -> None:
    info = os.fstat(copy)
    assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o111, 0)
    assert os.pread(copy, info.st_size + 1, 0) == Path(need("openssl")).read_bytes()
    assert not os.get_inheritable(copy)
    with pytest.raises(OSError):
        os.pwrite(copy, b"x", 0)
    assert "lwsws-openssl" in os.readlink(name_of(copy))


@needs_root
def test_of_what_cannot_be_read_there_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(OSError):
            hidden_copy(str(path))


@needs_root
def test_it_does_what_the_tool_does(copy: int, programs: Programs) -> None:
    told: List[Optional[bytes]] = []
    tool: Tool = copy
    Openssl(programs, tool).new_key(lambda key, reason: told.append(key))
    spin(programs.reactor, lambda: bool(told))
    assert told[0] is not None and told[0].startswith(b"-----BEGIN PRIVATE KEY-----\n")


# Another user.

# As a process of the server does, which was root: becomes somebody else, and runs the tool on a secret, which
# waits until it may read its first file.  Then whether he himself could read the copy, or change it.
SERVER = """\
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from lwsws.net.memory_file import name_of
from lwsws.net.openssl import ENVIRONMENT, Openssl, hidden_copy
from lwsws.net.programs import Programs
from lwsws.net.reactor import Reactor
from lwsws.net.run import InputFile, OpenFile, Run

kind, path, uid, secret = sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5].encode()
tool = hidden_copy(path) if kind == "hidden" else path
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
reactor = Reactor(time.monotonic)
programs = Programs(reactor)
told = []

def wait(count):
    for _ in range(1000):
        if len(told) >= count:
            return
        reactor.run_once(0.1)

Openssl(programs, tool).new_key(lambda key, reason: told.append([(key or b"").decode("ascii"), reason]))
wait(1)
reader, writer = os.pipe()
program = OpenFile(tool) if kind == "hidden" else tool
arguments = [program, "dgst", "-sha256", "-r", OpenFile(reader), InputFile(secret)]
run = Run(programs, arguments,
          lambda finished, reason: told.append([finished and finished.stdout.decode("ascii"), reason]),
          label="test", seconds=60.0, environment=ENVIRONMENT)
os.close(reader)
(started,) = programs._alive
print(json.dumps({"pid": started.pid}), flush=True)
sys.stdin.readline()
os.close(writer)
wait(2)
denied = []
for flags in (os.O_RDONLY, os.O_RDWR):
    try:
        os.close(os.open(name_of(tool) if kind == "hidden" else path, flags))
    except OSError as error:
        denied.append(error.strerror)
print(json.dumps({"told": told, "denied": denied}), flush=True)
"""


class Serving:
    """Such a process while the tool runs."""

    def __init__(self, kind: str) -> None:
        argv = [sys.executable, "-c", SERVER, str(ROOT), kind, need("openssl"), str(NOBODY), SECRET.decode()]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid: int = self._line()["pid"]
        # Who started the tool may go on a moment before the kernel has put the arguments in place.
        wait_until(lambda: command_line(self.pid), "the tool")

    def _line(self) -> Dict[str, Any]:
        output: Optional[IO[str]] = self._process.stdout
        assert output is not None
        line = output.readline()
        assert line, "it has ended"
        found: Dict[str, Any] = json.loads(line)
        return found

    def go_on(self) -> Dict[str, Any]:
        """Let the tool come to its end; what came of all that."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End it."""
        with self._process:
            self._process.kill()


def as_nobody(script: str, *arguments: str) -> Tuple[int, str]:
    """A program that another one of the server's user has started: its status, and what it writes."""
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *arguments], user=NOBODY, group=NOBODY, cwd="/",
                          extra_groups=[], capture_output=True, text=True, check=False, timeout=20)
    return done.returncode, done.stdout


def command_line(pid: int) -> List[str]:
    """The arguments of that process."""
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")[:-1]


def secret_of(pid: int) -> str:
    """The path by which the tool reads the secret."""
    name = command_line(pid)[-1]
    assert name.startswith("/proc/self/fd/")
    return name.replace("self", str(pid), 1)


@pytest.fixture(params=["plain", "hidden"])
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """With the tool as it is, of which others of that user see all, and with the copy."""
    made = Serving(request.param)
    yield made
    made.close()


@needs_root
def test_its_user_runs_it(serving: Serving, request: pytest.FixtureRequest) -> None:
    is_hidden = request.node.callspec.params["serving"] == "hidden"
    found = serving.go_on()
    (key, no_fault), (digests, reason) = found["told"]
    assert key.startswith("-----BEGIN PRIVATE KEY-----\n") and no_fault == reason == ""
    wanted = subprocess.run([need("openssl"), "dgst", "-sha256", "-r"], input=SECRET, capture_output=True,
                            check=True).stdout.split()[0].decode()
    assert [line.split()[0] for line in digests.splitlines()][1] == wanted
    assert found["denied"] == ["Permission denied"] * (2 if is_hidden else 1)


LOOKS = {
    "descriptors": "ls /proc/$1/fd/ | grep -q 0", "memory": "head -c 1 /proc/$1/mem; exec <>/proc/$1/mem",
    "environment": "grep -q OPENSSL_CONF /proc/$1/environ", "program": "test -r /proc/$1/exe",
    "map": "grep -q x /proc/$1/maps", "working directory": "ls /proc/$1/cwd/ | grep -q proc"}


@needs_root
@pytest.mark.parametrize("look", LOOKS)
def test_another_program_of_that_user_looks_in(serving: Serving, request: pytest.FixtureRequest,
                                               look: str) -> None:
    is_hidden = request.node.callspec.params["serving"] == "hidden"
    assert Path(f"/proc/{serving.pid}/comm").exists()       # it still runs
    status, _ = as_nobody(LOOKS[look], str(serving.pid))
    assert (status == 0) == (not is_hidden)


@needs_root
def test_another_program_of_that_user_reads_the_secret(serving: Serving,
                                                       request: pytest.FixtureRequest) -> None:
    """The copy of the tool gets it in spite of that, the tool as it is has nothing left to read."""
    is_hidden = request.node.callspec.params["serving"] == "hidden"
    status, found = as_nobody('cat "$1"', secret_of(serving.pid))
    assert (status == 0, found) == ((False, "") if is_hidden else (True, SECRET.decode()))
    digests = serving.go_on()["told"][1][0].splitlines()
    empty = digests[0].split()[0]
    assert (digests[1].split()[0] == empty) == (not is_hidden)
