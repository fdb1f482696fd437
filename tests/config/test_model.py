"""Faults and positions as people read them."""

from __future__ import annotations

import os

import pytest

from lwsws.config.model import MAX_PROCESSES, NOWHERE, Fault, GlobalConfig, Position


@pytest.mark.parametrize("position, path, text", [
    (Position("conf.d/a", 7, 17), "vhosts[0].mounts[1].origin",
     "conf.d/a:7:17: vhosts[0].mounts[1].origin: is wrong"),
    (Position("conf", 0, 0), "", "conf: is wrong"),
    (Position("conf", 3, 1), "", "conf:3:1: is wrong"),
    (NOWHERE, "", "is wrong"),
    (NOWHERE, "global", "global: is wrong"),
])
def test_fault_text(position: Position, path: str, text: str) -> None:
    assert str(Fault(position, path, "is wrong", True)) == text


def test_fault_text_is_one_printable_line() -> None:
    fault = Fault(Position("a\nb", 1, 2), "k\x1b[31m", "x\r\ny\u2028z \udce9 ü", False)
    assert str(fault) == r"a\nb:1:2: k\x1b[31m: x\r\ny\u2028z \udce9 ü"


def test_processes_are_as_many_as_given_or_one_for_each_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GlobalConfig(count_processes=3).processes == 3
    assert GlobalConfig(count_processes=0).processes == min(len(os.sched_getaffinity(0)), MAX_PROCESSES)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(1000)))
    assert GlobalConfig(count_processes=0).processes == MAX_PROCESSES
