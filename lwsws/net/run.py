"""A short program run to its end: given its input, heard out, and nothing waited for.

    start ─ ended, and both outputs at their end ─────────────────────> done(Finished, "")
       │  └─ ended, but a job in the background holds its outputs open ─ 1 s ─> the same, with what has come
       ├─ too late, or too much output: ended with all of its group ──> done(None, reason)
       └─ cancel(): the same ─────────────────────────────────────────> nobody is told

For the openssl tool and for hooks, which say little.  What is secret goes to a program by its stdin or by an
InputFile: everybody can read its arguments, and what is on a disk stays there.
"""

from __future__ import annotations

import errno
import functools
import os
from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, Union

from lwsws import log
from lwsws.net.pipes import PipeReader, PipeWriter
from lwsws.net.reactor import Reactor
from lwsws.net.spawn import NOTHING, PIPE, Command, Program, Programs, Started, start
from lwsws.net.timers import Deadline

# What an empty pipe mostly holds is 64 KiB.
MAX_INPUT_FILE = 60_000
# Of each output.  More is a fault on stdout, and left out of stderr.
MAX_OUTPUT = 64 * 1024
# How long to listen to what a program has left in the background.
SILENCE_SECONDS = 1.0

# The reasons of the one deadline.
TIME = "its time is up"
SILENCE = "silence after its exit"


class InputFile(NamedTuple):
    """As an argument: the name of a file with this content, at most MAX_INPUT_FILE bytes, which the program
    can open and read once, from its begin to its end.  The file is a pipe, never on a disk."""

    data: bytes


class OpenFile(NamedTuple):
    """As an argument: the name of the file that is open as `fd`, which stays ours.  It may be the program."""

    fd: int


class Finished(NamedTuple):
    """A program that has ended."""

    returncode: Optional[int]   # as with Exited of net/programs.py
    stdout: bytes
    stderr: bytes               # the first MAX_OUTPUT bytes


Argument = Union[str, InputFile, OpenFile]
# Gets what became of a run, or None and the reason in a few words.
Done = Callable[[Optional[Finished], str], None]


class Run:
    """One run of a program.  For the reactor's thread; Programs.close() does not tell, nor close our ends."""

    __slots__ = ("_reactor", "_label", "_seconds", "_done", "_program", "_stdin", "_stdout", "_stderr",
                 "_deadline", "_over")

    def __init__(self, programs: Programs, argv: Sequence[Argument], done: Done, *, label: str,
                 seconds: float, environment: Mapping[bytes, bytes], stdin: bytes = b"",
                 directory: str = "/") -> None:
        """Start `argv`, the first of which is the path of the program, with `stdin` as its input.

        `done` is told once, and never before this returns, unless cancel() is called before: how it has
        ended, whatever its status; or that it could not be started, ran for longer than `seconds`, or wrote
        more than MAX_OUTPUT bytes to stdout.  `label` stands in the log and in front of reasons.

        ValueError if an InputFile is too large.
        """
        if any(isinstance(argument, InputFile) and len(argument.data) > MAX_INPUT_FILE for argument in argv):
            raise ValueError(f"{label}: an input file may have at most {MAX_INPUT_FILE} bytes")
        reactor = self._reactor = programs.reactor
        self._label = label
        self._seconds = seconds
        self._done = done
        self._program: Optional[Program] = None
        self._stdin: Optional[PipeWriter] = None
        self._stdout: Optional[_Output] = None
        self._stderr: Optional[_Output] = None
        self._deadline = Deadline(reactor.timers, self._expired)
        self._over = False      # nothing more is to be heard of the program
        try:
            self._connect(programs, _start(argv, environment, stdin, directory), stdin)
        except OSError as error:
            self._close()
            where = f": {error.filename}" if error.filename else ""
            reason = f"{label} cannot be started: {error.strerror}{where}"
            reactor.call_soon(functools.partial(self._tell, None, reason))

    def cancel(self) -> None:
        """End the program and all of its group, if it has not ended, and tell nobody."""
        self._close()
        self._done = _nobody

    def _connect(self, programs: Programs, started: Started, stdin: bytes) -> None:
        """The program runs; OSError if the kernel cannot watch its pipes."""
        reactor = self._reactor
        log.info(f"{self._label}: pid {started.pid}")
        self._program = Program(programs, started, self._label, self._exited)
        self._stdout = _Output(reactor, started.stdout, self._heard)
        self._stderr = _Output(reactor, started.stderr, self._heard)
        if started.stdin != -1:
            self._stdin = PipeWriter(reactor, started.stdin, _INPUT)
            self._stdin.write(stdin)
            self._stdin.write_eof()
        self._stdout.reader.start()
        self._stderr.reader.start()
        self._deadline.set(reactor.clock() + self._seconds, TIME)

    def _heard(self) -> None:
        """One of the outputs has brought something, or its end."""
        if self._stdout is not None and len(self._stdout.data) > MAX_OUTPUT:
            self._fail(f"wrote more than {MAX_OUTPUT} bytes")
        elif self._program is not None and self._program.has_ended:
            self._conclude_if_complete()

    def _exited(self, returncode: Optional[int]) -> None:
        """The program has ended; its outputs perhaps not."""
        if self._over:
            return
        if self._stdin is not None:
            self._stdin.close()
        self._deadline.set(self._reactor.clock() + SILENCE_SECONDS, SILENCE)
        self._conclude_if_complete()

    def _conclude_if_complete(self) -> None:
        assert self._stdout is not None and self._stderr is not None
        if self._stdout.reader.closed and self._stderr.reader.closed:
            self._conclude()

    def _expired(self, why: str) -> None:
        # Timers come first in a pass.  If we are late ourselves, the program may have said and done it all.
        self._reactor.call_soon(functools.partial(self._give_up, why))

    def _give_up(self, why: str) -> None:
        if self._over:
            return
        assert self._program is not None
        if why == SILENCE:
            self._conclude()
        elif not self._program.has_ended:
            self._fail(f"did not end within {self._seconds:g} s")

    def _conclude(self) -> None:
        assert self._program is not None and self._stdout is not None and self._stderr is not None
        finished = Finished(self._program.returncode, bytes(self._stdout.data),
                            bytes(self._stderr.data[:MAX_OUTPUT]))
        self._program.release(0)    # from here on what it has left in the background is left alone
        self._close()
        self._tell(finished, "")

    def _fail(self, reason: str) -> None:
        self._close()
        self._tell(None, f"{self._label} {reason}")

    def _tell(self, finished: Optional[Finished], reason: str) -> None:
        done, self._done = self._done, _nobody
        done(finished, reason)

    def _close(self) -> None:
        """End what is not released, and close our ends.  A second call has no effect."""
        self._over = True
        self._deadline.end()
        if self._stdin is not None:
            self._stdin.close()
        for output in (self._stdout, self._stderr):
            if output is not None:
                output.close()
        if self._program is not None:
            self._program.kill()


class _Output:
    """One output of a program: what came of it, up to MAX_OUTPUT bytes and one."""

    __slots__ = ("data", "reader", "_heard")

    def __init__(self, reactor: Reactor, fd: int, heard: Callable[[], None]) -> None:
        self.data = bytearray()
        self.reader = PipeReader(reactor, fd, self)
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        self.data += data[:MAX_OUTPUT + 1 - len(self.data)]
        self._heard()

    def eof_received(self) -> None:
        self._heard()

    def close(self) -> None:
        """Read no more, and forget whose it is: no circle is left for the collector."""
        self.reader.close()
        self._heard = _nothing


class _Input:
    """The receiver of stdin: a program need not read it."""

    __slots__ = ()

    def drained(self) -> None:
        pass

    def broken(self) -> None:
        pass


_INPUT = _Input()


def _nobody(finished: Optional[Finished], reason: str) -> None:
    """Whom a run tells that is over."""


def _nothing() -> None:
    """What an output that is closed does."""


def _start(argv: Sequence[Argument], environment: Mapping[bytes, bytes], stdin: bytes,
           directory: str) -> Started:
    """Start the program; OSError if that cannot be done."""
    words: List[str] = []
    fds: List[int] = []
    try:
        for argument in argv:
            if isinstance(argument, str):
                words.append(argument)
                continue
            fds.append(_filled_pipe(argument.data) if isinstance(argument, InputFile)
                       else os.dup(argument.fd))
            # Not /dev/fd, which small systems have not.
            words.append(f"/proc/self/fd/{fds[-1]}")
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return start(Command(tuple(words), environment, directory, stdin=PIPE if stdin else NOTHING,
                         pass_fds=tuple(fds)))


def _filled_pipe(data: bytes) -> int:
    """The end to read of a pipe that holds `data` and its end; OSError if it cannot be had."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(writer, False)
        if os.write(writer, data) < len(data):  # who has very many pipes gets small ones, see pipe(7)
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader
