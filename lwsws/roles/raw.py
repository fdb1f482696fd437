"""The raw role: one session of a plugin whose connections are not http.

The role is the session that the plugin gets.  The plugin is called on the reactor thread, here and nowhere
else, and what it raises ends its own connection only.  Nothing is read while more waits to be sent than the
transport's high mark, so a plugin that answers whatever comes cannot grow without bound.

A plugin is never called from within one of its own calls: what it asks for comes in a later turn.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

from lwsws import log
from lwsws.core.connection import SEND, Connection
from lwsws.core.protocol import Finished, Onward, Protocol, ProtocolVhost
from lwsws.core.role import Role
from lwsws.net.reactor import describe
from lwsws.net.reset import break_off
from lwsws.net.timers import Deadline
from lwsws.net.transport import LOW
from lwsws.net.workers import Overloaded
from lwsws.roles.relay import HALF_CLOSED_SECONDS
from lwsws.roles.tunnel import TunnelRole

HALF_CLOSED = "half-closed and idle"


class RawRole(Role):
    """One raw session.  Its public methods beside those of a role are the plugin's (RawSession)."""

    __slots__ = ("protocol", "vhost", "user", "_timer", "_held", "_eof", "_eof_held", "_paused",
                 "_write_ended", "_wants_writable", "_handed_over")

    def __init__(self, protocol: Protocol, vhost: ProtocolVhost) -> None:
        self.protocol = protocol
        self.vhost = vhost
        self.user: Any = None
        self._timer: Optional[Deadline] = None
        self._held = b""            # came while the plugin paused
        self._eof = False           # the client's end of stream has come
        self._eof_held = False      # and the plugin is still to hear of it
        self._paused = False
        self._write_ended = False
        self._wants_writable = False
        self._handed_over = False

    # What the connection says.

    def start(self, conn: Connection) -> None:
        """Tell the plugin of its new connection."""
        self.conn = conn
        conn.deadline.clear()
        self._call(self.protocol.raw_adopted)

    def data_received(self, data: bytes) -> None:
        """Give it to the plugin, now or when it resumes."""
        if self._handed_over:   # in raw_adopted, and this is what an earlier role had left over
            self.conn.role.data_received(data)
        elif self._paused:
            self._held += data
            self.conn.transport.pause_reading()
        else:
            self._call(self.protocol.raw_receive, data)
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
        self._offer_writable()

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

    @property
    def ident(self) -> int:
        """The number of the connection."""
        return self.conn.ident

    @property
    def peer(self) -> str:
        """The address of the client."""
        return self.conn.peer

    def write(self, data: bytes) -> None:
        """Send `data`; stop reading if that makes too much."""
        if self._over:
            return
        transport = self.conn.transport
        transport.write(data)
        if transport.size:
            self._set_deadline()
            if transport.is_high:
                transport.pause_reading()

    def request_writable(self) -> None:
        """Call raw_writable() in a later turn, when the output is low."""
        if not self._wants_writable:
            self._wants_writable = True
            self.conn.context.reactor.call_soon(self._offer_writable)

    def set_timer(self, seconds: Optional[float]) -> None:
        """Set, move or clear the one timer; ValueError if `seconds` is negative or no number."""
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"a timer cannot be set to {seconds} s")
        reactor = self.conn.context.reactor
        if seconds is None or self._over:
            if self._timer is not None:
                self._timer.clear()
            return
        if self._timer is None:
            self._timer = Deadline(reactor.timers, self._timer_due)
        self._timer.set(reactor.now + seconds, "timer")

    def pause(self) -> None:
        """Read nothing, and tell nothing of what has come already."""
        self._paused = True
        if not self._over:
            self.conn.transport.pause_reading()

    def resume(self) -> None:
        """Read again, after what was held back."""
        if not self._paused or self._over:
            return
        self._paused = False
        if self._held or self._eof_held:
            self.conn.context.reactor.call_soon(self._tell_held)
        else:
            self._read_on()

    def shutdown_write(self) -> None:
        """Half-close."""
        if not self._over:
            self._write_ended = True
            self.conn.transport.write_eof()
            self._set_deadline()

    def close(self) -> None:
        """Flush and close."""
        if not self._over:
            self.conn.close(linger=True)

    def abort(self) -> None:
        """Close now."""
        if not self._handed_over:
            self.conn.abort()

    def run_blocking(self, fn: Callable[..., Any], *args: Any, then: Finished) -> None:
        """Have a worker call `fn(*args)`, and then `then(self, result, error)` here."""
        def finished(result: Any, error: Optional[Exception]) -> None:
            if not self._over:
                self._call(then, result, error)

        if self._over:
            return
        context = self.conn.context
        try:
            context.workers.submit(functools.partial(fn, *args), finished)
        except Overloaded as exc:
            context.reactor.call_soon(functools.partial(finished, None, exc))

    def tunnel(self, onward: Onward, first: bytes = b"") -> None:
        """Switch to a tunnel to `onward`; RuntimeError after shutdown_write()."""
        if self._over:
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
    def _over(self) -> bool:
        """Whether the plugin has nothing to say any more."""
        return self._handed_over or self.conn.transport.closing

    def _call(self, method: Callable[..., None], *args: Any) -> None:
        """Call the plugin; its fault ends this connection."""
        try:
            method(self, *args)
        except Exception:   # boundary: a fault of a plugin ends its own connection only
            import traceback  # costs start-up time, and faults are rare

            log.err(f"conn {self.conn.ident}: fault in {describe(method)}:\n{traceback.format_exc()}")
            self.conn.abort()

    def _tell_eof(self) -> None:
        self._eof_held = False
        self._call(self.protocol.raw_eof)
        self._set_deadline()

    def _tell_held(self) -> None:
        """The plugin has resumed: tell it what came meanwhile, then read on."""
        if self._paused or self._over:
            return
        if self._held:
            held, self._held = self._held, b""
            self._call(self.protocol.raw_receive, held)
            self._tell_held()   # unless it has paused again, or ended the session
        elif self._eof_held:
            self._tell_eof()
        else:
            self._read_on()

    def _offer_writable(self) -> None:
        if self._wants_writable and not self._over and self.conn.transport.size < LOW:
            self._wants_writable = False
            self._call(self.protocol.raw_writable)

    def _timer_due(self, why: str) -> None:
        if not self._over:
            self._call(self.protocol.timer)

    def _end_session(self) -> None:
        if self._timer is not None:
            self._timer.clear()
        self._call(self.protocol.raw_closed)

    # Reading and time limits.

    def _read_on(self) -> None:
        """Read, unless the plugin has paused, or is still to hear of what came then, or too much waits to be
        sent."""
        if not self._paused and not self._held and not self.conn.transport.is_high:
            self.conn.transport.resume_reading()

    def _set_deadline(self) -> None:
        """What waits must make progress; without that, a connection closed on one side must not be idle."""
        conn = self.conn
        if self._over:
            return
        if conn.transport.size:
            conn.expect_progress(conn.context.limits.send_timeout, SEND)
        elif self._eof or self._write_ended:
            conn.expect(HALF_CLOSED_SECONDS, HALF_CLOSED)
        else:
            conn.deadline.clear()
