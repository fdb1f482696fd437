"""The listening sockets that systemd passed, and which of them an endpoint means: by name or by address.

They are systemd's, which keeps them, too: never closed while we run, never removed, never bound again, and
all processes share each of them.  One for [::] may take IPv4 connections as well (BindIPv6Only= is both by
default).  It belongs to that of the two wildcard endpoints, [::] and 0.0.0.0, that asks first; the other one
is covered by it.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Collection, List, NamedTuple, Optional, Sequence, Set

from lwsws.net import bind

if TYPE_CHECKING:
    from lwsws.net.listening import Endpoint


class Given(NamedTuple):
    """A listening socket that systemd passed, and its name (FileDescriptorName=)."""

    name: str
    sock: socket.socket


class _Passed:
    """One of them, and who has it."""

    def __init__(self, given: Given) -> None:
        self.name = given.name
        self.sock = given.sock
        self.takers: Set[Endpoint] = set()
        self.is_dual = bind.is_dual(self.sock)
        self.path = ""
        self.spot: bind.Spot = ("", 0, 0)
        name = self.sock.getsockname()
        if self.sock.family == socket.AF_UNIX:
            # An abstract one comes as bytes that begin with NUL.
            text = os.fsdecode(name)
            self.path = "@" + text[1:] if text.startswith("\0") else text
        else:
            self.spot = bind.spot(name)

    def __str__(self) -> str:
        host, port, _ = self.spot
        where = f"unix:{self.path}" if self.path else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"{self.name} ({where})"

    def is_at(self, family: int, spot: bind.Spot) -> bool:
        """Whether it takes what comes there, and nothing else."""
        if family == self.sock.family:
            return spot == self.spot
        return self.is_dual and spot == ("0.0.0.0", self.spot[1], 0) and self.spot[0] == "::"


class GivenSockets:
    """All that systemd passed."""

    def __init__(self, given: Sequence[Given]) -> None:
        """They are owned from now on."""
        self._passed = [_Passed(one) for one in given]
        for one in self._passed:
            one.sock.setblocking(False)

    def find(self, endpoint: Endpoint, claims: Set[Endpoint]) -> Optional[List[socket.socket]]:
        """The sockets that the endpoint means; None if it means none of these.

        Empty if the other wildcard, which has been claimed, covers it.  OSError if it names what was not
        passed, or what another claimed endpoint has.
        """
        if not self._passed and not endpoint.name:
            return None
        if endpoint.name:
            found = [one for one in self._passed if one.name == endpoint.name]
            if not found:
                raise OSError(errno.ENOENT, f"systemd passes no socket named {endpoint.name!r}")
        else:
            found = self._at(endpoint)
            if not found:
                return None
        for one in found:
            for other in one.takers & claims - {endpoint}:
                if one.is_dual and endpoint.is_wildcard and other.is_wildcard:
                    return []
                raise OSError(errno.EADDRINUSE, f"{other} has the socket {one} of systemd already")
        for one in found:
            one.takers.add(endpoint)
        return [one.sock for one in found]

    def _at(self, endpoint: Endpoint) -> List[_Passed]:
        if endpoint.path:
            return [one for one in self._passed if one.path == endpoint.path]
        addresses = bind.tcp_addresses(endpoint.host, endpoint.interface, endpoint.port, endpoint.family)
        spots = [bind.spot(address) for address in addresses]
        return [one for one in self._passed if any(one.is_at(endpoint.family, spot) for spot in spots)]

    def blocking(self, family: int, spot: bind.Spot) -> str:
        """Which of them keeps others from it, for people; "" if none does."""
        for one in self._passed:
            if one.path:
                continue
            if one.is_dual and family != one.sock.family and one.spot[1] == spot[1]:
                return str(one)
            if family == one.sock.family and bind.overlap(one.spot, spot):
                return str(one)
        return ""

    def keep_only(self, endpoints: Collection[Endpoint]) -> None:
        """Only `endpoints` are claimed any more."""
        for one in self._passed:
            one.takers.intersection_update(endpoints)

    def unused(self) -> List[str]:
        """Those that nobody has claimed, for people."""
        return [str(one) for one in self._passed if not one.takers]

    def close(self) -> None:
        """Close ours; systemd keeps its own."""
        for one in self._passed:
            one.sock.close()
        self._passed.clear()
