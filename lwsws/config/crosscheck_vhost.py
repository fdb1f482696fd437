"""Checks between the keys of one vhost, a part of crosscheck.py: what contradicts itself or has no effect."""

from __future__ import annotations

from typing import Iterator, Tuple

from lwsws.config.model import DEFAULT_FALLBACK_WAIT, Fault, VhostConfig
from lwsws.config.report import fault_at

Keys = Tuple[Tuple[str, object], ...]


def one_vhost(vhost: VhostConfig) -> Iterator[Fault]:
    """What contradicts itself within `vhost`; its address is not looked at here."""
    if vhost.host_ssl_cert:
        yield from _tls(vhost)
        yield from _without_tls(vhost)
    else:
        yield from _meant_for_tls(vhost)
        keys: Keys = (("allow-non-tls", vhost.allow_non_tls), ("redirect-http", vhost.redirect_http),
                      ("allow-http-on-https", vhost.allow_http_on_https))
        yield from useless(vhost, keys, 'without TLS, which "host-ssl-cert" turns on')
    yield from _tls_client(vhost)
    yield from _raw(vhost)


def _meant_for_tls(vhost: VhostConfig) -> Iterator[Fault]:
    """What would be served in the clear, and to everybody, for want of a certificate."""
    for name, value in (("host-ssl-key", vhost.host_ssl_key),
                        ("client-cert-required", vhost.client_cert_required)):
        if value:
            yield fault_at(vhost, name, 'needs "host-ssl-cert", without which there is no TLS and everything '
                                        "would be served in the clear", True)


def useless(vhost: VhostConfig, keys: Keys, why: str) -> Iterator[Fault]:
    """A fault for each of the keys that is set."""
    for name, value in keys:
        if value:
            yield fault_at(vhost, name, f"has no effect {why}")


def _tls(vhost: VhostConfig) -> Iterator[Fault]:
    if vhost.client_cert_required and not vhost.host_ssl_ca:
        yield fault_at(vhost, "client-cert-required", 'needs "host-ssl-ca", the authorities that sign the '
                                                      "certificates of clients; without it no client gets in")


def _without_tls(vhost: VhostConfig) -> Iterator[Fault]:
    """Clients without TLS on a TLS port."""
    doors: Keys = (("redirect-http", vhost.redirect_http),
                   ("allow-http-on-https", vhost.allow_http_on_https),
                   ("fallback-listen-accept", vhost.fallback_listen_accept))
    if not vhost.allow_non_tls:
        yield from useless(vhost, doors, 'on a TLS port without "allow-non-tls": "1"')
        return
    if not any(value for _, value in doors):
        yield fault_at(vhost, "allow-non-tls", "has no effect alone: add "
                                               f'{", ".join(name for name, _ in doors[:2])} or {doors[2][0]}')
    if vhost.client_cert_required and vhost.fallback_listen_accept and vhost.apply_listen_accept:
        yield fault_at(vhost, "fallback-listen-accept", 'has no effect with "client-cert-required" and '
                                                        '"apply-listen-accept": it would let in clients '
                                                        "without a certificate")
    if not vhost.allow_http_on_https:
        return
    if vhost.client_cert_required:
        yield fault_at(vhost, "allow-http-on-https", 'has no effect with "client-cert-required": plain http '
                                                     "would let in clients without a certificate")
    elif vhost.redirect_http:
        yield fault_at(vhost, "redirect-http", 'has no effect with "allow-http-on-https", which serves what '
                                               "it would redirect")


def _tls_client(vhost: VhostConfig) -> Iterator[Fault]:
    if vhost.enable_client_ssl:
        if not vhost.client_ssl_cert:
            keys: Keys = (("client-ssl-key", vhost.client_ssl_key),)
            yield from useless(vhost, keys, 'without "client-ssl-cert"')
        return
    keys = (("client-ssl-cert", vhost.client_ssl_cert), ("client-ssl-key", vhost.client_ssl_key),
            ("client-ssl-ca", vhost.client_ssl_ca), ("client-ssl-ciphers", vhost.client_ssl_ciphers),
            ("client-tls13-ciphers", vhost.client_tls13_ciphers),
            ("client-ecdh-curve", vhost.client_ecdh_curve),
            ("ssl-client-option-set", vhost.ssl_client_option_set),
            ("ssl-client-option-clear", vhost.ssl_client_option_clear))
    yield from useless(vhost, keys, 'without "enable-client-ssl": "1"')


def _raw(vhost: VhostConfig) -> Iterator[Fault]:
    """Connections that are not http."""
    if vhost.fallback_wait != DEFAULT_FALLBACK_WAIT and not vhost.fallback_listen_accept:
        yield fault_at(vhost, "fallback-wait", 'has no effect without "fallback-listen-accept"')
    if not vhost.apply_listen_accept and not vhost.fallback_listen_accept:
        keys: Keys = (("listen-accept-role", vhost.listen_accept_role),
                      ("listen-accept-protocol", vhost.listen_accept_protocol))
        yield from useless(vhost, keys, 'without "apply-listen-accept" or "fallback-listen-accept"')
        return
    if vhost.apply_listen_accept and vhost.fallback_listen_accept and not vhost.host_ssl_cert:
        keys = (("fallback-listen-accept", True),)
        yield from useless(vhost, keys, 'with "apply-listen-accept", which takes all connections')
