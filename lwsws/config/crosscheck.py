"""Checks between vhosts and between the keys of one vhost: pure, on the finished records.

What cannot work together is fatal (TLS and plain http on one listener); what has no effect, or a
name that is already taken, is reported and left to the rule "the first one wins".  Nothing is
changed in the configuration.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

from lwsws.config.keys import KEYS, SERVED_ORIGINS
from lwsws.config.kinds import LATER
from lwsws.config.model import Config, Fault, MountConfig, Position, VhostConfig

NOT_YET = "not served by this version yet"

IPV4, IPV6 = "IPv4", "IPv6"
# Addresses that stand for all interfaces.
EVERYWHERE = ("0.0.0.0", "::")


class Address(NamedTuple):
    """Where a vhost listens: `interface` is "" for all; on a unix socket it is the path, and port 0."""

    port: int
    interface: str
    families: FrozenSet[str]

    def overlaps(self, other: Address) -> bool:
        """Whether the two cannot both be listened on unless they are the same."""
        same_place = self.interface == other.interface or not self.interface or not other.interface
        return self.port == other.port and same_place and not self.families.isdisjoint(other.families)

    def __str__(self) -> str:
        if not self.port:
            return f"unix socket {self.interface}"
        return f"port {self.port}" + (f" of {self.interface}" if self.interface else "")


def address(vhost: VhostConfig) -> Address:
    """Where `vhost` listens, as far as its keys tell."""
    if vhost.unix_socket:
        return Address(0, vhost.interface, frozenset(("unix",)))
    if vhost.interface.count(":") > 1:  # one colon has an alias such as eth0:1
        families = {IPV6}
    elif vhost.interface.replace(".", "").isdigit():
        families = {IPV4}
    else:
        families = {IPV4, IPV6}
    if vhost.noipv6 or vhost.ipv6only is False:
        families.discard(IPV6)
    elif vhost.ipv6only:
        families.discard(IPV4)
    interface = "" if vhost.interface in EVERYWHERE else vhost.interface
    return Address(vhost.port, interface, frozenset(families))


def crosscheck(config: Config) -> List[Fault]:
    """Everything that is wrong between the parts of `config`."""
    faults: List[Fault] = []
    for vhost in config.vhosts:
        faults.extend(_one_vhost(vhost))
        faults.extend(_mountpoints(vhost))
    faults.extend(_names(config.vhosts))
    faults.extend(_listeners(config.vhosts))
    return faults


def pending(config: Config) -> List[Fault]:
    """One remark for each key, and each kind of origin, that takes effect in a later version only."""
    remarks = _not_served("global", config.globals.path, config.globals.positions)
    for vhost in config.vhosts:
        remarks += _not_served("vhost", vhost.path, vhost.positions)
        for mount in vhost.mounts:
            remarks += _not_served("mount", mount.path, mount.positions)
            if mount.origin.kind not in SERVED_ORIGINS:
                remarks.append(_fault(mount, "origin", f"{mount.origin.scheme}:// is {NOT_YET}"))
    return remarks


def _not_served(level: str, path: str, positions: Mapping[str, Position]) -> List[Fault]:
    return [Fault(position, f"{path}.{name}", f"is {NOT_YET}", False)
            for name, position in positions.items() if KEYS[level][name].served == LATER]


def _place(record: Union[VhostConfig, MountConfig], name: str) -> Position:
    return record.positions.get(name, record.where)


def _fault(record: Union[VhostConfig, MountConfig], name: str, reason: str, fatal: bool = False) -> Fault:
    return Fault(_place(record, name), f"{record.path}.{name}", reason, fatal)


def _one_vhost(vhost: VhostConfig) -> Iterator[Fault]:
    """What contradicts itself within one vhost."""
    if vhost.unix_socket and not vhost.interface:
        yield _fault(vhost, "unix-socket", 'needs "interface", the path of the socket', True)
    if not address(vhost).families:
        yield _fault(vhost, "interface", f'nothing is left to listen on: "{vhost.interface}" is no address '
                                         "of the kind that noipv6 or ipv6only leaves", True)
    if not vhost.host_ssl_cert:
        for name in _useless_without_tls(vhost):
            yield _fault(vhost, name, 'has no effect without TLS, which "host-ssl-cert" turns on')
    elif not vhost.allow_non_tls:
        for name, is_set in (("redirect-http", vhost.redirect_http),
                             ("allow-http-on-https", vhost.allow_http_on_https)):
            if is_set:
                yield _fault(vhost, name, 'has no effect without "allow-non-tls": "1"')
    if vhost.host_ssl_cert and vhost.client_cert_required and not vhost.host_ssl_ca:
        yield _fault(vhost, "client-cert-required", 'needs "host-ssl-ca", the authorities that sign the '
                                                    "certificates of clients")
    for mount in vhost.mounts:
        if mount.origin.kind == "proxy" and mount.origin.scheme == "https" and not vhost.enable_client_ssl:
            yield _fault(mount, "origin", 'an https:// origin needs "enable-client-ssl": "1" in its vhost')


def _useless_without_tls(vhost: VhostConfig) -> Iterator[str]:
    for name, is_set in (("host-ssl-key", bool(vhost.host_ssl_key)),
                         ("client-cert-required", vhost.client_cert_required),
                         ("allow-non-tls", vhost.allow_non_tls), ("redirect-http", vhost.redirect_http),
                         ("allow-http-on-https", vhost.allow_http_on_https)):
        if is_set:
            yield name


def _mountpoints(vhost: VhostConfig) -> Iterator[Fault]:
    """Mounts that can never answer because another one has their mountpoint."""
    seen: Dict[Tuple[str, bool], MountConfig] = {}
    for mount in vhost.mounts:
        first = seen.setdefault((mount.mountpoint, mount.exact_match), mount)
        if first is not mount:
            yield _fault(mount, "mountpoint", f'"{mount.mountpoint}" is already the mountpoint of '
                                              f"{first.path} ({first.where}), which gets all its requests")


def _names(vhosts: Sequence[VhostConfig]) -> Iterator[Fault]:
    """Vhosts that can never be reached because another one has their name on the same listener."""
    seen: Dict[Tuple[str, int, str, str], VhostConfig] = {}
    for vhost in vhosts:
        at = address(vhost)
        owners = [seen.setdefault((vhost.name, at.port, at.interface, family), vhost)
                  for family in sorted(at.families)]
        for first in owners:
            if first is not vhost:
                yield _fault(vhost, "name", f'"{vhost.name}" is already the name of {first.path} '
                                            f"({first.where}) on {at}, which gets all its requests")
                break


def _listeners(vhosts: Sequence[VhostConfig]) -> Iterator[Fault]:
    """Vhosts that cannot share a listener, or whose listeners cannot exist beside each other."""
    by_port: Dict[int, Dict[Address, VhostConfig]] = {}
    for vhost in vhosts:
        at = address(vhost)
        if not at.families or (vhost.unix_socket and not vhost.interface):
            continue  # told already by _one_vhost
        others = by_port.setdefault(at.port, {})
        for other_at, other in others.items():
            if at.overlaps(other_at):
                yield from _neighbours(vhost, at, other, other_at)
        others.setdefault(at, vhost)


def _neighbours(vhost: VhostConfig, at: Address, other: VhostConfig, other_at: Address) -> Iterator[Fault]:
    """What is wrong between `vhost` and the earlier `other`, whose addresses overlap."""
    name = f"{other.path} ({other.where})"
    if at.interface != other_at.interface:
        yield _fault(vhost, "interface", f"{at} and {other_at} of {name} cannot both be listened on: give "
                                         "both vhosts the same interface, or neither of them all")
    elif bool(vhost.host_ssl_cert) != bool(other.host_ssl_cert):
        with_tls, without = (vhost.path, name) if vhost.host_ssl_cert else (name, vhost.path)
        yield _fault(vhost, "port", f"on {at}, {with_tls} has TLS (host-ssl-cert) and {without} has not: "
                                    "give both a certificate, or one of them another port", True)
    elif vhost.unix_socket and vhost.unix_socket_perms not in ("", other.unix_socket_perms):
        yield _fault(vhost, "unix-socket-perms", f"{name} gives the same socket to another user and group. "
                                                 "Those of the first vhost count")
