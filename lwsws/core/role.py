"""Role: what the bytes on a connection mean at the moment.

A connection always has exactly one role, and being in a role is the outer state of the
connection.  Each method is called on the reactor thread; `closed` is called exactly once,
whatever happened, and nothing is called after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Optional

if TYPE_CHECKING:
    from lwsws.core.connection import Connection


class Role:
    """Base of all roles; a method that a role does not need does nothing."""

    __slots__ = ("conn",)

    conn: Connection

    # Whether a connection that begins in this role comes from the client itself, so that its address counts.
    knows_peer = True

    def start(self, conn: Connection) -> None:
        """The connection is in this role from now on."""
        self.conn = conn

    def data_received(self, data: bytes) -> None:
        """The peer sent `data` (never empty)."""

    def eof_received(self) -> None:
        """The peer will send nothing more; it may still be reading."""
        self.conn.close()

    def drained(self) -> None:
        """The transport's output is low enough to take more."""

    def expired(self, why: str) -> None:
        """The connection's deadline, set for the reason `why`, has passed."""
        self.conn.abort()

    def shutdown(self) -> None:
        """The server is stopping: end at the next good moment, at once if idle.  A client that may be
        about to ask something gets a moment for it (Connection.end_idle)."""
        self.conn.close()

    def closed(self, exc: Optional[Exception]) -> None:
        """The connection is gone; `exc` says why if the peer or the network broke it."""


RoleFactory = Callable[[], Role]
