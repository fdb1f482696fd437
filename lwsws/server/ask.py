"""One real request to the vhosts of an endpoint, inside this process, and what became of it.

The request goes over a socketpair to a real connection in the http role, so all of the server takes
part in it but the listening socket.  The answer is read to the end of its head; the role tells which
exchange it was, and what a handler refused.
"""

from __future__ import annotations

import socket
from typing import List, NamedTuple, Optional, Tuple

from lwsws.config.model import GlobalConfig
from lwsws.core.connection import Connection
from lwsws.core.context import Context, Limits
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.vhost import VhostSet
from lwsws.net.reactor import Reactor
from lwsws.net.transport import Transport
from lwsws.net.workers import Workers
from lwsws.roles.http import HttpRole
from lwsws.server.build import build_limits
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_request import RequestReader

HEAD_END = b"\r\n\r\n"

# Who asks, as far as the server is told.
ADDRESS = ("127.0.0.1", 0)


class Outcome(NamedTuple):
    """An answer; `exchange` is None if the request broke the rules, `refusal` is that of an error page."""

    status: int
    fields: Tuple[Tuple[str, str], ...]
    exchange: Optional[Exchange]
    refusal: Optional[HttpError]


class Witness(HttpRole):
    """The http role, which remembers the exchange and why it was refused."""

    __slots__ = ("met", "refusal")

    def __init__(self, vhosts: VhostSet) -> None:
        super().__init__(vhosts)
        self.met: Optional[Exchange] = None
        self.refusal: Optional[HttpError] = None

    def fail(self, exchange: Exchange, error: HttpError) -> None:
        """A handler, or the role itself, wants an error page."""
        self.refusal = error
        super().fail(exchange, error)

    def exchange_finished(self, exchange: Exchange) -> None:
        """The answer is complete."""
        self.met = exchange
        super().exchange_finished(exchange)


class Client:
    """The other end: keeps what comes, until the head of the answer is there or nothing more comes."""

    def __init__(self) -> None:
        self.data = b""
        self.done = False

    def data_received(self, data: bytes) -> None:
        """A part of the answer."""
        self.data += data
        self.done = HEAD_END in self.data

    def eof_received(self) -> None:
        """The server has closed."""
        self.done = True

    def drained(self) -> None:
        """The request is sent."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The connection is gone."""
        self.done = True


def ask(reactor: Reactor, settings: GlobalConfig, vhosts: VhostSet, head: bytes) -> Outcome:
    """Send the request `head` to `vhosts`; `reactor` must be one that does nothing else."""
    limits = build_limits(settings)
    context = Context(reactor, Workers(reactor, 1), limits)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    role, client = Witness(vhosts), Client()
    connection = Connection(context, ours, ADDRESS, role)
    transport = Transport(reactor, theirs, client)
    transport.start()
    transport.write(head)
    # The deadlines of the connection end this in any case.
    while not client.done:
        reactor.run_once()
    connection.abort()
    transport.abort()
    reactor.run_once(0.0)   # in which both are told
    status, fields = _parsed(client.data)
    refusal = role.refusal if role.met is not None else _fault_of(head, limits)
    return Outcome(status, fields, role.met, refusal)


def _parsed(data: bytes) -> Tuple[int, Tuple[Tuple[str, str], ...]]:
    """Status (0: no answer came) and fields of an answer's head."""
    status_line, *lines = data.partition(HEAD_END)[0].decode("latin-1").split("\r\n")
    words: List[str] = status_line.split(" ", 2)
    status = int(words[1]) if len(words) > 1 else 0
    return status, tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))


def _fault_of(head: bytes, limits: Limits) -> Optional[HttpError]:
    """What the reader finds wrong with a request that did not become an exchange."""
    reader = RequestReader(limits.request)
    try:
        reader.receive_data(head)
        reader.next_event()
    except RemoteProtocolError as error:
        return HttpError(error.status, error.why)
    return None
