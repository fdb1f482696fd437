"""Listening sockets: bound to addresses, to interfaces that may not be there yet, and to paths.

An IPv6 socket never takes IPv4 connections: both families are always two sockets, so that the peers'
addresses look the same on every system and one family can fail without the other.

A unix socket is born with mode 0600 (LESSONS 3.35): the umask sees to that, so there is no moment at
which others could connect, and no chmod that would follow a link put in its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from typing import Callable, List

from lwsws import log
from lwsws.net.reactor import Reactor

# Connections that wait to be accepted: enough for the burst of a browser or a test tool while a
# callback holds us up.  The kernel cuts it to net.core.somaxconn.
BACKLOG = 512

# ioctl: the primary IPv4 address of an interface, netdevice(7).  Name (at most 15 bytes) and answer are in a
# struct ifreq of 40 bytes.
SIOCGIFADDR = 0x8915
IFREQ = struct.Struct("16s24x")
IFREQ_ADDRESS = slice(20, 24)
IFNAME_MAX = 15

# A line per IPv6 address: 32 hex digits, then in hex the interface's number, prefix length, scope and flags,
# then the interface's name.
IF_INET6 = "/proc/net/if_inet6"
SCOPE_LINK = 0x20
# Addresses that cannot be bound (linux/if_addr.h): found on another machine, or still being looked for.
IFA_F_DADFAILED = 0x08
IFA_F_TENTATIVE = 0x40

# sun_path of unix(7), less the NUL at its end.
MAX_SOCKET_PATH = 107

# Not there yet, but may come: an interface that is plugged in later, an address that is still tentative.
NOT_YET = frozenset((errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO))
# How often to look whether it has come.
RETRY_SECONDS = 2.0


def address_family(text: str) -> int:
    """AF_INET or AF_INET6 if `text` is an IP address (IPv6 with or without %scope), else 0 (AF_UNSPEC)."""
    for family, address in ((socket.AF_INET, text), (socket.AF_INET6, text.partition("%")[0])):
        try:
            socket.inet_pton(family, address)
        except (OSError, ValueError):
            continue
        return int(family)
    return 0


def listen_tcp(
    host: str, port: int, family: int, backlog: int = BACKLOG, fastopen: int = 0
) -> socket.socket:
    """A non-blocking listening socket on the literal address `host` ("" for all addresses of `family`).

    `fastopen` is the length of the queue for TCP Fast Open, 0 for none.  OSError if it cannot be bound.
    """
    flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
    # As bytes: text would load the tables for international names, for a literal that needs none.
    literal = host.encode("ascii") or None
    address = socket.getaddrinfo(literal, port, family, socket.SOCK_STREAM, 0, flags)[0][4]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Without this, connections of the last run that are in TIME_WAIT keep the port for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        if fastopen:
            _set_fastopen(sock, fastopen)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def listen_unix(path: str, uid: int = -1, gid: int = -1, backlog: int = BACKLOG) -> socket.socket:
    """A non-blocking listening socket at `path`, mode 0600, given to `uid` and `gid` (-1: left as it is).

    A socket file that nobody listens on any more is replaced.  OSError if there is something else at
    `path`, or if it cannot be bound or given away.  "@name" is an abstract socket as in the original: it
    has no file, and so neither mode nor owner.
    """
    if path.startswith("@"):
        return _listen_abstract(path, backlog)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # The umask is the whole process's: this happens at start-up, before there are threads.
        umask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        if uid != -1 or gid != -1:
            _give_away(path, uid, gid)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_abstract(path: str, backlog: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind("\0" + path[1:])
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def interface_addresses(name: str, family: int) -> List[str]:
    """The addresses of `family` that can be bound on the interface `name`, link-local ones with their scope.

    Empty if it has none or does not exist.  Of IPv4 only its primary one.
    """
    if family == socket.AF_INET6:
        return _ipv6_addresses(name)
    encoded = os.fsencode(name)
    if not 0 < len(encoded) <= IFNAME_MAX or b"\0" in encoded:
        return []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), SIOCGIFADDR, IFREQ.pack(encoded))
        except OSError:
            return []
    return [socket.inet_ntoa(answer[IFREQ_ADDRESS])]


class BindRetry:
    """Waits for an address that does not exist yet: looks every two seconds until it can be bound."""

    def __init__(
        self,
        reactor: Reactor,
        bind: Callable[[], socket.socket],
        bound: Callable[[socket.socket], None],
        label: str,
    ) -> None:
        """`bind` makes the listening socket or raises OSError, `bound` gets it once; `label` is for the log.

        The caller has tried already: the first look is in two seconds.
        """
        self._reactor = reactor
        self._bind = bind
        self._bound = bound
        self._label = label
        self._complaint = ""  # what was logged last: the same is not said again
        log.warn(f"{label}: its address does not exist; looking for it every {RETRY_SECONDS:.0f} s")
        self._timer = reactor.call_later(RETRY_SECONDS, self._look)

    def cancel(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        try:
            sock = self._bind()
        except OSError as exc:
            # Whatever it is: it may pass, and by now there is nobody else to deal with it.
            self._complain(exc)
            self._timer = self._reactor.call_later(RETRY_SECONDS, self._look)
            return
        log.notice(f"{self._label}: its address is there now")
        self._bound(sock)

    def _complain(self, exc: OSError) -> None:
        complaint = "" if exc.errno in NOT_YET else exc.strerror or str(exc)
        if complaint and complaint != self._complaint:
            log.warn(f"{self._label}: {complaint}; looking again every {RETRY_SECONDS:.0f} s")
        self._complaint = complaint


def _set_fastopen(sock: socket.socket, queue: int) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, queue)
    except OSError as exc:
        log.warn(f"no TCP Fast Open: {exc.strerror}")  # only an optimisation


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that is gone; OSError if anything else is at `path`."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "exists and is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its backlog is full: very much alive
    raise OSError(errno.EADDRINUSE, "another process listens on it", path)


def _give_away(path: str, uid: int, gid: int) -> None:
    try:
        os.chown(path, uid, gid, follow_symlinks=False)
    except OSError:
        os.unlink(path)
        raise


def _ipv6_addresses(name: str) -> List[str]:
    try:
        with open(IF_INET6, encoding="ascii", errors="surrogateescape") as lines:
            fields = [line.split() for line in lines]
    except OSError:
        return []
    addresses = []
    for digits, _, _, scope, flags, interface in (row for row in fields if len(row) == 6):
        if interface != name or int(flags, 16) & (IFA_F_TENTATIVE | IFA_F_DADFAILED):
            continue
        text = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        addresses.append(f"{text}%{name}" if int(scope, 16) == SCOPE_LINK else text)
    return addresses
