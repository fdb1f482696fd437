"""Privileges: the serving process becomes who the configuration says.

Ports are bound and logs are opened as the caller (often root); then the process becomes the user
of `username`/`uid` and the group of `groupname`/`gid`, before any byte of a peer is read, and proves
that there is no way back (LESSONS 3.34):

    no_new_privs        no program that it starts gets more rights than it has, set-uid or not
    groups, gid, uid    in this order, as each step needs the privilege that the last one gives up
    not dumpable        no other process of that user can look into it, and no core file has keys in it
    proof               all ids are new, setuid(0) and setgid(0) are refused, no capability is left
"""

from __future__ import annotations

import os
import pwd
from importlib import import_module
from typing import TYPE_CHECKING, Callable, Dict, Optional

from lwsws import log

if TYPE_CHECKING:
    from lwsws.server.identity import Identity  # the parent, which restricts its umask, does without

# What is imported where it is needed, for faults, typos and names with other letters: who serves may not be
# allowed to read Python's own library.
NEEDED_LATER = ("traceback", "tokenize", "difflib", "encodings.ascii", "encodings.idna", "encodings.latin_1")

# linux/prctl.h
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38

STATUS = "/proc/self/status"
# Of the sets of capabilities(7) those that give a right now.  The inheritable and the bounding set are about
# programs started later, which no_new_privs keeps from getting any.
CAPABILITIES = (b"CapPrm", b"CapEff", b"CapAmb")

# What others may not do with files made by a server, be they logs, uploads or a plugin's; and the group may
# not write.
UMASK = 0o027


class PrivilegeError(Exception):
    """The process cannot become who the configuration says."""


def restrict_umask() -> None:
    """From here on files are made without rights for others, and not writable for the group."""
    os.umask(os.umask(UMASK) | UMASK)


def drop(identity: Optional[Identity]) -> None:
    """Become `identity`.  PrivilegeError if that fails or could be undone.

    Not started as root: stays who it is, and warns where that differs from the configuration.
    """
    if os.getuid() != 0:
        if identity is not None and identity.uid != os.getuid():
            log.warn(f"not started as root: serving as {user_name(os.getuid())}, "
                     f"not as {user_name(identity.uid)}")
        refuse_new_privileges()
        return
    if identity is None or identity.uid == 0:
        log.warn('serving as root: set "username" and "groupname" in the global section')
    if identity is None:
        refuse_new_privileges()
        return
    for module in NEEDED_LATER:
        import_module(module)
    refuse_new_privileges()
    try:
        os.setgroups(identity.groups)
        # Of root these set the saved ids, too; setresuid() would take -1 for "leave it".
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    except OSError as error:
        raise PrivilegeError(f"cannot become uid {identity.uid}, gid {identity.gid}: {error}") from None
    if identity.uid != 0:
        _prctl(PR_SET_DUMPABLE, 0)
        _prove_dropped(identity)


def user_name(uid: int) -> str:
    """What the user with this number is called; "uid NUMBER" where nobody has it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def refuse_new_privileges() -> None:
    """Set no_new_privs, for this process and all that it starts; the sandbox needs it, too."""
    if not _prctl(PR_SET_NO_NEW_PRIVS, 1):
        log.info("no_new_privs cannot be set here: programs with the set-uid bit would get their rights")


def _prctl(option: int, value: int) -> bool:
    """Call prctl(2); False where that cannot be done, as in small Python packages without ctypes."""
    try:
        import ctypes
    except ImportError:
        return False
    call = ctypes.CDLL(None, use_errno=True).prctl
    number = ctypes.c_ulong
    done: int = call(ctypes.c_int(option), number(value), number(0), number(0), number(0))
    return done == 0


def _prove_dropped(identity: Identity) -> None:
    if (os.getresuid(), os.getresgid()) != ((identity.uid,) * 3, (identity.gid,) * 3):
        raise PrivilegeError(f"still uids {os.getresuid()} and gids {os.getresgid()} after setuid")
    _demand_refusal(os.setuid, "setuid")
    if identity.gid != 0:
        _demand_refusal(os.setgid, "setgid")
    left = [name.decode() for name, value in read_status().items()
            if name in CAPABILITIES and int(value, 16)]
    if left:
        raise PrivilegeError(f"capabilities of root are left after setuid: {', '.join(left)}")


def _demand_refusal(become: Callable[[int], None], name: str) -> None:
    try:
        become(0)
    except OSError:
        return
    raise PrivilegeError(f"root privileges came back after {name}")


def read_status() -> Dict[bytes, bytes]:
    """What the kernel says of this process, proc_pid_status(5); nothing where there is no /proc."""
    try:
        # Unbuffered bytes: nothing to import any more.
        with open(STATUS, "rb", buffering=0) as file:
            text = file.read()
    except OSError:
        return {}
    pairs = [line.partition(b":") for line in text.split(b"\n")]
    return {name: value.strip() for name, _, value in pairs}
