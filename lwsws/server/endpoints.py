"""Endpoints: the addresses to listen on, and which vhosts share each of them.

A vhost without `interface` listens on all IPv4 and all IPv6 addresses (two sockets, because one
dual socket would give IPv4 peers odd `::ffff:` names in logs and limits); `noipv6`, and `ipv6only`
on or off, leave one of the two out.  `interface` may be an address, the name of a network interface,
or with `unix-socket` a path; `listen-fd` names sockets that systemd passes.  Vhosts with equal endpoints
share one listening socket there and differ by name, in the order of the configuration.
"""

from __future__ import annotations

import socket
from typing import Dict, List, Sequence, Tuple

from lwsws.config.model import VhostConfig
from lwsws.net.bind import address_family
from lwsws.net.listening import Endpoint

# Lower ports can be bound by root only, or with CAP_NET_BIND_SERVICE.
PRIVILEGED_PORTS = 1024


def endpoints_of(vhost: VhostConfig) -> List[Endpoint]:
    """The endpoints of one vhost."""
    if vhost.listen_fd:
        return [Endpoint(socket.AF_UNSPEC, "", 0, name=vhost.listen_fd)]
    if vhost.unix_socket:
        return [Endpoint(socket.AF_UNIX, "", 0, path=vhost.interface)]
    families = [socket.AF_INET, socket.AF_INET6]
    if vhost.noipv6 or vhost.ipv6only is False:
        families.remove(socket.AF_INET6)
    if vhost.ipv6only:
        families.remove(socket.AF_INET)
    if not vhost.interface:
        anywhere = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
        return [Endpoint(family, anywhere[family], vhost.port) for family in families]
    family = address_family(vhost.interface)
    if family:
        return [Endpoint(family, vhost.interface, vhost.port)] if family in families else []
    return [Endpoint(family, "", vhost.port, interface=vhost.interface) for family in families]


def share(vhosts: Sequence[VhostConfig]) -> List[Tuple[Endpoint, List[VhostConfig]]]:
    """Each endpoint once, with the vhosts that share it in the order of the configuration."""
    shared: Dict[Endpoint, List[VhostConfig]] = {}
    for vhost in vhosts:
        for endpoint in endpoints_of(vhost):
            shared.setdefault(endpoint, []).append(vhost)
    return list(shared.items())

