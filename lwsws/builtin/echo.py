"""lws-echo: sends back what comes, WebSocket messages as well as the bytes of raw connections.

A text message comes back as text, a binary one as binary, each in one piece.  While a client does not read
what comes back, nothing more is read from it.
"""

from __future__ import annotations

from typing import Union

from lwsws.plugin import Protocol, RawSession, WsSession


class Echo(Protocol):
    """An echo."""

    name = "lws-echo"

    def receive(self, s: WsSession, message: Union[str, bytes]) -> None:
        """Send it back."""
        s.send(message)

    def raw_receive(self, s: RawSession, data: bytes) -> None:
        """Send it back.  When the client has sent its end, the base flushes and closes."""
        s.write(data)
