"""The http role: requests in, answers out, in order, on one connection.

Two things have to be complete before the next request is looked at: the request with its body
(`_request_done`) and the answer (`exchange.finished` and handed to the kernel).  Pipelined
requests wait in the reader meanwhile, so answers cannot overtake each other, and reading pauses
when too many wait.  The connection lives on only if both sides are complete and neither asked to
close; a rest of a body that nobody wants is read and thrown away if it is short, else the
connection is closed after the answer.

            _advance: reader.next_event()
    Request ------> _begin -> vhost -> mount -> handler.begin(exchange)
    Data ---------> exchange.consumer, or thrown away once the answer is complete
    EndOfMessage -> consumer.body_ended, or on to the next request

Requests whose answer is remembered by their bytes (core/answers.py) never get that far.
"""

from __future__ import annotations

from typing import Callable, Optional, Union

from lwsws import log
from lwsws.core.answers import Answer, Way
from lwsws.core.connection import (
    BODY,
    DRAIN,
    FIRST,
    GRACE_SECONDS,
    HEAD,
    IDLE,
    RESPONSE,
    SEND,
    Connection,
)
from lwsws.core.errorpage import error_page
from lwsws.core.exchange import UNLIMITED, Exchange, HttpError
from lwsws.core.role import Role
from lwsws.core.vhost import Vhost, VhostSet
from lwsws.roles.body_rate import BodyRate
from lwsws.roles.completion import HTML, log_answer, log_timeout, refuse, remember
from lwsws.roles.dispatch import dispatch, dispatch_again, serve_error_document
from lwsws.roles.probe import probe_later
from lwsws.roles.remembered import send_remembered
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_request import Data, EndOfMessage, Request, RequestReader

# A new connection may wait this many times `timeout-secs` before its first byte, as in the original
# (10 s by default): browsers open spare connections ahead of need.
FIRST_FACTOR = 2

# A body that nobody wants is read to its end up to this size, because a new connection costs more.
DRAIN_LIMIT = 64 * 1024

# Pipelined bytes that may wait in the reader while an answer is under way, and the head of one request more.
READ_AHEAD = 64 * 1024

# Requests, or pieces of a body, acted on in one turn: a millisecond's work.  A read can hold 1,500 requests.
EVENTS_PER_TURN = 32

UNANSWERED = (FIRST, IDLE, HEAD)    # deadlines that pass without a word: no request has been begun


class HttpRole(Role):
    """HTTP/1.1 and 1.0, server side (RFC 9110, RFC 9112)."""

    __slots__ = ("vhosts", "reader", "exchange", "_request_done", "_flushing", "_advancing", "_peer_eof",
                 "_closing", "_paused", "_goes_on", "_keepalive", "_body_rate")

    def __init__(self, vhosts: VhostSet) -> None:
        self.vhosts = vhosts
        self.reader: Optional[RequestReader] = None
        self.exchange: Optional[Exchange] = None
        self._request_done = True       # the body of the current request has been read to its end
        self._flushing = False          # the answer is complete but still in the output queue
        self._advancing = False
        self._peer_eof = False
        self._closing = False           # no further request after the current one
        self._paused = False
        self._goes_on = False           # call_soon is going to call _go_on
        self._keepalive = 0.0
        self._body_rate: Optional[BodyRate] = None      # of the body that is coming

    def start(self, conn: Connection) -> None:
        """Wait for the first request."""
        self.conn = conn
        self._keepalive = self.vhosts.default.keepalive
        conn.counts = self.vhosts.default.counts
        conn.counts.connections += 1
        conn.expect_first(conn.context.limits.timeout * FIRST_FACTOR)

    # What the connection says.

    def data_received(self, data: bytes) -> None:
        """Answer what can be answered, keep the rest."""
        reader = self.reader
        if reader is None:
            if self.exchange is None:
                data, answer = send_remembered(self.conn, self.vhosts.answers, data)
                if answer is not None:
                    self._after_remembered(answer, data)
                if not data or self.conn.transport.closing:
                    return
                # Not while earlier answers wait: who does not read must not fill the output (LESSONS 3.40).
                way = None if self.conn.transport.size else self.vhosts.answers.way(data)
                if way is not None:
                    self._begin_known(way)
                    return
            reader = self.reader = RequestReader(self.conn.context.limits.request)
        reader.receive_data(data)
        self._advance()

    def eof_received(self) -> None:
        """The client half-closed: answer what it asked for, then close."""
        self._peer_eof = True
        if self.exchange is not None and self.exchange.consumer is not None:
            probe_later(self.exchange)
        if self.reader is not None:
            self.reader.receive_eof()
            self._advance()
        elif self.exchange is None:
            self.conn.close()

    def drained(self) -> None:
        """There is room in the output: finish the answer, or let the handler go on with it."""
        exchange = self.exchange
        if self._flushing and exchange is not None:
            if not self.conn.transport.size:
                self._answered(exchange)
        elif exchange is not None and exchange.consumer is not None and not exchange.finished:
            exchange.consumer.drained()
            self._set_deadline()
        else:
            self._advance()

    def expired(self, why: str) -> None:
        """Too slow: say 408 where a request is incomplete and an answer is still possible."""
        conn, exchange = self.conn, self.exchange
        if why == HEAD and self.reader is not None:
            self._refuse(RemoteProtocolError(408, "the request was not complete in time"))
        elif why == BODY and exchange is not None and not exchange.started:
            self._refuse(RemoteProtocolError(408, "the request body stopped coming"))
        elif why == RESPONSE and exchange is not None and not exchange.started:
            self._closing = True
            log_timeout(exchange)
            self._give_up(exchange, HttpError(503, "the answer took too long"))
        elif why in UNANSWERED or why == DRAIN:
            conn.close(linger=why == DRAIN)
        else:
            conn.abort()

    def shutdown(self) -> None:
        """What is under way goes on, and whoever was not told of the end may ask once more, but soon."""
        if self.exchange is None and self.reader is None and not self.conn.transport.size:
            self.conn.end_idle(IDLE)

    def closed(self, exc: Optional[Exception]) -> None:
        """Tell the handler, and log what had been sent."""
        exchange, self.exchange, self.reader = self.exchange, None, None
        if exchange is None:
            return
        self.conn.end_request()
        if exchange.started and (not exchange.finished or self._flushing):
            log_answer(exchange, exchange.body_sent)
        if exchange.consumer is not None and not exchange.finished:
            exchange.consumer.aborted()

    def _after_remembered(self, answer: Answer, left: bytes) -> None:
        """An answer from memory is on its way: close, or wait for the next request; `left` came behind it."""
        conn = self.conn
        self._keepalive = answer.keepalive
        conn.counts = answer.counts
        if not answer.keep_alive:
            conn.close(linger=left != b"")
        elif conn.transport.size:
            conn.expect_progress(conn.context.limits.send_timeout, SEND)
        else:
            conn.expect(answer.keepalive, IDLE)

    # The slow path: events of the reader.

    def _advance(self) -> None:
        """Act on the reader's events as long as they can be acted on."""
        if self._advancing:
            return
        self._advancing = True
        sound = False
        try:
            self._act_on_events()
            sound = True
        finally:
            self._advancing = False
            if not sound:
                self.conn.abort()   # a fault of a consumer, which the reactor logs
        self._settle()

    def _act_on_events(self) -> None:
        left = EVENTS_PER_TURN
        try:
            while self.reader is not None and self._takes_event():
                if not left:
                    # The other connections have their turn first (LESSONS 3.39).
                    if not self._goes_on:
                        self._goes_on = True
                        self.conn.context.reactor.call_soon(self._go_on)
                    break
                event = self.reader.next_event()
                if event is None:
                    break
                self._act_on(event)
                left -= 1
        except RemoteProtocolError as error:
            self._refuse(error)

    def _go_on(self) -> None:
        self._goes_on = False
        self._advance()

    def _takes_event(self) -> bool:
        exchange = self.exchange
        if exchange is None:
            return not self.conn.transport.is_high and not self.conn.transport.closing
        if exchange.finished:
            return not self._request_done
        return not self._request_done and exchange.takes_body

    def _act_on(self, event: Union[Request, Data, EndOfMessage]) -> None:
        if isinstance(event, Request):
            self._begin(event)
            return
        exchange = self.exchange
        assert exchange is not None
        if isinstance(event, Data):
            if self._body_rate is not None:
                self._body_rate.came(len(event.data))
            if not exchange.finished and exchange.consumer is not None:
                exchange.consumer.body_received(event.data)
            return
        self._request_done = True
        if not exchange.finished:
            if exchange.consumer is not None:
                exchange.consumer.body_ended()
        elif not self._flushing:
            self._next_request()

    def _settle(self) -> None:
        """After any progress: free or pause the reader, close after EOF, set the deadline."""
        conn, reader = self.conn, self.reader
        if conn.transport.closing or conn.role is not self:
            return
        if reader is not None and self.exchange is None and not reader.started:
            self.reader = reader = None
        # A head within its limit always comes to its end, else reading would wait for itself.
        ahead = reader is not None and reader.buffered > READ_AHEAD + conn.context.limits.request.head_bytes
        if ahead != self._paused:
            self._paused = ahead
            (conn.transport.pause_reading if ahead else conn.transport.resume_reading)()
        if self.exchange is None and (self._peer_eof or self._closing) and reader is None:
            conn.close()
        else:
            self._set_deadline()

    def _set_deadline(self) -> None:
        """The one deadline that fits what the connection is waiting for."""
        conn, exchange = self.conn, self.exchange
        limits = conn.context.limits
        if conn.transport.closing:
            return
        if conn.transport.size:
            conn.expect_progress(limits.send_timeout, SEND)
        elif exchange is None:
            # Each of these is set once for a request: an empty line in front of it moves none (LESSONS 3.8).
            if self.reader is not None:
                if conn.deadline.why != HEAD:
                    conn.expect(limits.timeout, HEAD)
            elif conn.deadline.why not in UNANSWERED:
                conn.expect(GRACE_SECONDS if conn.context.stopping else self._keepalive, IDLE)
        elif exchange.finished:
            if conn.deadline.why != DRAIN:
                conn.expect(limits.timeout, DRAIN)
        elif not self._request_done and exchange.takes_body:
            rate = self._body_rate = self._body_rate or BodyRate()
            conn.expect(rate.wait(conn.context.reactor.now, limits.timeout, conn.deadline.why == BODY), BODY)
        elif exchange.patience == UNLIMITED:
            conn.deadline.clear()
        else:
            conn.expect_progress(exchange.patience, RESPONSE)

    # One request.

    def _begin(self, request: Request) -> None:
        """Make the exchange of `request` and give it to the handler of its mount."""
        vhost, misdirected = self.vhosts.choose(request.host_name)
        exchange = self._make_exchange(request, vhost)
        if exchange is None:
            return
        self._request_done = False
        self._body_rate = None
        if not request.has_body and self.reader is not None:
            self.reader.next_event()
            self._request_done = True
        body = None if self._request_done else self.reader
        self._guard(exchange, lambda: dispatch(exchange, misdirected, self.vhosts.answers, body))

    def _begin_known(self, way: Way) -> None:
        """The same for a request without a body whose mount is remembered."""
        exchange = self._make_exchange(way.request, way.vhost)
        if exchange is not None:
            exchange.enter(way.mount)
            self._guard(exchange, lambda: way.mount.handler.begin(exchange))
            self._settle()

    def _make_exchange(self, request: Request, vhost: Vhost) -> Optional[Exchange]:
        """The exchange of `request`; None if the client has too many under way, which ends the connection."""
        conn = self.conn
        if conn.counted and not conn.begin_request():
            self.reader = None
            conn.close()
            return None
        self.exchange = exchange = Exchange(self, request, vhost, self.vhosts.secure)
        conn.counts = vhost.counts
        conn.deadline.clear()
        return exchange

    def _guard(self, exchange: Exchange, begin: Callable[[], None]) -> None:
        """Call `begin`, which gives `exchange` to its handler, and answer what that raises."""
        try:
            begin()
        except HttpError as error:
            self.fail(exchange, error)
        except RemoteProtocolError:
            raise
        except Exception:   # boundary: a fault of a handler ends its exchange only
            import traceback  # costs start-up time, and faults are rare

            log.err(f"conn {self.conn.ident}: {exchange.request.method} {exchange.path!r}: handler failed\n"
                    + traceback.format_exc())
            self.fail(exchange, HttpError(500))

    # What exchanges ask (Responder).

    def may_keep_alive(self, exchange: Exchange) -> bool:
        """Both sides must be complete, or the rest of the body short, and nobody wants to close."""
        request = exchange.asked
        if not request.keep_alive or exchange.closes or self._closing or self.conn.context.winding_down:
            return False
        if self._request_done:
            return True
        # RFC 9110 10.1.1: a client told nothing may or may not send the body it announced.
        if request.expect_continue and (exchange.consumer is None or exchange.body_paused):
            return False
        return request.content_length is not None and request.content_length <= DRAIN_LIMIT

    def body_wanted(self, exchange: Exchange) -> None:
        """Say 100 if the client waits for it, then let the body flow."""
        reader = self.reader
        # RFC 9110 10.1.1: no 100 once the final answer has begun, nor when the body is coming already.
        if exchange.request.expect_continue and not self._request_done and not exchange.started \
                and reader is not None and not reader.buffered and not exchange.body_paused:
            exchange.request.expect_continue = False
            exchange.interim(100, [])
        self._advance()

    def upgraded(self, exchange: Exchange, role: Role) -> None:
        """Log the exchange, and let `role` have the connection with all that came behind the request."""
        log_answer(exchange, 0)
        reader, self.reader, self.exchange = self.reader, None, None
        self.conn.end_request()
        if self._paused:
            self.conn.transport.resume_reading()
        self.conn.switch_role(role, b"" if reader is None else reader.leftover())
        if self._peer_eof and not self.conn.transport.closing:
            self.conn.role.eof_received()

    def restarted(self, exchange: Exchange) -> None:
        """Find a handler for the request that the exchange has now."""
        self._guard(exchange, lambda: dispatch_again(exchange))

    def fail(self, exchange: Exchange, error: HttpError) -> None:
        """Answer with an error page, or abort an answer that has begun: never a false end."""
        if exchange.closed:
            return
        exchange.cacheable = False
        if exchange.started:
            log.info(f"conn {self.conn.ident}: answer broken off: {error.status} {error.why}")
            self.conn.abort()
            return
        if error.status == 404 and serve_error_document(exchange):
            return
        exchange.respond(error.status, [HTML, *error.fields], error_page(error.status, error.why))

    def exchange_finished(self, exchange: Exchange) -> None:
        """The answer is complete; a streamed one counts as sent when the output is empty."""
        if exchange.payload is None and self.conn.transport.size:
            self._flushing = True
            self._set_deadline()
        else:
            self._answered(exchange)

    def _answered(self, exchange: Exchange) -> None:
        """The answer is on its way: log it, remember it, go on to the next request or close."""
        self._flushing = False
        self.conn.end_request()
        mount, vhost = exchange.mount, exchange.vhost
        self._keepalive = mount.keepalive if mount is not None else vhost.keepalive
        tail = log_answer(exchange, exchange.body_bytes)
        if exchange.cacheable and exchange.payload is not None and exchange.user is None:
            remember(exchange, self.vhosts.answers, self._keepalive, tail)
        if not exchange.keep_alive:
            self._close_after(exchange.request.keep_alive)
            return
        if self._request_done:
            self._next_request()
        self._advance()

    def _close_after(self, unexpected: bool) -> None:
        """Close; linger where the client may still be sending, or it would lose our answer: `unexpected` if
        only this answer tells it that it is the last one."""
        unread = not self._request_done or (self.reader is not None and self.reader.buffered > 0)
        self.exchange, self.reader = None, None
        self.conn.close(linger=(unread or unexpected) and not self._peer_eof)

    def _next_request(self) -> None:
        self.exchange = None
        reader = self.reader
        if reader is None or not reader.buffered:
            self.reader = None      # an idle connection holds no parser
        elif reader.done:           # else it was made behind a request that was known by its bytes
            reader.start_next()

    def _give_up(self, exchange: Exchange, error: HttpError) -> None:
        """Answer in place of the handler, which is told that it cannot any more."""
        consumer, exchange.consumer = exchange.consumer, None
        self.fail(exchange, error)
        if consumer is not None:
            consumer.aborted()

    def _refuse(self, error: RemoteProtocolError) -> None:
        """The peer broke the rules: answer once, read nothing more (LESSONS 3.6), close."""
        conn, exchange = self.conn, self.exchange
        log.info(f"conn {conn.ident}: {error.status} {error.why}")
        self._closing = True
        if exchange is not None:
            if exchange.finished:
                conn.close(linger=True)
                return
            self._give_up(exchange, HttpError(error.status, error.why))
            return
        self.reader = None
        refuse(conn, self.vhosts.default, error)
