"""Starting programs: the one place that does.

A program gets three fds and those that its Command passes on, the environment of that, a session of its own,
and default signal handlers.
What a Started becomes on the reactor's thread is a Program (net/programs.py), and pipes (net/pipes.py).

subprocess.Popen forks the cheap way, by vfork(), which copies nothing of the memory of the server, only
while nothing of ours is to run in the new process.  So limits are set from outside when it has been started,
and only a chroot, for which there is no other way, pays for a real fork().

Starting takes a tenth of a millisecond, in which Python lets no other thread run, so nothing is gained by a
worker, and the way to it and back costs as much again.  With a chroot it takes some milliseconds, mostly
spent waiting, and there a worker does it.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from typing import Callable, List, Mapping, NamedTuple, Optional, Tuple

from lwsws.net.jail import Jail
from lwsws.net.programs import Program, Programs, describe_exit, signal_group

# What a user of programs needs, from one place.
__all__ = ["NOTHING", "PIPE", "Command", "Program", "Programs", "Started", "describe_exit", "start"]

# Kinds of input: /dev/null; a pipe of which we get the other end.
NOTHING = -1
PIPE = -2

# What login and systemd give to programs as well.  Ours is raised to all there is, and some programs close
# each fd up to the limit, or call select(), which cannot do with more than these.  Who needs more raises it.
PROGRAM_FILES = 1024
# How long to wait for a program to be gone after KILL.
DISCARD_SECONDS = 1.0


class Command(NamedTuple):
    """What to start.  Paths are those inside of `chroot`, where there is one."""

    argv: Tuple[str, ...]   # the first is the path of the program
    environment: Mapping[bytes, bytes]
    directory: str = ""     # "": that of the server
    chroot: str = ""
    stdin: int = NOTHING    # an open fd, or one of the above
    pass_fds: Tuple[int, ...] = ()  # open fds that it gets as well, with the same numbers


class Started:
    """A program that runs, and our ends of its pipes, which do not block; `stdin` is -1 without one."""

    __slots__ = ("popen", "stdin", "stdout", "stderr")

    def __init__(self, popen: subprocess.Popen[bytes], stdin: int, stdout: int, stderr: int) -> None:
        self.popen = popen
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self.popen.pid

    def discard(self) -> None:
        """End it at once and close our ends; for one of which no Program was made."""
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd != -1:
                os.close(fd)
        signal_group(self.pid, signal.SIGKILL)
        try:
            self.popen.wait(DISCARD_SECONDS)
        except subprocess.TimeoutExpired:
            pass    # the module waits for it when it is next used


def start(command: Command) -> Started:
    """Start a program, on whatever thread; blocks for a short time.  A fd in `command.stdin`, and those of
    `command.pass_fds`, are closed in our process, whatever happens.

    OSError if it cannot be started: `errno` and `strerror` tell why, and nothing is left of it.
    """
    theirs = list(command.pass_fds)
    if command.stdin >= 0:
        theirs.append(command.stdin)
    ours: List[int] = []
    try:
        their_stdin, stdin = command.stdin, -1
        if command.stdin == PIPE:
            their_stdin, stdin = _pipe(theirs, ours)
        stdout, their_stdout = _pipe(ours, theirs)
        stderr, their_stderr = _pipe(ours, theirs)
        for fd in ours:
            os.set_blocking(fd, False)
        popen = _popen(command, their_stdin, their_stdout, their_stderr)
        ours.clear()
    finally:
        for fd in theirs + ours:
            os.close(fd)
    _limit(popen.pid)
    return Started(popen, stdin, stdout, stderr)


def _pipe(of_reader: List[int], of_writer: List[int]) -> Tuple[int, int]:
    """A pipe whose ends are added to these."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    of_reader.append(reader)
    of_writer.append(writer)
    return reader, writer


def _popen(command: Command, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    if not command.chroot:
        return _execute(command, stdin, stdout, stderr, command.directory or None, None)
    with Jail(command.chroot, command.directory or "/") as jail:
        try:
            return _execute(command, stdin, stdout, stderr, None, jail.enter)
        except subprocess.SubprocessError as error:
            raise jail.fault() from error


def _execute(command: Command, stdin: int, stdout: int, stderr: int, directory: Optional[str],
             first: Optional[Callable[[], None]]) -> subprocess.Popen[bytes]:
    """Start it; `first` is called in the new process.  OSError, SubprocessError if `first` has failed."""
    try:
        return subprocess.Popen(
            command.argv, stdin=subprocess.DEVNULL if stdin == NOTHING else stdin, stdout=stdout,
            stderr=stderr, env=command.environment, cwd=directory, close_fds=True,
            pass_fds=command.pass_fds, restore_signals=True, start_new_session=True,
            preexec_fn=first)   # noqa: PLW1509 - what Jail.enter() heeds
    except ValueError as error:     # a NUL in an argument, "=" in the name of a variable
        raise OSError(errno.EINVAL, str(error), command.argv[0]) from error
    except FileNotFoundError as error:
        if error.filename == command.argv[0] and not command.chroot and os.path.exists(command.argv[0]):
            raise FileNotFoundError(errno.ENOENT, "the interpreter named in its first line is missing",
                                    command.argv[0]) from error
        raise


def _limit(pid: int) -> None:
    """Give a program the usual limit of files, and have it dump no core into somebody's directory."""
    for what, soft in ((resource.RLIMIT_NOFILE, PROGRAM_FILES), (resource.RLIMIT_CORE, 0)):
        try:
            _, hard = resource.prlimit(pid, what)
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
            resource.prlimit(pid, what, (soft, hard))
        except (OSError, ValueError):
            pass    # it has ended already, or belongs to somebody else by now: it does without
