"""The command line: what is asked for, of which directory, and the exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence

import pytest

from lwsws import __version__, cli, log
from lwsws.cli import main
from tests.support.peer import write_config
from tests.support.source import ROOT

LAUNCHER = [sys.executable, str(ROOT / "lwsws.py")]
MODULE = [sys.executable, "-m", "lwsws"]


@pytest.fixture(autouse=True)
def usual_level() -> Iterator[None]:
    """-d sets the level of this whole process, and -f its umask: put them back."""
    umask = os.umask(0o022)
    os.umask(umask)
    yield
    os.umask(umask)
    log.set_level(log.DEFAULT_MASK)


@pytest.fixture
def good(tmp_path: Path) -> str:
    """A directory without faults."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_text("a file\n")
    mount = {"mountpoint": "/", "origin": f"file://{tmp_path}/www"}
    return str(write_config(tmp_path / "good", [{"name": "a.test", "port": "7681", "mounts": [mount]}]))


@pytest.fixture
def bad(tmp_path: Path) -> str:
    """A directory that the server cannot start with."""
    return str(write_config(tmp_path / "bad", [{"port": "x"}]))


# Usage.


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["-h", "-t"], ["-c", "/no/where", "-h"]])
def test_help(arguments: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert told.out == cli.USAGE
    assert told.err == ""


def test_help_names_every_option() -> None:
    for name in [f"--{name.rstrip('=')}" for name in cli.LONG_OPTIONS]:
        assert re.search(rf"{name}\b", cli.USAGE)
    for short in ("-c", "-d", "-t", "-T", "-n", "-f", "-h", "-V"):
        assert re.search(rf"^  {short}[, ]", cli.USAGE, re.MULTILINE)
    assert max(map(len, cli.USAGE.splitlines())) <= 80


@pytest.mark.parametrize("option", ["-V", "--version", "--vers"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    assert capsys.readouterr().out == f"lwsws {__version__} (Python {sys.version.split()[0]})\n"


@pytest.mark.parametrize("arguments, why", [
    (["-x"], "option -x not recognized"),
    (["--nope"], "option --nope not recognized"),
    (["-c"], "option -c requires argument"),
    (["--explain"], "option --explain requires argument"),
    (["--de"], "option --de"),
    (["-c", "", "-t"], "option -c needs a directory, and got an empty word"),
    (["--configs=", "-t"], "option -c needs a directory, and got an empty word"),
    (["-d", "loud"], "no log level 'loud': give a bit mask or one of err, warn, notice, info, debug"),
    (["--reload", "x1"], "--reload needs the number of the parent process, not 'x1'"),
    (["--reload", "0"], "--reload needs the number of the parent process, not '0'"),
    (["start"], "unexpected argument 'start'"),
    (["-t", "/etc/lwsws"], "unexpected argument '/etc/lwsws'"),
])
def test_wrong_usage(arguments: List[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"lwsws: {why}")
    assert told.err.endswith("\n`lwsws --help` lists the options\n")
    assert told.out == ""


def test_passwd_has_arguments_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passwd", "-h"]) == 0
    assert "passwd" in capsys.readouterr().out
    assert main(["-t", "passwd"]) == 2


def test_d_sets_the_level(good: str) -> None:
    assert main(["-c", good, "-d", "debug", "-t"]) == 0
    assert log.enabled(log.DEBUG)
    assert main(["-c", good, "--debug=1", "-t"]) == 0
    assert not log.enabled(log.WARN)


# Which directory.


def test_etc_is_served_where_it_has_a_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "DEFAULT_DIR", str(tmp_path))
    assert cli.default_directory() == str(ROOT / "etc")
    (tmp_path / "conf").write_text("")
    assert cli.default_directory() == str(tmp_path)


def test_an_installed_example_is_found_below_the_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "DEFAULT_DIR", str(tmp_path / "etc"))
    monkeypatch.setattr(cli, "PACKAGE", str(tmp_path / "site-packages" / "lwsws"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert cli.example_directory() == ""
    assert cli.default_directory() == str(tmp_path / "etc")     # and there the missing conf is a fault
    installed = tmp_path / "share" / "lwsws" / "etc"
    installed.mkdir(parents=True)
    (installed / "conf").write_text("")
    assert cli.default_directory() == str(installed)


def test_the_pages_of_the_package_are_there() -> None:
    assert os.path.isfile(os.path.join(cli.data_directory(), "libwebsockets-test-server", "index.html"))


def test_the_bundled_example_is_named_only_where_it_was_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Made unable to start, so that this ends."""
    example = write_config(tmp_path / "etc", [{"port": "x"}])
    monkeypatch.setattr(cli, "DEFAULT_DIR", "/no/where")
    monkeypatch.setattr(cli, "PACKAGE", str(tmp_path / "lwsws"))
    said = f"N: /no/where/conf does not exist: serving the bundled example of {example}\n"
    assert main(["-f"]) == os.EX_CONFIG
    assert said in capfd.readouterr().err
    assert main(["-f", "-c", str(example)]) == os.EX_CONFIG
    assert said not in capfd.readouterr().err


# Exit codes, by each way to start it.


class Ended(NamedTuple):
    """How a process ended and what it said."""

    code: int
    out: str
    err: str


def run(command: Sequence[str], cwd: Path, **environment: str) -> Ended:
    """Run `command` to its end in `cwd`."""
    clean: Dict[str, str] = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=str(cwd), env={**clean, **environment}, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("arguments, code, out, err", [
    (["-c", "GOOD", "-t"], 0, "", "GOOD: OK\n"),
    (["-c", "BAD", "-t"], 1, "", "BAD: FAILED: 1 fault; the server will not start\n"),
    (["-c", "GOOD", "-T"], 0, "{\n", ""),
    (["-c", "BAD", "-T"], 1, "", "not a number"),
    (["-c", "GOOD", "--explain", "/a.txt"], 0, "answer    200 OK\n", ""),
    (["-c", "GOOD", "--explain", "/b.txt"], 1, "answer    404 Not Found: there is no such file\n", ""),
    (["-c", "BAD", "--explain", "/"], 1, "", "not a number"),
    (["-c", "BAD"], os.EX_CONFIG, "", "not starting: 1 fault"),
    (["-h"], 0, "Usage: lwsws", ""),
    (["-V"], 0, "lwsws ", ""),
    (["-t", "-x"], 2, "", "option -x not recognized"),
])
def test_exit_codes(
    tmp_path: Path, good: str, bad: str, arguments: List[str], code: int, out: str, err: str
) -> None:
    names = {"GOOD": good, "BAD": bad}
    ended = run([*LAUNCHER, *(names.get(word, word) for word in arguments)], tmp_path)
    assert ended.code == code
    for expected, text in ((out, ended.out), (err, ended.err)):
        assert expected.replace("GOOD", good).replace("BAD", bad) in text
        assert bool(expected) == bool(text)
    assert "Traceback" not in ended.err


def test_the_launcher_works_from_anywhere(tmp_path: Path, good: str) -> None:
    """Also where something else is called like the package."""
    (tmp_path / "lwsws").mkdir()
    (tmp_path / "lwsws" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    ended = run([*LAUNCHER, "-c", "good", "-t"], tmp_path)
    assert ended == (0, "", "good: OK\n")


def test_a_link_to_the_launcher_finds_the_package(tmp_path: Path) -> None:
    (tmp_path / "serve").symlink_to(ROOT / "lwsws.py")
    ended = run([sys.executable, str(tmp_path / "serve"), "-V"], tmp_path)
    assert (ended.code, ended.err) == (0, "")


def test_the_module_works_from_the_checkout_and_on_the_path(tmp_path: Path, good: str) -> None:
    assert run([*MODULE, "-c", good, "-t"], ROOT) == (0, "", f"{good}: OK\n")
    assert run([*MODULE, "-c", "good", "-t"], tmp_path, PYTHONPATH=str(ROOT)) == (0, "", "good: OK\n")
    assert run([*MODULE, "-x"], ROOT).code == 2


def test_it_runs_in_isolation_and_with_warnings_as_errors(tmp_path: Path, good: str) -> None:
    """LESSONS 5.4."""
    python = [sys.executable, "-I", "-B", "-X", "dev", "-W", "error"]
    ended = run([*python, str(ROOT / "lwsws.py"), "-c", good, "--explain", "/a.txt"], tmp_path)
    assert (ended.code, ended.err) == (0, "")


def test_an_old_python_is_told_what_is_needed() -> None:
    """The launcher must be readable for the Pythons that it turns away."""
    text = (ROOT / "lwsws.py").read_text("utf-8")
    assert "from __future__" not in text
    assert not re.search(r"\bf\"|\bf'|->", text)
    assert text.index("version_info") < text.index("from lwsws")
