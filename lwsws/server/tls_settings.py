"""From the keys of a vhost to the settings of its TLS contexts.

What a vhost offers by ALPN is a list of names (`alpn`, else `default-alpn`).  A vhost that serves http offers
only those of them that are spoken here, so that no browser begins with HTTP/2; a vhost that is all raw
(`apply-listen-accept`) offers its own list as it is, or nothing.
"""

from __future__ import annotations

from typing import Tuple

from lwsws.config.keys import SPOKEN_ALPN
from lwsws.config.model import GlobalConfig, VhostConfig
from lwsws.net.tls import ClientSettings, ServerSettings


def server_settings(vhost: VhostConfig, settings: GlobalConfig) -> ServerSettings:
    """How `vhost` serves TLS; without `host-ssl-key` the key is in the file of the certificate."""
    return ServerSettings(vhost.host_ssl_cert, vhost.host_ssl_key or vhost.host_ssl_cert, vhost.host_ssl_ca,
                          vhost.ciphers, vhost.ecdh_curve, vhost.ssl_option_set, vhost.ssl_option_clear,
                          offered_alpn(vhost, settings), vhost.client_cert_required)


def client_settings(vhost: VhostConfig) -> ClientSettings:
    """How `vhost` speaks TLS to the origins of its proxy mounts."""
    return ClientSettings(vhost.client_ssl_ca, vhost.client_ssl_cert,
                          vhost.client_ssl_key or vhost.client_ssl_cert, vhost.client_ssl_ciphers,
                          vhost.client_ecdh_curve, vhost.ssl_client_option_set,
                          vhost.ssl_client_option_clear)


def offered_alpn(vhost: VhostConfig, settings: GlobalConfig) -> Tuple[str, ...]:
    """The application protocols that `vhost` offers, the best first (RFC 7301 3.1)."""
    if vhost.apply_listen_accept:
        return names(vhost.alpn)
    offered = names(vhost.alpn or settings.default_alpn)
    spoken = [name for name in offered if name in SPOKEN_ALPN]
    if not spoken:
        return SPOKEN_ALPN  # nothing at all would make HTTP/2 clients guess
    # Who speaks HTTP/1.1 speaks 1.0 as well.
    return tuple(dict.fromkeys([*spoken, *SPOKEN_ALPN])) if SPOKEN_ALPN[0] in spoken else tuple(spoken)


def names(text: str) -> Tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
