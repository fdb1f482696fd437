"""Programs and their ends.  They are shells, which wait for a line on stdin and not for time."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, Iterator, List, Optional

import pytest

from lwsws import log
from lwsws.net import programs as programs_module
from lwsws.net.programs import FIRST_LOOK_SECONDS, KILL_SECONDS, LOOK_SECONDS, Programs, describe_exit
from lwsws.net.reactor import Reactor
from lwsws.net.spawn import PIPE, Command, Program, start
from tests.net.support import settle, spin
from tests.support import procfs
from tests.support.clock import ManualClock
from tests.support.waiting import wait_until

# Shells give a background job /dev/null, unless it is told otherwise.
IN_BACKGROUND = "exec 3<&0; {{ {job}; }} <&3 & "
PATH = {b"PATH": os.defpath.encode()}


class Running:
    """A shell that runs `script`, and our ends of its pipes, which block here."""

    def __init__(self, programs: Programs, script: str) -> None:
        self.started = start(Command(("/bin/sh", "-c", script), PATH, stdin=PIPE))
        for fd in (self.started.stdin, self.started.stdout, self.started.stderr):
            os.set_blocking(fd, True)
        self.ends: List[Optional[int]] = []
        self.program = Program(programs, self.started, "test", self.ends.append)
        self.pid = self.program.pid

    def say(self, line: str = "") -> None:
        """A line for its stdin."""
        os.write(self.started.stdin, f"{line}\n".encode())

    def hears(self) -> str:
        """The next that it writes; "" when all of its group are gone."""
        return os.read(self.started.stdout, 1000).decode()

    def is_zombie(self) -> bool:
        """Whether it has ended and nobody has waited for it."""
        return procfs.status(self.pid)["State"].startswith("Z")

    def exists(self) -> bool:
        """Whether its number is in use."""
        return os.path.exists(f"/proc/{self.pid}")

    def close(self) -> None:
        """Close the pipes."""
        for fd in (self.started.stdin, self.started.stdout, self.started.stderr):
            os.close(fd)


Run = Callable[[str], Running]


@pytest.fixture
def run(programs: Programs) -> Iterator[Run]:
    """Starts shells."""
    made: List[Running] = []

    def run(script: str) -> Running:
        made.append(Running(programs, script))
        return made[-1]

    yield run
    for one in made:
        one.close()


def test_an_end_is_told_and_waited_for_when_released(reactor: Reactor, programs: Programs, run: Run) -> None:
    shell = run("read line; exit $line")
    settle(reactor)
    assert (shell.ends, shell.program.returncode, programs.alive, programs.started) == ([], None, 1, 1)
    shell.say("3")
    spin(reactor, lambda: shell.program.has_ended)
    assert (shell.ends, shell.program.returncode) == ([3], 3)
    assert shell.is_zombie()
    assert programs.alive == 1
    shell.program.release(9.0)
    assert (programs.alive, programs.started) == (0, 1)
    assert not shell.exists()
    shell.program.release(9.0)


@pytest.mark.parametrize("returncode, text", [
    (0, "exited with status 0"), (3, "exited with status 3"), (-9, "was ended by SIGKILL"),
    (-50, "was ended by signal 50"), (None, "has ended"),
])
def test_an_end_in_words(returncode: Optional[int], text: str) -> None:
    assert describe_exit(returncode) == text


def test_an_end_by_a_signal(reactor: Reactor, run: Run) -> None:
    shell = run("kill -9 $$")
    spin(reactor, lambda: shell.program.has_ended)
    shell.program.release(0.0)
    assert shell.ends == [-9]


def test_a_receiver_may_release_when_it_is_told(reactor: Reactor, programs: Programs) -> None:
    started = start(Command(("/bin/true",), PATH))
    program: Program = Program(programs, started, "test", lambda returncode: program.release(1.0))
    spin(reactor, lambda: programs.alive == 0)
    for fd in (started.stdout, started.stderr):
        os.close(fd)


def test_what_runs_on_in_the_background_is_left_alone(reactor: Reactor, programs: Programs,
                                                      clock: ManualClock, run: Run) -> None:
    shell = run(IN_BACKGROUND.format(job="read line; echo $line") + "exit 0")
    shell.program.release(5.0)
    spin(reactor, lambda: programs.alive == 0)
    clock.advance(60.0)
    settle(reactor)
    assert not shell.exists()
    shell.say("hello")
    assert shell.hears() == "hello\n"


def test_a_released_program_is_ended_when_it_runs_on_too_long(reactor: Reactor, clock: ManualClock,
                                                              programs: Programs, run: Run) -> None:
    shell = run("trap 'echo TERM; exit 0' TERM; echo up; read line; read line")
    assert shell.hears() == "up\n"
    shell.program.release(5.0)
    clock.advance(4.9)
    settle(reactor)
    assert shell.ends == []
    clock.advance(0.2)
    spin(reactor, lambda: shell.program.has_ended)
    assert (shell.hears(), shell.ends) == ("TERM\n", [0])
    clock.advance(KILL_SECONDS)
    settle(reactor)
    assert programs.alive == 0


def test_ending_one_that_was_released_ends_its_group(reactor: Reactor, clock: ManualClock,
                                                      programs: Programs, run: Run) -> None:
    shell = run(IN_BACKGROUND.format(job="trap '' TERM; echo up; cat") + "wait")
    assert shell.hears() == "up\n"
    shell.program.release(5.0)
    clock.advance(5.0)
    spin(reactor, lambda: shell.program.has_ended)
    assert (shell.is_zombie(), shell.ends) == (True, [-signal.SIGTERM])
    clock.advance(KILL_SECONDS)
    settle(reactor)
    assert (shell.hears(), programs.alive) == ("", 0)


def test_killing_twice_gives_no_more_time(reactor: Reactor, clock: ManualClock, run: Run) -> None:
    shell = run("trap '' TERM; echo up; cat")
    assert shell.hears() == "up\n"
    shell.program.kill()
    clock.advance(KILL_SECONDS / 2)
    settle(reactor)
    shell.program.kill()
    clock.advance(KILL_SECONDS / 2)
    spin(reactor, lambda: shell.program.has_ended)
    assert shell.ends == [-9]


def test_killing_reaches_all_of_the_group(reactor: Reactor, clock: ManualClock, programs: Programs,
                                          run: Run) -> None:
    shell = run(IN_BACKGROUND.format(job="echo up; cat") + "wait")
    assert shell.hears() == "up\n"
    shell.program.kill()
    shell.program.kill()
    spin(reactor, lambda: shell.program.has_ended)
    assert (shell.hears(), shell.ends) == ("", [-signal.SIGTERM])
    assert shell.is_zombie()    # until the last signal has gone to the group, its number stays its own
    clock.advance(KILL_SECONDS)
    settle(reactor)
    assert programs.alive == 0
    assert not shell.exists()


def test_who_does_not_heed_term_is_ended_by_force(reactor: Reactor, clock: ManualClock, programs: Programs,
                                                  run: Run) -> None:
    shell = run("trap '' TERM; echo up; cat")
    assert shell.hears() == "up\n"
    shell.program.kill()
    clock.advance(KILL_SECONDS - 0.1)
    settle(reactor)
    assert shell.ends == []
    clock.advance(0.2)
    spin(reactor, lambda: shell.program.has_ended)
    assert (shell.hears(), shell.ends, programs.alive) == ("", [-9], 0)


def test_a_group_whose_leader_has_ended_can_still_be_killed(reactor: Reactor, clock: ManualClock,
                                                            programs: Programs, run: Run) -> None:
    shell = run("trap '' TERM; " + IN_BACKGROUND.format(job="echo up; cat") + "exit 0")
    assert shell.hears() == "up\n"
    spin(reactor, lambda: shell.program.has_ended)
    shell.program.kill()
    shell.program.release(0.0)
    settle(reactor)
    assert shell.is_zombie()
    clock.advance(KILL_SECONDS)
    settle(reactor)
    assert (shell.hears(), shell.ends, programs.alive) == ("", [0], 0)


def test_nothing_is_signalled_that_was_waited_for(reactor: Reactor, clock: ManualClock, programs: Programs,
                                                  run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    shell = run("exit 0")
    shell.program.release(5.0)
    spin(reactor, lambda: programs.alive == 0)
    log.set_level(log.DEFAULT_MASK | log.INFO)
    try:
        shell.program.kill()
        shell.program.kill_now()
        clock.advance(60.0)
        settle(reactor)
    finally:
        log.set_level(log.DEFAULT_MASK)
    assert "gets no SIG" not in capfd.readouterr().err


def test_somebody_else_has_waited_for_it(reactor: Reactor, programs: Programs, run: Run) -> None:
    """Such as a plugin that waits for any child."""
    shell = run("read line")
    shell.say()
    os.waitpid(shell.pid, 0)
    spin(reactor, lambda: shell.program.has_ended)
    assert (shell.ends, programs.alive) == ([None], 0)
    shell.program.kill()    # its number may be somebody else's: no signal


def test_without_pidfds_a_timer_looks(reactor: Reactor, clock: ManualClock, run: Run,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    shell = run("read line; exit 4")
    waits: List[float] = []
    for _ in range(8):
        due = reactor.timers.next_at()
        assert due is not None
        waits.append(round(due - clock(), 6))
        clock.time = due
        reactor.run_once(0.0)
    assert (waits[0], waits[1], waits[-1]) == (FIRST_LOOK_SECONDS, FIRST_LOOK_SECONDS * 2, LOOK_SECONDS)
    shell.say()
    wait_until(shell.is_zombie, "the shell has ended")
    clock.advance(LOOK_SECONDS)
    reactor.run_once(0.0)
    assert shell.ends == [4]
    shell.program.release(1.0)
    assert reactor.timers.next_at() is None or not reactor.timers.take_due(clock() + 60)


def test_the_end_of_the_server_leaves_nothing(reactor: Reactor, programs: Programs, run: Run,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs_module, "CLOSE_SECONDS", 0.05)
    mild, deaf, killed, released = [
        run(trap + "echo up; " + IN_BACKGROUND.format(job="cat") + "cat")
        for trap in ("", "trap '' TERM; ", "trap '' TERM; ", "")]
    ended = run("trap '' TERM; " + IN_BACKGROUND.format(job="cat") + "exit 0")
    for shell in (mild, deaf, killed, released):
        assert shell.hears() == "up\n"
    spin(reactor, lambda: ended.program.has_ended)
    killed.program.kill()
    released.program.release(60.0)
    programs.close()
    assert programs.alive == 0
    for shell in (mild, deaf, killed, released, ended):
        assert not shell.exists()
        assert shell.hears() == ""  # nobody in the group has its pipe any more
    assert (mild.ends, ended.ends) == ([], [0])     # nobody is told by close()


def test_the_end_of_the_server_gives_time_for_last_words(programs: Programs, run: Run) -> None:
    shell = run("trap 'echo bye; exit' TERM; echo up; read line")
    assert shell.hears() == "up\n"
    programs.close()
    assert shell.hears() == "bye\n"


def test_nothing_to_end_takes_no_time(programs: Programs) -> None:
    began = time.monotonic()
    programs.close()
    assert time.monotonic() - began < programs_module.CLOSE_SECONDS / 2
