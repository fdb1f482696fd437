"""Chromium against three TLS vhosts on one port, which share a page between them."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.interop.conftest import Serve
from tests.interop.test_browser import BROWSERS, OPTIONS
from tests.support.certificates import Certificates, Pair, make_certificate
from tests.support.client import Client
from tests.support.programs import find, give_up, need
from tests.support.server import Server, file_mount, free_ports
from tests.support.tls_peer import client_context
from tests.support.tls_site import connect_tls, demand_keys, tls_keys

NAMES = ("a.test", "b.test", "c.test")
DOT = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
# What it becomes when its parts have come, or have not.
PAGE = """<!doctype html><title>starts</title><link rel="icon" href="data:,">
<script>
addEventListener("load", async () => {
  const seen = [...document.images].map(image => image.naturalWidth > 0);
  const text = await (await fetch("/big.txt")).text();
  document.title = [location.origin, isSecureContext, seen, text.length].join(" ");
});
</script>
"""
MUCH = 300_000  # many records


def fingerprint(pair: Pair) -> str:
    """The hash of a certificate's public key, by which Chromium can be told to trust it (RFC 7469 2.4)."""
    openssl = need("openssl")
    key = subprocess.run(
        [openssl, "x509", "-in", str(pair.cert), "-noout", "-pubkey"], capture_output=True, check=True
    )
    der = subprocess.run(
        [openssl, "pkey", "-pubin", "-outform", "DER"], input=key.stdout, capture_output=True, check=True
    )
    return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()


def browse(url: str, folder: Path, trusted: List[Pair]) -> str:
    """The page that `url` becomes in a new profile, whose user trusts these certificates and has none."""
    found = [name for name in BROWSERS if find(name)]
    if not found:
        give_up(f"needs one of the browsers {', '.join(BROWSERS)}")
    prints = ",".join(fingerprint(pair) for pair in trusted)
    more = [
        f"--user-data-dir={folder / 'profile'}",
        f"--ignore-certificate-errors-spki-list={prints}",
        "--host-resolver-rules=MAP *.test 127.0.0.1",
        url,
    ]
    command = [find(found[0]), *OPTIONS, *more]
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode()


@pytest.fixture
def pairs(tmp_path: Path, certificates: Certificates) -> List[Pair]:
    """The certificates of NAMES."""
    return [certificates.a, certificates.b, make_certificate(tmp_path, "c.test", ["c.test"], certificates.ca)]


@pytest.fixture
def server(serve: Serve, tmp_path: Path, pairs: List[Pair], certificates: Certificates) -> Server:
    """Each with the page, which shows images of all three; at b.test plain http leads to https."""
    (port,) = free_ports(1)
    root = tmp_path / "www"
    root.mkdir()
    images = "".join(f'<img src="https://{name}:{port}/dot.svg">' for name in NAMES)
    (root / "index.html").write_text(PAGE + images)
    (root / "dot.svg").write_bytes(DOT)
    (root / "big.txt").write_text("t" * MUCH)
    redirect = {"allow-non-tls": "1", "redirect-http": "1"}
    more: List[Dict[str, Any]] = [{}, redirect, demand_keys(certificates.ca)]
    return serve([
        {"name": name, "port": port, "mounts": [file_mount(root)], **tls_keys(pair), **keys}
        for name, pair, keys in zip(NAMES, pairs, more)
    ])


def test_a_page_with_parts_from_all_three(
        server: Server, pairs: List[Pair], certificates: Certificates, tmp_path: Path) -> None:
    """Typed without https; what is at c.test stays away from a browser without a certificate."""
    page = browse(f"http://b.test:{server.port}/", tmp_path, pairs)
    assert f"<title>https://b.test:{server.port} true true,true,false {MUCH}</title>" in page
    context = client_context(certificates.ca, own=certificates.client)
    with Client(connect_tls(server, context, "c.test")) as client:
        client.send(b"GET /dot.svg HTTP/1.1\r\nHost: c.test\r\n\r\n")
        assert client.answer().body == DOT  # so nothing else kept it away
