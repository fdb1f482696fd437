"""Checks between the keys of one mount, a part of crosscheck.py: what contradicts itself or has no effect."""

from __future__ import annotations

from typing import Iterator, Tuple

from lwsws.config.model import Fault, MountConfig, VhostConfig
from lwsws.config.report import fault_at

# The keys that mean something for one kind of origin only, and what this kind is called.
ONLY_FOR = (
    ("cgi-", "cgi", "a program (cgi://)"),
    ("proxy-", "proxy", "another server (http://, https://)"),
    ("more-origins", "proxy", "another server (http://, https://)"),
)


def one_mount(mount: MountConfig, vhost: VhostConfig) -> Iterator[Fault]:
    """What contradicts itself within `mount`, which belongs to `vhost`."""
    kind = mount.origin.kind
    values, defaults = mount._asdict(), mount._field_defaults
    for name in mount.positions:
        field = name.replace("-", "_")
        for prefix, wanted, what in ONLY_FOR:
            if name.startswith(prefix) and kind != wanted and values[field] != defaults[field]:
                yield fault_at(mount, name, f"has no effect: the origin of this mount is not {what}")
    if kind == "cgi":
        yield from _program(mount)
    elif kind == "proxy":
        yield from _proxy(mount, vhost)


def _program(mount: MountConfig) -> Iterator[Fault]:
    for suffix, interpreter in mount.interpret:
        if not interpreter.startswith("/"):
            reason = f'"{interpreter}" for {suffix} is no full path of a program'
            yield fault_at(mount, "interpret", f"{reason}, which a mount of programs (cgi://) needs", True)
    keys: Tuple[Tuple[str, str], ...] = (("origin", mount.origin.target), ("cgi-chdir", mount.cgi_chdir),
                                         ("cgi-chroot", mount.cgi_chroot))
    for key, path in keys:
        if mount.cgi_chroot and path and not path.startswith("/"):
            yield fault_at(mount, key, f'"{path}" must be a full path, because of "cgi-chroot"', True)


def _proxy(mount: MountConfig, vhost: VhostConfig) -> Iterator[Fault]:
    for origin in mount.more_origins:
        if origin.kind != "proxy":
            yield fault_at(mount, "more-origins", f'"{origin.text}" is no other server: write http:// or '
                                                  "https://", True)
        elif origin.location != mount.origin.location:
            reason = f'"{origin.text}" must end in the path of the first origin, "{mount.origin.location}"'
            yield fault_at(mount, "more-origins", f"{reason}: redirects and links are mapped by it", True)
    origins = [("origin", mount.origin), *(("more-origins", origin) for origin in mount.more_origins)]
    for key, origin in origins:
        if origin.scheme == "https" and not vhost.enable_client_ssl:
            yield fault_at(mount, key, 'an https:// origin needs "enable-client-ssl": "1" in its vhost: '
                                       "requests get 502")
