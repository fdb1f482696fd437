"""What is said at the start of a serving process: what it listens on, and what stands behind each mount."""

from __future__ import annotations

from typing import Collection, Iterator, List, Sequence

from lwsws.config.model import VhostConfig
from lwsws.server.build import Listening
from lwsws.server.protocols import VhostProtocols


def startup_lines(listening: Sequence[Listening], protocols: Sequence[VhostProtocols]) -> List[str]:
    """What is served where, one line a mount, and the default vhost of each address; `protocols` are those
    of all vhosts."""
    lines = []
    offered = {id(each.config): each.by_name for each in protocols}     # the records are not hashable
    for item in listening:
        names = ", ".join(vhost.name for vhost in item.configs)
        default = f"; {item.configs[0].name} answers unknown names" if len(item.configs) > 1 else ""
        lines.append(f"listening on {item.endpoint} for {names}{default}")
    seen = set()
    for item in listening:
        for vhost in item.configs:
            if id(vhost) in seen:
                continue
            seen.add(id(vhost))
            lines.extend(vhost_lines(vhost, offered[id(vhost)]))
    return lines


def vhost_lines(vhost: VhostConfig, offered: Collection[str]) -> Iterator[str]:
    """What one vhost serves, one line a mount, and where raw connections go; `offered` are the names of its
    protocols that can be had."""
    scheme, usual = ("https", 443) if vhost.host_ssl_cert else ("http", 80)
    port = "" if vhost.port == usual else f":{vhost.port}"
    place = f"unix:{vhost.interface}" if vhost.unix_socket else f"{vhost.name}{port}"
    if vhost.apply_listen_accept or vhost.has_fallback:
        which = "what is not TLS" if vhost.host_ssl_cert else "what is not http"
        if vhost.apply_listen_accept:
            which = "all connections"
        yield f"{place}: {which} -> {vhost.listen_accept_protocol or 'its raw protocol'}"
    if vhost.apply_listen_accept:
        return
    if offered:
        yield f"{place}: protocols {', '.join(offered)}"
    base = f"{place}:" if vhost.unix_socket else f"{scheme}://{place}"
    for mount in vhost.mounts:
        slash = "" if mount.mountpoint == "/" else "/"
        yield f"{base}{mount.mountpoint}{slash} -> {mount.origin.text}"
