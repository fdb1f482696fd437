"""Keeper: what a serving process may ask for, also when it has given up root.

Listening sockets, the content of keys and password files, access logs that are opened anew: all of it may
need rights that a serving process no longer has.  So it asks a Keeper.

    OwnKeeper     does it in this process: without a parent, or for who only looks
    ParentLink    (process/link.py) asks the parent, which has stayed root, for what it may not do itself

Before the rights are given up, allow() says which files will be asked for later.
"""

from __future__ import annotations

import socket
from typing import List, Optional, Protocol, Set

from lwsws.net.listening import Endpoint, SocketStore, Terms
from lwsws.net.regular_file import FileState, file_state, open_log_file, read_regular_file

# What allow() is about: a file that is read and looked at, or a log.
READ, LOG = "read", "log"


class FileKeeper(Protocol):
    """Who is asked for files alone; `anew`, read() and state() as below."""

    anew: str

    def read(self, path: str, limit: int) -> bytes:
        """The content of the file at `path`."""

    def state(self, path: str) -> FileState:
        """What tells versions of it apart."""


class Keeper(Protocol):
    """Who is asked; on any thread, except for listen().

    `anew` is what an administrator does to have everything read with all rights again; `has_parent` says
    whether somebody else has the sockets, and does what this process may not.
    """

    anew: str
    has_parent: bool

    def listen(self, endpoint: Endpoint, terms: Terms) -> List[socket.socket]:
        """The sockets of this process that listen on `endpoint`, as its own duplicates.

        Empty if another socket takes these connections, too (a given one for both families).  OSError if
        it cannot be had, with the errno of bind(2); some pass (lwsws.net.bind.NOT_YET).
        """

    def release(self, endpoint: Endpoint) -> None:
        """`endpoint` is not wanted after all; no effect if it was not claimed."""

    def allow(self, what: str, path: str) -> None:
        """The file at `path` will be asked for later: `what` is READ or LOG.  OSError if that is refused."""

    def read(self, path: str, limit: int) -> bytes:
        """The content of the file at `path`, of at most `limit` bytes; errors as read_regular_file()."""

    def state(self, path: str) -> FileState:
        """What tells versions of the file at `path` apart, as file_state().  TimeoutError."""

    def open_log(self, path: str) -> int:
        """A descriptor that appends to the log at `path`, as open_log_file(); OSError."""

    def seal(self) -> None:
        """The rights are given up now: from here on only what was asked for before can be had.  OSError."""

    def wind_down(self) -> None:
        """This process listens no more.  If nobody else has the sockets, they are closed, as those who would
        come would wait for nothing, and their files removed."""

    def close(self) -> None:
        """Ask no more."""


class OwnKeeper:
    """A Keeper that does everything itself, with the rights that this process has at the time."""

    anew = "a restart"
    has_parent = False

    def __init__(self, store: Optional[SocketStore] = None) -> None:
        """`store` may have sockets that systemd passed; it is closed with this."""
        self.store = SocketStore() if store is None else store
        self.claims: Set[Endpoint] = set()

    def listen(self, endpoint: Endpoint, terms: Terms) -> List[socket.socket]:
        # Whatever was asked for, there is no other process: connections to its sockets would wait for ever.
        return self.store.take(endpoint, terms._replace(processes=1), self.claims)

    def release(self, endpoint: Endpoint) -> None:
        self.claims.discard(endpoint)
        self.store.keep_only(self.claims)

    def allow(self, what: str, path: str) -> None:
        """Nothing to do: what this process may not open, nobody opens for it."""

    def read(self, path: str, limit: int) -> bytes:
        return read_regular_file(path, limit)

    def state(self, path: str) -> FileState:
        return file_state(path)

    def open_log(self, path: str) -> int:
        return open_log_file(path)

    def seal(self) -> None:
        """Nothing to do: the kernel sees to it."""

    def wind_down(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets that listen, and remove the files of those that have one."""
        self.store.close()
