"""File mounts with the key `interpret`: files of some suffixes go out through a protocol.

    "interpret": { ".shtml": "protocol-lws-messageboard" }

Such a file is found, opened and allowed or refused like any other one (file.py).  Then it is read block by
block as the client takes the answer, and the plugin's interpret() says what goes out in place of each block.
The length of that is not known before, so it is sent chunked, and without ETag, ranges and precompressed
siblings.  It never goes out as it is: without its protocol the answer is 503.

The first block is led through the plugin before the head is sent, so that a fault there can be answered
with 500; later ones break the answer off.
"""

from __future__ import annotations

import time
from typing import Callable, Mapping, Optional

from lwsws import log
from lwsws.config.model import MountConfig
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.options import Options
from lwsws.core.plugincall import ask_plugin
from lwsws.core.protocol import Protocol
from lwsws.core.session import ProtocolVhost
from lwsws.handlers.callback import CallbackMount, CallbackSession, Fields
from lwsws.handlers.file import FileHandler
from lwsws.handlers.openfile import OpenFile
from lwsws.net.output import FileEnded, FileSlice
from lwsws.wire.errors import LocalProtocolError

ProtocolOf = Callable[[], Optional[Protocol]]

# What a plugin gets at a time, and how many of them in one turn of the loop: others want theirs.
BLOCK = 64 * 1024
BLOCKS_PER_TURN = 4


class InterpretHandler(FileHandler):
    """Serves the files beneath one directory, some of them through protocols."""

    def __init__(self, mount: MountConfig, protocols: Mapping[str, ProtocolOf], vhost: ProtocolVhost,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`protocols` are by suffix, as configured, and asked for at each request."""
        super().__init__(mount, clock)
        # The longest suffix wins; upper case in a name does not lead past the plugin.
        by_length = sorted(protocols.items(), key=lambda item: -len(item[0]))
        self._protocols = [("." + suffix.lower().lstrip("."), find) for suffix, find in by_length]
        self._mount = CallbackMount(vhost, Options(mount.pmo), mount.auth_mask)

    def serve_document(self, exchange: Exchange, path: str, status: int) -> bool:
        """As that of files, through the protocol if the document has its suffix."""
        name = path.lstrip("/")
        if not name or name.endswith("/"):
            name += self._default
        find = self._find(name)
        if find is None:
            return super().serve_document(exchange, path, status)
        try:
            with self._open(name) as file:
                if not file.is_regular:
                    return False
                self._interpret(exchange, status, name, file, find)
                return True
        except HttpError:
            return False

    def _find(self, name: str) -> Optional[ProtocolOf]:
        name = name.lower()
        return next((find for suffix, find in self._protocols if name.endswith(suffix)), None)

    def _serve(self, exchange: Exchange, name: str, file: OpenFile) -> None:
        find = self._find(name)
        if find is None or not file.is_regular:
            super()._serve(exchange, name, file)
        else:
            self._interpret(exchange, 200, name, file, find)

    def _interpret(self, exchange: Exchange, status: int, name: str, file: OpenFile,
                   find: ProtocolOf) -> None:
        protocol, media = find(), self._media(name)
        if protocol is None:
            raise HttpError(503, "the protocol of these files is not offered by this vhost")
        if media is None:
            raise self._not_allowed(exchange, name)
        fields = [("Content-Type", media)] if media else []
        fields.append(self._cache_control)
        if exchange.request.method == "HEAD":
            exchange.start(status, fields, None)
            exchange.finish()
        else:
            InterpretSession(exchange, protocol, self._mount, file).begin_with(status, fields)


class InterpretSession(CallbackSession):
    """One file on its way through a plugin.  The plugin cannot answer by it: the file is the answer."""

    __slots__ = ("_file", "_goes_on")

    def __init__(self, exchange: Exchange, protocol: Protocol, mount: CallbackMount, file: OpenFile) -> None:
        super().__init__(exchange, protocol, mount)
        self._file: FileSlice = file.lend(0, file.size)
        self._goes_on = False   # call_soon is going to call _go_on

    def begin_with(self, status: int, fields: Fields) -> None:
        """Send the head, and the beginning of the body; HttpError if the plugin cannot begin."""
        sent = self._next_block()
        if sent is None:
            self._end()
            raise HttpError(500)
        exchange = self.exchange
        exchange.start(status, list(fields), None)
        exchange.take_body(self)    # of which nothing is wanted
        self._send(sent)
        self._send_some()

    # What the http role says.

    def body_received(self, data: bytes) -> None:
        """Of no use."""

    def body_ended(self) -> None:
        """Of no use."""

    def drained(self) -> None:
        """Go on with the file."""
        self._send_some()
        super().drained()

    # What the plugin cannot do.

    def respond(self, status: int, fields: Fields = (), body: bytes = b"",
                reason: Optional[str] = None) -> None:
        """LocalProtocolError."""
        raise LocalProtocolError("a file that is interpreted is the answer")

    def start(self, status: int, fields: Fields = (), length: Optional[int] = None,
              reason: Optional[str] = None) -> None:
        """LocalProtocolError."""
        self.respond(status)

    def write(self, data: bytes) -> None:
        """LocalProtocolError."""
        self.respond(0)

    def finish(self) -> None:
        """LocalProtocolError."""
        self.respond(0)

    def pause_body(self) -> None:
        """Nobody hears of the request's body."""

    # The file.

    def _next_block(self) -> Optional[bytes]:
        """What goes out in place of the next block; None after a fault, which is logged."""
        file = self._file
        try:
            data = file.take(BLOCK) if file.remaining else b""
        except (OSError, FileEnded) as error:
            log.err(f"conn {self.ident}: {self.exchange.path!a}: {error}")
            return None
        sound, sent = ask_plugin(f"conn {self.ident}", self._ask, data, not file.remaining)
        return sent if sound else None

    def _ask(self, data: bytes, final: bool) -> bytes:
        return b"" + self.protocol.interpret(self, data, final)     # a TypeError is a fault of the plugin

    def _send(self, block: bytes) -> None:
        self.exchange.write(block)
        if not self._file.remaining:
            self._file.close()
            self.exchange.finish()
            self._end()
            self.exchange.consumer = None   # which makes a circle

    def _send_some(self) -> None:
        """Send as much as is good for one turn."""
        for _ in range(BLOCKS_PER_TURN):
            if self._over or self.exchange.is_high:
                return
            sent = self._next_block()
            if sent is None:
                self.exchange.fail(HttpError(500))
                return
            self._send(sent)
        if not self._over and not self._goes_on:
            self._goes_on = True
            self.exchange.context.reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._goes_on = False
        self._send_some()

    def _end(self) -> None:
        """There is no last method: the plugin was told of the end of the file, or it does not matter."""
        self._file.close()
        self._forget()
