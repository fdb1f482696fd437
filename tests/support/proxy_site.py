"""A proxy mount before origins that the test plays itself, on one reactor and with a clock that stands still.

    site = ProxySite(tmp_path)                      # {"mountpoint": "/p", "origin": "http://127.0.0.1:PORT/"}
    peer = site.connect()
    peer.send(b"GET /p/x HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    origin = site.accept()                          # the connection that the server has made
    assert origin.head().startswith("GET /x HTTP/1.1\\r\\n")
    origin.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    assert peer.answer().body == b"ok"
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from lwsws.handlers.proxy import ProxyHandler
from lwsws.net.onward import Onward
from lwsws.net.pool import Pool, Target
from lwsws.wire.origin_paths import OriginPaths
from tests.net.support import reset
from tests.support.peer import Bench, Peer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class OriginEnd:
    """The origin's end of one connection of the server to it."""

    def __init__(self, bench: Bench, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bench = bench
        self.sock = sock
        self.data = b""
        self.eof = False

    def receive(self) -> bytes:
        """All that has come and was not taken yet."""
        self.bench.run()
        while not self.eof:
            try:
                data = self.sock.recv(1 << 16)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            self.eof = not data
            self.data += data
            self.bench.run()
        return self.data

    def take(self, size: int) -> bytes:
        """The next `size` bytes, which must have come."""
        self.receive()
        data, self.data = self.data[:size], self.data[size:]
        assert len(data) == size, f"only {len(data)} bytes came"
        return data

    def head(self) -> str:
        """The head of the next request, which must have come whole; its body stays."""
        self.receive()
        head, separator, self.data = self.data.partition(b"\r\n\r\n")
        assert separator, f"no request, only {head!r}"
        return head.decode("latin-1") + "\r\n"

    def fields(self) -> Dict[str, str]:
        """The fields of the next request, names in lower case; none may come twice."""
        lines = self.head().split("\r\n")[1:-1]
        pairs = [line.split(": ", 1) for line in lines]
        table = {name.lower(): value for name, value in pairs}
        assert len(table) == len(pairs), lines
        return table

    def send(self, data: bytes) -> None:
        """Send what the server takes of it, which must be all unless it has closed."""
        attempts = 0
        while data:
            try:
                data = data[self.sock.send(data):]
                attempts = 0
            except BlockingIOError:
                attempts += 1
                assert attempts < 50, f"the server does not take the last {len(data)} bytes"
            except (BrokenPipeError, ConnectionResetError):
                break
            self.bench.run()
        self.bench.run()

    def send_some(self, data: Union[bytes, memoryview]) -> int:
        """Send what the server takes now; how much that was."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Read what there is, and close: with something unread that would be a reset."""
        self.receive()
        self.sock.close()
        self.bench.run()

    def reset(self) -> None:
        """Break off."""
        reset(self.sock)
        self.bench.run()

    @property
    def closed(self) -> bool:
        """Whether the server has closed, and all it sent was taken."""
        return not self.receive() and self.eof


class ProxySite:
    """A server with one proxy mount, and what listens for its origins."""

    def __init__(self, tmp_path: Path, origins: int = 1, location: str = "/", mountpoint: str = "/p",
                 tls: Optional[ssl.SSLContext] = None, headers: Any = (), **keys: Any) -> None:
        """`keys` are more of the mount's, with _ for -."""
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(origins)]
        self.ports = [int(listener.getsockname()[1]) for listener in self.listeners]
        scheme = "http" if tls is None else "https"
        first, *more = [f"{scheme}://127.0.0.1:{port}{location}" for port in self.ports]
        mount = {"mountpoint": mountpoint, "origin": first, "more-origins": more,
                 **{name.replace("_", "-"): value for name, value in keys.items()}}
        self.bench = Bench(tmp_path, {"mounts": [mount], "headers": list(headers)})
        config = self.bench.config.vhosts[0].mounts[0]
        self.pools = [Pool(Target(Onward("127.0.0.1", port, socket.AF_INET), tls, "127.0.0.1" if tls else ""))
                      for port in self.ports]
        names = [(scheme, "127.0.0.1", port) for port in self.ports]
        prefix = mountpoint.rstrip("/")
        handler = ProxyHandler(config, self.pools, OriginPaths(prefix, config.origin.location, names))
        self.bench.mount(prefix, handler, 1 << 30)
        self._made: List[socket.socket] = []

    def connect(self, **keys: Any) -> Peer:
        """A client."""
        return self.bench.connect(**keys)

    def accept(self, index: int = 0) -> OriginEnd:
        """The next connection of the server to the origin with this index."""
        self.bench.run()
        listener = self.listeners[index]
        listener.settimeout(5)
        sock, _ = listener.accept()
        self._made.append(sock)
        self.bench.run()
        return OriginEnd(self.bench, sock)

    def kept(self) -> Tuple[Peer, OriginEnd]:
        """A client that was answered, and the origin's end of the connection that is kept."""
        peer = self.connect()
        peer.send(b"GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        origin = self.accept()
        origin.head()
        origin.send(OK)
        peer.answer()
        return peer, origin

    def is_quiet(self, index: int = 0) -> bool:
        """Whether the server has made no further connection."""
        self.bench.run()
        self.listeners[index].setblocking(False)
        try:
            self._made.append(self.listeners[index].accept()[0])
        except BlockingIOError:
            return True
        return False

    def down(self, index: int = 0) -> None:
        """The origin with this index refuses connections."""
        self.listeners[index].close()

    def close(self) -> None:
        """End all; nothing may be in use afterwards."""
        for connection in list(self.bench.context.connections):
            connection.abort()
        self.bench.run()
        assert self.bench.context.onward == 0
        for pool in self.pools:
            pool.close()
        self.bench.close()
        for sock in (*self._made, *self.listeners):
            sock.close()
