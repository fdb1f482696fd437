"""What a CGI program writes to stderr, line by line into the log of the server.

A program can write more than anybody wants to read, and what it writes may stem from a client: control
characters are escaped (LESSONS 3.36), lines cut, and of one request only so much is logged.  The rest is read
and thrown away, because a program would stop at a full pipe.
"""

from __future__ import annotations

from lwsws import log
from lwsws.config.model import printable
from lwsws.net.pipes import PipeReader
from lwsws.net.reactor import Reactor

# A line longer than this is not read by people.
MAX_LINE = 1024
# Logged of one request: a traceback of each kind, and then some.
MAX_BYTES = 64 * 1024


class ErrorLines:
    """The stderr of one program; `label` begins each line."""

    __slots__ = ("_label", "_line", "_left", "_reader")

    def __init__(self, reactor: Reactor, fd: int, label: str) -> None:
        """Takes the fd over."""
        self._label = label
        self._line = b""    # what came of the present line, as far as it is logged
        self._left = MAX_BYTES
        self._reader = PipeReader(reactor, fd, self)

    def start(self) -> None:
        """Read from now on; OSError if the kernel cannot watch one more fd."""
        self._reader.start()

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._reader.closed

    def close(self) -> None:
        """Read no more."""
        if not self._reader.closed:
            self._reader.close()
            self._log(self._line)
            self._line = b""

    def data_received(self, data: bytes) -> None:
        """Log the lines that are complete."""
        if self._left <= 0:
            return
        first, *more = data.split(b"\n")
        self._line = (self._line + first[:MAX_LINE])[:MAX_LINE]
        for line in more:
            self._log(self._line)
            self._line = line[:MAX_LINE]
        self._left -= len(data)
        if self._left <= 0:
            self._log(self._line)
            self._line = b""
            log.warn(f"{self._label}: more of its stderr is not logged")

    def eof_received(self) -> None:
        """Log the last line."""
        self._log(self._line)
        self._line = b""

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip()
        if text:
            log.warn(f"{self._label}: {printable(text)}")
