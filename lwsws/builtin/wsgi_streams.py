"""The two streams that a WSGI application gets: `wsgi.input`, the body of its request, and `wsgi.errors`.

A body that had come when the application was called is a BytesIO.  A longer one is read while it comes: the
reactor feeds it, the application's thread waits for it, and what is ahead of the application is bounded.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from typing import Any, Callable, Deque, Iterable, List

from lwsws.builtin.wsgi_answer import ClientGone

# With more than HIGH bytes unread the client has to wait, until there are less than LOW.
HIGH = 256 * 1024
LOW = 64 * 1024

# Of a line in the log, which cuts what is longer.
MAX_LINE = 2048


class BodyStream(io.RawIOBase):
    """The body of a request that is still coming."""

    def __init__(self, first: List[bytes], resume: Callable[[], None]) -> None:
        """`first` has come already; `resume` is called on the application's thread after feed() was True."""
        super().__init__()
        self._condition = threading.Condition()
        self._pieces: Deque[memoryview] = deque(memoryview(piece) for piece in first)
        self._size = sum(map(len, first))
        self._resume = resume
        self._full = False
        self._ended = False
        self._gone = False

    # On the thread of the application.

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for some of the body, put it into `buffer`, and return its length, 0 at the end; ClientGone if
        that never comes."""
        with self._condition:
            while not self._pieces and not self._ended:
                if self._gone:
                    raise ClientGone("the client is gone, and has not sent the whole body")
                self._condition.wait()
            if not self._pieces:
                return 0
            piece = self._pieces[0]
            size = min(len(buffer), len(piece))
            buffer[:size] = piece[:size]
            if size < len(piece):
                self._pieces[0] = piece[size:]
            else:
                self._pieces.popleft()
            self._size -= size
            resume = self._full and self._size < LOW
            if resume:
                self._full = False
        if resume:
            self._resume()
        return size

    # On the reactor's thread.

    def feed(self, data: bytes) -> bool:
        """More has come; whether it is enough, so that the client should wait."""
        with self._condition:
            self._pieces.append(memoryview(data))
            self._size += len(data)
            self._condition.notify()
            if self._size > HIGH:
                self._full = True
            return self._full

    def end(self) -> None:
        """It is complete."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def break_off(self) -> None:
        """Nothing more will come."""
        with self._condition:
            self._gone = True
            self._condition.notify_all()


class ErrorStream:
    """Gives the log what is written, line by line."""

    def __init__(self, log_line: Callable[[str], None]) -> None:
        """`log_line` is called on the thread that writes."""
        self._log_line = log_line
        self._rest = ""

    def write(self, text: str) -> int:
        """Add `text`; what follows its last line end waits for its own."""
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = ""
        for line in lines:
            self._log_line(line[:MAX_LINE])
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Add all of them."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Whole lines are in the log already."""

    def end(self) -> None:
        """Nothing follows: what has no line end is a line, too."""
        if self._rest:
            self.write("\n")
