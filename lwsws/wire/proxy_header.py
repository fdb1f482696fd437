"""The header of the PROXY protocol, by which a load balancer says for whom it opened a connection.

    version 1   PROXY TCP4 192.0.2.1 192.0.2.9 56324 443 CR LF
    version 2   signature (12 bytes), version and command, family and transport, length; then that many
                bytes: source and destination addresses, their ports, and perhaps further values (TLVs)

It stands in front of everything else, TLS too.  Written after HAProxy's specification
(doc/proxy-protocol.txt), whose sections are named here.  Only the source is of interest; what follows the
addresses in version 2 is skipped, as section 2.2 allows.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import NamedTuple, Optional, Tuple, Union

from lwsws.wire.errors import RemoteProtocolError, excerpt
from lwsws.wire.target import MAX_PORT, is_ipv6

# 2.1: the longest line with its end.
_MAX_LINE = 107
# 2.2: always smaller than a packet; but newer proxies can add the client's certificate, 1 to 4 KiB.
MAX_HEADER = 8192

_BEGINNING_1 = b"PROXY "
_BEGINNING_2 = b"\r\n\r\n\0\r\nQUIT\n"

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
# 2.1: no zeros in front.
_PORT = r"(0|[1-9][0-9]{0,4})"
_TCP = re.compile(rf"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) {_PORT} {_PORT}")
_UNKNOWN = re.compile(r"PROXY UNKNOWN(?: .*)?")

_FIXED = Struct(">12xBBH")  # version and command, family and transport, length of the rest
_VERSION = 2
_LOCAL, _PROXY = 0, 1
_LAST_FAMILY = 3  # unspecified, IPv4, IPv6, unix
_LAST_TRANSPORT = 2  # unspecified, stream, datagram
# By family and transport: the source's address, the destination's, both ports.  2.2: whatever else is valid
# may be treated as unspecified; neither a datagram nor a unix socket has a peer that we could name.
_ADDRESSES = {0x11: Struct(">4s4xH2x"), 0x21: Struct(">16s16xH2x")}


class ProxyHeader(NamedTuple):
    """How many bytes of the connection the header takes, and whose connection it is: address and port.

    `source` is None if the header does not say: then the peer counts as the client.
    """

    length: int
    source: Optional[Tuple[str, int]]


def read_proxy_header(data: bytes) -> Optional[ProxyHeader]:
    """Read the header at the beginning of `data`, all that has come so far; None: more is needed.

    The address is in its shortest form, an IPv4 address inside IPv6 as IPv4.  RemoteProtocolError 400 if it
    is no header, malformed, or longer than MAX_HEADER.
    """
    if data.startswith(_BEGINNING_1):
        return _read_line(data)
    if data.startswith(_BEGINNING_2):
        return _read_binary(data)
    if _BEGINNING_1.startswith(data) or _BEGINNING_2.startswith(data):
        return None
    beginning = data[: len(_BEGINNING_2)].decode("latin-1")
    raise RemoteProtocolError(400, f"there is no PROXY header: it begins with {excerpt(beginning)}")


def _read_line(data: bytes) -> Optional[ProxyHeader]:
    """A header of version 1."""
    end = data.find(b"\n", 0, _MAX_LINE)
    if end < 0:
        # 2.1: If the CRLF sequence is not found in the first 107 characters, declare the line invalid.
        if len(data) >= _MAX_LINE:
            raise RemoteProtocolError(400, f"the PROXY line is over {_MAX_LINE} bytes")
        return None
    line = data[: end + 1].decode("latin-1")
    # 2.1: must not tolerate a single CR or LF.
    if not line.endswith("\r\n") or "\r" in line[:-2]:
        raise RemoteProtocolError(400, "the PROXY line does not end in CRLF")
    line = line[:-2]
    # 2.1: must ignore anything presented before the CRLF.
    if _UNKNOWN.fullmatch(line) is not None:
        return ProxyHeader(end + 1, None)
    found = _TCP.fullmatch(line)
    if found is None:
        raise RemoteProtocolError(400, f"malformed PROXY line {excerpt(line)}")
    family, source, destination, source_port, destination_port = found.groups()
    is_address = is_ipv6 if family == "6" else _is_ipv4
    for address in (source, destination):
        if not is_address(address):
            raise RemoteProtocolError(400, f"{excerpt(address)} in the PROXY line is no IPv{family} address")
    if int(source_port) > MAX_PORT or int(destination_port) > MAX_PORT:
        raise RemoteProtocolError(400, f"a port in the PROXY line is over {MAX_PORT}")
    return ProxyHeader(end + 1, (_shortest(source), int(source_port)))


def _read_binary(data: bytes) -> Optional[ProxyHeader]:
    """A header of version 2."""
    if len(data) < _FIXED.size:
        return None
    version_command, kind, size = _FIXED.unpack_from(data)
    command = version_command & 15
    # 2.2: must only accept version 2, must drop connections presenting unexpected commands.
    if version_command >> 4 != _VERSION or command not in (_LOCAL, _PROXY):
        raise RemoteProtocolError(400, f"the PROXY header has version and command {version_command:#04x}")
    # 2.2: other families and transports must be rejected as invalid; those of LOCAL are ignored.
    if command == _PROXY and (kind >> 4 > _LAST_FAMILY or kind & 15 > _LAST_TRANSPORT):
        raise RemoteProtocolError(400, f"the PROXY header has family and transport {kind:#04x}")
    length = _FIXED.size + size
    if length > MAX_HEADER:
        raise RemoteProtocolError(400, f"the PROXY header has {length} bytes, more than {MAX_HEADER}")
    addresses = _ADDRESSES.get(kind) if command == _PROXY else None
    if addresses is not None and size < addresses.size:
        raise RemoteProtocolError(400, f"the PROXY header has {size} bytes for addresses of {addresses.size}")
    if len(data) < length:
        return None
    if addresses is None:
        return ProxyHeader(length, None)
    source, port = addresses.unpack_from(data, _FIXED.size)
    return ProxyHeader(length, (_shortest(source), port))


def _is_ipv4(text: str) -> bool:
    return _IPV4.fullmatch(text) is not None


def _shortest(address: Union[str, bytes]) -> str:
    """An IP address, as text or in 4 or 16 bytes, in the one form that the kernel's peers have too."""
    # Loaded when the first header comes: most servers never see one.
    from ipaddress import IPv6Address, ip_address

    found = ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(found if mapped is None else mapped)
