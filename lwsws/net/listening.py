"""The store of all listening sockets, which outlives the processes that accept from them.

The parent has one; a process without a parent has its own.  Serving processes get duplicates, so a socket
goes on while processes come and go, and clients that came meanwhile wait in its backlog.

A generation of processes names what it listens on (its claims).  An address stays bound while one of them
claims it, and a new generation that fails leaves no trace:

    take()       binds, or finds what is there, for one process
    keep_only()  a new generation has taken over: let go of all that it did not claim
    revert()     it has failed: let go of all that is there because of it

An address has a socket for each process of a generation (SO_REUSEPORT), never fewer than it once had,
because to close one resets the connections in its backlog: process i of n gets each n-th from i on.  The
first is bound alone, so that a port somebody else uses is an error.  Sockets that would draw connections
away from those in service are bound only; whoever serves them makes them listen (bind.start_listening), and
nobody has to wait for a generation that is not ready.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import Any, Collection, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

from lwsws import log
from lwsws.net import bind
from lwsws.net.given import Given, GivenSockets

# More processes than this are a mistake, or a process that was taken over.
MAX_PROCESSES = 256
MAX_PORT = 0xFFFF
# The largest number means "leave it" to chown(2), and stands here as -1.
MAX_ID = 2 ** 32 - 2
# An int of C; the kernel cuts it to net.core.somaxconn.
MAX_FASTOPEN = 2 ** 31 - 1


class Endpoint(NamedTuple):
    """One address to listen on: `host` is an IP address, `interface` the name of one (then `host` is
    empty), `path` a unix socket, `name` that of sockets that systemd passes (whatever they are bound to)."""

    family: int
    host: str
    port: int
    interface: str = ""
    path: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.name:
            return f"systemd:{self.name}"
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
        return not self.path and not self.name and not self.is_wildcard

    @property
    def is_wildcard(self) -> bool:
        """Listens on every address of the machine."""
        return self.host in bind.WILDCARDS


class Terms(NamedTuple):
    """How to listen: for so many processes, with a queue for TCP Fast Open (0: none), and who shall own a
    socket file (-1: who binds it)."""

    processes: int = 1
    fastopen: int = 0
    uid: int = -1
    gid: int = -1


class _Held:
    """The sockets of one endpoint that we bound."""

    def __init__(self, terms: Terms) -> None:
        self.sockets: List[socket.socket] = []
        self.terms = terms
        self.file: Optional[bind.FileId] = None
        self.born = (-1, -1)    # who owned the file at first
        # How it was before the newest generation came, and what is in service until that takes over.
        self.settled = 0
        self.settled_terms = terms
        self.replaces: Optional[_Held] = None

    @property
    def spot(self) -> bind.Spot:
        """What its TCP sockets are bound to."""
        return bind.spot(self.sockets[0].getsockname())

    def chain(self) -> Iterator[_Held]:
        """This, and all that it replaces."""
        step: Optional[_Held] = self
        while step is not None:
            yield step
            step = step.replaces

    def settle(self) -> None:
        """As it is now, it stays."""
        self.settled, self.settled_terms = len(self.sockets), self.terms

    def close(self, keep: int = 0) -> None:
        """Close all sockets but the first `keep`."""
        while len(self.sockets) > keep:
            self.sockets.pop().close()


class SocketStore:
    """All listening sockets, by the endpoints they belong to."""

    def __init__(self, given: Sequence[Given] = ()) -> None:
        """`given` are the sockets that systemd passed; the store owns them."""
        self._given = GivenSockets(given)
        self._held: Dict[Endpoint, _Held] = {}

    def take(
        self, endpoint: Endpoint, terms: Terms, claims: Set[Endpoint], index: int = 0
    ) -> List[socket.socket]:
        """Duplicates of the sockets on which process `index` of `terms.processes` listens; the endpoint is
        added to the `claims` of its generation.

        Empty if the socket of another endpoint that is claimed takes these connections, too (one of systemd
        for IPv4 and IPv6); then it is not claimed.  OSError if it cannot be had, bind.NOT_YET among them,
        after which all is as before.
        """
        _check(endpoint, terms, index)
        before = self._held.get(endpoint)
        had = len(before.sockets) if before else 0
        try:
            copies = _duplicates(self._find(endpoint, terms, claims, index))
        except OSError:
            self._restore(endpoint, before, had)
            raise
        if copies:
            claims.add(endpoint)
        return copies

    def _find(
        self, endpoint: Endpoint, terms: Terms, claims: Set[Endpoint], index: int
    ) -> Sequence[socket.socket]:
        given = self._given.find(endpoint, claims)
        if given is not None:
            for sock in given:
                if terms.fastopen and sock.family != socket.AF_UNIX:
                    bind.set_fastopen(sock, terms.fastopen)
            return given
        held = self._held.get(endpoint)
        # What a generation has is its own: only who comes anew may change it.
        if held is None or endpoint not in claims:
            held = self._hold_file(endpoint, terms) if endpoint.path else self._hold(endpoint, terms, claims)
        return held.sockets if endpoint.path else _share(held.sockets, terms.processes, index)

    def _new(self, endpoint: Endpoint, terms: Terms) -> _Held:
        """An empty entry; what was there stays in service until keep_only()."""
        held = _Held(terms)
        held.replaces = self._held.get(endpoint)
        self._held[endpoint] = held
        return held

    def _restore(self, endpoint: Endpoint, before: Optional[_Held], had: int) -> None:
        """Undo what a take() that failed has done."""
        held = self._held.get(endpoint)
        if held is not None and held is not before:
            held.replaces = None
            _drop(endpoint, self._held.pop(endpoint))
        if before is not None:
            before.close(keep=had)
            self._held[endpoint] = before

    # Unix sockets.

    def _hold_file(self, endpoint: Endpoint, terms: Terms) -> _Held:
        held = self._held.get(endpoint)
        if held is not None and (not endpoint.has_file or _is_reachable(endpoint, held)):
            _apply(endpoint, held, terms)
            return held
        # Nobody can reach what we hold.
        held = self._new(endpoint, terms)
        held.sockets.append(bind.listen_unix(endpoint.path))
        if endpoint.has_file:
            info = os.lstat(endpoint.path)
            held.file, held.born = (info.st_dev, info.st_ino), (info.st_uid, info.st_gid)
        _apply(endpoint, held, terms)
        held.settle()
        return held

    # TCP.

    def _hold(self, endpoint: Endpoint, terms: Terms, claims: Set[Endpoint]) -> _Held:
        held = self._held.get(endpoint)
        addresses = _addresses(endpoint)
        if held is not None and (not addresses or _is_at(held.spot, addresses)):
            self._rivals(endpoint, held.spot, claims)
            _apply(endpoint, held, terms)
            _grow(endpoint.family, terms, held.sockets)
            return held
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, f"interface {endpoint.interface} has no such address")
        rivals = self._rivals(endpoint, bind.spot(addresses[0]), claims)
        held = self._new(endpoint, terms)
        try:
            _bind_group(endpoint.family, addresses[0], terms, rivals, held.sockets)
        except OSError as exc:
            blocking = self._given.blocking(endpoint.family, bind.spot(addresses[0]))
            if exc.errno == errno.EADDRINUSE and blocking:
                raise OSError(exc.errno, f"systemd passes a socket for that port: {blocking}") from None
            raise
        held.settle()
        return held

    def _rivals(self, endpoint: Endpoint, spot: bind.Spot, claims: Set[Endpoint]) -> List[_Held]:
        """What other generations have on addresses that overlap; OSError if this one claims such an address.

        The kernel would say so, too, but only at the next start, when none of them is bound yet.
        """
        rivals = []
        for other, newest in self._held.items():
            if other.family != endpoint.family or other.path:
                continue
            for held in newest.chain():
                is_current = held is newest
                if (is_current and other == endpoint) or not bind.overlap(held.spot, spot):
                    continue
                if is_current and other in claims:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
                rivals.append(held)
        return rivals

    # Generations come and go.

    def keep_only(self, endpoints: Collection[Endpoint]) -> None:
        """Those who claim `endpoints` have taken over: close everything else, and remove its socket files.

        What systemd passed stays open for later generations, and its files are not ours to remove.
        """
        self._drop_others(endpoints)
        for held in self._held.values():
            for replaced in list(held.chain())[1:]:
                replaced.close()
            held.replaces = None
            held.settle()

    def rest(self, endpoints: Collection[Endpoint], count: int, index: int) -> None:
        """Process `index` of `count` is missing for some time: let the kernel give no clients to its sockets,
        until it makes them listen again.  Where there is no other socket, clients had better wait."""
        for endpoint in endpoints:
            held = self._held.get(endpoint)
            if held is not None and not endpoint.path and len(held.sockets) > 1:
                for sock in held.sockets[index::count]:
                    bind.stop_listening(sock)

    def revert(self, endpoints: Collection[Endpoint]) -> None:
        """A new generation has failed, and those who claim `endpoints` go on: undo what its take() did."""
        self._drop_others(endpoints)
        for endpoint, newest in list(self._held.items()):
            held = newest
            while held.replaces is not None:
                older, held.replaces = held.replaces, None
                _drop(endpoint, held)
                held = older
            held.close(keep=held.settled)
            self._held[endpoint] = held
            try:
                _apply(endpoint, held, held.settled_terms)
            except OSError as exc:
                log.warn(f"{endpoint}: it does not get its owner back: {exc.strerror}")

    def _drop_others(self, endpoints: Collection[Endpoint]) -> None:
        for endpoint in [endpoint for endpoint in self._held if endpoint not in endpoints]:
            _drop(endpoint, self._held.pop(endpoint))
        self._given.keep_only(endpoints)

    def close(self) -> None:
        """Close everything, and remove the socket files that are ours."""
        self.keep_only(())
        self._given.close()

    def abandon(self) -> None:
        """Close everything and touch nothing else: in a forked child, whose parent goes on."""
        for newest in self._held.values():
            for held in newest.chain():
                held.close()
        self._held.clear()
        self._given.close()

    def unused(self) -> List[str]:
        """The sockets that systemd passed and nobody claims, for people."""
        return self._given.unused()


def _check(endpoint: Endpoint, terms: Terms, index: int) -> None:
    """OSError for numbers that the calls behind would not even take: they come from another process."""
    is_tcp = endpoint.family in (socket.AF_INET, socket.AF_INET6)
    is_right = (
        (endpoint.name or endpoint.path or is_tcp)
        and 0 <= endpoint.port <= MAX_PORT
        and 0 <= index < terms.processes <= MAX_PROCESSES
        and 0 <= terms.fastopen <= MAX_FASTOPEN
        and -1 <= terms.uid <= MAX_ID
        and -1 <= terms.gid <= MAX_ID
    )
    if not is_right:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _duplicates(sockets: Sequence[socket.socket]) -> List[socket.socket]:
    copies: List[socket.socket] = []
    try:
        for sock in sockets:
            copies.append(sock.dup())
    except OSError:
        for copy in copies:
            copy.close()
        raise
    return copies


def _share(sockets: Sequence[socket.socket], count: int, index: int) -> Sequence[socket.socket]:
    """Which of a group process `index` of `count` has."""
    mine = sockets[index::count]
    if not mine:
        raise OSError(errno.EINVAL, f"there is no socket for process {index} of {count}")
    return mine


def _is_reachable(endpoint: Endpoint, held: _Held) -> bool:
    """Whether clients can connect to a socket file: it is still there and still ours, and no process that has
    the socket has shut it down for all (shutdown(2); a listening unix socket cannot be made to go on)."""
    if held.file != bind.file_id(endpoint.path):
        return False
    poller = select.poll()
    poller.register(held.sockets[0], select.POLLRDHUP)
    return not poller.poll(0)


def _addresses(endpoint: Endpoint) -> List[Any]:
    return bind.tcp_addresses(endpoint.host, endpoint.interface, endpoint.port, endpoint.family)


def _is_at(spot: bind.Spot, addresses: Sequence[Any]) -> bool:
    """Whether one of the addresses is the spot; the port may have been the kernel's choice."""
    return any((host, scope) == (spot[0], spot[2]) for host, _, scope in map(bind.spot, addresses))


def _bind_group(
    family: int, address: Any, terms: Terms, rivals: Sequence[_Held], sockets: List[socket.socket]
) -> None:
    """Put new sockets for `address` into `sockets`."""
    for rival in rivals:
        for sock in rival.sockets:
            bind.share_port(sock)
    sockets.append(bind.bind_tcp(address, family, terms.fastopen, reuse_port=bool(rivals)))
    if rivals:
        # They would take connections away from those in service, before anybody serves them.
        _grow(family, terms, sockets)
        return
    sockets[0].listen(bind.BACKLOG)
    _grow(family, terms, sockets)
    for sock in sockets[1:]:
        sock.listen(bind.BACKLOG)


def _grow(family: int, terms: Terms, sockets: List[socket.socket]) -> None:
    """Bind more sockets to the address of the first, until there is one for each process."""
    if len(sockets) >= terms.processes:
        return
    for sock in sockets:
        bind.share_port(sock)
    address = sockets[0].getsockname()
    while len(sockets) < terms.processes:
        sockets.append(bind.bind_tcp(address, family, terms.fastopen, reuse_port=True))


def _apply(endpoint: Endpoint, held: _Held, terms: Terms) -> None:
    """Give what is bound the owner and the queue that the terms say."""
    if held.file is not None:
        uid, gid = (born if wanted == -1 else wanted
                    for wanted, born in zip((terms.uid, terms.gid), held.born))
        info = os.lstat(endpoint.path)
        if (info.st_uid, info.st_gid) != (uid, gid):
            bind.give_away(endpoint.path, uid, gid, held.file)
    elif not endpoint.path and terms.fastopen != held.terms.fastopen:
        for sock in held.sockets:
            bind.set_fastopen(sock, terms.fastopen)
    held.terms = terms


def _drop(endpoint: Endpoint, newest: _Held) -> None:
    """Close it, and what it replaces, and remove its file."""
    for held in newest.chain():
        if held.file is not None:
            bind.remove_socket_file(endpoint.path, held.file)
        held.close()
