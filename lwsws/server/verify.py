"""The checks that need the system: files, users, interfaces, rights.

The loader checks what the text alone can show; this looks at what the text names.  Used by `-t`
and at start, before anything is bound.  What only costs one mount is not fatal.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import List, Optional, Union

from lwsws.config.model import Config, Fault, GlobalConfig, MountConfig, VhostConfig
from lwsws.server.endpoints import address_family
from lwsws.server.identity import UnknownIdentity, resolve, socket_owner

Section = Union[GlobalConfig, VhostConfig, MountConfig]


def verify(config: Config) -> List[Fault]:
    """All faults that files, users and interfaces of this system show in `config`."""
    faults = _verify_global(config.globals)
    for vhost in config.vhosts:
        faults += _verify_address(vhost)
        faults += _verify_vhost_files(vhost)
        for mount in vhost.mounts:
            faults += _verify_mount(mount)
    return faults


def _fault(section: Section, key: str, reason: str, fatal: bool) -> Fault:
    return Fault(section.positions.get(key, section.where), f"{section.path}.{key}", reason, fatal)


def _verify_global(settings: GlobalConfig) -> List[Fault]:
    faults = []
    try:
        resolve(settings)
    except UnknownIdentity as error:
        key = "groupname" if "group" in str(error) else "username"
        faults.append(_fault(settings, key, str(error), fatal=True))
    for directory in settings.plugin_dir:
        if not os.path.isdir(directory):
            faults.append(_fault(settings, "plugin-dir", f"there is no directory {directory!r}", fatal=False))
    return faults


def _verify_address(vhost: VhostConfig) -> List[Fault]:
    if vhost.unix_socket:
        return _verify_unix_socket(vhost)
    name = vhost.interface
    if not name or address_family(name) or name in [known for _, known in socket.if_nameindex()]:
        return []
    return [_fault(vhost, "interface", f"there is no network interface {name!r} now; if it is no misspelling, "
                   "the vhost begins to listen as soon as the interface has an address", fatal=False)]


def _verify_unix_socket(vhost: VhostConfig) -> List[Fault]:
    faults = []
    try:
        socket_owner(vhost.unix_socket_perms)
    except UnknownIdentity as error:
        faults.append(_fault(vhost, "unix-socket-perms", str(error), fatal=True))
    directory = os.path.dirname(vhost.interface) or "."
    if not os.path.isdir(directory):
        faults.append(_fault(vhost, "interface", f"there is no directory {directory!r} for the unix socket", fatal=True))
    elif os.path.lexists(vhost.interface) and not stat.S_ISSOCK(os.lstat(vhost.interface).st_mode):
        faults.append(_fault(vhost, "interface", f"{vhost.interface!r} exists and is not a socket; "
                             "it is left alone: choose another path or remove it", fatal=True))
    return faults


def _verify_vhost_files(vhost: VhostConfig) -> List[Fault]:
    faults = []
    for key, path in (("host-ssl-cert", vhost.host_ssl_cert), ("host-ssl-key", vhost.host_ssl_key),
                      ("host-ssl-ca", vhost.host_ssl_ca)):
        reason = unreadable(path) if path else ""
        if reason:
            faults.append(_fault(vhost, key, reason, fatal=not vhost.ignore_missing_cert))
    if vhost.access_log:
        directory = os.path.dirname(vhost.access_log) or "."
        if not os.path.isdir(directory):
            faults.append(_fault(vhost, "access-log", f"there is no directory {directory!r}", fatal=True))
        elif os.path.isdir(vhost.access_log):
            faults.append(_fault(vhost, "access-log", f"{vhost.access_log!r} is a directory; give a file", fatal=True))
    document = vhost.error_document_404
    if document and not document.startswith("/"):
        faults.append(_fault(vhost, "error-document-404", f"{document!r} is not a URL path of this vhost: "
                             "it begins with \"/\"", fatal=False))
    return faults


def _verify_mount(mount: MountConfig) -> List[Fault]:
    faults: List[Optional[Fault]] = [_origin_fault(mount), _password_fault(mount)]
    return [fault for fault in faults if fault is not None]


def _origin_fault(mount: MountConfig) -> Optional[Fault]:
    origin = mount.origin
    if origin.kind == "file":
        if not os.path.exists(origin.target):
            return _fault(mount, "origin", f"there is no directory {origin.target!r} now: "
                          f"{mount.mountpoint} answers 404 until there is", fatal=False)
        if not os.path.isdir(origin.target):
            hint = " (zip archives are not served)" if origin.target.endswith(".zip") else ""
            return _fault(mount, "origin", f"{origin.target!r} is not a directory: "
                          f"{mount.mountpoint} answers 404{hint}", fatal=False)
        if not os.access(origin.target, os.R_OK | os.X_OK):
            return _fault(mount, "origin", f"the directory {origin.target!r} cannot be read", fatal=False)
    elif origin.kind == "cgi" and not os.access(origin.target, os.X_OK):
        return _fault(mount, "origin", f"{origin.target!r} is not a program that can be run", fatal=False)
    return None


def _password_fault(mount: MountConfig) -> Optional[Fault]:
    path = mount.basic_auth
    if not path:
        return None
    reason = unreadable(path)
    if reason:
        return _fault(mount, "basic-auth", f"{reason}: nobody can log in at {mount.mountpoint}", fatal=False)
    if os.stat(path).st_mode & stat.S_IROTH:
        return _fault(mount, "basic-auth", f"everybody on this system can read the passwords in {path!r}: "
                      "chmod o-r it", fatal=False)
    origin = mount.origin
    if origin.kind == "file" and _is_below(path, origin.target):
        return _fault(mount, "basic-auth", f"{path!r} is inside the directory it protects: move it out", fatal=False)
    return None


def _is_below(path: str, directory: str) -> bool:
    directory = os.path.realpath(directory)
    return os.path.commonpath([os.path.realpath(path), directory]) == directory


def unreadable(path: str) -> str:
    """Why the file at `path` cannot be read; "" if it can."""
    try:
        with open(path, "rb"):
            return ""
    except OSError as error:
        return f"cannot read {path!r}: {error.strerror}"
