"""dumb-increment-protocol: tells each client a number that grows, twenty times a second.

The client may send "reset\\n" to begin at 0 again, and "closeme\\n" to have the session closed.  One timer
serves all clients of the vhost, and stops when the last one has left.  A client that does not read is owed
one number, not one for each tick that it missed.
"""

from __future__ import annotations

from typing import Union

from lwsws.plugin import Protocol, WsSession

TICK_SECONDS = 0.05
GOING_AWAY = 1001


class DumbIncrement(Protocol):
    """The counter of a session is its `user`."""

    name = "dumb-increment-protocol"

    _is_ticking = False

    def established(self, s: WsSession) -> None:
        """Begin at 0, with the next tick."""
        s.user = 0
        if not self._is_ticking:
            self._tick_later()

    def receive(self, s: WsSession, message: Union[str, bytes]) -> None:
        """Obey the two commands, which binary messages may give as well."""
        command = message if isinstance(message, str) else message.decode("latin-1")
        if command == "reset\n":
            s.user = 0
        elif command == "closeme\n":
            s.close(GOING_AWAY, "seeya")

    def writable(self, s: WsSession) -> None:
        """Tell the number."""
        s.send(str(s.user))
        s.user += 1

    def _tick_later(self) -> None:
        self._is_ticking = True
        self.server.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._is_ticking = False
        if self.sessions:
            self.request_writable_all()
            self._tick_later()
