"""Large files over TLS: whole, in flat memory, without getting in anybody's way, and finished at the end."""

from __future__ import annotations

import os
import signal
import ssl
import time
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, NamedTuple

import pytest

from tests.interop.conftest import Serve
from tests.interop.test_downloads import take
from tests.support.certificates import Certificates, make_certificate
from tests.support.client import Client
from tests.support.procfs import fd_count, idle_fds, rss
from tests.support.server import Server, file_mount
from tests.support.tls_peer import TLS12, TLS13, client_context
from tests.support.tls_site import connect_tls, tls_keys
from tests.support.waiting import wait_until

MIB = 1 << 20
SIZE = 100 * MIB
# How much the server may grow, far less than any copy of what it sends.
FLAT = 8 * MIB
STALLED = 10
VERSIONS = [TLS12, TLS13]
PATIENCE_SECONDS = 5.0  # what a small request may wait while others stall
PAGE = b"<p>page</p>"


class Site(NamedTuple):
    """A server with a page, a large file of nothing, and one that is not."""

    server: Server
    context: ssl.SSLContext
    random: bytes

    def connect(self) -> ssl.SSLSocket:
        """A new connection."""
        return connect_tls(self.server, self.context)


class Files(NamedTuple):
    """The vhost of these files, and the content of the one that is not all zeros."""

    vhost: Dict[str, Any]
    random: bytes


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Files:
    """With a certificate for localhost."""
    root, random = tmp_path_factory.mktemp("www"), os.urandom(20 * MIB)
    pair = make_certificate(tmp_path_factory.mktemp("pair"), "localhost", ["localhost"], certificates.ca)
    (root / "index.html").write_bytes(PAGE)
    (root / "random.bin").write_bytes(random)
    with open(str(root / "sparse.bin"), "wb") as file:
        file.truncate(SIZE)
    mount = file_mount(root, extra_mimetypes={".bin": "application/octet-stream"})
    return Files({"mounts": [mount], **tls_keys(pair)}, random)


@pytest.fixture
def start(serve: Serve, files: Files, certificates: Certificates) -> Callable[[ssl.TLSVersion], Site]:
    """Starts a server, with settings for a client of one version of TLS."""
    def start(version: ssl.TLSVersion) -> Site:
        server = serve([files.vhost], shutdown_timeout=30)
        return Site(server, client_context(certificates.ca, version), files.random)

    return start


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def site(request: pytest.FixtureRequest, start: Callable[[ssl.TLSVersion], Site]) -> Site:
    """One for each version of TLS."""
    return start(request.param)


def begin(site: Site) -> Client:
    """A client that asks for the file, and takes nothing for now."""
    client = Client(site.connect())
    client.send(b"GET /random.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def gets_all(client: Client, site: Site) -> bool:
    """Whether the rest of the file comes, as it is."""
    body = bytearray(client.data)
    while len(body) < len(site.random):
        piece = client.sock.recv(1 << 16)
        assert piece, f"the connection ended after {len(body)} bytes"
        body += piece
    return body == site.random


def test_a_large_file_in_flat_memory(site: Site, record_property: Callable[[str, object], None]) -> None:
    during: List[int] = []
    pieces = 0

    def look(piece: memoryview) -> None:
        nonlocal pieces
        if pieces % 16 == 0:
            during.append(rss(site.server.pid))
        pieces += 1

    with site.connect() as sock:
        assert take(sock, "/", look) == len(PAGE)
        before = rss(site.server.pid)
        assert take(sock, "/sparse.bin", look) == SIZE
    record_property("rss_growth_kib", (max(during) - before) // 1024)
    assert max(during) - before < FLAT


def test_clients_that_take_nothing(site: Site) -> None:
    """They cost no memory, nobody waits for them, and all comes when they go on."""
    with Client(site.connect()) as client:
        client.get()
    fds, before = idle_fds(site.server.pid, site.server.port), rss(site.server.pid)
    with ExitStack() as stack:
        stalled = [stack.enter_context(begin(site)) for _ in range(STALLED)]
        for _ in range(20):
            begun = time.monotonic()
            with Client(site.connect()) as small:
                assert small.get().body == PAGE
            assert time.monotonic() - begun < PATIENCE_SECONDS
        assert rss(site.server.pid) - before < FLAT
        stalled[-1].head()
        assert gets_all(stalled[-1], site)
    wait_until(lambda: fd_count(site.server.pid) == fds, "all fds freed")


def test_the_end_of_the_server_waits_for_a_download(start: Callable[[ssl.TLSVersion], Site]) -> None:
    sites = [start(version) for version in VERSIONS]
    with ExitStack() as stack:
        clients = [stack.enter_context(begin(site)) for site in sites]
        for client, site in zip(clients, sites):
            client.head()
            site.server.process.send_signal(signal.SIGTERM)
            site.server.wait_for("still open")
            assert gets_all(client, site)
        for client in clients:
            assert client.sock.recv(1) == b""
    for site in sites:
        assert site.server.process.wait(5) == 0
