"""Files inside the archive that runs: what is found where, and archives that are damaged or not ours."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED

import pytest

from lwsws import archive
from lwsws.archive import Archive, Place
from lwsws.config.loader import load
from tests.support.archives import SECONDS, run_from, write_archive

FILES = {"__main__.py": b"main\n", "etc/conf": b"{}", "etc/conf.d/a": b"a" * 5000, "etc/conf.d/\u00e9": b"",
         "lwsws/share/www/index.html": b"<p>"}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    return run_from(monkeypatch, write_archive(tmp_path / "x.pyz", FILES))


def place(opened: Archive, name: str) -> Place:
    found = archive.find(os.path.join(opened.path, name))
    assert found is not None
    return found


def test_every_file_is_found_with_its_content_and_date(opened: Archive) -> None:
    for name, content in FILES.items():
        found = place(opened, name)
        assert found.member is not None
        assert (found.read(), found.member.size, found.member.date) == (content, len(content), SECONDS)
        assert found.exists and not found.is_directory


def test_directories_are_those_that_files_are_in(opened: Archive) -> None:
    assert sorted(opened.directories) == ["", "etc", "etc/conf.d", "lwsws", "lwsws/share", "lwsws/share/www"]
    assert place(opened, "etc/").list() == ["conf", "conf.d"]
    assert place(opened, "etc/conf.d").list() == ["a", "\u00e9"]
    assert Place(opened, "").list() == ["__main__.py", "etc", "lwsws"]
    for name, code in (("etc/conf", errno.ENOTDIR), ("etc/co", errno.ENOENT), ("none", errno.ENOENT)):
        with pytest.raises(OSError) as caught:
            place(opened, name).list()
        assert caught.value.errno == code


@pytest.mark.parametrize("name, code", [("none", errno.ENOENT), ("etc", errno.EISDIR), ("et", errno.ENOENT)])
def test_what_cannot_be_read(opened: Archive, name: str, code: int) -> None:
    with pytest.raises(OSError) as caught:
        place(opened, name).read()
    assert caught.value.errno == code


def test_what_lies_outside_is_a_path_of_the_system(opened: Archive, tmp_path: Path) -> None:
    for path in (str(tmp_path), opened.path, opened.path + "x/etc/conf", f"{opened.path}/../x", "etc/conf"):
        assert archive.find(path) is None
    (tmp_path / "there").mkdir()
    assert archive.exists(str(tmp_path / "there")) and archive.is_directory(str(tmp_path / "there"))
    assert not archive.exists(str(tmp_path / "not there"))
    inside = os.path.join(opened.path, "etc")
    assert archive.exists(inside) and archive.is_directory(f"{inside}/./conf.d/..")
    assert archive.exists(f"{inside}/conf") and not archive.is_directory(f"{inside}/conf")


def test_from_plain_files_nothing_is_in_an_archive() -> None:
    assert archive.running() is None
    assert archive.find(os.path.abspath(archive.__file__)) is None


def test_a_configuration_is_read_from_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vhosts = b'{ "vhosts": [ { "name": "%s", "port": "80" } ] }'
    path = write_archive(tmp_path / "x.pyz", {"etc/conf": vhosts % b"a", "etc/conf.d/b": vhosts % b"b",
                                              "only/conf": vhosts % b"c"})
    run_from(monkeypatch, path)
    config = load(f"{path}/etc", "").config
    assert config is not None
    assert [vhost.name for vhost in config.vhosts] == ["a", "b"]
    assert config.vhosts[1].where.file == f"{path}/etc/conf.d/b"
    assert load(f"{path}/only", "").faults == []
    assert [str(fault) for fault in load(f"{path}/none", "").faults] == [
        f"{path}/none/conf: Cannot open {path}/none/conf: No such file or directory"]


def test_it_goes_on_when_another_archive_takes_its_name(opened: Archive, tmp_path: Path) -> None:
    write_archive(tmp_path / "new", {"etc/conf": b"new"})
    os.replace(tmp_path / "new", opened.path)
    assert place(opened, "etc/conf").read() == b"{}"


REPLACED = """
import os, sys
from lwsws import archive
find = lambda: archive.find(sys.argv[1] + "/etc/conf")
print(find().read())
os.replace(sys.argv[2], sys.argv[1])
print(find().read())
archive.renew()
from lwsws import late
print(find().read(), late.AGE)
"""


@pytest.mark.skipif(sys.version_info < (3, 10), reason="zipimport of Python 3.9 cannot forget an archive")
def test_a_process_that_is_forked_later_can_have_the_new_one(tmp_path: Path) -> None:
    code = {"lwsws/__init__.py": b"", "lwsws/archive.py": Path(archive.__file__).read_bytes()}
    path = write_archive(tmp_path / "x.pyz", {**code, "lwsws/late.py": b"AGE = 1", "etc/conf": b"old"})
    new = write_archive(tmp_path / "new", {"longer": b"." * 999, **code, "lwsws/late.py": b"AGE = 2",
                                           "etc/conf": b"new"})
    done = subprocess.run([sys.executable, "-B", "-c", REPLACED, str(path), str(new)], cwd=str(tmp_path),
                          env={**os.environ, "PYTHONPATH": str(path)}, capture_output=True, check=False)
    assert done.stdout.decode().splitlines() == ["b'old'", "b'old'", "b'new' 2"], done.stderr.decode()


@pytest.mark.parametrize("content", [b"", b"#!/usr/bin/env python3\n", b"new" * 5000])
def test_one_that_is_written_over_is_told_and_not_served(opened: Archive, content: bytes) -> None:
    Path(opened.path).write_bytes(content)
    with pytest.raises(OSError) as caught:
        place(opened, "etc/conf.d/a").read()
    assert caught.value.errno == errno.EIO


def test_what_is_no_archive_of_ours_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.pyz", FILES, ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is not stored"):
        Archive(str(path))
    for content in (b"", b"text" * 100):
        path.write_bytes(content)
        with pytest.raises((ValueError, OSError)):
            Archive(str(path))


def test_damaged_archives_are_refused_or_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    rng = random.Random(3)
    path = write_archive(tmp_path / "x.pyz", FILES)
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data) - 700, len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            damaged = Archive(str(path))
            read = {damaged.read(member) for member in damaged.members.values()}
        except (ValueError, OSError):
            continue
        assert read <= set(FILES.values())
