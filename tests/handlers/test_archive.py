"""File mounts inside the archive that runs: the same answers as from a directory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Iterator

import pytest

from lwsws.handlers.archive import ArchiveRoot, open_root
from lwsws.handlers.beneath import Root
from tests.support.archives import HTTP_DATE, SECONDS, run_from, write_archive
from tests.support.docroot import file_vhost, open_fds
from tests.support.peer import Bench

BIG = bytes(range(256)) * 2000
FILES = {"share/www/index.html": b"<p>index", "share/www/sub/a.txt": b"one", "share/www/sub/b.txt": b"two",
         "share/www/big.txt": BIG, "share/www/packed.txt": b"plain", "share/www/packed.txt.gz": b"gzipped",
         "share/secret.txt": b"SECRET"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = write_archive(tmp_path / "x.pyz", FILES)
    run_from(monkeypatch, path)
    return f"{path}/share/www"


@pytest.fixture
def bench(tmp_path: Path, root: str) -> Iterator[Bench]:
    (tmp_path / "served").mkdir()
    bench = Bench(tmp_path / "served", file_vhost(Path(root)))
    yield bench
    bench.close()


def test_the_root_is_chosen_by_where_it_lies(root: str, tmp_path: Path) -> None:
    assert isinstance(open_root(root, "inside"), ArchiveRoot)
    assert type(open_root(str(tmp_path), "inside")) is Root


@pytest.mark.parametrize("name, content", [
    ("index.html", b"<p>index"), ("sub/a.txt", b"one"), ("sub//./b.txt", b"two"), ("big.txt", BIG)])
def test_a_file_is_opened_with_its_size_and_date(root: str, name: str, content: bytes) -> None:
    fd = open_root(root, "no").open(name)
    try:
        info = os.fstat(fd)
        assert os.pread(fd, len(content) + 1, 0) == content
        assert stat.S_ISREG(info.st_mode)
        assert (info.st_size, int(info.st_mtime)) == (len(content), SECONDS)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name, code", [
    ("none.txt", errno.ENOENT), ("sub/none", errno.ENOENT), ("index.html/", errno.ENOTDIR),
    ("../secret.txt", errno.EXDEV), ("sub/../../secret.txt", errno.EXDEV), ("/index.html", errno.EXDEV),
    ("index.html\0", errno.ENOENT)])
def test_what_is_not_opened(root: str, name: str, code: int) -> None:
    before = open_fds()
    with pytest.raises(OSError) as caught:
        open_root(root, "yes").open(name)
    assert caught.value.errno == code
    assert open_fds() == before


@pytest.mark.parametrize("name", ["", "sub", "sub/", "./sub/."])
def test_a_directory_is_known_as_one(root: str, name: str) -> None:
    fd = open_root(root, "inside").open(name)
    assert stat.S_ISDIR(os.fstat(fd).st_mode)
    os.close(fd)


def test_pages_are_served(bench: Bench) -> None:
    peer = bench.connect()
    index = peer.get("/")
    assert (index.status, index.body, index.get("last-modified")) == (200, b"<p>index", HTTP_DATE)
    assert peer.get("/big.txt").body == BIG
    assert peer.get("/none.txt").status == 404
    assert peer.get("/sub").status == 301
    assert peer.get("/sub/").status == 404
    assert b"SECRET" not in peer.get("/..%2fsecret.txt").body
    part = peer.get("/big.txt", "Range: bytes=256-259")
    assert (part.status, part.body) == (206, bytes(range(4)))
    packed = peer.get("/packed.txt", "Accept-Encoding: gzip")
    assert (packed.body, packed.get("content-encoding")) == (b"gzipped", "gzip")


def test_files_of_one_date_and_size_differ_in_their_etag(bench: Bench) -> None:
    peer = bench.connect()
    one, two = peer.get("/sub/a.txt"), peer.get("/sub/b.txt")
    assert one.get("last-modified") == two.get("last-modified")
    assert one.get("etag") != two.get("etag")
    assert peer.get("/sub/a.txt", f"If-None-Match: {one.get('etag')}").status == 304
