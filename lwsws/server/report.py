"""How the server is, in plain numbers and names: what `Server.status()` tells plugins.

The shape is described in docs/plugins.md.
"""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from lwsws import __version__
from lwsws.core.vhost import Counts
from lwsws.server.build import Site

if TYPE_CHECKING:
    from lwsws.config.model import MountConfig, VhostConfig
    from lwsws.core.context import Context
    from lwsws.core.vhost import Vhost

# Of /proc/self/statm: the second number is the resident pages (proc(5)).
STATM = "/proc/self/statm"


def report(context: Context, site: Site, started: float, max_connections: int,
           hide_vhosts: bool = False) -> Dict[str, Any]:
    """The state of the process; `started` is when it began, by the clock of the reactor."""
    live = live_bytes(context)
    total = [context.counts.rx, context.counts.tx]
    for rx, tx in live.values():
        total[0] += rx
        total[1] += tx
    vhosts = served(site)
    offered = {id(each.config): [*each.by_name] for each in site.protocols}
    workers = context.workers
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime": context.reactor.now - started,
        "connections": len(context.connections),
        "accepted": context.accepted,
        "max_connections": max_connections,
        "websockets": sum(len(protocol.sessions) for offered in site.protocols
                          for protocol in offered.by_name.values()),
        "listening": len(site.listening),
        "stopping": context.stopping,
        "memory": memory(),
        "fds_max": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "workers": {"threads": workers.threads, "busy": workers.busy, "waiting": workers.waiting},
        "traffic": summed([vhost.counts for _, vhost in vhosts], total[0], total[1]),
        "vhosts": [] if hide_vhosts else [
            vhost_report(config, vhost, live.get(id(vhost.counts), (0, 0)), offered[id(config)])
            for config, vhost in vhosts],
    }


def served(site: Site) -> List[Tuple[VhostConfig, Vhost]]:
    """The vhosts that are served, once each, in the order of their listeners."""
    found: Dict[int, Tuple[VhostConfig, Vhost]] = {}
    for listening in site.listening:
        for config, vhost in zip(listening.configs, listening.vhosts):
            found.setdefault(id(vhost), (config, vhost))
    return list(found.values())


def live_bytes(context: Context) -> Dict[int, Tuple[int, int]]:
    """The bytes received and sent on open connections, by the identity of the counts they will go to."""
    found: Dict[int, Tuple[int, int]] = {}
    for connection in context.connections:
        key, transport = id(connection.counts), connection.transport
        rx, tx = found.get(key, (0, 0))
        found[key] = (rx + transport.bytes_received, tx + transport.bytes_sent)
    return found


def summed(counts: List[Counts], rx: int, tx: int) -> Dict[str, int]:
    """The counts of several vhosts together; `rx` and `tx` are known from elsewhere."""
    return {"rx": rx, "tx": tx,
            "connections": sum(each.connections for each in counts),
            "requests": sum(each.requests for each in counts),
            "upgrades": sum(each.upgrades for each in counts),
            "rejected": sum(each.rejected for each in counts)}


def vhost_report(config: VhostConfig, vhost: Vhost, live: Tuple[int, int],
                 protocols: List[str]) -> Dict[str, Any]:
    """One vhost; `live` are the bytes of its open connections, `protocols` what it offers."""
    counts = vhost.counts
    return {"name": config.name, "port": config.port, "tls": vhost.tls is not None, "sts": config.sts,
            "traffic": summed([counts], counts.rx + live[0], counts.tx + live[1]),
            "mounts": [mount_report(mount) for mount in config.mounts],
            "protocols": protocols}


def mount_report(mount: MountConfig) -> Dict[str, Any]:
    """One mount."""
    return {"mountpoint": mount.mountpoint, "origin": mount.origin.text,
            "default": mount.default if mount.origin.kind == "file" else "",
            "cache_max_age": mount.cache_max_age, "cache_reuse": int(mount.cache_reuse),
            "cache_revalidate": int(mount.cache_revalidate),
            "cache_intermediaries": int(mount.cache_intermediaries)}


def memory() -> int:
    """Bytes of this process that are in memory; 0 where the system does not tell."""
    try:
        with open(STATM, "rb") as file:     # as text it would need a codec, which may be out of reach by now
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
