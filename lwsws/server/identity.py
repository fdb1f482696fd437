"""Identity: the users and groups that a configuration names, as numbers of this system.

Names are looked up here, by the checks and again at start; who the process becomes with them is
decided in process/privileges.py.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import List, NamedTuple, Optional, Tuple

from lwsws.config.model import GlobalConfig
from lwsws.net.regular_file import MAX_LINKS, steps_to

# The largest number means "leave it" to chown(2), so nobody has it.
MAX_ID = 2 ** 32 - 2


class UnknownIdentity(Exception):
    """A user or group that this system does not have."""


class Identity(NamedTuple):
    """Who to become: `groups` are the supplementary groups, `gid` among them."""

    uid: int
    gid: int
    groups: List[int]


def user_entry(name: str) -> pwd.struct_passwd:
    """The passwd entry of user `name`; UnknownIdentity if there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise UnknownIdentity(f"there is no user {name!r} on this system: "
                              "create it, or name one that exists") from None


def group_id(name: str) -> int:
    """The id of group `name`; UnknownIdentity if there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownIdentity(f"there is no group {name!r} on this system: "
                              "create it, or name one that exists") from None


def socket_owner(perms: str) -> Tuple[int, int]:
    """`unix-socket-perms` ("user:group", either may be empty or a number) as uid and gid, -1 to keep.

    UnknownIdentity names what is unknown.
    """
    user, _, group = perms.partition(":")
    uid = number(user) if _is_number(user) else user_entry(user).pw_uid if user else -1
    gid = number(group) if _is_number(group) else group_id(group) if group else -1
    return uid, gid


def _is_number(text: str) -> bool:
    # isdigit alone takes superscripts, which int() does not (LESSONS F6).
    return text.isascii() and text.isdigit()


def number(text: str) -> int:
    """The uid or gid that the digits of `text` are; UnknownIdentity if nobody can have it."""
    value = int(text)
    if value > MAX_ID:
        raise UnknownIdentity(f"{text} is no id: the largest one is {MAX_ID}")
    return value


def _group_of(uid: int) -> int:
    """The group of the user with this number; one with the same number where nobody is known by it."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def resolve(config: GlobalConfig) -> Optional[Identity]:
    """The identity that the `global` section asks for by name or number; None if it names nobody.

    UnknownIdentity if a name is unknown.
    """
    uid, gid = config.uid, config.gid
    if config.username:
        entry = user_entry(config.username)
        uid = entry.pw_uid
        gid = entry.pw_gid if gid is None else gid
    elif uid is not None and gid is None:
        gid = _group_of(uid)    # else it would stay in the group of root
    if config.groupname:
        gid = group_id(config.groupname)
    if uid is None and gid is None:
        return None
    uid = os.getuid() if uid is None else uid
    gid = os.getgid() if gid is None else gid
    groups = os.getgrouplist(config.username, gid) if config.username else [gid]
    return Identity(uid, gid, groups)


def exposed_directory(path: str, identity: Identity) -> str:
    """A directory on the way to the one of the file at `path` in which `identity` could put something else in
    the place of the next step; "" if there is none.  The last directory itself may be its own."""
    here, steps, links = "/", steps_to(os.path.dirname(os.path.abspath(path))), 0
    while steps:
        name = steps.pop()
        if name == "..":
            here = os.path.dirname(here)
            continue
        entry = os.path.join(here, name)
        try:
            info = os.lstat(entry)
            if _may_replace(os.stat(here), info, identity):
                return here
            if not stat.S_ISLNK(info.st_mode):
                here = entry
                continue
            links += 1
            target = os.readlink(entry)
        except OSError:
            return ""
        if links > MAX_LINKS:
            return ""
        here = "/" if target.startswith("/") else here
        steps += steps_to(target)
    return ""


def _may_replace(directory: os.stat_result, entry: os.stat_result, identity: Identity) -> bool:
    """Whether `identity` can rename or remove `entry` of `directory`."""
    mode = directory.st_mode
    if directory.st_uid == identity.uid:
        return True
    if mode & stat.S_ISVTX and entry.st_uid != identity.uid:
        return False
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and directory.st_gid in identity.groups))
