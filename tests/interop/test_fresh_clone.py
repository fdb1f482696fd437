"""A fresh clone that may not be written to: the ways to start it, and the example without any argument."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from lwsws import __version__
from lwsws.cli import DEFAULT_DIR
from tests.support.client import Client
from tests.support.programs import need
from tests.support.server import Server, free_ports
from tests.support.source import ROOT

SHIPPED = ("lwsws.py", "lwsws", "etc")
# Root may write everywhere, unless it gives up this.
WITHOUT_OVERRIDE = "--bounding-set=-dac_override,-dac_read_search"


def files_below(folder: Path) -> List[str]:
    """The names of everything there."""
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A copy of what is served and what serves it, read-only, and with the example on a free port."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in SHIPPED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(str(source), str(target), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(str(source), str(target))
    site = folder / "etc" / "conf.d" / "test-server"
    (port,) = free_ports(1)
    site.write_text(site.read_text("utf-8").replace('"7681"', f'"{port}"'), "utf-8")
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    before = files_below(folder)
    yield folder
    assert files_below(folder) == before
    for path in everything:
        path.chmod(path.stat().st_mode | 0o200)  # so that pytest can remove it


def unprivileged(*command: str) -> List[str]:
    """`command`, run without the right to write to read-only files."""
    return [need("setpriv"), WITHOUT_OVERRIDE, *command] if os.getuid() == 0 else list(command)


def port_of(clone: Path) -> int:
    """The port that the example of `clone` was moved to."""
    text = (clone / "etc" / "conf.d" / "test-server").read_text("utf-8")
    return int(text.partition('"port": "')[2].partition('"')[0])


@pytest.mark.parametrize("arguments", [["lwsws.py"], ["-m", "lwsws"]], ids=" ".join)
def test_the_example_without_arguments(clone: Path, arguments: List[str]) -> None:
    if os.path.exists(os.path.join(DEFAULT_DIR, "conf")):
        pytest.skip(f"{DEFAULT_DIR}/conf exists and would be served")
    # Not with -B: that nothing can be written is what is tested.
    command = ["env", "-C", str(clone), *unprivileged(sys.executable, *arguments)]
    port = port_of(clone)
    with Server(clone, [("127.0.0.1", port)], command=command) as server:
        with Client(server.connect()) as client:
            answer = client.get("/")
            assert answer.status == 200
            assert b"<title>It works" in answer.body
            assert client.get("/none").body == (
                clone / "lwsws" / "share" / "libwebsockets-test-server" / "404.html"
            ).read_bytes()
        log = server.log()
        assert f"{DEFAULT_DIR}/conf does not exist: serving the bundled example of {clone / 'etc'}" in log
        assert f"http://localhost:{port}/ -> file://{clone}/lwsws/share/libwebsockets-test-server" in log


@pytest.mark.parametrize("arguments", [["lwsws.py"], ["-m", "lwsws"]], ids=" ".join)
@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version(clone: Path, arguments: List[str], option: str) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    done = subprocess.run(
        unprivileged(sys.executable, *arguments, option), cwd=str(clone), capture_output=True, check=True
    )
    assert (done.stdout.decode(), done.stderr.decode()) == (f"lwsws {__version__} (Python {python})\n", "")


def test_nothing_but_the_standard_library(clone: Path) -> None:
    """-I: without site-packages of the user and without PYTHON* variables; -S: without any site-packages."""
    start = "import sys; sys.path.insert(0, '.'); from lwsws.cli import main; sys.exit(main(['-t']))"
    command = unprivileged(sys.executable, "-I", "-S", "-c", start)
    done = subprocess.run(command, cwd=str(clone), capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode()
