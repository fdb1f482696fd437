"""Faults and positions as people read them."""

from __future__ import annotations

import pytest

from lwsws.config.model import NOWHERE, Fault, Position


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
