"""Reverse proxy: mounts behind which stands another server, the origin, or several of the same kind.

    ProxyHandler        one for each mount: what is the same for all its requests, and which origin is next
    Passage             one for each request (passage.py): to the origin, and back with its answer

Each origin has its pool of kept connections.  They take turns; one that could not be connected to is left out
for a while, unless that holds for all.

What goes to the origin is said by wire/forwarding.py, where it goes by wire/origin_paths.py, and what is
changed in the answer by proxy_answer.py.
"""

from __future__ import annotations

import functools
from typing import Callable, Dict, List, Sequence, Tuple

from lwsws.config.model import MountConfig
from lwsws.config.origin import DEFAULT_PORTS, Origin
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.core.peers import UNIX_PEER
from lwsws.handlers.passage import Passage
from lwsws.handlers.redirect import redirect, slash_location
from lwsws.net.pool import Pool
from lwsws.wire.forwarding import Hop, loops, request_fields, request_head
from lwsws.wire.headers import accepted_codings, tokens
from lwsws.wire.origin_paths import OriginPaths
from lwsws.wire.request import METHODS

# A request that went through so many servers like this one is going round in circles.
MAX_LOOPS = 10

# Codings that we can undo, for what we may have to rewrite.
REWRITABLE_CODINGS = ("gzip", "deflate", "identity")

# Methods for which a request without a body says so (RFC 9110 8.6).
METHODS_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))

# Peers whose trust is remembered; asking anew takes 20 us.
MAX_KNOWN_PEERS = 1024

Field = Tuple[str, str]


class ProxyHandler(Handler):
    """Passes the requests of one mount on."""

    is_live = True

    def __init__(self, mount: MountConfig, pools: Sequence[Pool], paths: OriginPaths) -> None:
        """`pools` are those of the origins of `mount`, in their order."""
        origins = (mount.origin, *mount.more_origins)
        self.pools = tuple(pools)
        self.paths = paths
        self.connect_seconds = float(mount.proxy_connect_timeout)
        self.first_seconds = float(mount.proxy_timeout)
        self.idle_seconds = float(mount.proxy_idle_timeout)
        self.rewrites = mount.proxy_rewrite_links and not _is_the_same(mount)
        self._hosts: Dict[Pool, str] = {pool: host_of(origin) for pool, origin in zip(pools, origins)}
        self._keeps_host = mount.proxy_keep_host
        self._is_trusted = peers_among(mount.proxy_forwarded_from)
        self._adds_slash = mount.origin.location.endswith("/") and not mount.exact_match
        self._next = 0

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """WebSockets are the origin's."""
        return True

    def begin(self, exchange: Exchange) -> None:
        """Send the request to an origin; HttpError for what goes to none."""
        request = exchange.request
        if request.method == "TRACE":
            allowed = ", ".join(sorted(METHODS - {"TRACE"}))
            raise HttpError(405, "TRACE is not passed on", [("Allow", allowed)])
        if loops(request.headers) > MAX_LOOPS:
            raise HttpError(508, "this request has come through here before, again and again")
        upgrade = self._upgrade(exchange)
        if self._adds_slash and not exchange.rest and not upgrade and request.method in ("GET", "HEAD"):
            # As in the original; else relative links in the page would lead past the mount.
            redirect(exchange, slash_location(exchange))
            return
        Passage(self, exchange, upgrade).begin()

    def next_pool(self, now: float, tried: Sequence[Pool]) -> Pool:
        """The pool whose turn it is at the time `now`; none of those `tried`, which must not be all."""
        pools = self.pools
        if len(pools) == 1:
            return pools[0]
        left = [pool for pool in pools if pool not in tried]
        up = [pool for pool in left if pool.down_until <= now] or left
        self._next += 1
        return up[self._next % len(up)]

    def head(self, exchange: Exchange, pool: Pool, upgrade: str) -> bytes:
        """The head of the request for the origin of `pool`, with the wish to `upgrade` if that is not ""."""
        request = exchange.request
        peer = exchange.peer
        hop = Hop(peer, exchange.secure, request.host, self._is_trusted(peer), request.version)
        host = request.host if self._keeps_host and request.host else self._hosts[pool]
        fields: List[Field] = [("Host", host)]
        fields += request_fields(request.headers, hop)
        if self.rewrites and "accept-encoding" in request.headers.table:
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

    @staticmethod
    def _upgrade(exchange: Exchange) -> str:
        """The protocols that the client asks to change to, as for Upgrade; "" for none."""
        request = exchange.request
        asked = request.headers.get("upgrade")
        # RFC 9110 7.8: MUST ignore an Upgrade in HTTP/1.0, and one that Connection does not name.
        if asked is None or request.version == "1.0" or request.has_body:
            return ""
        if "upgrade" not in tokens(request.headers.get("connection") or ""):
            return ""
        if exchange.mount is not None and exchange.mount.no_ws_upgrades:
            return ""
        # h2c would take all further requests past us (LESSONS 3.11); so would another version of TLS or HTTP.
        return ", ".join(name for name in tokens(asked) if not name.startswith(("h2c", "tls", "http")))


def _is_the_same(mount: MountConfig) -> bool:
    """Whether the origin believes to be at our place, so that its links are right as they are."""
    return mount.mountpoint == "/" and mount.origin.location == "/" and mount.proxy_keep_host


def host_of(origin: Origin) -> str:
    """The Host of `origin` (RFC 9110 7.2), with the port unless it is that of the scheme."""
    if origin.socket:
        return "localhost"
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == DEFAULT_PORTS[origin.scheme] else f"{host}:{origin.port}"


@functools.lru_cache(maxsize=64)
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

    @functools.lru_cache(maxsize=MAX_KNOWN_PEERS)
    def is_listed(peer: str) -> bool:
        if peer == UNIX_PEER:
            return UNIX_PEER in listed
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in networks)

    return is_listed
