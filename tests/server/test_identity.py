"""Users and groups of the configuration, as numbers of this system."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from lwsws.config.model import GlobalConfig
from lwsws.server.identity import Identity, UnknownIdentity, exposed_directory, resolve, socket_owner

ROOT = pwd.getpwuid(0)
# Some user and group that every system has, other than root.
USER = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0 and entry.pw_gid != 0)
GROUP = next(entry for entry in grp.getgrall() if entry.gr_gid not in (0, USER.pw_gid))


def test_nobody_is_named() -> None:
    assert resolve(GlobalConfig()) is None


def test_a_user_brings_the_own_group_along() -> None:
    groups = os.getgrouplist(USER.pw_name, USER.pw_gid)
    assert resolve(GlobalConfig(username=USER.pw_name)) == Identity(USER.pw_uid, USER.pw_gid, groups)


def test_a_group_by_name_takes_the_place_of_the_own_one() -> None:
    identity = resolve(GlobalConfig(username=USER.pw_name, groupname=GROUP.gr_name))
    assert identity is not None
    assert (identity.uid, identity.gid) == (USER.pw_uid, GROUP.gr_gid)
    assert GROUP.gr_gid in identity.groups


def test_a_group_by_number_too() -> None:
    identity = resolve(GlobalConfig(username=USER.pw_name, gid=4711))
    assert identity is not None
    assert (identity.gid, 4711 in identity.groups) == (4711, True)


def test_numbers_alone() -> None:
    """LESSONS T10: no supplementary group is kept."""
    assert resolve(GlobalConfig(uid=4711, gid=4712)) == Identity(4711, 4712, [4712])


def test_names_win_over_numbers() -> None:
    both = GlobalConfig(username=USER.pw_name, groupname=GROUP.gr_name, uid=4711, gid=4712)
    identity = resolve(both)
    assert identity is not None
    assert (identity.uid, identity.gid) == (USER.pw_uid, GROUP.gr_gid)


def test_a_group_alone_keeps_the_user() -> None:
    identity = resolve(GlobalConfig(groupname=GROUP.gr_name))
    assert identity == Identity(os.getuid(), GROUP.gr_gid, [GROUP.gr_gid])


def test_the_groups_that_a_user_is_a_member_of_come_along() -> None:
    member = next(((user, group) for group in grp.getgrall() for user in group.gr_mem), None)
    if member is None:
        pytest.skip("no user of this system is a member of a further group")
    identity = resolve(GlobalConfig(username=member[0]))
    assert identity is not None
    assert member[1].gr_gid in identity.groups


def test_a_number_that_no_user_has_stands_for_its_group_too() -> None:
    numbers = {entry.pw_uid for entry in pwd.getpwall()}
    unknown = next(number for number in range(64711, 65000) if number not in numbers)
    assert resolve(GlobalConfig(uid=unknown)) == Identity(unknown, unknown, [unknown])


def test_a_user_by_number_does_not_keep_the_group_of_root() -> None:
    identity = resolve(GlobalConfig(uid=USER.pw_uid))
    assert identity is not None
    assert identity.gid == USER.pw_gid


@pytest.mark.parametrize("settings, message", [
    (GlobalConfig(username="no such"), "there is no user 'no such' on this system"),
    (GlobalConfig(groupname="no such"), "there is no group 'no such' on this system"),
    (GlobalConfig(username=USER.pw_name, groupname="no such"), "there is no group 'no such'"),
])
def test_unknown_names(settings: GlobalConfig, message: str) -> None:
    with pytest.raises(UnknownIdentity, match=message):
        resolve(settings)


@pytest.mark.parametrize("perms, owner", [
    ("", (-1, -1)),
    ("4711:4712", (4711, 4712)),
    ("4294967294:0", (4294967294, 0)),
    ("4711", (4711, -1)),
    (":4712", (-1, 4712)),
    (f"{USER.pw_name}:{GROUP.gr_name}", (USER.pw_uid, GROUP.gr_gid)),
    (f"{USER.pw_name}:", (USER.pw_uid, -1)),
])
def test_the_owner_of_a_unix_socket(perms: str, owner: tuple[int, int]) -> None:
    assert socket_owner(perms) == owner


@pytest.mark.parametrize("perms", ["no such:root", "root:no such"])
def test_an_unknown_owner_of_a_unix_socket(perms: str) -> None:
    with pytest.raises(UnknownIdentity, match="'no such'"):
        socket_owner(perms)


@pytest.mark.parametrize("perms", ["\u00b2:0", "0:\u00b2", "99999999999:0", "0:4294967295"])
def test_numbers_that_nobody_can_have(perms: str) -> None:
    with pytest.raises(UnknownIdentity):
        socket_owner(perms)


@pytest.mark.parametrize("mode, uid, gid, found", [
    (0o755, 0, 0, False), (0o755, 4711, 0, True), (0o775, 0, 4712, True), (0o775, 0, 4713, False),
    (0o777, 0, 0, True), (0o1777, 0, 0, True), (0o755, 4713, 4713, False),
])
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give directories away")
def test_directories_above_a_log(tmp_path: Path, mode: int, uid: int, gid: int, found: bool) -> None:
    """Of whom it is, the last one does not matter."""
    above = tmp_path / "above"
    (above / "logs").mkdir(parents=True)
    os.chown(above, uid, gid)
    os.chown(above / "logs", 4711, 4712)
    above.chmod(mode)
    (tmp_path / "link").symlink_to(above / "logs")
    for path in (above / "logs" / "a.log", tmp_path / "link" / "a.log"):
        assert exposed_directory(str(path), Identity(4711, 4712, [4712])) == (str(above) if found else "")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a link away")
def test_a_link_of_the_user_in_the_middle_of_the_way(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (tmp_path / "real" / "logs").mkdir(parents=True)
    mine.mkdir()
    os.chown(mine, 4711, 4712)
    (mine / "link").symlink_to(tmp_path / "real")
    way = f"{mine}/link/logs/a.log"
    assert exposed_directory(way, Identity(4711, 4712, [4712])) == str(mine)
    assert exposed_directory(way, Identity(4713, 4713, [4713])) == ""
    assert exposed_directory(f"{tmp_path}/none/a.log", Identity(4711, 4712, [4712])) == ""
