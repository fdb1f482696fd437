"""Every test of a service ends what it started."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.server.support import Host
from tests.support.server import free_ports


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A place for services."""
    host = Host(tmp_path)
    yield host
    host.close()


@pytest.fixture
def port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    return free_ports(1)[0]
