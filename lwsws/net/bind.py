"""Binding to addresses, to what an interface has of them, and to paths.

An IPv6 socket made here never takes IPv4 connections: both families are always two sockets, so that the
peers' addresses look the same on every system and one family can fail without the other.

A unix socket is born with mode 0600 (LESSONS 3.35): the umask sees to that, so there is no moment at
which others could connect.  It is given away through its open file, never by its name: whoever can write
to the directory could have put something else there.

The parent, which stays root, uses this module: it imports next to nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from typing import Any, List, Optional, Tuple

from lwsws import log

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

# An open file by its number, for calls that know names only.
BY_FD = "/proc/self/fd/{}"

# Which file it is: device and inode.
FileId = Tuple[int, int]

# What a TCP socket is bound to: host, port, and the scope of a link-local address, else 0.
Spot = Tuple[str, int, int]
WILDCARDS = ("0.0.0.0", "::")


def address_family(text: str) -> int:
    """AF_INET or AF_INET6 if `text` is an IP address (IPv6 with or without %scope), else 0 (AF_UNSPEC)."""
    for family, address in ((socket.AF_INET, text), (socket.AF_INET6, text.partition("%")[0])):
        try:
            socket.inet_pton(family, address)
        except (OSError, ValueError):
            continue
        return int(family)
    return 0


def tcp_address(host: str, port: int, family: int) -> Any:
    """What bind(2) takes for the literal address `host` ("" for all addresses of `family`), as a tuple that
    begins with host and port.  OSError if it is no address of that family."""
    flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
    # As bytes: text would load the tables for international names, for a literal that needs none.
    literal = os.fsencode(host) or None
    return socket.getaddrinfo(literal, port, family, socket.SOCK_STREAM, 0, flags)[0][4]


def spot(address: Any) -> Spot:
    """What a socket name (of getsockname, or as of tcp_address) stands for; equal ones are equal."""
    return address[0].partition("%")[0], address[1], address[3] if len(address) > 3 else 0


def overlap(one: Spot, other: Spot) -> bool:
    """Whether two sockets of one family at these two would take each other's connections."""
    if one[1] != other[1]:
        return False
    return one == other or one[0] in WILDCARDS or other[0] in WILDCARDS


def bind_tcp(address: Any, family: int, fastopen: int = 0, reuse_port: bool = False) -> socket.socket:
    """A non-blocking socket bound to `address` (as of tcp_address), which does not listen yet.

    With `reuse_port` it may share the address with others that have SO_REUSEPORT set, too.  OSError if it
    cannot be bound.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Without this, connections of the last run that are in TIME_WAIT keep the port for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            share_port(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        if fastopen:
            set_fastopen(sock, fastopen)
    except OSError:
        sock.close()
        raise
    return sock


def share_port(sock: socket.socket) -> None:
    """Let others be bound to the same address (SO_REUSEPORT); works after bind and listen as well.

    All that share it must have said so, and be of the same user.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def set_fastopen(sock: socket.socket, queue: int) -> None:
    """Set the length of the queue for TCP Fast Open; 0 turns it off."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, queue)
    except OSError as exc:
        log.warn(f"no TCP Fast Open: {exc.strerror}")  # only an optimisation


def stop_listening(sock: socket.socket) -> None:
    """Take no connections any more, and reset those that wait; the address stays bound, and start_listening()
    begins anew."""
    try:
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        pass    # it does not listen


def start_listening(sock: socket.socket) -> None:
    """Listen, if the socket does not yet; one that does keeps its backlog, as systemd set it."""
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.listen(BACKLOG)


def is_dual(sock: socket.socket) -> bool:
    """Whether it is an IPv6 socket that takes IPv4 connections, too: systemd makes such ones."""
    return (sock.family == socket.AF_INET6
            and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def listen_unix(path: str) -> socket.socket:
    """A non-blocking listening socket at `path`, mode 0600.

    A socket file that nobody listens on any more is replaced.  OSError if there is something else at
    `path`, or if it cannot be bound.  "@name" is an abstract socket as in the original: it
    has no file, and so neither mode nor owner.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise OSError(errno.ENAMETOOLONG, f"longer than {MAX_SOCKET_PATH} bytes", path)
    if path.startswith("@"):
        return _listen_abstract(path)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # The umask is the whole process's: there are no threads, neither in the parent nor at start-up.
        umask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_abstract(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind("\0" + path[1:])
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def give_away(path: str, uid: int, gid: int, known: Optional[FileId] = None) -> None:
    """Give the socket file at `path` to `uid` and `gid` (-1: left as it is).

    It must be the file `known`; without that, a socket of ours with no second name.  OSError if there is
    something else, or if it cannot be given away.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        same = (found.st_dev, found.st_ino) == known if known else found.st_uid == os.geteuid()
        if not stat.S_ISSOCK(found.st_mode) or not same or found.st_nlink != 1:
            raise PermissionError(errno.EPERM, "somebody put something else in its place", path)
        # chown(2) follows this link to the file that is open, wherever its name leads by now.
        os.chown(BY_FD.format(fd), uid, gid)
    finally:
        os.close(fd)


def file_id(path: str) -> Optional[FileId]:
    """Which file is at `path`; None if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove_socket_file(path: str, known: FileId) -> None:
    """Remove the socket file at `path` if it is still the one that we know."""
    directory, name = os.path.split(path)
    try:
        # Looked at and removed in one and the same directory.
        fd = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if (found.st_dev, found.st_ino) == known:
            os.unlink(name, dir_fd=fd)
    except OSError:
        pass    # gone, or in a directory that the dropped privileges cannot write: the next start replaces it
    finally:
        os.close(fd)


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that is gone; OSError if anything else is at `path`."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "exists and is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            remove_socket_file(path, (found.st_dev, found.st_ino))
            return
        except BlockingIOError:
            pass  # its backlog is full: very much alive
    raise OSError(errno.EADDRINUSE, "another process listens on it", path)


def interface_addresses(name: str, family: int) -> List[str]:
    """The addresses of `family` that can be bound on the interface `name`, link-local ones with their scope.

    Empty if it has none or does not exist.  Of IPv4 only its primary one.
    """
    encoded = os.fsencode(name)
    if family == socket.AF_INET6:
        return _ipv6_addresses(encoded)
    if not 0 < len(encoded) <= IFNAME_MAX or b"\0" in encoded:
        return []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), SIOCGIFADDR, IFREQ.pack(encoded))
        except OSError:
            return []
    return [socket.inet_ntoa(answer[IFREQ_ADDRESS])]


def tcp_addresses(host: str, interface: str, port: int, family: int) -> List[Any]:
    """The addresses of the literal `host`, or of the `interface` if one is named, as of tcp_address().

    Empty if the interface has none; OSError for what is no address of the family.
    """
    hosts = interface_addresses(interface, family) if interface else [host]
    return [tcp_address(one, port, family) for one in hosts]


def _ipv6_addresses(name: bytes) -> List[str]:
    try:
        # As bytes: who has given up root may not be able to load the codec for text.
        with open(IF_INET6, "rb") as lines:
            fields = [line.split() for line in lines]
    except OSError:
        return []
    addresses = []
    for digits, _, _, scope, flags, interface in (row for row in fields if len(row) == 6):
        if interface != name or int(flags, 16) & (IFA_F_TENTATIVE | IFA_F_DADFAILED):
            continue
        text = socket.inet_ntop(socket.AF_INET6, int(digits, 16).to_bytes(16, "big"))
        addresses.append(f"{text}%{os.fsdecode(name)}" if int(scope, 16) == SCOPE_LINK else text)
    return addresses
