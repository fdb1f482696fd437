"""Programs that a test drives: found, or the test is skipped; in CI a missing one is a failure."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

# Where daemons lie on systems whose users have no sbin in their PATH.
MORE_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"


def find(program: str) -> str:
    """The path of `program`, or "" where it is not installed."""
    places = os.environ.get("PATH", os.defpath) + os.pathsep + MORE_PLACES
    return shutil.which(program, path=places) or ""


def need(program: str) -> str:
    """The path of `program`.  Without it the test is skipped, or fails if CI=true is in the environment."""
    found = find(program)
    if not found:
        give_up(f"needs the program {program}")
    return found


def give_up(why: str) -> NoReturn:
    """Skip the test, or fail it if CI=true is in the environment."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{why}, and CI must have it")
    pytest.skip(why)
