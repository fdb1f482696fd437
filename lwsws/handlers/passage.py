"""A passage: one request on its way to an origin, and the answer on its way back.

    client -- exchange --> Passage -- link --> origin
           <-- exchange --         <-- reader --

It is the consumer of its exchange and the user of its link, so it hears of both ends.  Whichever side cannot
take more pauses the other one; `drained` may mean either, and looks at both.

An origin that cannot be connected to is passed over for the next.  A kept link may be closed by the origin
in the very moment of its use: then, as long as nothing of an answer has come, a request that may be repeated
(RFC 9110 9.2.2) is sent once more, over a new link.

The time limits of the origin are those of the link: `FIRST` from the end of the request to the first byte of
an answer, `IDLE` whenever it is its turn to send or to take something.  The http role has those of the client.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, List, Optional, Tuple

from lwsws import log
from lwsws.core.exchange import UNLIMITED, Exchange, HttpError
from lwsws.handlers.proxy_answer import answer_fields, fields_of_changed, upgrade_fields
from lwsws.handlers.proxy_html import HtmlBody, html_body, is_html
from lwsws.net.link import Link
from lwsws.net.pool import Opening, Pool
from lwsws.net.reset import break_off
from lwsws.roles.relay import RelayRole
from lwsws.wire.errors import RemoteProtocolError, excerpt
from lwsws.wire.forwarding import end_to_end
from lwsws.wire.http1_response import Data, EndOfMessage, Interim, Response, ResponseReader
from lwsws.wire.http1_write import LAST_CHUNK, REASONS, chunk

if TYPE_CHECKING:
    from lwsws.handlers.proxy import ProxyHandler

FIRST = "no answer from the origin"
IDLE = "the origin has stalled"

# An origin that could not be connected to is not tried for so many seconds, if there is another one.
DOWN_SECONDS = 10.0

# Seconds that a link may have been idle for a request that cannot be repeated.
MAX_AGE = 1.0
# RFC 9110 9.2.2, of those the server knows; only without a body, which is gone once it is sent.
REPEATABLE = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"))


class Passage:
    """One exchange of a proxy mount."""

    __slots__ = ("_proxy", "_exchange", "_upgrade", "_pool", "_tried", "_opening", "_link", "_reader", "_head",
                 "_sent", "_heard", "_repeatable", "_answer", "_pieces", "_body")

    _pool: Pool
    _reader: ResponseReader

    def __init__(self, proxy: ProxyHandler, exchange: Exchange, upgrade: str) -> None:
        """`upgrade` are the protocols that the client asks to change to, "" for none."""
        self._proxy = proxy
        self._exchange = exchange
        self._upgrade = upgrade
        self._tried: Tuple[Pool, ...] = ()      # those that could not be connected to
        self._opening: Optional[Opening] = None
        self._link: Optional[Link] = None
        self._head = b""            # of the request, and not sent yet
        self._sent = False          # the whole request
        self._heard = False         # a byte of an answer
        self._repeatable = False
        self._answer: Optional[Response] = None     # its head has come, and was not passed on yet
        self._pieces: List[bytes] = []              # of its body
        self._body: Optional[HtmlBody] = None       # what the body goes through

    def __repr__(self) -> str:
        return f"<Passage of conn {self._exchange.conn.ident}>"

    def begin(self) -> None:
        """Find a link and send the request."""
        exchange, request = self._exchange, self._exchange.request
        exchange.patience = UNLIMITED
        # The body comes once it can be passed on: until then no 100 (Continue) is sent either.
        exchange.body_paused = request.has_body
        exchange.consumer = self
        self._repeatable = request.method in REPEATABLE and not request.has_body
        self._choose()

    # To the origin.

    def _choose(self) -> None:
        """Use a kept link, or begin to open one, of the origin whose turn it is."""
        self._pool = pool = self._proxy.next_pool(self._exchange.context.reactor.now, self._tried)
        link = pool.take(math.inf if self._repeatable else MAX_AGE)
        if link is None:
            self._open()
        else:
            self._use(link)

    def _open(self) -> None:
        context = self._exchange.context
        self._opening = self._pool.open(context.reactor, context.workers, self._proxy.connect_seconds,
                                        self._opened, self._not_opened)

    def _opened(self, link: Link) -> None:
        self._opening = None
        self._pool.down_until = 0.0
        self._use(link)

    def _not_opened(self, reason: str, late: bool) -> None:
        self._opening = None
        pool, now = self._pool, self._exchange.context.reactor.now
        # Of an origin that stays down, one line for each request would be too many.
        self._say(log.INFO if now < pool.down_until else log.WARN, f"cannot connect: {reason}")
        pool.down_until = now + DOWN_SECONDS
        self._tried += (pool,)
        if len(self._tried) < len(self._proxy.pools):
            self._choose()
        elif late:
            self._fail(504, "the server behind this one does not answer")
        else:
            self._fail(503, "the server behind this one cannot be reached")

    def _use(self, link: Link) -> None:
        """Send the request by `link`."""
        exchange, request = self._exchange, self._exchange.request
        self._link = link
        link.use(self)
        exchange.context.onward += 1
        self._reader = ResponseReader(request.method, upgrade=self._upgrade != "")
        if log.enabled(log.INFO):
            self._say(log.INFO, "kept connection" if link.used else "new connection")
        head = self._proxy.head(exchange, self._pool, self._upgrade)
        if request.has_body:
            # The body is there already as a rule, and shall share its packet with the head.
            self._head = head
            exchange.context.reactor.call_soon(self._send_head)
            exchange.resume_body()
        else:
            link.transport.write(head)
            self._sent = True
        self._set_deadline()

    def _send_head(self) -> None:
        """The head, if nothing of the body has taken it along."""
        if self._head and self._link is not None:
            self._send(self._link, b"")

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body."""
        link = self._link
        if link is None:
            return
        self._send(link, chunk(data) if self._exchange.request.chunked else data)
        if link.transport.size:
            if link.transport.is_high:
                self._exchange.pause_body()
            self._set_deadline()

    def _send(self, link: Link, data: bytes) -> None:
        head, self._head = self._head, b""
        link.transport.write(head + data if head else data)

    def body_ended(self) -> None:
        """The request is complete."""
        link = self._link
        if link is None:
            return
        if self._exchange.request.chunked:
            self._send(link, LAST_CHUNK)
        self._sent = True
        self._set_deadline()

    # From the origin.

    def data_received(self, data: bytes) -> None:
        """Something of the answer."""
        self._heard = True
        ahead = self._reader.body_ahead
        if ahead and self._body is None and len(data) <= ahead and self._answer is None:
            # In bulk the bytes need not be looked at.
            self._reader.passed(len(data))
            self._exchange.write(data)
            if len(data) < ahead:
                self._hold_back()
                return
        else:
            self._reader.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        """The origin has closed."""
        if not self._heard:
            self._lost("closed by the origin without an answer")
            return
        self._reader.receive_eof()
        self._read()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The link broke."""
        self._lost(f"lost: {exc}")

    def _read(self) -> None:
        """Act on all that has come of the answer."""
        try:
            while self._link is not None and not self._is_inflating:
                event = self._reader.next_event()
                if event is None:
                    break
                self._act_on(event)
            self._pass_on_pieces()
        except RemoteProtocolError as error:
            self._warn(error.why)
            self._fail(502, "the server behind this one has sent no proper answer")

    def _act_on(self, event: object) -> None:
        if isinstance(event, Data):
            self._pieces.append(event.data if self._body is None else self._body.feed(event.data))
        elif isinstance(event, Response):
            self._begin_answer(event)
        elif isinstance(event, EndOfMessage):
            self._complete()
        elif isinstance(event, Interim) and event.status != 100:
            # A 100 (Continue) is for us: the client was told to send when we could take it.
            self._exchange.interim(event.status, end_to_end(event.headers))

    def _begin_answer(self, response: Response) -> None:
        """The head of the answer: wait whether all of it has come."""
        if response.status == 101:
            self._switch(response)
            return
        self._answer = response
        if self._proxy.rewrites and is_html(response.status, response.headers):
            self._body = html_body(response.headers, self._proxy.paths.link)
            if self._body is None:
                coding = response.headers.get("content-encoding") or ""
                self._say(log.INFO, f"links are not rewritten in {excerpt(coding)}")

    def _pass_on_pieces(self) -> None:
        """What has come so far, of an answer that is not complete."""
        link = self._link
        if link is None:
            return
        if self._answer is not None:
            response, fields = self._take_answer()
            length = None if self._body is not None else response.content_length
            self._exchange.start(response.status, fields, length, reason=unusual(response))
        if self._pieces:
            self._exchange.write(b"".join(self._pieces))
            self._pieces.clear()
        if self._is_inflating:
            link.transport.pause_reading()
            self._resume()
        else:
            self._hold_back()

    def _take_answer(self) -> Tuple[Response, List[Tuple[str, str]]]:
        response, self._answer = self._answer, None
        assert response is not None
        fields = answer_fields(self._exchange, response, self._proxy.paths)
        return response, fields_of_changed(fields) if self._body is not None else fields

    def _hold_back(self) -> None:
        """Read nothing more for a client that does not take what there is."""
        link = self._link
        if link is not None:
            if self._exchange.is_high:
                link.transport.pause_reading()
            self._set_deadline()

    def _go_on(self) -> None:
        """The next step of a page that is large when inflated."""
        body, link = self._body, self._link
        if body is None or link is None:
            return
        try:
            self._pieces.append(body.go_on())
        except RemoteProtocolError as error:
            self._warn(error.why)
            self._fail(502, "")
            return
        self._read()
        if not self._is_inflating:
            self._resume()

    @property
    def _is_inflating(self) -> bool:
        """Whether a piece that has come makes more than was made of it so far."""
        return self._body is not None and self._body.pending

    def _complete(self) -> None:
        """The answer is complete: pass the rest of it on, and keep the link if it can be used again."""
        exchange, body = self._exchange, self._body
        if body is not None:
            self._pieces.append(body.finish())
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._let_go(self._sent and self._reader.reusable)
        if self._answer is None:
            exchange.write(rest)
            exchange.finish()
        else:
            response, fields = self._take_answer()
            reason = unusual(response)
            if exchange.request.method == "HEAD":
                exchange.start(response.status, fields, None if body is not None else response.content_length,
                               reason=reason)
                exchange.finish()
            else:
                exchange.respond(response.status, fields, rest, reason)
        exchange.consumer = None    # which makes a circle

    def _switch(self, response: Response) -> None:
        """The origin changes the protocol: from now on the bytes are no business of ours."""
        fields = upgrade_fields(response.headers, self._upgrade)
        link = self._link
        if not fields or link is None:
            raise RemoteProtocolError(502, "101 to a protocol that was not asked for")
        exchange = self._exchange
        self._link = None
        exchange.context.onward -= 1    # the relay counts it from here on
        role = RelayRole(link.hand_over(), str(self._pool.target.onward), self._reader.leftover())
        exchange.consumer = None
        exchange.upgrade(fields, role)

    # Both ways.

    def drained(self) -> None:
        """There is room again, at the origin or at the client."""
        link = self._link
        if link is None:
            return
        if not link.transport.is_high:
            self._exchange.resume_body()
        self._resume()

    def _resume(self) -> None:
        """Read on, if what was read could be passed on."""
        link = self._link
        if link is not None:
            if not self._exchange.is_high:
                if self._is_inflating:
                    self._exchange.context.reactor.call_soon(self._go_on)
                else:
                    link.transport.resume_reading()
            self._set_deadline()

    def _set_deadline(self) -> None:
        """The time limit of whatever the origin has to do now."""
        link, exchange = self._link, self._exchange
        if link is None:
            return
        now = exchange.context.reactor.now
        if exchange.is_high:
            link.deadline.clear()
        elif link.transport.size or exchange.started:
            if link.deadline.why != IDLE:
                link.deadline.set(now + self._proxy.idle_seconds, IDLE)
        elif not self._sent:
            link.deadline.clear()   # the client has to send
        elif link.deadline.why != FIRST:
            link.deadline.set(now + self._proxy.first_seconds, FIRST)

    def expired(self, why: str) -> None:
        """The origin is slow: has a byte moved meanwhile?"""
        link = self._link
        if link is None:
            return
        seconds = self._proxy.first_seconds if why == FIRST else self._proxy.idle_seconds
        until = link.transport.last_progress + seconds
        if until > self._exchange.context.reactor.now:
            link.deadline.set(until, why)
        else:
            self._warn(why)
            self._fail(504, "the server behind this one does not answer")

    # The end.

    def aborted(self) -> None:
        """The client is gone, or was answered by the role."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self._let_go(False)

    def _lost(self, reason: str) -> None:
        """The link is of no use any more, and the answer is not complete."""
        link = self._link
        if link is None:
            return
        if link.used and self._repeatable and not self._heard:
            self._let_go(False)
            self._open()
            return
        self._warn(reason)
        self._fail(502, "the server behind this one has broken off")

    def _fail(self, status: int, why: str) -> None:
        exchange = self._exchange
        self._let_go(False)
        if exchange.started and exchange.request.version == "1.0":
            # Such a client may take the end of the connection for the end of the answer.
            break_off(exchange.conn.transport)
        exchange.fail(HttpError(status, why))
        exchange.consumer = None

    def _let_go(self, keep: bool) -> None:
        """Have no link any more, and `keep` it for the next request or close it."""
        link, self._link = self._link, None
        if link is None:
            return
        self._exchange.context.onward -= 1
        if keep:
            self._pool.give_back(link)
        else:
            link.drop()

    def _warn(self, reason: str) -> None:
        self._say(log.WARN, reason)

    def _say(self, level: int, text: str) -> None:
        if log.enabled(level):
            write = log.warn if level == log.WARN else log.info
            write(f"conn {self._exchange.conn.ident}: proxy {self._pool.target.onward}: {text}")


def unusual(response: Response) -> Optional[str]:
    """The reason phrase of an answer, None if it is the usual one or none."""
    reason = response.reason
    return None if not reason or reason == REASONS.get(response.status) else reason
