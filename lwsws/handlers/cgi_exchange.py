"""One CGI program and the exchange that it answers (RFC 3875).

The program is started (net/spawn.py); then three streams flow without anybody waiting:

    body of the request --> stdin      paused while the program does not take it (cgi_body.py)
    stdout --> CgiReader --> answer    paused while the client does not take it
    stderr --> log                     line by line (cgi_stderr.py)

Three things end it, in any order:

    stdout ends     The answer is complete, if the program has not crashed.  That its exit tells, so up to
                    EXIT_SECONDS are spent waiting for it.
    program exits   What it wrote is still in the pipe.  If a job that it left in the background holds the
                    pipe open, the answer ends when nothing has come for SILENCE_SECONDS.
    client gone     The program is ended, and all that it has started.

With a Content-Length the answer is complete as soon as that is reached.  What the program does then is its
own business for `cgi-timeout` seconds: its output is thrown away, and then it is ended.

An answer that has begun is never completed by us: what went wrong with it breaks the connection.

A start does not go through a worker, but for a chroot: Python holds its lock all the while in which the new
process comes to be, so the reactor would stand still just as long, for less speed.
What a program has written is dealt with at the end of a pass, because short programs often end in the same
one: then head, body and end go out together, with a Content-Length.
"""

from __future__ import annotations

import errno
import functools
import os
from typing import Optional

from lwsws import log
from lwsws.config.model import printable
from lwsws.core.exchange import RESPONSE_TIMEOUT, UNLIMITED, Exchange, HttpError
from lwsws.handlers.cgi_answer import send_part, take_part
from lwsws.handlers.cgi_body import PipedBody, SpooledBody
from lwsws.handlers.cgi_mount import CgiMount
from lwsws.handlers.cgi_program import RETRY_SOON, SHORTAGES, Script, explain
from lwsws.handlers.cgi_stderr import ErrorLines
from lwsws.net.pipes import PipeReader
from lwsws.net.spawn import NOTHING, PIPE, Command, Program, Started, describe_exit, start
from lwsws.net.timers import Deadline
from lwsws.net.workers import Overloaded
from lwsws.wire.cgi import CgiReader
from lwsws.wire.errors import RemoteProtocolError

# How long the exit of a program may come behind the end of its output.
EXIT_SECONDS = 1.0
# How long to listen for output of what a program has left in the background.
SILENCE_SECONDS = 1.0

# The reasons of the one deadline.
PROGRESS = "no progress"
EXIT = "no exit after the end of its output"
SILENCE = "silence after its exit"
LINGER = "last words"

# What a disk says that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT)

# Of what a program wrote, in a line of the log.
MAX_LOGGED = 200
MAX_DROPPED = 3     # lines


class CgiExchange:
    """One program and the exchange that it answers: a consumer for the http role, and what stdout is for."""

    __slots__ = ("mount", "exchange", "script", "label", "_reader", "_spool", "_stdin", "_stdout",
                 "_stderr", "_program", "_deadline", "_began", "_starting", "_output_ended",
                 "_sends_soon", "_over", "_broken_off", "_taken", "_holds_slot")

    def __init__(self, mount: CgiMount, exchange: Exchange, script: Script) -> None:
        reactor = exchange.context.reactor
        self.mount = mount
        self.exchange = exchange
        self.script = script
        self.label = f"conn {exchange.conn.ident}: cgi {printable(script.path)}"
        self._reader = CgiReader(exchange.request.method)
        self._spool: Optional[SpooledBody] = None
        self._stdin: Optional[PipedBody] = None
        self._stdout: Optional[PipeReader] = None
        self._stderr: Optional[ErrorLines] = None
        self._program: Optional[Program] = None
        self._deadline = Deadline(reactor.timers, self._expired)
        self._began = reactor.now
        self._holds_slot = False    # one of the programs that may run is ours
        self._starting = False      # a worker is about to start the program
        self._output_ended = False  # stdout is at its end
        self._sends_soon = False    # call_soon is going to call _send_received
        self._over = False          # the exchange is answered, or cannot be any more
        self._broken_off = False    # the program was ended by us
        self._taken = 0             # bytes of the body that stdin had taken at the last look

    # From the request to the running program.

    def begin(self) -> None:
        """Start the program, at once or when the body is complete."""
        exchange, request = self.exchange, self.exchange.request
        exchange.patience = UNLIMITED
        if self.mount.is_full:
            self._refuse()
            return
        if request.chunked:
            try:
                self._spool = SpooledBody()
            except OSError as error:
                self._cannot_spool(error)
            else:
                exchange.take_body(self)
            return
        # A client that waits for a 100 (Continue) shall not get it if there is no program for its body.
        exchange.consumer = self
        exchange.body_paused = request.has_body
        length = request.content_length if "content-length" in request.headers else None
        self._start(length, PIPE if length else NOTHING)

    def _start(self, length: Optional[int], stdin: int) -> None:
        """Start the program, which owns `stdin` from now on."""
        command = self.mount.command(self.exchange, self.script, length, stdin)
        self._holds_slot = True
        self.mount.running += 1
        if command.chroot:
            self._start_by_worker(command)
            return
        try:
            started = start(command)
        except OSError as error:
            self._begun(None, error)
        else:
            self._begun(started, None)

    def _start_by_worker(self, command: Command) -> None:
        """A chroot needs a real fork of the server, which takes its time."""
        try:
            self.exchange.context.workers.submit(functools.partial(start, command), self._begun,
                                                 dispose=Started.discard)
        except Overloaded as error:
            if command.stdin >= 0:
                os.close(command.stdin)
            self._fail(HttpError(503, "No program can be started now.", [RETRY_SOON]), str(error))
        else:
            self._starting = True

    def _begun(self, started: Optional[Started], error: Optional[Exception]) -> None:
        """The program runs, or it does not."""
        self._starting = False
        if self._over:
            self._free_slot()
            if started is not None:
                started.discard()
        elif started is not None:
            self._run(started)
        elif isinstance(error, OSError):
            self._fail(*explain(error, self.script, self.mount.scripts))
        else:
            self._fail(HttpError(500), f"cannot be started: {error!r}")

    def _run(self, started: Started) -> None:
        """The program runs: connect its pipes."""
        exchange = self.exchange
        reactor = exchange.context.reactor
        log.info(f"{self.label}: pid {started.pid}")
        self._program = Program(exchange.context.programs, started, self.label, self._exited)
        self._stderr = ErrorLines(reactor, started.stderr, self.label)
        self._stdout = PipeReader(reactor, started.stdout, self)
        if started.stdin != -1:
            self._stdin = PipedBody(exchange, started.stdin)
        try:
            self._stderr.start()
            self._stdout.start()
        except OSError as error:    # the kernel watches as many fds as it can
            self._fail(HttpError(503, "No program can be started now.", [RETRY_SOON]), str(error))
            return
        self._wait()
        exchange.resume_body()

    # What the http role says.

    def body_received(self, data: bytes) -> None:
        """A piece of the request body."""
        if self._spool is not None:
            try:
                self._spool.received(data)
            except OSError as error:
                self._cannot_spool(error)
        elif self._stdin is not None:
            self._stdin.received(data)
            self._wait()

    def body_ended(self) -> None:
        """The request body is complete."""
        spool, self._spool = self._spool, None
        if spool is not None:
            try:
                fd = spool.take()
            except OSError as error:
                self._cannot_spool(error)
                return
            if self.mount.is_full:
                os.close(fd)
                self._refuse()
            else:
                self._start(spool.size, fd)
        elif self._stdin is not None:
            self._stdin.ended()
            self._wait()

    def drained(self) -> None:
        """The client has taken enough to get more."""
        if self._stdout is not None:
            self._stdout.resume_reading()
            self._wait()

    def aborted(self) -> None:
        """The client is gone, and nobody else wants what the program does."""
        if not self._over:
            log.info(f"{self.label}: is ended: nobody waits for its answer any more")
            self._break_off()

    # What stdout says.

    def data_received(self, data: bytes) -> None:
        """A piece of the answer; after its end, what nobody wants."""
        if self._over:
            return
        self._reader.receive_data(data)
        if not self._sends_soon:
            self._sends_soon = True
            self.exchange.context.reactor.call_soon(self._send_received)

    def _send_received(self) -> None:
        """Send what came in this pass, if its end has not done that."""
        self._sends_soon = False
        if self._output_ended and self._program is not None:
            self._program.look()    # it mostly has ended by now: then that is told, and the answer complete
        if self._over:
            return
        self._wait()
        self._send()
        self._heed_client()

    def _heed_client(self) -> None:
        """Read no more while much waits to be sent; what is thrown away waits for nobody."""
        if not self._over and self._stdout is not None and self.exchange.is_high:
            self._stdout.pause_reading()

    def eof_received(self) -> None:
        """Nothing more will come.  Whether that is the end of the answer, the program's exit will tell."""
        self._output_ended = True
        if self._over:
            return
        if self._has_exited:
            self._conclude()
        else:
            self._wait()

    # What else happens to the program.

    @property
    def _has_exited(self) -> bool:
        return self._program is not None and self._program.has_ended

    def _exited(self, returncode: Optional[int]) -> None:
        """The program has ended; what it has left in the background may go on."""
        assert self._program is not None
        self._free_slot()
        took = self.exchange.context.reactor.now - self._began
        level = log.WARN if returncode and not self._broken_off else log.INFO
        log.write(level, f"{self.label}: {describe_exit(returncode)} after {took:.3f} s")
        self._program.release(0)
        if self._stdin is not None:
            self._stdin.close()
        if self._over:
            self._linger()
        elif self._output_ended:
            self._conclude()
        else:
            self._wait()

    def _wait(self) -> None:
        """Set the deadline for what comes next; called at each progress."""
        if self._over:
            return
        now = self.exchange.context.reactor.now
        if self._has_exited:
            self._deadline.set(now + SILENCE_SECONDS, SILENCE)
        elif not self._output_ended:
            self._deadline.set(now + self.mount.timeout, PROGRESS)
        elif self._deadline.why != EXIT:
            self._deadline.set(now + EXIT_SECONDS, EXIT)

    def _expired(self, why: str) -> None:
        if why == LINGER:
            if self._stderr is not None:
                self._stderr.close()
        elif why == EXIT:
            self._conclude()
        elif self.exchange.is_high:     # it is the client who does not go on
            self._wait()
        elif why == SILENCE:
            self._conclude()
        elif self._stdin is not None and (self._stdin.waits_for_client or self._stdin.taken != self._taken):
            self._taken = self._stdin.taken
            self._wait()
        else:
            # As in the original: the end of the connection, too.
            self.exchange.closes = True
            self._fail(HttpError(504, "The program did not answer in time."),
                       f"it made no progress for {self.mount.timeout} s (cgi-timeout), and is ended")

    # The answer.

    def _send(self) -> None:
        """Send what the reader makes of the output."""
        try:
            part = take_part(self._reader)
        except RemoteProtocolError as error:
            self._fail(HttpError(502, "The program did not answer properly."), error.why)
            return
        if part.head is not None and part.head.dropped:
            log.warn(f"{self.label}: dropped from its head: {', '.join(part.head.dropped[:MAX_DROPPED])}")
        if part.head is not None and part.head.local:
            self._restart(part.head.local)
            return
        if part.is_last:
            self._let_go()
        send_part(self.exchange, part)

    def _restart(self, target: str) -> None:
        """RFC 3875 6.2.2: answer as if `target` had been asked for."""
        exchange = self.exchange
        self._let_go()
        exchange.patience = RESPONSE_TIMEOUT
        try:
            exchange.restart(exchange.request.redirected(target))
        except RemoteProtocolError as error:
            log.warn(f"{self.label}: its Location {target[:MAX_LOGGED]!a} is no path: {error.why}")
            exchange.fail(HttpError(502, "The program did not answer properly."))
        except HttpError as error:
            log.warn(f"{self.label}: {error.status}: its Location {target[:MAX_LOGGED]!a}: {error.why}")
            exchange.fail(error)

    def _conclude(self) -> None:
        """There will be no more output, or none that is waited for."""
        returncode = None if self._program is None else self._program.returncode
        if self._stdout is not None:
            self._stdout.close()
        if returncode is not None and returncode < 0:
            # What it wrote may well look complete: only it could have told.
            self._fail(HttpError(502, "The program failed."),
                       f"it {describe_exit(returncode)} before its answer was complete")
            return
        self._reader.receive_eof()
        self._send()

    # The end.

    def _let_go(self) -> None:
        """The program has answered: let it come to its end by itself."""
        self._over = True
        self._deadline.clear()
        self.exchange.consumer = None
        if self._stdin is not None:
            self._stdin.close()
        if self._has_exited:
            self._linger()
        elif self._program is not None:
            self._program.release(self.mount.timeout)

    def _fail(self, error: HttpError, why: str) -> None:
        """End the program, and answer with `error`; `why` is for the log, "" if it is there already."""
        if self._over:
            return
        if why:
            outcome = "its answer is broken off" if self.exchange.started else f"{error.status}"
            log.warn(f"{self.label}: {outcome}: {why}")
        self._break_off()
        self.exchange.fail(error)

    def _refuse(self) -> None:
        """Too many programs run."""
        self.mount.report_refusal(self.exchange.context.reactor.now, self.label)
        self._fail(HttpError(503, "Too many programs are running.", [RETRY_SOON]), "")

    def _free_slot(self) -> None:
        """The program does not run any more, or never will."""
        if self._holds_slot:
            self._holds_slot = False
            self.mount.running -= 1

    def _cannot_spool(self, error: OSError) -> None:
        status = 507 if error.errno in FULL else 503 if error.errno in SHORTAGES else 500
        self._fail(HttpError(status, "The request cannot be stored."),
                   f"no temporary file for the request body: {error.strerror}")

    def _break_off(self) -> None:
        """End the program, or the preparations for it."""
        self._over = self._broken_off = True
        self._deadline.clear()
        self.exchange.consumer = None
        if self._spool is not None:
            self._spool.close()
        if self._stdin is not None:
            self._stdin.close()
        if self._stdout is not None:
            self._stdout.close()
        if self._program is not None:
            self._program.kill()
            if self._has_exited:
                self._linger()
        elif not self._starting:
            self._free_slot()
            self._deadline.end()

    def _linger(self) -> None:
        """The program has ended and the exchange is over; the last of its stderr may still be in the pipe."""
        if self._stdout is not None:
            self._stdout.close()
        if self._stderr is not None and not self._stderr.closed:
            self._deadline.set(self.exchange.context.reactor.now + SILENCE_SECONDS, LINGER)
        else:
            self._deadline.end()    # of which the heap would know for a while yet

