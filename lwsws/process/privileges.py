"""Privileges: the serving process becomes who the configuration says.

Ports are bound and logs are opened as the caller (often root); then the process becomes the user
of `username`/`uid` and the group of `groupname`/`gid`, before any byte of a peer is read, and proves
that there is no way back (LESSONS 3.34).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Optional

from lwsws import log
from lwsws.server.identity import Identity

# What is imported where it is needed, for faults, typos and names with other letters: who serves may not be
# allowed to read Python's own library.
NEEDED_LATER = ("traceback", "tokenize", "difflib", "encodings.ascii", "encodings.idna", "encodings.latin_1")


class PrivilegeError(Exception):
    """The process cannot become who the configuration says."""


def drop(identity: Optional[Identity]) -> None:
    """Become `identity`.  PrivilegeError if that fails or could be undone.

    Not started as root: stays who it is, and warns where that differs from the configuration.
    """
    if os.getuid() != 0:
        if identity is not None and identity.uid != os.getuid():
            log.warn(f"not started as root: serving as uid {os.getuid()}, not as uid {identity.uid}")
        return
    if identity is None or identity.uid == 0:
        log.warn('serving as root: set "username" and "groupname" in the global section')
    if identity is None:
        return
    for module in NEEDED_LATER:
        import_module(module)
    try:
        # The order matters: each step needs the privilege that the last one gives up.
        os.setgroups(identity.groups)
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    except OSError as error:
        raise PrivilegeError(f"cannot become uid {identity.uid}, gid {identity.gid}: {error}") from None
    if identity.uid != 0:
        _prove_dropped()


def _prove_dropped() -> None:
    try:
        os.setuid(0)
    except OSError:
        return
    raise PrivilegeError("root privileges came back after setuid")
