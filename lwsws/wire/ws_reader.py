"""The receiving half of a WebSocket, on the server's side: bytes in, events out (RFC 6455 5 to 8).

    receive_data(data)      what the peer sent, in pieces of any size
    next_event()            a message, a piece of one, Ping, Pong or Close; None: more bytes needed, or, if
                            .pending, call again in a later turn of the loop

A header is read when all of it is there, and so is a control frame: at most 130 bytes are held for that.
The payload of a data frame is unmasked, inflated and added to its message as it comes, so that a large one
is never there twice.  A frame is judged byte by byte from its first one, so what is wrong with it does not
depend on how the bytes were cut into pieces.

Nearly all messages are one frame of less than 64 KiB that arrives whole; next_event() has a short way for
these.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Union

from lwsws.wire.ws_assembly import StreamedMessage, WholeMessage, not_utf8, too_big
from lwsws.wire.ws_deflate import BUDGET, Deflate
from lwsws.wire.ws_frames import (
    FIN,
    IS_CONTROL,
    LENGTH_16,
    MASKED,
    RSV1,
    STRIDED,
    Close,
    CloseCode,
    Event,
    Octets,
    Opcode,
    Ping,
    Pong,
    WsProtocolError,
    read_close,
    read_length,
    turned,
    unmask,
    unmask_large,
)

KEY_BYTES = 4
MAX_16 = (1 << 16) - 1  # the longest payload with a length of 16 bits
_LONG_WAY = MAX_16 + 1
_MASKED_16 = (MASKED | LENGTH_16) << 16

# The first bytes of whole messages.
_WHOLE_TEXT = FIN | Opcode.TEXT
_WHOLE_BINARY = FIN | Opcode.BINARY
_WHOLE = bytes((_WHOLE_TEXT, _WHOLE_BINARY))

# Which first bytes a frame may have inside a message, outside of one, and there with permessage-deflate,
# which marks the first frame of a compressed message by RSV1 (RFC 7692 6).  Control frames are never
# fragmented.
_CONTROLS = bytes((FIN | Opcode.CLOSE, FIN | Opcode.PING, FIN | Opcode.PONG))
_INSIDE = _CONTROLS + bytes((Opcode.CONTINUATION, FIN | Opcode.CONTINUATION))
_OUTSIDE = _CONTROLS + bytes((Opcode.TEXT, Opcode.BINARY, _WHOLE_TEXT, _WHOLE_BINARY))
_OUTSIDE_DEFLATE = _OUTSIDE + bytes(RSV1 | byte for byte in _OUTSIDE[len(_CONTROLS) :])

_OPCODES = frozenset(int(opcode) for opcode in Opcode)


# So many frames are read in a turn of the loop if no event comes of them: about 1 ms.
FRAMES_PER_TURN = 256


class WsLimits(NamedTuple):
    """How much of one message is taken; a message that is given out piece by piece has no limits."""

    message: int = 1 << 20  # bytes, once inflated
    fragments: int = 1 << 17  # frames; without data, too, they are work.  Autobahn has 65,537


DEFAULT_LIMITS = WsLimits()

Message = Union[WholeMessage, StreamedMessage]


class WsReader:
    """Turns the bytes of one client into events."""

    __slots__ = (
        "_at",
        "_data",
        "_deflate",
        "_eventless",
        "_final",
        "_key",
        "_left",
        "_limits",
        "_message",
        "_over",
        "_short",
        "_streamed",
        "close_received",
        "pending",
    )

    def __init__(
        self, limits: WsLimits = DEFAULT_LIMITS, deflate: Optional[Deflate] = None, fragments: bool = False
    ) -> None:
        self.close_received = False
        """Whether the peer's Close was given out."""
        self.pending = False
        """Whether next_event() gave None although it was not done, and is to be called in a later turn."""
        self._limits = limits
        self._deflate = deflate
        self._streamed = fragments
        self._data = b""  # what was received and not read, from _at on
        self._at = 0
        self._message: Optional[Message] = None  # the one that is not complete
        # Of the data frame whose payload is read; None between frames.
        self._left: Optional[int] = None
        self._final = False
        self._eventless = 0  # frames that were read in this turn without an event
        self._key = b""  # as it is for the next byte
        # The longest payload for the short way.
        self._short = -1 if fragments else min(MAX_16, limits.message)
        self._over = False

    @property
    def buffered(self) -> int:
        """How many bytes were received and not read yet; those that a message already has do not count."""
        waiting = 0 if self._deflate is None else self._deflate.buffered
        return len(self._data) - self._at + waiting

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and is not complete."""
        return self._message is not None

    @property
    def held(self) -> int:
        """How many bytes there are of a message that is not complete."""
        return 0 if self._message is None else self._message.held

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the peer; after Close or a fault they are dropped."""
        if self._over:
            return
        self._data = self._data[self._at :] + data if self._data else data
        self._at = 0

    def next_event(self) -> Optional[Event]:
        """The next event; None if there is none now.

        WsProtocolError, once, if the peer broke a rule: 1002, 1007 or 1009.
        """
        data = self._data
        if self._message is None:
            if not data and self._deflate is None:
                return None
            # The short way: a message of one frame, not large, that is all there.  It saves half of the time;
            # what it leaves alone, faults too, takes the long way, which gives the same events.
            at = self._at
            begin = at + 2 + KEY_BYTES
            if begin <= len(data):
                first = data[at]
                length = data[at + 1] ^ MASKED
                if length >= LENGTH_16:
                    # A length of 16 bits is above 125 now, and all else is below 0, or more than that.
                    begin += 2
                    length = int.from_bytes(data[at + 1 : at + 4], "big") - _MASKED_16
                    if length < LENGTH_16:
                        length = _LONG_WAY
                end = begin + length
                if first in _WHOLE and end <= len(data) and length <= self._short:
                    payload = unmask(data[begin:end], data[begin - KEY_BYTES : begin])
                    if end == len(data):
                        self._data, self._at = b"", 0
                    else:
                        self._at = end
                    if first == _WHOLE_BINARY:
                        return payload
                    try:
                        return payload.decode()
                    except UnicodeDecodeError:
                        self._stop()
                        raise not_utf8() from None
        return self._next_event()

    def _next_event(self) -> Optional[Event]:
        self.pending = False
        try:
            event = self._read()
        except WsProtocolError:
            self._stop()
            raise
        if event is None:
            self._eventless = 0
            if self._deflate is not None:
                self._deflate.budget = BUDGET
        return event

    def _stop(self) -> None:
        """Read nothing more, and free what was kept for that; compressing is not needed any more either."""
        self._over = True
        self._drop(len(self._data))
        self._message = self._left = self._deflate = None

    def _drop(self, end: int) -> None:
        """What is before `end` in the data was read."""
        if end == len(self._data):
            self._data = b""
            self._at = 0
        else:
            self._at = end

    def _read(self) -> Optional[Event]:
        while True:
            if self._left is None:
                event = self._read_frame()
                if event is not None:
                    return event
            message, left = self._message, self._left
            if message is None or left is None:
                return None  # not even a header is there
            if self._deflate is not None and message.compressed:
                event = self._read_compressed(message, left, self._deflate)
            else:
                event = self._read_plain(message, left)
            if event is not None or self._left is not None:
                return event
            self._eventless += 1
            if self._eventless >= FRAMES_PER_TURN:
                self.pending = True
                return None

    def _read_frame(self) -> Optional[Event]:
        """Read the header of a data frame, or a control frame; None without _left: not enough is there."""
        data, at = self._data, self._at
        if not data:
            return None
        first = data[at]
        self._check_first(first)
        found = read_length(data, at)
        if found is not None:
            length, begin = found
            end = begin + KEY_BYTES
            if first & IS_CONTROL:
                end += length
            else:
                self._check_size(length, bool(first & RSV1))
            if end <= len(data):
                self._drop(end)
                key = data[begin : begin + KEY_BYTES]
                if first & IS_CONTROL:
                    return self._control(first & 15, unmask(data[begin + KEY_BYTES : end], key))
                self._begin_data_frame(first, length, key)
                return None
        self._wait()
        return None

    def _wait(self) -> None:
        """Keep what is there of a frame, and not the large piece it came in."""
        if self._at:
            self._data = self._data[self._at :]
            self._at = 0

    def _check_first(self, first: int) -> None:
        """WsProtocolError 1002 unless a frame may begin with this byte now."""
        if self._message is not None:
            allowed = _INSIDE
        else:
            allowed = _OUTSIDE if self._deflate is None else _OUTSIDE_DEFLATE
        if first not in allowed:
            raise WsProtocolError(CloseCode.PROTOCOL_ERROR, self._fault(first))

    def _fault(self, first: int) -> str:
        opcode = first & 15
        if opcode not in _OPCODES:
            return f"a frame has the reserved opcode {opcode}"
        if opcode & IS_CONTROL and not first & FIN:
            return "a control frame is fragmented"
        # RFC 6455 5.4: a message ends before the next one begins.
        if self._message is not None and opcode != Opcode.CONTINUATION and not opcode & IS_CONTROL:
            return "a message begins inside another one"
        if self._message is None and opcode == Opcode.CONTINUATION:
            return "a continuation without a message"
        return "a frame has reserved bits set"

    def _check_size(self, length: int, is_first_compressed: bool) -> None:
        """WsProtocolError 1009 if a data frame of `length` bytes is too much, before any of it is read."""
        message, limits = self._message, self._limits
        if self._streamed:
            return
        if message is not None and message.frames >= limits.fragments:
            raise WsProtocolError(CloseCode.TOO_BIG, f"a message has more than {limits.fragments} frames")
        room = limits.message if message is None else message.room
        if is_first_compressed or (message is not None and message.compressed):
            # What takes more than this was not compressed but blown up: the worst code has 9 bits for 8.
            room = limits.message + limits.message // 8 + 64
        if length > room:
            raise too_big(limits.message)

    def _control(self, opcode: int, payload: bytes) -> Event:
        if opcode == Opcode.PING:
            return Ping(payload)
        if opcode == Opcode.PONG:
            return Pong(payload)
        close = Close(*read_close(payload))
        self.close_received = True
        # RFC 6455 5.5.1: the application MUST NOT send any more data frames after a Close.
        self._stop()
        return close

    def _begin_data_frame(self, first: int, length: int, key: bytes) -> None:
        message = self._message
        if message is None:
            is_text, compressed = first & 15 == Opcode.TEXT, bool(first & RSV1)
            if self._streamed:
                message = StreamedMessage(is_text, compressed)
            else:
                message = WholeMessage(is_text, compressed, self._limits.message)
            self._message = message
        message.frames += 1
        self._final = bool(first & FIN)
        self._left = length
        self._key = key

    def _read_plain(self, message: Message, left: int) -> Optional[Event]:
        """Read what is there of a frame's payload; None with _left: there is not enough of it."""
        if left and not self._data:
            return None
        piece = self._take_payload(left)
        event = message.take(piece, self._final and not self._left)
        if not self._left:
            self._end_frame()
        return event

    def _take_payload(self, left: int) -> Octets:
        at = self._at
        masked = self._data[at : at + left]
        size = len(masked)
        self._drop(at + size)
        self._left = left - size
        key = self._key
        self._key = turned(key, size)
        return unmask(masked, key) if size < STRIDED else unmask_large(masked, key)

    def _read_compressed(self, message: Message, left: int, deflate: Deflate) -> Optional[Event]:
        """The same for a compressed message; None may also mean that it is enough for this turn."""
        while True:
            if not deflate.more:
                if left and not self._data:
                    return None
                piece = self._take_payload(left)
                left -= len(piece)
                deflate.feed(piece, self._final and not left)
            if deflate.budget <= 0:
                self.pending = True
                return None
            # One byte more than there is room for shows that it is too much.
            inflated = deflate.step(message.room + 1)
            frame_ends = not left and not deflate.more
            event = message.take(inflated, self._final and frame_ends)
            if frame_ends:
                self._end_frame()
            if event is not None or frame_ends:
                return event

    def _end_frame(self) -> None:
        self._left = None
        if self._final:
            self._message = None
