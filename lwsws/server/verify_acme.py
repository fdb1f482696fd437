"""The checks of what `lws-acme-client` needs of the system: directories, the openssl program, hooks.

A part of server/verify.py.  None of it is fatal: without its certificate a vhost is served as it can be.
"""

from __future__ import annotations

import os
from typing import Callable, Iterator, List, Set

from lwsws.acme.settings import AcmeSettings
from lwsws.config.model import NAMELESS, Config, Fault
from lwsws.server.acme import (
    Asked,
    asked_twice,
    entries,
    find_certificates,
    on_port_80,
    openssl_tool,
    speaks_http,
)
from lwsws.wire.acme import HTTP_01
from lwsws.wire.certificate import is_for

# Why the server's user may not run the program at a path; "" if he may.
CannotRun = Callable[[str], str]


def acme_faults(config: Config, cannot_run: CannotRun) -> Iterator[Fault]:
    """All that keeps certificates from coming, as far as one can see."""
    asked = find_certificates(config)
    if asked and not openssl_tool():
        yield _fault(asked[0], "", "certificates need the program openssl, and there is none: install the "
                                   "package openssl")
    for each in asked:
        settings = each.settings
        said = set()
        for option, path in (("auth-path", settings.auth_path), ("cert-path", settings.cert_path),
                             ("key-path", settings.key_path)):
            reason = _no_place(path)
            if reason and reason not in said:
                said.add(reason)
                yield _fault(each, option, f"{reason}. There will be no certificate for {settings.name}")
        if settings.ca_file and not os.path.isfile(settings.ca_file):
            yield _fault(each, "ca-file", f"there is no file {settings.ca_file!r}")
        if settings.dns_hook:
            reason = _no_hook(settings.dns_hook, cannot_run)
            if reason:
                yield _fault(each, "dns-hook", reason)
        there = on_port_80(config, each) if settings.challenge == HTTP_01 else []
        if there and not speaks_http(there[0]):
            reason = f"{HTTP_01} comes by plain http on port 80, which the vhost there does not speak"
            yield _fault(each, "challenge", f"{reason}: use another challenge")
        yield from _strangers(config, each)
        if not _is_used(config, settings):
            reason = 'no vhost has this as "host-ssl-cert", and "key-path" as "host-ssl-key"'
            yield _fault(each, "cert-path", f"{reason}: nothing is served with it")
    for each in asked_twice(config):
        reason = f"another entry has {each.settings.cert_path!r} or its key as well: this one is left out"
        yield _fault(each, "cert-path", reason)


def coming_files(config: Config) -> Set[str]:
    """The certificates and keys that come by ACME, so that they may be missing now."""
    files: List[str] = []
    for each in find_certificates(config):
        files += [each.settings.cert_path, each.settings.key_path]
    for vhost, _ in entries(config):    # what is wrong with its options is said, and more would mislead
        files += [os.path.normpath(path) for path in (vhost.host_ssl_cert, vhost.host_ssl_key) if path]
    return set(files)


def _fault(each: Asked, option: str, reason: str) -> Fault:
    return Fault(each.where, f"{each.path}.{option}" if option else each.path, reason, False)


def _no_place(path: str) -> str:
    """Why the file at `path` cannot be kept there; "" if it can."""
    from lwsws.acme.store import check_directory
    directory = os.path.dirname(path)
    try:
        check_directory(directory)
    except FileNotFoundError:
        return f"there is no directory {directory!r}: mkdir -m 700 it"
    except OSError as error:
        return str(error.strerror or error)
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"we may not write to the directory {directory!r}"
    return ""


def _no_hook(path: str, cannot_run: CannotRun) -> str:
    if not os.path.isfile(path):
        return f"there is no file {path!r}"
    if not os.stat(path).st_mode & 0o111:
        return f"{path!r} is no program: chmod +x it"
    return cannot_run(path)


def _strangers(config: Config, each: Asked) -> Iterator[Fault]:
    """Vhosts that use the files, and for whose names the certificate will not be."""
    for vhost in config.vhosts:
        is_theirs = os.path.normpath(vhost.host_ssl_cert or "/") == each.settings.cert_path
        if is_theirs and vhost.name != NAMELESS and not is_for(each.settings.names, vhost.name):
            reason = f"is not for {vhost.name!r}, a vhost that has this certificate: add it to alt-names, or "
            yield _fault(each, "common-name", f"{reason}clients will refuse the certificate there")


def _is_used(config: Config, settings: AcmeSettings) -> bool:
    return any(os.path.normpath(vhost.host_ssl_cert) == settings.cert_path
               and os.path.normpath(vhost.host_ssl_key) == settings.key_path for vhost in config.vhosts)
