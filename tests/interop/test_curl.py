"""curl against a server: connections, ranges, conditions, codings, uploads, passwords, redirects."""

from __future__ import annotations

import gzip
import os
import shlex
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from tests.support.client import Client
from tests.support.programs import need
from tests.support.server import Server, file_mount, free_ports, site_server
from tests.support.source import ROOT

ALPHABET = b"abcdefghijklmnopqrstuvwxyz"
SCRIPT = b"// a script that compresses well\n" * 100
HOME = b"<p>home</p>"
OTHER = b"<p>the other one</p>"
DAY_IN_2020 = 1_600_000_000
PASSWORD = "correct horse"
SCHEMES = ("scrypt", "pbkdf2", "sha512")


class Site(NamedTuple):
    """The server that all tests here share."""

    server: Server
    folder: Path
    url: str
    other_port: int

    def curl(self, arguments: str, expect: int = 0) -> str:
        """What curl prints, started in a directory of its own; in `arguments` URL is where the site is."""
        line = shlex.split(arguments.replace("URL", self.url))
        resolve = f"other.test:{self.other_port}:127.0.0.1"
        done = subprocess.run(
            [need("curl"), "-sS", "-m", "20", "--noproxy", "*", "--resolve", resolve, *line],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=str(self.folder),
            env={**os.environ, "HOME": str(self.folder)},
            check=False,
        )
        text = done.stdout.decode("latin-1")
        assert done.returncode == expect, text
        return text

    def told(self, variables: str, *urls: str) -> List[str]:
        """The values of curl's `variables` after each of the `urls` (with options), got in one run."""
        shown = " ".join(f"%{{{name}}}" for name in variables.split())
        return self.curl(f"-w '{shown}\\n' -o /dev/null {' -o /dev/null '.join(urls)}").splitlines()

    def fates(self, *urls: str) -> List[str]:
        """Status and number of new connections for each of the `urls`."""
        return self.told("http_code num_connects", *urls)


def write_passwords(folder: Path) -> None:
    """Password files: a plain one, and one with a user for each scheme, made by `lwsws passwd`."""
    (folder / "plain").write_text(f"joe:{PASSWORD}\n")
    (folder / "plain").chmod(0o600)
    for scheme in SCHEMES:
        command = [sys.executable, "-B", str(ROOT / "lwsws.py"), "passwd", "-s", scheme]
        subprocess.run(
            [*command, "hashed", f"joe-{scheme}"],
            input=PASSWORD.encode(),
            cwd=str(folder),
            stderr=subprocess.DEVNULL,
            check=True,
        )


def write_files(folder: Path) -> None:
    """The two document roots."""
    files = {
        "www/index.html": HOME,
        "www/alphabet.txt": ALPHABET,
        "www/script.js": SCRIPT,
        "www/script.js.gz": gzip.compress(SCRIPT),
        "www/big.txt": os.urandom(300_000).hex().encode(),
        "www/sub/index.html": b"<p>sub</p>",
        "other/x/index.html": OTHER,
        "upload": b"u" * 200_000,
        "garbage": b"0123\0\1\2\3" * 10,
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(str(path), (DAY_IN_2020, DAY_IN_2020))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two vhosts on two ports: the second is where redirects lead to."""
    folder = tmp_path_factory.mktemp("curl")
    write_files(folder)
    write_passwords(folder)
    (other_port,) = free_ports(1)
    mounts: List[Dict[str, Any]] = [
        file_mount(folder / "www"),
        file_mount(folder / "www", "/plain", basic_auth=str(folder / "plain")),
        file_mount(folder / "www", "/hashed", basic_auth=str(folder / "hashed")),
        {"mountpoint": "/away", "origin": f">http://other.test:{other_port}/x/"},
        {"mountpoint": "/along", "origin": f">http://other.test:{other_port}", "append-path": "1"},
    ]
    vhosts: List[Dict[str, Any]] = [
        {"mounts": mounts},
        {"name": "other.test", "port": other_port, "mounts": [file_mount(folder / "other")]},
    ]
    with site_server(folder / "conf", vhosts, server_string="curl-me", count_threads=2) as server:
        yield Site(server, folder, f"http://localhost:{server.port}", other_port)


class TestConnections:
    """What becomes of the connection."""

    def test_two_urls_one_connection(self, site: Site) -> None:
        told = site.told("http_version http_code num_connects", "URL/", "URL/alphabet.txt")
        assert told == ["1.1 200 1", "1.1 200 0"]

    def test_errors_keep_the_connection_too(self, site: Site) -> None:
        assert site.fates("URL/none", "URL/%00", "URL/") == ["404 1", "400 0", "200 1"]
        assert site.fates("-X PUT URL/none", "URL/", "-r 99- URL/") == ["405 1", "405 0", "405 0"]

    def test_http_1_0_is_closed_after_the_answer(self, site: Site) -> None:
        assert site.fates("-0 URL/", "URL/alphabet.txt") == ["200 1", "200 1"]

    def test_http_1_0_may_ask_to_keep_it(self, site: Site) -> None:
        assert site.fates("-0 -H 'Connection: keep-alive' URL/", "URL/alphabet.txt") == ["200 1", "200 0"]

    def test_a_client_that_asks_to_close_it(self, site: Site) -> None:
        text = site.curl("-i -H 'Connection: close' URL/alphabet.txt")
        assert "\r\nConnection: close\r\n" in text
        assert text.endswith(ALPHABET.decode())

    def test_garbage_after_a_request(self, site: Site) -> None:
        assert site.curl("--data-binary @garbage -X GET -H 'Content-Length: 4' URL/").encode() == HOME
        assert site.fates("URL/") == ["200 1"]

    def test_the_bytes_of_garbage_after_a_request(self, site: Site) -> None:
        with Client(site.server.connect()) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\x16\x03\x01\x02\x00")
            assert client.answer().body == HOME
            refusal = client.answer()
            assert (refusal.status, refusal.fields["connection"]) == (400, "close")
            assert client.rest() == b""


class TestAnswers:
    """HEAD, ranges, conditions and codings."""

    def test_head_is_get_without_the_body(self, site: Site) -> None:
        shown, got = site.curl("-I URL/alphabet.txt"), site.curl("-i URL/alphabet.txt")
        head, _, body = got.partition("\r\n\r\n")
        date = "Date: "
        lines = [line for line in head.split("\r\n") if not line.startswith(date)]
        assert [line for line in shown.rstrip().split("\r\n") if not line.startswith(date)] == lines
        assert {"Content-Length: 26", "Server: curl-me", "HTTP/1.1 200 OK"} <= set(lines)
        assert body == ALPHABET.decode()

    @pytest.mark.parametrize(
        "asked, given, field",
        [
            ("0-4", "abcde", "bytes 0-4/26"),
            ("23-", "xyz", "bytes 23-25/26"),
            ("-2", "yz", "bytes 24-25/26"),
            ("20-999", "uvwxyz", "bytes 20-25/26"),
        ],
    )
    def test_a_range(self, site: Site, asked: str, given: str, field: str) -> None:
        text = site.curl(f"-i -r {asked} URL/alphabet.txt")
        head, _, body = text.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 206 ")
        assert f"Content-Range: {field}" in head
        assert body == given

    def test_several_ranges(self, site: Site) -> None:
        head, _, body = site.curl("-i -r 0-1,24-25 URL/alphabet.txt").partition("\r\n\r\n")
        boundary = head.partition("Content-Type: multipart/byteranges; boundary=")[2].split("\r\n")[0]
        assert body.count(f"--{boundary}\r\n") == 2
        assert body.rstrip().endswith(f"--{boundary}--")
        assert "Content-Range: bytes 0-1/26\r\n\r\nab\r\n" in body
        assert "Content-Range: bytes 24-25/26\r\n\r\nyz\r\n" in body

    def test_a_range_beyond_the_end(self, site: Site) -> None:
        text = site.curl("-i -r 26- URL/alphabet.txt")
        assert text.startswith("HTTP/1.1 416 ")
        assert "Content-Range: bytes */26\r\n" in text

    def test_a_download_that_goes_on_where_it_broke_off(self, site: Site) -> None:
        whole = (site.folder / "www" / "big.txt").read_bytes()
        (site.folder / "part").write_bytes(whole[:100_000])
        shown = site.curl("-C - -o part -w '%{http_code} %{size_download}' URL/big.txt")
        assert shown == "206 500000"
        assert (site.folder / "part").read_bytes() == whole

    @pytest.mark.parametrize(
        "condition, told",
        [
            ("-z 'Sun, 13 Sep 2020 12:26:40 GMT'", "304 0"),
            ("-z 'Sun, 13 Sep 2020 12:26:39 GMT'", "200 26"),
            ("-z www/alphabet.txt", "304 0"),
            # curl's own `-z -DATE` would judge the answer once more, and show 304 for a 200.
            ("-H 'If-Unmodified-Since: Sun, 13 Sep 2020 12:26:40 GMT'", "200 26"),
            ("-H 'If-Unmodified-Since: Sun, 13 Sep 2020 12:26:39 GMT'", "412"),
        ],
    )
    def test_a_condition_on_the_date(self, site: Site, condition: str, told: str) -> None:
        (shown,) = site.told("http_code size_download", f"{condition} URL/alphabet.txt")
        assert shown.startswith(told)

    def test_a_condition_on_the_etag(self, site: Site) -> None:
        line = "--etag-compare tag --etag-save tag URL/big.txt"
        assert site.told("http_code", line) == ["200"]
        assert (site.folder / "tag").read_text().startswith('"')
        assert site.told("http_code", line) == ["304"]
        (site.folder / "tag").write_text('"another"\n')
        assert site.told("http_code", line) == ["200"]

    def test_a_compressed_sibling(self, site: Site) -> None:
        text = site.curl("-H 'Accept-Encoding: gzip' -D - -o coded URL/script.js")
        assert "\r\nContent-Encoding: gzip\r\n" in text
        assert "\r\nVary: Accept-Encoding\r\n" in text
        assert "\r\nContent-Type: text/javascript" in text
        assert (site.folder / "coded").read_bytes() == (site.folder / "www" / "script.js.gz").read_bytes()
        size = (site.folder / "coded").stat().st_size
        assert site.told("http_code size_download", "--compressed URL/script.js") == [f"200 {size}"]

    def test_compression_is_undone_by_curl(self, site: Site) -> None:
        assert site.curl("--compressed URL/script.js").encode() == SCRIPT
        plain = site.curl("-i URL/script.js")
        assert "Content-Encoding" not in plain
        assert plain.encode().endswith(SCRIPT)


class TestUploads:
    """Bodies that a file mount does not want."""

    def test_a_client_that_waits_for_100_sends_nothing(self, site: Site) -> None:
        line = "-T upload -H 'Expect: 100-continue' --expect100-timeout 15 URL/alphabet.txt"
        assert site.told("http_code size_upload", line) == ["405 0"]
        assert (site.folder / "www" / "alphabet.txt").read_bytes() == ALPHABET

    @pytest.mark.parametrize("framing", ["Content-Type: text/plain", "Transfer-Encoding: chunked"])
    def test_one_that_does_not_wait_gets_the_answer_too(self, site: Site, framing: str) -> None:
        """The body is on its way when the answer comes."""
        text = site.curl(f"--data-binary @upload -H 'Expect:' -H '{framing}' -i URL/alphabet.txt")
        assert text.startswith("HTTP/1.1 405 ")
        assert "\r\nAllow: GET, HEAD, OPTIONS\r\n" in text

    def test_one_that_sends_all_before_it_reads(self, site: Site) -> None:
        """RFC 9112 9.6: what simple clients do, with a body of 16 MB."""
        connection = HTTPConnection("127.0.0.1", site.server.port, timeout=10)
        try:
            connection.request("POST", "/alphabet.txt", body=b"u" * 16_000_000)
            assert connection.getresponse().status == 405
        finally:
            connection.close()

    def test_a_short_body_costs_no_connection(self, site: Site) -> None:
        assert site.fates("-d x=y URL/alphabet.txt", "URL/") == ["405 1", "405 0"]

    def test_options_tells_what_is_allowed(self, site: Site) -> None:
        assert "\r\nAllow: GET, HEAD, OPTIONS\r\n" in site.curl("-i -X OPTIONS URL/alphabet.txt")
        assert site.curl("-i -X OPTIONS --request-target '*' URL").startswith("HTTP/1.1 200 ")


class TestPasswords:
    """Basic authentication with the spec's plain file and the hashes of `lwsws passwd`."""

    USERS = [("plain", "joe"), *(("hashed", f"joe-{scheme}") for scheme in SCHEMES)]

    @pytest.mark.parametrize("mount, user", USERS)
    def test_the_right_one(self, site: Site, mount: str, user: str) -> None:
        line = f"-u '{user}:{PASSWORD}' URL/{mount}/alphabet.txt"
        assert site.curl(line).encode() == ALPHABET
        assert site.fates(line, f"URL/{mount}/") == ["200 1", "200 0"]

    @pytest.mark.parametrize("mount, user", USERS)
    def test_a_wrong_one(self, site: Site, mount: str, user: str) -> None:
        text = site.curl(f"-i -u '{user}:{PASSWORD}!' URL/{mount}/alphabet.txt")
        assert text.startswith("HTTP/1.1 401 ")
        assert ALPHABET.decode() not in text

    @pytest.mark.parametrize("mount", ["plain", "hashed"])
    def test_none(self, site: Site, mount: str) -> None:
        text = site.curl(f"-i URL/{mount}/alphabet.txt")
        assert text.startswith("HTTP/1.1 401 ")
        assert "\r\nWWW-Authenticate: Basic realm=" in text

    def test_curl_finds_out_by_itself(self, site: Site) -> None:
        """--anyauth asks without the password first, and answers the challenge on the same connection."""
        line = f"--anyauth -u 'joe:{PASSWORD}' URL/plain/alphabet.txt"
        assert site.told("http_code num_connects size_download", line) == ["200 1 26"]


class TestRedirects:
    """To another vhost, and to a directory's own slash."""

    def test_to_another_vhost(self, site: Site) -> None:
        for start in ("/away", "/away/anything", "/along/x/", "/along/x"):
            text = site.curl("-L -w ' %{num_redirects} %{url_effective}' URL" + start)
            count = 2 if start == "/along/x" else 1
            assert text == f"{OTHER.decode()} {count} http://other.test:{site.other_port}/x/"

    def test_path_and_query_are_kept(self, site: Site) -> None:
        there = f"http://other.test:{site.other_port}/a%20b/c?d=e&f"
        assert site.told("http_code redirect_url", "'URL/along/a%20b/c?d=e&f'") == [f"301 {there}"]

    def test_a_directory_gets_its_slash(self, site: Site) -> None:
        assert site.curl("-L -w ' %{url_effective}' 'URL/sub?q'") == f"<p>sub</p> {site.url}/sub/?q"

    @pytest.mark.parametrize(
        "path", ["//evil.test/sub/..", "/%5Cevil.test/../sub", "/..//evil.test/%2e%2e/sub"]
    )
    def test_it_never_leads_elsewhere(self, site: Site, path: str) -> None:
        told = site.told("redirect_url", f"--path-as-is -H 'Host: made-up' 'URL{path}'")
        assert told in ([""], [f"{site.url}/sub/"])
