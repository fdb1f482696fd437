"""For the tests of bundled protocols: raw connections and WebSockets before a real reactor."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.builtin import wsgi_apps
from tests.builtin.wsgi_site import Applications
from tests.support.raw import RawBench
from tests.support.ws import WsBench


@pytest.fixture
def bench() -> Iterator[RawBench]:
    """A reactor, and no fds left at the end."""
    bench = RawBench()
    yield bench
    bench.close()


@pytest.fixture
def ws_bench() -> Iterator[WsBench]:
    """The same, where WebSockets can be opened."""
    bench = WsBench()
    yield bench
    bench.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Applications]:
    """A site whose mount /call is an application."""
    wsgi_apps.told.clear()
    wsgi_apps.gate.clear()
    site = Applications(tmp_path)
    yield site
    site.close()
