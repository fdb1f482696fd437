"""Vhosts: one named site each, and the set of them that shares a listening address.

A request finds its vhost in `VhostSet` by the name in its Host field, and its mount in the
vhost's routes.  All that is constant for the answers of a mount (Server, the configured headers,
Strict-Transport-Security) is serialized once, here.

Under TLS the server name has chosen a vhost already, with its certificate and its demand for one of
the client: the set is `bound` to it, and a Host that names another one is refused (LESSONS 3.24).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, FrozenSet, List, Optional, Sequence, Tuple

from lwsws.core.answers import Answers
from lwsws.wire.http1_write import fixed_fields

if TYPE_CHECKING:
    from lwsws.core.accesslog import AccessLog
    from lwsws.core.handler import Handler
    from lwsws.core.routing import Routes
    from lwsws.net.tls import ServerTls

Fields = Sequence[Tuple[str, str]]

# What the original sends for "sts": half a year.
STS_FIELD = ("Strict-Transport-Security", "max-age=15768000 ; includeSubDomains")

# Only the exchange decides on these; a configured header of such a name would break the framing.
FRAMING_FIELDS = frozenset(("connection", "content-length", "date", "transfer-encoding"))

# The fields that handlers of ours send: a configured header of such a name replaces theirs.
HANDLER_FIELDS = frozenset(("accept-ranges", "cache-control", "content-encoding", "content-type", "etag",
                            "last-modified", "location", "retry-after", "vary", "www-authenticate"))

# Longest name (RFC 1035 2.3.4) for which parent domains are searched.
MAX_NAME = 255


class HeaderSet:
    """The constant fields of an answer: `fixed` as bytes, all their `names` in lower case, and those that our
    own handlers must not repeat."""

    __slots__ = ("fixed", "replaces", "names", "fields")

    def __init__(self, *groups: Fields) -> None:
        """Later groups win over earlier ones by name; a name repeated within one group is kept."""
        kept: List[Tuple[str, str]] = []
        for group in groups:
            names = {name.lower() for name, _ in group}
            kept = [field for field in kept if field[0].lower() not in names]
            kept.extend(field for field in group if field[0].lower() not in FRAMING_FIELDS)
        self.fields = tuple(kept)
        self.fixed = fixed_fields(kept)
        self.names: FrozenSet[str] = frozenset(name.lower() for name, _ in kept)
        self.replaces: FrozenSet[str] = HANDLER_FIELDS & self.names


class Counts:
    """What a vhost, or a process, has done so far: bytes received and sent on connections that have closed,
    connections and requests, WebSockets opened, and requests that broke the rules or met a refused word."""

    __slots__ = ("rx", "tx", "connections", "requests", "upgrades", "rejected")

    def __init__(self) -> None:
        self.rx = self.tx = self.connections = self.requests = self.upgrades = self.rejected = 0


class MountPoint:
    """One mount of a vhost, ready to answer: `prefix` is "" for the root, else "/two"."""

    __slots__ = ("prefix", "exact", "handler", "headers", "keepalive", "max_body", "origin", "no_ws_upgrades")

    def __init__(self, prefix: str, handler: Handler, headers: HeaderSet, keepalive: float, max_body: int,
                 exact: bool = False, origin: str = "") -> None:
        self.prefix = prefix
        self.handler = handler
        self.headers = headers
        self.keepalive = keepalive
        self.max_body = max_body
        self.exact = exact
        self.origin = origin
        self.no_ws_upgrades = False


class Vhost:
    """One site: its lower-case name, its routes and what its answers have in common."""

    __slots__ = ("name", "routes", "headers", "keepalive", "max_body", "access_log", "error_document",
                 "strict_host", "tls", "allow_sni_mismatch", "upgrades", "counts")

    def __init__(self, name: str, routes: Routes, headers: HeaderSet, keepalive: float, max_body: int,
                 access_log: Optional[AccessLog] = None, error_document: str = "",
                 strict_host: bool = False) -> None:
        self.name = name
        self.routes = routes
        self.headers = headers
        self.keepalive = keepalive
        self.max_body = max_body
        self.access_log = access_log
        self.error_document = error_document
        self.strict_host = strict_host
        self.tls: Optional[ServerTls] = None
        # Requests over TLS may reach it though the server name chose another vhost.
        self.allow_sni_mismatch = False
        # What opens WebSockets; None: the vhost has no protocols.
        self.upgrades: Optional[Handler] = None
        self.counts = Counts()

    @property
    def demands_certificate(self) -> bool:
        """Whether clients must show a certificate."""
        return self.tls is not None and self.tls.settings.client_certificates


class VhostSet:
    """The vhosts that share one listening address, as one kind of connection meets them.

    The first one answers for unknown names; over TLS, the one that the set is `bound` to.
    """

    __slots__ = ("default", "answers", "bound", "secure", "_by_name", "vhosts")

    def __init__(self, vhosts: Sequence[Vhost], answers: Answers) -> None:
        self.vhosts = tuple(vhosts)
        self.default = self.vhosts[0]
        self.answers = answers
        self.bound: Optional[Vhost] = None
        self.secure = False
        self._by_name = {vhost.name: vhost for vhost in reversed(self.vhosts)}

    def bound_to(self, vhost: Vhost, answers: Answers) -> VhostSet:
        """The same vhosts, bound to one of them; thousands of such sets share the index of names."""
        other = VhostSet.__new__(VhostSet)
        other.vhosts, other._by_name = self.vhosts, self._by_name
        other.default = other.bound = vhost
        other.answers = answers
        other.secure = True
        return other

    def choose(self, name: str) -> Tuple[Vhost, bool]:
        """The vhost that answers a request whose Host is `name` (lower case, "" for none), and whether it
        answers with 421 because the request is not for this connection (RFC 9110 15.5.20)."""
        named = self.find(name) if name else None
        if named is None:
            return self.default, self.default.strict_host
        bound = self.bound
        if bound is None or named is bound:
            return named, False
        if named.allow_sni_mismatch and not named.demands_certificate and not bound.demands_certificate:
            return named, False
        return bound, True

    def find(self, name: str) -> Optional[Vhost]:
        """The vhost called `name` (lower case), or the one it is a subdomain of: as in the original,
        `www.b.test` finds `b.test`.  None if there is neither."""
        vhost = self._by_name.get(name)
        if vhost is not None or len(name) > MAX_NAME:
            return vhost
        while "." in name:
            name = name.partition(".")[2]
            vhost = self._by_name.get(name)
            if vhost is not None:
                return vhost
        return None
