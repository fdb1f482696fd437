"""A client on a socketpair before a real reactor, transport and http role, without a network or a real clock.

    site = Bench(tmp_path, {"mounts": [...]})      # a configuration, built as the server builds it
    peer = site.connect()
    peer.send(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    answer = peer.answer()                         # the next whole answer

The reactor runs only inside these calls, so a test is one thread and the same each time; the clock
stands still until `site.advance(seconds)`.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from lwsws.config.loader import load
from lwsws.config.model import Config
from lwsws.core.connection import Connection
from lwsws.core.context import Context
from lwsws.core.handler import Handler
from lwsws.core.routing import Routes
from lwsws.core.vhost import MountPoint, VhostSet
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from lwsws.server.build import Shared, Site, build, build_limits
from lwsws.server.mounts import build_mount
from tests.support.clock import ManualClock

# Passes of the reactor after which nothing more can be going on by itself.
QUIET_PASSES = 4


class Answer(NamedTuple):
    """One parsed answer; `fields` as they came, `head` and `body` as bytes."""

    status: int
    fields: List[Tuple[str, str]]
    body: bytes
    head: bytes

    def get(self, name: str) -> Optional[str]:
        """The value of the only field `name`, None if absent."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


def write_config(directory: Path, vhosts: Sequence[Dict[str, Any]],
                 settings: Optional[Dict[str, Any]] = None) -> Path:
    """Write a configuration directory of `vhosts` and `global` settings; returns it."""
    (directory / "conf.d").mkdir(parents=True, exist_ok=True)
    (directory / "conf").write_text(json.dumps({"global": settings or {}}))
    (directory / "conf.d" / "test").write_text(json.dumps({"vhosts": list(vhosts)}))
    return directory


def load_config(directory: Path) -> Config:
    """The configuration of `directory`, which must load."""
    loaded = load(str(directory), "/usr/share/lwsws")
    assert loaded.config is not None, "\n".join(map(str, loaded.faults))
    return loaded.config


class Bench:
    """A built configuration that peers can connect to."""

    def __init__(self, directory: Path, *vhosts: Dict[str, Any], **settings: Any) -> None:
        """`vhosts` get localhost and 7681 as name and port; `settings` are global keys with `_` for `-`."""
        complete = [{"name": "localhost", "port": "7681", **vhost} for vhost in vhosts]
        named = {key.replace("_", "-"): value for key, value in settings.items()}
        self.config = load_config(write_config(directory / "etc", complete, named))
        self.clock = ManualClock()
        started = self.clock()
        self.reactor = Reactor(clock=self.clock)
        self.workers = Workers(self.reactor, 1)
        # Wall clock and reactor clock run together, from a time of no meaning on.
        self.context = Context(
            self.reactor, self.workers, build_limits(self.config.globals),
            wall_clock=lambda: 1_800_000_000 + self.clock() - started)
        self.site: Site = build(self.config, self.reactor)
        self._peers: List[Peer] = []

    def mount(self, prefix: str, handler: Handler, max_body: int = 1 << 20) -> None:
        """Put `handler` at `prefix` of the first vhost, beside what is configured."""
        vhost = self.vhosts().default
        extra = MountPoint(prefix, handler, vhost.headers, vhost.keepalive, max_body)
        config, shared = self.config.vhosts[0], Shared(self.reactor)
        configured = [build_mount(mount, config, self.config.globals, (), shared) for mount in config.mounts]
        vhost.routes = Routes([extra, *configured])

    def vhosts(self) -> VhostSet:
        """The vhosts of the first endpoint, as plain http meets them."""
        vhosts = self.site.listening[0].reception.plain
        assert vhosts is not None
        return vhosts

    def connect(self, address: Any = ("192.0.2.7", 4711), buffer: int = 0) -> Peer:
        """A new connection from `address`; `buffer` makes the socket buffers small."""
        ours, theirs = socket.socketpair()
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        ours.setblocking(False)
        theirs.setblocking(False)
        role = self.site.listening[0].reception.first_role(address)
        peer = Peer(self, theirs, Connection(self.context, ours, address, role))
        self._peers.append(peer)
        return peer

    def run(self) -> None:
        """Let everything that can happen without waiting happen."""
        for _ in range(QUIET_PASSES):
            self.reactor.run_once(0)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.clock.advance(seconds)
        self.run()

    def close(self) -> None:
        """End all connections; afterwards none may be registered."""
        for connection in list(self.context.connections):
            connection.abort()
        self.run()
        assert not self.context.connections
        for peer in self._peers:
            peer.sock.close()
        self.workers.stop(timeout=5)
        self.context.end_programs()
        for access_log in self.site.access_logs:
            access_log.close()
        self.reactor.close()


class Peer:
    """The client's end of one connection."""

    def __init__(self, bench: Bench, sock: socket.socket, connection: Connection) -> None:
        self.bench = bench
        self.sock = sock
        self.connection = connection
        self.data = b""
        self.eof = False

    def send(self, data: bytes) -> None:
        """Send all of `data`, letting the server read and answer meanwhile."""
        attempts = 0
        while data:
            try:
                data = data[self.sock.send(data):]
                attempts = 0
            except BlockingIOError:
                self.receive()
                attempts += 1
                assert attempts < QUIET_PASSES, f"the server does not take the last {len(data)} bytes"
            except (BrokenPipeError, ConnectionResetError):
                break
            self.bench.run()
        self.bench.run()

    def half_close(self) -> None:
        """Send nothing more, but read on."""
        self.sock.shutdown(socket.SHUT_WR)
        self.bench.run()

    def receive(self) -> bytes:
        """Take in what has come so far; returns all that no answer has used."""
        while not self.eof:
            try:
                data = self.sock.recv(1 << 16)
            except BlockingIOError:
                self.bench.run()
                try:
                    data = self.sock.recv(1 << 16)
                except BlockingIOError:
                    break
                except ConnectionResetError:
                    data = b""
            except ConnectionResetError:
                data = b""
            self.eof = not data
            self.data += data
            self.bench.run()
        return self.data

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, which must have come whole."""
        self.receive()
        head, separator, rest = self.data.partition(b"\r\n\r\n")
        assert separator, f"no answer, only {self.data[:200]!r}"
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, code, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        status = int(code)
        table = {name.lower(): value for name, value in fields}
        if method == "HEAD" or status in (204, 304) or status < 200:
            body = b""
        elif table.get("transfer-encoding") == "chunked":
            body, rest = _dechunk(rest)
        elif "content-length" in table:
            length = int(table["content-length"])
            body, rest = rest[:length], rest[length:]
            assert len(body) == length, f"body of {len(body)} bytes instead of {length}"
        else:
            assert self.eof, "neither a length nor the end of the connection"
            body, rest = rest, b""
        self.data = rest
        return Answer(status, fields, body, head + separator)

    def ask(self, request: str, method: str = "GET") -> Answer:
        """Send `request` (a head without the last empty line, LF for CRLF is fine) and take the answer."""
        self.send(request.strip("\n").replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
        return self.answer(method)

    def get(self, target: str, *fields: str, host: str = "localhost") -> Answer:
        """GET `target` with more header `fields`."""
        return self.ask("\n".join((f"GET {target} HTTP/1.1", f"Host: {host}", *fields)))

    @property
    def closed(self) -> bool:
        """The server has closed (or half-closed) the connection and all it sent is used."""
        return not self.receive() and self.eof


def _dechunk(data: bytes) -> Tuple[bytes, bytes]:
    body = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            assert data.startswith(b"\r\n")
            return body, data[2:]
        body += data[:size]
        assert data[size:size + 2] == b"\r\n"
        data = data[size + 2:]
