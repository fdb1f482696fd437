"""One message for many receivers: its frames are made once and sent to each of them.

A server's frames are not masked (RFC 6455 5.1), so a message that goes to a thousand clients is the same
bytes for all of them.  The compressed form (RFC 7692) is made by a compressor without history: it refers to
nothing before the message, so it fits whatever a receiver was sent earlier, if only his window is large
enough.
"""

from __future__ import annotations

from typing import Dict, Union

from lwsws.wire.ws_deflate import WORTH_DEFLATING, deflate_alone
from lwsws.wire.ws_frames import Opcode, frame, text_payload


class PreparedMessage:
    """A text message, if `data` is a str, or a binary one, to be sent to any number of connections.

    LocalProtocolError if the text has half of a surrogate pair, which no UTF-8 can tell.
    """

    __slots__ = ("_deflated", "_opcode", "_payload", "plain")

    def __init__(self, data: Union[str, bytes]) -> None:
        is_text = isinstance(data, str)
        self._opcode = Opcode.TEXT if is_text else Opcode.BINARY
        self._payload = text_payload(data) if isinstance(data, str) else bytes(data)
        self._deflated: Dict[int, bytes] = {}
        self.plain = frame(self._opcode, self._payload)
        """The message as one frame."""

    def deflated(self, window_bits: int) -> bytes:
        """The message as one compressed frame, for a receiver whose window has at least 2**`window_bits`
        bytes (9 to 15); `plain` where that is not longer, or where compressing takes too long."""
        made = self._deflated.get(window_bits)
        if made is None:
            made = self.plain
            if len(self._payload) in WORTH_DEFLATING:
                deflated = frame(self._opcode, deflate_alone(self._payload, window_bits), rsv1=True)
                if len(deflated) < len(made):
                    made = deflated
            self._deflated[window_bits] = made
        return made

    def __repr__(self) -> str:
        return f"PreparedMessage({self._opcode.name}, {len(self._payload)} bytes)"
