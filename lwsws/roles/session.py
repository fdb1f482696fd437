"""What WebSocket and raw sessions have in common: a plugin, its calls, its timer and its jobs.

The role is the session that the plugin gets.  The plugin is called on the reactor thread, and what it raises
ends its own connection only.  It is never called from within one of its own calls: what it asks for comes in
a later turn.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from lwsws.core.plugincall import call_plugin, check_seconds, move_timer, submit
from lwsws.core.protocol import Protocol
from lwsws.core.role import Role
from lwsws.core.session import Finished, ProtocolVhost
from lwsws.net.timers import Deadline
from lwsws.net.transport import LOW


class SessionRole(Role):
    """A role that is a session of a plugin."""

    __slots__ = ("protocol", "user", "_timer", "_wants_writable")

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.user: Any = None
        self._timer: Optional[Deadline] = None
        self._wants_writable = False

    @property
    def over(self) -> bool:
        """Whether the plugin has nothing to say any more."""
        return self.conn.transport.closing

    @property
    def queued(self) -> int:
        """How many bytes wait to be sent."""
        return self.conn.transport.size

    def offer_writable(self) -> None:
        """Call the plugin's method for its kind of session; overridden."""
        raise NotImplementedError

    # What the plugin asks for.

    @property
    def ident(self) -> int:
        """The number of the connection."""
        return self.conn.ident

    @property
    def peer(self) -> str:
        """The address of the client."""
        return self.conn.peer

    @property
    def vhost(self) -> ProtocolVhost:
        """The vhost that it belongs to."""
        return self.protocol.vhost

    def request_writable(self) -> None:
        """Call writable() in a later turn, when the output is low."""
        if not self._wants_writable:
            self._wants_writable = True
            self.conn.context.reactor.call_soon(self.try_writable)

    def set_timer(self, seconds: Optional[float]) -> None:
        """Set, move or clear the one timer; ValueError if `seconds` is negative or no number."""
        check_seconds(seconds)
        wanted = None if self.over else seconds
        self._timer = move_timer(self._timer, self.conn.context.reactor, wanted, self._timer_due)

    def run_blocking(self, fn: Callable[..., Any], *args: Any, then: Finished) -> None:
        """Have a worker call `fn(*args)`, and then `then(self, result, error)` here."""
        def finished(result: Any, error: Optional[Exception]) -> None:
            if not self.over:
                self.call(then, result, error)

        if not self.over:
            context = self.conn.context
            submit(context.reactor, context.workers, fn, args, finished)

    # Calls of the plugin.

    def call(self, method: Callable[..., None], *args: Any) -> None:
        """Call the plugin; its fault ends this connection."""
        if not call_plugin(self.conn.ident, method, self, *args):
            self.fault()

    def fault(self) -> None:
        """The plugin raised: overridden by those who can tell the client."""
        self.conn.abort()

    def try_writable(self) -> None:
        """Tell the plugin that it may write, if it wants to know and little waits."""
        if self._wants_writable and not self.over and self.queued < LOW:
            self._wants_writable = False
            self.offer_writable()

    def end_session(self, method: Callable[..., None], *args: Any) -> None:
        """Call the last method of the session."""
        if self._timer is not None:
            self._timer.end()
        self.call(method, *args)

    def _timer_due(self, why: str) -> None:
        if not self.over:
            self.call(self.protocol.timer)
