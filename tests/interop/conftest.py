"""What the interop tests share: real servers that are stopped, and checked, after each test."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import pytest

from tests.support.server import Server, site_server

# serve(vhosts, **global_settings): a running server with these vhosts, all ready to answer.
Serve = Callable[..., Server]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that nobody, who serves, may enter: those of pytest are closed to him."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers; a vhost without a port gets a free one of 127.0.0.1."""
    with ExitStack() as stack:
        folders = (tmp_path / f"conf{number}" for number in range(100))

        def start(vhosts: Sequence[Mapping[str, Any]], **settings: Any) -> Server:
            return stack.enter_context(site_server(next(folders), vhosts, **settings))

        yield start
