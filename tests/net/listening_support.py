"""What the tests of the store of listening sockets share: generations of processes, played, and clients."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import contextmanager
from typing import Callable, Iterator, List, Set, Tuple

from lwsws.net import bind
from lwsws.net.listening import Endpoint, SocketStore, Terms

INET, INET6, UNIX = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)


class Generation:
    """Processes that take their sockets as a generation does, and serve when told to."""

    def __init__(self, store: SocketStore, terms: Terms) -> None:
        self.store = store
        self.terms = terms
        self.claims: Set[Endpoint] = set()
        self.taken: List[socket.socket] = []

    def take(self, endpoint: Endpoint, index: int = 0) -> List[socket.socket]:
        """What process `index` gets."""
        sockets = self.store.take(endpoint, self.terms, self.claims, index)
        self.taken += sockets
        return sockets

    def take_all(self, endpoint: Endpoint) -> List[List[socket.socket]]:
        """What each process gets."""
        return [self.take(endpoint, index) for index in range(self.terms.processes)]

    def serve(self) -> None:
        """Begin to accept, as Listener.start() does."""
        for sock in self.taken:
            bind.start_listening(sock)

    def end(self) -> None:
        """Close all that it took."""
        while self.taken:
            self.taken.pop().close()


Make = Callable[..., Generation]


def at_path(path: str) -> Endpoint:
    """The endpoint of a unix socket."""
    return Endpoint(UNIX, "", 0, path=path)


def is_listening(sock: socket.socket) -> bool:
    """Whether clients can reach it."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def waiting(sockets: List[socket.socket]) -> int:
    """Accept what waits; how much it was."""
    count = 0
    for sock in sockets:
        while True:
            try:
                sock.accept()[0].close()
            except BlockingIOError:
                break
            count += 1
    return count


def fill(address: Tuple[str, int], count: int = 64) -> None:
    """Connect so often."""
    for _ in range(count):
        socket.create_connection(address).close()


def socket_client(path: str) -> socket.socket:
    """A connection to a unix socket."""
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(path)
    except OSError:
        client.close()
        raise
    return client


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Only so many more may be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
