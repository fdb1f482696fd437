"""Whether the code on disk is still what was loaded, and how to begin with what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lwsws.process.code import LoadedCode, _state

SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
import lwsws.one
from lwsws.process.code import LoadedCode
code = LoadedCode()
assert not code.is_old
for name, text in (("one", "N = 2"), ("two", "from lwsws.one import N")):
    with open(f"{sys.argv[1]}/lwsws/{name}.py.new", "w") as file:
        print(text, file=file)
    os.rename(f"{sys.argv[1]}/lwsws/{name}.py.new", f"{sys.argv[1]}/lwsws/{name}.py")
assert code.is_old
code.forget()
from lwsws.two import N
print(N, lwsws.one.N)
"""


def test_new_modules_come_without_old_ones(tmp_path: Path) -> None:
    package = tmp_path / "lwsws"
    (package / "process").mkdir(parents=True)
    here = Path(sys.modules[LoadedCode.__module__].__file__ or "")
    (package / "process" / "code.py").write_bytes(here.read_bytes())
    for empty in (package / "__init__.py", package / "process" / "__init__.py"):
        empty.touch()
    (package / "one.py").write_text("N = 1\n")
    done = subprocess.run([sys.executable, "-I", "-B", "-c", SCRIPT, str(tmp_path)], capture_output=True,
                          text=True, check=False)
    assert (done.stdout, done.stderr) == ("2 1\n", "")


def test_states_of_files(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    assert _state(str(file)) == _state(str(file))
    file.touch()
    before = _state(str(file))
    os.utime(file, (1, 1))
    assert _state(str(file)) != before
    assert _state(str(file / "inside" / "of.py")) == _state(str(file)), "as of an archive"


def test_our_own_is_not_old(monkeypatch: pytest.MonkeyPatch) -> None:
    code = LoadedCode()
    assert not code.is_old
    assert str(Path(__file__).parents[2] / "lwsws" / "process" / "code.py") in code._states
