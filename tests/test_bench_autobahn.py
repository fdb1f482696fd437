"""What is made of a report of the Autobahn|Testsuite; the suite itself is for `make autobahn`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List

import pytest

from bench import autobahn
from bench.autobahn import Case

# As the suite writes them: name, behavior, behaviorClose.
FOUND = [
    ("2.1", "OK", "OK"),
    ("10.1.1", "OK", "OK"),
    ("6.4.1", "NON-STRICT", "OK"),
    ("7.1.6", "INFORMATIONAL", "INFORMATIONAL"),
    ("7.1.5", "OK", "WRONG CODE"),
    ("6.4.10", "FAILED", "OK"),
    ("13.1.1", "UNIMPLEMENTED", "OK"),
]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A folder as the suite leaves it."""
    index: Dict[str, Dict[str, object]] = {
        name: {"behavior": behavior, "behaviorClose": closing, "duration": 3}
        for name, behavior, closing in FOUND
    }
    (tmp_path / "index.json").write_text(json.dumps({"lwsws": index}))
    for name in index:
        details = {
            "description": f"Sends <b>{name}</b>.<br/>\n  Then waits.",
            "expectation": "An echo.",
            "result": "No echo.",
            "resultClose": "A wrong code.",
        }
        (tmp_path / f"lwsws_case_{name.replace('.', '_')}.json").write_text(json.dumps(details))
    return tmp_path


def verdicts(cases: List[Case]) -> Dict[str, str]:
    return {case.name: case.verdict for case in cases}


def test_cases_are_judged_by_their_messages_and_by_their_end(report: Path) -> None:
    assert verdicts(autobahn.read_cases(report)) == {
        "2.1": "OK",
        "6.4.1": "NON-STRICT",
        "6.4.10": "failed",
        "7.1.5": "failed",
        "7.1.6": "INFORMATIONAL",
        "10.1.1": "OK",
        "13.1.1": "failed",
    }


def test_cases_are_in_the_order_of_their_numbers(report: Path) -> None:
    names = [case.name for case in autobahn.read_cases(report)]
    assert names == ["2.1", "6.4.1", "6.4.10", "7.1.5", "7.1.6", "10.1.1", "13.1.1"]


def test_the_table_counts_by_section_and_together(report: Path) -> None:
    rows = [line.split() for line in autobahn.as_text(autobahn.read_cases(report)).splitlines()]
    assert rows[0] == ["cases", "OK", "NON-STRICT", "INFORMATIONAL", "failed"]
    assert [(row[0], row[-5:]) for row in rows[1:]] == [
        ("2.", ["1", "1", "0", "0", "0"]),
        ("6.", ["2", "0", "1", "0", "1"]),
        ("7.", ["2", "0", "0", "1", "1"]),
        ("10.", ["1", "1", "0", "0", "0"]),
        ("13.", ["1", "0", "0", "0", "1"]),
        ("together", ["7", "2", "1", "1", "3"]),
    ]


def test_what_the_suite_says_of_failures_is_shown_in_one_line_each(report: Path) -> None:
    assert autobahn.failures(autobahn.read_cases(report), report) == [
        "6.4.10 FAILED/OK: Sends 6.4.10 . Then waits. An echo. No echo.",
        "7.1.5 OK/WRONG CODE: Sends 7.1.5 . Then waits. An echo. No echo. A wrong code.",
        "13.1.1 UNIMPLEMENTED/OK: Sends 13.1.1 . Then waits. An echo. No echo.",
    ]


def test_the_document_names_each_case_that_is_not_ok(report: Path) -> None:
    text = autobahn.document(autobahn.read_cases(report))
    assert "| together | 7 | 2 | 1 | 1 | 3 |\n" in text
    assert "* NON-STRICT: 6.4.1\n* INFORMATIONAL: 7.1.6\n* failed: 6.4.10, 7.1.5, 13.1.1\n" in text


def test_python_2_is_not_what_merely_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim that knows no such version, and one that is another; the real one is found all the same."""
    shims, real = tmp_path / "shims", tmp_path / "pyenv" / "versions" / "2.7.18" / "bin" / "python"
    real.parent.mkdir(parents=True)
    shims.mkdir()
    for path, code in ((shims / "python2.7", 127), (shims / "python2", 1), (real, 0)):
        path.write_text(f"#!/bin/sh\nexit {code}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(shims))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert autobahn.find_python2() == str(real)
    real.unlink()
    with pytest.raises(RuntimeError, match=r"needs Python 2\.7"):
        autobahn.find_python2()
