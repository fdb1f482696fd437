"""`make pyz`: one file, the same whenever it is built, that serves the example and writes nowhere."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List
from zipfile import ZipFile

import pytest

from lwsws.cli import DEFAULT_DIR
from tests.support.client import Client
from tests.support.programs import need
from tests.support.server import Server, free_ports
from tests.support.source import ROOT

BUILDER = ".ci/build_pyz.py"
PARTS = (BUILDER, "LICENSE", "etc", "lwsws")
# 2024-01-01 12:30:59 UTC; members have even seconds.
EPOCH, DATE, HTTP_DATE = "1704112259", (2024, 1, 1, 12, 30, 58), "Mon, 01 Jan 2024 12:30:58 GMT"

NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups")


def build(sources: Path, target: Path, **environment: str) -> bytes:
    """Have the builder in `sources` write `target`; what it has written."""
    command = [sys.executable, str(sources / BUILDER), str(target)]
    subprocess.run(command, cwd="/", env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def sources() -> Iterator[Path]:
    """A copy of what goes into the archive, the example on a free port, in a folder that all may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / ".ci").mkdir()
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, folder / part)
        site = folder / "etc" / "conf.d" / "test-server"
        (port,) = free_ports(1)
        site.write_text(site.read_text("utf-8").replace('"7681"', f'"{port}"'), "utf-8")
        yield folder


@pytest.fixture(scope="module")
def pyz(sources: Path) -> Iterator[Path]:
    """The archive, alone in a folder that nobody may write to."""
    folder = sources / "ro"
    folder.mkdir()
    build(sources, folder / "lwsws.pyz", SOURCE_DATE_EPOCH=EPOCH)
    folder.chmod(0o555)
    yield folder / "lwsws.pyz"
    folder.chmod(0o755)


def port_of(sources: Path) -> int:
    text = (sources / "etc" / "conf.d" / "test-server").read_text("utf-8")
    return int(text.partition('"port": "')[2].partition('"')[0])


def test_the_same_bytes_on_each_build(sources: Path, pyz: Path) -> None:
    """LESSONS F7: from files of other dates, in other order, found by another hash."""
    copy = sources / "again"
    copy.mkdir()
    for part in reversed(PARTS):
        (copy / part).parent.mkdir(exist_ok=True)
        if (sources / part).is_dir():
            shutil.copytree(sources / part, copy / part, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(sources / part, copy / part)
    (copy / "lwsws" / "cli.py~").write_text("a leftover")
    (copy / "lwsws" / "cli.pyc").write_bytes(b"")
    again = build(copy, sources / "again.pyz", SOURCE_DATE_EPOCH=EPOCH, PYTHONHASHSEED="5", TZ="Asia/Tokyo")
    assert again == pyz.read_bytes()
    other = build(sources, sources / "other.pyz", SOURCE_DATE_EPOCH="0")
    assert len(other) == len(again) and other != again


def test_what_is_in_it(pyz: Path) -> None:
    assert pyz.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert stat.S_IMODE(pyz.stat().st_mode) == 0o755
    with ZipFile(pyz) as archive:
        members = archive.infolist()
        assert archive.testzip() is None
    names = [member.filename for member in members]
    assert names == sorted(names)
    assert {"__main__.py", "LICENSE", "etc/conf", "etc/conf.d/test-server", "lwsws/cli.py",
            "lwsws/share/libwebsockets-test-server/index.html"} <= set(names)
    assert [name for name in names if name.endswith(".pyc") or "tests" in name] == []
    assert {member.date_time for member in members} == {DATE}


def command(pyz: Path, *arguments: str) -> List[str]:
    """Isolated, writing no byte code, every warning a fault, and without the rights of root."""
    start = [sys.executable, "-I", "-B", "-W", "error", str(pyz), *arguments]
    if os.getuid() != 0:
        return start
    # Nobody may not be allowed to run the Python of these tests: then at least without the right to write.
    places = Path(sys.executable).resolve().parents
    others_may = all(place.stat().st_mode & stat.S_IXOTH for place in places)
    return [need("setpriv"), *(NOBODY if others_may else ("--bounding-set=-dac_override",)), *start]


def test_it_serves_the_example_from_a_folder_that_nobody_may_write_to(sources: Path, pyz: Path) -> None:
    if os.path.exists(os.path.join(DEFAULT_DIR, "conf")):
        pytest.skip(f"{DEFAULT_DIR}/conf exists and would be served")
    pages = sources / "lwsws" / "share" / "libwebsockets-test-server"
    environment: Dict[str, str] = {"TMPDIR": "/nonexistent", "HOME": "/nonexistent"}
    with Server(pyz, [("127.0.0.1", port_of(sources))], environment=environment,
                command=["env", "-C", "/", *command(pyz)]) as server:
        with Client(server.connect()) as client:
            answer = client.get("/")
            assert (answer.status, answer.body) == (200, (pages / "index.html").read_bytes())
            assert answer.fields["last-modified"] == HTTP_DATE
            status_page = pages / "server-status" / "server-status.html"
            assert client.get("/server-status/").body == status_page.read_bytes()
            assert client.get("/none").body == (pages / "404.html").read_bytes()
        assert f"serving the bundled example of {pyz}/etc" in server.log()


def test_it_checks_the_example(pyz: Path) -> None:
    done = subprocess.run(command(pyz, "-c", f"{pyz}/etc", "-t"), cwd="/", capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, f"{pyz}/etc: OK\n")
