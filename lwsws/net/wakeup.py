"""Waking the reactor from elsewhere: a socketpair for worker threads and for signals.

The reader is watched by the reactor.  Whoever wants its attention puts what he has to say into some
deque or set first and then writes one byte.  A full socketpair is fine: it is readable already, so the
reactor is going to look.  For the same reason `Signals` does not read the signal numbers out of the
bytes, which may be lost when it is full, but lets the Python-level handler note them.  That handler
runs on the main thread before the reactor gets to see the byte, because CPython marks the signal as
arrived before it writes to the wake-up fd.
"""

from __future__ import annotations

import signal
import socket
from types import FrameType
from typing import Any, Dict, List, Optional, Set

# The least the kernel gives; one byte is all we need to be stored.
SMALLEST_BUFFER = 1
DRAIN_BYTES = 4096


class Wakeup:
    """A readable fd that any thread can make readable."""

    __slots__ = ("_reader", "_writer")

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST_BUFFER)
        self._writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALLEST_BUFFER)

    def fileno(self) -> int:
        """The fd to watch for READ."""
        return self._reader.fileno()

    def sender_fileno(self) -> int:
        """The fd to write to, for `signal.set_wakeup_fd`."""
        return self._writer.fileno()

    def wake(self) -> None:
        """Make the fd readable; from any thread, at any time, even after close()."""
        try:
            self._writer.send(b"\0")
        except OSError:
            pass  # full: readable already; closed: nobody is left to wake

    def drain(self) -> bytes:
        """Take out the bytes written so far; b"" if there are none."""
        try:
            return self._reader.recv(DRAIN_BYTES)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()


class Signals:
    """The signals that are handled by the reactor instead of in between any two of its steps.

    Only on the main thread.  close() restores the handlers and the wake-up fd that were there before.
    """

    __slots__ = ("wakeup", "_arrived", "_handlers_before", "_fd_before")

    def __init__(self) -> None:
        self.wakeup = Wakeup()
        self._arrived: Set[int] = set()
        self._handlers_before: Dict[int, Any] = {}
        try:
            self._fd_before = signal.set_wakeup_fd(self.wakeup.sender_fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread
            self.wakeup.close()
            raise

    def catch(self, signum: int) -> None:
        """Note arrivals of `signum` from now on."""
        if signum not in self._handlers_before:
            self._handlers_before[signum] = signal.signal(signum, self._note)

    def take(self) -> List[int]:
        """The signals that arrived since the last call, each once, in order of their numbers."""
        self.wakeup.drain()
        # A signal in the middle of this line is added to one of the two sets, and both are looked at.
        arrived, self._arrived = self._arrived, set()
        return sorted(arrived)

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        for signum, handler in self._handlers_before.items():
            if handler is not None:  # None: set by C code, which Python cannot put back
                signal.signal(signum, handler)
        self._handlers_before.clear()
        signal.set_wakeup_fd(self._fd_before)
        self.wakeup.close()

    def _note(self, signum: int, frame: Optional[FrameType]) -> None:
        self._arrived.add(signum)
