"""A transport over TLS: what a Transport promises to its receiver, with every byte through OpenSSL.

It begins with the handshake, for which nobody waits: each time the socket is ready it gets a step further.
The socket belongs to OpenSSL, so the kernel can neither join what we write nor send a file for us.
Output goes by blocks: small pieces are joined, of a file one block is read when the one before is sent.
OpenSSL seals and sends a block by records, and says how far it came only when it has sent the last one; after
it found no room it must be given the same bytes again.  So a block is kept until it is sent.

A record is read as a whole, so when the socket has no more bytes for us, OpenSSL has none either, and the
reactor need not know about TLS.

The end of a stream is a close_notify, ours is the last piece of the queue (see tls_farewell.py).  A peer that
sends FIN without one has ended its stream too: whether all has come, the protocol on top knows.
"""

from __future__ import annotations

import functools
import socket
import ssl
from typing import Callable, Optional, Tuple

from lwsws.net.endpoint import FLUSHING, HALF_CLOSED, OPEN
from lwsws.net.instead import Instead
from lwsws.net.linger import Linger
from lwsws.net.output import FileSlice, OutputQueue
from lwsws.net.reactor import BUFFER_BYTES, READ, WRITE
from lwsws.net.receiver import ConnectionLost
from lwsws.net.tls_farewell import half_close, part
from lwsws.net.tls_socket import NamedSocket
from lwsws.net.transport import Transport

# The most that a record holds (RFC 8446 5.1).
RECORD_BYTES = 16384
# Output is taken, and files are read, this much at a time: some records, which one call of OpenSSL sends.
BLOCK_BYTES = 65536
# A record with so much in it is probably followed by another one.
MUCH_BYTES = 4096

# Python calls a reset an EOF too.  OpenSSL 3 is told to take a FIN without close_notify for the usual end of
# a stream, so there an SSLEOFError is a reset; before, it was such a FIN as a rule.
FIN_RAISES = ssl.OPENSSL_VERSION_INFO < (3,)

# The peer went away in the middle of the handshake: nobody is left to whom one could explain anything.
GONE = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)


def explain(exc: Exception) -> str:
    """`exc` in short words, without the names and lines of OpenSSL's code."""
    if isinstance(exc, GONE):
        return "the peer hung up"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return exc.reason.replace("_", " ").lower()
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)


class RecordQueue(OutputQueue):
    """The queue of a TLS transport: the block that is being sent, the pieces after it, the last word."""

    __slots__ = ("_block", "_last_word")

    def __init__(self, begun: bytes = b"") -> None:
        """`begun` has been given to OpenSSL, which could not send all of it."""
        super().__init__()
        self._block = memoryview(begun)
        self.size = len(begun)
        self._last_word: Optional[Callable[[], None]] = None

    def append_last_word(self, say: Callable[[], None]) -> None:
        """Call `say` when all else is sent, again and again while it raises SSLWantWriteError."""
        self._last_word = say
        self.size += 1

    def send_some(self, sock: socket.socket, limit: int) -> Tuple[int, int]:
        """Send a block.  SSLWantWriteError: it has not gone, or not all of it; else as OutputQueue."""
        assert isinstance(sock, ssl.SSLSocket)
        if not self._block:
            if not self._pieces:
                return self._say_last_word()
            self._block = self.take(BLOCK_BYTES)
        sent = sock.write(self._block)
        self._block = self._block[sent:]
        self.size -= sent
        return sent, sent

    def clear(self) -> None:
        """Drop everything and release the files."""
        super().clear()
        self._block = memoryview(b"")
        self._last_word = None

    def _say_last_word(self) -> Tuple[int, int]:
        if self._last_word is not None:
            self._last_word()
            self._last_word = None
        self.size = 0
        return 0, 0


class Handshake(Instead):
    """What a TLS transport does with a ready socket until the handshake is over."""

    __slots__ = ("_sock", "_watch", "_over")

    def __init__(
        self, sock: ssl.SSLSocket, watch: Callable[[int], None], over: Callable[[Optional[OSError]], None]
    ) -> None:
        """`watch` is told for what to watch the socket; `over` is called once, with the failure if any."""
        self._sock = sock
        self._watch = watch
        self._over = over

    def ready(self) -> None:
        """Go as far as the socket allows."""
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
        except ssl.SSLWantWriteError:
            self._watch(WRITE)
        except OSError as exc:
            self._over(exc)
        else:
            self._over(None)


class TlsTransport(Transport):
    """One TLS connection, server side.  start_tls() makes it."""

    __slots__ = ("_done", "_crossed", "_eof_held", "_failure")

    sock: ssl.SSLSocket
    _queue: Optional[RecordQueue]

    def __init__(self, plain: Transport, done: Callable[[], None]) -> None:
        receiver, peer = plain.receiver, plain.peer
        super().__init__(plain.reactor, plain.sock, receiver, peer)
        plain.detach(self)
        # Whom to tell of the end of the handshake, until then.
        self._done: Optional[Callable[[], None]] = done
        # A read waits for room to write, or a write for something to read.
        self._crossed = False
        # The end came with the last data, after which the receiver paused.
        self._eof_held = False
        # Of the handshake, to be told when the alert has had its time to arrive.
        self._failure: Optional[ConnectionLost] = None

    # -- what is known, from the end of the handshake to that of TLS

    @property
    def alpn(self) -> Optional[str]:
        """What was agreed on by ALPN (RFC 7301), if anything."""
        return self.sock.selected_alpn_protocol() if self.version else None

    @property
    def version(self) -> str:
        """As OpenSSL calls it, like "TLSv1.3"."""
        return "" if self.closed else self.sock.version() or ""

    def peer_certificate(self) -> Optional[bytes]:
        """The certificate of the peer in DER; None if it has shown none."""
        return self.sock.getpeercert(binary_form=True) if self.version else None

    # -- the handshake

    def wrap(self, context: ssl.SSLContext, server_name: str) -> None:
        """Begin with the handshake; for start_tls()."""
        try:
            self.sock.getpeername()  # some Pythons forget to close what they wrap, if it has no peer any more
            sock = context.wrap_socket(
                self.sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
        except OSError as exc:  # the peer is gone
            self._end_soon(ConnectionLost(f"TLS handshake: {explain(exc)}"))
            return
        if isinstance(sock, NamedSocket):
            sock.expected_name = server_name
        self.sock = sock
        self._instead = Handshake(sock, self._watch, self._handshake_over)
        self._watch(READ)
        # The ClientHello is there as a rule, so there is no need to wait for it.
        self.reactor.call_soon(self._begin)

    def _begin(self) -> None:
        if self._done is not None:
            self._ready(READ)

    def _handshake_over(self, exc: Optional[OSError]) -> None:
        done, self._done = self._done, None
        self._instead = None
        if exc is not None:
            self._handshake_failed(exc)
        elif done is not None:
            self._reading = True
            self._watch(READ if self._queue is None else READ | WRITE)
            done()

    def _handshake_failed(self, exc: OSError) -> None:
        """OpenSSL has sent an alert.  See that it arrives even if the peer has sent more than was read."""
        loss = ConnectionLost(f"TLS handshake: {explain(exc)}")
        if isinstance(exc, GONE):
            self._end(loss)
        else:
            self._failure = loss
            self._start_linger()

    def _tell(self, exc: Optional[Exception]) -> None:
        failure, self._failure = self._failure, None
        super()._tell(exc or failure)

    # -- writing

    def write(self, data: bytes, more: bool = False) -> None:
        """Send `data` after what is queued.  `more`: a file follows in this same turn, with which it shall
        share its record.  Dropped without a word after write_eof(), close(), abort() or a loss."""
        if self._state is not OPEN or not data:
            return
        queue = self._queue
        if queue is None:
            if not more and self._done is None and len(data) <= BLOCK_BYTES:
                self._write_at_once(data)
                return
            queue = self._queue = RecordQueue()
        queue.append(data)
        self._note_size(queue)
        if not more:
            self._push_held(queue)

    def write_file(self, piece: FileSlice) -> None:
        """Send a slice of a file after what is queued; released when it is read or dropped."""
        if self._state is not OPEN:
            piece.close()
            return
        queue = self._queue
        if queue is None:
            queue = self._queue = RecordQueue()
        queue.append_file(piece)
        self._note_size(queue)
        self._push_held(queue)

    def write_eof(self) -> None:
        """Send what is queued, then close_notify and FIN; go on reading."""
        if self._state is not OPEN:
            return
        self._state = HALF_CLOSED
        self._push_held(self._queue_last_word())
        if self._queue is None:
            self._shut_down_writing()

    def _write_at_once(self, data: bytes) -> None:
        try:
            self.bytes_sent += self.sock.write(data)
            self.last_progress = self.reactor.now
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._queue = queue = RecordQueue(data)
            self._push(queue)
        except OSError as exc:
            self._end_soon(self._lost(exc))

    def _push_held(self, queue: RecordQueue) -> None:
        """Send what is queued, unless it waits for room or the end of the handshake."""
        if self._done is None and not self._mask & WRITE:
            self._push(queue)

    def _send_queued(self, queue: OutputQueue) -> None:
        try:
            super()._send_queued(queue)
        except ssl.SSLWantWriteError:
            pass
        except ssl.SSLWantReadError:
            self._crossed = True
            self._watch(self._mask | READ)

    def _queue_last_word(self) -> RecordQueue:
        queue = self._queue
        if queue is None:
            queue = self._queue = RecordQueue()
        queue.append_last_word(self._say_last_word)
        return queue

    def _say_last_word(self) -> None:
        if self._state is FLUSHING or self._eof_seen:
            part(self.sock)
        else:
            half_close(self.sock)

    # -- reading

    def resume_reading(self) -> None:
        """Read again, from the next pass on; no effect after EOF or close(), nor during the handshake."""
        super().resume_reading()
        if self._eof_held and self._reading:
            # OpenSSL has it already, so the socket may never be ready again; but it says so whenever asked.
            self._eof_held = False
            self.reactor.call_soon(functools.partial(self._ready, READ))

    def _ready(self, mask: int) -> None:
        if self._done is not None:
            mask = READ  # whatever it was that the handshake waited for
        elif self._crossed:
            self._crossed = False
            mask = READ | WRITE
        elif mask & WRITE and self._queue is None:
            self._watch(self._mask & ~WRITE)  # it was for a read
        super()._ready(mask)

    def _read(self) -> None:
        reactor = self.reactor
        failure: Optional[ConnectionLost] = None
        filled = 0
        try:
            count = self._read_record(reactor.view)
            while count:
                filled += count
                if count < MUCH_BYTES or filled > BUFFER_BYTES - RECORD_BYTES:
                    break
                count = self._read_record(reactor.view[filled:])
        except OSError as exc:
            failure = self._lost(exc)
        if filled:
            self.bytes_received += filled
            self.last_progress = reactor.now
            self.receiver.data_received(bytes(reactor.view[:filled]))
        if self.closing:
            return
        if failure is not None:
            self._end(failure)
        elif count == 0:
            self._read_end()

    def _read_record(self, room: memoryview) -> Optional[int]:
        """How many bytes came; 0 at the end of the stream; None if there is nothing now."""
        try:
            return self.sock.recv_into(room)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._crossed = True
            self._watch(self._mask | WRITE)
            return None
        except ssl.SSLZeroReturnError:
            return 0
        except ssl.SSLEOFError:
            if FIN_RAISES:
                return 0
            raise

    def _read_end(self) -> None:
        if self._reading:
            self._read_eof()
        else:
            self._eof_held = True

    # -- ending

    def close(self, linger: bool = False) -> None:
        """Send what is queued and close_notify, then close; none of it during the handshake.  `linger` as in
        Transport."""
        if self._done is not None:
            self.abort()
            return
        was_queued = self.size > 0
        queue = self._queue_last_word() if self._state is OPEN else None
        super().close(linger)
        if queue is not None:
            self._push_held(queue)
            self._last_word_queued(was_queued)

    def _last_word_queued(self, behind_others: bool) -> None:
        """Go on at once, if it was sent; _emptied() goes on else.  If it waits alone, nobody has set a limit
        in time for it."""
        if self._state is not FLUSHING:
            return
        if self._queue is None:
            self._all_sent(self._end_soon)
        elif not behind_others:
            self._instead = Linger(self.reactor, self.sock, self._linger_over)

    def _shut_down_writing(self) -> None:
        try:
            # That of SSLSocket would end TLS in the other direction too.
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError:
            pass  # reset by the peer: the next read says so

    def _lost(self, exc: Exception) -> ConnectionLost:
        return ConnectionLost(explain(exc) if isinstance(exc, ssl.SSLError) else str(super()._lost(exc)))

    def _release(self) -> None:
        self._done = None
        super()._release()


def start_tls(
    plain: Transport, context: ssl.SSLContext, server_name: str, done: Callable[[], None]
) -> TlsTransport:
    """Take the socket over from `plain` and begin a TLS handshake as the server, with `context`.

    `plain` must be open with nothing queued; its receiver and its peer are the new transport's.
    `server_name` is what the ClientHello asks for ("" for nothing), see NamedSocket.  `done` is called once
    when the handshake is complete and reading begins; if it fails, the receiver is told of the loss.
    """
    transport = TlsTransport(plain, done)
    transport.wrap(context, server_name)
    return transport
