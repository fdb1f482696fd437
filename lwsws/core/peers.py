"""Peers: how many connections and requests each client address has, where the configuration limits them.

IPv4 addresses count one by one.  Of IPv6 all addresses of a /64 network count together: a single host has a
whole one and can take a new address for each connection (RFC 6177 section 2, RFC 8981), so a limit for each
address would be none.  An IPv4 address inside IPv6 is that IPv4 address, for limits and in logs.

A request counts until its answer is on its way; one that is answered from memory does not count at all.
There is an entry for an address only while it has something open, so there are never more entries than
connections.  Without limits there is no `Peers`, and nobody counts.
"""

from __future__ import annotations

import socket
from typing import Any, Callable, Dict, Optional

from lwsws import log

# The name of all peers on unix sockets.
UNIX_PEER = "unix"

# RFC 4291 2.5.5.2: how the kernel shows the IPv4 peers of a socket for both families.
MAPPED_TEXT = "::ffff:"
MAPPED = bytes(10) + b"\xff\xff"
NETWORK_BYTES = 8   # of the /64

# Refusals are warned of at most so often, in seconds; the others are worth a line at info.
QUIET_SECONDS = 60.0


def peer_name(address: Any) -> str:
    """The address of a peer, as accept() gives it, in the form of logs and limits; unix sockets have none."""
    if not isinstance(address, tuple) or not address:
        return UNIX_PEER
    name: str = address[0]
    return name[len(MAPPED_TEXT):] if name.startswith(MAPPED_TEXT) and "." in name else name


def address_key(peer: str) -> Optional[str]:
    """What `peer`, as peer_name() has it, is counted under: see the module's text; None for who is not
    counted, as all on a unix socket, who may be the users of one proxy."""
    if peer == UNIX_PEER or not peer:
        return None
    if ":" not in peer:
        return peer
    try:
        packed = socket.inet_pton(socket.AF_INET6, peer.partition("%")[0])
    except OSError:
        return peer
    if packed.startswith(MAPPED):
        return socket.inet_ntoa(packed[len(MAPPED):])
    return socket.inet_ntop(socket.AF_INET6, packed[:NETWORK_BYTES] + bytes(8)) + "/64"


class Peers:
    """The counts of all clients of one process, by the keys of `address_key`."""

    __slots__ = ("refused", "_most_connections", "_most_requests", "_connections", "_requests", "_clock",
                 "_quiet_until", "_unnamed")

    def __init__(self, connections: int, requests: int, clock: Callable[[], float]) -> None:
        """The most connections and requests of one client; 0 is no limit.  `clock` gives seconds."""
        self.refused = 0    # connections closed for a limit
        self._most_connections = connections
        self._most_requests = requests
        self._connections: Dict[str, int] = {}
        self._requests: Dict[str, int] = {}
        self._clock = clock
        self._quiet_until = clock()
        self._unnamed = 0   # refusals since the last warning

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._connections) + len(self._requests)

    def admit(self, key: str) -> bool:
        """Count one more connection of `key`, until `leave`; False, and not counted, if it has too many."""
        if self._count(self._connections, key, self._most_connections):
            return True
        self._refuse(key, f"ip-limit-wsi {self._most_connections}")
        return False

    def leave(self, key: str) -> None:
        """A connection of `key` has closed."""
        self._count_off(self._connections, key)

    def begin(self, key: str) -> bool:
        """Count one more request of `key`, until `end`; False, and not counted, if too many are under way."""
        if self._count(self._requests, key, self._most_requests):
            return True
        self._refuse(key, f"ip-limit-ah {self._most_requests}")
        return False

    def end(self, key: str) -> None:
        """A request of `key` has been answered."""
        self._count_off(self._requests, key)

    @staticmethod
    def _count(counts: Dict[str, int], key: str, limit: int) -> bool:
        count = counts.get(key, 0)
        if limit and count >= limit:
            return False
        counts[key] = count + 1
        return True

    @staticmethod
    def _count_off(counts: Dict[str, int], key: str) -> None:
        count = counts.get(key, 0)
        if count > 1:
            counts[key] = count - 1
        else:
            counts.pop(key, None)

    def _refuse(self, key: str, limit: str) -> None:
        self.refused += 1
        now = self._clock()
        if now < self._quiet_until:
            self._unnamed += 1
            log.info(f"{key}: over {limit}: connection closed")
            return
        others = f" ({self._unnamed} more of all clients since the last warning)" if self._unnamed else ""
        log.warn(f"{key}: over {limit}: connection closed{others}")
        self._quiet_until = now + QUIET_SECONDS
        self._unnamed = 0
