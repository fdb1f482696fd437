"""The bundled example as text: the lines prepared in its comments work once the # is taken away."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.source import ROOT

PREPARED = re.compile(r'^([ ]*)# (?=["{} ])', re.MULTILINE)
COMMENT = re.compile(r'^[ ]*#.*$|[ ]#[^"\n]*$', re.MULTILINE)


@pytest.mark.parametrize("name", ["conf", "conf.d/test-server"])
def test_the_example_is_right_with_and_without_its_prepared_lines(name: str) -> None:
    text = (ROOT / "etc" / name).read_text("utf-8")
    plain = json.loads(COMMENT.sub("", text))
    uncommented, count = PREPARED.subn(r"\1", text)
    full = json.loads(COMMENT.sub("", uncommented))
    assert count > 0
    assert full != plain
    assert full.keys() == plain.keys()
