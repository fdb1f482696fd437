"""From a configuration to vhosts that can answer: handlers, routes, headers, logs, vhost sets.

Nothing here listens or serves.  A vhost or mount whose feature this version does not have yet is
left out (vhosts: they would serve in the clear what was meant for TLS) or answers 501 (mounts), and
`build` says so in `warnings`, with file and line.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence, Tuple

from lwsws.config.model import Config, GlobalConfig, MountConfig, VhostConfig
from lwsws.core.accesslog import AccessLog
from lwsws.core.answers import Answers
from lwsws.core.handler import Handler
from lwsws.core.routing import Routes
from lwsws.core.vhost import STS_FIELD, HeaderSet, MountPoint, Vhost, VhostSet
from lwsws.handlers.file import FileHandler
from lwsws.handlers.redirect import RedirectHandler
from lwsws.handlers.unavailable import UnavailableHandler
from lwsws.net.reactor import Reactor
from lwsws.server.endpoints import Endpoint, share

# What handlers answer their kind of origin in this version.
SERVED_KINDS = ("file", "redirect")


class Listening(NamedTuple):
    """One endpoint and what is served there."""

    endpoint: Endpoint
    vhosts: VhostSet
    configs: Tuple[VhostConfig, ...]


class Site(NamedTuple):
    """All that one configuration serves."""

    listening: Tuple[Listening, ...]
    access_logs: Tuple[AccessLog, ...]
    warnings: Tuple[str, ...]


def build(config: Config, reactor: Reactor) -> Site:
    """Make everything that `config` asks for; OSError if an access log cannot be opened."""
    served = [vhost for vhost in config.vhosts if not unserved(vhost)]
    warnings = [f"{vhost.where}: {vhost.path}: not listening for {vhost.name}: {unserved(vhost)}"
                for vhost in config.vhosts if unserved(vhost)]
    logs: Dict[str, AccessLog] = {}
    vhosts: Dict[int, Vhost] = {}      # by identity of the record, which is not hashable
    for vhost in served:
        warnings.extend(_vhost_warnings(vhost))
        vhosts[id(vhost)] = build_vhost(vhost, config.globals, logs, reactor)
    listening = [Listening(endpoint, VhostSet([vhosts[id(vhost)] for vhost in sharing], Answers(reactor)), tuple(sharing))
                 for endpoint, sharing in share(served)]
    return Site(tuple(listening), tuple(logs.values()), tuple(warnings))


def unserved(vhost: VhostConfig) -> str:
    """Why this version cannot listen for `vhost` at all; "" if it can."""
    if vhost.host_ssl_cert or vhost.host_ssl_key:
        return "TLS is not served by this version"
    if vhost.apply_listen_accept:
        return "raw protocols are not served by this version"
    return ""


def _vhost_warnings(vhost: VhostConfig) -> List[str]:
    found = [f"{protocol.where}: {protocol.path}: protocol {protocol.name!r} of {vhost.name} is not offered: "
             "WebSocket protocols are not served by this version" for protocol in vhost.ws_protocols]
    if vhost.fallback_listen_accept:
        found.append(f"{vhost.where}: {vhost.path}: fallback-listen-accept has no effect: "
                     "raw protocols are not served by this version")
    for mount in vhost.mounts:
        if mount.origin.kind not in SERVED_KINDS:
            found.append(f"{mount.where}: {mount.path}: {mount.mountpoint} answers 501: "
                         f"{mount.origin.kind} origins are not served by this version")
    return found


def build_vhost(vhost: VhostConfig, settings: GlobalConfig, logs: Dict[str, AccessLog], reactor: Reactor) -> Vhost:
    """One vhost with its mounts; `logs` holds the access logs opened so far, by path."""
    if vhost.access_log and vhost.access_log not in logs:
        logs[vhost.access_log] = AccessLog(vhost.access_log, reactor)
    server = [("Server", settings.server_string)] if settings.server_string else []
    sts = [STS_FIELD] if vhost.sts else []
    common = (server, sts, vhost.headers)
    mounts = [build_mount(mount, vhost, common) for mount in vhost.mounts]
    return Vhost(vhost.name, Routes(mounts), HeaderSet(*common), vhost.keepalive_timeout, vhost.max_body,
                 logs.get(vhost.access_log), vhost.error_document_404, vhost.strict_host_check)


def build_mount(mount: MountConfig, vhost: VhostConfig, common: Sequence[Sequence[Tuple[str, str]]]) -> MountPoint:
    """One mount of `vhost`; `common` are the groups of header fields of the vhost."""
    keepalive = vhost.keepalive_timeout if mount.keepalive_timeout is None else mount.keepalive_timeout
    max_body = vhost.max_body if mount.max_body is None else mount.max_body
    prefix = "" if mount.mountpoint == "/" else mount.mountpoint
    return MountPoint(prefix, build_handler(mount), HeaderSet(*common, mount.headers), keepalive, max_body,
                      mount.exact_match, mount.origin.text)


def build_handler(mount: MountConfig) -> Handler:
    """What answers for `mount`, behind its password file if it has one."""
    handler: Handler
    if mount.origin.kind == "file":
        handler = FileHandler(mount)
    elif mount.origin.kind == "redirect":
        handler = RedirectHandler(mount)
    else:
        handler = UnavailableHandler(mount.origin.kind)
    if mount.basic_auth:
        # Imported here: hashing is loaded only by a configuration that uses it.
        from lwsws.handlers.basicauth import BasicAuthHandler, PasswordFile
        handler = BasicAuthHandler(PasswordFile(mount.basic_auth), handler)
    return handler
