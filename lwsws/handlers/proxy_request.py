"""The heads of the requests that a proxy mount sends, and whose word on them counts.

What an origin is told depends on the bytes of the client's request and on who sends them.  Most requests to a
busy site are the same few bytes again and again, so the heads of those that were made are remembered.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence, Tuple

from lwsws.config.model import MountConfig
from lwsws.config.origin import DEFAULT_PORTS, Origin
from lwsws.core.exchange import Exchange
from lwsws.core.peers import UNIX_PEER
from lwsws.net.pool import Pool
from lwsws.wire.forwarding import Hop, request_fields, request_head
from lwsws.wire.headers import accepted_codings, tokens
from lwsws.wire.origin_paths import OriginPaths
from lwsws.wire.request import Request

# Codings that we can undo, for what we may have to rewrite.
REWRITABLE_CODINGS = ("gzip", "deflate", "identity")
# Methods for which a request without a body says so (RFC 9110 8.6).
METHODS_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))

# What is remembered for each mount: 4 MB at most.  Then all is forgotten, which costs nothing.
MAX_KNOWN = 512
MAX_KNOWN_BYTES = 2048
# Peers whose trust is remembered; asking anew takes 20 us.
MAX_KNOWN_PEERS = 1024

Field = Tuple[str, str]


class RequestHeads:
    """What turns requests of clients into those for the origins of one mount."""

    __slots__ = ("paths", "keeps_host", "_rewrites", "_hosts", "_is_trusted", "_known")

    def __init__(self, mount: MountConfig, pools: Sequence[Pool], paths: OriginPaths, rewrites: bool) -> None:
        """`pools` are those of the origins of `mount`, in their order; `rewrites` says that pages are."""
        origins = (mount.origin, *mount.more_origins)
        self.paths = paths
        self.keeps_host = mount.proxy_keep_host
        self._rewrites = rewrites
        self._hosts: Dict[Pool, str] = {pool: host_of(origin) for pool, origin in zip(pools, origins)}
        self._is_trusted = peers_among(mount.proxy_forwarded_from)
        self._known: Dict[Tuple[bytes, str, bool, Pool], bytes] = {}

    def head(self, exchange: Exchange, pool: Pool, upgrade: str) -> bytes:
        """The head for the origin of `pool`, with the wish to `upgrade` if that is not ""."""
        request = exchange.request
        key = (request.raw, exchange.conn.peer, exchange.secure, pool)
        head = self._known.get(key)
        if head is None:
            head = self._made(exchange, pool, upgrade)
            if len(request.raw) <= MAX_KNOWN_BYTES and request is exchange.asked and request.raw:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[key] = head
        return head

    def _made(self, exchange: Exchange, pool: Pool, upgrade: str) -> bytes:
        request = exchange.request
        peer = exchange.peer
        hop = Hop(peer, exchange.secure, request.host, self._is_trusted(peer), request.version)
        fields: List[Field] = [("Host", self.kept_host(request) or self._hosts[pool])]
        fields += request_fields(request.headers, hop)
        if exchange.user is not None:
            # It was for the password file of the mount, and is no business of the origin.
            fields = [field for field in fields if field[0].lower() != "authorization"]
        if self._rewrites and "accept-encoding" in request.headers.table:
            fields = [("Accept-Encoding", rewritable_codings(value)) if name.lower() == "accept-encoding"
                      else (name, value) for name, value in fields]
        if request.chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        elif request.content_length or request.method in METHODS_WITH_BODY:
            fields.append(("Content-Length", str(request.content_length)))
        if upgrade:
            # RFC 9110 7.8: who sends Upgrade also sends Connection: upgrade.
            fields += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
        return request_head(request.method, self.paths.target(exchange.rest, request.query), fields)

    def kept_host(self, request: Request) -> str:
        """The Host of the client, if that is what the origin is sent; else ""."""
        return request.host if self.keeps_host else ""


def wanted_upgrade(request: Request) -> str:
    """The protocols that the client asks to change to, as for Upgrade; "" for none."""
    asked = request.headers.table.get("upgrade")
    # RFC 9110 7.8: MUST ignore an Upgrade in HTTP/1.0, and one that Connection does not name.
    if asked is None or request.version == "1.0" or request.has_body:
        return ""
    if "upgrade" not in tokens(request.headers.get("connection") or ""):
        return ""
    # h2c would take all further requests past us (LESSONS 3.11); so would another version of TLS or HTTP.
    return ", ".join(name for name in tokens(asked) if not name.startswith(("h2c", "tls", "http")))


def host_of(origin: Origin) -> str:
    """The Host of `origin` (RFC 9110 7.2), with the port unless it is that of the scheme."""
    if origin.socket:
        return "localhost"
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == DEFAULT_PORTS[origin.scheme] else f"{host}:{origin.port}"


def rewritable_codings(accepted: str) -> str:
    """Of an Accept-Encoding the codings that we can undo."""
    codings = accepted_codings(accepted)
    if "*" in codings:
        codings.setdefault("gzip", codings["*"])
    kept = [f"{name};q={codings[name]:g}" if codings[name] < 1 else name
            for name in REWRITABLE_CODINGS if name in codings]
    return ", ".join(kept) or "identity"


def peers_among(listed: Sequence[str]) -> Callable[[str], bool]:
    """Whether a peer is one of the `listed` addresses and networks, UNIX_PEER for all on unix sockets."""
    if not listed:
        return lambda peer: False
    # A rare key, and ipaddress takes longer to import than a configuration to load.
    from ipaddress import ip_address, ip_network
    networks = [ip_network(text, strict=False) for text in listed if text != UNIX_PEER]
    known = {UNIX_PEER: UNIX_PEER in listed}

    def is_listed(peer: str) -> bool:
        found = known.get(peer)
        if found is None:
            try:
                address = ip_address(peer.partition("%")[0])
                found = any(address in network for network in networks)
            except ValueError:
                found = False
            if len(known) < MAX_KNOWN_PEERS:
                known[peer] = found
        return found

    return is_listed
