"""Plugin directories: what is found in them, and what cannot be used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from lwsws.builtin.echo import Echo
from lwsws.config.model import Config, GlobalConfig, Position
from lwsws.server.plugins import Plugins, load_plugins, plugin_directories

PLACE = Position("conf", 3, 7)
PATH = "global.plugin-dir"

CHAT = """
from lwsws.plugin import Protocol

class Base(Protocol):
    "Has no name, so it is none."

class Chat(Base):
    name = "chat"

class Quiet(Base):
    name = "quiet"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty plugin directory."""
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    return folder


def load(*folders: Path) -> Plugins:
    """The plugins of these directories."""
    return load_plugins([(str(folder), PLACE, PATH) for folder in folders])


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    """What a test imports is gone after it."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("lwsws_plugin_"):
            del sys.modules[name]


def fatal(plugins: Plugins) -> List[str]:
    """The reasons of the fatal faults, each of which must name the key."""
    assert all((fault.position, fault.path) == (PLACE, PATH) for fault in plugins.faults)
    return [fault.reason for fault in plugins.faults if fault.fatal]


def test_a_file_may_have_several_protocols(folder: Path) -> None:
    (folder / "chat.py").write_text(CHAT)
    plugins = load(folder)
    assert [*plugins.kinds] == ["chat", "quiet"]
    assert plugins.sources == {"chat": f"{folder}/chat.py", "quiet": f"{folder}/chat.py"}
    assert plugins.faults == ()
    assert plugins.kind("chat") is plugins.kinds["chat"] and plugins.kind("nope") is None
    assert plugins.kind("lws-echo") is Echo
    assert {"chat", "lws-echo"} < set(plugins.names())


def test_imported_classes_are_not_those_of_the_file(folder: Path) -> None:
    (folder / "a.py").write_text("from lwsws.builtin.echo import Echo\n" + CHAT)
    assert [*load(folder).kinds] == ["chat", "quiet"]


def test_a_class_with_two_names_is_one_protocol(folder: Path) -> None:
    (folder / "a.py").write_text(CHAT + "Same = Chat\n")
    assert load(folder).faults == ()


def test_other_files_are_left_alone(folder: Path) -> None:
    for name in ("_part.py", ".hidden.py", "notes.txt", "chat.py~"):
        (folder / name).write_text("raise ZeroDivisionError")
    assert load(folder) == Plugins({}, {}, ())


def test_files_of_the_same_name_do_not_meet(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (folder / "a.py").write_text(CHAT)
    (other / "a.py").write_text(CHAT.replace("chat", "talk").replace("quiet", "loud"))
    plugins = load(folder, other)
    assert [*plugins.kinds] == ["chat", "quiet", "talk", "loud"]
    modules = {kind.__module__ for kind in plugins.kinds.values()}
    assert len(modules) == 2


def test_the_first_of_a_name_has_it(folder: Path) -> None:
    (folder / "a.py").write_text(CHAT)
    (folder / "b.py").write_text(CHAT.replace("quiet", "lws-echo"))
    plugins = load(folder)
    assert plugins.sources["chat"] == f"{folder}/a.py" and plugins.kind("lws-echo") is Echo
    assert fatal(plugins) == []
    assert [fault.reason for fault in plugins.faults] == [
        f"{folder}/b.py: the protocol 'chat' is left out: {folder}/a.py has its name",
        f"{folder}/b.py: the protocol 'lws-echo' is left out: a bundled one has its name"]


@pytest.mark.parametrize("text", ["1 / 0", "def", "import no_such_module_of_anybody", "\x00"])
def test_a_file_that_cannot_be_imported_is_fatal_and_named(
    folder: Path, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    (folder / "bad.py").write_text(text)
    (folder / "chat.py").write_text(CHAT)
    plugins = load(folder)
    assert fatal(plugins) == [f"{folder}/bad.py cannot be imported, see above"]
    assert f"{folder}/bad.py: fault in run_source" in capfd.readouterr().err
    assert [*plugins.kinds] == ["chat", "quiet"]


def test_a_file_without_a_protocol_is_told(folder: Path) -> None:
    (folder / "a.py").write_text("x = 1\n")
    plugins = load(folder)
    assert fatal(plugins) == []
    assert plugins.faults[0].reason.startswith(f"{folder}/a.py has no protocol")


def test_a_directory_that_cannot_be_read_is_told_but_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    plugins = load(tmp_path / "missing", tmp_path / "file")    # the missing one is told by verify
    assert fatal(plugins) == []
    assert [fault.reason for fault in plugins.faults] == [f"{tmp_path}/file: Not a directory"]


def test_what_anybody_may_change_is_no_place_for_code(folder: Path) -> None:
    (folder / "chat.py").write_text(CHAT)
    (folder / "chat.py").chmod(0o666)
    plugins = load(folder)
    assert (plugins.kinds, fatal(plugins)) == ({}, [f"{folder}/chat.py can be changed by anybody: chmod o-w"])
    (folder / "chat.py").chmod(0o644)
    folder.chmod(0o777)
    plugins = load(folder)
    assert (plugins.kinds, fatal(plugins)) == ({}, [f"{folder} can be changed by anybody: chmod o-w"])


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give files away")
def test_what_belongs_to_others_is_no_place_for_code_either(folder: Path) -> None:
    (folder / "chat.py").write_text(CHAT)
    os.chown(folder / "chat.py", 4711, 4711)
    plugins = load(folder)
    assert (plugins.kinds, fatal(plugins)) == (
        {}, [f"{folder}/chat.py belongs to uid 4711, neither root nor who serves: chown it"])


def test_a_fifo_holds_nobody_up(folder: Path) -> None:
    os.mkfifo(folder / "a.py")
    assert fatal(load(folder)) == [f"{folder}/a.py: not a regular file"]


def test_compiled_copies_are_not_looked_at(folder: Path) -> None:
    (folder / "chat.py").write_text(CHAT)
    sys.dont_write_bytecode, before = False, sys.dont_write_bytecode
    try:
        load(folder)
    finally:
        sys.dont_write_bytecode = before
    assert os.listdir(folder) == ["chat.py"]


def test_names_that_are_none(folder: Path) -> None:
    (folder / "chat.py").write_text(CHAT.replace('"chat"', "5").replace('"quiet"', '""'))
    assert load(folder).kinds == {}


def test_the_usual_directory_comes_first_if_it_is_there(folder: Path, tmp_path: Path) -> None:
    config = Config(GlobalConfig(plugin_dir=("/a", "/b"), positions={"plugin-dir": PLACE}, path="global"), ())
    found = plugin_directories(config, str(folder))
    assert [directory for directory, _, _ in found] == [str(folder), "/a", "/b"]
    assert found[1][1:] == (PLACE, PATH)
    assert [directory for directory, _, _ in plugin_directories(config, str(tmp_path / "no"))] == ["/a", "/b"]
    assert [directory for directory, _, _ in plugin_directories(config, "")] == ["/a", "/b"]
