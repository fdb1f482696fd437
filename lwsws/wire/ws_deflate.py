"""permessage-deflate (RFC 7692): messages compressed by raw DEFLATE, negotiated in the handshake.

Each side compresses its messages as one stream, cut behind a sync flush whose last four bytes, 00 00 ff ff,
are not sent.  With *context takeover* a message may refer back to earlier ones, as far as the sender's
window reaches; so both ends have to keep that much, the sender's compressor being the dearer one (30 KB
here, 260 KB by zlib's defaults).  A compressor may be thrown away at any time: a fresh one refers to
nothing before itself.  An inflater may not, unless the client agreed to do without takeover.

A few bytes may inflate to a thousand times as many, so what comes out is bounded twice: by what the message
may have, and by a budget for each turn of the loop, after which the rest waits.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple, Optional

from lwsws.wire.ws_extensions import Parameters
from lwsws.wire.ws_frames import CloseCode, Octets, WsProtocolError

if TYPE_CHECKING:
    from zlib import _Compress as Compressor
    from zlib import _Decompress as Inflater

PERMESSAGE_DEFLATE = "permessage-deflate"

# What a sync flush ends in and senders leave out (RFC 7692 7.2.1).
TAIL = b"\x00\x00\xff\xff"
# A complete stream of no bytes: a final block, stored.  Only between two blocks it means that.
_END = b"\x01\x00\x00\xff\xff"

# Shorter ones gain little, as they fit one packet anyway; longer ones would hold up the loop (30 ms a MiB).
WORTH_DEFLATING = range(128, (1 << 20) + 1)

# The quickest level, as nginx has it for gzip: text comes out 5 to 20 % longer than by zlib's default, in
# half of the time, and everybody waits for it.  The memory for finding matches suits messages rather than
# files.
_LEVEL = 1
_MEMORY_LEVEL = 5

# How much may come out of the inflater of a connection in a turn of the loop: about 1 ms.
BUDGET = 1 << 18
# What goes in counts as so many times as much: blocks of nothing but Huffman codes give no byte, and take
# 0.12 us for each of theirs.  A step takes no more of it than this.
_INPUT_WEIGHT = 16
_STEP_INPUT = 1 << 13
# What a new inflater is counted as, which a final block (see `_restart`) makes necessary.
_RESTART = 1 << 12

_NOTHING = memoryview(b"")

# RFC 7692 7.1.2: 8 to 15.  zlib's raw compressor takes 9 at least.
_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}
LEAST_WINDOW_BITS, MOST_WINDOW_BITS = 9, 15


class DeflateSettings(NamedTuple):
    """What a server wants of permessage-deflate; window bits are 9 to 15."""

    window_bits: int = 12  # of our compressor, or fewer if the client asks for that
    client_window_bits: int = 12  # of the client's, if it can be told
    no_context_takeover: bool = False  # keep nothing from one message to the next, on both sides


DEFAULT_SETTINGS = DeflateSettings()


class DeflateParams(NamedTuple):
    """What both sides agreed on; the window bits are None where the answer does not name them.

    str() is the value of Sec-WebSocket-Extensions that says so.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: Optional[int] = None
    client_max_window_bits: Optional[int] = None
    window_bits: int = 12  # of our compressor, at most server_max_window_bits

    def __str__(self) -> str:
        words = [PERMESSAGE_DEFLATE]
        if self.server_no_context_takeover:
            words.append("server_no_context_takeover")
        if self.client_no_context_takeover:
            words.append("client_no_context_takeover")
        if self.server_max_window_bits is not None:
            words.append(f"server_max_window_bits={self.server_max_window_bits}")
        if self.client_max_window_bits is not None:
            words.append(f"client_max_window_bits={self.client_max_window_bits}")
        return "; ".join(words)


def accepted_offer(
    parameters: Parameters, settings: DeflateSettings = DEFAULT_SETTINGS
) -> Optional[DeflateParams]:
    """What becomes of an offer with these parameters; None: it is declined (RFC 7692 7.1)."""
    offer = dict(parameters)
    # RFC 7692 7: decline what has an unknown parameter, an invalid value, or the same parameter twice.
    if len(offer) != len(parameters):
        return None
    server_alone = offer.pop("server_no_context_takeover", _ABSENT)
    client_alone = offer.pop("client_no_context_takeover", _ABSENT)
    server_bits = offer.pop("server_max_window_bits", _ABSENT)
    client_bits = offer.pop("client_max_window_bits", _ABSENT)
    if offer or server_alone not in _FLAG or client_alone not in _FLAG:
        return None
    window_bits = settings.window_bits
    if server_bits != _ABSENT:
        window_bits = min(window_bits, _WINDOW_BITS.get(server_bits or "", 0))
        # zlib cannot keep to a window of 8 bits, which RFC 7692 7.1.2.1 lets us decline.
        if window_bits < LEAST_WINDOW_BITS:
            return None
    told_bits: Optional[int] = None
    if client_bits != _ABSENT:
        # Without value: the client can be told (7.1.2.2).
        told_bits = MOST_WINDOW_BITS if client_bits is None else _WINDOW_BITS.get(client_bits, 0)
        if not told_bits:
            return None
        told_bits = min(told_bits, settings.client_window_bits)
    return DeflateParams(
        server_alone is None or settings.no_context_takeover,
        client_alone is None or settings.no_context_takeover,
        None if server_bits == _ABSENT else window_bits,
        told_bits,
        window_bits,
    )


# An offered parameter without value is None in the table, so absence is said by what no value can be.
_ABSENT = ""
_FLAG = (_ABSENT, None)


def _new_compressor(window_bits: int) -> Compressor:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, -window_bits, _MEMORY_LEVEL)


def _compressed(compressor: Compressor, payload: bytes) -> bytes:
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data[: -len(TAIL)]


def deflate_alone(payload: bytes, window_bits: int) -> bytes:
    """`payload`, which is not empty, compressed without history and without its tail."""
    return _compressed(_new_compressor(window_bits), payload)


class Deflate:
    """The two transforms of one connection; the objects of zlib are made when they are first needed.

    What is received is fed to the inflater, and then taken out in steps while there is `more`.
    """

    __slots__ = ("_compressor", "_ending", "_fed", "_inflater", "_input", "budget", "more", "params")

    def __init__(self, params: DeflateParams) -> None:
        self.params = params
        self.budget = BUDGET
        """How much may still come out in this turn; a step may be taken while it is above 0."""
        self.more = False
        """Whether another step may give more of what was fed."""
        self._compressor: Optional[Compressor] = None
        self._inflater: Optional[Inflater] = None
        self._input = _NOTHING  # fed, and not used yet
        self._fed = False  # something of this message
        self._ending = False  # all of this message

    @property
    def buffered(self) -> int:
        """How many bytes were fed and not used yet."""
        return len(self._input)

    def compress(self, payload: bytes) -> bytes:
        """The payload of a compressed message that says `payload`, which is not empty."""
        if self.params.server_no_context_takeover:
            return deflate_alone(payload, self.params.window_bits)
        if self._compressor is None:
            self._compressor = _new_compressor(self.params.window_bits)
        return _compressed(self._compressor, payload)

    def drop_compressor(self) -> None:
        """Free the compressor, or forget its history, which is no longer what the client was sent last."""
        self._compressor = None

    def feed(self, data: Octets, final: bool) -> None:
        """Take the next piece of a compressed message, the last one if `final`; not while there is `more`."""
        self._fed = self._fed or bool(data)
        # RFC 7692 7.2.2: append the tail that was left out.  Strictly an empty message has one byte
        # (7.2.3.6), but zlib gives none for it right after a flush; then the inflater must not see a tail
        # alone.
        self._input = memoryview(data + TAIL if final and self._fed else data)
        self._ending = final
        self.more = True

    def step(self, room: int) -> bytes:
        """At most `room` bytes, or 1, of what was fed.  WsProtocolError 1007 if it is no DEFLATE data."""
        size = max(1, min(room, self.budget))
        if self._inflater is None:
            self._inflater = zlib.decompressobj(-self._inflate_bits())
        try:
            data = self._inflater.decompress(self._input[:_STEP_INPUT], size)
        except zlib.error as error:
            raise WsProtocolError(CloseCode.INVALID_DATA, f"inflating failed: {error}") from None
        unused = len(self._inflater.unused_data or self._inflater.unconsumed_tail)
        used = min(len(self._input), _STEP_INPUT) - unused
        self.budget -= len(data) + used * _INPUT_WEIGHT
        self._input = self._input[used:] or _NOTHING
        if self._inflater.eof:
            self._restart()
        # If the step was filled, zlib may hold more even if it has taken all input.
        self.more = bool(self._input) or len(data) == size
        if self._ending and not self.more:
            self._end_message()
        return data

    def _restart(self) -> None:
        """Go on behind a final block, as RFC 7692 7.2.3.4 lets a sender; his zlib has no history after it."""
        self._inflater = None
        self.budget -= _RESTART
        # Strictly an empty block has to follow, which the tail is the end of; not all senders have it.
        if self._ending and self._input == TAIL:
            self._input = _NOTHING
        self._fed = bool(self._input)

    def _end_message(self) -> None:
        """WsProtocolError 1007 if the message ends inside a block, where the next one would be misread."""
        fed, self._fed, self._ending = self._fed, False, False
        inflater = self._inflater
        if inflater is None or not fed:
            return
        if self.params.client_no_context_takeover:
            self._inflater = None
        else:
            inflater = inflater.copy()
        try:
            inflater.decompress(_END)
        except zlib.error:
            pass
        if not inflater.eof:
            raise WsProtocolError(CloseCode.INVALID_DATA, "a compressed message is not complete")

    def _inflate_bits(self) -> int:
        # Senders that mean 8 may use 9, which is what zlib makes of it.
        return max(LEAST_WINDOW_BITS, self.params.client_max_window_bits or MOST_WINDOW_BITS)
