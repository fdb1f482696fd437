"""curl and openssl s_client against three TLS vhosts on one port: each keeps to itself what belongs to it.

a.test and b.test have certificates of their own; c.test demands one of the client as well.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

import pytest

from tests.support.certificates import Certificates, Pair, make_certificate
from tests.support.procfs import fd_count, idle_fds
from tests.support.programs import need
from tests.support.server import Server, file_mount, free_ports, site_server
from tests.support.tls_site import demand_keys, tls_keys
from tests.support.waiting import wait_until

NAMES = ("a.test", "b.test", "c.test")
VERSIONS = ("1.2", "1.3")
# How a client learns that its certificate is missing (RFC 5246 7.2.2, RFC 8446 6.2), and curl's exit code.
# With TLS 1.3 its own part of the handshake is over by then.
MISSING = {"1.2": ("alert handshake failure", 35), "1.3": ("alert certificate required", 56)}
CLOSE_NOTIFY = "Alert [length 0002], warning close_notify"
# OpenSSL lets a client use the versions before 1.2 only so.
ANY_LEVEL = "DEFAULT@SECLEVEL=0"


class Said(NamedTuple):
    """What a program said, and its exit code."""

    text: str
    code: int


class Site(NamedTuple):
    """The server that all tests here share."""

    server: Server
    folder: Path
    made: Certificates

    def curl(self, line: str, own: Optional[Pair] = None) -> Said:
        """Run curl; PORT in `line` is that of the server, `own` the certificate of the client."""
        port = str(self.server.port)
        shown = [] if own is None else ["--cert", str(own.cert), "--key", str(own.key)]
        return run(
            [need("curl"), "-sS", "-m", "20", "--noproxy", "*", "--cacert", str(self.made.ca.cert)],
            [word for name in NAMES for word in ("--resolve", f"{name}:{port}:127.0.0.1")],
            shown,
            line.replace("PORT", port).split(),
        )

    def s_client(self, name: str, version: str, line: str = "", own: Optional[Pair] = None) -> Said:
        """Run s_client with a request for / of `name`, and with the options in `line`."""
        address = f"127.0.0.1:{self.server.port}"
        shown = [] if own is None else ["-cert", str(own.cert), "-key", str(own.key)]
        return run(
            [need("openssl"), "s_client", "-connect", address, "-servername", name, "-ign_eof"],
            ["-CAfile", str(self.made.ca.cert), "-verify_return_error", "-verify_hostname", name],
            [f"-tls{version.replace('.', '_')}", *shown, *line.split()],
            data=f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode(),
        )


def run(*words: List[str], data: bytes = b"") -> Said:
    """Run the program of these words with `data` for its standard input."""
    command = [word for some in words for word in some]
    done = subprocess.run(
        command, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False
    )
    return Said(done.stdout.decode("latin-1"), done.returncode)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Site]:
    """The three vhosts; the page of each is its name."""
    folder, (port,) = tmp_path_factory.mktemp("tls-clients"), free_ports(1)
    pairs = (certificates.a, certificates.b, make_certificate(folder, "c.test", ["c.test"], certificates.ca))
    vhosts = []
    for name, pair in zip(NAMES, pairs):
        (folder / name).mkdir()
        (folder / name / "index.html").write_text(f"<p>{name}</p>")
        mounts = [file_mount(folder / name)]
        vhosts.append({"name": name, "port": port, "mounts": mounts, **tls_keys(pair)})
    vhosts[2].update(demand_keys(certificates.ca))
    with site_server(folder / "conf", vhosts) as server:
        shared = Site(server, folder, certificates)
        assert shared.curl("https://a.test:PORT/ https://b.test:PORT/").code == 0  # opens the document roots
        assert shared.curl("https://c.test:PORT/", certificates.client).code == 0
        fds = idle_fds(server.pid, port)
        yield shared
        wait_until(lambda: fd_count(server.pid) == fds, "all fds freed")


def is_served(said: Said, name: str) -> bool:
    """Whether a client got the page of `name` and ended well."""
    return said.code == 0 and f"<p>{name}</p>" in said.text


class TestCertificates:
    """Those of the server."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_each_name_has_its_own(self, site: Site, version: str) -> None:
        for name in NAMES:
            own = site.made.client if name == "c.test" else None
            said = site.s_client(name, version, own=own)
            assert is_served(said, name), said.text
            assert f"Verified peername: {name}" in said.text
            assert f"New, TLSv{version}" in said.text

    def test_curl_over_both_versions(self, site: Site) -> None:
        for line in ("--tls-max 1.2", "--tlsv1.3", "--http1.1", "--no-alpn"):
            assert site.curl(f"{line} https://a.test:PORT/") == ("<p>a.test</p>", 0)

    def test_http_1_0(self, site: Site) -> None:
        """curl offers nothing but http/1.0 by ALPN then, and http is served in that version too."""
        assert site.curl("-0 https://a.test:PORT/") == ("<p>a.test</p>", 0)

    def test_an_unknown_name_meets_the_first_vhost(self, site: Site) -> None:
        said = site.curl("-k --connect-to ::127.0.0.1:PORT https://who.test:PORT/")
        assert is_served(said, "a.test")


class TestClientCertificates:
    """The demand for one holds whatever way leads to the vhost (LESSONS T1, T2)."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_without_one_the_handshake_fails(self, site: Site, version: str) -> None:
        alert, code = MISSING[version]
        said = site.s_client("c.test", version)
        assert (alert in said.text, said.code) == (True, 1), said.text
        assert "c.test</p>" not in said.text
        refused = site.curl(f"--tlsv{version} --tls-max {version} https://c.test:PORT/")
        assert (alert in refused.text, refused.code) == (True, code)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_with_one_it_works(self, site: Site, version: str) -> None:
        own = site.made.client
        assert is_served(site.s_client("c.test", version, own=own), "c.test")
        said = site.curl(f"--tlsv{version} --tls-max {version} https://c.test:PORT/", own)
        assert said == ("<p>c.test</p>", 0)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_with_one_of_somebody_else_it_fails(self, site: Site, version: str) -> None:
        said = site.s_client("c.test", version, own=site.made.stranger)
        assert ("alert unknown ca" in said.text, said.code) == (True, 1), said.text
        assert "c.test</p>" not in said.text

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_session_of_another_vhost_is_no_way_in(self, site: Site, version: str, tmp_path: Path) -> None:
        session = tmp_path / "session"
        assert is_served(site.s_client("a.test", version, f"-sess_out {session}"), "a.test")
        again = site.s_client("a.test", version, f"-sess_in {session}")
        assert is_served(again, "a.test") and "Reused, TLS" in again.text  # so it is a good one
        said = site.s_client("c.test", version, f"-sess_in {session}")
        assert (MISSING[version][0] in said.text, said.code) == (True, 1), said.text
        assert "c.test</p>" not in said.text and "Reused" not in said.text
        said = site.s_client("c.test", version, f"-sess_in {session}", site.made.client)
        assert is_served(said, "c.test") and "Reused" not in said.text

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_session_is_not_resumed_at_another(self, site: Site, version: str, tmp_path: Path) -> None:
        session = tmp_path / "session"
        site.s_client("a.test", version, f"-sess_out {session}")
        said = site.s_client("b.test", version, f"-sess_in {session}")
        assert is_served(said, "b.test") and "Reused" not in said.text
        assert "Verified peername: b.test" in said.text

    @pytest.mark.parametrize("version", VERSIONS)
    def test_there_are_no_tickets_for_it(self, site: Site, version: str, tmp_path: Path) -> None:
        line = f"-sess_out {tmp_path / 'session'}"
        assert "TLS session ticket:" in site.s_client("a.test", version, line).text
        said = site.s_client("c.test", version, line, site.made.client)
        assert is_served(said, "c.test") and "TLS session ticket:" not in said.text

    def test_the_host_of_a_request_is_no_way_in(self, site: Site) -> None:
        """On one connection: what comes after the refusal is served."""
        urls = "-o /dev/null https://a.test:PORT/ -o /dev/null https://a.test:PORT/"
        told = "-w %{http_code},%{num_connects};"
        for foreign in ("b.test", "c.test", "C.Test:PORT"):
            assert site.curl(f"{told} -H Host:{foreign} {urls}") == ("421,1;421,0;", 0)
        own = site.curl(f"{told} -H Host:A.test.:PORT {urls}")
        assert own == ("200,1;200,0;", 0)
        line = "-w %{http_code} -o /dev/null -H Host:a.test https://c.test:PORT/"
        assert site.curl(line, site.made.client) == ("421", 0)


class TestProtocol:
    """What of TLS is spoken."""

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_older_versions_are_refused(self, site: Site, version: str) -> None:
        said = site.curl(f"--tlsv1.0 --tls-max {version} --ciphers {ANY_LEVEL} https://a.test:PORT/")
        assert ("alert protocol version" in said.text, said.code) == (True, 35)
        if version == "1.1":
            said = site.s_client("a.test", version, f"-cipher {ANY_LEVEL}")
            assert ("alert protocol version" in said.text, said.code) == (True, 1)

    @pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
    def test_ciphers_without_forward_secrecy_or_authentication_are_refused(
            self, site: Site, ciphers: str) -> None:
        said = site.s_client("a.test", "1.2", f"-cipher {ciphers}")
        assert ("alert handshake failure" in said.text, said.code) == (True, 1)

    @pytest.mark.parametrize("groups", ["ffdhe8192", "ffdhe8192:X25519"])
    def test_a_key_exchange_that_costs_the_server_much_is_not_for_the_asking(
            self, site: Site, groups: str) -> None:
        """CVE-2002-20001: some 200 ms of CPU for each handshake, while all others wait."""
        assert "Server Temp Key: DH" not in site.s_client("a.test", "1.3", f"-groups {groups}").text

    @pytest.mark.parametrize("group", ["X25519", "P-256", "P-384", "P-521"])
    def test_usual_key_exchanges(self, site: Site, group: str) -> None:
        assert is_served(site.s_client("a.test", "1.3", f"-groups {group}"), "a.test")

    @pytest.mark.parametrize("version", VERSIONS)
    def test_the_end_is_a_close_notify(self, site: Site, version: str) -> None:
        said = site.s_client("a.test", version, "-msg")
        assert is_served(said, "a.test")
        received = re.findall(r"<<< TLS [\d.]+, (Alert.*)", said.text)
        assert received == [CLOSE_NOTIFY]
        # curl waits for none, but shows it when it has come.
        assert site.curl("-H Connection:close https://a.test:PORT/") == ("<p>a.test</p>", 0)

    def test_renegotiation_is_refused(self, site: Site) -> None:
        address = f"127.0.0.1:{site.server.port}"
        command = [need("openssl"), "s_client", "-connect", address, "-servername", "a.test", "-tls1_2"]
        with subprocess.Popen(
            [*command, "-msg"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"R\n")
            process.stdin.flush()
            # It ends by itself when its wish is refused, while its standard input is still open.
            said = process.stdout.read()
        assert b"RENEGOTIATING" in said
        assert b"<<< TLS 1.2, Alert [length 0002], warning no_renegotiation" in said
        assert is_served(site.curl("https://a.test:PORT/"), "a.test")
