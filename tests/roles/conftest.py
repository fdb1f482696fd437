"""Benches for the tests of roles: with a document root for http, and for raw connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from tests.net.support import tcp_pair, unix_pair
from tests.support.handlers import BIG
from tests.support.peer import Bench
from tests.support.raw import Pair, RawBench


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Makes a bench with a document root; vhost keys as keywords, global ones in `settings`."""
    docroot = tmp_path / "www"
    docroot.mkdir()
    (docroot / "index.html").write_text("<p>home")
    (docroot / "ten.txt").write_text("0123456789")
    (docroot / "big.txt").write_bytes(BIG)
    (docroot / "gone.html").write_text("<p>gone")
    made: List[Bench] = []

    def make_bench(settings: Any = None, **vhost: Any) -> Bench:
        mounts = [{"mountpoint": "/", "origin": f"file://{docroot}"}]
        keys = {key.replace("_", "-"): value for key, value in vhost.items()}
        bench = Bench(tmp_path, {"mounts": mounts, **keys}, **(settings or {}))
        made.append(bench)
        return bench

    yield make_bench
    for bench in made:
        bench.close()


@pytest.fixture
def bench() -> Iterator[RawBench]:
    """A reactor, and no fds left at the end."""
    bench = RawBench()
    yield bench
    bench.close()


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Makes connected sockets, once on unix and once on TCP."""
    return unix_pair if request.param == "unix" else tcp_pair
