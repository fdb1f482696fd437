"""The rows of the benchmark: what is measured, in which unit, and what we want of it.

A row's `measure` does one measurement of one running server and gives a `Sample`.  Wanted values
are ratios to another server in the same run, or absolute numbers where `reference` is empty; of a
row whose `less_is_better`, they are upper limits.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Tuple

from bench import clients, tls_clients, tunnel, wrk, ws_load
from bench.connections import connect
from bench.dynamic_subjects import PROGRAMS, SCRIPT
from bench.servers import Running
from bench.subjects import CGI, HTTP, MIRROR, PROXY, RAW, TLS, WS

SMALL, MEDIUM, BIG = "/1k.html", "/100k.png", "/100m.bin"
SIZES = {SMALL: 1000, MEDIUM: 100_000, BIG: 100_000_000}

CONNECTIONS = 32
IDLE_CONNECTIONS = 10_000
WS_SMALL, WS_MEDIUM, WS_BIG = 125, 16 << 10, 1 << 20
WS_BIG_CONNECTIONS = 8  # megabytes on their way, which all have to be held somewhere
# One client draws and 200 look on; as many strokes are on their way as a fast hand makes.
MIRRORED = ws_load.Job(ws_load.MIRROR, 200, 32, 16)
P99 = 0.99


class Options(NamedTuple):
    """How long each measurement takes, and how many connections the idle row holds."""

    seconds: float
    idle: int = IDLE_CONNECTIONS


class Sample(NamedTuple):
    """One measurement: the value, the same for each CPU second of the server, and faults seen."""

    value: float
    per_cpu: Optional[float] = None
    errors: int = 0


class Row(NamedTuple):
    """One row; `fresh` ones start the server anew for each sample."""

    name: str
    title: str
    unit: str
    measure: Callable[[Running, Options], Sample]
    reference: str
    target: float
    floor: float
    kind: str = HTTP  # of the servers that are compared
    less_is_better: bool = False
    needs_wrk: bool = True
    needs_kept: bool = False
    fresh: bool = False
    rounds: Optional[int] = None  # where it must differ from the number asked for


def make_site(folder: Path) -> None:
    """Write the files that are served."""
    (folder / "many").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>bench</title>\n")
    for path, size in SIZES.items():
        block = os.urandom(min(size, 1 << 20))
        with open(folder / path[1:], "wb") as file:
            file.writelines(block[: size - done] for done in range(0, size, len(block)))
    for page in range(wrk.PATHS):
        (folder / "many" / f"{page}.html").write_bytes(os.urandom(SIZES[SMALL]))


def sample(load: wrk.Load) -> Sample:
    """Requests each second, and each CPU second."""
    per_cpu = load.requests / load.cpu if load.cpu else None
    return Sample(load.requests / load.seconds, per_cpu, load.errors)


def throughput(done: clients.Download) -> Sample:
    """Megabytes each second, and each CPU second."""
    megabytes = done.bytes / 1e6
    return Sample(megabytes / done.seconds, megabytes / done.cpu if done.cpu else None)


def static_small(server: Running, options: Options) -> Sample:
    """A small file on kept connections."""
    return sample(wrk.run(server, SMALL, options.seconds, CONNECTIONS))


def varied(server: Running, options: Options) -> Sample:
    """A thousand small files, the request bytes nearly always new."""
    return sample(wrk.run(server, "/", options.seconds, CONNECTIONS, script=wrk.VARIED))


def static_medium(server: Running, options: Options) -> Sample:
    """A file of 100 KB on kept connections."""
    return sample(wrk.run(server, MEDIUM, options.seconds, CONNECTIONS))


def static_big(server: Running, options: Options) -> Sample:
    """A file of 100 MB: megabytes a second."""
    return throughput(clients.download(server, BIG, options.seconds))


def churn(server: Running, options: Options) -> Sample:
    """A connection for each request."""
    return sample(wrk.run(server, SMALL, options.seconds, CONNECTIONS, ["Connection: close"]))


def validators(server: Running) -> Tuple[str, str]:
    """The request field that makes the small file conditional, as name and value."""
    with connect(server.port) as sock:
        sock.sendall(clients.request_bytes(SMALL))
        fields = clients.read_head(sock).fields
    if "etag" in fields:
        return "If-None-Match", fields["etag"]
    return "If-Modified-Since", fields.get("last-modified", "")


def conditional(server: Running, options: Options) -> Sample:
    """A small file that the client has already."""
    name, value = validators(server)
    return sample(wrk.run(server, SMALL, options.seconds, CONNECTIONS, [f"{name}: {value}"]))


def pipelined(server: Running, options: Options) -> Sample:
    """Requests that come sixteen at a time."""
    return sample(wrk.run(server, SMALL, options.seconds, CONNECTIONS, script=wrk.PIPELINE))


def idle(server: Running, options: Options) -> Sample:
    """KiB of memory for each idle connection."""
    server.wait_ready()
    return Sample(clients.idle_growth(server, SMALL, options.idle) / 1024)


def start(server: Running, options: Options) -> Sample:
    """Milliseconds from the start of the process to its first answer."""
    return Sample(server.wait_ready() * 1000)


def memory(server: Running, options: Options) -> Sample:
    """MiB of memory of all processes after the first answer, what they share counted once."""
    server.wait_ready()
    return Sample(server.memory_bytes() / (1 << 20))


def largest(server: Running, options: Options) -> Sample:
    """MiB of memory of the largest process after the first answer."""
    server.wait_ready()
    return Sample(server.largest_bytes() / (1 << 20))


def fairness(server: Running, options: Options) -> Sample:
    """Milliseconds that all but the slowest hundredth of small requests take beside slow readers."""
    with clients.slow_readers(server, BIG):
        found = clients.latencies(server, SMALL, options.seconds)
    return Sample(found[int(len(found) * P99)] * 1000)


def full_handshakes(server: Running, options: Options) -> Sample:
    """TLS connections of clients that come for the first time."""
    return handshakes(server, options, tls_clients.FULL)


def resumed_handshakes(server: Running, options: Options) -> Sample:
    """TLS connections of clients that come back with a ticket."""
    return handshakes(server, options, tls_clients.RESUMED)


def handshakes(server: Running, options: Options, way: str) -> Sample:
    """Handshakes each second, and each CPU second."""
    done = tls_clients.handshakes(server, options.seconds, way)
    return Sample(done.rate, done.made / done.cpu if done.cpu else None)


def tls_big(server: Running, options: Options) -> Sample:
    """A file of 100 MB over TLS: megabytes a second."""
    return throughput(clients.download(server, BIG, options.seconds, tls_clients.fetch))


def raw_bulk(server: Running, options: Options) -> Sample:
    """100 MB through a tunnel, to and fro: megabytes a second."""
    return throughput(tunnel.bulk(server, server.given.site / BIG[1:], options.seconds))


def raw_echo(server: Running, options: Options) -> Sample:
    """64 bytes through a tunnel and back."""
    done = tunnel.echo(server, options.seconds)
    return Sample(done.made / done.seconds, done.made / done.cpu if done.cpu else None)


def program(server: Running, options: Options) -> Sample:
    """A program for each request."""
    return sample(wrk.run(server, f"/{PROGRAMS}/{SCRIPT}", options.seconds, CONNECTIONS))


def messages(server: Running, job: ws_load.Job, options: Options) -> Sample:
    """Messages each second, and each CPU second."""
    done = ws_load.run(server, job, options.seconds)
    return Sample(done.messages / done.seconds, done.messages / done.cpu if done.cpu else None)


def ws_small(server: Running, options: Options) -> Sample:
    """Small WebSocket messages there and back."""
    return messages(server, ws_load.Job(ws_load.ECHO, CONNECTIONS, WS_SMALL), options)


def ws_medium(server: Running, options: Options) -> Sample:
    """WebSocket messages of 16 KiB there and back."""
    return messages(server, ws_load.Job(ws_load.ECHO, CONNECTIONS, WS_MEDIUM), options)


def ws_big(server: Running, options: Options) -> Sample:
    """WebSocket messages of 1 MiB there and back."""
    return messages(server, ws_load.Job(ws_load.ECHO, WS_BIG_CONNECTIONS, WS_BIG), options)


def ws_mirror(server: Running, options: Options) -> Sample:
    """Messages of one client that reach the others."""
    return messages(server, MIRRORED, options)


def ws_idle(server: Running, options: Options) -> Sample:
    """KiB of memory for each idle WebSocket."""
    server.wait_ready()
    return Sample(ws_load.idle_growth(server, options.idle, WS_SMALL) / 1024)


ROWS = [
    Row("small", "static 1 KB, keep-alive", "requests/s", static_small, "nginx", 0.9, 0.6),
    Row("varied", "1000 paths, varying headers", "requests/s", varied, "nginx", 0.35, 0.2),
    Row("medium", "static 100 KB", "requests/s", static_medium, "nginx", 0.9, 0.7),
    Row("big", "static 100 MB", "MB/s", static_big, "nginx", 0.95, 0.8, needs_wrk=False),
    Row("churn", "a connection for each request", "requests/s", churn, "nginx", 0.7, 0.45),
    Row("conditional", "conditional GET, 304", "requests/s", conditional, "nginx", 0.9, 0.6),
    Row("pipelined", "16 pipelined", "requests/s", pipelined, "lighttpd", 1.5, 1.0, needs_kept=True),
    Row("idle", "many idle connections, each", "KiB", idle, "", 1.5, 3.2,
        less_is_better=True, needs_wrk=False, needs_kept=True, fresh=True, rounds=1),
    Row("start", "start to first answer", "ms", start, "", 70, 120,
        less_is_better=True, needs_wrk=False, fresh=True, rounds=9),
    Row("memory", "memory at rest, all processes (PSS)", "MiB", memory, "", 16, 22,
        less_is_better=True, needs_wrk=False, fresh=True, rounds=3),
    Row("largest", "memory at rest, largest one (RSS)", "MiB", largest, "", 16, 22,
        less_is_better=True, needs_wrk=False, fresh=True, rounds=3),
    Row("fairness", "p99 of small beside slow big ones", "ms", fairness, "lighttpd", 1.3, 2.0,
        less_is_better=True, needs_wrk=False),
    Row("tls-small", "TLS 1 KB, keep-alive", "requests/s", static_small, "nginx", 0.8, 0.5, TLS),
    Row("tls-full", "TLS handshakes, full", "handshakes/s", full_handshakes, "nginx", 0.9, 0.7, TLS,
        needs_wrk=False),
    Row("tls-resumed", "TLS handshakes, resumed", "handshakes/s", resumed_handshakes, "nginx", 0.9, 0.7, TLS,
        needs_wrk=False),
    Row("tls-big", "TLS 100 MB", "MB/s", tls_big, "nginx", 0.95, 0.8, TLS, needs_wrk=False),
    Row("cgi", "CGI, shell script", "requests/s", program, "lighttpd", 1.0, 0.8, CGI),
    Row("proxy", "proxy 1 KB", "requests/s", static_small, "nginx", 0.6, 0.35, PROXY),
    Row("proxy-big", "proxy 100 MB", "MB/s", static_big, "nginx", 1.2, 0.8, PROXY, needs_wrk=False),
    Row("raw-bulk", "raw TCP bulk", "MB/s", raw_bulk, "haproxy", 1.3, 0.9, RAW, needs_wrk=False),
    Row("raw-echo", "raw TCP 64 B", "echoes/s", raw_echo, "haproxy", 0.7, 0.5, RAW, needs_wrk=False),
    Row("ws-small", "ws echo 125 B", "messages/s", ws_small, "websockets", 2.5, 1.5, WS, needs_wrk=False),
    Row("ws-medium", "ws echo 16 KB", "messages/s", ws_medium, "websockets", 0.8, 0.5, WS, needs_wrk=False),
    Row("ws-big", "ws echo 1 MB", "messages/s", ws_big, "websockets", 0.5, 0.35, WS, needs_wrk=False),
    Row("ws-mirror", "ws mirror, 1 to 200", "messages/s", ws_mirror, "aiohttp", 2.0, 0.75, MIRROR,
        needs_wrk=False),
    Row("ws-idle", "many idle WebSockets, each", "KiB", ws_idle, "", 2.5, 7.3, WS,
        less_is_better=True, needs_wrk=False, fresh=True, rounds=1),
]
