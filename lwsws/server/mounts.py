"""From the configuration of a mount to what answers for it: one function for each kind of origin.

Handlers that few configurations need are imported where one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

from lwsws import __version__
from lwsws.config.model import GlobalConfig, MountConfig, VhostConfig
from lwsws.config.origin import Origin
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.core.options import Options
from lwsws.core.session import ProtocolVhost
from lwsws.core.vhost import Fields, HeaderSet, MountPoint
from lwsws.handlers.file import FileHandler
from lwsws.handlers.redirect import RedirectHandler, redirect, slash_location
from lwsws.handlers.unavailable import UnavailableHandler

if TYPE_CHECKING:
    from lwsws.net.pool import Pool
    from lwsws.server.build import Shared
    from lwsws.wire.origin_paths import OriginPaths

CLIENT_TLS = "enable-client-ssl"


def build_mount(mount: MountConfig, vhost: VhostConfig, settings: GlobalConfig, common: Sequence[Fields],
                shared: Shared) -> MountPoint:
    """One mount of `vhost`; `common` are the groups of header fields of the vhost."""
    keepalive = vhost.keepalive_timeout if mount.keepalive_timeout is None else mount.keepalive_timeout
    max_body = vhost.max_body if mount.max_body is None else mount.max_body
    prefix = "" if mount.mountpoint == "/" else mount.mountpoint
    headers = HeaderSet(*common, mount.headers)
    handler = build_handler(mount, vhost, settings, shared)
    built = MountPoint(prefix, handler, headers, keepalive, max_body, mount.exact_match, mount.origin.text)
    built.no_ws_upgrades = mount.no_ws_upgrades
    return built


def build_handler(mount: MountConfig, vhost: VhostConfig, settings: GlobalConfig, shared: Shared) -> Handler:
    """What answers for `mount`, behind its password file if it has one."""
    handler: Handler
    if mount.origin.kind == "file":
        handler = _interpreter(mount, vhost, shared) if mount.interpret else FileHandler(mount)
    elif mount.origin.kind == "callback":
        handler = _callback(mount, vhost, shared)
    elif mount.origin.kind == "redirect":
        handler = RedirectHandler(mount)
    elif mount.origin.kind == "cgi":
        handler = _program(mount, vhost, settings) if shared.serves else UnaskedProgram(mount)
    elif mount.origin.kind == "proxy":
        handler = _proxy(mount, vhost, shared) if shared.serves else Unasked()
    else:
        handler = UnavailableHandler(f"{mount.origin.scheme}:// is not served by this version")
    return shared.protect(mount.basic_auth, handler) if mount.basic_auth else handler


class Unasked(Handler):
    """Stands for another server that shall not be asked."""

    def begin(self, exchange: Exchange) -> None:
        """Say nothing, well."""
        exchange.respond(200, [])


class UnaskedProgram(Handler):
    """Stands for the programs of a mount that shall not be run: says why, where there is none to run."""

    def __init__(self, mount: MountConfig) -> None:
        from lwsws.handlers.cgi_program import NOT_EXECUTABLE, Scripts
        self._scripts = Scripts(mount)
        self._forbidden = NOT_EXECUTABLE

    def begin(self, exchange: Exchange) -> None:
        """Say nothing, well; HttpError with the reason if no program can be run."""
        script = self._scripts.locate(exchange.rest)
        if script is None:
            redirect(exchange, slash_location(exchange))
            return
        obstacle = self._scripts.obstacle(script)
        if obstacle:
            raise HttpError(403 if obstacle == self._forbidden else 500, f"{script.path}: {obstacle}")
        exchange.respond(200, [])


def _interpreter(mount: MountConfig, vhost: VhostConfig, shared: Shared) -> Handler:
    """What serves files, and leads those of some suffixes through a protocol."""
    from lwsws.handlers.interpret import InterpretHandler
    protocols = {suffix: shared.find(vhost, name) for suffix, name in mount.interpret}
    return InterpretHandler(mount, protocols, ProtocolVhost(vhost.name, vhost.port))


def _callback(mount: MountConfig, vhost: VhostConfig, shared: Shared) -> Handler:
    from lwsws.handlers.callback import CallbackHandler
    return CallbackHandler(shared.find(vhost, mount.origin.target), ProtocolVhost(vhost.name, vhost.port),
                           Options(mount.pmo), mount.auth_mask)


def _program(mount: MountConfig, vhost: VhostConfig, settings: GlobalConfig) -> Handler:
    from lwsws.handlers.cgi import CgiHandler
    return CgiHandler(mount, settings.server_string or f"lwsws/{__version__}", vhost.port)


def _proxy(mount: MountConfig, vhost: VhostConfig, shared: Shared) -> Handler:
    from lwsws.handlers.proxy import ProxyHandler
    origins = (mount.origin, *mount.more_origins)
    if not vhost.enable_client_ssl and any(origin.scheme == "https" for origin in origins):
        return UnavailableHandler(f'an https:// origin needs "{CLIENT_TLS}" in its vhost', 502)
    pools = [_pool(origin, vhost, shared) for origin in origins]
    return ProxyHandler(mount, pools, origin_paths(mount))


def origin_paths(mount: MountConfig) -> OriginPaths:
    """Which paths of the origins of `mount` are which of ours."""
    from lwsws.wire.origin_paths import OriginPaths
    # Of a unix socket the host is localhost, and the port 0 that of the scheme.
    names = [(origin.scheme, origin.host, origin.port) for origin in (mount.origin, *mount.more_origins)]
    prefix = "" if mount.mountpoint == "/" else mount.mountpoint
    return OriginPaths(prefix, mount.origin.location, names)


def _pool(origin: Origin, vhost: VhostConfig, shared: Shared) -> Pool:
    """The connections to `origin`; one for each mount and origin."""
    from lwsws.net.bind import address_family
    from lwsws.net.onward import Onward
    from lwsws.net.pool import Pool, Target
    if origin.socket:
        onward = Onward(path=origin.socket)
    else:
        onward = Onward(origin.host, origin.port, address_family(origin.host))
    tls = shared.client_tls(vhost) if origin.scheme == "https" else None
    pool = Pool(Target(onward, tls, origin.host if tls is not None else ""))
    shared.pools.append(pool)
    return pool
