"""A relay between two peers, for the tests of what happens to its ends."""

from __future__ import annotations

from typing import NamedTuple, Tuple

from lwsws.core.connection import Connection
from lwsws.net.reactor import BUFFER_BYTES
from lwsws.net.receiver import NOBODY
from lwsws.net.transport import Transport
from lwsws.roles.relay import RelayRole
from tests.support.raw import Pair, Peer, RawBench


class Ends(NamedTuple):
    """A relay's two peers, and the relay."""

    client: Peer
    far: Peer
    conn: Connection
    role: RelayRole

    def source_and_sink(self, way: str) -> Tuple[Peer, Peer]:
        """Who sends and who receives on this way."""
        return (self.client, self.far) if way == "up" else (self.far, self.client)

    def most_queued(self) -> int:
        """How much waits for the peer for whom most does."""
        return max(self.conn.transport.size, self.role.down.source.size)


def relay(bench: RawBench, pair: Pair) -> Ends:
    """A relay between two peers."""
    ours, theirs = pair()
    ours.setblocking(False)
    far = bench.keep(Peer(bench, theirs))
    role = RelayRole(Transport(bench.reactor, ours, NOBODY), "some.where:1")
    client = bench.connect(role, pair)
    bench.settle()
    (conn,) = bench.context.connections
    return Ends(client, far, conn, role)


def closed_down(bench: RawBench) -> bool:
    """Whether the relay has let go of both of its ends."""
    bench.settle()
    return not bench.context.connections


def fill(bench: RawBench, ends: Ends, source: Peer) -> int:
    """Send until nothing is taken any more, because much waits in the server; how much was sent."""
    sent = idle = 0
    while idle < 10:
        taken = source.send_some(bytes(BUFFER_BYTES))
        idle = 0 if taken else idle + 1
        sent += taken
        bench.reactor.run_once(0)
    assert ends.most_queued()
    return sent


def until_over(bench: RawBench, peer: Peer) -> None:
    """Have the peer read until the end, with as much time as that takes."""
    while not peer.over:
        bench.reactor.run_once(0)
        bench.clock.advance(0.001)
