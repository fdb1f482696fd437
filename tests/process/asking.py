"""For tests of the request channel: the parent's end, and a child that says whatever the test wants."""

from __future__ import annotations

import os
import select
import socket
from threading import Thread
from typing import List, Set, Tuple

from lwsws.net.channel import ChildEnd, channel_pair
from lwsws.net.listening import Endpoint, SocketStore, Terms
from lwsws.process.requests import Requests

LOCALHOST = "127.0.0.1"
# For one process.
ONE = Terms()


def local(port: int = 0) -> Endpoint:
    """An address of this machine."""
    return Endpoint(int(socket.AF_INET), LOCALHOST, port)


def listen_fields(endpoint: Endpoint, terms: Terms = ONE) -> List[str]:
    """The request for sockets of `endpoint`."""
    return ["listen", *map(str, (int(endpoint.family), *endpoint[1:], *terms))]


class Asking:
    """Both ends of a request channel; the child's end speaks as the test tells it to."""

    def __init__(self) -> None:
        self.store = SocketStore()
        self.claims: Set[Endpoint] = set()
        ours, self.child = channel_pair()
        self.child.set_timeout(5)
        self.faults: List[str] = []
        self.configured: List[Tuple[int, int, int]] = []
        self.requests = Requests(ours, self.store, self.claims, 0,
                                 lambda *numbers: self.configured.append(numbers), self.faults.append)
        self.files: List[int] = []

    def close(self) -> None:
        """Close all that was got."""
        for fd in self.files:
            os.close(fd)
        self.requests.close()
        self.child.close()
        self.store.close()

    def ask(self, *fields: str) -> List[str]:
        """The fields of the answer; its descriptors are in `files`."""
        self.child.tell(fields)
        assert self.requests.serve(), self.requests.breached
        received = self.child.receive()
        assert received is not None
        self.files += received[1]
        return received[0]

    def breach(self, *fields: str) -> str:
        """What the parent says to a request that is a breach of the rules."""
        self.child.tell(fields)
        assert not self.requests.serve()
        assert self.requests.breached
        return self.requests.breached

    def allow(self, what: str, path: object) -> None:
        """Announce the path, as is done before the seal."""
        assert self.ask("allow", what, str(path)) == ["ok", "0"]

    def seal(self) -> None:
        """From here on the child is not to be trusted."""
        assert self.ask("seal") == ["ok", "0"]


def nothing(*told: object) -> None:
    """What a parent does that has no use for what it is told of a configuration."""


def serve_all(requests: Requests) -> bool:
    """Answer until the channel ends; whether it was ended without a breach."""
    while True:
        select.select([requests], [], [])
        if not requests.serve():
            return not requests.breached


def parent_thread(store: SocketStore) -> Tuple[ChildEnd, Thread]:
    """A child's end, and the thread that answers at the other one until it is closed."""
    ours, theirs = channel_pair()
    requests = Requests(ours, store, set(), 0, nothing, nothing)

    def answer() -> None:
        serve_all(requests)
        requests.close()

    thread = Thread(target=answer)
    thread.start()
    return theirs, thread
