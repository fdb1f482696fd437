"""Large and many downloads: whole, with memory that stays flat, and without getting in anybody's way."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from tests.support.client import Client, reset
from tests.support.procfs import fd_count, open_files, rss
from tests.support.server import Server, file_mount, site_server
from tests.support.waiting import wait_until

SPARSE = "/sparse/sparse.bin"
GIB = 1 << 30
MIB = 1 << 20
FLAT = 8 * MIB  # how much the server may grow, far less than any copy of what it sends
SMALL = b"<p>small</p>"
LARGE = 20 * MIB
PARALLEL = 20
EACH = 2 * MIB  # of those, and some bytes more
STALLED = 5
SMALL_RECEIVE_BUFFER = 8192
SEND_TIMEOUT = 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A large one, and some smaller ones."""
    folder = tmp_path_factory.mktemp("downloads") / "www"
    folder.mkdir()
    (folder / "random.bin").write_bytes(os.urandom(LARGE))
    (folder / "index.html").write_bytes(SMALL)
    for number in range(PARALLEL):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * (EACH + number))
    yield folder
    shutil.rmtree(str(folder))  # pytest would keep them


@pytest.fixture(scope="module")
def sparse() -> Iterator[Path]:
    """Where sparse.bin is, of one GiB that takes no room; in memory if possible, where holes are fast."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        with open(os.path.join(folder, "sparse.bin"), "wb") as file:
            file.truncate(GIB)
        yield Path(folder)


@pytest.fixture(scope="module")
def server(files: Path, sparse: Path) -> Iterator[Server]:
    types = {".bin": "application/octet-stream"}
    mounts = [
        file_mount(files, extra_mimetypes=types),
        file_mount(sparse, "/sparse", extra_mimetypes=types),
    ]
    with site_server(files.parent / "conf", [{"mounts": mounts}], send_timeout=SEND_TIMEOUT) as started:
        yield started


def take(sock: socket.socket, path: str, each: Callable[[memoryview], None]) -> int:
    """Download `path` through `sock`, giving each piece to `each`; the number of bytes of its body."""
    client = Client(sock)
    client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = client.head()
    assert head.status == 200
    length, count = int(head.fields["content-length"]), len(client.data)
    each(memoryview(client.data))
    buffer = memoryview(bytearray(MIB))
    while count < length:
        size = sock.recv_into(buffer)
        assert size, f"the connection ended after {count} of {length} bytes"
        each(buffer[:size])
        count += size
    return count


def test_one_gigabyte_with_flat_memory(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    """A 1 GB file downloads with flat memory."""
    with Client(server.connect()) as client:
        client.get("/")
    before = rss(server.pid)
    during: List[int] = []
    pieces = 0

    def look(piece: memoryview) -> None:
        nonlocal pieces
        pieces += 1
        if pieces % 256 == 0:
            during.append(rss(server.pid))

    with server.connect() as sock:
        assert take(sock, SPARSE, look) == GIB
    after = rss(server.pid)
    growth = max(during + [after]) - before
    record_property("rss_growth_kib", growth // 1024)
    print(f"RSS growth with 1 GiB: {growth // 1024} KiB, looked at {len(during)} times")
    assert len(during) > 3
    assert growth < FLAT


def test_the_bytes_are_those_of_the_file(server: Server, files: Path) -> None:
    digest = hashlib.sha256()
    with server.connect() as sock:
        assert take(sock, "/random.bin", digest.update) == LARGE
    assert digest.hexdigest() == hashlib.sha256((files / "random.bin").read_bytes()).hexdigest()


def test_many_at_once(server: Server) -> None:
    """Each gets its own file whole, and the server no more memory."""
    with Client(server.connect()) as client:
        client.get("/")
    before = rss(server.pid)
    counts: Dict[int, int] = {}

    def download(number: int) -> None:
        wanted = bytes([number])
        wrong = 0

        def check(piece: memoryview) -> None:
            nonlocal wrong
            data = bytes(piece)
            wrong += len(data) - data.count(wanted)

        with server.connect() as sock:
            size = take(sock, f"/{number}.bin", check)
        counts[number] = size - wrong

    threads = [threading.Thread(target=download, args=(number,)) for number in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {number: EACH + number for number in range(PARALLEL)}
    assert rss(server.pid) - before < FLAT


def begin(server: Server, path: str = SPARSE) -> socket.socket:
    """A download that has begun and takes no more than the first bytes."""
    assert isinstance(server.address, tuple)
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_RECEIVE_BUFFER)
        sock.settimeout(10)
        sock.connect(server.address)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        stack.pop_all()
    return sock


def downloads(server: Server) -> int:
    """How many fds of the large file the server has."""
    return sum(path.endswith("/sparse.bin") for path in open_files(server.pid))


@pytest.mark.parametrize("how", ["reset", "close"])
def test_one_that_is_broken_off_frees_its_fds(server: Server, how: str) -> None:
    wait_until(lambda: downloads(server) == 0, "no download left over from before")
    before = fd_count(server.pid)
    with ExitStack() as stack:
        socks = [stack.enter_context(begin(server)) for _ in range(STALLED)]
        assert downloads(server) == STALLED
        for sock in socks:
            if how == "reset":
                reset(sock)
            else:
                sock.close()
        # Before, the connection of an earlier test may have been about to close.
        wait_until(lambda: fd_count(server.pid) <= before and downloads(server) == 0, "the fds freed")


def test_stalled_ones_delay_nobody_and_end_in_time(server: Server) -> None:
    """LESSONS 3.9: a stalled reader ends at `send-timeout`; until then all others are served as ever."""
    wait_until(lambda: downloads(server) == 0, "no download left over from before")
    before = fd_count(server.pid)
    with ExitStack() as stack:
        begun = time.monotonic()
        socks = [stack.enter_context(begin(server)) for _ in range(STALLED)]
        for sock in socks[::2]:
            sock.shutdown(socket.SHUT_WR)   # who only says that it will ask no more may still want the file
        client = stack.enter_context(Client(server.connect()))
        slowest, count = 0.0, 0
        while downloads(server) == STALLED:
            asked = time.monotonic()
            assert client.get(f"/?{count}").body == SMALL
            slowest = max(slowest, time.monotonic() - asked)
            count += 1
            assert asked - begun < 3 * SEND_TIMEOUT, "the stalled downloads were not ended"
        assert time.monotonic() - begun > 0.9 * SEND_TIMEOUT
        assert count > 10
        # One pass of the loop takes a few milliseconds; who was held up by them would wait as long as they.
        assert slowest < 0.9 * SEND_TIMEOUT
        wait_until(lambda: downloads(server) == 0, "the stalled downloads ended", 2 * SEND_TIMEOUT)
        wait_until(lambda: fd_count(server.pid) <= before + 1, "the fds freed, but of who asks on")
        for sock in socks:
            # Cut off, with less than it was promised.
            received = Client(sock).rest()
            assert len(received) < GIB


def test_those_that_take_long_are_not_cut(server: Server) -> None:
    """LESSONS 2: `send-timeout` is about standstill.  One client takes 6 MB/s, the other 80 kB/s, both for
    longer than that, and the second frees so little room that the server cannot send anything meanwhile."""
    wait_until(lambda: downloads(server) == 0, "no download left over from before")
    with server.connect() as steady, begin(server) as slow:
        steady.sendall(f"GET {SPARSE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        begun = time.monotonic()
        while time.monotonic() - begun < 1.4 * SEND_TIMEOUT:
            for sock, size in ((steady, 300_000), (slow, 4096)):
                assert sock.recv(size), f"cut off after {time.monotonic() - begun:.1f} s"
            time.sleep(0.05)  # this is the slowness that is tested
        assert downloads(server) == 2
