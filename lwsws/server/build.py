"""From a configuration to vhosts that can answer: handlers, routes, headers, logs, certificates, protocols.

Nothing here listens or serves.  A mount whose feature this version does not have yet answers 501, a vhost
for raw connections without a protocol for them is left out, and the site's `warnings` say so, with file
and line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from lwsws.config.crosscheck import pending
from lwsws.config.model import Config, Fault, GlobalConfig, MountConfig, VhostConfig
from lwsws.core.accesslog import AccessLog
from lwsws.core.answers import Answers, Room
from lwsws.core.context import Limits
from lwsws.core.handler import Handler
from lwsws.core.routing import Routes
from lwsws.core.vhost import STS_FIELD, Fields, HeaderSet, MountPoint, Vhost
from lwsws.handlers.file import FileHandler
from lwsws.handlers.redirect import RedirectHandler
from lwsws.handlers.unavailable import UnavailableHandler
from lwsws.net.reactor import Reactor
from lwsws.server.endpoints import Endpoint, share
from lwsws.server.gates import Reception, Served, receive
from lwsws.server.plugins import VhostProtocols, make_protocols, raw_factory

if TYPE_CHECKING:
    from lwsws.handlers.passwordfile import PasswordFile
    from lwsws.net.tls import ServerTls


class BuildError(Exception):
    """The configuration cannot be served; the message says where and why."""


class Listening(NamedTuple):
    """One endpoint, the vhosts that share it, and what its connections become."""

    endpoint: Endpoint
    configs: Tuple[VhostConfig, ...]
    vhosts: Tuple[Vhost, ...]
    reception: Reception


class Site(NamedTuple):
    """All that one configuration serves.

    `left_out` are the vhosts that it does not serve, and why; `warnings` say what is asked for and not had.
    """

    listening: Tuple[Listening, ...]
    access_logs: Tuple[AccessLog, ...]
    password_files: Tuple[PasswordFile, ...]
    protocols: Tuple[VhostProtocols, ...]
    left_out: Tuple[Tuple[VhostConfig, str], ...]
    warnings: Tuple[str, ...]

    @property
    def faults(self) -> List[Fault]:
        """What is wrong with the options and names of its protocols."""
        return [fault for offered in self.protocols for fault in offered.faults]

    @property
    def certified(self) -> List[ServerTls]:
        """The TLS sides of its vhosts."""
        vhosts = dict.fromkeys(vhost for listening in self.listening for vhost in listening.vhosts)
        return [vhost.tls for vhost in vhosts if vhost.tls is not None]


def build(config: Config, reactor: Reactor) -> Site:
    """Make everything that `config` asks for.

    OSError if an access log cannot be opened, BuildError if a certificate cannot be used.
    """
    shared, room = Shared(reactor), Room()
    # By identity: the records are not hashable.
    served: Dict[int, Served] = {}
    left_out: List[Tuple[VhostConfig, str]] = []
    protocols = [make_protocols(vhost) for vhost in config.vhosts]
    for vhost, offered in zip(config.vhosts, protocols):
        raw = raw_factory(offered)
        if vhost.apply_listen_accept and raw is None:
            left_out.append((vhost, "there is no protocol for its raw connections"))
            continue
        built = build_vhost(vhost, config.globals, shared)
        in_the_clear = built
        if vhost.sts and vhost.is_in_the_clear_too:
            # RFC 6797 7.2: no Strict-Transport-Security over plain http.
            in_the_clear = build_vhost(vhost._replace(sts=False, host_ssl_cert=""), config.globals, shared)
        served[id(vhost)] = Served(vhost, built, in_the_clear, raw)
    listening = []
    for endpoint, sharing in share(config.vhosts):
        here = [served[id(vhost)] for vhost in sharing if id(vhost) in served]
        if not here or (sharing[0].takes_all_raw and here[0].config is not sharing[0]):
            continue    # the whole address is meant for a protocol that there is not
        reception = receive(here, sharing[0], lambda: Answers(reactor, room))
        configs, vhosts = zip(*[(one.config, one.vhost) for one in here])
        listening.append(Listening(endpoint, configs, vhosts, reception))
    return Site(tuple(listening), tuple(shared.access_logs.values()), tuple(shared.password_files.values()),
                tuple(protocols), tuple(left_out), tuple(_warnings(config, protocols, left_out)))


def _warnings(config: Config, protocols: Sequence[VhostProtocols],
              left_out: Sequence[Tuple[VhostConfig, str]]) -> Iterator[str]:
    """What the configuration asks for and does not get, with file and line."""
    for offered in protocols:
        yield from map(str, offered.remarks)
    for vhost, reason in left_out:
        yield f"{vhost.where}: {vhost.path}: not listening for {vhost.name}: {reason}"
    yield from map(str, pending(config))


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
    built = Vhost(vhost.name, Routes(mounts), HeaderSet(*common), vhost.keepalive_timeout, vhost.max_body,
                  shared.access_log(vhost.access_log), vhost.error_document_404, vhost.strict_host_check)
    # What a raw vhost has in mounts is no site to be reached by another one's name.
    built.allow_sni_mismatch = vhost.allow_sni_mismatch and not vhost.apply_listen_accept
    if vhost.host_ssl_cert:
        built.tls = build_tls(vhost, settings)
    return built


def build_tls(vhost: VhostConfig, settings: GlobalConfig) -> ServerTls:
    """The TLS side of `vhost`; BuildError if its files are of no use."""
    # Imported here: a server without TLS need not load ssl.
    from lwsws.net.tls_files import TlsError
    from lwsws.server.certificates import load_tls
    try:
        return load_tls(vhost, settings)
    except TlsError as error:
        raise BuildError(f"{vhost.where}: {vhost.path}: {error}") from None


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
