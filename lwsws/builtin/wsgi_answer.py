"""The answer of a WSGI application on its way from the thread that runs it to the reactor.

The thread puts in the head, then pieces of the body, and waits while more than ROOM of them are held here
or by the connection: an application cannot fill the memory with what a slow client does not take.  The
reactor is told once for all that comes before it looks, takes it in one batch, and says how much of it the
client has taken.
"""

from __future__ import annotations

import threading
from typing import Callable, List, NamedTuple, Optional, Tuple

# Bytes of an answer that the thread may be ahead.
ROOM = 256 * 1024


class ClientGone(ConnectionError):
    """The request is over, before the application was done with it."""


class Head(NamedTuple):
    """Status, phrase and fields of an answer of `length` bytes, None if that is not known."""

    status: int
    reason: Optional[str]
    fields: List[Tuple[str, str]]
    length: Optional[int]


class Batch(NamedTuple):
    """What has come since the last one: `head` if that is new, `ended` if nothing follows."""

    head: Optional[Head]
    data: bytes
    ended: bool


class Answer:
    """Head and body of one answer, between two threads."""

    __slots__ = ("_condition", "_tell", "_told", "_head", "_pieces", "_held", "_ended", "_gone")

    def __init__(self, tell: Callable[[], None]) -> None:
        """`tell` is called on the application's thread, and has the reactor call take()."""
        self._condition = threading.Condition()
        self._tell = tell
        self._told = False
        self._head: Optional[Head] = None
        self._pieces: List[bytes] = []
        self._held = 0
        self._ended = False
        self._gone = False

    @property
    def gone(self) -> bool:
        """Whether nobody wants it any more."""
        return self._gone

    # On the thread of the application.

    def begin(self, head: Head) -> None:
        """The head; it leaves with the first piece, or with the end."""
        self._head = head

    def send(self, data: bytes, last: bool = False) -> None:
        """A piece of the body of at most ROOM bytes, once there is room for it; ClientGone."""
        with self._condition:
            while data and self._held >= ROOM and not self._gone:
                self._condition.wait()
            if self._gone:
                raise ClientGone("the client is gone")
            self._pieces.append(data)
            self._held += len(data)
            self._ended = last
            told, self._told = self._told, True
        if not told:
            self._tell()

    # On the reactor's thread.

    def take(self) -> Batch:
        """All that waits."""
        with self._condition:
            self._told = False
            head, self._head = self._head, None
            pieces, self._pieces = self._pieces, []
            ended = self._ended
        return Batch(head, pieces[0] if len(pieces) == 1 else b"".join(pieces), ended)

    def taken(self, size: int) -> None:
        """So many bytes make room again."""
        with self._condition:
            self._held -= size
            self._condition.notify()

    def break_off(self) -> None:
        """Nobody wants it any more: wake the thread."""
        with self._condition:
            self._gone = True
            self._pieces.clear()
            self._condition.notify_all()
