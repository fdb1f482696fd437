"""Behind a load balancer: the PROXY protocol of curl and of HAProxy in front of TLS and of http.

Every part has its own loopback address, by which the access log shows who is taken for the client.
"""

from __future__ import annotations

import csv
import socket
import subprocess
from pathlib import Path
from typing import Iterator, List, NamedTuple

import pytest

from tests.support.certificates import Certificates, make_certificate
from tests.support.client import Client
from tests.support.programs import need
from tests.support.server import Server, connect, file_mount, free_ports, site_server
from tests.support.tls_site import tls_keys
from tests.support.waiting import wait_until

PAGE = "<p>page</p>"
BALANCER = "127.0.0.4"
CLIENT = "127.0.0.3"
# TLS handshakes, or connections, that came about.
HEALTHY = ["UP L6OK", "UP L6OK", "UP L4OK"]
# Both versions, with health checks: their own connections say that they come from nobody else.
HAPROXY = """\
global
  stats socket {folder}/haproxy.sock
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
listen tls1
  bind 127.0.0.1:{ports[0]}
  source {balancer}
  server one 127.0.0.1:{tls} send-proxy check check-ssl verify none inter 50
listen tls2
  bind 127.0.0.1:{ports[1]}
  source {balancer}
  server one 127.0.0.1:{tls} send-proxy-v2 check check-ssl verify none inter 50
listen plain2
  bind 127.0.0.1:{ports[2]}
  source {balancer}
  server one 127.0.0.1:{plain} send-proxy-v2-ssl-cn check inter 50
"""


class Site(NamedTuple):
    """The server, with a TLS port and a plain one, and its access log."""

    server: Server
    tls: int
    plain: int
    ca: Path
    log: Path

    def curl(self, line: str, source: str = CLIENT) -> str:
        """What curl prints from the address `source`; after a failure its exit code."""
        line = line.replace("TLS", str(self.tls)).replace("PLAIN", str(self.plain))
        command = [need("curl"), "-sS", "-m", "10", "--noproxy", "*", "--cacert", str(self.ca)]
        done = subprocess.run(
            [*command, "--interface", source, *line.split()], capture_output=True, timeout=30, check=False
        )
        return done.stdout.decode() if done.returncode == 0 else f"exit code {done.returncode}"

    def peers(self, query: str, count: int = 1) -> List[str]:
        """Whom the access log names for the requests with this query, once there are `count` or more."""
        lines: List[str] = []

        def are_logged() -> bool:
            lines[:] = [line for line in self.log.read_text().splitlines() if f"/?{query} " in line]
            return len(lines) >= count

        wait_until(are_logged, f"{count} requests with {query} in the log")
        return [line.split()[0] for line in lines]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Site]:
    """Both ports have the load balancer only for a peer that sends a header."""
    folder = tmp_path_factory.mktemp("balancer")
    (folder / "index.html").write_text(PAGE)
    pair = make_certificate(folder, "localhost", ["localhost", "127.0.0.1"], certificates.ca)
    common = {
        "mounts": [file_mount(folder)],
        "access-log": str(folder / "log"),
        "proxy-protocol-from": [BALANCER],
        "interface": "127.0.0.1",
    }
    with site_server(folder / "conf", [{**common, **tls_keys(pair)}, common]) as server:
        tls, plain = (int(address[1]) for address in server.ready)
        yield Site(server, tls, plain, certificates.ca.cert, folder / "log")


class TestCurl:
    """In the place of a load balancer; its header names curl's own address."""

    def test_a_listed_peer(self, site: Site) -> None:
        assert site.curl("--haproxy-protocol https://localhost:TLS/?tls", BALANCER) == PAGE
        assert site.curl("--haproxy-protocol http://localhost:PLAIN/?plain", BALANCER) == PAGE
        assert site.peers("tls") == site.peers("plain") == [BALANCER]

    def test_a_listed_peer_without_a_header_is_refused(self, site: Site) -> None:
        for url in ("https://localhost:TLS/?without", "http://localhost:PLAIN/?without"):
            assert site.curl(url, BALANCER).startswith("exit code ")
        site.server.wait_for(f"{BALANCER}: ")
        assert "without" not in site.log.read_text()

    def test_a_health_check_that_only_connects_is_not_worth_a_line(self, site: Site) -> None:
        """They come every few seconds for as long as the server runs."""
        before = site.server.log()
        for port in (site.tls, site.plain):
            with socket.create_connection(("127.0.0.1", port), 10, (BALANCER, 0)) as sock:
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b""
        assert site.server.log() == before

    def test_all_others_must_not_have_one(self, site: Site) -> None:
        assert site.curl("https://localhost:TLS/?direct") == PAGE
        assert site.peers("direct") == [CLIENT]
        assert site.curl("--haproxy-protocol https://localhost:TLS/?forged").startswith("exit code ")
        told = "-w %{http_code} -o /dev/null --haproxy-protocol"
        assert site.curl(f"{told} http://localhost:PLAIN/?forged") == "400"
        assert "forged" not in site.log.read_text()


class Balancers(NamedTuple):
    """The ports of a HAProxy: version 1 and 2 in front of TLS, version 2 in front of http."""

    ports: List[int]
    control: str

    def checks(self) -> List[str]:
        """What its health checks have found last at each of the ports, in HAProxy's words."""
        with connect(self.control) as sock:
            sock.sendall(b"show stat\n")
            rows = csv.DictReader(Client(sock).rest().decode().splitlines())
        found = [f"{row['status']} {row['check_status']}" for row in rows if row["svname"] == "one"]
        return [text.replace("* ", "") for text in found]  # a star: another check is under way


@pytest.fixture(scope="module")
def balancers(site: Site) -> Iterator[Balancers]:
    """They are found well by HAProxy before anybody uses them."""
    folder = site.log.parent
    found = Balancers(free_ports(3), f"{folder}/haproxy.sock")
    keys = {"ports": found.ports, "tls": site.tls, "plain": site.plain}
    (folder / "haproxy.cfg").write_text(HAPROXY.format(balancer=BALANCER, folder=folder, **keys))
    with open(str(folder / "haproxy.log"), "wb") as log:
        command = [need("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        try:
            return found.checks() == HEALTHY
        except OSError:
            return False

    try:
        wait_until(is_ready, "healthy servers")
        yield found
        assert found.checks() == HEALTHY
    finally:
        process.terminate()
        process.wait(10)


def test_the_client_of_haproxy_is_the_client(site: Site, balancers: Balancers) -> None:
    for name, port in zip(("v1", "v2"), balancers.ports):
        assert site.curl(f"https://localhost:{port}/?{name} https://localhost:{port}/?{name}") == PAGE * 2
        assert site.peers(name, 2) == [CLIENT] * 2
    assert site.curl(f"http://localhost:{balancers.ports[2]}/?in-the-clear") == PAGE
    assert site.peers("in-the-clear") == [CLIENT]
