"""The websocket role: one session of a plugin on a WebSocket (RFC 6455).

wire/ws_connection.py makes events of the bytes, this role acts on them: messages go to the plugin, pings are
answered, the close handshake is carried through, and peers that are idle for long are pinged and given up
if they do not answer.

What is sent during an event, or several before the next turn of the loop, is joined and written once.

Nothing is read while more waits to be sent than the transport's high mark, so a plugin that only answers
cannot grow without bound; one that sends unasked loses the session at MAX_QUEUED.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Union

from lwsws import log
from lwsws.core.connection import SEND, Connection
from lwsws.core.protocol import Protocol
from lwsws.core.session import HttpRequest
from lwsws.net.reset import break_off
from lwsws.net.transport import HIGH
from lwsws.roles.session import SessionRole
from lwsws.wire.http1_request import Request, RequestReader
from lwsws.wire.ws_connection import Close, Event, Fragment, Ping, Pong, WsConnection
from lwsws.wire.ws_frames import CloseCode, WsProtocolError
from lwsws.wire.ws_message import PreparedMessage

# What our pings to idle peers say; the plugin hears nothing of their answers.
STILL_THERE = b"still there?"

# Seconds a peer may take to answer our ping: as the original, which hangs up 10 s after it.
PONG_SECONDS = 10

# A session for which more than this waits to be sent takes no more: nobody reads at the other end.
MAX_QUEUED = 16 * 1024 * 1024

# All sessions together may hold this much of messages that are not complete: many clients that each send the
# half of one could fill the memory else.  Who exceeds it is closed.
MAX_UNFINISHED = 256 * 1024 * 1024

# Messages acted on in one turn; a read of 64 KiB can hold 10,000 of them.
EVENTS_PER_TURN = 64

# Reasons of deadlines.
IDLE = "idle WebSocket"
PONG = "no answer to our ping"
CLOSE = "no answer to our close frame"


class Opening(NamedTuple):
    """What the handshake found out: the request as it came, who logged in ("" if nobody had to), the
    subprotocol agreed on ("" if none was asked for), whether it came by TLS, and after how many seconds an
    idle peer is pinged (0: never)."""

    head: bytes
    username: str
    subprotocol: str
    secure: bool
    ping_seconds: float


class WebSocketRole(SessionRole):
    """One WebSocket.  Its public methods beside those of a role are the plugin's (WsSession)."""

    __slots__ = ("ws", "opening", "_out", "_out_size", "_acting", "_goes_on", "_paused", "_held",
                 "_unfinished", "_code", "_reason")

    def __init__(self, protocol: Protocol, ws: WsConnection, opening: Opening) -> None:
        super().__init__(protocol)
        self.ws = ws
        self.opening = opening
        self._out: Optional[List[bytes]] = None     # frames of this turn
        self._out_size = 0
        self._acting = False
        self._goes_on = False           # call_soon is going to call _go_on
        self._paused = False            # by the plugin
        self._held = False              # reading is paused
        self._unfinished = 0            # bytes of a message that is not complete, as counted in the context
        self._code = int(CloseCode.ABNORMAL)
        self._reason = ""

    # What the connection says.

    def start(self, conn: Connection) -> None:
        """Tell the plugin of its new session."""
        self.conn = conn
        conn.deadline.clear()
        self.protocol.sessions.add(self)
        self._acting = True
        self.call(self.protocol.established)
        if conn.context.stopping:   # its password was being checked when the end began
            self.shutdown()
        self._settle()

    def data_received(self, data: bytes) -> None:
        """Act on the frames that are complete."""
        if self.conn.deadline.why in (IDLE, PONG):  # whatever it sends, it is there
            self.conn.expect(self.opening.ping_seconds, IDLE)
        self.ws.receive_data(data)
        self._act_on_events()

    def eof_received(self) -> None:
        """The peer's stream ended without a close frame, or after ours."""
        self.conn.close()

    def drained(self) -> None:
        """Little or nothing waits to be sent: go on with what came meanwhile."""
        self._act_on_events()
        self.try_writable()

    def expired(self, why: str) -> None:
        """Ping an idle peer; give up one that does not answer, or does not read."""
        if why == IDLE:
            self.ws.rest()
            self.conn.expect(PONG_SECONDS, PONG)
            self._queue(self.ws.ping(STILL_THERE))
        elif why == CLOSE:
            self.conn.close()
        else:
            break_off(self.conn.transport)

    def shutdown(self) -> None:
        """The server ends, and so does the session."""
        self.close(CloseCode.GOING_AWAY)

    def closed(self, exc: Optional[Exception]) -> None:
        """The connection is gone."""
        self.protocol.sessions.discard(self)
        self.conn.context.unfinished -= self._unfinished
        self.end_session(self.protocol.closed, self._code, self._reason)

    # What the plugin asks for.

    @property
    def request(self) -> HttpRequest:
        """The request that opened the session; its bytes are kept and parsed again, which is less than to
        keep the parsed one of thousands of idle sessions."""
        reader = RequestReader(self.conn.context.limits.request)
        reader.receive_data(self.opening.head)
        request = reader.next_event()
        assert isinstance(request, Request)
        return request

    @property
    def username(self) -> str:
        """Who logged in."""
        return self.opening.username

    @property
    def subprotocol(self) -> str:
        """The name agreed on."""
        return self.opening.subprotocol

    @property
    def secure(self) -> bool:
        """Whether it came by TLS."""
        return self.opening.secure

    @property
    def queued(self) -> int:
        """How many bytes wait to be sent."""
        return self.conn.transport.size + self._out_size

    @property
    def is_high(self) -> bool:
        """Enough waits to be sent."""
        return self.conn.transport.is_high or self._out_size > HIGH

    @property
    def over(self) -> bool:
        """Whether the plugin has nothing to say any more."""
        return self.ws.close_sent or self.conn.transport.closing

    def send(self, message: Union[str, bytes, PreparedMessage]) -> None:
        """Send a message."""
        if not self.over:
            self._queue(self.ws.message(message))

    def send_fragment(self, data: Union[str, bytes], final: bool) -> None:
        """Send a piece of a message."""
        if not self.over:
            self._queue(self.ws.fragment(data, final))

    def ping(self, data: bytes = b"") -> None:
        """Send a ping."""
        if not self.over:
            self._queue(self.ws.ping(data))

    def pause(self) -> None:
        """Tell nothing of what comes, and read nothing."""
        self._paused = True
        if not self._acting:
            self._settle()

    def resume(self) -> None:
        """Tell and read again."""
        if self._paused:
            self._paused = False
            self._go_on_soon()

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Send a close frame and wait for the peer's."""
        if not self.over:
            self._queue(self.ws.close(code, reason))
            self.conn.expect(self.conn.context.limits.timeout, CLOSE)

    def abort(self) -> None:
        """Close now."""
        self.conn.abort()

    def offer_writable(self) -> None:
        """There is room to write."""
        self.call(self.protocol.writable)

    def fault(self) -> None:
        """The plugin raised: say 1011 (RFC 6455 7.4.1) and close."""
        self._fail(CloseCode.INTERNAL_ERROR, "")

    # Events.

    def _act_on_events(self) -> None:
        """Act on what has come, unless it has to wait."""
        self._acting = True
        left = EVENTS_PER_TURN
        try:
            while not self._waits() and not self.conn.transport.closing:
                event = self.ws.next_event()
                if event is None:
                    if self.ws.pending:
                        self._go_on_soon()
                    break
                self._act_on(event)
                left -= 1
                if not left:
                    self._go_on_soon()
                    break
        except WsProtocolError as error:
            if log.enabled(log.INFO):
                log.info(f"conn {self.conn.ident}: {error.code} {error.why}")
            self._fail(error.code, error.why)
        self._settle()

    def _act_on(self, event: Event) -> None:
        protocol = self.protocol
        if isinstance(event, (str, bytes)):
            if not self.ws.close_sent:
                self.call(protocol.receive, event)
        elif isinstance(event, Fragment):
            if not self.ws.close_sent:
                self.call(protocol.receive_fragment, event.data, event.first, event.final)
        elif isinstance(event, Ping):
            if not self.ws.close_sent:
                self._queue(self.ws.pong(event.data))
        elif isinstance(event, Pong):
            if event.data != STILL_THERE and not self.ws.close_sent:
                self.call(protocol.pong, event.data)
        else:
            self._peer_closed(event)

    def _peer_closed(self, event: Close) -> None:
        """Answer a close frame that is not the answer to ours; the server closes first (RFC 6455 7.1.1)."""
        self._code, self._reason = event.code, event.reason
        if not self.ws.close_sent:
            self._queue(self.ws.close(event.code, event.reason))
        self._flush()
        self.conn.close(linger=True)

    def _fail(self, code: int, why: str) -> None:
        """Close for a fault of the peer or the plugin (RFC 6455 7.1.7)."""
        if self.conn.transport.closing:
            return
        self._code, self._reason = code, why
        if not self.ws.close_sent:
            self._queue(self.ws.close(code, why))
        self._flush()
        self.conn.close(linger=True)

    def _waits(self) -> bool:
        """Whether nothing may be told now: the plugin has paused, or too much waits to be sent.  The peer's
        answer to our close frame is waited for in any case."""
        return (self._paused or self.is_high) and not self.ws.close_sent

    def _go_on_soon(self) -> None:
        """Act on more in a later turn; the other connections have theirs first (LESSONS 3.39)."""
        if not self._goes_on:
            self._goes_on = True
            self.conn.context.reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._goes_on = False
        if not self.conn.transport.closing:
            self._act_on_events()

    def _settle(self) -> None:
        """After any event: write what it brought, read on or not, and wait for what comes next."""
        self._acting = False
        if self._out is not None:
            self._flush()
        conn = self.conn
        if conn.transport.closing:
            return
        if (self._unfinished or self.ws.in_message) and not self._account():
            return
        # What is held must be told first, or a peer could fill the memory with small messages.
        hold = self._goes_on or self._waits()
        if hold != self._held:
            self._held = hold
            if hold:
                conn.transport.pause_reading()
            else:
                conn.transport.resume_reading()
        self._set_deadline()

    def _account(self) -> bool:
        """Count what there is of an unfinished message; False if that is too much for the process."""
        context, held = self.conn.context, self.ws.held
        more, self._unfinished = held - self._unfinished, held
        context.unfinished += more
        if more <= 0 or context.unfinished <= MAX_UNFINISHED:
            return True
        log.notice(f"conn {self.conn.ident}: {context.unfinished >> 20} MiB of unfinished messages: closed")
        self._fail(CloseCode.TRY_AGAIN_LATER, "too many unfinished messages")
        return False

    def _set_deadline(self) -> None:
        conn = self.conn
        if conn.transport.size:
            conn.expect_progress(conn.context.limits.send_timeout, SEND)
        elif self.ws.close_sent:
            if conn.deadline.why != CLOSE:
                conn.expect(conn.context.limits.timeout, CLOSE)
        elif self._paused or not self.opening.ping_seconds:
            conn.deadline.clear()   # while the plugin pauses, a pong is not read either
        elif conn.deadline.why not in (IDLE, PONG):     # only what it sends moves them, not what we do
            conn.expect(self.opening.ping_seconds, IDLE)

    # Sending.

    def _queue(self, data: bytes) -> None:
        """Send `data` at the end of this event, or else of this turn."""
        if self._out_size > HIGH:   # much to be joined, and the peer has not been asked to take it
            self._flush()
        waiting = self.conn.transport.size
        if waiting > MAX_QUEUED:
            log.notice(f"conn {self.conn.ident}: {self.peer}: {waiting >> 20} MiB wait to be sent: closed")
            self.conn.abort()
            return
        self._out_size += len(data)
        if self._out is not None:
            self._out.append(data)
            return
        self._out = [data]
        if not self._acting:
            self.conn.context.flush_later(self._flush_turn)

    def _flush_turn(self) -> int:
        """Write what was sent outside of an event; returns how much that was."""
        size = self._out_size
        if not self._acting and not self.conn.transport.closing:
            self._settle()
        return size

    def _flush(self) -> None:
        out = self._out
        if out is not None:
            self._out = None
            self._out_size = 0
            self.conn.transport.write(out[0] if len(out) == 1 else b"".join(out))
