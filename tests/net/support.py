"""What the tests of the net layer share: a receiver that keeps what it is told, and connected sockets."""

from __future__ import annotations

import os
import selectors
import socket
import struct
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple

from lwsws.net.bind import bind_tcp, start_listening, tcp_address
from lwsws.net.reactor import Reactor
from lwsws.net.transport import Transport

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

# Only a test that fails waits that long.
PATIENCE_SECONDS = 10.0
PASSES = 20_000

TCP_BUFFER = 128 * 1024
# More than socket buffers hold: the kernel takes twice what one asks for, on both sides.
LARGE = 1_000_000

Hook = Callable[[], None]


class CountingSelector(selectors.DefaultSelector):
    """The usual selector, and how often it was asked for what."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: List[Optional[float]] = []
        self.changes = 0
        self.reported = 0

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch a fd."""
        self.changes += 1
        return super().register(fileobj, events, data)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch it for something else."""
        self.changes += 1
        return super().modify(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Watch it no more."""
        self.changes += 1
        return super().unregister(fileobj)

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        """Wait, but not for ever."""
        self.timeouts.append(timeout)
        if timeout is None or timeout > PATIENCE_SECONDS:
            timeout = PATIENCE_SECONDS
        ready = super().select(timeout)
        self.reported += len(ready)
        return ready


class Recorder:
    """A receiver that writes down what it is told, and calls the hook of that event."""

    def __init__(self) -> None:
        self.events: List[str] = []
        self.data = b""
        self.loss: Optional[Exception] = None
        self.on_data: Optional[Hook] = None
        self.on_eof: Optional[Hook] = None
        self.on_drained: Optional[Hook] = None
        self.on_lost: Optional[Hook] = None

    def data_received(self, data: bytes) -> None:
        """Note "data"; pieces that follow each other are one event."""
        self.data += data
        if self.events[-1:] != ["data"]:
            self.events.append("data")
        self._call(self.on_data)

    def eof_received(self) -> None:
        """Note "eof"."""
        self.events.append("eof")
        self._call(self.on_eof)

    def drained(self) -> None:
        """Note "drained"."""
        self.events.append("drained")
        self._call(self.on_drained)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Note "closed" or, with an exception, "lost"."""
        self.loss = exc
        self.events.append("closed" if exc is None else "lost")
        self._call(self.on_lost)

    @property
    def over(self) -> bool:
        """Whether the connection is."""
        return self.events[-1:] in (["closed"], ["lost"])

    def _call(self, hook: Optional[Hook]) -> None:
        if hook is not None:
            hook()


class Connected:
    """A transport with its recorder, and the peer's blocking socket."""

    def __init__(self, reactor: Reactor, ours: socket.socket, peer: socket.socket) -> None:
        ours.setblocking(False)
        peer.settimeout(PATIENCE_SECONDS)
        self.reactor = reactor
        self.peer = peer
        self.got = Recorder()
        self.transport = Transport(reactor, ours, self.got)

    def spin(self, until: Callable[[], bool]) -> None:
        """Run the reactor until the condition holds."""
        spin(self.reactor, until)

    def read_all(self, pause: int = 65536) -> bytes:
        """All that the peer gets to its EOF, with the reactor running meanwhile."""
        self.peer.setblocking(False)
        received = bytearray()
        for _ in range(PASSES):
            try:
                data = self.peer.recv(pause)
            except BlockingIOError:
                self.reactor.run_once(0.01)
                continue
            if not data:
                return bytes(received)
            received += data
        raise AssertionError(f"no EOF after {len(received)} bytes")

    def finish(self) -> None:
        """End both sides."""
        self.transport.abort()
        self.peer.close()
        settle(self.reactor)


def spin(reactor: Reactor, until: Callable[[], bool]) -> None:
    """Run passes until the condition holds; each waits for something to happen."""
    for _ in range(PASSES):
        if until():
            return
        reactor.run_once(PATIENCE_SECONDS)
    raise AssertionError("the condition never came to hold")


def settle(reactor: Reactor, passes: int = 5) -> None:
    """Run passes that wait for nothing."""
    for _ in range(passes):
        reactor.run_once(0.0)


def unix_pair() -> Tuple[socket.socket, socket.socket]:
    """Two connected unix sockets."""
    return socket.socketpair()


def tcp_pair() -> Tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets on the loopback, whose buffers hold less than LARGE."""
    client = socket.socket()
    with socket.socket() as server:
        for sock in (server, client):  # before they connect: else the kernel lets the buffers grow
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, TCP_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TCP_BUFFER)
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        accepted, _ = server.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return accepted, client


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that its peer gets RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def fill_unix_buffer(sock: socket.socket, size: int = 4096) -> None:
    """Make the send buffer small, so that little output is too much."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def temporary_file(content: bytes) -> int:
    """The fd of a file in memory."""
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


def listen_tcp(host: str, port: int, family: int, reuse_port: bool = False) -> socket.socket:
    """A listening socket on the address `host`, made as those of the store are."""
    sock = bind_tcp(tcp_address(host, port, family), family, reuse_port=reuse_port)
    start_listening(sock)
    return sock


def has_ipv6() -> bool:
    """Whether the loopback has its IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
