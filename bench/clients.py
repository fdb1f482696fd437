"""Load that wrk cannot make: big downloads, thousands of idle connections, latencies one by one.

Bodies are thrown away inside the kernel (recv with MSG_TRUNC on a TCP socket, tcp(7)), so that the
client costs next to nothing and the server is what is measured.  Run as a program it is one slow
reader for the fairness row:

    python3 -m bench.clients PORT PATH BYTES_PER_SECOND
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import Callable, Dict, Iterator, List, NamedTuple

from bench import processes
from bench.connections import connect
from bench.servers import Running
from bench.subjects import ROOT

BLOCK = 1 << 20
HEAD_END = b"\r\n\r\n"

# Each slow reader takes a small part of what loopback can carry, but keeps the server's output full.
SLOW_READERS = 2
SLOW_RATE = 20_000_000  # bytes a second
SLOW_PAUSE = 0.005

PING_PAUSE = 0.001  # between the end of one small request and the start of the next


class Head(NamedTuple):
    """The head of an answer, and how much of its body came with it."""

    status: int
    fields: Dict[str, str]
    extra: int

    @property
    def length(self) -> int:
        """Bytes of body that it promises."""
        return int(self.fields.get("content-length", "0"))


def request_bytes(path: str, *fields: str) -> bytes:
    """A small GET; `fields` are more header lines."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def read_head(sock: socket.socket) -> Head:
    """Read to the end of the answer's head, and whatever of the body comes along."""
    data = b""
    while HEAD_END not in data:
        more = sock.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection in the middle of a head")
        data += more
    head, _, body = data.partition(HEAD_END)
    lines = head.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    status = re.match(r"HTTP/1\.\d (\d{3})", lines[0])
    if status is None:
        raise ConnectionError(f"no status line: {lines[0]!r}")
    return Head(int(status[1]), fields, len(body))


def discard(sock: socket.socket, count: int, block: bytearray) -> None:
    """Read `count` bytes and throw them away."""
    while count > 0:
        got = sock.recv_into(block, min(count, len(block)), socket.MSG_TRUNC)
        if not got:
            raise ConnectionError("the server closed the connection in the middle of a body")
        count -= got


def fetch(sock: socket.socket, path: str, block: bytearray) -> int:
    """One GET on `sock`, the body thrown away; gives its length."""
    sock.sendall(request_bytes(path))
    head = read_head(sock)
    if head.status != 200:
        raise ConnectionError(f"{path}: status {head.status}")
    discard(sock, head.length - head.extra, block)
    return head.length


def fetch_anew(server: Running, path: str, block: bytearray) -> int:
    """One GET on a new connection, the body thrown away; gives its length."""
    with connect(server.port) as sock:
        return fetch(sock, path, block)


class Download(NamedTuple):
    """Some downloads, one after the other: `seconds` is the wall clock, `cpu` the server's own time."""

    bytes: int
    seconds: float
    cpu: float


def download(
    server: Running,
    path: str,
    seconds: float,
    fetch_one: Callable[[Running, str, bytearray], int] = fetch_anew,
) -> Download:
    """Fetch a big file again and again, each time on a new connection, for about `seconds`."""
    block = bytearray(BLOCK)
    total = 0
    cpu = server.cpu_seconds()
    with processes.on_core(server.cores.load):
        began = time.perf_counter()
        while total == 0 or time.perf_counter() - began < seconds:
            total += fetch_one(server, path, block)
        ended = time.perf_counter()
    return Download(total, ended - began, server.cpu_seconds() - cpu)


def idle_growth(server: Running, path: str, count: int) -> float:
    """Bytes of memory for each of `count` connections that asked once and now are idle."""
    block = bytearray(BLOCK)
    with ExitStack() as stack:
        # The first hundred pay for what the server makes once.
        for _ in range(100):
            fetch(stack.enter_context(connect(server.port)), path, block)
        before = server.memory_bytes()
        for _ in range(count):
            fetch(stack.enter_context(connect(server.port)), path, block)
        return (server.memory_bytes() - before) / count


def latencies(server: Running, path: str, seconds: float) -> List[float]:
    """Seconds that each of many small requests took, one at a time on one connection, in order of size."""
    block = bytearray(BLOCK)
    found = []
    with processes.on_core(server.cores.load), ExitStack() as stack:
        sock = stack.enter_context(connect(server.port))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if not server.subject.keeps_connections:
                sock = stack.enter_context(connect(server.port))
            began = time.perf_counter()
            fetch(sock, path, block)
            found.append(time.perf_counter() - began)
            time.sleep(PING_PAUSE)
    return sorted(found)


def read_slowly(port: int, path: str, rate: int) -> None:
    """Download `path` for ever, `rate` bytes a second."""
    block = bytearray(BLOCK)
    share = int(rate * SLOW_PAUSE)
    while True:
        with connect(port) as sock:
            sock.sendall(request_bytes(path))
            head = read_head(sock)
            left = head.length - head.extra
            while left > 0:
                discard(sock, min(share, left), block)
                left -= share
                time.sleep(SLOW_PAUSE)


@contextmanager
def slow_readers(server: Running, path: str) -> Iterator[None]:
    """While inside, some processes read `path` slowly."""
    command = [sys.executable, "-m", "bench.clients", str(server.port), path, str(SLOW_RATE)]
    with ExitStack() as stack:
        for number in range(SLOW_READERS):
            log = server.scratch / f"slow-{number}"
            stack.callback(_stop, processes.start(command, server.cores.load, log, cwd=ROOT))
        time.sleep(0.3)  # until they have filled the server's output
        yield


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        process.wait()
        raise RuntimeError("a slow reader ended early")
    processes.stop(process)


if __name__ == "__main__":
    os.nice(19)  # it shares a core with the client whose latencies are measured
    try:
        read_slowly(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    except KeyboardInterrupt:
        pass
