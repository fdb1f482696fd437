"""The handler of mounts whose kind of origin this version does not serve yet.

The mount is part of a valid configuration, so the rest of the site is served; requests to it get
501 and a sentence that says why, and start-up has warned with file and line.
"""

from __future__ import annotations

from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler


class UnavailableHandler(Handler):
    """Answers 501 for origins of `kind` (cgi, proxy)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """A proxy would pass WebSockets on."""
        return self.kind == "proxy"

    def begin(self, exchange: Exchange) -> None:
        """Refuse."""
        raise HttpError(501, f"{self.kind} mounts are not served by this version")
