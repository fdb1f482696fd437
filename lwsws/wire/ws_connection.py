"""The server's end of one WebSocket, without I/O: bytes received become events, what is to be sent, bytes.

    receive_data(data), next_event()            the receiving half, ws_reader.py
    message(), fragment(), ping(), pong()       return the bytes to send
    close()                                     the same, once

The two halves close independently: after our close frame the peer may still send, and that is still read;
after his, next_event() gives nothing more, and the answer is close().  When the connection itself is closed
is the caller's business (RFC 6455 7.1.1: the server does it first, once there were both frames).

An idle connection keeps no buffers; with permessage-deflate it keeps the two objects of zlib.
"""

from __future__ import annotations

from typing import Optional, Union

from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.ws_deflate import WORTH_DEFLATING, Deflate
from lwsws.wire.ws_frames import (
    FIN,
    LENGTH_16,
    Close,
    CloseCode,
    Event,
    Fragment,
    Opcode,
    Ping,
    Pong,
    WsProtocolError,
    close_frame,
    control_frame,
    frame,
    text_payload,
)
from lwsws.wire.ws_message import PreparedMessage
from lwsws.wire.ws_reader import DEFAULT_LIMITS, WsLimits, WsReader

__all__ = [
    "Close",
    "CloseCode",
    "Deflate",
    "Event",
    "Fragment",
    "Ping",
    "Pong",
    "PreparedMessage",
    "WsConnection",
    "WsLimits",
    "WsProtocolError",
]

# The headers of short messages, by their size: most messages are short.
_SHORT_TEXT, _SHORT_BINARY = (
    [bytes((FIN | opcode, size)) for size in range(LENGTH_16)] for opcode in (Opcode.TEXT, Opcode.BINARY)
)


class WsConnection(WsReader):
    """One WebSocket.  What is sent after close() is a LocalProtocolError, a pong excepted."""

    __slots__ = ("_fragmented", "close_sent")

    def __init__(
        self, limits: WsLimits = DEFAULT_LIMITS, deflate: Optional[Deflate] = None, fragments: bool = False
    ) -> None:
        super().__init__(limits, deflate, fragments)
        self.close_sent = False
        """Whether close() has made its frame."""
        self._fragmented: Optional[Opcode] = None  # the opcode of the message that we send piece by piece

    def message(self, data: Union[str, bytes, PreparedMessage]) -> bytes:
        """A message: text if `data` is a str, else binary; compressed if that was agreed on and is worth it.

        LocalProtocolError between the pieces of another message, or for text that is no Unicode.
        """
        if self.close_sent or self._fragmented is not None:
            raise self._out_of_turn()
        if isinstance(data, str):
            payload, short = text_payload(data), _SHORT_TEXT
        elif isinstance(data, PreparedMessage):
            return self._prepared(data)
        else:
            payload, short = data, _SHORT_BINARY
        size = len(payload)
        if size < LENGTH_16:
            return short[size] + payload
        opcode = Opcode.TEXT if short is _SHORT_TEXT else Opcode.BINARY
        if self._deflate is not None and size in WORTH_DEFLATING:
            return frame(opcode, self._deflate.compress(payload), rsv1=True)
        return frame(opcode, payload)

    def _prepared(self, message: PreparedMessage) -> bytes:
        if self._deflate is None:
            return message.plain
        data = message.deflated(self._deflate.params.window_bits)
        if data is not message.plain:
            # The client's window now has what our compressor never saw, so its history is no longer his.
            self._deflate.drop_compressor()
        return data

    def fragment(self, data: Union[str, bytes], final: bool) -> bytes:
        """The next piece of a message, never compressed; LocalProtocolError if one is text and one is not."""
        if self.close_sent:
            raise self._out_of_turn()
        if isinstance(data, str):
            opcode, payload = Opcode.TEXT, text_payload(data)
        else:
            opcode, payload = Opcode.BINARY, data
        begun = self._fragmented
        if begun is not None and begun != opcode:
            raise LocalProtocolError("the pieces of a message are either all text or all binary")
        self._fragmented = None if final else opcode
        return frame(opcode if begun is None else Opcode.CONTINUATION, payload, final)

    def ping(self, data: bytes = b"") -> bytes:
        """A ping with at most 125 bytes."""
        if self.close_sent:
            raise self._out_of_turn()
        return control_frame(Opcode.PING, data)

    def pong(self, data: bytes = b"") -> bytes:
        """A pong, the answer to a Ping with the same data; nothing if close() was called before."""
        return b"" if self.close_sent else control_frame(Opcode.PONG, data)

    def close(self, code: int = 1000, reason: str = "") -> bytes:
        """A close frame, nothing if there was one before.  1005 makes it empty; `reason` is cut to 123 bytes.

        LocalProtocolError for a code that must not be sent (RFC 6455 7.4).
        """
        if self.close_sent:
            return b""
        data = close_frame(code, reason)
        self.close_sent = True
        return data

    def rest(self) -> None:
        """Free what can be made anew, for a connection on which nothing was sent for a while."""
        if self._deflate is not None:
            self._deflate.drop_compressor()

    def _out_of_turn(self) -> LocalProtocolError:
        if self.close_sent:
            return LocalProtocolError("nothing may be sent after a close frame")
        return LocalProtocolError("a message inside another one")
