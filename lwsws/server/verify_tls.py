"""The checks of certificates, keys and everything else that a vhost needs for TLS.

A part of server/verify.py, imported only where a vhost has TLS, because it loads OpenSSL.  The contexts are
made as for serving, so what passes here is what the server starts with.
"""

from __future__ import annotations

import os
import stat
from typing import Collection, Iterator, NamedTuple

from lwsws.config.model import NAMELESS, GlobalConfig, VhostConfig
from lwsws.net.tls import check_tls13_ciphers, try_client_context, try_server_context, unknown_ciphers
from lwsws.net.tls_files import (
    ALPN,
    CA,
    CERTIFICATE,
    CIPHERS,
    CURVE,
    KEY,
    OPTIONS,
    TlsError,
    leaf_certificate,
)
from lwsws.server.certificates import date_fault, expiry_warning
from lwsws.server.tls_settings import client_settings, server_settings
from lwsws.wire.certificate import is_for

# Where each part of the settings is written.
SERVER_KEYS = {CERTIFICATE: "host-ssl-cert", KEY: "host-ssl-key", CA: "host-ssl-ca", CIPHERS: "ciphers",
               CURVE: "ecdh-curve", OPTIONS: "ssl-option-set", ALPN: "alpn"}
CLIENT_KEYS = {CERTIFICATE: "client-ssl-cert", KEY: "client-ssl-key", CA: "client-ssl-ca",
               CIPHERS: "client-ssl-ciphers", CURVE: "client-ecdh-curve", OPTIONS: "ssl-client-option-set"}


class Complaint(NamedTuple):
    """What is wrong with the value of `key`, and whether the server can start in spite of it."""

    key: str
    reason: str
    fatal: bool = False


def complaints(vhost: VhostConfig, settings: GlobalConfig, now: float,
               coming: Collection[str] = ()) -> Iterator[Complaint]:
    """All that is wrong with the TLS of `vhost` at `now` (unix seconds); the files that are `coming` by ACME
    may be missing."""
    if vhost.host_ssl_cert:
        yield from _server(vhost, settings, now, coming)
        yield from _names_of_ciphers(vhost.ciphers, "ciphers", vhost.tls13_ciphers, "tls13-ciphers")
    if vhost.enable_client_ssl:
        yield from _client(vhost, now)
        yield from _names_of_ciphers(vhost.client_ssl_ciphers, "client-ssl-ciphers",
                                     vhost.client_tls13_ciphers, "client-tls13-ciphers")


def _server(vhost: VhostConfig, settings: GlobalConfig, now: float,
            coming: Collection[str]) -> Iterator[Complaint]:
    tls = server_settings(vhost, settings)
    _, faults = try_server_context(tls)
    comes = os.path.normpath(tls.certificate) in coming and os.path.normpath(tls.key) in coming
    for fault in faults:
        may_come = fault.is_missing and vhost.ignore_missing_cert
        by_acme = fault.is_missing and fault.part in (CERTIFICATE, KEY)
        new = _successor(tls.certificate) if by_acme and not comes else ""
        hint = ": no TLS here until there is" if may_come else ""
        if by_acme and comes:
            if may_come:
                continue
            hint = ': for it to come by ACME, the vhost needs "ignore-missing-cert": "1"'
        elif new:
            hint = f": {new!r} has come by ACME, and takes its place at a start with lws-acme-client"
        yield Complaint(SERVER_KEYS[fault.part], f"{fault}{hint}", not may_come)
    if any(fault.part in (CERTIFICATE, KEY) for fault in faults):
        return
    successor = _successor(tls.certificate) if comes else ""
    hint = f"; what has come in {successor!r} is to take its place" if successor else ""
    for complaint in _certificate(tls.certificate, "host-ssl-cert", vhost.name, now):
        yield complaint._replace(reason=complaint.reason + hint)
    if os.stat(tls.key).st_mode & stat.S_IROTH:
        reason = f"everybody on this system can read the private key in {tls.key!r}: chmod o-r it"
        yield Complaint("host-ssl-key" if vhost.host_ssl_key else "host-ssl-cert", reason)


def _client(vhost: VhostConfig, now: float) -> Iterator[Complaint]:
    tls = client_settings(vhost)
    _, faults = try_client_context(tls)
    for fault in faults:
        yield Complaint(CLIENT_KEYS[fault.part], str(fault), True)
    if tls.certificate and not any(fault.part in (CERTIFICATE, KEY) for fault in faults):
        yield from _certificate(tls.certificate, "client-ssl-cert", NAMELESS, now)


def _certificate(path: str, key: str, name: str, now: float) -> Iterator[Complaint]:
    """What is wrong with dates and names of the certificate in the file at `path`; `name` is the vhost's."""
    try:
        certificate = leaf_certificate(path)
    except TlsError as error:
        yield Complaint(key, f"{error}: its dates and names are not checked")
        return
    reason = date_fault(certificate, now) or expiry_warning(certificate, now)
    if reason:
        yield Complaint(key, f"the certificate in {path!r} {reason}")
    if name != NAMELESS and not is_for(certificate.names, name):
        names = ", ".join(certificate.names) or "nothing"
        yield Complaint(key, f"the certificate in {path!r} is for {names}, and not for {name!r}, the name of "
                             "this vhost: clients will refuse it")


def _successor(path: str) -> str:
    """Where a certificate waits that has come by ACME for the one in the file at `path`; "" if none has."""
    from lwsws.acme.settings import UPD
    new = path + UPD
    return new if os.path.isfile(new) and os.path.getsize(new) > 0 else ""


def _names_of_ciphers(tls12: str, tls12_key: str, tls13: str, tls13_key: str) -> Iterator[Complaint]:
    """Misspelled names in lists of ciphers, of which OpenSSL takes what it knows."""
    unknown = unknown_ciphers(tls12)
    if unknown:
        yield Complaint(tls12_key, f"OpenSSL has no TLS 1.2 cipher called {', '.join(unknown)}: misspelled, "
                                   "or not in this build. It is left out")
    reason = check_tls13_ciphers(tls13)
    if reason:
        yield Complaint(tls13_key, reason)
