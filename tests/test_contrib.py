"""The files of contrib/ as the programs see them that they are for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import List

import pytest

from lwsws.cli import DEFAULT_DIR
from lwsws.process.child import BAD_CONFIGURATION
from tests.support.programs import need
from tests.support.source import ROOT

UNITS = ROOT / "contrib" / "systemd"
LOGROTATE = ROOT / "contrib" / "logrotate" / "lwsws"
PROGRAM = "/usr/local/bin/lwsws"

EXPOSURE = re.compile(r"Overall exposure level for lwsws.service: ([0-9.]+) OK")
# By how much one version of systemd may judge otherwise than that of the documentation.
TOLERANCE = 0.5


@pytest.fixture
def units(tmp_path: Path) -> List[str]:
    """Copies of the units that name a program which is there, for systemd looks."""
    program = tmp_path / "lwsws"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copies = []
    for unit in sorted(UNITS.iterdir()):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text("utf-8").replace(PROGRAM, str(program)), "utf-8")
        copies.append(str(copy))
    return copies


def analyze(*arguments: str) -> str:
    """What systemd-analyze says; it must not fail."""
    done = subprocess.run([need("systemd-analyze"), "--no-pager", *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode("utf-8")
    assert done.returncode == 0, said
    return said


def test_the_units_have_no_faults(units: List[str]) -> None:
    assert len(units) == 2
    assert analyze("verify", *units) == ""


def test_the_service_exposes_as_little_as_is_documented(units: List[str]) -> None:
    said = analyze("security", "--offline=true", next(unit for unit in units if unit.endswith(".service")))
    found = EXPOSURE.search(said)
    stated = EXPOSURE.search((ROOT / "docs" / "operations.md").read_text("utf-8"))
    assert found is not None and stated is not None
    assert abs(float(found.group(1)) - float(stated.group(1))) < TOLERANCE


def test_what_is_prepared_in_the_service_is_right_as_well(units: List[str], tmp_path: Path) -> None:
    """The variant for newer versions of systemd, which older ones do not know."""
    service = tmp_path / "lwsws.service"
    text, count = re.subn(r"^#(?=[A-Z][A-Za-z]+=)", "", service.read_text("utf-8"), flags=re.MULTILINE)
    assert count >= 2
    service.write_text(text, "utf-8")
    done = subprocess.run([need("systemd-analyze"), "verify", *units], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    complaints = done.stdout.decode("utf-8").splitlines()
    assert [line for line in complaints if "notify-reload" not in line] == []


def test_what_cannot_be_served_is_not_tried_again_and_again() -> None:
    """And without a configuration nothing is served, least of all the example."""
    text = (UNITS / "lwsws.service").read_text("utf-8")
    assert f"\nRestartPreventExitStatus={BAD_CONFIGURATION}\n" in text
    assert f"\nExecStart={PROGRAM} -c {DEFAULT_DIR}\n" in text


@pytest.mark.parametrize("variant, signs", [
    (0, ["copying %s/a-log to %s/a-log.1", "truncating %s/a-log"]),
    (1, ["renaming %s/a-log to %s/a-log.1", "running postrotate script", "--signal=USR1"]),
])
def test_logrotate_does_what_is_meant(tmp_path: Path, variant: int, signs: List[str]) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    (logs / "a-log").write_text("a line\n")
    active, _, prepared = LOGROTATE.read_text("utf-8").partition("\n#/var")
    text = (active, re.sub("^#", "", "/var" + prepared, flags=re.MULTILINE))[variant]
    config = tmp_path / "lwsws"
    config.write_text(text.replace("/var/log/lwsws", str(logs)), "utf-8")
    config.chmod(0o644)
    command = [need("logrotate"), "-d", "-f", "-s", str(tmp_path / "state"), str(config)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode()
    assert (done.returncode, "error" in said) == (0, False), said
    for sign in signs:
        assert sign.replace("%s", str(logs)) in said
