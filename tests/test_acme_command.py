"""`lwsws acme`: what it says of certificates, and how it asks for one."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from lwsws.acme import state as states
from lwsws.acme_command import main
from lwsws.wire.acme import Challenge
from tests.support.certificates import make_ca, make_certificate

DAY = 24 * 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration that asks for a certificate for a.test and b.test, whose files are beside it."""
    tmp_path.chmod(0o700)
    options: Dict[str, Any] = {
        "auth-path": str(tmp_path / "account.pem"), "cert-path": str(tmp_path / "a.crt"),
        "key-path": str(tmp_path / "a.key"), "directory-url": "https://ca.test/dir",
        "common-name": "a.test", "alt-names": "b.test", "email": "x@a.test"}
    vhost = {"name": "a.test", "port": "443", "host-ssl-cert": options["cert-path"],
             "host-ssl-key": options["key-path"], "ignore-missing-cert": "1",
             "ws-protocols": [{"lws-acme-client": options}]}
    (tmp_path / "conf").write_text(json.dumps({"vhosts": [vhost]}))
    return tmp_path


def run(folder: Path, *words: str) -> int:
    """The exit code of `lwsws acme FOLDER` with these words."""
    return main([str(folder), *words], "/nowhere")


def put_state(folder: Path, **fields: Any) -> None:
    """Write what the server would have left."""
    path = folder / "a.crt.acme"
    path.write_bytes(states.encode(states.State(**fields)))
    path.chmod(0o600)


def put_certificate(folder: Path, end: str = "", days: int = 60) -> None:
    """Put a certificate of so many days of 90 left at its place; or, with `end`, where new ones wait."""
    now = int(time.time())
    own = folder / f"made{end}"
    own.mkdir()
    made = make_certificate(own, "a.test", ["a.test", "b.test"], make_ca(own),
                            not_before=now - (90 - days) * DAY, not_after=now + days * DAY)
    for source, name in ((made.cert, "a.crt"), (made.key, "a.key")):
        target = folder / f"{name}{end}"
        target.write_bytes(source.read_bytes())
        target.chmod(0o600)


def test_status_before_the_first_certificate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is to come, and makes no files."""
    before = sorted(os.listdir(folder))
    assert run(folder, "status") == 1
    said = capsys.readouterr().out
    assert said.startswith("a.test, b.test\n") and f"there is none yet in {folder}/a.crt" in said
    assert "https://ca.test/dir, by http-01" in said and "next try     now: there is no certificate" in said
    assert sorted(os.listdir(folder)) == before


def test_status_of_a_good_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_certificate(folder)
    put_state(folder, renewed=time.time() - 100, directory="https://ca.test/dir")
    assert run(folder, "status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ends in 60 days" in lines[1] and "last try     good on" in lines[3]
    assert lines[4].startswith("  renewal      on ")


def test_status_of_one_that_waits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_certificate(folder, days=10)
    put_certificate(folder, ".upd", days=89)
    put_state(folder, renewed=time.time())
    assert run(folder, "status") == 0
    said = capsys.readouterr().out
    assert "a.crt.upd" in said and "ends in 89 days" in said and "next start" in said


def test_status_after_failures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code says it, too; and a challenge that is up is told of."""
    put_certificate(folder)
    put_state(folder, failures=3, error="the CA says rateLimited: too many", tried=time.time(),
              shown=states.Shown(Challenge("http-01", "b.test", "t", "t.x")))
    assert run(folder, "status") == 1
    said = capsys.readouterr().out
    assert "(3 in a row): the CA says rateLimited: too many" in said
    # What a killed server has left says nothing; who works with the account holds its lock.
    assert "under way" not in said
    with open(folder / "account.pem") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(folder, "status") == 1
    assert "now          an order is under way: http-01 for b.test" in capsys.readouterr().out


def test_what_it_cannot_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words that make no sense, a directory that asks for nothing, a name that is not there."""
    words: List[List[str]] = [[], ["status", "x"], ["renew-now", "a", "b"], ["renew"]]
    for each in words:
        assert run(folder, *each) == 2
    assert main([], "/nowhere") == 2 and main(["--help"], "/nowhere") == 0
    assert "usage: lwsws acme DIR status" in capsys.readouterr().out
    assert run(folder, "renew-now", "c.test") == 1
    assert "no certificate is for c.test: there is a.test, b.test" in capsys.readouterr().err
    (folder / "conf").write_text('{"vhosts": [{"port": "80"}]}')
    assert run(folder, "status") == 1
    assert "asks for no certificate" in capsys.readouterr().err
    (folder / "conf").write_text("{")
    assert run(folder, "status") == 1
    assert f"{folder}/conf:1:" in capsys.readouterr().err


def test_a_directory_that_others_may_change(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_state(folder)
    folder.chmod(0o777)
    assert run(folder, "status") == 1 and run(folder, "renew-now") == 1
    assert capsys.readouterr().err.count("chmod go-w") == 2
