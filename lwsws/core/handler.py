"""Handler: what answers the exchanges of one mount.

A handler is made once, when the server is built, and has no state of a single exchange: what
belongs to one exchange (a file being sent, a program running) hangs on the exchange as its consumer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lwsws.core.exchange import Exchange


class Handler:
    """Base of all handlers."""

    is_live = False
    """Whether each answer is a new one, so that only the way to this handler may be remembered."""

    def begin(self, exchange: Exchange) -> None:
        """Answer `exchange`, now or later; HttpError says what to answer instead."""
        raise NotImplementedError

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """Whether the request for a WebSocket is this mount's to answer; if not, the protocols of the vhost
        are asked."""
        return False

    def serve_document(self, exchange: Exchange, path: str, status: int) -> bool:
        """Answer `exchange` with the document at `path` under `status`, as `error-document-404`
        asks for; False if this mount has no such document."""
        return False
