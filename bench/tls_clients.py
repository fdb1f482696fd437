"""Load over TLS that wrk cannot make: handshakes alone, full or resumed, and big downloads.

A client pays for a full handshake more than the server: it checks the certificate and the signature
that the server made.  So several client processes share all cores but that of the server.  Where
that is one core only, a fast server is not kept busy, and the figure for each CPU second is the one
that counts.  Run as a program this is one such client, which says how many handshakes it made in how
many seconds:

    python3 -m bench.tls_clients PORT CERTIFICATE SECONDS full|resumed
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Tuple

from bench import processes
from bench.clients import request_bytes
from bench.connections import TIMEOUT, client_context, connect_tls
from bench.servers import READY_REQUEST, Running
from bench.subjects import ROOT

CLIENTS = 4  # enough that one always has something to do while others wait for the server
GRACE_SECONDS = 2 * TIMEOUT  # on top of the time a client should take: it gives up by itself before
FULL, RESUMED = "full", "resumed"


class Handshakes(NamedTuple):
    """What all clients did together: handshakes, how many each second, and the server's own time."""

    made: int
    rate: float
    cpu: float


def handshakes(server: Running, seconds: float, way: str) -> Handshakes:
    """Make as many handshakes as possible for `seconds`; `way` is FULL or RESUMED."""
    arguments = [str(server.port), str(server.given.certificate), str(seconds), way]
    command = [sys.executable, "-m", "bench.tls_clients", *arguments]
    logs = [server.scratch / f"handshakes-{number}" for number in range(CLIENTS)]
    cpu = server.cpu_seconds()
    with ExitStack() as stack:
        clients = []
        for number, log in enumerate(logs):
            log.write_text("")
            core = server.cores.others[number % len(server.cores.others)]
            clients.append(processes.start(command, core, log, cwd=ROOT))
            stack.callback(processes.stop, clients[-1])
        done = [finished(client, log, seconds) for client, log in zip(clients, logs)]
    rate = sum(count / took for count, took in done)
    return Handshakes(sum(count for count, _ in done), rate, server.cpu_seconds() - cpu)


def finished(client: subprocess.Popen[bytes], log: Path, seconds: float) -> Tuple[int, float]:
    """What a client said at its end: the number of handshakes and the seconds they took."""
    code = client.wait(seconds + GRACE_SECONDS)
    said = log.read_text("utf-8", "replace")
    if code:
        raise RuntimeError(f"a client failed: {said.strip()}")
    count, took = said.split()
    return int(count), float(took)


def count_handshakes(port: int, certificate: Path, seconds: float, way: str) -> Tuple[int, float]:
    """One client: the number of handshakes one after the other, and the seconds they took."""
    context = client_context(certificate)
    session = take_session(port, context) if way == RESUMED else None
    count = 0
    began = now = time.perf_counter()
    while now - began < seconds:
        with connect_tls(port, context, session) as sock:
            if sock.session_reused != (way == RESUMED):
                raise ConnectionError(f"a handshake was not {way}")
            finish(sock)
        count += 1
        now = time.perf_counter()
    return count, now - began


def take_session(port: int, context: ssl.SSLContext) -> ssl.SSLSession:
    """A session to resume; the ticket comes along with an answer (RFC 8446 section 4.6.1)."""
    with connect_tls(port, context) as sock:
        sock.sendall(READY_REQUEST)
        sock.recv(4096)
        session = sock.session
    if session is None or not session.has_ticket:
        raise ConnectionError("the server gave no session ticket")
    return session


def finish(sock: ssl.SSLSocket) -> None:
    """Wait until the server, too, is through with the handshake and has closed."""
    sock.shutdown(socket.SHUT_WR)  # from here on the socket is a plain one
    while sock.recv(4096):
        pass


def fetch(server: Running, path: str, block: bytearray) -> int:
    """One GET on a new connection; gives the size of the file.

    What comes is thrown away as it is, encrypted, inside the kernel (recv with MSG_TRUNC, tcp(7)),
    so that the client costs next to nothing.
    """
    size = (server.given.site / path[1:]).stat().st_size
    with connect_tls(server.port, client_context(server.given.certificate)) as sock:
        sock.sendall(request_bytes(path, "Connection: close"))
        with socket.socket(fileno=sock.detach()) as plain:
            plain.settimeout(TIMEOUT)
            came = discard_all(plain, block)
    if came < size:
        raise ConnectionError(f"{path}: only {came:,} of {size:,} bytes came")
    return size


def discard_all(sock: socket.socket, block: bytearray) -> int:
    """Throw away all that comes until the server closes; gives how much that was."""
    came = 0
    while True:
        got = sock.recv_into(block, len(block), socket.MSG_TRUNC)
        if not got:
            return came
        came += got


if __name__ == "__main__":
    try:
        print(*count_handshakes(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(str(error))
