"""lws-status: tells all its clients who they are: address, time of arrival and User-Agent, newest first.

Everybody gets the whole list whenever somebody comes or goes, so a crowd that arrives would be expensive.
Therefore the list shows the newest clients only, is made once for all receivers, and is sent again only when
PAUSE_SECONDS have passed, and longer if there is so much to send that it would exceed SPEED.
"""

from __future__ import annotations

import json
import os
import time
from typing import Dict, Optional

from lwsws.plugin import PreparedMessage, Protocol, WsSession

SHOWN = 200             # clients in the list; their number counts them all
MAX_USER_AGENT = 200
PAUSE_SECONDS = 0.1
SPEED = 16 << 20        # bytes a second, to all clients together


class Status(Protocol):
    """Its clients are not expected to say anything."""

    name = "lws-status"
    fragments = True    # so that what they say is dropped as it comes

    def __init__(self) -> None:
        # Each client with what the list says of it, the newest one last.
        self._clients: Dict[WsSession, str] = {}
        self._message: Optional[PreparedMessage] = None
        self._is_stale = False
        self._is_pausing = False

    def established(self, s: WsSession) -> None:
        """One more."""
        user_agent = s.request.headers.get("user-agent") or ""
        self._clients[s] = (f'{{"peer":{json.dumps(s.peer)},"time":"{int(time.time())}",'
                            f'"ua":{json.dumps(user_agent[:MAX_USER_AGENT], ensure_ascii=False)}}}')
        self._change()

    def writable(self, s: WsSession) -> None:
        """Send the list as it was when it was made last."""
        if self._message is not None:
            s.send(self._message)

    def closed(self, s: WsSession, code: int, reason: str) -> None:
        """One less."""
        self._clients.pop(s, None)
        self._change()

    def _change(self) -> None:
        self._is_stale = True
        if not self._is_pausing:
            self._publish()

    def _publish(self) -> None:
        """Make the list and offer it to all, if it has changed; then pause."""
        self._is_pausing = False
        if not self._is_stale or not self._clients:
            return
        self._is_stale = False
        text = self._text()
        self._message = PreparedMessage(text)
        for s in self._clients:
            s.request_writable()
        seconds = max(PAUSE_SECONDS, len(text) * len(self._clients) / SPEED)
        self._is_pausing = True
        self.server.call_later(seconds, self._publish)

    def _text(self) -> str:
        newest = [entry for entry, _ in zip(reversed(self._clients.values()), range(SHOWN))]
        return (f'{{ "version":{json.dumps(self.server.version)}, "wss_over_h2":"0", '
                f'"hostname":{json.dumps(os.uname().nodename)}, "wsi":"{len(self._clients)}", '
                f'"conns":[{",".join(newest)}]}}')
