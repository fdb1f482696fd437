"""Giving up root for good (LESSONS 3.34): in child processes, because there is no way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple

import pytest

from tests.support.source import ROOT

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, which is what is given up here")

# Numbers that need no name; a process may have any.
UID, GID, MORE = 64711, 64712, 64713

PRELUDE = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from lwsws.process.privileges import PrivilegeError, drop
from lwsws.server.identity import Identity

def refused(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return True
    return False

def tell(**more):
    with open("/proc/self/status") as lines:
        status = dict(line.split(":", 1) for line in lines)
    for name in ("Uid", "Gid", "Groups"):
        more[name] = sorted(set(map(int, status[name].split())))
    print(json.dumps({{**more, "CapEff": int(status["CapEff"], 16), "CapPrm": int(status["CapPrm"], 16)}}))
"""


class Told(NamedTuple):
    """What a child said on stdout, as JSON, and on stderr."""

    state: Dict[str, Any]
    said: str


def child(script: str) -> Told:
    """Run `script` after the prelude in a process of its own, started as we are."""
    command = [sys.executable, "-c", PRELUDE + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Told(json.loads(done.stdout), done.stderr)


@needs_root
def test_nothing_of_root_is_left() -> None:
    told = child(f"""
os.setgroups([0, 4, 27])
drop(Identity({UID}, {GID}, [{GID}, {MORE}]))
tell(setuid=refused(os.setuid, 0), setgid=refused(os.setgid, 0), setgroups=refused(os.setgroups, [0]),
     seteuid=refused(os.seteuid, 0))
""")
    # Real, effective, saved and file system ids are all the same.
    assert told.state == {
        "Uid": [UID], "Gid": [GID], "Groups": [GID, MORE], "CapEff": 0, "CapPrm": 0,
        "setuid": True, "setgid": True, "setgroups": True, "seteuid": True}
    assert told.said == ""


@needs_root
def test_groups_of_root_do_not_stay() -> None:
    """LESSONS T10."""
    told = child(f"os.setgroups([0, 4, 27])\ndrop(Identity({UID}, {GID}, [{GID}]))\ntell()")
    assert told.state["Groups"] == [GID]


@needs_root
def test_only_the_group_may_change() -> None:
    told = child(f"drop(Identity(0, {GID}, [{GID}]))\ntell()")
    assert (told.state["Uid"], told.state["Gid"]) == ([0], [GID])


@needs_root
def test_root_without_an_identity_is_warned_about() -> None:
    told = child("drop(None)\ntell()")
    assert told.state["Uid"] == [0]
    assert told.said.endswith('W: serving as root: set "username" and "groupname" in the global section\n')


@needs_root
def test_root_with_another_group_is_still_root() -> None:
    assert "serving as root" in child(f"drop(Identity(0, {GID}, [{GID}]))\ntell()").said


@needs_root
@pytest.mark.parametrize("identity", ["Identity(2 ** 32 - 1, 1, [1])", "Identity(1, 2 ** 32 - 1, [1])"])
def test_what_the_kernel_refuses_ends_the_start(identity: str) -> None:
    told = child(f"""
try:
    drop({identity})
except PrivilegeError as error:
    tell(error=str(error))
""")
    assert told.state["error"].startswith("cannot become uid ")
    assert "Invalid argument" in told.state["error"]


@needs_root
def test_privileges_that_come_back_end_the_start() -> None:
    """A process may be told to keep its capabilities through setuid; capabilities(7), securebits."""
    told = child(f"""
import ctypes
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 4
assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0
try:
    drop(Identity({UID}, {GID}, [{GID}]))
except PrivilegeError as error:
    tell(error=str(error))
""")
    assert told.state["error"] == "root privileges came back after setuid"


def not_root(script: str) -> Told:
    """Run `script` in a child that is not root; its uid and gid are in ME."""
    become = f"os.setgroups([])\nos.setgid({GID})\nos.setuid({UID})\n" if os.getuid() == 0 else ""
    return child(f"{become}ME = os.getuid(), os.getgid()\n{script}")


def lines(text: str) -> List[str]:
    return [line.partition("] ")[2] for line in text.splitlines()]


def test_who_is_not_root_stays_who_he_is_and_is_told() -> None:
    told = not_root(f"drop(Identity(ME[0] + 1, {GID}, [{GID}]))\ntell(me=ME)")
    uid = told.state["me"][0]
    assert told.state["Uid"] == [uid]
    assert lines(told.said) == [f"W: not started as root: serving as uid {uid}, not as uid {uid + 1}"]


@pytest.mark.parametrize("identity", ["None", "Identity(ME[0], ME[1], [ME[1]])"])
def test_who_is_not_root_and_need_not_be_is_told_nothing(identity: str) -> None:
    assert not_root(f"drop({identity})\ntell()").said == ""
