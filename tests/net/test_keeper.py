"""What a process without a parent does itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Iterator

import pytest

from lwsws.net.keeper import LOG, READ, Keeper, OwnKeeper
from lwsws.net.listening import Endpoint, Terms
from lwsws.net.regular_file import file_state


@pytest.fixture(name="keeper")
def make_keeper() -> Iterator[OwnKeeper]:
    made = OwnKeeper()
    yield made
    made.close()


def test_it_takes_all_connections_however_many_processes_are_wanted(keeper: OwnKeeper) -> None:
    endpoint = Endpoint(int(socket.AF_INET), "127.0.0.1", 0)
    sock, = keeper.listen(endpoint, Terms(processes=4))
    assert keeper.claims == {endpoint}
    with sock:
        sock.setblocking(True)
        for _ in range(4):
            with socket.create_connection(sock.getsockname(), timeout=5):
                sock.accept()[0].close()


def test_a_socket_file_goes_with_it(keeper: OwnKeeper, tmp_path: Path) -> None:
    sock, = keeper.listen(Endpoint(int(socket.AF_UNIX), "", 0, path=f"{tmp_path}/a.sock"), Terms())
    sock.close()
    assert os.listdir(tmp_path) == ["a.sock"]
    keeper.close()
    assert os.listdir(tmp_path) == []


def test_what_is_released_is_closed(keeper: OwnKeeper) -> None:
    endpoint = Endpoint(int(socket.AF_INET), "127.0.0.1", 0)
    sock, = keeper.listen(endpoint, Terms())
    address = sock.getsockname()
    sock.close()
    keeper.release(endpoint)
    keeper.release(endpoint)    # no effect
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_files(keeper: OwnKeeper, tmp_path: Path) -> None:
    asked: Keeper = keeper
    path = str(tmp_path / "a")
    asked.allow(LOG, path)
    fd = asked.open_log(path)
    os.write(fd, b"line\n")
    os.close(fd)
    asked.allow(READ, path)
    assert asked.read(path, 5) == b"line\n"
    assert asked.state(path) == file_state(path)
