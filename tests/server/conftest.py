"""Every test of a service ends what it started."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.server.support import Disable, Host, Unable
from tests.support.docroot import private_directory
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


@pytest.fixture
def disable(monkeypatch: pytest.MonkeyPatch) -> Disable:
    """What a system without IPv6, without an address or without privileges says, on any system."""
    def disable(family: int, error: int, at_bind: bool) -> Unable:
        unable = Unable(family, error, at_bind)

        class Socket(socket.socket):
            def __init__(self, family: int = -1, *arguments: Any, **keywords: Any) -> None:
                unable.fail(family, False)
                super().__init__(family, *arguments, **keywords)

            def bind(self, address: Any) -> None:
                unable.fail(self.family, True)
                super().bind(address)

        monkeypatch.setattr(socket, "socket", Socket)
        return unable

    return disable


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory for the files of certificates, which nobody else can change."""
    return private_directory(tmp_path / "acme")
