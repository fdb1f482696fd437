"""How the server is, in plain numbers and names: what `Server.status()` tells plugins.

The shape is described in docs/plugins.md.
"""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from lwsws import __version__
from lwsws.core.vhost import Counts
from lwsws.server.build import Site
from lwsws.server.scoreboard import DEPRECATED, SERVING, STOPPING, Row, Scoreboard, Slot

if TYPE_CHECKING:
    from lwsws.config.model import MountConfig, VhostConfig
    from lwsws.core.context import Context
    from lwsws.core.vhost import Vhost

# Of /proc/self/statm: the second number is the resident pages (proc(5)).
STATM = "/proc/self/statm"


def report(context: Context, site: Site, started: float, max_connections: int, slot: Slot,
           hide_vhosts: bool = False) -> Dict[str, Any]:
    """The state of the process, and a line on each of the others; `started` is when it began, by the clock of
    the reactor.  Writes what it says of itself into `slot`."""
    row = own_row(context, site, slot)
    slot.write(row)
    live = live_bytes(context)
    total = [context.counts.rx, context.counts.tx]
    for rx, tx in live.values():
        total[0] += rx
        total[1] += tx
    vhosts = served(site)
    offered = {id(each.config): [*each.by_name] for each in site.protocols}
    return {
        "version": __version__,
        "pid": row.pid,
        "generation": row.generation,
        "process": row.number,
        "state": row.state_name,
        "uptime": context.reactor.now - started,
        "connections": row.connections,
        "accepted": row.accepted,
        "refused": row.refused,
        "max_connections": max_connections,
        "websockets": row.websockets,
        "listening": len(site.listening),
        "stopping": context.stopping,
        "memory": memory(),
        "fds_max": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "workers": {"threads": row.threads, "busy": row.busy, "waiting": context.workers.waiting},
        "programs": dict(zip(("started", "running"), context.program_counts)),
        "processes": processes(slot.board, context.wall_clock()),
        "traffic": summed([vhost.counts for _, vhost in vhosts], total[0], total[1]),
        "vhosts": [] if hide_vhosts else [
            vhost_report(config, vhost, live.get(id(vhost.counts), (0, 0)), offered[id(config)])
            for config, vhost in vhosts],
    }


def make_own_slot() -> Slot:
    """For a process that is alone: a scoreboard with one slot, its own."""
    slot = Scoreboard(1).slot(0)
    slot.write(Row(os.getpid(), 1, 0, int(time.time())))
    return slot


def own_row(context: Context, site: Site, slot: Slot) -> Row:
    """What this process says of itself now; its generation and number stand in its `slot` already."""
    place = slot.row()
    return Row(
        os.getpid(), place.generation, place.number, place.started,
        STOPPING if context.stopping else DEPRECATED if context.winding_down else SERVING,
        connections=len(context.connections),
        websockets=sum(len(protocol.sessions) for offered in site.protocols
                       for protocol in offered.by_name.values()),
        accepted=context.accepted,
        refused=context.refused,
        threads=context.workers.threads,
        busy=context.workers.busy)


def processes(board: Scoreboard, now: float) -> List[Dict[str, Any]]:
    """All serving processes as they say of themselves; `now` in seconds since 1970."""
    return [{"pid": row.pid, "generation": row.generation, "index": row.number, "state": row.state_name,
             "uptime": max(0, int(now) - row.started), "connections": row.connections,
             "websockets": row.websockets, "accepted": row.accepted, "refused": row.refused,
             "threads": row.threads, "busy": row.busy}
            for row in board.rows()]


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
