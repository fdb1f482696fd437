"""The sandbox: `"sandbox": "1"` lets the kernel confine who serves to what is configured (LESSONS F2).

    read         docroots, plugin directories, what options of protocols name; certificates, keys and password
                 files with their directories; Python's own library; what the system needs to look up names
    write        directories that protocols keep uploads in, those of `sandbox-write`; with programs or
                 applications the one for temporary files; without a parent those of access logs as well
    execute      nothing, or with cgi mounts their programs and all of the system's, as most are scripts; for
                 certificates by ACME openssl
    bind         no TCP port, for the parent does that; without one those of the configuration
    signals      to nobody outside

A directory directly below "/" is too much to allow for the sake of one file in it: then it is just that file,
and the parent reads another one that takes its name.  Whoever takes over a process is confined the same.
"""

from __future__ import annotations

import os
import sys
from typing import Dict, Iterator, Tuple

from lwsws import archive, log
from lwsws.config.model import Config, MountConfig, VhostConfig
from lwsws.core.accesslog import STREAMS
from lwsws.core.options import Options
from lwsws.process.landlock import (
    EXECUTE,
    MAKE_DIR,
    MAKE_FIFO,
    MAKE_REG,
    MAKE_SOCK,
    MAKE_SYM,
    PORTS_SINCE,
    READ_DIR,
    READ_FILE,
    REFER,
    REMOVE_DIR,
    REMOVE_FILE,
    TRUNCATE,
    WRITE_FILE,
    Rules,
    landlock,
    restrict,
    version,
)
from lwsws.server.acme import ACME_CLIENT, openssl_tool
from lwsws.server.endpoints import endpoints_of
from lwsws.server.plugins import plugin_directories

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
# Log files are only appended to, and made.
APPEND = WRITE_FILE | MAKE_REG
KEEP = READ | WRITE_FILE | MAKE_REG | REMOVE_FILE | TRUNCATE
OWN = KEEP | MAKE_DIR | REMOVE_DIR | MAKE_SYM | MAKE_SOCK | MAKE_FIFO | REFER

# The option of a protocol that names a directory to write to.
UPLOADS = "upload-dir"
# Who writes to the directory for temporary files where it has no such option.
TEMPORARY = "protocol-post-demo"

Allowed = Iterator[Tuple[str, int]]

SYSTEM: Dict[str, int] = {
    # Libraries that are loaded late, such as those that look up names, and Python modules of the system.
    "/lib": READ, "/lib64": READ, "/usr/lib": READ, "/usr/lib64": READ, "/usr/local/lib": READ,
    "/etc/ld.so.cache": READ,
    # Looking up names.
    "/etc/resolv.conf": READ, "/etc/hosts": READ, "/etc/host.conf": READ, "/etc/nsswitch.conf": READ,
    "/etc/gai.conf": READ, "/etc/services": READ, "/etc/protocols": READ, "/etc/passwd": READ,
    "/etc/group": READ, "/run/systemd/resolve": READ, "/run/NetworkManager": READ, "/run/resolvconf": READ,
    # Time zones.
    "/etc/localtime": READ, "/etc/timezone": READ, "/usr/share/zoneinfo": READ,
    # Whom OpenSSL trusts, and how it is set up.
    "/etc/ssl": READ, "/etc/pki": READ, "/etc/ca-certificates": READ, "/usr/share/ca-certificates": READ,
    "/usr/local/share/ca-certificates": READ,
    # About ourselves: memory, descriptors, addresses of interfaces.
    "/proc/self": READ,
    "/dev/null": READ | WRITE_FILE, "/dev/urandom": READ, "/dev/random": READ, "/dev/zero": READ,
}

# Where the loader is that starts programs, and their libraries.
LOADERS = ("/lib", "/lib64")
# Interpreters and what they load.
PROGRAMS = ("/bin", "/usr", "/lib", "/lib64")


def confine(config: Config, default_plugins: str = "", has_parent: bool = False) -> None:
    """Confine this process to what `config` names; where the kernel cannot do that, one line says so.

    For who has given up root, which sets no_new_privs, and has no thread yet.  `default_plugins` is a further
    plugin directory; `has_parent`: sockets and logs are opened by it.
    """
    try:
        call = landlock()
        number = version(call)
        closed = restrict(call, number, rules(config, default_plugins, has_parent))
    except (OSError, ImportError) as error:
        log.warn(f"no sandbox: this system has no Landlock for us ({error}): serving without it")
        return
    for path in closed.keys() - SYSTEM.keys():
        log.debug(f"sandbox: not for us to open: {path}: {closed[path].strerror}")
    if number < PORTS_SINCE:
        log.info(f"the kernel's Landlock is of version {number}, which leaves TCP ports alone")
    log.info(f"confined to the files of the configuration by Landlock, version {number}")


def rules(config: Config, default_plugins: str = "", has_parent: bool = False) -> Rules:
    """What a process that serves `config` needs; arguments as for confine()."""
    paths = dict(SYSTEM)
    for path, access in _all_paths(config, default_plugins, has_parent):
        path = os.path.abspath(path)
        paths[path] = paths.get(path, 0) | access
    ports = set()
    if not has_parent:
        ports = {endpoint.port for vhost in config.vhosts
                 for endpoint in endpoints_of(vhost) if endpoint.port}
    return Rules(paths, tuple(sorted(ports)))


def _all_paths(config: Config, default_plugins: str, has_parent: bool) -> Allowed:
    for directory, _, _ in plugin_directories(config, default_plugins):
        yield directory, READ
    for path in _library():
        yield path, READ
    for path in config.globals.sandbox_read:
        yield path, READ
    for path in config.globals.sandbox_write:
        yield path, OWN
    for vhost in config.vhosts:
        for file in _tls_files(vhost):
            yield from _with_directory(file)
        if not has_parent:
            yield from _own_files(vhost)
        yield from _protocols(vhost)
        for mount in vhost.mounts:
            yield from _mount(mount)


def _library() -> Iterator[str]:
    """Where Python's modules are, and ours."""
    yield os.path.join(sys.base_prefix, "lib")
    yield from (path for path in map(os.path.abspath, sys.path) if path != "/")
    running = archive.running()
    if running is not None:
        yield running.path


def _tls_files(vhost: VhostConfig) -> Iterator[str]:
    files = (vhost.host_ssl_cert, vhost.host_ssl_key, vhost.host_ssl_ca,
             vhost.client_ssl_cert, vhost.client_ssl_key, vhost.client_ssl_ca)
    yield from filter(None, files)


def _own_files(vhost: VhostConfig) -> Allowed:
    """What a process without a parent writes itself: logs; and the end of its socket files."""
    if vhost.access_log and vhost.access_log not in STREAMS:
        yield os.path.dirname(vhost.access_log), APPEND
    for endpoint in endpoints_of(vhost):
        if endpoint.has_file:
            yield os.path.dirname(endpoint.path), REMOVE_FILE


def _protocols(vhost: VhostConfig) -> Allowed:
    for entry in vhost.ws_protocols:
        options = Options(entry.options)
        for name, value in entry.options:
            if name == "basic-auth":
                yield from _with_directory(value)
            elif name == UPLOADS:
                yield value, KEEP
            elif value.startswith("/") and value.count("/") > 1:    # a short one is rather part of a URL
                yield value, READ
        if entry.name == ACME_CLIENT:
            yield from _openssl(options.get("dns-hook"))
        if entry.name == TEMPORARY and not options.get(UPLOADS):
            yield os.environ.get("TMPDIR") or "/tmp", KEEP


def _openssl(hook: str) -> Allowed:
    """What certificates by ACME need: the openssl program, with what loads its libraries, and a hook."""
    tool = openssl_tool()
    if tool:
        yield tool, RUN
    for path in LOADERS:
        yield path, RUN
    if hook:
        yield hook, RUN
        for path in PROGRAMS:
            yield path, RUN


def _mount(mount: MountConfig) -> Allowed:
    if mount.basic_auth:
        yield from _with_directory(mount.basic_auth)
    if mount.origin.kind == "file":
        yield mount.origin.target, READ
    elif mount.origin.kind == "cgi":
        yield from _program(mount)
    elif mount.origin.kind == "callback" and mount.origin.target == "wsgi":
        yield from _application(mount)


def _program(mount: MountConfig) -> Allowed:
    """What the programs of a mount need: themselves, the system's, and where request bodies may wait."""
    if mount.cgi_chroot:
        yield mount.cgi_chroot, RUN
    yield mount.cgi_chroot + mount.origin.target, RUN
    for path in PROGRAMS:
        yield path, RUN
    if mount.cgi_chdir:
        yield mount.cgi_chroot + mount.cgi_chdir, READ
    for _, value in mount.cgi_env:
        if value.startswith("/") and value.count("/") > 1:
            yield value, READ
    yield os.environ.get("TMPDIR") or "/tmp", KEEP
    yield "/tmp", KEEP      # programs are not told of TMPDIR


def _application(mount: MountConfig) -> Allowed:
    """What a Python application needs: its modules, its directory, and where uploads may wait."""
    options = Options(mount.pmo)
    for path in options.all("path"):
        yield path, READ
    for path in options.all("chdir"):
        yield path, OWN
    yield os.environ.get("TMPDIR") or "/tmp", KEEP


def _with_directory(file: str) -> Allowed:
    """A file that may be replaced while we run, also behind a link (as certbot does it)."""
    file = os.path.abspath(file)
    for path in (file, os.path.realpath(file)):
        yield path, READ
        directory = os.path.dirname(path)
        if directory.count("/") > 1:
            yield directory, READ
