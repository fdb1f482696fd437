"""The challenges that are up, for all that asks: the CA does, at any process of the server.

They stand in the files of state, where the process that has an order under way puts them and each process
finds them.  So it does not matter which one a connection of the CA reaches, nor whether a reload happens
meanwhile.  The files are short, and only looked at when somebody asks for a challenge.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Iterable, Iterator, Optional, Tuple

from lwsws import log
from lwsws.acme.state import Shown
from lwsws.acme.store import Store
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.core.routing import Routes
from lwsws.net.tls import ServerSettings, server_context
from lwsws.net.tls_files import PemFiles, TlsError
from lwsws.wire.acme import HTTP_01, TLS_ALPN_01
from lwsws.wire.client_hello import ACME_ALPN

if TYPE_CHECKING:
    from ssl import SSLContext

# RFC 8555 8.3
WELL_KNOWN = "/.well-known/acme-challenge"

_PEM = "challenge"


class Board:
    """The challenges of all certificates that this server has to have."""

    def __init__(self, stores: Iterable[Store]) -> None:
        self._stores = tuple(stores)
        self._context: Optional[Tuple[str, SSLContext]] = None     # the last one, with its PEM

    def _up(self, kind: str) -> Iterator[Shown]:
        for store in self._stores:
            shown = store.read_state().shown
            if shown is not None and shown.challenge.kind == kind:
                yield shown

    def authorization(self, token: str) -> str:
        """What to answer a CA that asks for `token` by http-01; "" if that is none."""
        for shown in self._up(HTTP_01):
            if hmac.compare_digest(shown.challenge.token.encode("ascii"), token.encode("utf-8")):
                return shown.challenge.authorization
        return ""

    def context(self, server_name: str) -> Optional[SSLContext]:
        """How to answer a CA that asks for `server_name` by tls-alpn-01; None if it has no reason to."""
        for shown in self._up(TLS_ALPN_01):
            if shown.challenge.name == server_name:
                return self._make_context(shown)
        return None

    def _make_context(self, shown: Shown) -> Optional[SSLContext]:
        if self._context is None or self._context[0] != shown.pem:
            pem = shown.pem.encode("ascii", "replace")
            try:
                context = server_context(ServerSettings(_PEM, _PEM, alpn=ACME_ALPN),
                                         PemFiles(lambda path, most: pem))
            except TlsError as error:
                log.warn(f"acme: {shown.challenge.name}: the challenge cannot be shown: {error}")
                return None
            self._context = shown.pem, context
        return self._context[1]


class ChallengeHandler(Handler):
    """Answers http-01 challenges (RFC 8555 8.3) before any mount of the vhost; all other requests go on to
    the mount that they would have met without it."""

    is_live = True

    def __init__(self, board: Board, routes: Routes) -> None:
        """`routes` are those of the vhost without this."""
        self._board = board
        self._routes = routes

    def begin(self, exchange: Exchange) -> None:
        """Show the authorization; HttpError as of the mount."""
        token = exchange.rest.removeprefix("/")
        if exchange.request.method in ("GET", "HEAD") and token:
            text = self._board.authorization(token)
            if text:
                log.info(f"acme: {exchange.conn.peer} has asked for the challenge of "
                         f"{exchange.request.host_name or 'no name'}")
                kind = ("Content-Type", "application/octet-stream")
                exchange.respond(200, [kind], text.encode("ascii"))
                return
        mount = self._routes.match(exchange.path)
        if mount is None:
            raise HttpError(404)
        exchange.enter(mount)
        mount.handler.begin(exchange)

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """As the mount below would."""
        mount = self._routes.match(exchange.path)
        return mount is not None and mount.handler.takes_upgrade(exchange)
