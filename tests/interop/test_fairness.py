"""Fairness: clients that ask for all they can get leave room for one that asks for little."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Iterator

import pytest

from tests.support.client import Client
from tests.support.server import Server, file_mount, site_server

GREEDY = 10
ASKING_SECONDS = 0.25
# What the one may wait while the others are at it.  A turn of a connection is a few milliseconds of work at
# most, so a round of all takes some tens of them; the rest is for busy machines.
PATIENCE_SECONDS = 2.0

# Without end, on each of so many connections: sends many requests without waiting, and throws away the
# answers.  A process of its own, so that its work is not ours.
LOAD = """
import select, socket, sys
port, count, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
requests = b"GET %s HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n" % path.encode() * 2000
poll, socks, sent = select.epoll(), {}, {}
for _ in range(count):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    socks[sock.fileno()], sent[sock.fileno()] = sock, 0
    poll.register(sock, select.EPOLLIN | select.EPOLLOUT)
begun = set()
while True:
    for fd, event in poll.poll():
        if event & select.EPOLLIN:
            socks[fd].recv(1 << 20)
            if len(begun) < count:
                begun.add(fd)
                if len(begun) == count:
                    print("begun", flush=True)
        if event & select.EPOLLOUT:
            sent[fd] = (sent[fd] + socks[fd].send(requests[sent[fd]:])) % len(requests)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fair")
    (folder / "index.html").write_text("<p>page</p>")
    (folder / "big.txt").write_bytes(b"b" * 20_000_000)
    with site_server(folder / "conf", [{"mounts": [file_mount(folder)]}]) as started:
        yield started


def longest_wait(server: Server) -> float:
    """How long a client with small requests has to wait for one of them at most."""
    longest, begun = 0.0, time.monotonic()
    with Client(server.connect(30)) as client:
        while time.monotonic() - begun < ASKING_SECONDS:
            asked = time.monotonic()
            assert client.get().status == 200
            longest = max(longest, time.monotonic() - asked)
    return longest


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/big.txt", id="downloads"),
        pytest.param("/", id="answers from memory"),
        pytest.param("/none", id="answers made anew"),
    ],
)
def test_greedy_clients(server: Server, path: str) -> None:
    command = [sys.executable, "-c", LOAD, str(server.port), str(GREEDY), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as load, ExitStack() as stack:
        stack.callback(load.kill)
        assert load.stdout is not None
        assert load.stdout.readline() == b"begun\n"
        wait = longest_wait(server)
        assert load.poll() is None
    print(f"longest wait beside {GREEDY} clients of {path}: {wait * 1000:.1f} ms")
    assert wait < PATIENCE_SECONDS
