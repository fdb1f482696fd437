"""The servers of the benchmark that answer by a program or by an origin: each set up, and asked once."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator, List

import pytest

from bench import clients, connections, processes
from bench.dynamic_subjects import (
    DYNAMIC_SERVERS,
    PROGRAMS,
    SCRIPT,
    LighttpdCgi,
    LwswsCgi,
    LwswsProxy,
    NginxProxy,
    make_program,
    start_origin,
)
from bench.rows import ROWS
from bench.servers import Running
from bench.subjects import CGI, HOST, PROXY, Given, Lwsws
from lwsws.config.loader import load
from lwsws.config.model import MountConfig
from tests.support.programs import need

PAGE = b"<!doctype html><title>bench</title>\n"


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_bytes(PAGE)
    make_program(site)
    with socket.create_server((HOST, 0)) as far_end:
        yield Given(tmp_path, far_end, 4711)


def answer(server: Running, path: str) -> bytes:
    """The whole answer to a GET."""
    with connections.connect(server.port) as sock:
        sock.sendall(clients.request_bytes(path, "Connection: close"))
        return b"".join(iter(lambda: sock.recv(65536), b""))


def mounts(subject: Lwsws, given: Given) -> List[MountConfig]:
    """Those of our configuration, which has no fault."""
    folder = given.folder / "conf"
    folder.mkdir()
    command = subject.command(1, given, folder)
    loaded = load(command[command.index("-c") + 1], "/share")
    assert not loaded.faults
    assert loaded.config is not None
    return list(loaded.config.vhosts[0].mounts)


def test_our_programs_are_those_of_the_site(given: Given) -> None:
    origins = {mount.mountpoint: mount.origin.target for mount in mounts(LwswsCgi(), given)}
    assert origins[f"/{PROGRAMS}"] == f"{given.site}/{PROGRAMS}"
    assert os.access(f"{origins[f'/{PROGRAMS}']}/{SCRIPT}", os.X_OK)


def test_our_proxy_leads_to_the_origin(given: Given) -> None:
    (mount,) = mounts(LwswsProxy(), given)
    assert (mount.mountpoint, mount.origin.host, mount.origin.port) == ("/", HOST, 4711)


def test_the_program_answers_by_lighttpd(given: Given, tmp_path: Path) -> None:
    need("lighttpd")
    with Running(LighttpdCgi(), given, tmp_path, processes.choose_cores()) as server:
        server.wait_ready()
        assert b"hello\n" in answer(server, f"/{PROGRAMS}/{SCRIPT}")


def test_the_origin_stands_on_the_core_of_the_load_and_is_reached_by_nginx(given: Given,
                                                                           tmp_path: Path) -> None:
    need("nginx")
    cores = processes.choose_cores()
    with ExitStack() as stack:
        given = start_origin(given, tmp_path, cores, stack)
        assert given.origin_port != 4711
        server = stack.enter_context(Running(NginxProxy(), given, tmp_path, cores))
        server.wait_ready()
        assert answer(server, "/index.html").endswith(b"\r\n\r\n" + PAGE)
        (origin,) = tmp_path.glob(f"nginx-{given.origin_port}-*")
        assert os.sched_getaffinity(int((origin / "pid").read_text())) == {cores.load}


def test_each_kind_has_its_rows_and_its_reference() -> None:
    for kind in (CGI, PROXY):
        names = {subject.name for subject in DYNAMIC_SERVERS if subject.kind == kind}
        rows = [row for row in ROWS if row.kind == kind]
        assert rows
        assert all(names == {"lwsws", row.reference} for row in rows)
