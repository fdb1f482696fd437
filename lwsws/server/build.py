"""From a configuration to vhosts that can answer: handlers, routes, headers, logs, certificates, protocols.

    prepare   all that needs the privileges of the start: logs, keys, password files; no plugin runs
    furnish   protocols, and so what the connections of each address become; after root was given up

Nothing here listens or serves; what answers for a mount is made in mounts.py.  A vhost for raw connections
without a protocol for them is left out, and the site's `warnings` say so, with file and line.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from lwsws.config.crosscheck import pending
from lwsws.config.model import Config, Fault, GlobalConfig, ProtocolConfig, VhostConfig
from lwsws.config.values import says_yes
from lwsws.core.accesslog import STREAMS, AccessLog
from lwsws.core.answers import Answers, Room
from lwsws.core.context import Limits
from lwsws.core.handler import Handler
from lwsws.core.options import Options
from lwsws.core.protocol import Protocol
from lwsws.core.routing import Routes
from lwsws.core.session import ProtocolVhost, Server
from lwsws.core.vhost import STS_FIELD, HeaderSet, MountPoint, Vhost
from lwsws.net.keeper import LOG, READ, FileKeeper, Keeper, OwnKeeper
from lwsws.net.listening import Endpoint
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from lwsws.server.acme import (
    find_certificates,
    has_certificates,
    open_certificates,
    put_in_place_of_unsound,
    with_challenge_port,
)
from lwsws.server.endpoints import share
from lwsws.server.gates import Reception, Served, receive
from lwsws.server.mounts import build_mount
from lwsws.server.plugin_server import PluginServer
from lwsws.server.plugins import BUNDLED, Plugins, plugin_directories
from lwsws.server.protocols import VhostProtocols, make_protocols, raw_factory

if TYPE_CHECKING:
    from ssl import SSLContext

    from lwsws.acme.board import Board
    from lwsws.acme.store import Store
    from lwsws.handlers.passwordfile import PasswordFile
    from lwsws.handlers.websocket import Offer, WebSocketHandler
    from lwsws.net.pool import Pool
    from lwsws.net.tls import ServerTls


# What plugins import, and what that imports when it is used.
FOR_PLUGINS = ("lwsws.plugin", "lwsws.wire.form_multipart", "lwsws.wire.form_urlencoded",
               "lwsws.wire.parameters")

# What certificates by ACME need, when they come.
FOR_ACME = ("lwsws.acme.certifier", "lwsws.net.tls_client", "subprocess", "signal", "resource")

# What mounts of some kinds import when their first request comes.
FOR_ORIGINS = {"cgi": ("lwsws.handlers.cgi", "subprocess", "signal", "tempfile", "resource"),
               "proxy": ("lwsws.handlers.proxy", "lwsws.roles.relay", "zlib")}


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

    listening: Tuple[Listening, ...] = ()
    access_logs: Tuple[AccessLog, ...] = ()
    password_files: Tuple[PasswordFile, ...] = ()
    protocols: Tuple[VhostProtocols, ...] = ()
    left_out: Tuple[Tuple[VhostConfig, str], ...] = ()
    warnings: Tuple[str, ...] = ()
    plugins: Plugins = Plugins()

    @property
    def faults(self) -> List[Fault]:
        """What is wrong with its plugins, and with the options and names of its protocols."""
        faults = list(self.plugins.faults)
        for offered in self.protocols:
            faults += offered.faults
        return faults


class Prepared(NamedTuple):
    """A configuration with all that is made of it before its protocols: `built` has each vhost as it is, and
    as plain http on its TLS port meets it.  `stores` are the files of certificates that come by ACME, and
    `optional` the vhosts that were added for these, which may do without their port."""

    config: Config
    built: Tuple[Tuple[Vhost, Vhost], ...]
    shared: Shared
    stores: Tuple[Store, ...] = ()
    optional: Tuple[VhostConfig, ...] = ()

    @property
    def endpoints(self) -> List[Tuple[Endpoint, Tuple[VhostConfig, ...]]]:
        """The addresses to listen on, and the vhosts that share each."""
        return [(endpoint, tuple(sharing)) for endpoint, sharing in share(self.config.vhosts)]

    @property
    def certified(self) -> List[ServerTls]:
        """The TLS sides of its vhosts."""
        return [vhost.tls for vhost, _ in self.built if vhost.tls is not None]


def prepare(config: Config, reactor: Reactor, default_plugins: str = "",
            keeper: Optional[Keeper] = None, serves: bool = True) -> Prepared:
    """Make everything that `config` asks for, but its protocols; `default_plugins` is a further plugin
    directory.  `keeper` opens the files, also later.  Unless it `serves`, no mount runs a program or asks
    another server.

    OSError if an access log cannot be opened, BuildError if a certificate cannot be used.
    """
    preload(config, default_plugins)
    shared = Shared(reactor, keeper, serves)
    stores: List[Store] = []
    optional: Tuple[VhostConfig, ...] = ()
    if has_certificates(config):
        asked = find_certificates(config)
        config, optional = with_challenge_port(config, asked)
        if serves:
            # First: what waits for this start is what is to be loaded.
            now = time.time()
            stores = open_certificates(asked, shared.keeper, now)
            put_in_place_of_unsound(config, shared.keeper, now)
            shared.show_challenges(stores)
    built = []
    for vhost in config.vhosts:
        ordinary = in_the_clear = build_vhost(vhost, config.globals, shared)
        if vhost.sts and vhost.is_in_the_clear_too:
            # RFC 6797 7.2: no Strict-Transport-Security over plain http.
            in_the_clear = build_vhost(vhost._replace(sts=False, host_ssl_cert=""), config.globals, shared)
            in_the_clear.counts = ordinary.counts
        built.append((ordinary, in_the_clear))
    return Prepared(config, tuple(built), shared, tuple(stores), optional)


def preload(config: Config, default_plugins: str = "") -> None:
    """Import what furnish() and the first connections will need: who serves may not be allowed to read it."""
    modules = []
    for vhost in config.vhosts:
        modules += [BUNDLED[entry.name][0] for entry in vhost.ws_protocols if entry.name in BUNDLED]
        if vhost.ws_protocols:
            modules += ["binascii", "hashlib"]  # for the handshake
            modules += FOR_PLUGINS
        if vhost.apply_listen_accept or vhost.fallback_listen_accept:
            modules += ["lwsws.roles.raw", "lwsws.builtin.raw_proxy", "lwsws.builtin.raw_test"]
        for mount in vhost.mounts:
            modules += FOR_ORIGINS.get(mount.origin.kind, ())
        if vhost.host_ssl_cert or vhost.has_fallback:
            modules.append("lwsws.roles.sniff")
        if vhost.proxy_protocol_from:
            modules += ["ipaddress", "lwsws.roles.proxy_header"]
    if has_certificates(config):
        modules += FOR_ACME
    if plugin_directories(config, default_plugins):
        modules += FOR_PLUGINS
    for module in modules:
        import_module(module)


def build(config: Config, reactor: Reactor) -> Site:
    """Both steps at once, without plugin directories, for who lends the site connections."""
    return look(prepare(config, reactor), Plugins())


def look(prepared: Prepared, plugins: Plugins) -> Site:
    """The site for who only looks at it: `plugins` are not initialised, the bundled ones are."""
    reactor = prepared.shared.reactor
    server = PluginServer(reactor, Workers(reactor, 1), lambda hide_vhosts: {})
    return furnish(prepared, plugins, server, foreign=False)


def furnish(prepared: Prepared, plugins: Plugins, server: Server, foreign: bool = True) -> Site:
    """Make the protocols, and decide what the connections of each address become.  `foreign` as for
    make_protocols()."""
    config, shared = prepared.config, prepared.shared
    protocols = [make_protocols(vhost, plugins, server, foreign) for vhost in config.vhosts]
    room = Room()
    # By identity: the records are not hashable.
    served: Dict[int, Served] = {}
    left_out: List[Tuple[VhostConfig, str]] = []
    for vhost, offered, (ordinary, in_the_clear) in zip(config.vhosts, protocols, prepared.built):
        shared.offer(vhost, offered)
        raw = raw_factory(offered)
        if vhost.apply_listen_accept and raw is None:
            left_out.append((vhost, "there is no protocol for its raw connections"))
            continue
        served[id(vhost)] = Served(vhost, ordinary, in_the_clear, raw)
    listening = []
    for endpoint, sharing in prepared.endpoints:
        here = [served[id(vhost)] for vhost in sharing if id(vhost) in served]
        if not here or (sharing[0].takes_all_raw and here[0].config is not sharing[0]):
            continue    # the whole address is meant for a protocol that there is not
        challenged = None if shared.board is None else shared.board.context
        reception = receive(here, sharing[0], lambda: Answers(shared.reactor, room), challenged)
        configs, vhosts = zip(*[(one.config, one.vhost) for one in here])
        listening.append(Listening(endpoint, configs, vhosts, reception))
    return Site(tuple(listening), tuple(shared.access_logs.values()), tuple(shared.password_files.values()),
                tuple(protocols), tuple(left_out), tuple(_warnings(config, protocols, left_out)), plugins)


def _warnings(config: Config, protocols: Sequence[VhostProtocols],
              left_out: Sequence[Tuple[VhostConfig, str]]) -> Iterator[str]:
    """What the configuration asks for and does not get, with file and line."""
    for offered in protocols:
        yield from map(str, offered.remarks)
    for vhost, reason in left_out:
        yield f"{vhost.where}: {vhost.path}: not listening for {vhost.name}: {reason}"
    yield from map(str, pending(config))


class Shared:
    """What several vhosts and mounts use together: one access log a file, one password file a path, and the
    protocols of each vhost, which come later."""

    def __init__(self, reactor: Reactor, keeper: Optional[Keeper] = None, serves: bool = True) -> None:
        self.reactor = reactor
        self.serves = serves
        self.keeper: Keeper = keeper or OwnKeeper()
        # Who reads certificates: those that have come by ACME before those in whose place they will be.
        self.files: FileKeeper = self.keeper
        self.access_logs: Dict[str, AccessLog] = {}
        self.password_files: Dict[str, PasswordFile] = {}
        self.pools: List[Pool] = []     # of all proxy mounts
        self.board: Optional[Board] = None      # of challenges by ACME
        self._client_tls: Dict[str, SSLContext] = {}
        self._protocols: Dict[str, Dict[str, Protocol]] = {}
        self._websockets: Dict[str, WebSocketHandler] = {}

    def show_challenges(self, stores: Sequence[Store]) -> None:
        """From now on each vhost that is built answers the challenges of `stores`."""
        from lwsws.acme.board import Board
        from lwsws.acme.pending import PendingFiles
        self.board = Board(stores)
        self.files = PendingFiles(self.keeper, stores)

    def access_log(self, path: str) -> Optional[AccessLog]:
        """The log at `path`, opened once; None for no path."""
        if path and path not in self.access_logs:
            self.access_logs[path] = AccessLog(path, self.reactor, opener=self.keeper.open_log)
            if path not in STREAMS:
                self.keeper.allow(LOG, path)
        return self.access_logs.get(path)

    def password_file(self, path: str) -> PasswordFile:
        """The password file at `path`."""
        # Imported here: hashing is loaded only by a configuration that uses it.
        from lwsws.handlers.basicauth import PasswordFile
        if path not in self.password_files:
            self.keeper.allow(READ, path)
            self.password_files[path] = PasswordFile(path, self.reactor.clock, self.keeper.read)
        return self.password_files[path]

    def client_tls(self, vhost: VhostConfig) -> SSLContext:
        """How `vhost` speaks TLS to others; BuildError if its files are of no use."""
        place = place_of(vhost)
        if place not in self._client_tls:
            # Imported here: a server without TLS need not load ssl.
            from lwsws.net.tls import client_context
            from lwsws.net.tls_files import PemFiles, TlsError
            from lwsws.server.tls_settings import client_settings
            try:
                self._client_tls[place] = client_context(client_settings(vhost), PemFiles(self.keeper.read))
            except TlsError as error:
                raise BuildError(f"{vhost.where}: {vhost.path}: {error}") from None
        return self._client_tls[place]

    def protect(self, path: str, inner: Handler) -> Handler:
        """`inner` behind the password file at `path`."""
        from lwsws.handlers.basicauth import BasicAuthHandler
        return BasicAuthHandler(self.password_file(path), inner)

    def protocols(self, vhost: VhostConfig) -> Dict[str, Protocol]:
        """The protocols of `vhost` by name: none until it is furnished."""
        return self._protocols.setdefault(place_of(vhost), {})

    def find(self, vhost: VhostConfig, name: str) -> Callable[[], Optional[Protocol]]:
        """What finds the protocol `name` of `vhost` once it is there."""
        protocols = self.protocols(vhost)
        return lambda: protocols.get(name)

    def websockets(self, vhost: VhostConfig, settings: GlobalConfig) -> Optional[Handler]:
        """What opens the WebSockets of `vhost`; None if it has no protocols."""
        if not vhost.ws_protocols:
            return None
        # Imported here: many servers have no protocols.
        from lwsws.handlers.websocket import WebSocketHandler
        if place_of(vhost) not in self._websockets:
            for entry in vhost.ws_protocols:
                path = Options(entry.options).get("basic-auth")
                if path:
                    self.password_file(path)
            self._websockets[place_of(vhost)] = WebSocketHandler(
                ProtocolVhost(vhost.name, vhost.port), settings.ws_pingpong_secs,
                vhost.disable_no_protocol_ws_upgrades, vhost.strict_host_check)
        return self._websockets[place_of(vhost)]

    def offer(self, vhost: VhostConfig, made: VhostProtocols) -> None:
        """The protocols of `vhost` are there."""
        self.protocols(vhost).update(made.by_name)
        handler = self._websockets.get(place_of(vhost))
        if handler is None:
            return
        from lwsws.handlers.websocket import speaks_websocket
        for entry in vhost.ws_protocols:
            protocol = made.by_name.get(entry.name)
            if protocol is None or not speaks_websocket(protocol):
                continue
            offer = self._offer(protocol, entry)
            handler.offers[entry.name] = offer
            is_default = says_yes(Options(entry.options).get("default"))
            if handler.default is None or (is_default and not handler.has_marked_default):
                handler.default = offer
                handler.has_marked_default = is_default

    def _offer(self, protocol: Protocol, entry: ProtocolConfig) -> Offer:
        from lwsws.handlers.websocket import Offer, read_limits
        options = Options(entry.options)
        path = options.get("basic-auth")
        return Offer(protocol, read_limits(protocol, options), says_yes(options.get("deflate", "1")),
                     options.all("allowed-origins"), self.password_file(path) if path else None)


def place_of(vhost: VhostConfig) -> str:
    """Where `vhost` stands in the configuration; the same for a changed copy of its record."""
    return f"{vhost.where} {vhost.path}"


def build_limits(settings: GlobalConfig) -> Limits:
    """What roles obey of the `global` settings."""
    return Limits(settings.timeout_secs, settings.send_timeout, settings.max_head_bytes,
                  settings.reject_service_keywords, ip_connections=settings.ip_limit_wsi,
                  ip_requests=settings.ip_limit_ah)


def build_vhost(vhost: VhostConfig, settings: GlobalConfig, shared: Shared) -> Vhost:
    """One vhost with its mounts."""
    server = [("Server", settings.server_string)] if settings.server_string else []
    sts = [STS_FIELD] if vhost.sts else []
    common = (server, sts, vhost.headers)
    mounts = [build_mount(mount, vhost, settings, common, shared) for mount in vhost.mounts]
    routes = Routes(mounts)
    if shared.board is not None:
        routes = _with_challenges(routes, mounts, shared.board, vhost, HeaderSet(*common))
    built = Vhost(vhost.name, routes, HeaderSet(*common), vhost.keepalive_timeout, vhost.max_body,
                  shared.access_log(vhost.access_log), vhost.error_document_404, vhost.strict_host_check)
    # What a raw vhost has in mounts is no site to be reached by another one's name.
    built.upgrades = shared.websockets(vhost, settings)
    built.allow_sni_mismatch = vhost.allow_sni_mismatch and not vhost.apply_listen_accept
    if vhost.host_ssl_cert:
        built.tls = build_tls(vhost, settings, shared)
    return built


def _with_challenges(routes: Routes, mounts: Sequence[MountPoint], board: Board, vhost: VhostConfig,
                     headers: HeaderSet) -> Routes:
    """The mounts of `vhost`, which `routes` has, behind one that answers challenges."""
    from lwsws.acme.board import WELL_KNOWN, ChallengeHandler
    there = routes.match(WELL_KNOWN)
    max_body = vhost.max_body if there is None else there.max_body
    handler = ChallengeHandler(board, routes)
    challenges = MountPoint(WELL_KNOWN, handler, headers, vhost.keepalive_timeout, max_body, origin="ACME")
    return Routes([challenges, *mounts])


def build_tls(vhost: VhostConfig, settings: GlobalConfig, shared: Shared) -> ServerTls:
    """The TLS side of `vhost`; BuildError if its files are of no use."""
    # Imported here: a server without TLS need not load ssl.
    from lwsws.net.tls_files import TlsError
    from lwsws.server.certificates import load_tls
    try:
        tls = load_tls(vhost, settings, shared.files)
        for path in tls.settings.files:
            shared.keeper.allow(READ, path)
        return tls
    except TlsError as error:
        raise BuildError(f"{vhost.where}: {vhost.path}: {error}") from None
