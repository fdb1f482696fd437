"""Endpoints: the addresses to listen on, and which vhosts share each of them.

A vhost without `interface` listens on all IPv4 and all IPv6 addresses (two sockets, because one
dual socket would give IPv4 peers odd `::ffff:` names in logs and limits); `noipv6`, and `ipv6only`
on or off, leave one of the two out.  `interface` may be an address, the name of a network interface,
or with `unix-socket` a path.  Vhosts with equal endpoints share one listening socket there and
differ by name, in the order of the configuration.
"""

from __future__ import annotations

import socket
from typing import Dict, List, NamedTuple, Sequence, Tuple

from lwsws.config.model import VhostConfig
from lwsws.net.addresses import address_family

# Lower ports can be bound by root only, or with CAP_NET_BIND_SERVICE.
PRIVILEGED_PORTS = 1024


class Endpoint(NamedTuple):
    """One address to listen on: `host` is an IP address, `interface` the name of one (then `host` is
    empty), `path` a unix socket."""

    family: int
    host: str
    port: int
    interface: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if self.interface:
            kind = "IPv6" if self.family == socket.AF_INET6 else "IPv4"
            return f"{self.interface} port {self.port} ({kind})"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def has_file(self) -> bool:
        """A unix socket in the file system; "@name" is an abstract one."""
        return self.path != "" and not self.path.startswith("@")

    @property
    def may_appear(self) -> bool:
        """An interface or address that this machine may get later."""
        return not self.path and not self.is_wildcard

    @property
    def is_wildcard(self) -> bool:
        """Listens on every address of the machine."""
        return self.host in ("0.0.0.0", "::")


def endpoints_of(vhost: VhostConfig) -> List[Endpoint]:
    """The endpoints of one vhost."""
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

