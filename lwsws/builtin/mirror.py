"""lws-mirror-protocol: what one client of a world sends, all clients of it get, the sender included.

The world is named by the URL, `?mirror=NAME`; without that it is the one with the empty name.  A world exists
while it has clients, and remembers nothing.  A message is prepared once, however many get it.

Nobody waits for a client that does not read: while much waits to be sent to it (256 KiB), it misses what the
others say, and after PATIENCE seconds of that it is closed.
"""

from __future__ import annotations

from typing import Any, Dict, Set, Union
from urllib.parse import parse_qs

from lwsws.plugin import PreparedMessage, Protocol, WsSession

MAX_NAME = 64
MAX_WORLDS = 1024
PATIENCE = 5.0

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


class World:
    """Clients that hear each other; `slow` are those that miss what is said."""

    __slots__ = ("name", "members", "slow")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: Set[WsSession] = set()
        self.slow: Set[WsSession] = set()

    def tell(self, message: Union[str, bytes]) -> None:
        """Send `message` to all who take it."""
        prepared = PreparedMessage(message)
        for member in self.members:
            if not member.is_high:
                member.send(prepared)
            elif member not in self.slow:
                self.slow.add(member)
                member.request_writable()
                member.set_timer(PATIENCE)

    def caught_up(self, member: WsSession) -> None:
        """Little waits for `member` any more."""
        self.slow.discard(member)
        member.set_timer(None)

    def leave(self, member: WsSession) -> None:
        """`member` is gone."""
        self.members.discard(member)
        self.slow.discard(member)


class Mirror(Protocol):
    """The world of a session is its `user`, None if it was not let in."""

    name = "lws-mirror-protocol"
    # It goes out as often as there are members; drawing takes a tenth of this.
    max_message = 1 << 16

    def __init__(self) -> None:
        self._worlds: Dict[str, World] = {}

    def established(self, s: WsSession) -> None:
        """Join the world, which this may create."""
        name = parse_qs(s.request.query or "").get("mirror", [""])[0]
        world = self._worlds.get(name)
        if len(name) > MAX_NAME:
            s.close(POLICY_VIOLATION, f"the name of a mirror may have {MAX_NAME} characters")
        elif world is None and len(self._worlds) >= MAX_WORLDS:
            s.close(TRY_AGAIN_LATER, "too many mirrors")
        else:
            s.user = world or self._worlds.setdefault(name, World(name))
            s.user.members.add(s)

    def receive(self, s: WsSession, message: Union[str, bytes]) -> None:
        """Tell all of its world."""
        s.user.tell(message)

    def writable(self, s: WsSession) -> None:
        """It was slow, and has caught up."""
        s.user.caught_up(s)

    def timer(self, s: Any) -> None:
        """It was slow for too long."""
        s.close(TRY_AGAIN_LATER, "too slow for this mirror")

    def closed(self, s: WsSession, code: int, reason: str) -> None:
        """It is gone, and its world with the last one."""
        world = s.user
        if world is not None:
            world.leave(s)
            if not world.members:
                del self._worlds[world.name]
