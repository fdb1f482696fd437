"""The checks that need the system: files, users, interfaces, rights.

The loader checks what the text alone can show; this looks at what the text names.  Used by `-t`
and at start, before anything is bound.  What only costs one mount is not fatal.

Files that are opened after root is given up are looked at with the eyes of the user who opens them
then; by owner and mode, because nobody can try without becoming that user.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from typing import Callable, Collection, Iterator, List, Optional, Set, Tuple, Union

from lwsws import archive
from lwsws.config.model import Config, Fault, GlobalConfig, MountConfig, VhostConfig
from lwsws.core.accesslog import STREAMS
from lwsws.core.options import Options
from lwsws.net.bind import MAX_SOCKET_PATH, address_family
from lwsws.server.acme import has_certificates
from lwsws.server.identity import (
    Identity,
    UnknownIdentity,
    exposed_directory,
    group_id,
    resolve,
    socket_owner,
    user_entry,
)

Section = Union[GlobalConfig, VhostConfig, MountConfig]

# Where a file has this, its mode does not say who may read it; acl(5).
ACL = "system.posix_acl_access"

# sd_booted(3)
BOOTED_BY_SYSTEMD = "/run/systemd/system"

# What others may do, in bits of a mode.
READ, WRITE, ENTER = stat.S_IROTH, stat.S_IWOTH, stat.S_IXOTH


def verify(config: Config) -> List[Fault]:
    """All faults that files, users and interfaces of this system show in `config`."""
    faults = _identity_faults(config.globals)
    # Who opens files later; None if it is who we are now, or nobody that exists.
    reader = resolve(config.globals) if os.getuid() == 0 and not faults else None
    for directory in config.globals.plugin_dir:
        if not os.path.isdir(directory):
            reason = f"there is no directory {directory!r}: create it, or leave this out"
            faults.append(_fault(config.globals, "plugin-dir", reason))
    for key, paths in (("sandbox-read", config.globals.sandbox_read),
                       ("sandbox-write", config.globals.sandbox_write)):
        faults += [_fault(config.globals, key, f"there is no {path!r}: it stays closed until the next start")
                   for path in paths if not os.path.exists(path)]
    coming: Set[str] = set()
    if has_certificates(config):
        from lwsws.server.verify_acme import acme_faults, coming_files
        faults += acme_faults(config, lambda path: obstacle(path, ENTER, reader))
        coming = coming_files(config)
    for vhost in config.vhosts:
        if not vhost.listen_fd:
            faults += _unix_socket_faults(vhost) if vhost.unix_socket else _interface_faults(vhost)
        faults += _vhost_file_faults(vhost, reader)
        if vhost.host_ssl_cert or vhost.enable_client_ssl:
            faults += _tls_faults(vhost, config.globals, coming)
        faults += _protocol_password_faults(vhost, reader)
        for mount in vhost.mounts:
            found = _origin_fault(mount, reader), _password_fault(mount, reader)
            faults += [fault for fault in found if fault is not None]
            if mount.origin.kind == "cgi":
                faults += _program_faults(mount, reader)
    return faults


def _fault(section: Section, key: str, reason: str, fatal: bool = False) -> Fault:
    return Fault(section.positions.get(key, section.where), f"{section.path}.{key}", reason, fatal)


def _identity_faults(settings: GlobalConfig) -> List[Fault]:
    faults = []
    wanted: List[Tuple[str, str, Callable[[str], object]]] = [
        ("username", settings.username, user_entry), ("groupname", settings.groupname, group_id)]
    for key, name, look_up in wanted:
        try:
            if name:
                look_up(name)
        except UnknownIdentity as error:
            faults.append(_fault(settings, key, str(error), fatal=True))
    return faults


# Where vhosts listen.


def _interface_faults(vhost: VhostConfig) -> List[Fault]:
    name = vhost.interface
    if not name or address_family(name) or name in [known for _, known in socket.if_nameindex()]:
        return []
    if address_family(name.strip("[]")):
        hint = f"write the address without brackets, {name.strip('[]')!r}"
    elif name == "localhost" or "." in name:
        hint = 'write the name of an interface such as "lo" or "eth0", or an address such as "127.0.0.1"'
    else:
        hint = "if it is no misspelling, the vhost begins to listen as soon as the interface has an address"
    return [_fault(vhost, "interface", f"there is no network interface {name!r} now: {hint}")]


def _unix_socket_faults(vhost: VhostConfig) -> List[Fault]:
    faults = []
    try:
        socket_owner(vhost.unix_socket_perms)
    except UnknownIdentity as error:
        faults.append(_fault(vhost, "unix-socket-perms", str(error), fatal=True))
    path = vhost.interface
    directory = os.path.dirname(path) or "."
    reason = ""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        reason = f"the path of a unix socket has at most {MAX_SOCKET_PATH} bytes: choose a shorter one"
    elif not os.path.isdir(directory):
        reason = f"there is no directory {directory!r} for the unix socket: create it"
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        reason = f"{path!r} exists and is not a socket; it is left alone: choose another path or remove it"
    if reason:
        faults.append(_fault(vhost, "interface", reason, fatal=True))
    return faults


def missing_passer(config: Config) -> List[Fault]:
    """Vhosts that wait for a socket from systemd on a system that does not run it.  For who only looks: the
    start itself finds out which sockets were passed, by whomever."""
    if os.path.isdir(BOOTED_BY_SYSTEMD):
        return []
    reason = "is for a socket that systemd passes, and this system was not started by systemd"
    return [_fault(vhost, "listen-fd", reason) for vhost in config.vhosts if vhost.listen_fd]


# Files of vhosts.


def _vhost_file_faults(vhost: VhostConfig, reader: Optional[Identity]) -> List[Fault]:
    faults = []
    reason = _log_obstacle(vhost.access_log, reader) if vhost.access_log else ""
    if reason:
        faults.append(_fault(vhost, "access-log", reason, fatal=True))
    document = vhost.error_document_404
    if document and not document.startswith("/"):
        faults.append(_fault(vhost, "error-document-404", f"{document!r} is not a path of this vhost: "
                             'write the path alone, such as "/404.html"'))
    return faults


def _tls_faults(vhost: VhostConfig, settings: GlobalConfig, coming: Collection[str]) -> List[Fault]:
    try:
        # Imported here: a server without TLS needs no OpenSSL.
        from lwsws.server.verify_tls import complaints
    except ImportError as error:
        reason = f"TLS needs Python's ssl module ({error}): on OpenWrt it is the package python3-openssl"
        return [_fault(vhost, "host-ssl-cert" if vhost.host_ssl_cert else "enable-client-ssl", reason, True)]
    return [_fault(vhost, *complaint) for complaint in complaints(vhost, settings, time.time(), coming)]


def _log_obstacle(path: str, user: Optional[Identity]) -> str:
    """Why root cannot write a log at `path` for `user`, or we for ourselves; "" as far as one can see."""
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        return f"there is no directory {directory!r} for the log: create it"
    if path in STREAMS:
        return ""
    if os.path.islink(path):
        return f"{path!r} is a symbolic link, which logs do not follow: name the file that it leads to"
    if os.path.isdir(path):
        return f"{path!r} is a directory: name a file in it"
    if os.path.exists(path) and not os.path.isfile(path):
        return f"{path!r} is no file, but a FIFO, a socket or a device"
    exposed = exposed_directory(path, user) if user is not None and user.uid != 0 else ""
    if exposed:
        return (f"the server's user may change {exposed!r}, and so put another directory in the place of "
                f"{directory!r}, in which root would open the log: let {exposed!r} belong to root")
    return ""


# Files of mounts.


def _origin_fault(mount: MountConfig, reader: Optional[Identity]) -> Optional[Fault]:
    target, where = mount.origin.target, mount.mountpoint
    reason = ""
    if mount.origin.kind == "file":
        if not archive.exists(target):
            reason = f"there is no directory {target!r} now: {where} answers 404 until there is"
        elif not archive.is_directory(target):
            hint = "zip archives are not served" if target.endswith(".zip") else "give the directory it is in"
            reason = f"{target!r} is not a directory, so {where} answers 404: {hint}"
        elif archive.find(target) is None:
            reason = obstacle(target, ENTER, reader)
            reason = reason and f"{reason}: {where} answers 403"
    return _fault(mount, "origin", reason) if reason else None


def _program_faults(mount: MountConfig, reader: Optional[Identity]) -> Iterator[Fault]:
    """Why programs of `mount` cannot be run, as far as one can see."""
    for suffix, interpreter in mount.interpret:
        if not os.access(mount.cgi_chroot + interpreter, os.X_OK):
            reason = f"there is no program {interpreter!r}, which is to run {suffix} files"
            yield _fault(mount, "interpret", reason)
    if mount.cgi_chdir and not os.path.isdir(mount.cgi_chroot + mount.cgi_chdir):
        yield _fault(mount, "cgi-chdir", f"there is no directory {mount.cgi_chdir!r} to start programs in")
    target = mount.cgi_chroot + mount.origin.target
    is_read = not os.path.isdir(target) and not os.access(target, os.X_OK)  # by an interpreter
    reason = _program_obstacle(mount) or obstacle(target, READ if is_read else ENTER, reader)
    if reason:
        yield _fault(mount, "origin", reason)


def _program_obstacle(mount: MountConfig) -> str:
    """The same for the origin alone; "" for a directory."""
    # Imported here: few servers run programs.
    from lwsws.handlers.cgi_program import Scripts
    target = mount.cgi_chroot + mount.origin.target
    if not os.path.exists(target):
        return f"there is no program {target!r} now: {mount.mountpoint} answers 404 until there is"
    script = None if os.path.isdir(target) else Scripts(mount).locate("")
    reason = "" if script is None else Scripts(mount).obstacle(script)
    return f"{target!r} cannot be run: {reason}" if reason else ""


def _protocol_password_faults(vhost: VhostConfig, reader: Optional[Identity]) -> Iterator[Fault]:
    """Password files of the protocols of `vhost` that cannot be used."""
    for entry in vhost.ws_protocols:
        for path in Options(entry.options).all("basic-auth"):
            reason = unreadable(path) or closed_file(path, reader)
            if reason:
                reason += f": nobody can open a WebSocket of {entry.name}"
                yield Fault(entry.where, f"{entry.path}.basic-auth", reason, False)


def _password_fault(mount: MountConfig, reader: Optional[Identity]) -> Optional[Fault]:
    path = mount.basic_auth
    if not path:
        return None
    reason = unreadable(path) or closed_file(path, reader)
    if reason:
        return _fault(mount, "basic-auth", f"{reason}: nobody can log in at {mount.mountpoint}")
    mode = os.stat(path).st_mode
    if mode & WRITE:
        reason = f"everybody on this system can change the passwords in {path!r}: chmod o-rw it"
    elif mode & READ:
        reason = f"everybody on this system can read the passwords in {path!r}: chmod o-r it"
    elif mount.origin.kind == "file" and _is_below(path, mount.origin.target):
        reason = f"{path!r} is inside the directory it protects: move it out"
    return _fault(mount, "basic-auth", reason) if reason else None


def _is_below(path: str, directory: str) -> bool:
    directory = os.path.realpath(directory)
    return os.path.commonpath([os.path.realpath(path), directory]) == directory


# Rights.


def unreadable(path: str) -> str:
    """Why the file at `path` cannot be read by us now; "" if it can."""
    if not os.path.exists(path):
        return f"there is no file {path!r}"
    if not os.path.isfile(path):
        return f"{path!r} is not a file"
    try:
        with open(path, "rb"):
            return ""
    except OSError as error:
        return f"cannot read {path!r}: {error.strerror}"


def closed_file(path: str, reader: Optional[Identity]) -> str:
    """What keeps the server's user from the file at `path`; "" if nothing does, or if the parent process
    reads it for him, as it does where root alone can change the way to it (process/trusted.py)."""
    reason = obstacle(path, READ, reader)
    return "" if reader is not None and _only_root_leads_to(path) else reason


def _only_root_leads_to(path: str) -> bool:
    below = os.path.realpath(path)
    while below != "/":
        info, below = os.lstat(below), os.path.dirname(below)
        above = os.stat(below)
        # In a directory like /tmp nobody can take away the directories of others.
        is_held = above.st_mode & stat.S_ISVTX and stat.S_ISDIR(info.st_mode) and info.st_uid == 0
        if above.st_uid != 0 or (above.st_mode & (stat.S_IWGRP | WRITE) and not is_held):
            return False
    return True


def obstacle(path: str, bits: int, reader: Optional[Identity]) -> str:
    """What keeps the server's user from `path`, for which it needs `bits`; "" if nothing does.

    `reader` is that user, None if it is we.
    """
    way = [os.path.realpath(path)]
    while way[-1] != "/":
        way.append(os.path.dirname(way[-1]))
    for step in reversed(way):
        needed = bits if step == way[0] else ENTER
        if not _may(step, needed, reader):
            who = Identity(os.getuid(), os.getgid(), []) if reader is None else reader
            if needed == READ:
                return f"the server's user {who.uid} may not read {step!r} (chgrp {who.gid} and chmod g+r it)"
            return f"the server's user {who.uid} may not enter {step!r} (chmod o+x it)"
    return ""


def _may(path: str, bits: int, reader: Optional[Identity]) -> bool:
    """Whether `reader` has the rights `bits` on `path`; yes, where that cannot be told."""
    if reader is None:
        return os.access(path, os.R_OK if bits == READ else os.X_OK)
    try:
        info = os.stat(path)
    except OSError:
        return True
    if reader.uid == 0 or _has_acl(path):
        return True
    shift = 6 if info.st_uid == reader.uid else 3 if info.st_gid in (reader.gid, *reader.groups) else 0
    return (info.st_mode >> shift) & bits == bits


def _has_acl(path: str) -> bool:
    try:
        return ACL in os.listxattr(path)
    except OSError:
        return False    # a file system without
