"""Checks between vhosts and between the keys of one vhost: pure, on the finished records.

What cannot work together is fatal (TLS and plain http on one listener); what has no effect, or a
name that is already taken, is reported and left to the rule "the first one wins".  Nothing is
changed in the configuration.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Sequence, Tuple

from lwsws.config.crosscheck_mount import one_mount
from lwsws.config.crosscheck_vhost import Keys, one_vhost, useless
from lwsws.config.keys import SERVED_ORIGINS, SPOKEN_ALPN
from lwsws.config.model import NOWHERE, Config, Fault, MountConfig, VhostConfig
from lwsws.config.report import fault_at

IPV4, IPV6 = "IPv4", "IPv6"
# Addresses that stand for all interfaces.
EVERYWHERE = ("0.0.0.0", "::")


# What systemd takes for the name of a socket, sd_is_fdname in its source: ASCII, but no colon.
MAX_SOCKET_NAME = 255


class Address(NamedTuple):
    """Where a vhost listens: `interface` is "" for all; with port 0 it is the path of a unix socket, or the
    name of a socket that is passed."""

    port: int
    interface: str
    families: FrozenSet[str]

    def overlaps(self, other: Address) -> bool:
        """Whether the two cannot both be listened on unless they are the same."""
        same_place = self.interface == other.interface or not self.interface or not other.interface
        return self.port == other.port and same_place and not self.families.isdisjoint(other.families)

    def __str__(self) -> str:
        if not self.port:
            return f"{'unix' if 'unix' in self.families else 'passed'} socket {self.interface}"
        return f"port {self.port}" + (f" of {self.interface}" if self.interface else "")


def address(vhost: VhostConfig) -> Address:
    """Where `vhost` listens, as far as its keys tell."""
    if vhost.listen_fd:
        return Address(0, vhost.listen_fd, frozenset(("passed",)))
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
        faults.extend(_place(vhost))
        faults.extend(one_vhost(vhost))
        faults.extend(_mountpoints(vhost))
        for mount in vhost.mounts:
            faults.extend(one_mount(mount, vhost))
    faults.extend(_names(config.vhosts))
    faults.extend(_listeners(config.vhosts))
    faults.extend(_receptions(config.vhosts))
    return faults


def _place(vhost: VhostConfig) -> Iterator[Fault]:
    """What is wrong with where `vhost` listens."""
    if vhost.listen_fd:
        yield from _passed_socket(vhost)
    elif vhost.unix_socket and not vhost.interface:
        yield fault_at(vhost, "unix-socket", 'needs "interface", the path of the socket', True)
    if not address(vhost).families:
        yield fault_at(vhost, "interface", f'nothing is left to listen on: "{vhost.interface}" is no address '
                                           "of the kind that noipv6 or ipv6only leaves", True)


def _passed_socket(vhost: VhostConfig) -> Iterator[Fault]:
    """What does not go together with a socket that is passed to us, or cannot be its name."""
    name = vhost.listen_fd
    if len(name) > MAX_SOCKET_NAME or not (name.isascii() and name.isprintable()) or ":" in name:
        yield fault_at(vhost, "listen-fd", f"{name[:60]!r} cannot be the name of a socket: it has letters, "
                                           f"digits and signs of ASCII but no colon, {MAX_SOCKET_NAME} at "
                                           "most, as FileDescriptorName= in the socket unit", True)
    if vhost.unix_socket or vhost.interface:
        key = "unix-socket" if vhost.unix_socket else "interface"
        yield fault_at(vhost, key, 'contradicts "listen-fd": the socket unit says where that socket listens',
                       True)
    without: Keys = (("noipv6", vhost.noipv6), ("ipv6only", vhost.ipv6only is not None),
                     ("unix-socket-perms", vhost.unix_socket_perms),
                     ("fo-listen-queue", vhost.fo_listen_queue))
    yield from useless(vhost, without, 'with "listen-fd": the socket unit says how that socket is')


def _mountpoints(vhost: VhostConfig) -> Iterator[Fault]:
    """Mounts that can never answer because another one has their mountpoint."""
    seen: Dict[Tuple[str, bool], MountConfig] = {}
    for mount in vhost.mounts:
        first = seen.setdefault((mount.mountpoint, mount.exact_match), mount)
        if first is not mount:
            yield fault_at(mount, "mountpoint", f'"{mount.mountpoint}" is already the mountpoint of '
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
                yield fault_at(vhost, "name", f'"{vhost.name}" is already the name of {first.path} '
                                              f"({first.where}) on {at}, which gets all its requests")
                break


def _listeners(vhosts: Sequence[VhostConfig]) -> Iterator[Fault]:
    """Vhosts that cannot share a listener, or whose listeners cannot exist beside each other."""
    by_port: Dict[int, Dict[Address, VhostConfig]] = {}
    for vhost in vhosts:
        at = address(vhost)
        if not at.families or (vhost.unix_socket and not vhost.interface):
            continue  # told already by _place
        others = by_port.setdefault(at.port, {})
        for other_at, other in others.items():
            if at.overlaps(other_at):
                yield from _neighbours(vhost, at, other, other_at)
        others.setdefault(at, vhost)


def _neighbours(vhost: VhostConfig, at: Address, other: VhostConfig, other_at: Address) -> Iterator[Fault]:
    """What is wrong between `vhost` and the earlier `other`, whose addresses overlap."""
    name = f"{other.path} ({other.where})"
    if at.interface != other_at.interface:
        yield fault_at(vhost, "interface", f"{at} and {other_at} of {name} cannot both be listened on: give "
                                           "both vhosts the same interface, or neither of them all")
    elif bool(vhost.host_ssl_cert) != bool(other.host_ssl_cert):
        with_tls, without = (vhost.path, name) if vhost.host_ssl_cert else (name, vhost.path)
        yield fault_at(vhost, "port", f"on {at}, {with_tls} has TLS (host-ssl-cert) and {without} has not: "
                                      "give both a certificate, or one of them another port", True)
    elif vhost.unix_socket and vhost.unix_socket_perms not in ("", other.unix_socket_perms):
        yield fault_at(vhost, "unix-socket-perms", f"{name} gives the same socket to another user and group. "
                                                   "Those of the first vhost count")


# What holds for all connections of a listener, though each vhost can say it.


def _receptions(vhosts: Sequence[VhostConfig]) -> Iterator[Fault]:
    """Keys that have no effect because another vhost of the same listener decides."""
    sharing: Dict[Tuple[int, str, str], List[VhostConfig]] = {}
    for vhost in vhosts:
        at = address(vhost)
        for family in sorted(at.families):
            sharing.setdefault((at.port, at.interface, family), []).append(vhost)
    told = set()
    for group in sharing.values():
        members = tuple(map(id, group))
        if members not in told:     # IPv4 and IPv6 are mostly shared by the same vhosts
            told.add(members)
            yield from _reception(group)


def _reception(group: Sequence[VhostConfig]) -> Iterator[Fault]:
    """The same for one listener, which the vhosts of `group` share."""
    first = group[0]
    at, name = address(first), f"{first.path} ({first.where})"
    for vhost in group[1:]:
        if vhost.proxy_protocol_from not in ((), first.proxy_protocol_from):
            yield fault_at(vhost, "proxy-protocol-from", f"has no effect: {name} is the first vhost of {at}, "
                                                         "and its value counts for all connections there")
    if not first.host_ssl_cert:
        yield from _raw_in_the_clear(group, f"{name} is the first vhost of {at}")
    yield from _fallbacks(group, str(at))
    for vhost in group:
        is_all_raw = vhost.apply_listen_accept and (vhost is first or bool(vhost.host_ssl_cert))
        if is_all_raw and vhost.mounts:
            yield fault_at(vhost, "mounts", 'are never reached: with "apply-listen-accept" there is no http')


def _raw_in_the_clear(group: Sequence[VhostConfig], why: str) -> Iterator[Fault]:
    """Without TLS nothing tells the connections of a listener apart before they are http."""
    for vhost in group[1:]:
        if group[0].apply_listen_accept:
            yield fault_at(vhost, "port", f"nothing reaches this vhost: {why}, and takes all connections by "
                                          '"apply-listen-accept"')
        elif vhost.apply_listen_accept:
            yield fault_at(vhost, "apply-listen-accept", f"has no effect: {why}, and serves http")


def _fallbacks(group: Sequence[VhostConfig], at: str) -> Iterator[Fault]:
    """Fallbacks after the first one, where they are not the same."""
    falling = [vhost for vhost in group if vhost.has_fallback]
    for vhost in falling[1:]:
        if _fallback(vhost) != _fallback(falling[0]):
            name = f"{falling[0].path} ({falling[0].where})"
            yield fault_at(vhost, "fallback-listen-accept", f"has no effect: the fallback of {name} counts "
                                                            f"on {at}")


def _fallback(vhost: VhostConfig) -> Tuple[object, ...]:
    """What a fallback does."""
    protocols = [(protocol.name, protocol.options) for protocol in vhost.ws_protocols]
    return vhost.listen_accept_role, vhost.listen_accept_protocol, vhost.fallback_wait, protocols


# What is no fault, but cannot be had.


def pending(config: Config) -> List[Fault]:
    """One remark for each kind of thing that is asked for and cannot be had here."""
    mounts = [mount for vhost in config.vhosts for mount in vhost.mounts]
    remarks = [fault_at(mount, "origin", f"{mount.origin.scheme}:// is not served by this version")
               for mount in mounts if mount.origin.kind not in SERVED_ORIGINS]
    return remarks + _unspoken_alpn(config)[:1] + _fixed_ciphers(config)[:1]


def _unspoken_alpn(config: Config) -> List[Fault]:
    """Application protocols that are asked for and left out."""
    settings = config.globals
    places = [(settings.positions.get("default-alpn", NOWHERE), settings.path, settings.default_alpn)]
    places += [(vhost.positions.get("alpn", vhost.where), vhost.path, vhost.alpn) for vhost in config.vhosts
               if vhost.host_ssl_cert and not vhost.apply_listen_accept]
    remarks = []
    for position, path, names in places:
        left_out = [name for name in map(str.strip, names.split(",")) if name and name not in SPOKEN_ALPN]
        if left_out:
            key = "default-alpn" if path == settings.path else "alpn"
            reason = f"{', '.join(left_out)} is not spoken here and not offered"
            remarks.append(Fault(position, f"{path}.{key}", reason, False))
    return remarks


def _fixed_ciphers(config: Config) -> List[Fault]:
    """Ciphers for TLS 1.3 that are chosen, which Python cannot do."""
    return [fault_at(vhost, name, "has no effect: Python cannot choose the ciphers of TLS 1.3, and OpenSSL "
                                  "offers all of them. The names are checked")
            for vhost in config.vhosts
            for name, value in (("tls13-ciphers", vhost.tls13_ciphers),
                                ("client-tls13-ciphers", vhost.client_tls13_ciphers)) if value]
