"""The tunnel role: connects to another server, and then relays between it and the client.

Meanwhile the client is not read; what it sent before waits and goes first.  If the server cannot be
reached, the log says why and the client's connection is closed.
"""

from __future__ import annotations

import socket
from typing import Optional

from lwsws import log
from lwsws.core.connection import Connection
from lwsws.core.role import Role
from lwsws.net.connector import Connector
from lwsws.net.onward import Onward
from lwsws.net.receiver import NOBODY
from lwsws.net.transport import Transport
from lwsws.roles.relay import RelayRole


class TunnelRole(Role):
    """Waits for the connection to `onward`."""

    __slots__ = ("onward", "_connector", "_waiting", "_eof")

    _connector: Connector

    def __init__(self, onward: Onward) -> None:
        self.onward = onward
        self._waiting = b""
        self._eof = False

    def start(self, conn: Connection) -> None:
        """Begin to connect."""
        self.conn = conn
        conn.deadline.clear()   # the connector has its own
        conn.transport.pause_reading()
        context = conn.context
        context.onward += 1
        self._connector = Connector(context.reactor, context.workers, self.onward,
                                    self._connected, self._failed)

    def data_received(self, data: bytes) -> None:
        """What another role had left over; also what comes if the connection begins in this role, because its
        transport is started only after it.  Not more than that: reading is paused (again)."""
        self._waiting += data
        self.conn.transport.pause_reading()

    def eof_received(self) -> None:
        """To be carried through later."""
        self._eof = True

    def shutdown(self) -> None:
        """Nothing has been done yet."""
        self._connector.cancel()
        self.conn.close(linger=True)

    def closed(self, exc: Optional[Exception]) -> None:
        """The client is gone."""
        self.conn.context.onward -= 1
        self._connector.cancel()

    def _connected(self, sock: socket.socket) -> None:
        conn = self.conn
        conn.context.onward -= 1    # the relay counts it from here on
        far = Transport(conn.context.reactor, sock, NOBODY)
        conn.switch_role(RelayRole(far, str(self.onward)), self._waiting)
        if self._eof and not conn.transport.closing:
            conn.role.eof_received()

    def _failed(self, reason: str) -> None:
        log.warn(f"conn {self.conn.ident}: onward {self.onward}: {reason}")
        self.conn.close(linger=True)
