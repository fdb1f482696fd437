"""How root opens files for somebody else: not by ways that others can change, so that a serving process that
was taken over cannot lead it to what only root may read or write."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lwsws.net.regular_file import MAX_LINKS, NotRegular, file_state
from lwsws.process.trusted import (
    directory_of,
    open_trusted_log,
    read_trusted,
    trusted_state,
)

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a directory to somebody else")


@pytest.fixture(name="place")
def make_place(tmp_path: Path) -> Path:
    """A directory that only we can change, whatever the umask is."""
    place = tmp_path / "place"
    for path in (place, place / "archive", place / "live"):
        path.mkdir()
        path.chmod(0o755)
    (place / "archive" / "key1.pem").write_bytes(b"secret")
    return place


def read(path: object) -> bytes:
    return read_trusted(str(path), 100)


def test_links_of_ours_are_followed(place: Path) -> None:
    (place / "live" / "key.pem").symlink_to("../archive/key1.pem")      # as certbot has them
    (place / "here").symlink_to(place / "live")
    (place / "around").symlink_to("./live/.././/here")
    ways = "archive/key1.pem", "live/key.pem", "here/key.pem", "around/key.pem", "live/..//live/key.pem"
    for way in ways:
        assert read(place / way) == b"secret"
        assert trusted_state(f"{place}/{way}") == file_state(f"{place}/{way}")


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
@pytest.mark.parametrize("part", ["", "archive"])
def test_a_directory_that_others_may_change(place: Path, mode: int, part: str) -> None:
    (place / part).chmod(mode)
    path = place / "archive" / "key1.pem"
    if mode & 0o1000 and not part:
        # As /tmp is: the directory in it is ours, and nobody can put another one in its place.
        assert read(path) == b"secret"
        return
    for call in (read, trusted_state):
        with pytest.raises(PermissionError, match=f"others than root may change {place / part}$"):
            call(str(path))


def test_a_file_that_anybody_could_have_put_there(place: Path) -> None:
    shared = place / "live"
    shared.chmod(0o1777)
    (shared / "key.pem").symlink_to("../archive/key1.pem")
    (shared / "other.pem").write_bytes(b"ours, but with a second name perhaps")
    for name in ("key.pem", "other.pem", "missing"):
        with pytest.raises(PermissionError, match="others than root may change"):
            read(shared / name)


@needs_root
def test_a_directory_of_somebody_else(place: Path) -> None:
    (place / "live" / "key.pem").symlink_to("../archive/key1.pem")
    os.chown(place / "live", 64711, 64711)
    with pytest.raises(PermissionError, match="others than root may change"):
        read(place / "live" / "key.pem")
    # Nor by a way that only leads through it.
    (place / "through").symlink_to("live/../archive/key1.pem")
    with pytest.raises(PermissionError, match="others than root may change"):
        read(place / "through")


def test_links_that_lead_nowhere(place: Path) -> None:
    (place / "circle").symlink_to("circle")
    (place / "0").symlink_to("archive/key1.pem")
    for number in range(MAX_LINKS):
        (place / str(number + 1)).symlink_to(str(number))
    assert read(place / str(MAX_LINKS - 1)) == b"secret"
    for name in ("circle", str(MAX_LINKS)):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            read(place / name)
    (place / "dangling").symlink_to("missing")
    with pytest.raises(FileNotFoundError):
        read(place / "dangling")
    assert trusted_state(str(place / "dangling")) == (errno.ENOENT,)
    assert trusted_state(f"{place}/archive/key1.pem/x") == (errno.ENOTDIR,)


@pytest.mark.parametrize("path", ["/", "//", "/.", "/..", "/../.."])
def test_what_is_no_file(path: str) -> None:
    with pytest.raises(NotRegular):
        read(path)


def test_no_descriptor_is_left(place: Path) -> None:
    before = os.listdir("/proc/self/fd")
    read(place / "archive" / "key1.pem")
    trusted_state(str(place / "archive" / "key1.pem"))
    for path in ("missing", "archive/missing", "archive/key1.pem/x", "archive"):
        with pytest.raises(OSError):
            read(place / path)
    with pytest.raises(PermissionError):
        open_trusted_log(str(place / "a.log"), (0, 0))
    os.close(open_trusted_log(str(place / "a.log"), directory_of(str(place / "a.log"))))
    assert len(os.listdir("/proc/self/fd")) == len(before)


# Logs.


def test_another_directory_than_it_was(place: Path) -> None:
    log, elsewhere = str(place / "live" / "a.log"), place / "archive"
    known = directory_of(log)
    (place / "live").rename(place / "away")
    (place / "live").symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="is not the directory that it was"):
        open_trusted_log(log, known)
    assert not (elsewhere / "a.log").exists()
    (place / "live").unlink()
    (place / "live").symlink_to("away")     # the same one by another way
    os.close(open_trusted_log(log, known))
    assert (place / "away" / "a.log").exists()


def test_a_log_that_is_another_file(place: Path) -> None:
    log, secret = place / "live" / "a.log", place / "archive" / "key1.pem"
    known = directory_of(str(log))
    log.symlink_to(secret)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        open_trusted_log(str(log), known)
    log.unlink()
    os.link(secret, log)
    with pytest.raises(PermissionError, match="several names"):
        open_trusted_log(str(log), known)
    log.unlink()
    os.mkfifo(log)
    reading = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(PermissionError, match="not a regular file"):
        open_trusted_log(str(log), known)
    os.close(reading)
    with pytest.raises(OSError, match="No such device or address"):     # and nobody waits for a reader
        open_trusted_log(str(log), known)
    assert secret.read_bytes() == b"secret"
