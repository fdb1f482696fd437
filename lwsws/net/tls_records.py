"""The output queue of a TLS transport: records that the socket has not taken, and what is to be sealed next.

OpenSSL seals into memory.  Only when all that it has sealed is with the kernel the next block is given to it,
so there is never more than one block of sealed bytes, however much waits; of a file no more is read either.
What OpenSSL says by itself (handshake, tickets, new keys, alerts) waits in its memory for its turn.
"""

from __future__ import annotations

import ssl
from typing import Union

from lwsws.net.output import OutputQueue

# Output is taken, and files are read, this much at a time: some records.
BLOCK_BYTES = 65536


class RecordQueue(OutputQueue):
    """What waits.  `sealed` goes first; `size` counts what it stands for, 1 for words of OpenSSL's own."""

    __slots__ = ("sealed", "_tls", "_outgoing", "_block", "_plain", "_counts", "_last_word")

    def __init__(self, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
        """`outgoing` is where `tls` puts what it seals."""
        super().__init__()
        self.sealed = memoryview(b"")
        self._tls = tls
        self._outgoing = outgoing
        # Taken out of the pieces, and not sealed yet.
        self._block: Union[bytes, memoryview] = b""
        # How much of `size` the sealed bytes stand for, and whether these were bytes of the receiver.
        self._plain = 0
        self._counts = False
        self._last_word = False

    @property
    def followed(self) -> bool:
        """Whether more is to go right behind the sealed bytes."""
        return self.size > self._plain

    def begin(self, data: bytes) -> None:
        """`data`, which OpenSSL would not seal at once, is the first block."""
        self._block = data
        self.size += len(data)

    def hold(self, sealed: bytes, plain: int) -> None:
        """`sealed` is to go first and stands for `plain` bytes of the receiver."""
        self.sealed = memoryview(sealed)
        self._plain = plain
        self._counts = True
        self.size += plain

    def append_last_word(self) -> None:
        """Say close_notify when all else is sent."""
        self._last_word = True
        self.size += 1

    def load(self, seal: bool) -> bool:
        """Have something in `sealed`; False if there is nothing.  `seal`: the handshake is over.

        SSLWantReadError: OpenSSL seals no more before it has read more.  OSError; FileEnded.
        """
        if self.sealed:
            return True
        if self._outgoing.pending:
            self._plain = 1
            self._counts = False
            self.size += 1
        elif not seal or not self.size or not self._seal():
            return False
        self.sealed = memoryview(self._outgoing.read())
        return True

    def sent(self, count: int) -> int:
        """The first `count` of the sealed bytes are with the kernel; how many bytes of the receiver these
        count for.  The last of them counts when all is gone."""
        self.sealed = self.sealed[count:]
        plain = min(count, self._plain - 1) if self.sealed else self._plain
        self._plain -= plain
        self.size -= plain
        return plain if self._counts else 0

    def clear(self) -> None:
        """Drop everything and release the files."""
        super().clear()
        self.sealed = memoryview(b"")
        self._block = b""
        self._last_word = False

    def _seal(self) -> bool:
        """Seal the next block, or the last word; False if it came to nothing."""
        if not self._block and self._pieces:
            self._block = self.take(BLOCK_BYTES)
        if self._block:
            self._tls.write(self._block)
            self._plain = len(self._block)
            self._counts = True
            self._block = b""
            return True
        self._last_word = False
        say_last_word(self._tls)
        if not self._outgoing.pending:
            self.size = 0
            return False
        self._plain = 1
        self._counts = False
        return True


def say_last_word(tls: ssl.SSLObject) -> None:
    """Seal close_notify, without which the peer cannot know that the end was meant (RFC 8446 6.1, RFC 5246
    7.2.1).  If we shall read on, there must be no whole record of data unread: unwrap() looks for the
    peer's close_notify, and finding something else would break the connection off."""
    try:
        tls.unwrap()
    except OSError:
        pass  # the peer has not said its last word yet, or broke off in the middle of a message
