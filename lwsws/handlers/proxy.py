"""Reverse proxy: mounts behind which stands another server, the origin, or several of the same kind.

    ProxyHandler        one for each mount: what is the same for all its requests, and which origin is next
    Passage             one for each request: to an origin, and back with its answer (passage.py)

Each origin has its pool of kept connections.  They take turns; one that could not be connected to is left out
for a while, unless that holds for all.

What goes to the origin is made by proxy_request.py, what goes to the client by proxy_answer.py; both remember
the heads that they have made.
"""

from __future__ import annotations

from typing import Sequence

from lwsws import log
from lwsws.config.model import MountConfig
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.handlers.passage import Passage
from lwsws.handlers.proxy_answer import KnownAnswers
from lwsws.handlers.proxy_request import RequestHeads, wanted_upgrade
from lwsws.handlers.redirect import redirect, slash_location
from lwsws.net.pool import Pool
from lwsws.wire.forwarding import loops
from lwsws.wire.origin_paths import OriginPaths
from lwsws.wire.request import METHODS

# A request that went through so many servers like this one is going round in circles.
MAX_LOOPS = 10


class ProxyHandler(Handler):
    """Passes the requests of one mount on."""

    is_live = True

    def __init__(self, mount: MountConfig, pools: Sequence[Pool], paths: OriginPaths) -> None:
        """`pools` are those of the origins of `mount`, in their order."""
        self.pools = tuple(pools)
        self.paths = paths
        self.connect_seconds = float(mount.proxy_connect_timeout)
        self.first_seconds = float(mount.proxy_timeout)
        self.idle_seconds = float(mount.proxy_idle_timeout)
        self.rewrites = mount.proxy_rewrite_links and not _is_the_same(mount)
        self.requests = RequestHeads(mount, pools, paths, self.rewrites)
        self.answers = KnownAnswers()
        self._adds_slash = mount.origin.location.endswith("/") and not mount.exact_match
        self._next = 0

    def takes_upgrade(self, exchange: Exchange) -> bool:
        """WebSockets are the origin's."""
        return True

    def begin(self, exchange: Exchange) -> None:
        """Send the request to an origin; HttpError for what goes to none."""
        request = exchange.request
        table = request.headers.table
        upgrade = ""
        if "upgrade" in table and exchange.mount is not None and not exchange.mount.no_ws_upgrades:
            upgrade = wanted_upgrade(request)
        if request.method == "TRACE":
            allowed = ", ".join(sorted(METHODS - {"TRACE"}))
            raise HttpError(405, "TRACE is not passed on", [("Allow", allowed)])
        if "via" in table and loops(request.headers) > MAX_LOOPS:
            log.warn(f"conn {exchange.conn.ident}: proxy: {exchange.path!a} goes round in circles")
            raise HttpError(508, "this request has come through here before, again and again")
        if not exchange.rest and self._adds_slash and not upgrade and request.method in ("GET", "HEAD"):
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


def _is_the_same(mount: MountConfig) -> bool:
    """Whether the origin believes to be at our place, so that its links are right as they are."""
    return mount.mountpoint == "/" and mount.origin.location == "/" and mount.proxy_keep_host
