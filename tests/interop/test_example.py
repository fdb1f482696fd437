"""The bundled example, served for real: what a newcomer sees after `python3 lwsws.py`."""

from __future__ import annotations

import re
import shutil
import subprocess
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Dict, Iterator, Tuple
from urllib.parse import urljoin

import pytest

from tests.support.programs import need
from tests.support.server import Server, free_ports
from tests.support.source import ROOT

SITE = ROOT / "lwsws" / "share" / "libwebsockets-test-server"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that runs the example, moved away from 7681."""
    folder = tmp_path_factory.mktemp("example") / "etc"
    shutil.copytree(str(ROOT / "etc"), str(folder))
    (port,) = free_ports(1)
    site = folder / "conf.d" / "test-server"
    site.write_text(site.read_text("utf-8").replace('"7681"', f'"{port}"'), "utf-8")
    with Server(folder, [("127.0.0.1", port)]):
        yield port


def ask(port: int, method: str, path: str, **fields: str) -> Tuple[HTTPResponse, bytes]:
    """One request on a connection of its own: the answer's head and its body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): fields[name] for name in fields})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def site_files() -> Dict[str, Path]:
    """URL and file of everything in the example site."""
    return {"/" + str(file.relative_to(SITE)): file for file in sorted(SITE.rglob("*")) if file.is_file()}


def test_every_file_is_served_as_it_is(example: int) -> None:
    files = site_files()
    assert len(files) >= 8
    for path, file in files.items():
        response, body = ask(example, "GET", path)
        assert (path, response.status) == (path, 200)
        assert body == file.read_bytes()


def test_the_front_page_comes_with_the_recommended_fields(example: int) -> None:
    response, body = ask(example, "GET", "/")
    assert body == (SITE / "index.html").read_bytes()
    assert (response.getheader("Content-Type") or "").startswith("text/html")
    assert (response.getheader("Content-Security-Policy") or "").startswith("default-src 'none'")
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("X-XSS-Protection") == "1; mode=block"
    assert response.getheader("X-Frame-Options") == "SAMEORIGIN"
    assert response.getheader("Server") == "lwsws"


def test_the_four_questions_of_the_page_get_the_answers_it_hopes_for(example: int) -> None:
    head, _ = ask(example, "HEAD", "/")
    assert head.status == 200
    conditional, _ = ask(example, "GET", "/", If_None_Match=head.getheader("ETag") or "")
    assert conditional.status == 304
    part, body = ask(example, "GET", "/files/alphabet.txt", Range="bytes=0-12")
    assert (part.status, body) == (206, b"abcdefghijklm")
    missing, page = ask(example, "GET", "/no-such-file.txt")
    assert (missing.status, page) == (404, (SITE / "404.html").read_bytes())


def test_the_policy_lets_the_page_use_what_it_names(example: int) -> None:
    """script-src, style-src and img-src are 'self': nothing may be inline or from elsewhere."""
    for page in ("/", "/404.html"):
        text = ask(example, "GET", page)[1].decode()
        assert not re.search(r'<style|\sstyle=|\son\w+=|<script(?! src="[a-z/])', text)
        assert not re.search(r"https?://(?!localhost:7681)", text)
        for path in re.findall(r'(?:src|href)="([^"]+)"', text):
            status = ask(example, "GET", urljoin(page, path))[0].status
            assert (path, status) == (path, 404 if path == "not-there.html" else 200)


# No sandbox, as it may run as root; nothing that would speak to any other host.
CHROMIUM = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
--virtual-time-budget=5000 --dump-dom""".split()


def test_a_browser_runs_the_page_under_its_policy(example: int, tmp_path: Path) -> None:
    """The script of the page turns each tile green whose answer is the one it hopes for."""
    command = [need("chromium"), *CHROMIUM, f"--user-data-dir={tmp_path}", f"http://localhost:{example}/"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    page = done.stdout.decode()
    assert re.findall(r'class="tile (\w+)"', page) == ["good"] * 4
    assert re.findall(r'class="status">([^<]*)<', page) == ["200", "304", "206", "404"]
    assert "This server\u2019s clock: " in page
