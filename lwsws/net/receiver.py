"""Who gets what comes from a transport, and the word for a broken connection.

A transport has exactly one receiver.  It calls it on the reactor's thread only, never in the middle of one
of the receiver's own calls, and for the last time with connection_lost().
"""

from __future__ import annotations

from typing import Optional, Protocol


class ConnectionLost(Exception):
    """The connection broke: through the peer, the network, or a file that ended before its promised size."""


class Receiver(Protocol):
    """Who gets what comes from a transport.  After connection_lost() none of these is called any more."""

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""

    def eof_received(self) -> None:
        """The peer will send no more, but may still read: close() when the answer is complete."""

    def drained(self) -> None:
        """There is room again: the queue fell below LOW after it was above HIGH, or ran empty."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The transport is closed; `exc` is None if by our own close() or abort().  Told exactly once."""


class Nobody:
    """The receiver of a closed transport, in place of its owner: breaks the circle between the two."""

    def data_received(self, data: bytes) -> None:
        raise AssertionError("a closed transport has received")

    def eof_received(self) -> None:
        raise AssertionError("a closed transport has received EOF")

    def drained(self) -> None:
        raise AssertionError("a closed transport has sent")

    def connection_lost(self, exc: Optional[Exception]) -> None:
        raise AssertionError("a transport was closed twice")


NOBODY = Nobody()
