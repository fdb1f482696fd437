"""`-t`, `-T` and `--explain`: what is printed where, and who looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from lwsws.inspect_config import check, dump, explain_url
from tests.support.docroot import open_fds
from tests.support.peer import write_config
from tests.support.source import ROOT

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, which is given up before it is asked")
DATA = "/ddir"


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a docroot that all may enter, which they may not with those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o711)
        (home / "www").mkdir(0o755)
        (home / "www" / "a.txt").write_text("a file\n")
        yield home


def config(home: Path, settings: Dict[str, Any], *vhosts: Dict[str, Any]) -> str:
    """A configuration directory whose vhosts serve the docroot where they say nothing else."""
    usual = {"name": "a.test", "port": "7681", "mounts": [{"mountpoint": "/", "origin": f"file://{home}/www"}]}
    return str(write_config(home / "etc", [{**usual, **vhost} for vhost in vhosts], settings))


# -t


def test_a_good_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = config(home, {}, {})
    assert check(directory, DATA) == 0
    assert capsys.readouterr() == ("", f"{directory}: OK\n")


def test_all_faults_and_the_consequence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = config(home, {"prot": 1}, {"access-log": "/no/where/log"})
    assert check(directory, DATA) == 1
    out, err = capsys.readouterr()
    first, second, last = err.splitlines()
    assert first.startswith(f"{directory}/conf:1:13: global.prot: unknown key")
    assert second.startswith(f"{directory}/conf.d/test:1:")
    assert ": vhosts[0].access-log: there is no directory '/no/where'" in second
    assert last == f"{directory}: FAILED: 2 faults; the server will not start"
    assert out == ""


def test_a_fault_that_is_not_fatal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = config(home, {"prot": 1}, {})
    assert check(directory, DATA) == 1
    assert capsys.readouterr().err.endswith(": FAILED: 1 fault; the server starts all the same\n")


def test_what_is_not_served_yet_is_said_but_no_fault(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gzip = {"mountpoint": "/c", "origin": "gzip:///bin/sh"}
    directory = config(home, {}, {"mounts": [gzip]})
    assert check(directory, DATA) == 0
    *remarks, last = capsys.readouterr().err.splitlines()
    assert last == f"{directory}: OK"
    assert all(remark.startswith(f"{directory}/conf.d/test:1:") for remark in remarks)
    text = "\n".join(remarks)
    assert "vhosts[0].mounts[0].origin: gzip:// is not served by this version" in text


def test_a_protocol_that_there_is_not_is_a_fault(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = {"apply-listen-accept": "1", "listen-accept-protocol": "nobody", "mounts": []}
    directory = config(home, {}, {}, {"port": "7000", **raw})
    assert check(directory, DATA) == 1
    text = capsys.readouterr().err
    assert "there is no protocol 'nobody'" in text
    assert "vhosts[1]: not listening for a.test: there is no protocol for its raw connections" in text


def test_leftovers_are_mentioned(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = config(home, {}, {})
    (home / "etc" / "conf.d" / "test~").write_text("{")
    assert check(directory, DATA) == 0
    assert f"{directory}/conf.d/test~: skipped" in capsys.readouterr().err


def test_a_directory_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("/no/where", DATA) == 1
    assert capsys.readouterr().err == (
        "/no/where/conf: Cannot open /no/where/conf: No such file or directory\n"
        "/no/where: FAILED: 1 fault; the server will not start\n")


def test_checking_leaves_no_trace(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = config(home, {}, {"access-log": str(home / "log")}, {"unix-socket": "1",
                                                                     "interface": str(home / "s")})
    before = open_fds()
    assert check(directory, DATA) == 0
    assert open_fds() == before
    assert sorted(os.listdir(home)) == ["etc", "www"]


# -T


def test_the_dump_is_json_and_alone_on_stdout(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = config(home, {"prot": 1, "server-string": "caf\u00e9"}, {})
    assert dump(directory, DATA) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["global"]["server-string"] == "caf\u00e9"
    assert out.endswith("}\n")
    assert "unknown key" in err


def test_nothing_is_dumped_of_what_cannot_be_loaded(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dump(config(home, {}, {"port": "x"}), DATA) == 1
    out, err = capsys.readouterr()
    assert (out, "not a number" in err) == ("", True)


# --explain


def test_an_explanation_comes_with_fatal_faults_only(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = config(home, {"prot": 1}, {})
    assert explain_url(directory, DATA, "/a.txt") == 0
    out, err = capsys.readouterr()
    assert "answer    200 OK\n" in out
    assert err == ""


def test_what_would_be_answered_if_the_server_started(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = config(home, {"username": "no such"}, {})
    assert explain_url(directory, DATA, "/a.txt") == 1
    out, err = capsys.readouterr()
    assert "answer    200 OK\n" in out
    assert out.endswith("but       the server will not start with this configuration\n")
    assert "there is no user 'no such'" in err


def run(*arguments: str, shell: str = "", uid: int = -1) -> subprocess.CompletedProcess[str]:
    """lwsws with `arguments`; `shell` follows it in a shell; as the user `uid`."""
    become = f"os.setgroups([]); os.setgid({uid}); os.setuid({uid}); " if uid >= 0 else ""
    # ctypes: the Python of the test may lie where the other user cannot read.
    script = (f"import ctypes, os, sys; sys.path.insert(0, {str(ROOT)!r}); import lwsws.inspect_config; "
              f"from lwsws.cli import main; {become}sys.exit(main(sys.argv[1:]))")
    command: List[str] = [sys.executable, "-c", script, *arguments]
    if shell:
        command = ["sh", "-c", f'"$@" {shell}', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_root
def test_root_asks_as_the_user_that_the_server_becomes(home: Path) -> None:
    (home / "www" / "secret.txt").write_text("x")
    (home / "www" / "secret.txt").chmod(0o600)
    named, unnamed = config(home, {"username": "nobody"}, {}), "secret.txt"
    told = run("-c", named, "--explain", f"/{unnamed}")
    assert "answer    403 Forbidden: the user with the number 65534 may not read it\n" in told.stdout
    assert (told.returncode, told.stderr) == (1, "")
    assert "answer    200 OK\n" in run("-c", named, "--explain", "/a.txt").stdout
    assert "answer    200 OK\n" in run("-c", config(home, {}, {}), "--explain", f"/{unnamed}").stdout


@needs_root
def test_what_cannot_be_asked_is_asked_by_nobody(home: Path) -> None:
    told = run("-c", config(home, {"username": "nobody"}, {}), "--explain", "ftp://a.test/")
    assert told.stdout.startswith("request   none: ")
    assert (told.stdout.count("\n"), told.returncode) == (1, 1)


@needs_root
def test_somebody_else_is_told_that_it_may_be_otherwise(home: Path) -> None:
    told = run("-c", config(home, {"username": "nobody"}, {}), "--explain", "/a.txt", uid=64711)
    assert told.stdout.endswith("but       asked as uid 64711; the server, if root starts it, is uid 65534\n")
    assert told.returncode == 0
    assert "but" not in run("-c", config(home, {"username": "nobody"}, {}), "--explain", "/a.txt",
                            uid=65534).stdout


# Where it goes.


@pytest.mark.parametrize("shell, code, err", [
    ("| true", 0, ""),
    ("2>&-", 0, ""),
    (">/dev/full", 1, "lwsws: cannot write the output: No space left on device\n"),
    (">&-", 1, "lwsws: cannot write the output: "),
])
def test_an_output_that_is_not_taken(home: Path, shell: str, code: int, err: str) -> None:
    told = run("-c", config(home, {}, {}), "-T", shell=shell)
    assert told.returncode == code
    assert told.stderr.startswith(err)
    assert "Traceback" not in told.stderr
    assert bool(told.stderr) == bool(err)


def test_a_terminal_without_unicode(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (home / "www" / "caf\u00e9.txt").write_text("x")
    told = run("-c", config(home, {}, {}), "--explain", "/caf\u00e9.txt")
    assert told.returncode == 0
    assert "/www/caf\\xe9.txt\n" in told.stdout
