"""A transport over TLS: what a Transport promises to its receiver, with every byte through OpenSSL.

OpenSSL has no socket: it reads from one memory BIO and writes to another, and the transport moves the bytes
between these and the socket.  So it is the transport that says how much is read in a pass, whatever is in it;
OpenSSL by itself would go on reading for as long as a peer sends records without data.

    socket --recv, once a pass--> incoming --OpenSSL--> data_received()
    socket <--send--------------- outgoing <--OpenSSL-- a write, or a block of the queue (tls_records.py)

It begins with the handshake, for which nobody waits: each time something comes it gets a step further.
After each pass all that came is read but a part of a record, so the reactor need not know about TLS.

The end of a stream is a close_notify, ours is the last piece of the queue.  A peer that sends FIN without one
has ended its stream too: whether all has come, the protocol on top knows.
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
from lwsws.net.tls_faults import GONE, explain
from lwsws.net.tls_object import NamedObject
from lwsws.net.tls_records import BLOCK_BYTES, RecordQueue
from lwsws.net.transport import SENDFILE_CHUNK, Transport

# The most that a record holds (RFC 8446 5.1).
RECORD_BYTES = 16384
# One pass reads this much, but RECORD_BYTES after one that brought no data: 16 KiB of new keys take 20 ms.
# With a part of a record from before it opens to no more than the buffer holds.
RAW_BYTES = BUFFER_BYTES - RECORD_BYTES
# After so much that brought no data the peer only wants to keep us busy.  No handshake is as long, a chain of
# certificates may have 100 KiB; of new keys, 27 bytes each, OpenSSL wants some after 400 GB.
NO_DATA_BYTES = 256 * 1024
# OpenSSL's answers to such a peer; if it takes none, nothing more is read from it.
WORDS_BYTES = 16 * 1024


class Handshake(Instead):
    """What a TLS transport does with a readable socket until the handshake is over."""

    __slots__ = ("_step",)

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step

    def ready(self) -> None:
        """Go on."""
        self._step()


class TlsTransport(Transport):
    """One TLS connection, server side.  start_tls() makes it; that of a client is in tls_client.py."""

    __slots__ = ("_tls", "_incoming", "_outgoing", "_done", "_crossed", "_held", "_end_held", "_failure",
                 "_no_data", "_sealed_sent", "_taken")

    _queue: Optional[RecordQueue]

    def __init__(
        self, plain: Transport, context: ssl.SSLContext, server_name: str, done: Callable[[], None]
    ) -> None:
        receiver, peer = plain.receiver, plain.peer
        super().__init__(plain.reactor, plain.sock, receiver, peer)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = self._wrap(context, server_name)
        plain.detach(self)
        # Whom to tell of the end of the handshake, until then.
        self._done: Optional[Callable[[], None]] = done
        # A write waits for something to read: a part of a message between the two OpenSSLs has come.
        self._crossed = False
        # Read for the sake of such a write while the receiver wanted nothing.
        self._held = b""
        # The end came with data, and is to be told after them.
        self._end_held = False
        # Of the handshake, to be told when the alert has had its time to arrive.
        self._failure: Optional[ConnectionLost] = None
        # Bytes from the socket since the last data for the receiver, or the end of the handshake.
        self._no_data = 0
        # Bytes to the socket, and what bytes_taken() said last.
        self._sealed_sent = 0
        self._taken = 0
        self._instead = Handshake(self._shake)
        self._watch(READ)
        # The ClientHello is there as a rule, so there is no need to wait for it.
        self.reactor.call_soon(self._begin)

    # -- what is known, from the end of the handshake to that of TLS

    @property
    def alpn(self) -> Optional[str]:
        """What was agreed on by ALPN (RFC 7301), if anything."""
        return self._tls.selected_alpn_protocol() if self.version else None

    @property
    def version(self) -> str:
        """As OpenSSL calls it, like "TLSv1.3"."""
        return "" if self.closed else self._tls.version() or ""

    @property
    def session_reused(self) -> bool:
        """Whether the client has resumed an earlier session."""
        return bool(self.version and self._tls.session_reused)

    def peer_certificate(self) -> Optional[bytes]:
        """The certificate of the peer in DER; None if it has shown none."""
        return self._tls.getpeercert(binary_form=True) if self.version else None

    def bytes_taken(self) -> int:
        """As Transport has it.  The kernel counts sealed bytes, so while some are under way it is that share
        of the bytes sent."""
        under_way = self.bytes_sent - super().bytes_taken()
        taken = self.bytes_sent
        if under_way and self._sealed_sent:
            taken = taken * max(self._sealed_sent - under_way, 0) // self._sealed_sent
        self._taken = max(taken, self._taken)
        return self._taken

    # -- the handshake

    def _wrap(self, context: ssl.SSLContext, server_name: str) -> ssl.SSLObject:
        """OpenSSL's part of the connection."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        if isinstance(tls, NamedObject):
            tls.expected_name = server_name
        return tls

    def _begin(self) -> None:
        if self._done is not None:
            self._ready(READ)

    def _shake(self) -> None:
        """Go as far as what has come allows."""
        try:
            count = self.sock.recv_into(self.reactor.buffer, RAW_BYTES)
            if not count:
                raise ConnectionAbortedError
            self._no_data += count
            self._incoming.write(self.reactor.view[:count])
            self._tls.do_handshake()
        except (BlockingIOError, ssl.SSLWantReadError):
            if self._no_data > NO_DATA_BYTES:
                self._end(ConnectionLost("TLS handshake: it is too long"))
        except OSError as exc:
            self._handshake_failed(exc)
        else:
            self._handshake_over()

    def _handshake_over(self) -> None:
        done, self._done = self._done, None
        self._instead = None
        self._reading = True
        self._no_data = 0
        # Data may have come behind it.  There must be none in OpenSSL's hands if done() ends our direction.
        data, failure = self._open_records()
        if self._queue is not None:
            self._watch(READ | WRITE)
        if done is not None:
            done()
        self._hand_up(data, failure)

    def _handshake_failed(self, exc: OSError) -> None:
        """See that OpenSSL's alert arrives even if the peer has sent more than was read."""
        loss = ConnectionLost(f"TLS handshake: {explain(exc)}")
        if isinstance(exc, GONE):
            self._end(loss)
        else:
            self._send_alert()
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
            queue = self._new_queue()
        queue.append(data)
        self._note_size(queue)
        if not more:
            self._push_held(queue)

    def write_file(self, piece: FileSlice) -> None:
        """Send a slice of a file after what is queued; released when it is read or dropped."""
        if self._state is not OPEN:
            piece.close()
            return
        queue = self._queue or self._new_queue()
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
        sent = 0
        try:
            self._tls.write(data)
            sealed = self._outgoing.read()
            sent = self.sock.send(sealed)
        except ssl.SSLWantReadError:
            queue = self._new_queue()
            queue.begin(data)
            self._push(queue)
            return
        except BlockingIOError:
            pass
        except OSError as exc:
            self._end_soon(self._lost(exc))
            return
        self._sealed_sent += sent
        if sent:
            self.last_progress = self.reactor.now
        if sent == len(sealed):
            self.bytes_sent += len(data)
            return
        queue = self._new_queue()
        queue.hold(sealed, len(data))
        self.bytes_sent += queue.sent(sent)
        self._watch(self._mask | WRITE)

    def _new_queue(self) -> RecordQueue:
        self._queue = queue = RecordQueue(self._tls, self._outgoing)
        return queue

    def _queue_last_word(self) -> RecordQueue:
        queue = self._queue or self._new_queue()
        queue.append_last_word()
        return queue

    def _push_held(self, queue: RecordQueue) -> None:
        """Send what is queued, unless it waits for room, something to read or the handshake."""
        if self._done is None and not self._crossed and not self._mask & WRITE:
            self._push(queue)

    def _push_words(self) -> None:
        """Send what OpenSSL has said by itself."""
        queue = self._queue
        if queue is None and self._state is HALF_CLOSED:
            self._outgoing.read()  # too late: FIN is out
        elif not self._mask & WRITE:
            self._push(queue or self._new_queue())

    def _send_queued(self, queue: OutputQueue) -> None:
        assert isinstance(queue, RecordQueue)
        self._crossed = False
        share = SENDFILE_CHUNK
        try:
            while (share > 0 or not queue.size) and queue.load(self._done is None):
                sent = self.sock.send(queue.sealed, socket.MSG_MORE if queue.followed else 0)
                self._sealed_sent += sent
                self.bytes_sent += queue.sent(sent)
                self.last_progress = self.reactor.now
                if queue.sealed:
                    break  # the socket is full: asking again would only say so
                share -= sent
        except BlockingIOError:
            pass
        except ssl.SSLWantReadError:
            self._crossed = True
        mask = self._mask
        if queue.size:
            waits_for_room = queue.sealed or not (self._crossed or self._done)
            mask = mask | WRITE if waits_for_room else mask & ~WRITE
        if self._crossed or self._reading:
            mask |= READ
        self._watch(mask)

    def _await_room(self, queue: OutputQueue) -> None:
        self._note_size(queue)  # _send_queued() has seen to the rest

    def _send_alert(self) -> None:
        """The last that OpenSSL has to say, if there is room for it."""
        if self._queue is None or not self._queue.sealed:
            try:
                self.sock.send(self._outgoing.read())
            except OSError:
                pass

    # -- reading

    def resume_reading(self) -> None:
        """Read again, from the next pass on; no effect after EOF or close(), nor during the handshake."""
        super().resume_reading()
        if self._reading and (self._held or self._end_held):
            # It was read already, so the socket may never be ready again.
            self.reactor.call_soon(functools.partial(self._ready, READ))

    def _ready(self, mask: int) -> None:
        if self._crossed:
            mask |= WRITE  # after the read
        super()._ready(mask)
        if self._outgoing.pending and not self.closing:
            self._push_words()

    def _read_unwanted(self) -> None:
        if self._crossed and self._instead is None:
            self._read()
        else:
            super()._read_unwanted()

    def _read(self) -> None:
        if self._reading and (self._held or self._end_held):
            self._hand_up(b"", None)
            return
        if self._outgoing.pending > WORDS_BYTES:
            self._watch(self._mask & ~READ)  # until they are sent
            return
        reactor = self.reactor
        try:
            count = self.sock.recv_into(reactor.buffer, RECORD_BYTES if self._no_data else RAW_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self._end(self._lost(exc))
            return
        if not count:
            self._incoming.write_eof()
            self._end_held = True
            self._hand_up(b"", None)
            return
        self._incoming.write(reactor.view[:count])
        data, failure = self._open_records()
        self._no_data = 0 if data and self._reading else self._no_data + count
        if self._no_data > NO_DATA_BYTES:
            self._end(ConnectionLost("the peer sent too much that is no data"))
        else:
            self._hand_up(data, failure)

    def _open_records(self) -> Tuple[bytes, Optional[ConnectionLost]]:
        """All data that have come, and why no more can come if something is wrong.  They are at most as many
        as the buffer holds, see RAW_BYTES."""
        read, incoming, view = self._tls.read, self._incoming, self.reactor.view
        filled = 0
        failure: Optional[ConnectionLost] = None
        try:
            while incoming.pending and not self._end_held:
                count = read(BUFFER_BYTES, view[filled:])
                filled += count  # type: ignore[operator]
                self._end_held = not count
        except ssl.SSLWantReadError:
            pass  # a part of a record, or no data
        except ssl.SSLZeroReturnError:
            self._end_held = True
        except OSError as exc:
            failure = self._lost(exc)
            self._send_alert()  # now, for an answer to the data before cannot be sealed any more
        return bytes(view[:filled]), failure

    def _hand_up(self, data: bytes, failure: Optional[ConnectionLost]) -> None:
        """Tell the receiver of data, then of the end or the failure; keep what it does not want now."""
        if self._held:
            data, self._held = self._held + data, b""
        if data and self._reading:
            self.bytes_received += len(data)
            self.last_progress = self.reactor.now
            self.receiver.data_received(data)
        elif not self.closing:
            self._held = data
        if self.closing:
            return
        if failure is not None:
            self._end(failure)
        elif self._end_held and self._reading:
            self._end_held = False
            self._read_eof()

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

    def _lost(self, exc: Exception) -> ConnectionLost:
        return ConnectionLost(explain(exc) if isinstance(exc, ssl.SSLError) else str(super()._lost(exc)))

    def _release(self) -> None:
        self._done = None
        self._crossed = False
        self._held = b""
        super()._release()


def start_tls(
    plain: Transport, context: ssl.SSLContext, server_name: str, done: Callable[[], None]
) -> TlsTransport:
    """Take the socket over from `plain` and begin a TLS handshake as the server, with `context`.

    `plain` must be open with nothing queued; its receiver and its peer are the new transport's.
    `server_name` is what the ClientHello asks for ("" for nothing), see NamedObject.  `done` is called once
    when the handshake is complete and reading begins; if it fails, the receiver is told of the loss.
    """
    return TlsTransport(plain, context, server_name, done)
