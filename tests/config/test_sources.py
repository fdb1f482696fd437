"""The files of a configuration as they were at one moment, and their way from process to process."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import Dict, List

import pytest

from lwsws.config import sources
from lwsws.config.loader import load, load_sources
from lwsws.config.model import Fault, Position
from lwsws.config.sources import MAGIC, Source, Sources, pack, read_sources, unpack

VHOST = '{ "vhosts": [ { "name": "%s", "port": "80" } ] }'

MUCH = Sources(
    files=(Source("/etc/lwsws/conf", b"{}\n\0\xff"), Source("/etc/lwsws/conf.d/caf\udce9", b"")),
    notices=("one", "a \u2028 line\n"),
    faults=(Fault(Position("f", 3, 17), "vhosts[0].port", "wrong", False),
            Fault(Position("g", 0, 0), "", "x", True)),
    directory="/etc/lwsws")


def write(directory: Path, files: Dict[str, str]) -> str:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(directory)


def names(read: Sources) -> List[str]:
    return [os.path.relpath(source.path, read.directory) for source in read.files]


def test_conf_comes_first_and_then_conf_d_in_order(tmp_path: Path) -> None:
    directory = write(tmp_path, {"conf": "1", "conf.d/b": "3", "conf.d/a": "2", "conf.d/c~": "no"})
    read = read_sources(directory)
    assert names(read) == ["conf", "conf.d/a", "conf.d/b"]
    assert [source.data for source in read.files] == [b"1", b"2", b"3"]
    assert [notice.partition(": ")[2][:7] for notice in read.notices] == ["skipped"]
    assert read.faults == ()


def test_a_snapshot_is_what_was_there_when_it_was_read(tmp_path: Path) -> None:
    directory = write(tmp_path, {"conf": VHOST % "before", "conf.d/a": VHOST % "too"})
    read = unpack(pack(read_sources(directory)))
    write(tmp_path, {"conf": VHOST % "after", "conf.d/a": "not { json"})
    config = load_sources(read, "/share").config
    assert config is not None
    assert [vhost.name for vhost in config.vhosts] == ["before", "too"]
    assert config.vhosts[0].where.file == os.path.join(directory, "conf")


def test_what_cannot_be_read_is_a_fault_of_the_snapshot_too(tmp_path: Path) -> None:
    directory = write(tmp_path, {"conf.d/a": '{"vhosts": [{}]}'})
    os.symlink("nowhere", tmp_path / "conf.d" / "b")
    told = load_sources(unpack(pack(read_sources(directory))), "")
    assert told == load(directory, "")
    assert told.config is None
    assert [os.path.relpath(fault.position.file, directory) for fault in told.faults] == [
        "conf", "conf.d/a", "conf.d/b"]


def test_files_that_are_too_long_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 20)
    monkeypatch.setattr(sources, "MAX_BYTES", 50)
    monkeypatch.setattr(sources, "MAX_FILES", 3)
    directory = write(tmp_path, {"conf": "#" * 21, "conf.d/a": "#" * 20, "conf.d/b": "#" * 9, "conf.d/c": "#",
                                 "conf.d/d": "#" * 20, "conf.d/e": ""})
    read = read_sources(directory)
    assert names(read) == ["conf.d/a", "conf.d/b"]
    assert [fault.reason.partition(":")[0] for fault in read.faults] == ["parsing error", *["not read"] * 3]
    assert all(fault.fatal for fault in read.faults)
    assert load(directory, "").config is None


def test_too_many_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    read = read_sources(write(tmp_path, {"conf": "", "conf.d/a": "", "conf.d/b": ""}))
    assert names(read) == ["conf", "conf.d/a"]
    assert [fault.reason for fault in read.faults] == ["not read: there are more than 2 files"]


def test_a_fifo_that_takes_the_place_of_a_file_does_not_hold_us_up(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write(tmp_path, {"conf": "", "conf.d/a": ""})
    os.mkfifo(tmp_path / "pipe")
    look = os.stat

    def stat_then_swap(path: str) -> os.stat_result:
        info = look(path)
        os.replace(tmp_path / "pipe", tmp_path / "conf")
        return info

    monkeypatch.setattr(os, "stat", stat_then_swap)
    reading = sources._Reading()
    reading.add_file(os.path.join(directory, "conf"))
    monkeypatch.undo()
    assert stat.S_ISFIFO(os.stat(tmp_path / "conf").st_mode)
    assert reading.files == []
    assert len(reading.notices) == 1


def test_packed_and_unpacked_it_is_the_same() -> None:
    assert unpack(pack(MUCH)) == MUCH
    assert unpack(pack(Sources(()))) == Sources(())


def test_packed_bytes_that_are_cut_short_are_refused() -> None:
    packed = pack(MUCH)
    for end in range(len(packed)):
        with pytest.raises(ValueError):
            unpack(packed[:end])
    with pytest.raises(ValueError):
        unpack(packed + b"\0")


def test_damaged_bytes_are_refused_or_read_as_something_else_of_the_kind() -> None:
    rng = random.Random(5)
    packed = pack(MUCH)
    for _ in range(2000):
        data = bytearray(packed)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            assert len(pack(unpack(bytes(data)))) <= len(packed) + len(MAGIC)
        except ValueError:
            pass
