"""Asking a site for a WebSocket, before a real reactor (tests/support/peer.py)."""

from __future__ import annotations

from typing import Dict, Optional

from tests.support.peer import Answer, Peer

# That of the example in RFC 6455 1.3.
ACCEPT_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ORDINARY = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade",
            "Sec-WebSocket-Key": ACCEPT_KEY, "Sec-WebSocket-Version": "13"}
# The same as a request.
UPGRADE = "".join(["GET / HTTP/1.1\r\n", *[f"{name}: {value}\r\n" for name, value in ORDINARY.items()],
                   "\r\n"]).encode()


def asked(peer: Peer, target: str = "/", line: str = "GET {} HTTP/1.1", **fields: Optional[str]) -> Answer:
    """The answer to a request for a WebSocket with these fields beside the ordinary ones, `_` for `-`; None
    leaves one out."""
    wanted: Dict[str, Optional[str]] = dict(ORDINARY)
    wanted.update({key.replace("_", "-"): value for key, value in fields.items()})
    lines = [f"{name}: {value}" for name, value in wanted.items() if value is not None]
    return peer.ask("\n".join([line.format(target), *lines]))
