"""Short programs run to their end: what is told of them and when, and that nothing of them is left.

The clock of the reactor stands still unless it is moved, so no limit in time is reached by itself.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import resource
import signal
from pathlib import Path
from typing import Any, List, Optional, Tuple

import pytest

from lwsws.net.programs import KILL_SECONDS, Program, Programs
from lwsws.net.reactor import Reactor
from lwsws.net.run import MAX_INPUT_FILE, MAX_OUTPUT, SILENCE_SECONDS, Argument, Finished, InputFile, Run
from tests.net.support import CountingSelector, settle, spin
from tests.support import procfs
from tests.support.clock import ManualClock
from tests.support.programs import need
from tests.support.waiting import wait_until

PATH = {b"PATH": os.defpath.encode()}
SHELL = "/bin/sh"
SECONDS = 10.0
F_SETPIPE_SZ = 1031     # in fcntl from Python 3.10 on
LATE = (None, "test did not end within 10 s")


class Running:
    """One run, and what was told of it."""

    def __init__(self, programs: Programs, *argv: Argument, stdin: bytes = b"", **more: Any) -> None:
        self.reactor = programs.reactor
        self.programs = programs
        self.told: List[Tuple[Optional[Finished], str]] = []
        options = {"label": "test", "seconds": SECONDS, "environment": PATH, **more}
        self.run = Run(programs, argv, self.done, stdin=stdin, **options)
        assert self.told == []

    def done(self, finished: Optional[Finished], reason: str) -> None:
        """What the run tells."""
        self.told.append((finished, reason))

    def ending(self) -> Tuple[Optional[Finished], str]:
        """What is told; once, and all is closed and waited for, except for what has to be killed first."""
        spin(self.reactor, lambda: bool(self.told))
        settle(self.reactor)
        (told,) = self.told
        return told

    def finished(self) -> Finished:
        """The same if it went well."""
        finished, reason = self.ending()
        assert (reason, self.programs.alive) == ("", 0)
        assert finished is not None
        return finished


def shell(programs: Programs, script: str, stdin: bytes = b"", **more: Any) -> Running:
    """A shell that runs `script`."""
    return Running(programs, SHELL, "-c", script, stdin=stdin, **more)


def only(programs: Programs) -> Program:
    """The only program there is."""
    (program,) = programs._alive
    return program


class Gate:
    """A FIFO for which a program waits, not for time or stdin; who opens it again may meet its writer."""

    def __init__(self, folder: Path) -> None:
        self.path, self.second = folder / "gate", folder / "second"
        for path in (self.path, self.second):
            os.mkfifo(path)

    def open(self) -> None:
        """Let the program go on."""
        self.path.write_text("go\n")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A closed one."""
    return Gate(tmp_path)


# What goes in and comes out.


def test_input_output_and_status(programs: Programs) -> None:
    running = shell(programs, "tr a-z A-Z; echo err >&2; exit 7", b"hello")
    assert running.finished() == Finished(7, b"HELLO", b"err\n")


def test_an_end_by_a_signal_is_no_fault_and_no_input_an_empty_one(programs: Programs) -> None:
    assert shell(programs, "cat; kill -9 $$").finished() == Finished(-signal.SIGKILL, b"", b"")


def test_much_input_goes_in_while_output_comes_out(programs: Programs) -> None:
    assert shell(programs, "wc -c", b"x" * 3_000_000).finished().stdout.split() == [b"3000000"]


@pytest.mark.parametrize("size", [1, 3_000_000])
@pytest.mark.parametrize("script", ["exit 0", "exec <&-; cat %s"])
def test_input_need_not_be_read(programs: Programs, gate: Gate, script: str, size: int) -> None:
    running = shell(programs, script.replace("%s", str(gate.path)), b"x" * size)
    settle(running.reactor)
    if "cat" in script:
        gate.open()
    assert running.finished().returncode == 0


def test_where_it_begins_and_with_which_environment(programs: Programs, tmp_path: Path) -> None:
    assert shell(programs, "pwd").finished().stdout == b"/\n"
    assert shell(programs, "pwd", directory=str(tmp_path)).finished().stdout == f"{tmp_path}\n".encode()
    assert Running(programs, need("env"), environment={b"A": b"\xff"}).finished().stdout == b"A=\xff\n"


def test_files_that_are_on_no_disk(programs: Programs) -> None:
    large = os.urandom(MAX_INPUT_FILE)
    running = Running(programs, need("cat"), InputFile(b"one,"), InputFile(b""), "-", InputFile(large),
                      stdin=b"two,")
    assert running.finished() == Finished(0, b"one,two," + large, b"")


def test_a_file_can_be_read_once(programs: Programs) -> None:
    running = Running(programs, SHELL, "-c", 'cat "$1" "$1"; ls -l "$1" >&2', "x", InputFile(b"secret"))
    finished = running.finished()
    assert finished.stdout == b"secret"
    assert b"pipe:" in finished.stderr


def test_what_is_in_a_file_is_not_seen_from_outside(programs: Programs, gate: Gate) -> None:
    running = Running(programs, need("cat"), InputFile(b"secret"), str(gate.path), stdin=b"secret")
    folder = Path(f"/proc/{only(programs).pid}")
    wait_until(lambda: b"/proc/self/fd/" in (folder / "cmdline").read_bytes(), "the kernel has set it up")
    assert b"secret" not in (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    gate.open()
    assert running.finished().stdout == b"secretgo\n"


def test_a_file_that_is_too_large_is_refused_before_anything_is_done(programs: Programs) -> None:
    with pytest.raises(ValueError, match="test: an input file may have at most 60000 bytes"):
        Running(programs, "/bin/true", InputFile(b"x"), InputFile(b"x" * (MAX_INPUT_FILE + 1)))
    assert programs.started == 0


def test_as_much_output_as_is_kept(programs: Programs) -> None:
    head, kept = f"head -c {MAX_OUTPUT} /dev/zero", bytes(MAX_OUTPUT)
    assert shell(programs, f"{head}; {head} >&2").finished() == Finished(0, kept, kept)


def test_more_on_stderr_is_dropped(programs: Programs) -> None:
    finished = shell(programs, "head -c 1000000 /dev/zero >&2; echo out").finished()
    assert finished == Finished(0, b"out\n", bytes(MAX_OUTPUT))


@pytest.mark.parametrize("size", [MAX_OUTPUT + 1, 1_000_000])
def test_more_on_stdout_ends_it(programs: Programs, clock: ManualClock, gate: Gate, size: int) -> None:
    running = shell(programs, f"head -c {size} /dev/zero; cat {gate.path}")
    assert running.ending() == (None, f"test wrote more than {MAX_OUTPUT} bytes")
    clock.advance(KILL_SECONDS)
    spin(running.reactor, lambda: programs.alive == 0)
    assert len(running.told) == 1


def test_outputs_may_end_long_before_the_program(programs: Programs, clock: ManualClock, gate: Gate) -> None:
    running = shell(programs, f"echo out; exec >&- 2>&-; read line <{gate.path}; exit 4")
    clock.advance(SECONDS / 2)
    settle(running.reactor)
    assert running.told == []
    gate.open()
    assert running.finished() == Finished(4, b"out\n", b"")


# A job in the background.


def test_a_job_in_the_background_does_not_hold_us(programs: Programs, clock: ManualClock, gate: Gate) -> None:
    running = shell(programs, f"read line <{gate.path} & echo out; exit 3")
    program = only(programs)
    spin(running.reactor, lambda: program.has_ended)
    clock.advance(SILENCE_SECONDS - 0.1)
    settle(running.reactor)
    assert running.told == []
    job, = procfs.members(program.pid)
    clock.advance(0.2)
    assert running.finished() == Finished(3, b"out\n", b"")
    assert procfs.members(program.pid) == [job]     # it is left alone
    gate.open()
    wait_until(lambda: not procfs.members(program.pid), "the job has ended")


def test_a_job_in_the_background_may_complete_the_output(programs: Programs, clock: ManualClock,
                                                         gate: Gate) -> None:
    running = shell(programs, f"{{ read line <{gate.path}; echo $line; }} & exit 3")
    program = only(programs)
    spin(running.reactor, lambda: program.has_ended)
    gate.open()
    assert running.finished() == Finished(3, b"go\n", b"")
    clock.advance(60.0)
    settle(running.reactor)
    assert len(running.told) == 1


def test_what_has_come_is_taken_also_if_we_are_late(programs: Programs, clock: ManualClock, gate: Gate,
                                                    tmp_path: Path) -> None:
    written = tmp_path / "written"
    job = f"{{ read line <{gate.path}; echo $line; >{written}; cat {gate.second}; }}"
    running = shell(programs, f"{job} & exit 3")
    program = only(programs)
    spin(running.reactor, lambda: program.has_ended)
    gate.open()
    wait_until(written.exists, "the job has written")
    clock.advance(SILENCE_SECONDS + 60)
    assert running.finished() == Finished(3, b"go\n", b"")
    gate.second.write_text("")


def test_a_job_that_writes_too_much_is_ended(programs: Programs, clock: ManualClock, gate: Gate) -> None:
    job = f"{{ read line <{gate.path}; head -c 1000000 /dev/zero; cat {gate.second}; }}"
    running = shell(programs, f"{job} & exit 0")
    program = only(programs)
    spin(running.reactor, lambda: program.has_ended)
    gate.open()
    assert running.ending() == (None, f"test wrote more than {MAX_OUTPUT} bytes")
    wait_until(lambda: not procfs.members(program.pid), "the job has ended")
    clock.advance(KILL_SECONDS)
    spin(running.reactor, lambda: programs.alive == 0)


# Time.


def test_one_that_takes_too_long_is_ended_with_its_group(programs: Programs, clock: ManualClock,
                                                         gate: Gate) -> None:
    running = shell(programs, f"cat {gate.path} & cat {gate.path}", b"x" * 1_000_000)
    pid = only(programs).pid
    clock.advance(SECONDS - 0.1)
    settle(running.reactor)
    assert running.told == []
    clock.advance(0.2)
    assert running.ending() == LATE
    wait_until(lambda: not procfs.members(pid), "all of the group have ended")
    clock.advance(KILL_SECONDS)
    spin(running.reactor, lambda: programs.alive == 0)
    assert running.told == [LATE]


def test_one_that_does_not_heed_term_is_ended_by_force(programs: Programs, clock: ManualClock, gate: Gate,
                                                       tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    running = shell(programs, f"trap '' TERM; >{ready}; cat {gate.path}", seconds=0.25)
    wait_until(ready.exists, "TERM is ignored")
    program = only(programs)
    clock.advance(0.3)
    assert running.ending() == (None, "test did not end within 0.25 s")
    assert not program.has_ended
    clock.advance(KILL_SECONDS)
    spin(running.reactor, lambda: programs.alive == 0)
    assert program.returncode == -signal.SIGKILL


@pytest.mark.parametrize("pidfds", [True, False])
def test_one_that_has_ended_in_time_is_heard_if_we_are_late(programs: Programs, clock: ManualClock,
                                                            monkeypatch: pytest.MonkeyPatch,
                                                            pidfds: bool) -> None:
    if not pidfds:
        monkeypatch.delattr(os, "pidfd_open")
    running = shell(programs, "echo out")
    pid = only(programs).pid
    wait_until(lambda: procfs.status(pid)["State"].startswith("Z"), "the program has ended")
    clock.advance(SECONDS + 1)
    assert running.finished() == Finished(0, b"out\n", b"")


def test_being_late_ourselves_does_not_shorten_the_silence(programs: Programs, clock: ManualClock,
                                                           gate: Gate) -> None:
    running = shell(programs, f"cat {gate.path} & echo out")
    pid = only(programs).pid
    wait_until(lambda: procfs.status(pid)["State"].startswith("Z"), "the program has ended")
    clock.advance(SECONDS + 1)
    settle(running.reactor)
    assert running.told == []
    gate.open()
    assert running.finished() == Finished(0, b"out\ngo\n", b"")


# Called off.


def test_nobody_is_told_of_a_run_that_was_called_off(programs: Programs, clock: ManualClock,
                                                     gate: Gate) -> None:
    running = shell(programs, f"echo out; cat {gate.path} & cat {gate.path}", b"x" * 1_000_000)
    settle(running.reactor)
    pid = only(programs).pid
    running.run.cancel()
    running.run.cancel()
    wait_until(lambda: not procfs.members(pid), "all of the group have ended")
    clock.advance(SECONDS)
    spin(running.reactor, lambda: programs.alive == 0)
    assert running.told == []


def test_what_has_ended_can_be_called_off(programs: Programs, clock: ManualClock, gate: Gate) -> None:
    running = shell(programs, f"cat {gate.path} & exit 0")
    program = only(programs)
    spin(running.reactor, lambda: program.has_ended)
    running.run.cancel()
    wait_until(lambda: not procfs.members(program.pid), "the job has ended as well")
    clock.advance(KILL_SECONDS)
    spin(running.reactor, lambda: programs.alive == 0)
    assert running.told == []


def test_calling_off_when_told(programs: Programs, reactor: Reactor) -> None:
    told: List[Optional[Finished]] = []

    def done(finished: Optional[Finished], reason: str) -> None:
        told.append(finished)
        run.cancel()

    run = Run(programs, ["/bin/true"], done, label="test", seconds=SECONDS, environment=PATH)
    spin(reactor, lambda: programs.alive == 0)
    settle(reactor)
    assert told == [Finished(0, b"", b"")]


def test_a_fault_of_who_is_told_leaves_nothing(programs: Programs, reactor: Reactor,
                                               capfd: pytest.CaptureFixture[str]) -> None:
    def done(finished: Optional[Finished], reason: str) -> None:
        raise KeyError("not ours")

    run = Run(programs, ["/bin/true"], done, label="test", seconds=SECONDS, environment=PATH)
    spin(reactor, lambda: programs.alive == 0)
    assert "KeyError: 'not ours'" in capfd.readouterr().err
    run.cancel()


# Those that cannot be started.


@pytest.mark.parametrize("argv, why", [
    (["/no/such/program"], "No such file or directory: /no/such/program"),
    (["/etc/passwd"], "Permission denied: /etc/passwd"),
    (["/bin/true", "a\0b"], "embedded null byte: /bin/true"),
])
def test_who_cannot_be_started(programs: Programs, argv: List[str], why: str) -> None:
    running = Running(programs, *argv, InputFile(b"x"), stdin=b"y")
    assert running.ending() == (None, f"test cannot be started: {why}")
    assert programs.started == 0


def test_who_cannot_be_started_can_be_called_off(programs: Programs) -> None:
    running = Running(programs, "/no/such/program")
    running.run.cancel()
    settle(running.reactor)
    assert running.told == []


def test_without_fds_nothing_is_started_and_nothing_lost(programs: Programs) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One end of two pipes, both ends of three, and of one that tells subprocess of faults.
    for room in range(10):
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
        try:
            running = Running(programs, "/bin/true", InputFile(b"1"), InputFile(b"2"), stdin=b"3")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        finished, reason = running.ending()
        assert finished is None
        assert reason.startswith("test cannot be started: Too many open files")
    assert programs.started == 0


def test_without_room_in_a_pipe_nothing_is_started(programs: Programs,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel makes them for who has very many."""
    real_pipe2 = os.pipe2

    def small_pipe(flags: int) -> Tuple[int, int]:
        reader, writer = real_pipe2(flags)
        fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
        return reader, writer

    monkeypatch.setattr(os, "pipe2", small_pipe)
    page = os.sysconf("SC_PAGE_SIZE")
    assert Running(programs, need("cat"), InputFile(bytes(page))).finished().stdout == bytes(page)
    running = Running(programs, need("cat"), InputFile(b"x"), InputFile(bytes(page + 1)))
    assert running.ending() == (None, "test cannot be started: No buffer space available")


def test_no_circle_is_left_for_the_collector(programs: Programs) -> None:
    def run_and_forget() -> None:
        Running(programs, need("cat"), stdin=b"x").finished()

    run_and_forget()
    gc.collect()
    run_and_forget()
    assert gc.collect() == 0


class FullSelector(CountingSelector):
    """Takes no fds, as epoll does at /proc/sys/fs/epoll/max_user_watches."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_one_that_cannot_be_watched_is_ended(clock: ManualClock, gate: Gate, size: int) -> None:
    reactor = Reactor(clock, FullSelector())
    programs = Programs(reactor)
    running = shell(programs, f"cat {gate.path}", b"x" * size)
    pid = only(programs).pid
    assert running.ending() == (None, "test cannot be started: No space left on device")
    wait_until(lambda: not procfs.members(pid), "the program has ended")
    clock.advance(KILL_SECONDS)
    settle(reactor)
    clock.advance(KILL_SECONDS)
    settle(reactor)
    assert programs.alive == 0
    assert len(running.told) == 1
    reactor.close()
