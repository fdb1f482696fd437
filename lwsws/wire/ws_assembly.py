"""Messages put together from their pieces, as these come from the frames (and the inflater).

`take(piece, final)` returns the event that the piece completes, if any.  A WholeMessage keeps the pieces,
within the limit, until there is a message; a StreamedMessage gives each out as a Fragment and keeps at most
a part of a character.  In both, text is checked as it comes, so that what is not UTF-8 fails at once (RFC
6455 8.1), before the rest of the frame is there.  Python's decoder refuses surrogates and overlong forms.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import List, Optional, Tuple, Union

from lwsws.wire.ws_frames import CloseCode, Fragment, Octets, WsProtocolError

# Smaller pieces are put together, so that many of them take no more memory than one; larger ones are kept as
# they are, since a bytearray of a megabyte that grows is moved again and again.
_LARGE = 1 << 14

# A StreamedMessage takes what comes; this is a step of inflating for it.
_STREAMED_ROOM = 1 << 16


def not_utf8() -> WsProtocolError:
    """The fault of a text message that is none."""
    return WsProtocolError(CloseCode.INVALID_DATA, "a text message is not UTF-8")


class WholeMessage:
    """A message that is given out when it is complete."""

    __slots__ = ("_cut", "_is_text", "_limit", "_pieces", "compressed", "frames", "room")

    def __init__(self, is_text: bool, compressed: bool, limit: int) -> None:
        self.compressed = compressed
        self.frames = 0
        self.room = limit
        """How many bytes it may still have."""
        self._is_text = is_text
        self._limit = limit
        self._pieces: List[Octets] = []
        self._cut = b""  # the part of a character that the text ends in

    @property
    def held(self) -> int:
        """How many bytes it has."""
        return self._limit - self.room

    def take(self, piece: Octets, final: bool) -> Union[str, bytes, None]:
        """Add `piece`; the message, if it was the last one.  WsProtocolError 1007 or 1009."""
        if len(piece) > self.room:
            self._check_text(piece)  # fails before it is too big, as if it had come byte by byte
            raise too_big(self._limit)
        if final:
            return self._complete(piece)
        self._check_text(piece)
        self._keep(piece)
        return None

    def _keep(self, piece: Octets) -> None:
        self.room -= len(piece)
        pieces = self._pieces
        if len(piece) >= _LARGE:
            pieces.append(piece)
        elif pieces and len(pieces[-1]) < _LARGE:
            pieces[-1] += piece
        else:
            pieces.append(bytearray(piece))

    def _check_text(self, piece: Octets) -> None:
        """WsProtocolError 1007 if `piece` shows that the message is no text."""
        if self._is_text and (self._cut or not piece.isascii()):
            self._cut = decode(self._cut + piece)[1]

    def _complete(self, piece: Octets) -> Union[str, bytes]:
        whole = piece
        if self._pieces:
            self._pieces.append(piece)
            whole = b"".join(self._pieces)
        if not self._is_text:
            return bytes(whole)
        try:
            return whole.decode()
        except UnicodeDecodeError:
            raise not_utf8() from None


class StreamedMessage:
    """A message that is given out piece by piece."""

    __slots__ = ("_begun", "_cut", "_is_text", "compressed", "frames")

    room = _STREAMED_ROOM
    held = 0

    def __init__(self, is_text: bool, compressed: bool) -> None:
        self.compressed = compressed
        self.frames = 0
        self._is_text = is_text
        self._begun = False
        self._cut = b""

    def take(self, piece: Octets, final: bool) -> Optional[Fragment]:
        """The piece, if there is anything to say.  WsProtocolError 1007."""
        data: Union[str, bytes]
        if self._is_text:
            data, self._cut = decode(self._cut + piece, final)
        else:
            data = bytes(piece)
        if not data and not final:
            return None
        first = not self._begun
        self._begun = True
        return Fragment(data, first, final)


def too_big(limit: int) -> WsProtocolError:
    """The fault of a message that is too long."""
    return WsProtocolError(CloseCode.TOO_BIG, f"a message has more than {limit} bytes")


def decode(data: bytes, final: bool = False) -> Tuple[str, bytes]:
    """The text in `data`, and the part of a character it may end in unless it is `final`."""
    try:
        text, used = utf_8_decode(data, "strict", final)
    except UnicodeDecodeError:
        raise not_utf8() from None
    cut = data[used:]
    # The decoder waits for all of what may be half of a surrogate pair, in case that is wanted.
    if cut[:1] == b"\xed" and cut[1:2] > b"\x9f":
        raise not_utf8()
    return text, cut
