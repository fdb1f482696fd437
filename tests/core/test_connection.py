"""Connections: what happens where the kernel fails and where the peer does not read."""

from __future__ import annotations

import errno
import selectors
import socket
from typing import Any

from lwsws.core.connection import Connection
from lwsws.core.context import Context, Limits
from lwsws.core.role import Role
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers


class FullSelector(selectors.DefaultSelector):
    """Takes no more sockets, as epoll does at /proc/sys/fs/epoll/max_user_watches."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_socket_that_cannot_be_watched_is_closed_and_forgotten() -> None:
    reactor = Reactor(selector=FullSelector())
    context = Context(reactor, Workers(reactor, 1), Limits())
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        connection = Connection(context, ours, None, Role())
        reactor.run_once(0)
        assert connection.closed and not context.connections
        assert theirs.recv(1) == b""
    finally:
        theirs.close()
        ours.close()
        reactor.close()
