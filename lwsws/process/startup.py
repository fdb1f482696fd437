"""What is said at the start of a serving process: what it listens on, and what stands behind each mount."""

from __future__ import annotations

from typing import Iterator, List, Sequence

from lwsws.config.model import VhostConfig
from lwsws.server.build import Listening


def startup_lines(listening: Sequence[Listening]) -> List[str]:
    """What is served where, one line a mount, and the default vhost of each address."""
    lines = []
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
            lines.extend(vhost_lines(vhost))
    return lines


def vhost_lines(vhost: VhostConfig) -> Iterator[str]:
    """What one vhost serves, one line a mount, and where raw connections go."""
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
    if vhost.ws_protocols:
        names = ", ".join(entry.name for entry in vhost.ws_protocols)
        yield f"{place}: protocols {names}"
    base = f"{place}:" if vhost.unix_socket else f"{scheme}://{place}"
    for mount in vhost.mounts:
        slash = "" if mount.mountpoint == "/" else "/"
        yield f"{base}{mount.mountpoint}{slash} -> {mount.origin.text}"
