"""Files in memory that nobody can change."""

from __future__ import annotations

import os

import pytest

from lwsws.net.memory_file import has_memory_files, memory_file, name_of, read_memory_file

pytestmark = pytest.mark.skipif(not has_memory_files(), reason="this system has none")


def test_it_holds_the_bytes_and_nobody_changes_them() -> None:
    fd = memory_file("lwsws-test", b"secret")
    try:
        assert os.read(fd, 100) == b"secret"
        assert read_memory_file(fd, 6) == b"secret"
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        for size in (0, 9):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, size)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_it_can_be_opened_by_name() -> None:
    fd = memory_file("lwsws-test", b"secret")
    try:
        os.lseek(fd, 3, os.SEEK_SET)
        with open(name_of(fd), "rb") as file:
            assert file.read() == b"secret"     # from the beginning
        with pytest.raises(PermissionError):
            open(name_of(fd), "wb").close()
        with pytest.raises(OSError, match="larger than 5 bytes"):
            read_memory_file(fd, 5)
    finally:
        os.close(fd)


def test_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert not has_memory_files()
    with pytest.raises(OSError, match="no files in memory"):
        memory_file("lwsws-test", b"")
