"""Reverse proxy with real programs: nginx behind and in front of it, a Python server that sends chunks, lwsws
behind lwsws, an origin with TLS; bodies both ways, WebSockets.
"""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from tests.support.certificates import Certificates, make_certificate
from tests.support.client import Client
from tests.support.programs import need
from tests.support.server import Server, file_mount, free_ports, site_server
from tests.support.tls_site import tls_keys
from tests.support.waiting import wait_until
from tests.support.ws_client import TEXT, open_websocket

SIZE = 3_000_000
BIG = hashlib.sha256(b"seed").digest() * (SIZE // 32)
PAGE = "<a href='/page.html'>here</a>"

NGINX = """\
user root root; worker_processes 1; daemon off;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
 access_log off; types {{ text/html html; }}
 client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
 uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
 server {{ listen 127.0.0.1:{behind}; root {root}; gzip on; gzip_min_length 1; gzip_proxied any; }}
 server {{ listen 127.0.0.1:{front}; client_max_body_size 0;
  location / {{ proxy_pass http://127.0.0.1:{lwsws}; proxy_http_version 1.1;
   proxy_set_header Connection $http_connection; proxy_set_header Upgrade $http_upgrade; }} }}
}}
"""


class Chunking(http.server.BaseHTTPRequestHandler):
    """Answers GET with BIG in chunks of odd sizes, and POST with the sum of what came."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Not on the terminal."""

    def do_GET(self) -> None:
        """BIG, or the fields of the request."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = str(self.headers).encode() if self.path == "/fields" else BIG
        for at in range(0, len(body), 70_001):
            piece = body[at:at + 70_001]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self) -> None:
        """Read the body, which comes in chunks or with a length."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            found = self.rfile.read(int(self.headers["Content-Length"]))
        answer = hashlib.sha256(found).hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Site(NamedTuple):
    """The ports of the front, of nginx behind it and before it."""

    port: int
    nginx_behind: int
    nginx_before: int
    server: Server

    def curl(self, *arguments: str) -> bytes:
        """What curl prints."""
        command = [need("curl"), "-sS", "-m", "20", "--noproxy", "*", *arguments]
        return subprocess.run(command, capture_output=True, timeout=30, check=True).stdout

    def url(self, path: str) -> str:
        """Of the front."""
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Site]:
    """One server: the front, an http and a TLS vhost that it has behind it; nginx on both sides."""
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "big.txt").write_bytes(BIG)
    (folder / "page.html").write_text(PAGE)
    front, back, tls, wrong, nginx_behind, nginx_before = free_ports(6)
    right = make_certificate(folder, "origin", ["127.0.0.1"], certificates.ca)
    chunking = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chunking)
    chunking.daemon_threads = True
    thread = threading.Thread(target=chunking.serve_forever, args=(0.02,))
    thread.start()
    mounts = [
        proxy("/nginx", f"http://127.0.0.1:{nginx_behind}/"),
        proxy("/chunks", f"http://127.0.0.1:{chunking.server_port}/"),
        proxy("/self", f"http://127.0.0.1:{back}/", proxy_keep_host="1"),
        proxy("/twice", f"http://127.0.0.1:{front}/self/"),
        proxy("/unix", f"http://+{folder}/sock:/"),
        proxy("/tls", f"https://127.0.0.1:{tls}/"),
        proxy("/wrong", f"https://127.0.0.1:{wrong}/"),
    ]
    common: Dict[str, Any] = {"interface": "127.0.0.1"}
    files = [file_mount(folder)]
    echo = {"ws-protocols": [{"lws-mirror-protocol": {"default": "1"}}], "mounts": files}
    vhosts: List[Dict[str, Any]] = [
        {**common, "port": front, "mounts": mounts, "enable-client-ssl": "1",
         "client-ssl-ca": str(certificates.ca.cert)},
        {**common, "port": back, **echo},
        {**common, "port": tls, "mounts": files, **tls_keys(right)},
        {**common, "port": wrong, "mounts": files, **tls_keys(certificates.a)},
        {"unix-socket": "1", "interface": f"{folder}/sock", "mounts": files},
    ]
    (folder / "nginx.conf").write_text(NGINX.format(
        folder=folder, root=folder, behind=nginx_behind, front=nginx_before, lwsws=front))
    nginx = subprocess.Popen([need("nginx"), "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        with site_server(folder / "conf", vhosts) as server:
            made = Site(front, nginx_behind, nginx_before, server)
            wait_until((folder / "nginx.pid").exists, "nginx")
            yield made
    finally:
        nginx.terminate()
        nginx.wait(10)
        chunking.shutdown()
        chunking.server_close()
        thread.join()


def proxy(mountpoint: str, origin: str, **keys: str) -> Dict[str, Any]:
    """A proxy mount."""
    return {"mountpoint": mountpoint, "origin": origin, **{key.replace("_", "-"): keys[key] for key in keys}}


@pytest.mark.parametrize("path", [
    "/nginx/big.txt", "/chunks/x", "/self/big.txt", "/twice/big.txt", "/unix/big.txt"])
def test_large_answers(site: Site, path: str) -> None:
    assert site.curl(site.url(path)) == BIG
    assert site.curl("--http1.0", site.url(path)) == BIG


@pytest.mark.parametrize("field", ["Content-Type: x/y", "Transfer-Encoding: chunked"])
def test_large_requests(site: Site, field: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BIG)
    found = site.curl("-H", field, "--data-binary", f"@{tmp_path}/body", site.url("/chunks/x"))
    assert found.decode() == hashlib.sha256(BIG).hexdigest()


def test_nginx_in_front(site: Site, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BIG)
    before = f"http://127.0.0.1:{site.nginx_before}"
    assert site.curl(f"{before}/nginx/big.txt") == BIG
    assert site.curl("--data-binary", f"@{tmp_path}/body", f"{before}/chunks/x").decode() == \
        hashlib.sha256(BIG).hexdigest()


def test_a_page_that_nginx_compresses(site: Site) -> None:
    found = site.curl("--compressed", "-i", site.url("/nginx/page.html")).decode()
    assert "Content-Encoding: gzip\r\n" in found
    assert found.endswith("\r\n\r\n<a href='/nginx/page.html'>here</a>")


def test_conditions_and_ranges_are_the_origins(site: Site) -> None:
    with Client(site.server.connect()) as client:
        whole = client.get("/nginx/big.txt")
        etag = whole.fields["etag"]
        assert client.get("/nginx/big.txt", f"If-None-Match: {etag}").status == 304
        part = client.get("/nginx/big.txt", "Range: bytes=10-19")
        assert (part.status, part.body) == (206, BIG[10:20])
        assert client.get("/nginx/none").status == 404


@pytest.mark.parametrize("path", ["/self", "/twice", "/nginx-in-front"])
def test_a_websocket(site: Site, path: str) -> None:
    port, path = (site.nginx_before, "/self") if "nginx" in path else (site.port, path)
    with open_websocket("127.0.0.1", port, f"{path}/mirror", protocol="lws-mirror-protocol") as ws:
        ws.send_text("hello" * 10_000)
        assert ws.receive() == (TEXT, b"hello" * 10_000)
        ws.close()
        assert ws.close_code == 1000


def test_an_origin_with_tls(site: Site) -> None:
    """Its certificate has to be for its name."""
    assert site.curl(site.url("/tls/big.txt")) == BIG
    assert site.curl("-o", "/dev/null", "-w", "%{http_code}", site.url("/wrong/big.txt")) == b"502"
    site.server.wait_for("cannot connect: TLS handshake: certificate verify failed: IP address mismatch")
