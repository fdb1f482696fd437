"""The handler of mounts that cannot be served as they are configured.

The mount is part of a valid configuration, so the rest of the site is served; requests to it get an error and
a sentence that says why, and start-up has warned with file and line.
"""

from __future__ import annotations

from lwsws import log
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler


class UnavailableHandler(Handler):
    """Answers with `status` because of `why`, also who asks for a WebSocket."""

    def __init__(self, why: str, status: int = 501) -> None:
        self._why = why
        self._status = status

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """A proxy would pass WebSockets on."""
        return True

    def begin(self, exchange: Exchange) -> None:
        """Refuse."""
        log.info(f"conn {exchange.conn.ident}: {self._status}: {self._why}")
        raise HttpError(self._status, self._why)
