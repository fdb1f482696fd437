"""Load over WebSockets: the program wsload.c, compiled once for each run of the benchmark."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

from bench.processes import on_core, stop
from bench.servers import Running
from bench.subjects import find

SOURCE = Path(__file__).with_name("wsload.c")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
COMPILE_SECONDS = 60
GRACE_SECONDS = 30  # on top of the time a run should take
HELD = b"held\n"

ECHO, MIRROR, IDLE = "echo", "mirror", "idle"


class Job(NamedTuple):
    """What the client does: `size` in bytes, `depth` messages on their way at once (MIRROR only)."""

    mode: str
    connections: int
    size: int
    depth: int = 1


class Load(NamedTuple):
    """What came of it: `seconds` is the wall clock, `cpu` the server's own time; latencies in seconds."""

    messages: int
    seconds: float
    median: float
    p99: float
    longest: float
    cpu: float


def compiler() -> Optional[str]:
    """The path of a C compiler, if there is one."""
    return find("cc") or find("gcc") or find("clang")


def compile_client(program: Path) -> None:
    """Make the client; RuntimeError with what the compiler says if that fails."""
    command = [compiler() or "cc", *FLAGS, "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=COMPILE_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the load client does not compile:\n{done.stderr}")


def arguments(server: Running, job: Job, seconds: float) -> List[str]:
    """The command line of the client."""
    numbers = (server.port, job.connections, job.size, seconds, job.depth)
    return [str(server.given.ws_client), job.mode, *map(str, numbers)]


def run(server: Running, job: Job, seconds: float) -> Load:
    """Put the server under load for some seconds; RuntimeError if the client saw a fault."""
    before = server.cpu_seconds()
    with on_core(server.cores.load):
        done = subprocess.run(arguments(server, job, seconds), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=seconds + GRACE_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the load client failed: {done.stderr.strip()}")
    return parse(done.stdout, server.cpu_seconds() - before)


def parse(report: str, cpu: float) -> Load:
    """Read the line that the client prints, in which latencies are microseconds."""
    messages, seconds, *latencies = report.split()
    median, p99, longest = (float(latency) / 1e6 for latency in latencies)
    return Load(int(messages), float(seconds), median, p99, longest, cpu)


@contextmanager
def held(server: Running, count: int, size: int) -> Iterator[None]:
    """While inside, `count` connections are open that each had one message of `size` bytes echoed."""
    command = arguments(server, Job(IDLE, count, size), 0)
    with on_core(server.cores.load):
        client = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
    with client:
        try:
            assert client.stdout is not None and client.stderr is not None
            if client.stdout.readline() != HELD:
                raise RuntimeError(f"the load client failed: {client.stderr.read().decode().strip()}")
            yield
        finally:
            stop(client)


def idle_growth(server: Running, count: int, size: int) -> float:
    """Bytes of memory for each of `count` idle connections."""
    # The first hundred pay for what the server makes once.
    with held(server, 100, size):
        before = server.memory_bytes()
        with held(server, count, size):
            return (server.memory_bytes() - before) / count
