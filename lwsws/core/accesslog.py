"""The access log of a vhost: one line an exchange, Apache's combined format.

    PEER - USER [22/Nov/2026:11:32:42 +0000] "GET /a?b HTTP/1.1" 200 163 "REFERER" "AGENT"

Everything that comes from the peer is escaped, so no request can break out of its quotes or its
line (LESSONS 3.36).  Bytes are those of the body that were handed to the peer.  Lines are gathered
and written once a pass of the reactor with O_APPEND, whole lines only.  A full disk never
stops serving: lines are then counted and dropped, and the loss is reported once a minute, and at the end.
"""

from __future__ import annotations

import os
import re
import time
from typing import Callable, List

from lwsws import log
from lwsws.net.reactor import Reactor
from lwsws.net.regular_file import open_log_file
from lwsws.wire.http1_request import Request

# Everything but printable ASCII, and what has a meaning inside the quotes.
_UNSAFE = re.compile(r'[^ !#-\[\]-~]')

# Lines waiting for a disk that is slow or full; more are dropped and counted.
MAX_PENDING = 10000

# Seconds between two complaints about a log that cannot be written.
COMPLAINT_INTERVAL = 60

# What containers name as a log, and the descriptor that it is; as files they could not be opened anew after
# the privileges are dropped.
STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}

# What opens the log at a path for appending, or raises OSError.
Opener = Callable[[str], int]


def escape(text: str) -> str:
    """`text` fit for a quoted field: `"`, `\\`, control characters and non-ASCII as `\\xHH` per byte."""
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub(lambda match: "".join("\\x%02x" % byte for byte in _bytes_of(match.group())), text)


def _bytes_of(char: str) -> bytes:
    try:
        return char.encode("latin-1")
    except UnicodeEncodeError:
        return char.encode("utf-8", "surrogateescape")


def line_tail(request: Request, status: int, sent: int) -> str:
    """What follows the time in the line of `request`; `sent` is in bytes of body."""
    get = request.headers.get
    referer, agent = get("referer"), get("user-agent")
    target = request.target
    return (f'"{request.method} {escape(target)} HTTP/{request.version}" {status} {sent}'
            f' "{escape(referer) if referer else "-"}" "{escape(agent) if agent else "-"}"\n')


def bad_request_tail(status: int, sent: int) -> str:
    """The same for bytes that were no request."""
    return f'"-" {status} {sent} "-" "-"\n'


class AccessLog:
    """One access log file; several vhosts may share it."""

    __slots__ = ("path", "_reactor", "_wall_clock", "_opener", "_fd", "_pending", "_lost", "_complained",
                 "_second", "_stamp")

    def __init__(self, path: str, reactor: Reactor, wall_clock: Callable[[], float] = time.time,
                 opener: Opener = open_log_file) -> None:
        """Open (or create) the log at `path` by `opener`, as also later; OSError if that fails."""
        self.path = path
        self._reactor = reactor
        self._wall_clock = wall_clock
        self._opener = opener
        self._pending: List[str] = []
        self._lost = 0
        self._complained = -float(COMPLAINT_INTERVAL)
        self._second = -1
        self._stamp = ""
        self._fd = self._open()

    def _open(self) -> int:
        if self.path in STREAMS:
            return os.dup(STREAMS[self.path])
        return self._opener(self.path)

    def write(self, peer: str, user: str, tail: str) -> None:
        """Log one exchange of `peer`; `tail` is from `line_tail`."""
        second = int(self._wall_clock())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))
        if len(self._pending) >= MAX_PENDING:
            self._lost += 1
            return
        if not self._pending:
            self._reactor.call_soon(self.flush)
        name = escape(user).replace(" ", "_") if user else "-"
        self._pending.append(f"{peer} - {name} [{self._stamp}] {tail}")

    def flush(self) -> None:
        """Write the gathered lines now."""
        if not self._pending:
            return
        data = "".join(self._pending).encode("ascii", "backslashreplace")
        lines = len(self._pending)
        self._pending.clear()
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self._complain(lines, str(error))
            return
        if written < len(data):
            self._finish_line(data[written:])

    def _finish_line(self, rest: bytes) -> None:
        # The disk filled up within a line: end it when there is room again, drop the lines after it.
        self._complain(rest.count(b"\n"), "disk full")
        try:
            os.write(self._fd, b"\n")
        except OSError:
            pass

    def _complain(self, lines: int, why: str) -> None:
        self._lost += lines
        now = self._reactor.now
        if now - self._complained >= COMPLAINT_INTERVAL:
            log.err(f"access log {self.path}: {why}; {self._lost} line{'s' if self._lost != 1 else ''} lost")
            self._complained = now
            self._lost = 0

    def reopen(self) -> None:
        """Open the file anew under its name, as log rotation by rename and signal needs."""
        self.flush()
        try:
            fresh = self._open()
        except OSError as error:
            log.err(f"access log {self.path}: cannot reopen, going on with the old file: {error}")
            return
        os.close(self._fd)
        self._fd = fresh

    def close(self) -> None:
        """Write what is left and close the file; lines that were lost and not told of are told of now."""
        self.flush()
        os.close(self._fd)
        if self._lost:
            log.err(f"access log {self.path}: {self._lost} more line{'s' if self._lost != 1 else ''} lost")
            self._lost = 0
