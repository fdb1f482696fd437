"""What the interop tests share: real servers that are stopped, and checked, after each test."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Sequence

import pytest

from tests.support.server import Server, free_ports, write_config

# serve(vhosts, **global_settings): a running server with these vhosts, the first ready to answer.
Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers; a vhost without a port gets a free one of 127.0.0.1."""
    with ExitStack() as stack:

        def start(vhosts: Sequence[Mapping[str, Any]], **settings: Any) -> Server:
            ports = free_ports(len(vhosts))
            full = [{"name": "localhost", "port": port, **vhost} for vhost, port in zip(vhosts, ports)]
            folder = tmp_path / f"conf{ports[0]}"
            addresses: List[Any] = [
                vhost["interface"] if vhost.get("unix-socket") else ("127.0.0.1", int(vhost["port"]))
                for vhost in full
            ]
            return stack.enter_context(Server(write_config(folder, full, **settings), addresses))

        yield start
