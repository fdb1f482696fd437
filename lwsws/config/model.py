"""The configuration as the server sees it: immutable records, one field per key.

A field is called like its key with "-" written as "_"; keys.py says what each key means and what
values it takes, and the tests hold the defaults here and there together.  Text and path keys that
are not given are "", so `if vhost.access_log:` is the test for "given"; None stands where absence
has a meaning of its own (a mount without `keepalive-timeout` uses the vhost's).

Each record remembers where it was written: `where` is the position of its object, `path` names it
within its file ("vhosts[0].mounts[1]"), and `positions` leads from a key to its value, so that
later checks (unknown user, unreadable file) can point at the line.
"""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import Mapping, NamedTuple, Optional, Tuple

from lwsws.config.origin import Origin

Pairs = Tuple[Tuple[str, str], ...]

# The length limit of the original for a request body, answered with 413 beyond it.
DEFAULT_MAX_BODY = 100 * 1024 * 1024

# Seconds of silence after which a client is taken for one to whom the server speaks first: ssh waits a
# minute or more for that, browsers send at once.
DEFAULT_FALLBACK_WAIT = 2

# Each serving process costs some 20 MB; more than there are CPUs gain nothing.
MAX_PROCESSES = 256


class Position(NamedTuple):
    """A place in a configuration file; lines and columns (in characters) count from 1, 0 is unknown."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


NOWHERE = Position("", 0, 0)
NO_POSITIONS: Mapping[str, Position] = MappingProxyType({})


def printable(text: str) -> str:
    """`text` on one line: control characters and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class Fault(NamedTuple):
    """One thing that is wrong: what, where, and whether the server can start in spite of it."""

    position: Position
    path: str
    reason: str
    fatal: bool

    def __str__(self) -> str:
        """`file:line:column: vhosts[0].mounts[1].origin: reason`, parts that are unknown left out."""
        parts = (str(self.position), self.path, self.reason)
        return printable(": ".join(part for part in parts if part))


class ProtocolConfig(NamedTuple):
    """One entry of `ws-protocols`: a plugin's name and its options, an option maybe several times."""

    name: str
    options: Pairs = ()
    where: Position = NOWHERE
    path: str = ""


class MountConfig(NamedTuple):
    """One entry of `mounts`; `mountpoint` is "/" or starts with "/" and does not end with one."""

    mountpoint: str
    origin: Origin
    default: str = "index.html"
    exact_match: bool = False
    append_path: bool = False
    headers: Pairs = ()
    keepalive_timeout: Optional[int] = None
    max_body: Optional[int] = None
    follow_symlinks: str = "inside"
    dotfiles: bool = False
    extra_mimetypes: Pairs = ()
    interpret: Pairs = ()
    cache_max_age: int = 0
    cache_reuse: bool = False
    cache_revalidate: bool = False
    cache_intermediaries: bool = False
    cache_no: bool = False
    basic_auth: str = ""
    auth_mask: int = 0
    no_ws_upgrades: bool = False
    pmo: Pairs = ()
    cgi_env: Pairs = ()
    cgi_timeout: int = 5
    cgi_chroot: str = ""
    cgi_chdir: str = ""
    cgi_limit: int = 64
    more_origins: Tuple[Origin, ...] = ()
    proxy_keep_host: bool = False
    proxy_forwarded_from: Tuple[str, ...] = ()
    proxy_rewrite_links: bool = True
    proxy_connect_timeout: int = 5
    proxy_timeout: int = 15
    proxy_idle_timeout: int = 60
    where: Position = NOWHERE
    path: str = ""
    positions: Mapping[str, Position] = NO_POSITIONS


# The name of a vhost that was given none; no client asks for it.
NAMELESS = "default"


class VhostConfig(NamedTuple):
    """One entry of `vhosts`; `name` is in lower case, `port` is 0 on a unix socket, and with `listen_fd` only
    what redirects say."""

    name: str = NAMELESS
    port: int = 0
    interface: str = ""
    unix_socket: bool = False
    unix_socket_perms: str = ""
    noipv6: bool = False
    ipv6only: Optional[bool] = None
    listen_fd: str = ""
    fo_listen_queue: int = 0
    strict_host_check: bool = False
    proxy_protocol_from: Tuple[str, ...] = ()
    mounts: Tuple[MountConfig, ...] = ()
    headers: Pairs = ()
    sts: bool = False
    error_document_404: str = ""
    access_log: str = ""
    keepalive_timeout: int = 60
    max_body: int = DEFAULT_MAX_BODY
    host_ssl_cert: str = ""
    host_ssl_key: str = ""
    host_ssl_ca: str = ""
    client_cert_required: bool = False
    ignore_missing_cert: bool = False
    ciphers: str = ""
    tls13_ciphers: str = ""
    ecdh_curve: str = ""
    alpn: str = ""
    allow_sni_mismatch: bool = False
    ssl_option_set: int = 0
    ssl_option_clear: int = 0
    allow_non_tls: bool = False
    redirect_http: bool = False
    allow_http_on_https: bool = False
    enable_client_ssl: bool = False
    client_ssl_cert: str = ""
    client_ssl_key: str = ""
    client_ssl_ca: str = ""
    client_ssl_ciphers: str = ""
    client_tls13_ciphers: str = ""
    client_ecdh_curve: str = ""
    ssl_client_option_set: int = 0
    ssl_client_option_clear: int = 0
    ws_protocols: Tuple[ProtocolConfig, ...] = ()
    disable_no_protocol_ws_upgrades: bool = False
    listen_accept_role: str = ""
    listen_accept_protocol: str = ""
    apply_listen_accept: bool = False
    fallback_listen_accept: bool = False
    fallback_wait: int = DEFAULT_FALLBACK_WAIT
    where: Position = NOWHERE
    path: str = ""
    positions: Mapping[str, Position] = NO_POSITIONS

    @property
    def takes_all_raw(self) -> bool:
        """Whether all connections of an address with this first vhost are raw: nothing tells them apart."""
        return self.apply_listen_accept and not self.host_ssl_cert

    @property
    def has_fallback(self) -> bool:
        """Whether what is no TLS, or no http, falls back to its raw protocol; never past a demand for
        certificates to the protocol that is behind it."""
        if self.host_ssl_cert and not self.allow_non_tls:
            return False
        return self.fallback_listen_accept and not (self.client_cert_required and self.apply_listen_accept)

    @property
    def is_in_the_clear_too(self) -> bool:
        """Whether plain http may reach it on its TLS port; never past a demand for certificates."""
        return (self.allow_non_tls and self.allow_http_on_https and not self.client_cert_required
                and not self.apply_listen_accept)


class GlobalConfig(NamedTuple):
    """The `global` sections of all files, a later one winning."""

    server_string: str = ""
    username: str = ""
    groupname: str = ""
    uid: Optional[int] = None
    gid: Optional[int] = None
    count_threads: int = 1
    count_processes: int = 1
    timeout_secs: int = 5
    send_timeout: int = 60
    shutdown_timeout: int = 10
    deprecate_timeout: int = 0
    max_head_bytes: int = 16384
    max_connections: int = 0
    ip_limit_ah: int = 0
    ip_limit_wsi: int = 0
    rlimit_nofile: int = 0
    reject_service_keywords: Tuple[Tuple[str, int, str], ...] = ()
    plugin_dir: Tuple[str, ...] = ()
    ws_pingpong_secs: int = 300
    default_alpn: str = "http/1.1"
    sandbox: bool = False
    sandbox_read: Tuple[str, ...] = ()
    sandbox_write: Tuple[str, ...] = ()
    where: Position = NOWHERE
    path: str = "global"
    positions: Mapping[str, Position] = NO_POSITIONS

    @property
    def processes(self) -> int:
        """How many processes shall serve: `count_processes`, or for "auto" one for each CPU that is ours."""
        return self.count_processes or min(len(os.sched_getaffinity(0)), MAX_PROCESSES)


class Config(NamedTuple):
    """All of it: the global settings, and the vhosts in the order of the files."""

    globals: GlobalConfig
    vhosts: Tuple[VhostConfig, ...]
