"""`--explain URL`: which listener, vhost, mount, handler and file a request would meet, and why.

Nothing is served and no connection is made: the URL is read as a client would send it (GET, Host from
the URL) and followed through the same tables that serving uses.
"""

from __future__ import annotations

import os
from typing import List, Optional, Tuple

from lwsws.config.model import Config, MountConfig, VhostConfig
from lwsws.core.vhost import VhostSet
from lwsws.handlers.beneath import Root
from lwsws.handlers.mime import mime_type
from lwsws.net.reactor import Reactor
from lwsws.server.build import Listening, build, unserved
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.target import Target, parse_host, parse_target

DEFAULT_PORTS = {"http": 80, "https": 443}


def explain(config: Config, url: str) -> Tuple[List[str], bool]:
    """Lines that explain what a GET of `url` would meet, and whether it would be served.

    `url` is a whole URL, or a path for the first vhost.
    """
    lines: List[str] = []
    reactor = Reactor()
    try:
        # Logs are not opened: an explanation must leave no trace.
        quiet = config._replace(vhosts=tuple(vhost._replace(access_log="") for vhost in config.vhosts))
        return lines, _explain(quiet, build(quiet, reactor).listening, url, lines)
    finally:
        reactor.close()


def _explain(config: Config, listening: Tuple[Listening, ...], url: str, lines: List[str]) -> bool:
    target, scheme, name, port = _read_url(config, url)
    if target is None:
        lines.append(f"{url!r} is not a URL that a client can ask for: give http://name:port/path or /path")
        return False
    lines.append(f"request   GET {target.path}" + (f"?{target.query}" if target.query is not None else "")
                 + f"  Host: {name}:{port}")
    for vhost in config.vhosts:
        if vhost.port == port and unserved(vhost):
            lines.append(f"          ({vhost.where}: {vhost.name} is not listening: {unserved(vhost)})")
    shared = [item for item in listening if item.endpoint.port == port]
    if not shared or scheme == "https":
        lines.append(f"listener  none: no vhost listens for {scheme} on port {port}")
        return False
    lines.append("listener  " + ", ".join(str(item.endpoint) for item in shared))
    vhost = _choose_vhost(shared[0].vhosts, shared[0].configs, name, lines)
    return vhost is not None and _explain_mount(shared[0].vhosts, vhost, target, name, lines)


def _read_url(config: Config, url: str) -> Tuple[Optional[Target], str, str, int]:
    first = config.vhosts[0]
    try:
        target = parse_target("GET", url)
        if target.authority is None:
            return target, "http", first.name, first.port
        scheme = url.partition(":")[0].lower()
        name, port = parse_host(target.authority)
        return target, scheme, name, port or DEFAULT_PORTS[scheme]
    except (RemoteProtocolError, ValueError):
        return None, "", "", 0


def _choose_vhost(vhosts: VhostSet, configs: Tuple[VhostConfig, ...], name: str,
                  lines: List[str]) -> Optional[VhostConfig]:
    found = vhosts.find(name)
    chosen = found or vhosts.default
    config = configs[vhosts.vhosts.index(chosen)]
    if found is None and chosen.strict_host:
        lines.append(f"vhost     none: no vhost is called {name!r} and strict-host-check is on: 421")
        return None
    if found is None:
        why = f"no vhost is called {name!r}, and this is the first one of the port"
    elif chosen.name == name:
        why = "its name is the one in Host"
    else:
        why = f"{name!r} is a subdomain of its name"
    lines.append(f"vhost     {config.name}  ({config.where}: {config.path}; {why})")
    return config


def _explain_mount(vhosts: VhostSet, vhost: VhostConfig, target: Target, name: str, lines: List[str]) -> bool:
    built = next(item for item in vhosts.vhosts if item.name == vhost.name)
    match = built.routes.match(target.path)
    if match is None:
        lines.append("mount     none matches the path: 404")
        return False
    mount = next(item for item in vhost.mounts
                 if item.mountpoint.rstrip("/") == match.prefix and item.exact_match == match.exact)
    lines.append(f"mount     {mount.mountpoint}  ({mount.where}: {mount.path}; "
                 f"{'exactly this path' if mount.exact_match else 'the longest mountpoint that fits'})")
    lines.append(f"handler   {type(match.handler).__name__} for {mount.origin.text}")
    if mount.basic_auth:
        lines.append(f"auth      basic-auth from {mount.basic_auth}: 401 without a valid login")
    if mount.origin.kind == "file":
        return _explain_file(mount, target.path[len(match.prefix):], lines)
    return mount.origin.kind == "redirect"


def _explain_file(mount: MountConfig, rest: str, lines: List[str]) -> bool:
    relative = rest.lstrip("/")
    if not rest:
        lines.append(f"answer    301 to {mount.mountpoint}/ because this is a directory")
        return True
    if rest.endswith("/"):
        default = mount.default if mount.default.strip("/") else "index.html"
        relative += default
    path = os.path.join(mount.origin.target, relative)
    if os.path.isdir(path):
        lines.append(f"answer    301 to the same path with a slash: {path} is a directory")
        return True
    lines.append(f"file      {path}")
    root = Root(mount.origin.target, mount.follow_symlinks)
    try:
        os.close(root.open(relative))
    except OSError as error:
        lines.append(f"answer    404 or 403: {error.strerror or error}")
        return False
    finally:
        root.close()
    media_type = mime_type(relative, dict(mount.extra_mimetypes))
    if media_type is None:
        suffix = os.path.splitext(relative)[1] or "*"
        lines.append(f"answer    415: the suffix is not on the list of media types; "
                     f'to serve it add "extra-mimetypes": {{"{suffix}": "application/octet-stream"}} to the mount')
        return False
    lines.append(f"answer    200, {media_type or 'no Content-Type'}")
    return True
