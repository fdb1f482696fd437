"""The body of a request on its way into a CGI program.

A body of known length is piped as it comes, and the client waits while the program does not take it.  By RFC
3875 4.2 the program reads CONTENT_LENGTH bytes, so a chunked body, whose length nobody knows before its end,
is put into a temporary file first, which then is the program's input.
"""

from __future__ import annotations

import os
import tempfile

from lwsws.core.exchange import Exchange
from lwsws.net.pipes import PipeWriter


class PipedBody:
    """A body that goes into the pipe to a running program."""

    __slots__ = ("_exchange", "_writer", "_ended")

    def __init__(self, exchange: Exchange, fd: int) -> None:
        """Takes the fd over."""
        self._exchange = exchange
        self._writer = PipeWriter(exchange.context.reactor, fd, self)
        self._ended = False

    @property
    def taken(self) -> int:
        """How many bytes the pipe has taken."""
        return self._writer.bytes_sent

    @property
    def waits_for_client(self) -> bool:
        """Whether the program has all that the client has sent, but could take more."""
        return not self._ended and not self._writer.closed and not self._writer.size

    def received(self, data: bytes) -> None:
        """A piece came; it is thrown away if the program reads no more."""
        self._writer.write(data)
        if self._writer.is_high:
            self._exchange.pause_body()

    def ended(self) -> None:
        """All of it came."""
        self._ended = True
        self._writer.write_eof()

    def close(self) -> None:
        """The program gets no more."""
        self._writer.close()

    # What the pipe says.

    def drained(self) -> None:
        """Let the client go on."""
        self._exchange.resume_body()

    def broken(self) -> None:
        """The program wants no more, which is its right: the rest comes and is thrown away."""
        if not self._exchange.closed:
            self._exchange.resume_body()


class SpooledBody:
    """A body that is collected in a temporary file without a name."""

    __slots__ = ("_file", "size")

    def __init__(self) -> None:
        """OSError if there is no place for it."""
        self._file = tempfile.TemporaryFile(buffering=0)
        self.size = 0

    def received(self, data: bytes) -> None:
        """A piece came; OSError if the disk is full."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view):]
        self.size += len(data)

    def take(self) -> int:
        """The file, as an fd at its beginning that the caller has to close; OSError without fds."""
        self._file.seek(0)
        fd = os.dup(self._file.fileno())
        self.close()
        return fd

    def close(self) -> None:
        """Forget it."""
        self._file.close()
