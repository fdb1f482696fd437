"""What the connections of each listening address may become: from the vhosts that share it to a `Gate`.

    plain port                          http
    plain port, apply-listen-accept     the raw role of the first vhost, for all
    plain port, fallback-listen-accept  http or, for what is none, the raw role
    TLS port                            by server name: the vhost's own http set, or its raw role
      allow-non-tls with ...            plain http, redirects to https, or the raw role beside that

What can only be one for the whole address comes from its first vhost (the peers of the PROXY protocol), or
from the first that has it (the fallback); what can be told by name holds for each vhost: plain http on a TLS
port serves those alone that allow it, and never one that demands certificates.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from lwsws.config.model import VhostConfig
from lwsws.core.answers import Answers
from lwsws.core.handler import Handler
from lwsws.core.peers import UNIX_PEER, peer_name
from lwsws.core.role import Role, RoleFactory
from lwsws.core.routing import Routes
from lwsws.core.vhost import STS_FIELD, HeaderSet, MountPoint, Vhost, VhostSet
from lwsws.handlers.redirect import HttpsOnlyHandler, HttpsRedirectHandler
from lwsws.roles.http import HttpRole

if TYPE_CHECKING:
    from ssl import SSLContext

    from lwsws.roles.sniff import SecureSites

# The context for a server name that a CA asks for by tls-alpn-01; None if there is no challenge for it.
Challenged = Callable[[str], "Optional[SSLContext]"]
MakeAnswers = Callable[[], Answers]

STS_NAME = STS_FIELD[0].lower()


class Served(NamedTuple):
    """One vhost of an address: as configured, as built, the same for plain http on a TLS port, and what makes
    its raw role (None: it has none)."""

    config: VhostConfig
    vhost: Vhost
    in_the_clear: Vhost
    raw: Optional[RoleFactory]


class Reception(NamedTuple):
    """How one listening address receives: the first role of a connection by the peer's address, and the sets
    of vhosts that requests can meet: in the clear (None: nowhere), and over TLS one for each vhost."""

    first_role: Callable[[Any], Role]
    plain: Optional[VhostSet] = None
    secure: Tuple[VhostSet, ...] = ()
    sites: Optional[SecureSites] = None
    has_fallback: bool = False

    @property
    def sets(self) -> List[VhostSet]:
        """All of the sets."""
        return [*self.secure] if self.plain is None else [self.plain, *self.secure]

    def met(self, secure: bool, name: str) -> Optional[VhostSet]:
        """The set that requests of a connection meet, over TLS with the server name `name`; None if it
        does not get as far as a request."""
        if not secure:
            return self.plain
        chosen = None if self.sites is None else self.sites.choose(name)
        return next((each for each in self.secure if each.bound is chosen), None)


def receive(served: Sequence[Served], first: VhostConfig, make_answers: MakeAnswers,
            challenged: Optional[Challenged] = None) -> Reception:
    """The reception of an address that `served` share, in the order of the configuration; `first` is the
    first vhost that is configured there, served or not.  `challenged` answers tls-alpn-01 challenges."""
    if first.host_ssl_cert:
        reception = _over_tls(served, make_answers, challenged)
    else:
        reception = _in_the_clear(served, make_answers)
    if first.proxy_protocol_from:
        return reception._replace(first_role=_behind_proxies(first, reception.first_role))
    return reception


def _in_the_clear(served: Sequence[Served], make_answers: MakeAnswers) -> Reception:
    """A port without TLS."""
    if served[0].config.takes_all_raw and served[0].raw is not None:
        return Reception(_ignoring_address(served[0].raw))
    vhosts = VhostSet([one.vhost for one in served], make_answers())
    http = functools.partial(HttpRole, vhosts)
    fallback = _fallback(served)
    if fallback is None:
        return Reception(_ignoring_address(http), vhosts)
    return Reception(_sniffing(http=http, fallback=fallback), vhosts, has_fallback=True)


def _over_tls(served: Sequence[Served], make_answers: MakeAnswers,
              challenged: Optional[Challenged]) -> Reception:
    """A port with TLS."""
    # Imported here, and so before the privileges are dropped: they load ssl.
    from lwsws.roles.sniff import SecureSites
    vhosts = VhostSet([one.vhost for one in served], make_answers())
    roles: Dict[Vhost, RoleFactory] = {}
    secure = []
    for one in served:
        if one.config.apply_listen_accept and one.raw is not None:
            roles[one.vhost] = one.raw
        else:
            secure.append(vhosts.bound_to(one.vhost, make_answers()))
            roles[one.vhost] = functools.partial(HttpRole, secure[-1])
    plain = _plain_set(served, make_answers)
    http = None if plain is None else functools.partial(HttpRole, plain)
    chooser, fallback = SecureSites(vhosts, roles, challenged), _fallback(served)
    return Reception(_sniffing(chooser, http, fallback), plain, tuple(secure), chooser, fallback is not None)


def _sniffing(secure: Optional[SecureSites] = None, http: Optional[RoleFactory] = None,
              fallback: Optional[Tuple[RoleFactory, float]] = None) -> Callable[[Any], Role]:
    # Imported here: most plain ports have no use for it.
    from lwsws.roles.sniff import Gate, SniffRole
    gate = Gate(secure, http, *(fallback or (None, 0.0)))
    return _ignoring_address(functools.partial(SniffRole, gate))


def _ignoring_address(make_role: RoleFactory) -> Callable[[Any], Role]:
    return lambda address: make_role()


def _fallback(served: Sequence[Served]) -> Optional[Tuple[RoleFactory, float]]:
    """What makes the fallback role of an address, and the seconds that a silent client waits for it."""
    for one in served:
        config = one.config
        if one.raw is not None and config.has_fallback:
            return one.raw, float(config.fallback_wait)
    return None


def _behind_proxies(config: VhostConfig, first_role: Callable[[Any], Role]) -> Callable[[Any], Role]:
    """`first_role`, but after the header of the PROXY protocol for the peers that send one."""
    # A rare key, and ipaddress takes longer to import than a configuration to load.
    from ipaddress import ip_address, ip_network

    from lwsws.roles.proxy_header import ProxyHeaderRole
    with_unix = UNIX_PEER in config.proxy_protocol_from
    networks = [ip_network(text, strict=False) for text in config.proxy_protocol_from if text != UNIX_PEER]

    def choose(address: Any) -> Role:
        name = peer_name(address)
        if name == UNIX_PEER:
            is_listed = with_unix
        else:
            peer = ip_address(name.partition("%")[0])
            is_listed = any(peer in network for network in networks)
        return ProxyHeaderRole(lambda: first_role(address)) if is_listed else first_role(address)

    return choose


# Plain http on a TLS port.


def _plain_set(served: Sequence[Served], make_answers: MakeAnswers) -> Optional[VhostSet]:
    """The vhosts as plain http on a TLS port meets them; None if none of them allows it."""
    vhosts = []
    allowed = False
    for config, vhost, in_the_clear, _ in served:
        if config.is_in_the_clear_too:
            vhosts.append(in_the_clear)
        elif config.allow_non_tls and config.redirect_http:
            vhosts.append(_instead(vhost, HttpsRedirectHandler(config.port)))
        else:
            vhosts.append(_instead(vhost, HttpsOnlyHandler()))
            continue
        allowed = True
    return VhostSet(vhosts, make_answers()) if allowed else None


def _instead(vhost: Vhost, handler: Handler) -> Vhost:
    """A vhost of the same name and log where `handler` answers for everything."""
    # RFC 6797 7.2: no Strict-Transport-Security over plain http.
    headers = HeaderSet([field for field in vhost.headers.fields if field[0].lower() != STS_NAME])
    mount = MountPoint("", handler, headers, vhost.keepalive, vhost.max_body)
    return Vhost(vhost.name, Routes([mount]), headers, vhost.keepalive, vhost.max_body, vhost.access_log,
                 strict_host=vhost.strict_host)
