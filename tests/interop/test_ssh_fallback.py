"""ssh and https on one port, as README.lwsws shows it: a real sshd behind the fallback of a TLS port."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator, NamedTuple, Tuple

import pytest

from tests.interop.test_tls_browser import browse
from tests.support.certificates import Certificates, Pair, make_certificate
from tests.support.client import Client
from tests.support.procfs import fd_count, idle_fds
from tests.support.programs import need
from tests.support.server import Server, file_mount, site_server
from tests.support.sshd import Sshd
from tests.support.tls_peer import client_context
from tests.support.tls_site import connect_tls, raw_keys, tls_keys
from tests.support.waiting import wait_until

PAGE = "<p>the site beside ssh</p>"
BANNER = b"SSH-2.0-OpenSSH"
FALLBACK_WAIT = 1


class Site(NamedTuple):
    """The server, and what is behind it."""

    server: Server
    sshd: Sshd
    pair: Pair
    ca: Pair


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Site]:
    """One port for https, for plain http which leads there, and for ssh."""
    folder = tmp_path_factory.mktemp("ssh")
    (folder / "index.html").write_text(PAGE)
    pair = make_certificate(folder, "localhost", ["localhost"], certificates.ca)
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for the user who runs the tests only
        Path(name).chmod(0o755)
        with Sshd(Path(name)) as sshd:
            vhost = {
                "mounts": [file_mount(folder)],
                **tls_keys(pair, allow_non_tls="1", redirect_http="1", fallback_wait=str(FALLBACK_WAIT)),
                **raw_keys("raw-proxy", "fallback-listen-accept", onward=f"ipv4:127.0.0.1:{sshd.port}"),
            }
            with site_server(folder / "conf", [vhost]) as server:
                with Client(connect_tls(server, client_context(certificates.ca))) as client:
                    client.get()  # the first one opens the document root
                fds = idle_fds(server.pid, server.port)
                yield Site(server, sshd, pair, certificates.ca)
                wait_until(lambda: fd_count(server.pid) == fds, "all fds freed", 5)


def test_ssh_while_https_is_served(site: Site, tmp_path: Path) -> None:
    """A file there and back, through a tunnel that is open while a browser is served."""
    known = site.sshd.keyscan(site.server.port)
    assert known.split()[1:] == (site.sshd.folder / "host_key.pub").read_text().split()[:2]
    sent, there, back = tmp_path / "sent", site.sshd.files / "there", tmp_path / "back"
    sent.write_bytes(os.urandom(3_000_000))
    with Client(connect_tls(site.server, client_context(site.ca))) as client:
        assert client.get().body == PAGE.encode()
        site.sshd.sftp(site.server.port, known, f"put {sent} {there}", f"get {there} {back}")
        assert back.read_bytes() == sent.read_bytes()
        assert client.get().body == PAGE.encode()


def test_who_waits_for_the_server_gets_its_banner(site: Site, tmp_path: Path) -> None:
    """After `fallback-wait`; a browser and curl are served meanwhile."""
    begun = time.monotonic()

    def banner(silent: socket.socket) -> Tuple[bytes, float]:
        return silent.recv(100), time.monotonic() - begun

    with site.server.connect() as silent, ThreadPoolExecutor() as pool:
        waiting = pool.submit(banner, silent)
        url = f"http://localhost:{site.server.port}/"
        command = [need("curl"), "-sS", "-m", "20", "-L", "--cacert", str(site.ca.cert), url]
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
        assert done.stdout.decode() == PAGE
        assert PAGE in browse(url, tmp_path, [site.pair])
        received, seconds = waiting.result()
        assert received.startswith(BANNER)
        assert FALLBACK_WAIT - 0.1 < seconds < FALLBACK_WAIT + 2


def test_other_programs_that_are_no_http(site: Site) -> None:
    """They reach sshd with all their bytes, which it does not like."""
    hello_done = b"\x16\x03\x01\x00\x04\x0e\0\0\0"
    for beginning in (b"SSH-2.0-x\r\n", b"SSH", b"\x00\x01\x02", b"GETTING nowhere\r\n", hello_done):
        with site.server.connect() as sock:
            sock.sendall(beginning)
            assert sock.recv(100).startswith(BANNER)
