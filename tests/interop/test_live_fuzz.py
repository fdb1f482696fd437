"""Thousands of damaged requests over many connections: the server answers or ends each, and is as before.

LWSWS_FUZZ_CASES=100000 in the environment runs more cases; a failure names the case, which its seed and
number give again.
"""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path
from typing import Callable, Iterator, Set

import pytest

from tests.support.client import Client
from tests.support.live_fuzz import Case, make_case, run_cases
from tests.support.procfs import fd_count, idle_fds, rss
from tests.support.server import Server, file_mount, site_server
from tests.support.waiting import wait_until

CASES = int(os.environ.get("LWSWS_FUZZ_CASES", "1000"))
WARM_UP = 400  # after so many, caches have the size that they keep
SEEDS = (1, 2)
GROWTH = 4 << 20

PAGE = b"<p>page</p>"
# Apache's combined format, with everything of the peer escaped (LESSONS 3.36).
LOG_LINE = re.compile(
    r'127\.0\.0\.1 - [\x21-\x7e]+ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] '
    r'"([^"\x00-\x1f\x7f-\xff]*)" \d{3} \d+ "[^"\x00-\x1f\x7f-\xff]*" "[^"\x00-\x1f\x7f-\xff]*"'
)


def make_site(folder: Path) -> None:
    """Files of all kinds, and a password."""
    root = folder / "www"
    (root / "sub").mkdir(parents=True)
    files = {
        "index.html": PAGE,
        "404.html": b"<p>none</p>",
        "a.txt": b"a" * 1000,
        "big.txt": b"0123456789" * 20_000,
        "c.js": b"// c\n" * 100,
        "c.js.gz": gzip.compress(b"// c\n" * 100),
        "sub/index.html": PAGE,
    }
    for name, content in files.items():
        (root / name).write_bytes(content)
    (folder / "passwords").write_text("joe:secret\n")
    (folder / "passwords").chmod(0o600)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    make_site(folder)
    vhost = {
        "mounts": [
            file_mount(folder / "www"),
            file_mount(folder / "www", "/locked", basic_auth=str(folder / "passwords")),
            file_mount(folder / "gone", "/gone"),
            {"mountpoint": "/away", "origin": ">http://other.test", "append-path": "1"},
        ],
        "headers": [{"X-Frame-Options": "SAMEORIGIN"}],
        "error-document-404": "/404.html",
        "access-log": str(folder / "access.log"),
        "keepalive-timeout": 1,
        "max-body": 100_000,
    }
    with site_server(folder / "conf", [vhost], timeout_secs=1, send_timeout=2) as started:
        yield started
        log = started.log()
        for sign_of_a_fault in ("Traceback", "fault in", "handler failed"):
            assert sign_of_a_fault not in log
        check_access_log(folder / "access.log")


def check_access_log(path: Path) -> None:
    """No request got out of its line or its quotes."""
    lines = path.read_text("ascii").splitlines()
    assert len(lines) > CASES / 2
    assert [line for line in lines if not LOG_LINE.fullmatch(line)] == []


def test_damaged_requests(server: Server, record_property: Callable[[str, object], None]) -> None:
    """They never crash, hang or leak."""
    statuses: Set[int] = set()

    def check(case: Case, received: bytes) -> None:
        if received:
            assert re.match(rb"HTTP/1\.1 [1-5]\d\d ", received), f"{case} got {received[:200]!r}"
            statuses.update(int(found) for found in re.findall(rb"(?:^|\n)HTTP/1\.1 (\d{3}) ", received))
            assert 500 not in statuses, f"{case} got {received[:2000]!r}"

    def run(count: int, *seeds: int) -> None:
        cases = (make_case(seed, number) for seed in seeds for number in range(count))
        run_cases(server.address, cases, check)

    run(WARM_UP, 0)
    fds, memory = idle_fds(server.pid, server.port), rss(server.pid)
    run(CASES // len(SEEDS), *SEEDS)
    with Client(server.connect()) as client:
        assert client.get().body == PAGE
    wait_until(lambda: fd_count(server.pid) == fds, "the fds freed")
    growth = rss(server.pid) - memory
    record_property("rss_growth_kib", growth // 1024)
    print(f"RSS growth after {CASES} cases: {growth // 1024} KiB; statuses {sorted(statuses)}")
    assert growth < GROWTH
    # The cases are worth something: they met most of what the server can say.
    met = {200, 206, 301, 304, 400, 401, 404, 405, 408, 412, 413, 414, 416, 417, 431, 501, 505}
    assert CASES < 2000 or met <= statuses
