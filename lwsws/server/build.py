"""From a configuration to vhosts that can answer: handlers, routes, headers, logs, vhost sets.

Nothing here listens or serves.  A vhost or mount whose feature this version does not have yet is
left out (vhosts: they would serve in the clear what was meant for TLS) or answers 501 (mounts), and
the site's `warnings` say so, with file and line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from lwsws.config.crosscheck import pending
from lwsws.config.model import Config, GlobalConfig, MountConfig, VhostConfig
from lwsws.core.accesslog import AccessLog
from lwsws.core.answers import Answers
from lwsws.core.context import Limits
from lwsws.core.handler import Handler
from lwsws.core.routing import Routes
from lwsws.core.vhost import STS_FIELD, Fields, HeaderSet, MountPoint, Vhost, VhostSet
from lwsws.handlers.file import FileHandler
from lwsws.handlers.redirect import RedirectHandler
from lwsws.handlers.unavailable import UnavailableHandler
from lwsws.net.reactor import Reactor
from lwsws.server.endpoints import Endpoint, share

if TYPE_CHECKING:
    from lwsws.handlers.passwordfile import PasswordFile


class Listening(NamedTuple):
    """One endpoint and what is served there."""

    endpoint: Endpoint
    vhosts: VhostSet
    configs: Tuple[VhostConfig, ...]


class Site(NamedTuple):
    """All that one configuration serves."""

    listening: Tuple[Listening, ...]
    access_logs: Tuple[AccessLog, ...]
    password_files: Tuple[PasswordFile, ...]
    warnings: Tuple[str, ...]


def build(config: Config, reactor: Reactor) -> Site:
    """Make everything that `config` asks for; OSError if an access log cannot be opened."""
    served = tuple(vhost for vhost in config.vhosts if not unserved(vhost))
    shared = Shared(reactor)
    # By identity: the records are not hashable.
    vhosts = {id(vhost): build_vhost(vhost, config.globals, shared) for vhost in served}
    listening = []
    for endpoint, sharing in share(served):
        vhost_set = VhostSet([vhosts[id(vhost)] for vhost in sharing], Answers(reactor))
        listening.append(Listening(endpoint, vhost_set, tuple(sharing)))
    return Site(tuple(listening), tuple(shared.access_logs.values()), tuple(shared.password_files.values()),
                tuple(_warnings(config, served)))


def unserved(vhost: VhostConfig) -> str:
    """Why this version cannot listen for `vhost` at all; "" if it can."""
    if vhost.host_ssl_cert or vhost.host_ssl_key:
        return "TLS is not served by this version"
    if vhost.apply_listen_accept:
        return "raw protocols are not served by this version"
    return ""


def _warnings(config: Config, served: Tuple[VhostConfig, ...]) -> Iterator[str]:
    """What the configuration asks for and this version does not do, with file and line."""
    for vhost in config.vhosts:
        if vhost not in served:
            yield f"{vhost.where}: {vhost.path}: not listening for {vhost.name}: {unserved(vhost)}"
    for fault in pending(config._replace(vhosts=served)):
        yield str(fault)
    for vhost in served:
        for protocol in vhost.ws_protocols:
            yield f"{protocol.where}: {protocol.path}: the protocol {protocol.name!r} is not offered"


class Shared:
    """What several vhosts and mounts use together: one access log a file, one password file a path."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.access_logs: Dict[str, AccessLog] = {}
        self.password_files: Dict[str, PasswordFile] = {}

    def access_log(self, path: str) -> Optional[AccessLog]:
        """The log at `path`, opened once; None for no path."""
        if path and path not in self.access_logs:
            self.access_logs[path] = AccessLog(path, self.reactor)
        return self.access_logs.get(path)

    def protect(self, path: str, inner: Handler) -> Handler:
        """`inner` behind the password file at `path`."""
        # Imported here: hashing is loaded only by a configuration that uses it.
        from lwsws.handlers.basicauth import BasicAuthHandler, PasswordFile
        if path not in self.password_files:
            self.password_files[path] = PasswordFile(path, self.reactor.clock)
        return BasicAuthHandler(self.password_files[path], inner)


def build_limits(settings: GlobalConfig) -> Limits:
    """What roles obey of the `global` settings."""
    return Limits(settings.timeout_secs, settings.send_timeout, settings.max_head_bytes,
                  settings.reject_service_keywords)


def build_vhost(vhost: VhostConfig, settings: GlobalConfig, shared: Shared) -> Vhost:
    """One vhost with its mounts."""
    server = [("Server", settings.server_string)] if settings.server_string else []
    sts = [STS_FIELD] if vhost.sts else []
    common = (server, sts, vhost.headers)
    mounts = [build_mount(mount, vhost, common, shared) for mount in vhost.mounts]
    return Vhost(vhost.name, Routes(mounts), HeaderSet(*common), vhost.keepalive_timeout, vhost.max_body,
                 shared.access_log(vhost.access_log), vhost.error_document_404, vhost.strict_host_check)


def build_mount(mount: MountConfig, vhost: VhostConfig, common: Sequence[Fields],
                shared: Shared) -> MountPoint:
    """One mount of `vhost`; `common` are the groups of header fields of the vhost."""
    keepalive = vhost.keepalive_timeout if mount.keepalive_timeout is None else mount.keepalive_timeout
    max_body = vhost.max_body if mount.max_body is None else mount.max_body
    prefix = "" if mount.mountpoint == "/" else mount.mountpoint
    headers = HeaderSet(*common, mount.headers)
    return MountPoint(prefix, build_handler(mount, shared), headers, keepalive, max_body, mount.exact_match,
                      mount.origin.text)


def build_handler(mount: MountConfig, shared: Shared) -> Handler:
    """What answers for `mount`, behind its password file if it has one."""
    handler: Handler
    if mount.origin.kind == "file":
        handler = FileHandler(mount)
    elif mount.origin.kind == "redirect":
        handler = RedirectHandler(mount)
    else:
        handler = UnavailableHandler(mount.origin.kind)
    return shared.protect(mount.basic_auth, handler) if mount.basic_auth else handler
