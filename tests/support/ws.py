"""WebSocket sessions before a real reactor: plugins and roles with a client's end in the test's hand.

    bench = WsBench()
    client = bench.open(Echo())                  # a session of its own, past the handshake
    client.send_text("hello")
    assert client.frames() == [Frame(TEXT, b"hello", True, 0)]

The client's frames come from tests/support/ws_client.py, which knows nothing of lwsws.wire.  The reactor runs
only inside the calls of the bench, and its clock stands still until `advance`.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, List, Optional, Tuple, TypeVar, Union

from lwsws.core.options import Options
from lwsws.core.protocol import Protocol
from lwsws.core.session import WsSession
from lwsws.roles.websocket import Opening, WebSocketRole
from lwsws.server.plugin_server import PluginServer
from lwsws.wire.ws_connection import WsConnection, WsLimits
from lwsws.wire.ws_deflate import Deflate
from tests.net.support import unix_pair
from tests.support.raw import VHOST, Pair, Peer, RawBench
from tests.support.ws_client import BINARY, CLOSE, TEXT, Frame, frame

Message = Union[str, bytes]
Plugin = TypeVar("Plugin", bound=Protocol)

# The masking key of all frames here.
KEY = b"\x37\xfa\x21\x3d"


class WsPeer:
    """The client's end of one session."""

    def __init__(self, bench: WsBench, peer: Peer, session: WebSocketRole) -> None:
        self.bench = bench
        self.peer = peer
        self.session = session

    def send_frame(self, opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0) -> None:
        """Send one frame, masked, and let the server act."""
        self.send(frame(opcode, payload, fin, rsv, KEY))

    def send(self, data: bytes) -> None:
        """Send bytes as they are, and let the server act."""
        while data:
            data = data[self.peer.send_some(data):]
            self.bench.settle()

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self.send_frame(TEXT, text.encode())

    def send_binary(self, data: bytes) -> None:
        """Send a binary message."""
        self.send_frame(BINARY, data)

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame."""
        self.send_frame(CLOSE, struct.pack(">H", code) + reason.encode())

    def frames(self) -> List[Frame]:
        """The frames that have come since the last call; whole ones only."""
        self.bench.settle()
        while self.peer.receive():
            self.bench.settle()
        found, rest = take_frames(bytes(self.peer.data))
        self.peer.data[:] = rest
        return found

    def messages(self) -> List[Message]:
        """The messages that have come since the last call, each of which must be in one frame."""
        found: List[Message] = []
        for each in self.frames():
            assert each.fin and not each.rsv and each.opcode in (TEXT, BINARY), each
            found.append(each.payload.decode() if each.opcode == TEXT else each.payload)
        return found

    def closed_with(self) -> Tuple[int, str]:
        """Code and reason of the close frame that must be the last thing that came, and the end behind it."""
        last = self.frames()[-1]
        assert last.opcode == CLOSE and len(last.payload) >= 2
        return struct.unpack(">H", last.payload[:2])[0], last.payload[2:].decode()


def take_frames(data: bytes) -> Tuple[List[Frame], bytes]:
    """The frames of a server that `data` begins with, and the rest."""
    found = []
    while len(data) >= 2:
        length, at = data[1], 2
        assert length < 128, "a server must not mask (RFC 6455 5.1)"
        if length == 126:
            length, at = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            length, at = int.from_bytes(data[2:10], "big"), 10
        if len(data) < at + length:
            break
        found.append(Frame(data[0] & 15, data[at:at + length], data[0] >= 128, data[0] >> 4 & 7))
        data = data[at + length:]
    return found, data


class WsBench(RawBench):
    """A bench on which WebSockets can be opened."""

    status: Callable[[bool], Any] = staticmethod(lambda hide_vhosts: {})

    def begin(self, protocol: Plugin, **options: str) -> Plugin:
        """Place `protocol` on the vhost and let it begin with `options`, `_` for `-`."""
        protocol.vhost = VHOST
        protocol.sessions = set()
        protocol.server = PluginServer(self.reactor, self.workers, self.status)
        pairs = [(name.replace("_", "-"), value) for name, value in options.items()]
        protocol.init(VHOST, Options(pairs))
        return protocol

    def open(self, protocol: Protocol, path: str = "/", fields: str = "", limits: Optional[WsLimits] = None,
             deflate: Optional[Deflate] = None, ping_seconds: float = 0.0, username: str = "",
             pair: Pair = unix_pair) -> WsPeer:
        """A new session of `protocol`, which has begun; `fields` are lines of the request."""
        head = f"GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n".encode()
        ws = WsConnection(limits or WsLimits(protocol.max_message), deflate, protocol.fragments)
        role = WebSocketRole(protocol, ws, Opening(head, username, protocol.name, False, ping_seconds))
        peer = self.connect(role, pair)
        self.settle()
        return WsPeer(self, peer, role)


class Notes(Protocol):
    """A plugin that notes what it is told, and does what a test hangs on it."""

    name = "notes"

    def __init__(self, **hooks: Callable[..., None]) -> None:
        self.hooks = hooks
        self.events: List[Any] = []

    def note(self, event: str, s: WsSession, *more: Any) -> None:
        """Note an event, and do what hangs on it."""
        self.events.append((event, *more) if more else event)
        if event in self.hooks:
            self.hooks[event](s, *more)

    def established(self, s: WsSession) -> None:
        self.note("established", s)

    def receive(self, s: WsSession, message: Message) -> None:
        self.note("receive", s, message)

    def receive_fragment(self, s: WsSession, data: Message, first: bool, final: bool) -> None:
        self.note("receive_fragment", s, data, first, final)

    def pong(self, s: WsSession, data: bytes) -> None:
        self.note("pong", s, data)

    def writable(self, s: WsSession) -> None:
        self.note("writable", s)

    def timer(self, s: Any) -> None:
        self.note("timer", s)

    def closed(self, s: WsSession, code: int, reason: str) -> None:
        self.note("closed", s, code, reason)


def echo(s: WsSession, message: Any) -> None:
    """A hook for `receive` that sends it back."""
    s.send(message)


def opened(bench: WsBench, ping_seconds: float = 0.0, pair: Pair = unix_pair, **hooks: Any) -> WsPeer:
    """A client with a session of a plugin with these hooks."""
    return bench.open(bench.begin(Notes(**hooks)), ping_seconds=ping_seconds, pair=pair)


def notes_of(client: WsPeer) -> Notes:
    """The plugin of a client's session."""
    assert isinstance(client.session.protocol, Notes)
    return client.session.protocol
