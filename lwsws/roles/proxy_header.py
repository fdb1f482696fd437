"""The role that reads the header of the PROXY protocol, which a load balancer puts before everything else.

Only connections from the peers of `proxy-protocol-from` begin in this role (LESSONS 3.33), and theirs must
have the header, whole and in time: a request without would count as the load balancer's own.  From then on
the announced address is the client's, for all who ask who it is, and for the limits on connections: the load
balancer itself has none.
"""

from __future__ import annotations

from lwsws import log
from lwsws.core.connection import FIRST, Connection
from lwsws.core.peers import address_key
from lwsws.core.role import Role, RoleFactory
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.proxy_header import MAX_HEADER, read_proxy_header


class ProxyHeaderRole(Role):
    """Takes the header off, then switches to the role that the connection would have begun with."""

    __slots__ = ("_make_role",)

    knows_peer = False

    def __init__(self, make_role: RoleFactory) -> None:
        self._make_role = make_role

    def start(self, conn: Connection) -> None:
        """Wait for the header; its deadline is absolute."""
        self.conn = conn
        conn.expect_first(conn.context.limits.timeout)
        conn.transport.start_peeking(MAX_HEADER, self._look)

    def expired(self, why: str) -> None:
        """No header came in time."""
        if self.conn.context.stopping:
            self.conn.close()
        else:
            self._refuse("no PROXY header in time")

    def shutdown(self) -> None:
        """Its header may be on the way."""
        self.conn.end_idle(FIRST)

    def _look(self, data: bytes, ended: bool) -> None:
        conn = self.conn
        if ended and not data:
            conn.close()    # as a health check does that only connects
            return
        try:
            header = read_proxy_header(data)
        except RemoteProtocolError as error:
            self._refuse(error.why)
            return
        if header is None:
            if ended or len(data) >= MAX_HEADER:
                self._refuse("the PROXY header is incomplete")
            return
        if header.source is not None:
            if log.enabled(log.INFO):
                log.info(f"conn {conn.ident}: from {header.source[0]} through {conn.peer}")
            conn.peer = header.source[0]
            if not self._admitted(conn):
                conn.abort()
                return
        conn.deadline.clear()
        conn.transport.skip(header.length)
        if conn.transport.closing:
            return
        conn.transport.stop_peeking()
        conn.switch_role(self._make_role(), b"")

    @staticmethod
    def _admitted(conn: Connection) -> bool:
        """Count the connection for its client, now that it is known; False if that has too many."""
        peers, key = conn.context.peers, address_key(conn.peer)
        if peers is None or key is None:
            return True
        if not peers.admit(key):
            return False
        conn.counted = key
        return True

    def _refuse(self, why: str) -> None:
        log.warn(f"conn {self.conn.ident}: {self.conn.peer}: {why}")
        self.conn.close(linger=True)
