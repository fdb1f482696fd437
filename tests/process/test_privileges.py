"""Giving up root for good (LESSONS 3.34): in child processes, because there is no way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple

import pytest

from lwsws.process.privileges import user_name
from tests.support.source import ROOT

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, which is what is given up here")

# Numbers that need no name; a process may have any.
UID, GID, MORE = 64711, 64712, 64713
NAMELESS = 64714

PRELUDE = f"""
import json, os, sys
import ctypes   # now: this Python may be where only root can read it
sys.path.insert(0, {str(ROOT)!r})
from lwsws.process.privileges import PrivilegeError, drop, restrict_umask
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
    for name in ("CapEff", "CapPrm", "CapAmb", "NoNewPrivs"):
        more[name] = int(status[name], 16)
    print(json.dumps(more))
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
        "Uid": [UID], "Gid": [GID], "Groups": [GID, MORE], "CapEff": 0, "CapPrm": 0, "CapAmb": 0,
        "NoNewPrivs": 1,
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


@needs_root
def test_capabilities_that_are_kept_end_the_start() -> None:
    told = child(f"""
import ctypes
PR_SET_KEEPCAPS = 8
assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
try:
    drop(Identity({UID}, {GID}, [{GID}]))
except PrivilegeError as error:
    tell(error=str(error))
""")
    assert told.state["error"] == "capabilities of root are left after setuid: CapPrm"


@needs_root
def test_no_other_process_of_that_user_may_look_into_it() -> None:
    told = child(f"""
import ctypes
drop(Identity({UID}, {GID}, [{GID}]))
PR_GET_DUMPABLE = 3
tell(dumpable=ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
""")
    assert told.state["dumpable"] == 0


@needs_root
def test_without_ctypes_there_is_no_more_than_a_line() -> None:
    """As in small Python packages."""
    told = child(f"""
from lwsws import log
log.set_level(31)
sys.modules["ctypes"] = None
drop(Identity({UID}, {GID}, [{GID}]))
tell()
""")
    assert (told.state["Uid"], told.state["NoNewPrivs"]) == ([UID], 0)
    assert [line[:2] for line in lines(told.said)] == ["I:"]
    assert "no_new_privs cannot be set" in told.said


@pytest.mark.parametrize("before, after", [(0o022, 0o027), (0o077, 0o077), (0, 0o027)])
def test_files_are_made_without_rights_for_others(before: int, after: int) -> None:
    told = child(f"os.umask({before})\nrestrict_umask()\ntell(umask=os.umask(0))")
    assert told.state["umask"] == after


def not_root(script: str) -> Told:
    """Run `script` in a child that is not root; its uid and gid are in ME."""
    become = f"os.setgroups([])\nos.setgid({GID})\nos.setuid({UID})\n" if os.getuid() == 0 else ""
    return child(f"{become}ME = os.getuid(), os.getgid()\n{script}")


def lines(text: str) -> List[str]:
    return [line.partition("] ")[2] for line in text.splitlines()]


def test_who_is_not_root_stays_who_he_is_and_is_told() -> None:
    told = not_root(f"drop(Identity({NAMELESS}, {GID}, [{GID}]))\ntell(me=ME)")
    uid = told.state["me"][0]
    assert (told.state["Uid"], told.state["NoNewPrivs"]) == ([uid], 1)
    assert lines(told.said) == [f"W: not started as root: serving as {user_name(uid)}, not as uid {NAMELESS}"]


def test_users_are_named_where_they_have_names() -> None:
    assert (user_name(0), user_name(NAMELESS)) == ("root", f"uid {NAMELESS}")


@pytest.mark.parametrize("identity", ["None", "Identity(ME[0], ME[1], [ME[1]])"])
def test_who_is_not_root_and_need_not_be_is_told_nothing(identity: str) -> None:
    assert not_root(f"drop({identity})\ntell()").said == ""
