"""A blocking WebSocket client (RFC 6455, RFC 7692) for tests, with not a line from lwsws.wire: the second
opinion on what the server sends.

    with open_websocket("127.0.0.1", port, protocol="lws-mirror-protocol") as ws:
        ws.send_text("hello")
        assert ws.receive() == (TEXT, b"hello")
        ws.close()                       # the whole closing handshake
        assert ws.close_code == 1000

`connect` gives a `Refused` where the server answered anything but 101, `open_websocket` fails then.  Whatever
a server must not do is a `BadServer`, an AssertionError.  `send_frame` can do all that a client must not.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct
import zlib
from types import TracebackType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Type, Union

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OPCODES = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
DEFLATE_OFFER = "permessage-deflate; client_max_window_bits"
FLUSH_TAIL = b"\x00\x00\xff\xff"  # RFC 7692 7.2.1: cut off by the sender, put back by the receiver
PIECE = 1 << 16
RSV1 = 4  # of the three reserved bits: "this message is compressed"


class BadServer(AssertionError):
    """The server did what a server must not do."""


class Refused(NamedTuple):
    """The answer to a handshake that was not accepted; the names of `headers` in lower case."""

    status: int
    headers: Dict[str, str]
    body: bytes


class Frame(NamedTuple):
    """One frame as it came, `payload` still compressed if `rsv` has RSV1."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int


def mask(data: bytes, key: bytes) -> bytes:
    """`data` masked, or unmasked, by the four bytes of `key` (RFC 6455 5.3)."""
    stream = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0,
          key: Optional[bytes] = None) -> bytes:
    """The bytes of a frame, masked if there is a `key`; nothing is checked."""
    length, masked = len(payload), 0x80 if key is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 1 << 16:
        head += bytes([masked | 126]) + struct.pack("!H", length)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", length)
    return head + payload if key is None else head + key + mask(payload, key)


def accept_value(key: str) -> str:
    """What Sec-WebSocket-Accept must be for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


class Deflate:
    """The two directions of a permessage-deflate that was agreed on with `answer`, the server's field."""

    def __init__(self, answer: str) -> None:
        name, *rest = [part.strip() for part in answer.split(";")]
        if name != "permessage-deflate":
            raise BadServer(f"an extension that was not offered: {answer!r}")
        self.parameters = dict((part.split("=", 1) + [""])[:2] for part in rest)
        if len(self.parameters) != len(rest):
            raise BadServer(f"a parameter twice: {answer!r}")
        self.client_bits = int(self.parameters.get("client_max_window_bits", "15"))
        self.server_bits = int(self.parameters.get("server_max_window_bits", "15"))
        self._deflater: Optional[Any] = None
        self._inflater: Optional[Any] = None

    def compress(self, data: bytes) -> bytes:
        """A message as it is sent."""
        if self._deflater is None or "client_no_context_takeover" in self.parameters:
            self._deflater = zlib.compressobj(wbits=-max(self.client_bits, 9))  # zlib cannot do 8
        done: bytes = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        return done[: -len(FLUSH_TAIL)]

    def decompress(self, data: bytes) -> bytes:
        """The message that came as `data`."""
        if self._inflater is None or "server_no_context_takeover" in self.parameters:
            self._inflater = zlib.decompressobj(wbits=-self.server_bits)
        try:
            message: bytes = self._inflater.decompress(data + FLUSH_TAIL)
        except zlib.error as error:
            raise BadServer(f"compressed data that is none: {error}") from None
        return message


class WebSocket:
    """An open WebSocket; `headers` is the server's answer, with names in lower case."""

    def __init__(self, sock: socket.socket, headers: Dict[str, str], data: bytes = b"") -> None:
        self.sock = sock
        self.headers = headers
        self.protocol = headers.get("sec-websocket-protocol", "")
        extension = headers.get("sec-websocket-extensions")
        self.deflate = Deflate(extension) if extension else None
        self.close_code: Optional[int] = None  # the server's; 1005 if it gave none, 1006 if it just went
        self.close_reason = ""
        self.close_sent = False
        self.pings: List[bytes] = []  # received, and answered
        self._data = bytearray(data)  # received, but not used by a frame yet
        self._parts: List[Frame] = []  # of the message that is on its way

    # Sending.

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def send_frame(self, opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0,
                   mask: bool = True) -> None:
        """Send one frame, right or wrong."""
        self.send(frame(opcode, payload, fin, rsv, os.urandom(4) if mask else None))

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self._send_message(TEXT, text.encode())

    def send_binary(self, data: bytes) -> None:
        """Send a binary message."""
        self._send_message(BINARY, data)

    def _send_message(self, opcode: int, data: bytes) -> None:
        if self.deflate:
            self.send_frame(opcode, self.deflate.compress(data), rsv=RSV1)
        else:
            self.send_frame(opcode, data)

    def ping(self, data: bytes = b"") -> None:
        """Send a ping; its answer comes by receive() as PONG."""
        self.send_frame(PING, data)

    def send_close(self, code: Optional[int] = 1000, reason: str = "") -> None:
        """Send a close frame, an empty one without a `code`, and do not wait."""
        self.send_frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())
        self.close_sent = True

    # Receiving.

    def receive(self) -> Tuple[int, bytes]:
        """The next whole TEXT or BINARY message, PONG or CLOSE, with its payload.

        Pings and a close frame are answered.  After CLOSE, and when the server just goes, it raises a
        ConnectionError; after the socket's timeout it raises that, with nothing lost.
        """
        while True:
            if self.close_code is not None:
                raise ConnectionError(f"the WebSocket is closed with {self.close_code} {self.close_reason}")
            received = self.receive_frame()
            if received.opcode == PING:
                self.pings.append(received.payload)
                self.send_frame(PONG, received.payload)
            elif received.opcode == PONG:
                return PONG, received.payload
            elif received.opcode == CLOSE:
                self._take_close(received.payload)
                return CLOSE, received.payload
            else:
                self._take_part(received)
                if received.fin:
                    return self._whole_message()

    def receive_text(self) -> str:
        """The next message, which has to be a text."""
        opcode, payload = self.receive()
        assert opcode == TEXT, f"opcode {opcode} with {payload[:80]!r} came"
        return payload.decode()

    def receive_frame(self) -> Frame:
        """The next frame as it is, neither answered nor joined."""
        first, second = self._need(2)[:2]
        length, at = second & 0x7F, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(self._need(2 + size)[2:2 + size], "big"), 2 + size
        opcode, fin, rsv = first & 0x0F, bool(first & 0x80), first >> 4 & 7
        self._check(opcode, fin, rsv, second, length, at)
        payload = bytes(self._need(at + length)[at:at + length])
        del self._data[: at + length]
        return Frame(opcode, payload, fin, rsv)

    def _check(self, opcode: int, fin: bool, rsv: int, second: int, length: int, at: int) -> None:
        """RFC 6455 5.1, 5.2 and 5.5, RFC 7692 6.1."""
        shortest = 2 if length < 126 else 4 if length < 1 << 16 else 10
        allowed = RSV1 if self.deflate and opcode in (TEXT, BINARY) else 0
        faults = {
            "a masked frame of a server": second & 0x80,
            "a length that is not in its shortest form": at != shortest,
            "a length of 64 bits": length >> 63,
            f"opcode {opcode}": opcode not in OPCODES,
            f"reserved bits {rsv}": rsv & ~allowed,
            "a control frame that is fragmented or long": opcode >= CLOSE and (not fin or length > 125),
        }
        found = [what for what, is_so in faults.items() if is_so]
        if found:
            raise BadServer(", ".join(found))

    def _need(self, count: int) -> bytearray:
        """What has been received, once that is `count` bytes."""
        while len(self._data) < count:
            data = self.sock.recv(PIECE)
            if not data:
                self.close_code = 1006
                raise ConnectionError(f"no close frame before the end, after {bytes(self._data[:80])!r}")
            self._data += data
        return self._data

    def _take_part(self, part: Frame) -> None:
        if (part.opcode == CONTINUATION) != bool(self._parts):
            raise BadServer(f"opcode {part.opcode} in the middle, or a continuation of nothing")
        self._parts.append(part)

    def _whole_message(self) -> Tuple[int, bytes]:
        parts, self._parts = self._parts, []
        message = b"".join(part.payload for part in parts)
        if parts[0].rsv and self.deflate:
            message = self.deflate.decompress(message)
        if parts[0].opcode == TEXT:
            _text(message)
        return parts[0].opcode, message

    def _take_close(self, payload: bytes) -> None:
        """RFC 6455 5.5.1 and 7.4."""
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        is_known = 1000 <= code < 5000 and code not in (1004, 1006, 1015)
        if len(payload) == 1 or not is_known or (payload and code == 1005):
            raise BadServer(f"a close frame with {payload!r}")
        self.close_code, self.close_reason = code, _text(payload[2:])
        if not self.close_sent:
            self.send_frame(CLOSE, payload[:2])
            self.close_sent = True

    # The end.

    def close(self, code: Optional[int] = 1000, reason: str = "") -> None:
        """The closing handshake, up to the end of the connection, which the server has to close."""
        if not self.close_sent:
            self.send_close(code, reason)
        while self.close_code is None:
            self.receive()
        self.wait_end()

    def wait_end(self) -> None:
        """Return when the server has closed the connection; nothing may come before."""
        try:
            more = bytes(self._data) or self.sock.recv(PIECE)
        except ConnectionResetError:
            more = b""
        if more:
            raise BadServer(f"after the close frame: {more[:80]!r}")
        self.sock.close()

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.sock.close()


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadServer(f"a text that is not UTF-8: {data[:80]!r}") from None


# The handshake.


def connect(
    host: str,
    port: int,
    path: str = "/",
    protocol: Optional[str] = None,
    headers: Optional[Mapping[str, Optional[str]]] = None,
    timeout: float = 10.0,
    ssl_context: Optional[ssl.SSLContext] = None,
    server_name: Optional[str] = None,
    deflate: Union[bool, str] = False,
) -> Union[WebSocket, Refused]:
    """A WebSocket at `host` and `port`, by TLS (for `server_name`, else `host`) with an `ssl_context`.

    See `handshake` for the rest.  Each later read or write may take `timeout` seconds.
    """
    sock = socket.create_connection((host, port), timeout)
    is_done = False
    try:
        if ssl_context:
            sock = ssl_context.wrap_socket(sock, server_hostname=server_name or host)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        done = handshake(sock, f"{server_name or host}:{port}", path, protocol, headers, deflate)
        is_done = True
        return done
    finally:
        if not is_done:
            sock.close()


def open_websocket(host: str, port: int, path: str = "/", **keys: Any) -> WebSocket:
    """As connect(), where the server has to accept."""
    done = connect(host, port, path, **keys)
    assert isinstance(done, WebSocket), f"refused: {done}"
    return done


def handshake(
    sock: socket.socket,
    host: str,
    path: str = "/",
    protocol: Optional[str] = None,
    headers: Optional[Mapping[str, Optional[str]]] = None,
    deflate: Union[bool, str] = False,
) -> Union[WebSocket, Refused]:
    """Open a WebSocket on the connection `sock`.

    `protocol`: the subprotocols to offer, with commas between them.  `headers`: more fields, or others in
    place of those that are sent anyway (names as here: Host, Upgrade ...), None to leave one out.  `deflate`:
    True offers permessage-deflate, a str is the offer.  The socket is closed with a Refused.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    offer = DEFLATE_OFFER if deflate is True else deflate or None
    fields: Dict[str, Optional[str]] = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": protocol,
        "Sec-WebSocket-Extensions": offer,
        **(headers or {}),
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    sock.sendall("\r\n".join((f"GET {path} HTTP/1.1", *lines, "", "")).encode("latin-1"))
    status, answer, data = _answer(sock)
    if status != 101:
        return _refused(sock, status, answer, data)
    _check_answer(answer, fields["Sec-WebSocket-Key"] or "", protocol, offer)
    return WebSocket(sock, answer, data)


def _answer(sock: socket.socket) -> Tuple[int, Dict[str, str], bytes]:
    """Status, fields and what came behind them; repeated fields are joined."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(PIECE)
        if not more:
            raise ConnectionError(f"the connection ended instead of an answer, after {data!r}")
        data += more
    head, _, data = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    fields: Dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
    return int(status_line.split(" ", 2)[1]), fields, data


def _refused(sock: socket.socket, status: int, fields: Dict[str, str], data: bytes) -> Refused:
    """Takes the body, by its length or up to the end of the connection."""
    length = int(fields.get("content-length", "-1"))
    try:
        while len(data) < length or length < 0:
            more = sock.recv(PIECE)
            if not more:
                break
            data += more
    except ConnectionResetError:
        pass
    sock.close()
    return Refused(status, fields, data if length < 0 else data[:length])


def _check_answer(fields: Dict[str, str], key: str, protocol: Optional[str], offer: Optional[str]) -> None:
    """RFC 6455 4.1: what a client has to verify."""
    offered = [name.strip() for name in (protocol or "").split(",")]
    chosen = fields.get("sec-websocket-protocol")
    faults = {
        "no Upgrade": fields.get("upgrade", "").lower() != "websocket",
        "no Connection": "upgrade" not in fields.get("connection", "").lower(),
        "a wrong Sec-WebSocket-Accept": fields.get("sec-websocket-accept") != accept_value(key),
        "a subprotocol that was not offered": chosen is not None and (not chosen or chosen not in offered),
        "an extension that was not offered": "sec-websocket-extensions" in fields and not offer,
        "a body": "content-length" in fields or "transfer-encoding" in fields,
    }
    found = [what for what, is_so in faults.items() if is_so]
    if found:
        raise BadServer(f"{', '.join(found)} in {fields}")
