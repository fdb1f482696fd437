"""wsgi: from the options of a mount to an application, and what an administrator is told who got it wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from lwsws.builtin import wsgi_load
from lwsws.builtin.wsgi_load import load_application
from lwsws.core.options import OptionError, Options
from tests.builtin import wsgi_apps

MODULE = "tests.builtin.wsgi_apps"
NAME = "lwsws_test_application"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with two others, each with a module NAME; the process is as before in the end."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(wsgi_load, "_directory", "")
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{NAME}.py").write_text(f"def app(*args): return {folder!r}\n")
    yield tmp_path
    sys.modules.pop(NAME, None)


@pytest.mark.parametrize("option, value, why", [
    ("app", "", "is missing"), ("app", "module", "not of the form"), ("app", "a:b:c", "not of the form"),
    ("app", "/srv/app.py:app", "not of the form"), ("app", "a..b:c", "not of the form"),
    ("app", f"{MODULE}:none", 'has no "none"'), ("app", f"{MODULE}:Nested.none", 'has no "Nested.none"'),
    ("app", f"{MODULE}:no_application", "is a str, which cannot be called"),
    ("app", "lwsws_there_is_none.x:app", 'no module "lwsws_there_is_none"'),
    ("path", "relative", "no absolute path"), ("path", "/nowhere/at/all", "No such file"),
    ("chdir", "relative", "no absolute path"), ("chdir", "/nowhere/at/all", "No such file"),
    ("path", "/dev/null", "Not a directory"), ("chdir", "/dev/null", "Not a directory"),
])
def test_options_that_make_no_sense(option: str, value: str, why: str) -> None:
    given: Dict[str, str] = {"app": f"{MODULE}:length", option: value}
    with pytest.raises(OptionError, match=why) as caught:
        load_application(Options([*given.items()]))
    assert caught.value.name == option


@pytest.mark.parametrize("name", ["environment", "Nested.app"])
def test_a_name_may_have_dots(name: str) -> None:
    assert load_application(Options([("app", f"{MODULE}:{name}")])) is wsgi_apps.environment


def test_a_function_that_makes_the_application() -> None:
    made: Any = load_application(Options([("app", f"{MODULE}:make()")]))
    assert made.__code__ is wsgi_apps.length.__code__   # each is a validator, and not what makes it


def test_modules_are_looked_for_in_path_first(folders: Path) -> None:
    first, second = str(folders / "one"), str(folders / "two")
    options = Options([("app", f"{NAME}:app"), ("path", first), ("path", second)])
    for _ in range(2):
        application: Any = load_application(options)
        assert application({}, None) == "one"
        assert sys.path[:2] == [first, second]


def test_two_modules_of_one_name(folders: Path) -> None:
    options = [Options([("app", f"{NAME}:app"), ("path", str(folders / name))]) for name in ("one", "two")]
    load_application(options[0])
    with pytest.raises(OptionError, match="is in use already"):
        load_application(options[1])


def test_what_a_module_raises_comes_through(folders: Path) -> None:
    (folders / "one" / f"{NAME}.py").write_text("import lwsws_there_is_none\n")
    with pytest.raises(ModuleNotFoundError, match="lwsws_there_is_none"):
        load_application(Options([("app", f"{NAME}:app"), ("path", str(folders / "one"))]))


def test_the_process_has_one_directory(folders: Path) -> None:
    def change(name: str) -> None:
        load_application(Options([("app", f"{MODULE}:length"), ("chdir", str(folders / name))]))

    for _ in range(2):
        change("one")
        assert os.getcwd() == str(folders / "one")
    with pytest.raises(OptionError, match="has no effect") as caught:
        change("two")
    assert caught.value.name == "chdir" and os.getcwd() == str(folders / "one")
