"""Files named by a configuration: what is read of them, whether they have changed, how logs are opened."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lwsws.net.regular_file import NotRegular, TooLarge, file_state, open_log_file, read_regular_file


def test_a_file_of_just_the_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert read_regular_file(str(tmp_path / "a"), 100_000) == b"x" * 100_000
    with pytest.raises(TooLarge, match="larger than 99999 bytes"):
        read_regular_file(str(tmp_path / "a"), 99_999)
    (tmp_path / "a").write_bytes(b"")
    assert read_regular_file(str(tmp_path / "a"), 0) == b""


def test_what_is_no_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        with pytest.raises(NotRegular) as caught:
            read_regular_file(str(path), 1)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(FileNotFoundError):
        read_regular_file(str(tmp_path / "no"), 1)


def test_no_file_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"xy")
    os.link(tmp_path / "a", tmp_path / "b")
    before = os.listdir("/proc/self/fd")
    read_regular_file(str(tmp_path / "a"), 2)
    for path in (tmp_path / "a", tmp_path):
        with pytest.raises(OSError):
            read_regular_file(str(path), 1)
    with pytest.raises(OSError):
        open_log_file(str(tmp_path / "a"))
    assert len(os.listdir("/proc/self/fd")) == len(before)


# Changes.


def test_states_change_with_every_kind_of_change(tmp_path: Path) -> None:
    path, new = tmp_path / "a", tmp_path / "new"
    seen = [file_state(str(path))]

    def see() -> None:
        state = file_state(str(path))
        assert state not in seen
        seen.append(state)

    path.write_text("one")
    see()
    path.write_text("three")
    see()
    info = path.stat()
    new.write_text("three")
    os.utime(new, ns=(info.st_atime_ns, info.st_mtime_ns))
    new.replace(path)       # same size, same time, another file
    see()
    os.utime(path, ns=(0, 0))
    see()
    path.chmod(0o640)       # perhaps readable now
    see()
    path.unlink()
    assert file_state(str(path)) == seen[0] == (errno.ENOENT,)


def test_reading_changes_no_state(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    before = file_state(str(tmp_path / "a"))
    read_regular_file(str(tmp_path / "a"), 3)
    assert file_state(str(tmp_path / "a")) == before


# Logs.


def test_a_log_is_appended_to_and_not_for_others(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    umask = os.umask(0)
    fd = open_log_file(str(path))
    os.umask(umask)
    path.write_text("one\n")
    os.write(fd, b"two\n")
    os.close(fd)
    assert path.read_text() == "one\ntwo\n"
    assert path.stat().st_mode & 0o7777 == 0o640


def test_what_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", ".", "no/a.log"):
        with pytest.raises(OSError):
            open_log_file(str(tmp_path / name))
    os.link(tmp_path / "secret", tmp_path / "other")
    with pytest.raises(PermissionError, match="several names") as caught:
        open_log_file(str(tmp_path / "other"))
    assert caught.value.filename == str(tmp_path / "other")
