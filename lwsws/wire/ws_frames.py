"""WebSocket frames (RFC 6455 5): their parts as bytes, masking, close codes, and the events they become.

     0               1               2               3
    +-+-+-+-+-------+-+-------------+-------------------------------+
    |F|R|R|R| opcode|M| length      | 16 bits if it is 126,         |
    |I|S|S|S|       |A|             | 64 bits if it is 127          |
    |N|V|V|V|       |S|             +-------------------------------+
    | |1|2|3|       |K|             | key, if masked                |
    +-+-+-+-+-------+-+-------------+-------------------------------+

A client masks what it sends: byte i of the payload is combined with byte i mod 4 of the key (5.3), so that
nobody can make it send bytes of his choice.  In Python that is done by XOR of two large integers or, where
the payload is large, by four passes of bytes.translate(), one for each byte of the key.
"""

from __future__ import annotations

from enum import IntEnum
from typing import List, NamedTuple, Optional, Tuple, Union

from lwsws.wire.errors import LocalProtocolError


class Opcode(IntEnum):
    """What a frame is (RFC 6455 11.8)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """Why a connection is closed (RFC 6455 7.4.1 and the registry it begot)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005  # never sent: the close frame was empty
    ABNORMAL = 1006  # never sent: there was no close frame
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    MISSING_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015  # never sent


class Fragment(NamedTuple):
    """A piece of a message, a str if that is text, else bytes.  Only the last one can be empty."""

    data: Union[str, bytes]
    first: bool
    final: bool


class Ping(NamedTuple):
    """The peer wants a pong with the same data."""

    data: bytes


class Pong(NamedTuple):
    """The peer answered a ping of ours, or just says that it lives."""

    data: bytes


class Close(NamedTuple):
    """The peer closes the WebSocket: 1005 and "" if it gave no reason.  Nothing follows."""

    code: int
    reason: str


Event = Union[str, bytes, Fragment, Ping, Pong, Close]
"""What comes of the bytes of a client; a whole message is a str or bytes."""


Octets = Union[bytes, bytearray]


class WsProtocolError(Exception):
    """The peer broke the protocol: send a close frame with `code`, say `why`, and read nothing more."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = int(code)
        self.why = why

    def __str__(self) -> str:
        return f"{self.code}: {self.why}"


# In a frame's first byte, and in its second.
FIN = 0x80
RSV1 = 0x40
IS_CONTROL = 0x08
MASKED = 0x80

# RFC 6455 5.5: a control frame has at most so much payload.
MAX_CONTROL = 125
# And of that of a close frame, two bytes are the code (5.5.1).
MAX_REASON = MAX_CONTROL - 2

LENGTH_16, LENGTH_64 = 126, 127

# What a close frame may say; below 3000 only what the registry has given out (RFC 6455 7.4.2).  1010 is for
# clients, but a server has to be able to echo it.
_SENDABLE = frozenset(code for code in CloseCode if code not in (1005, 1006, 1015))
_PRIVATE = range(3000, 5000)

# Below so many bytes two integers are quicker, above it four strided passes.  Measured on CPython 3.9, 3.11
# and 3.13 they cross between 900 and 1500 bytes: 125 B take 0.8 and 2.2 us, 16 KiB 43 and 31, 64 KiB 210
# and 125.
STRIDED = 1024

# _XOR_TABLES[k] maps each byte b to b ^ k; made when a key first needs it, 64 KiB if all were.
_XOR_TABLES: List[Optional[bytes]] = [None] * 256


def unmask(data: bytes, key: bytes, offset: int = 0) -> bytes:
    """`data` with the mask taken off, or put on; `offset` is its place in the payload (RFC 6455 5.3)."""
    if offset:
        key = turned(key, offset)
    size = len(data)
    if size >= STRIDED:
        return bytes(unmask_large(data, key))
    mask = (key * ((size >> 2) + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def turned(key: bytes, offset: int) -> bytes:
    """The key as it is for what stands at `offset` in the payload."""
    offset &= 3
    return key[offset:] + key[:offset]


def unmask_large(data: bytes, key: bytes) -> bytearray:
    """As unmask(), quicker for STRIDED bytes or more; a bytearray, to save copying them once more."""
    unmasked = bytearray(data)
    for lane, byte in enumerate(key):
        unmasked[lane::4] = data[lane::4].translate(_XOR_TABLES[byte] or _xor_table(byte))
    return unmasked


def _xor_table(byte: int) -> bytes:
    table = bytes(other ^ byte for other in range(256))
    _XOR_TABLES[byte] = table
    return table


def frame(opcode: int, payload: bytes, fin: bool = True, rsv1: bool = False) -> bytes:
    """A frame as servers send it, which is unmasked (RFC 6455 5.1)."""
    first = opcode | (FIN if fin else 0) | (RSV1 if rsv1 else 0)
    size = len(payload)
    if size < LENGTH_16:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, LENGTH_16, size >> 8, size & 255)) + payload
    return bytes((first, LENGTH_64)) + size.to_bytes(8, "big") + payload


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A control frame; LocalProtocolError if there is too much in it (RFC 6455 5.5)."""
    if len(payload) > MAX_CONTROL:
        raise LocalProtocolError(f"{len(payload)} bytes are too many for a control frame")
    return frame(opcode, payload)


def text_payload(text: str) -> bytes:
    """The payload of a text message; LocalProtocolError if it has half of a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"this cannot be sent as text: {error}") from None


def read_length(data: bytes, at: int) -> Optional[Tuple[int, int]]:
    """The payload length of the frame that begins at `at`, and where its key does; None: too few bytes.

    WsProtocolError 1002 if the frame is not masked or says its length in more bytes than it takes.
    """
    if len(data) < at + 2:
        return None
    second = data[at + 1]
    # RFC 6455 5.1: a server MUST close the connection upon receiving a frame that is not masked.
    if not second & MASKED:
        raise WsProtocolError(CloseCode.PROTOCOL_ERROR, "a frame is not masked")
    length = second & ~MASKED
    begin = at + 2
    if length < LENGTH_16:
        return length, begin
    if data[at] & IS_CONTROL:
        raise WsProtocolError(CloseCode.PROTOCOL_ERROR, "a control frame has more than 125 bytes")
    size = 2 if length == LENGTH_16 else 8
    if len(data) < begin + size:
        return None
    least = LENGTH_16 if length == LENGTH_16 else 1 << 16
    length = int.from_bytes(data[begin : begin + size], "big")
    # RFC 6455 5.2: the minimal number of bytes MUST be used, and the most significant bit MUST be 0.
    if length < least or length >> 63:
        raise WsProtocolError(CloseCode.PROTOCOL_ERROR, "a frame's length is written wrongly")
    return length, begin + size


def read_close(payload: bytes) -> Tuple[int, str]:
    """The code and the reason in a close frame's payload (RFC 6455 5.5.1); 1005 and "" if it is empty.

    WsProtocolError 1002 for a code that must not be sent, 1007 for a reason that is not UTF-8.
    """
    if not payload:
        return int(CloseCode.NO_STATUS), ""
    if len(payload) == 1:
        raise WsProtocolError(CloseCode.PROTOCOL_ERROR, "a close frame has half a code")
    code = int.from_bytes(payload[:2], "big")
    if code not in _SENDABLE and code not in _PRIVATE:
        raise WsProtocolError(CloseCode.PROTOCOL_ERROR, f"a close frame has the code {code}")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise WsProtocolError(CloseCode.INVALID_DATA, "the reason of a close frame is not UTF-8") from None


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; one with 1005 is empty.  `reason` is cut to what fits, 123 bytes of UTF-8.

    LocalProtocolError for a code that must not be sent (RFC 6455 7.4).
    """
    if code == CloseCode.NO_STATUS:
        return frame(Opcode.CLOSE, b"")
    if code not in _SENDABLE and code not in _PRIVATE:
        raise LocalProtocolError(f"the close code {code} cannot be sent")
    text = text_payload(reason)
    if len(text) > MAX_REASON:
        # Drops the character that is cut in two, if one is.
        text = text[:MAX_REASON].decode("utf-8", "ignore").encode()
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + text)
