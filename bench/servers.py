"""Started servers: how it is seen that one is ready, and what it has cost so far."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, Optional, Type

from bench import processes
from bench.connections import check_spoken, client_context, connect, connect_tls
from bench.subjects import CGI, HOST, HTTP, MIRROR, PROXY, RAW, TLS, WS, Given, Subject

READY_SECONDS = 15.0
POLL_SECONDS = 0.0005
READY_REQUEST = b"GET /index.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

UPGRADE_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: aXMgaXQgcmVhZHkgeWV0Pw==\r\n\r\n"
)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


class Running:
    """One started server, a tree of processes; a context manager that ends it."""

    def __init__(self, subject: Subject, given: Given, scratch: Path, cores: processes.Cores) -> None:
        self.subject = subject
        self.name = subject.name
        self.given = given
        self.port = free_port()
        self.cores = cores
        self.scratch = scratch
        # The system may give the same port a second time.
        folder = Path(tempfile.mkdtemp(prefix=f"{subject.name}-{self.port}-", dir=scratch))
        self._log = folder / "output"
        command = subject.command(self.port, given, folder)
        self.started = time.perf_counter()
        self._process: subprocess.Popen[bytes] = processes.start(command, cores.server, self._log, cwd=folder)

    def wait_ready(self) -> float:
        """Seconds from the start of the process to the end of its first good answer."""
        is_ready = READY[self.subject.kind]
        while True:
            try:
                if is_ready(self):
                    return time.perf_counter() - self.started
            except OSError:
                pass
            gone = self._process.poll() is not None
            if gone or time.perf_counter() - self.started > READY_SECONDS:
                self.stop()
                raise RuntimeError(f"{self.name} does not answer:\n{self._log.read_text('utf-8', 'replace')}")
            time.sleep(POLL_SECONDS)

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        return processes.cpu_seconds(processes.tree(self._process.pid))

    def memory_bytes(self) -> int:
        """Memory of all its processes now, what they share counted once."""
        return processes.memory_bytes(processes.tree(self._process.pid))

    def largest_bytes(self) -> int:
        """Resident memory of the largest of its processes now."""
        return processes.largest_bytes(processes.tree(self._process.pid))

    def stop(self) -> None:
        """End it."""
        processes.stop(self._process)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()


def serves(sock: socket.socket) -> bool:
    """Whether the first page is answered on `sock`."""
    sock.sendall(READY_REQUEST)
    return b" 200 " in sock.recv(4096)[:16]


def serves_http(server: Running) -> bool:
    """Whether a server of files answers."""
    with connect(server.port) as sock:
        return serves(sock)


def serves_tls(server: Running) -> bool:
    """Whether a server of files answers over TLS; RuntimeError if it cannot be compared."""
    with connect_tls(server.port, client_context(server.given.certificate)) as sock:
        check_spoken(sock)
        return serves(sock)


def accepts(server: Running) -> bool:
    """Whether a tunnel takes connections; where they lead is seen when it is measured."""
    with connect(server.port):
        return True


def upgrades(server: Running) -> bool:
    """Whether a server takes WebSockets."""
    with connect(server.port) as sock:
        sock.sendall(UPGRADE_REQUEST)
        return b" 101 " in sock.recv(4096)[:16]


READY: Dict[str, Callable[[Running], bool]] = {
    HTTP: serves_http,
    TLS: serves_tls,
    CGI: serves_http,
    PROXY: serves_http,
    RAW: accepts,
    WS: upgrades,
    MIRROR: upgrades,
}
