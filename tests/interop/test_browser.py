"""A real browser: the bundled example without a complaint on its console, and a page of many parts."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path
from typing import List, NamedTuple

import pytest

from tests.interop.conftest import Serve
from tests.support.programs import find, give_up
from tests.support.server import Server, file_mount, free_ports
from tests.support.source import ROOT
from tests.support.waiting import wait_until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, as it may run as root; nothing that would speak to any other host.
OPTIONS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
--enable-logging=stderr --virtual-time-budget=4000 --dump-dom""".split()

PARTS = 30
DOT = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
STYLE = b"body { border-left-width: 7px; border-left-style: solid }"
MANY = """<!doctype html><title>starts</title><link rel="icon" href="0.svg">
<link rel="stylesheet" href="style.css"><script src="script.js" defer></script>
"""
# What the page has become when all its parts have come.
SCRIPT = b"""
addEventListener("load", async () => {
  const images = [...document.images].filter(image => image.complete && image.naturalWidth).length;
  const border = getComputedStyle(document.body).borderLeftWidth;
  const range = await fetch("style.css", { headers: { Range: "bytes=0-3" } });
  const upload = await fetch("style.css", { method: "POST", body: "x".repeat(200000) });
  const moved = await fetch("sub");
  document.title = [images, border, await range.text(), upload.status, moved.url].join(" ");
  console.log("the console is read");
});
"""


class Seen(NamedTuple):
    """What a browser made of a page."""

    page: str
    console: List[str]


def browse(url: str, folder: Path) -> Seen:
    """Open `url` with a new profile in `folder`."""
    found = [name for name in BROWSERS if find(name)]
    if not found:
        give_up(f"needs one of the browsers {', '.join(BROWSERS)}")
    done = subprocess.run(
        [find(found[0]), *OPTIONS, f"--user-data-dir={folder / 'profile'}", url],
        capture_output=True,
        timeout=60,
        check=True,
    )
    log = done.stderr.decode("utf-8", "replace")
    return Seen(done.stdout.decode(), [line for line in log.splitlines() if "CONSOLE" in line])


def test_the_example(tmp_path: Path) -> None:
    confdir, log, (port,) = tmp_path / "etc", tmp_path / "access.log", free_ports(1)
    shutil.copytree(str(ROOT / "etc"), str(confdir))
    site = confdir / "conf.d" / "test-server"
    text = site.read_text("utf-8").replace('"port": "7681"', f'"port": "{port}", "access-log": "{log}"')
    site.write_text(text, "utf-8")
    with Server(confdir, [("127.0.0.1", port)]):
        seen = browse(f"http://localhost:{port}/", tmp_path)
        wait_until(lambda: "no-such-file" in log.read_text(), "the last request logged")
    assert "<title>It works · lwsws</title>" in seen.page
    # Only script.js writes such figures.
    assert re.findall(r'class="status">([^<]*)<', seen.page) == ["200", "304", "206", "404"]
    assert seen.console == []
    asked = set(re.findall(r'"(\w+ \S+) HTTP/1.1" (\d+) ', log.read_text()))
    parts = {("GET /style.css", "200"), ("GET /script.js", "200"), ("GET /favicon.svg", "200")}
    assert parts | {("GET /", "200"), ("HEAD /", "200"), ("GET /", "304")} <= asked


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A page with a style sheet, a script that exists for those who accept gzip only, and images."""
    root = tmp_path / "www"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "index.html").write_text("sub")
    images = "".join(f'<img src="{number}.svg">' for number in range(PARTS))
    (root / "index.html").write_text(MANY + images)
    for number in range(PARTS):
        (root / f"{number}.svg").write_bytes(DOT)
    (root / "style.css").write_bytes(STYLE)
    (root / "script.js").write_text("document.title = 'not compressed';")
    (root / "script.js.gz").write_bytes(gzip.compress(SCRIPT))
    return root


def test_a_page_of_many_parts(serve: Serve, many: Path, tmp_path: Path) -> None:
    server = serve([{"mounts": [file_mount(many)]}])
    url = f"http://localhost:{server.port}"
    seen = browse(f"{url}/", tmp_path)
    assert f"<title>{PARTS} 7px body 405 {url}/sub/</title>" in seen.page
    assert len(seen.console) == 1
    assert "the console is read" in seen.console[0]
