"""The raw role: one session of a plugin whose connections are not http.

Nothing is read while more waits to be sent than the transport's high mark, so a plugin that answers whatever
comes cannot grow without bound.
"""

from __future__ import annotations

from typing import Optional

from lwsws.core.connection import SEND, Connection
from lwsws.core.protocol import Protocol
from lwsws.net.onward import Onward
from lwsws.net.reset import break_off
from lwsws.roles.relay import HALF_CLOSED_SECONDS
from lwsws.roles.session import SessionRole
from lwsws.roles.tunnel import TunnelRole

HALF_CLOSED = "half-closed and idle"


class RawRole(SessionRole):
    """One raw session.  Its public methods beside those of a role are the plugin's (RawSession)."""

    __slots__ = ("_held", "_eof", "_eof_held", "_paused", "_write_ended", "_handed_over")

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol)
        self._held = b""            # came while the plugin paused
        self._eof = False           # the client's end of stream has come
        self._eof_held = False      # and the plugin is still to hear of it
        self._paused = False
        self._write_ended = False
        self._handed_over = False

    # What the connection says.

    def start(self, conn: Connection) -> None:
        """Tell the plugin of its new connection."""
        self.conn = conn
        conn.deadline.clear()
        self.call(self.protocol.raw_adopted)
        if conn.context.stopping:   # its first bytes came when the end had begun
            conn.role.shutdown()    # it may have handed the connection over

    def data_received(self, data: bytes) -> None:
        """Give it to the plugin, now or when it resumes."""
        if self._handed_over:   # in raw_adopted, and this is what an earlier role had left over
            self.conn.role.data_received(data)
        elif self._paused:
            self._held += data
            self.conn.transport.pause_reading()
        else:
            self.call(self.protocol.raw_receive, data)
            if self._eof or self._write_ended:
                self._set_deadline()

    def eof_received(self) -> None:
        """Tell the plugin, now or when it resumes."""
        self._eof = True
        if self._paused:
            self._eof_held = True
        else:
            self._tell_eof()

    def drained(self) -> None:
        """Little or nothing waits to be sent."""
        self._set_deadline()
        self._read_on()
        self.try_writable()

    def expired(self, why: str) -> None:
        """The client takes nothing, or nothing happens after one of the two has ended its stream."""
        break_off(self.conn.transport)

    def shutdown(self) -> None:
        """The server ends, and so does the session."""
        self.close()

    def closed(self, exc: Optional[Exception]) -> None:
        """The connection is gone."""
        self._end_session()

    # What the plugin asks for.

    def write(self, data: bytes) -> None:
        """Send `data`; stop reading if that makes too much."""
        if self.over:
            return
        transport = self.conn.transport
        transport.write(data)
        if transport.size:
            self._set_deadline()
            if transport.is_high:
                transport.pause_reading()

    def pause(self) -> None:
        """Read nothing, and tell nothing of what has come already."""
        self._paused = True
        if not self.over:
            self.conn.transport.pause_reading()

    def resume(self) -> None:
        """Read again, after what was held back."""
        if not self._paused or self.over:
            return
        self._paused = False
        if self._held or self._eof_held:
            self.conn.context.reactor.call_soon(self._tell_held)
        else:
            self._read_on()

    def shutdown_write(self) -> None:
        """Half-close."""
        if not self.over:
            self._write_ended = True
            self.conn.transport.write_eof()
            self._set_deadline()

    def close(self) -> None:
        """Flush and close."""
        if not self.over:
            self.conn.close(linger=True)

    def abort(self) -> None:
        """Close now."""
        if not self._handed_over:
            self.conn.abort()

    def tunnel(self, onward: Onward, first: bytes = b"") -> None:
        """Switch to a tunnel to `onward`; RuntimeError after shutdown_write()."""
        if self.over:
            return
        if self._write_ended:
            raise RuntimeError("a connection cannot be handed over after shutdown_write()")
        self._handed_over = True
        conn = self.conn
        conn.switch_role(TunnelRole(onward), first + self._held)
        self._held = b""
        if self._eof:
            conn.role.eof_received()
        conn.context.reactor.call_soon(self._end_session)

    # Calls of the plugin.

    @property
    def over(self) -> bool:
        """Whether the plugin has nothing to say any more."""
        return self._handed_over or self.conn.transport.closing

    def offer_writable(self) -> None:
        """There is room to write."""
        self.call(self.protocol.raw_writable)

    def _tell_eof(self) -> None:
        self._eof_held = False
        self.call(self.protocol.raw_eof)
        self._set_deadline()

    def _tell_held(self) -> None:
        """The plugin has resumed: tell it what came meanwhile, then read on."""
        if self._paused or self.over:
            return
        if self._held:
            held, self._held = self._held, b""
            self.call(self.protocol.raw_receive, held)
            self._tell_held()   # unless it has paused again, or ended the session
        elif self._eof_held:
            self._tell_eof()
        else:
            self._read_on()

    def _end_session(self) -> None:
        self.end_session(self.protocol.raw_closed)

    # Reading and time limits.

    def _read_on(self) -> None:
        """Read, unless the plugin has paused, or is still to hear of what came then, or too much waits to be
        sent."""
        if not self._paused and not self._held and not self.conn.transport.is_high:
            self.conn.transport.resume_reading()

    def _set_deadline(self) -> None:
        """What waits must make progress; without that, a connection closed on one side must not be idle."""
        conn = self.conn
        if self.over:
            return
        if conn.transport.size:
            conn.expect_progress(conn.context.limits.send_timeout, SEND)
        elif self._eof or self._write_ended:
            conn.expect(HALF_CLOSED_SECONDS, HALF_CLOSED)
        else:
            conn.deadline.clear()
