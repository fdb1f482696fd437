"""Load through a tunnel of raw TCP: this process holds both ends, the server carries what is between.

A connection to the server comes out again at the far end's listening socket.  Of both ends the
system calls are the only cost: files go in by sendfile and are thrown away inside the kernel, and small
messages move in step over all connections, with no loop that waits for one of them.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Tuple

from bench import processes
from bench.clients import BLOCK, Download, discard
from bench.connections import TIMEOUT, connect
from bench.servers import Running

MESSAGE = bytes(64)
CONNECTIONS = 32
TOKEN_BYTES = 16


class Echoes(NamedTuple):
    """Messages that went there and back: `seconds` is the wall clock, `cpu` the server's own time."""

    made: int
    seconds: float
    cpu: float


def open_tunnel(server: Running, stack: ExitStack) -> Tuple[socket.socket, socket.socket]:
    """The near and the far end of a new connection through the server; `stack` closes both."""
    near = stack.enter_context(connect(server.port))
    wait_in_kernel(near)
    token = os.urandom(TOKEN_BYTES)
    near.sendall(token)
    while True:
        far, _ = server.given.far_end.accept()
        stack.enter_context(far)
        wait_in_kernel(far)
        # Others in the queue were opened only to see whether the server accepts.
        if far.recv(TOKEN_BYTES, socket.MSG_WAITALL) == token:
            return near, far


def wait_in_kernel(sock: socket.socket) -> None:
    """Let the kernel do the waiting, with a limit: Python's own limit costs a poll for each call."""
    sock.settimeout(None)
    limit = struct.pack("ll", int(TIMEOUT), 0)  # struct timeval
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def echo(server: Running, seconds: float) -> Echoes:
    """Send a small message there and back over each of some connections, again and again."""
    made = 0
    with processes.on_core(server.cores.load), ExitStack() as stack:
        tunnels = [open_tunnel(server, stack) for _ in range(CONNECTIONS)]
        cpu = server.cpu_seconds()
        began = now = time.perf_counter()
        while now - began < seconds:
            for near, _ in tunnels:
                near.send(MESSAGE)
            for _, far in tunnels:
                far.send(receive(far))
            for near, _ in tunnels:
                receive(near)
            made += CONNECTIONS
            now = time.perf_counter()
        return Echoes(made, now - began, server.cpu_seconds() - cpu)


def receive(sock: socket.socket) -> bytes:
    """One message; ConnectionError if it is not whole."""
    data = sock.recv(len(MESSAGE), socket.MSG_WAITALL)
    if len(data) < len(MESSAGE):
        raise ConnectionError("the server closed a connection in the middle of a message")
    return data


def bulk(server: Running, path: Path, seconds: float) -> Download:
    """Carry a file through one connection in turn to the client and away from it, for about `seconds`."""
    total = 0
    with processes.on_core(server.cores.load), ExitStack() as stack:
        near, far = open_tunnel(server, stack)
        cpu = server.cpu_seconds()
        began = now = time.perf_counter()
        while now - began < seconds:
            total += carry(path, far, near) + carry(path, near, far)
            now = time.perf_counter()
        return Download(total, now - began, server.cpu_seconds() - cpu)


def carry(path: Path, source: socket.socket, sink: socket.socket) -> int:
    """Send a file in at `source` and throw it away at `sink`; gives its size."""
    size = path.stat().st_size
    with open(path, "rb") as file, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(source.sendfile, file)
        discard(sink, size, bytearray(BLOCK))
        return sent.result()
