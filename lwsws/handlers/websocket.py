"""Opening WebSockets: which protocol a client gets, and whether it may have it (RFC 6455 4.2; spec "Lwsws
Protocols").

One handler for each vhost that has protocols.  A client that names subprotocols gets the first of its list
that is offered here; one that names none gets the protocol with `"default": "1"`, else the first one that
speaks WebSocket, unless `disable-no-protocol-ws-upgrades` refuses it.  Then the origin is looked at, the
password is asked for, and the plugin's own filter has the last word.  All refusals are plain http answers
that say why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Tuple

from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.core.options import OptionError, Options
from lwsws.core.plugincall import ask_plugin
from lwsws.core.protocol import Protocol
from lwsws.core.session import ProtocolVhost
from lwsws.roles.websocket import Opening, WebSocketRole
from lwsws.wire.ws_connection import WsConnection, WsLimits
from lwsws.wire.ws_deflate import Deflate
from lwsws.wire.ws_handshake import (
    HandshakeRefused,
    check_upgrade,
    negotiate_deflate,
    offered_subprotocols,
    origin_allowed,
    response_fields,
)

if TYPE_CHECKING:
    from lwsws.handlers.passwordfile import PasswordFile

DEFAULT_PORTS = {False: 80, True: 443}

# In allowed-origins: the pages of the very host and port that the client asks.
OWN_ORIGIN = "self"


class Offer(NamedTuple):
    """One protocol as clients may have it: limits, whether messages may be compressed, whose pages may
    connect (empty: all), and the password file (None: for everybody)."""

    protocol: Protocol
    limits: WsLimits = WsLimits()
    deflate: bool = True
    origins: Tuple[str, ...] = ()
    password_file: Optional[PasswordFile] = None

    def allowed(self, host: str) -> List[str]:
        """The origins whose pages may connect to `host`, the Host field: "self" stands for its own pages,
        which come by https where a proxy in front of this server ends TLS."""
        found = [origin for origin in self.origins if origin != OWN_ORIGIN]
        if OWN_ORIGIN in self.origins:
            found += [f"{scheme}://{host}" for scheme in ("http", "https")]
        return found


class WebSocketHandler(Handler):
    """Opens the WebSockets of one vhost."""

    def __init__(self, vhost: ProtocolVhost, ping_seconds: float, refuse_unnamed: bool = False,
                 strict_host: bool = False) -> None:
        self.vhost = vhost
        self.ping_seconds = ping_seconds
        self.refuse_unnamed = refuse_unnamed
        self.strict_host = strict_host
        # Filled once the plugins are loaded.
        self.offers: Dict[str, Offer] = {}
        self.default: Optional[Offer] = None
        self.has_marked_default = False

    def begin(self, exchange: Exchange) -> None:
        """Open a WebSocket, or say why not."""
        request = exchange.request
        try:
            accept = check_upgrade(request)
            if self.strict_host and (request.host_port or DEFAULT_PORTS[exchange.secure]) != self.vhost.port:
                raise HttpError(421, "no site of this name and port here")
            offer, subprotocol = self._choose(exchange)
            origin = request.headers.get("origin")
            if offer.origins and not origin_allowed(origin, offer.allowed(request.host)):
                raise HttpError(403, "pages of this origin may not connect")
            params = negotiate_deflate(request) if offer.deflate else None
        except HandshakeRefused as refused:
            raise HttpError(refused.status, refused.why, refused.fields) from None
        deflate = None if params is None else Deflate(params)
        opener = Opener(offer, subprotocol, response_fields(accept, subprotocol, params), deflate,
                        self.ping_seconds)
        handler: Handler = opener
        if offer.password_file is not None:
            # Imported here: most servers have no use for it.
            from lwsws.handlers.basicauth import BasicAuthHandler
            handler = BasicAuthHandler(offer.password_file, opener)
        handler.begin(exchange)

    def _choose(self, exchange: Exchange) -> Tuple[Offer, str]:
        """The protocol for a client, and the subprotocol to tell it; HttpError if there is none."""
        names = offered_subprotocols(exchange.request)
        for name in names:
            if name in self.offers:
                return self.offers[name], name
        if names:
            raise HttpError(400, "none of the subprotocols asked for is offered here")
        if self.refuse_unnamed:
            raise HttpError(400, "a WebSocket has to name a subprotocol here")
        if self.default is None:
            raise HttpError(404, "no WebSocket protocol is offered here")
        return self.default, ""


class Opener(Handler):
    """Opens one WebSocket, once the client has shown who it is."""

    def __init__(self, offer: Offer, subprotocol: str, fields: List[Tuple[str, str]],
                 deflate: Optional[Deflate], ping_seconds: float) -> None:
        self.offer = offer
        self.subprotocol = subprotocol
        self.fields = fields
        self.deflate = deflate
        self.ping_seconds = ping_seconds

    def begin(self, exchange: Exchange) -> None:
        """Ask the plugin, then let the connection be a WebSocket."""
        request, protocol = exchange.request, self.offer.protocol
        sound, may = ask_plugin(f"conn {exchange.conn.ident}", protocol.filter_upgrade, request)
        if not sound:
            raise HttpError(500)
        if not may:
            raise HttpError(403, "the protocol does not accept this client")
        exchange.vhost.counts.upgrades += 1
        opening = Opening(request.raw, exchange.user or "", self.subprotocol, exchange.secure,
                          self.ping_seconds)
        ws = WsConnection(self.offer.limits, self.deflate, protocol.fragments)
        exchange.upgrade(self.fields, WebSocketRole(protocol, ws, opening))


def speaks_websocket(protocol: Protocol) -> bool:
    """Whether `protocol` has any of the methods for WebSockets."""
    kind = type(protocol)
    return (kind.established is not Protocol.established or kind.receive is not Protocol.receive
            or kind.receive_fragment is not Protocol.receive_fragment
            or kind.writable is not Protocol.writable)


def read_limits(protocol: Protocol, options: Options) -> WsLimits:
    """The limits of a protocol by its options; a value that was complained of does not count."""
    usual = WsLimits(message=protocol.max_message)
    try:
        return WsLimits(options.number("max-message", usual.message, low=1),
                        options.number("max-fragments", usual.fragments, low=1))
    except OptionError:
        return usual
