"""The ClientHello, with which a TLS client begins: which server it names and which protocols it offers.

On a TLS port this decides which vhost a connection is for before OpenSSL sees a byte of it, because what
belongs to a vhost (client certificates, sessions, protocols) cannot be changed any more once OpenSSL has
begun (LESSONS 1, T1 to T4).  The bytes are only looked at; OpenSSL reads them again and judges everything
that is not read here, such as versions and cipher suites.

    record        type 22, version 3.x, length; one or more of them carry the message  (RFC 8446 5.1)
      message     type 1, length                                                       (RFC 8446 4)
        hello     version, random, session id, cipher suites, compression, extensions  (RFC 8446 4.1.2)
          server_name  a list of one host name                                         (RFC 6066 3)
          alpn         a list of protocol names                                        (RFC 7301 3.1)
          supported_groups, key_share   ways to exchange keys                          (RFC 8446 4.2.7, 4.2.8)

What could be read in two ways is refused: OpenSSL must not find another name in it than this does.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Dict, NamedTuple, Optional, Tuple

# A handshake message with its header.  Real ones have 0.2 to 3 KiB, the largest with a ticket that holds a
# client certificate; OpenSSL would take 128 KiB.
MAX_HELLO = 16 * 1024
# Some clients cut their hello into tiny records to get it past filters on the way.  Enough for one byte each
# of the 512 that many clients pad it to; going through all of them, anew at each look, takes 0.2 ms.
MAX_RECORDS = 512

_RECORD = Struct(">BBxH")  # type, major version, length
_RECORD_HEADER = 5
# RFC 8446 5.1: The length MUST NOT exceed 2^14 bytes.
_MAX_RECORD = 1 << 14
# No hello within both limits ends behind this many bytes, so nobody has to look at more.
MAX_BYTES = MAX_HELLO + MAX_RECORDS * _RECORD_HEADER

# What a CA offers that looks at a challenge, and nothing else beside it (RFC 8737 3).
ACME_ALPN = ("acme-tls/1",)

_MESSAGE_HEADER = 4
_HANDSHAKE = 22
_MAJOR = 3  # SSL 3.0 and all TLS; the minor number is to be ignored
_BEGINNING = bytes((_HANDSHAKE, _MAJOR))
_CLIENT_HELLO = 1

_SESSION_ID = 2 + 32  # behind version and random
_MAX_SESSION_ID = 32

_EXTENSION = Struct(">HH")  # type, length
_EXTENSION_HEADER = 4
_SERVER_NAME = 0
_ALPN = 16
_SUPPORTED_GROUPS = 10
_KEY_SHARE = 51
_SHARE = Struct(">HH")  # group, length of the key
_NAME_LIST = Struct(">HBH")  # length of the list; type and length of its one name
_HOST_NAME = 0
# ASCII without white space (RFC 6066 3 says ASCII only); the limit is OpenSSL's, and DNS's.
_NAME = re.compile(rb"[!-~]{1,255}")
# The first byte of the finite field groups ffdhe2048 to ffdhe8192 (RFC 7919 2), and the elliptic curves that
# every OpenSSL prefers to them: secp256r1, secp384r1, secp521r1, x25519, x448.
_FINITE_FIELD = 1
_CURVES = frozenset((23, 24, 25, 29, 30))


class NotTls(Exception):
    """The bytes do not begin a TLS connection."""


class HelloError(Exception):
    """They do, but then break a rule; the text says which."""


class ClientHello(NamedTuple):
    """What a client says of itself before anything is encrypted.

    `server_name` is in lower case without a dot at the end, "" if absent; `alpn` is latin-1 text.
    `finite_field` says that OpenSSL would exchange keys with it by a finite field group, if allowed to: up to
    a hundred times the work of a curve, for a client that need not do any (CVE-2002-20001).
    """

    server_name: str
    alpn: Tuple[str, ...]
    finite_field: bool = False


def read_client_hello(data: bytes) -> Optional[ClientHello]:
    """Read the ClientHello at the beginning of `data`, all that has come so far; None: more is needed.

    What follows it, in a record of its own, is not looked at.  NotTls as soon as the bytes cannot begin a
    TLS connection, HelloError if they do but are malformed or over one of the limits.  For MAX_BYTES and
    more the answer is never None.
    """
    if data[:2] != _BEGINNING[: len(data)]:
        raise NotTls("it does not begin with a TLS handshake record")
    if len(data) <= _RECORD_HEADER:
        return None
    length = data[3] << 8 | data[4]
    if length and data[5] != _CLIENT_HELLO:
        raise NotTls("its first TLS message is no ClientHello")
    # Nearly always one record holds the message and nothing else.
    end = _RECORD_HEADER + length
    if len(data) >= end and length == _MESSAGE_HEADER + int.from_bytes(data[6:9], "big") <= MAX_HELLO:
        return _read_hello(data[_RECORD_HEADER + _MESSAGE_HEADER : end])
    message = _join_records(data)
    return None if message is None else _read_hello(message[_MESSAGE_HEADER:])


def _join_records(data: bytes) -> Optional[bytes]:
    """The handshake message at the beginning of `data`; None if it is incomplete."""
    message = bytearray()
    need = 0  # the length of the message; 0: not known yet
    at = 0
    for _ in range(MAX_RECORDS):
        if len(data) < at + _RECORD_HEADER:
            return None
        kind, major, length = _RECORD.unpack_from(data, at)
        if kind != _HANDSHAKE or major != _MAJOR:
            raise HelloError("a record of another kind comes before its end")
        # RFC 8446 5.1: Implementations MUST NOT send zero-length fragments of Handshake types.
        if not 0 < length <= _MAX_RECORD:
            raise HelloError(f"a record of {length} bytes")
        at += _RECORD_HEADER
        end = len(message) + length
        message += data[at : at + length]
        at += length
        if not need and len(message) >= _MESSAGE_HEADER:
            need = _message_length(message)
        if need and end > need:
            raise HelloError("something follows it in its record")
        if len(data) < at:
            return None
        if end == need:
            return bytes(message)
    raise HelloError(f"more than {MAX_RECORDS} records")


def _message_length(message: bytearray) -> int:
    """The length that the header of a handshake message announces, header included."""
    length = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
    if length > MAX_HELLO:
        raise HelloError(f"it is longer than {MAX_HELLO} bytes")
    return length


def _read_hello(hello: bytes) -> ClientHello:
    """What stands in a ClientHello without its headers."""
    size = len(hello)
    try:
        # legacy_session_id<0..32>, cipher_suites<2..2^16-2>, legacy_compression_methods<1..2^8-1>
        at = _SESSION_ID + 1 + hello[_SESSION_ID]
        suites = hello[at] << 8 | hello[at + 1]
        methods = at + 2 + suites
        at = methods + 1 + hello[methods]
    except IndexError:
        raise HelloError("it ends too early") from None
    if hello[_SESSION_ID] > _MAX_SESSION_ID or suites % 2 or not suites or not hello[methods] or at > size:
        raise HelloError("its session id, cipher suites or compression methods have an impossible length")
    # RFC 5246 7.4.1.2: the extensions may be absent.
    if at == size:
        return ClientHello("", ())
    if size != at + 2 + int.from_bytes(hello[at : at + 2], "big"):
        raise HelloError("its extensions do not end where it ends")
    places = _find_extensions(hello, at + 2)
    name = ""
    alpn: Tuple[str, ...] = ()
    if _SERVER_NAME in places:
        name = _read_server_name(_extension_data(hello, places[_SERVER_NAME]))
    if _ALPN in places:
        alpn = _read_alpn(_extension_data(hello, places[_ALPN]))
    return ClientHello(name, alpn, _is_finite_field(hello, places))


def _find_extensions(hello: bytes, at: int) -> Dict[int, int]:
    """Where the extensions, of which the first is at `at`, begin, by their types."""
    places: Dict[int, int] = {}
    last = len(hello) - _EXTENSION_HEADER
    header = _EXTENSION.unpack_from
    while at <= last:
        kind, length = header(hello, at)
        # RFC 8446 4.2: There MUST NOT be more than one extension of the same type.
        if kind in places:
            raise HelloError(f"the extension {kind} comes twice")
        places[kind] = at
        at += _EXTENSION_HEADER + length
    if at != len(hello):
        raise HelloError("its last extension is cut short")
    return places


def _extension_data(hello: bytes, at: int) -> bytes:
    """What the extension that begins at `at` holds."""
    _, length = _EXTENSION.unpack_from(hello, at)
    at += _EXTENSION_HEADER
    return hello[at : at + length]


def _is_finite_field(hello: bytes, places: Dict[int, int]) -> bool:
    """Whether a key of a finite field group comes along, or such groups are offered and no usual curve."""
    if _SUPPORTED_GROUPS not in places:
        return False
    groups = _read_groups(_extension_data(hello, places[_SUPPORTED_GROUPS]))
    if _FINITE_FIELD not in groups[::2]:
        return False
    offered = [groups[at] << 8 | groups[at + 1] for at in range(0, len(groups), 2)]
    if _CURVES.isdisjoint(offered):
        return True
    return _KEY_SHARE in places and _has_finite_share(_extension_data(hello, places[_KEY_SHARE]))


def _read_groups(data: bytes) -> bytes:
    """The groups, two bytes each, in the extension supported_groups."""
    if len(data) < 4 or len(data) % 2 or int.from_bytes(data[:2], "big") != len(data) - 2:
        raise HelloError("its list of groups is malformed")
    return data[2:]


def _has_finite_share(data: bytes) -> bool:
    """Whether one of the keys in the extension key_share is of a finite field group."""
    found = False
    at = 2
    while at + _SHARE.size <= len(data):
        group, length = _SHARE.unpack_from(data, at)
        found = found or group >> 8 == _FINITE_FIELD
        at += _SHARE.size + length
    if at != len(data) or int.from_bytes(data[:2], "big") != len(data) - 2:
        raise HelloError("its list of keys is malformed")
    return found


def _read_server_name(data: bytes) -> str:
    """The host name in the data of the extension server_name."""
    size = len(data)
    # RFC 6066 3: MUST NOT contain more than one name of the same type.  There is only one type, and who does
    # not know another cannot skip it; OpenSSL takes exactly one host name too.
    header = _NAME_LIST.size
    if size < header or _NAME_LIST.unpack_from(data) != (size - 2, _HOST_NAME, size - header):
        raise HelloError("its server name is not exactly one host name")
    name = data[header:]
    if _NAME.fullmatch(name) is None:
        raise HelloError("its server name has a character, or a length, that no name has")
    return name.lower().decode("ascii").removesuffix(".")


def _read_alpn(data: bytes) -> Tuple[str, ...]:
    """The protocol names in the extension application_layer_protocol_negotiation."""
    names = []
    at = 2
    size = len(data)
    while at < size:
        end = at + 1 + data[at]
        names.append(data[at + 1 : end].decode("latin-1"))
        at = end
    # RFC 7301 3.1: at least one name, and empty ones MUST NOT be included.
    if at != size or int.from_bytes(data[:2], "big") != size - 2 or not names or "" in names:
        raise HelloError("its list of protocols is malformed")
    return tuple(names)
