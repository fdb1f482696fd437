"""What the system calls of Landlock are given, for each version of it."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import List, Tuple, Union

import pytest

from lwsws.process.landlock import (
    EXECUTE,
    IOCTL_DEV,
    MAKE_REG,
    READ_DIR,
    READ_FILE,
    REFER,
    TRUNCATE,
    WRITE_FILE,
    Rules,
    access_of,
    attributes,
    restrict,
)


class Kernel:
    """Stands for the three calls, and keeps what they are given; which it would never undo."""

    def __init__(self) -> None:
        self.calls: List[Tuple[Union[int, bytes, None], ...]] = []

    def __call__(self, which: int, *arguments: Union[int, bytes, None]) -> int:
        self.calls.append((which, *arguments))
        return os.open("/dev/null", os.O_RDONLY) if which == 0 else 0


@pytest.mark.parametrize("version, size", [(1, 8), (2, 8), (3, 8), (4, 16), (5, 16), (6, 24), (99, 24)])
def test_each_version_is_asked_for_what_it_knows(version: int, size: int) -> None:
    fields = struct.unpack(f"={size // 8}Q", attributes(version))
    assert fields == (access_of(version), 1, 2)[:size // 8]


def test_rights_came_one_by_one() -> None:
    assert access_of(1) == 0x1fff
    assert access_of(2) == access_of(1) | REFER
    assert access_of(4) == access_of(3) == access_of(2) | TRUNCATE
    assert access_of(7) == access_of(5) == access_of(4) | IOCTL_DEV == 0xffff


def added(kernel: Kernel, kind: int) -> List[Tuple[int, ...]]:
    """The rules of that kind, as numbers."""
    formats = {1: "=Qi", 2: "=QQ"}
    return [struct.unpack(formats[kind], call[3]) for call in kernel.calls
            if call[0] == 1 and call[2] == kind and isinstance(call[3], bytes)]


def test_the_rules(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kernel = Kernel()
    read = READ_FILE | READ_DIR
    paths = {f"{tmp_path}/file": read | EXECUTE | MAKE_REG, str(tmp_path): read | WRITE_FILE | TRUNCATE,
             f"{tmp_path}/no": read, f"{tmp_path}/file/no": read}
    closed = restrict(kernel, 2, Rules(paths, (80,)))
    # A file has no entries, this version knows no TRUNCATE, and no ports.
    assert [access for access, _ in added(kernel, 1)] == [READ_FILE | EXECUTE, read | WRITE_FILE]
    assert added(kernel, 2) == []
    assert {path[len(str(tmp_path)):]: error.errno for path, error in closed.items()} == {
        "/no": errno.ENOENT, "/file/no": errno.ENOTDIR}
    assert (kernel.calls[0][0], kernel.calls[-1][0]) == (0, 2)
    kernel = Kernel()
    restrict(kernel, 4, Rules({}, (80, 443)))
    assert added(kernel, 2) == [(1, 80), (1, 443)]


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    restrict(Kernel(), 7, Rules({str(tmp_path): READ_DIR, f"{tmp_path}/no": READ_DIR}))
    assert len(os.listdir("/proc/self/fd")) == len(before)
