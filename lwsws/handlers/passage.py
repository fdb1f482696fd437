"""A passage: one request on its way to an origin, and the answer on its way back.

    client -- exchange --> Passage -- link --> origin
           <-- exchange --         <-- Return --

It is the consumer of its exchange and the user of its link, so it hears of both ends.  Whichever side cannot
take more pauses the other one; `drained` may mean either, and looks at both.

An origin that cannot be connected to is passed over for the next.  A kept link may be closed by the origin
in the very moment of its use: then, as long as nothing of an answer has come, a request that may be repeated
(RFC 9110 9.2.2) is sent once more, over a new link.

The time limits of the origin are those of the link: `FIRST` from the end of the request to the first byte
of an answer, `IDLE` whenever it is its turn to send or to take something.  The http role has those of the
client.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Optional, Tuple

from lwsws import log
from lwsws.core.exchange import UNLIMITED, Exchange, HttpError
from lwsws.handlers.proxy_answer import upgrade_fields
from lwsws.handlers.proxy_return import Return
from lwsws.net.link import Link
from lwsws.net.pool import Opening, Pool
from lwsws.net.reset import break_off
from lwsws.net.splice import splice_between
from lwsws.roles.relay import RelayRole
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_response import Response
from lwsws.wire.http1_write import LAST_CHUNK, chunk

if TYPE_CHECKING:
    from lwsws.handlers.proxy import ProxyHandler

FIRST = "no answer from the origin"
IDLE = "the origin has stalled"

# An origin that could not be connected to is not tried for so many seconds, if there is another one.
DOWN_SECONDS = 10.0

# What OpenSSL says of an origin, and what it probably means.
HINTS = (("local issuer certificate", "client-ssl-ca names its authorities"),
         ("self-signed certificate", "client-ssl-ca names its authorities"),
         ("self signed certificate", "client-ssl-ca names its authorities"),
         ("wrong version number", "it speaks no TLS: http:// is meant?"),
         ("no application protocol", "it speaks no HTTP/1.1"))

# Of a path, in a line of the log.
MAX_LOGGED = 200

# Seconds that a link may have been idle for a request that cannot be repeated.
MAX_AGE = 1.0
# RFC 9110 9.2.2, of those the server knows; only without a body, which is gone once it is sent.
REPEATABLE = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"))


class Passage:
    """One exchange of a proxy mount."""

    __slots__ = ("_proxy", "_exchange", "_upgrade", "_pool", "_tried", "_opening", "_link", "_head", "_sent",
                 "_repeatable", "_back")

    _pool: Pool

    def __init__(self, proxy: ProxyHandler, exchange: Exchange, upgrade: str) -> None:
        """`upgrade` are the protocols that the client asks to change to, "" for none."""
        request = exchange.request
        self._proxy = proxy
        self._exchange = exchange
        self._upgrade = upgrade
        self._tried: Tuple[Pool, ...] = ()      # those that could not be connected to
        self._opening: Optional[Opening] = None
        self._link: Optional[Link] = None
        self._head = b""                        # of the request, and not sent yet
        self._sent = not request.has_body       # all that follows the head
        self._repeatable = self._sent and request.method in REPEATABLE
        self._back: Optional[Return] = None     # from the first byte of an answer on

    def __repr__(self) -> str:
        return f"<Passage of conn {self._exchange.conn.ident}>"

    def begin(self) -> None:
        """Find a link and send the request."""
        exchange = self._exchange
        exchange.patience = UNLIMITED
        # The body comes once it can be passed on: until then no 100 (Continue) is sent either.
        exchange.body_paused = not self._sent
        exchange.consumer = self
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
        self._say(log.INFO if now < pool.down_until else log.WARN, f"cannot connect: {reason}{hint(reason)}")
        pool.down_until = now + DOWN_SECONDS
        self._tried += (pool,)
        if len(self._tried) < len(self._proxy.pools):
            self._choose()
        elif late:
            self._fail(504, "the server behind this one does not answer")
        else:
            self._fail(502, "the server behind this one cannot be reached")

    def _use(self, link: Link) -> None:
        """Send the request by `link`."""
        exchange = self._exchange
        context = exchange.conn.context
        self._link = link
        link.use(self)
        context.onward += 1
        if log.enabled(log.INFO):
            self._say(log.INFO, "kept connection" if link.used else "new connection")
        head = self._proxy.requests.head(exchange, self._pool, self._upgrade)
        if self._sent:
            link.transport.write(head)
            link.deadline.set(context.reactor.now + self._proxy.first_seconds, FIRST)
        else:
            # The body is there already as a rule, and shall share its packet with the head.
            self._head = head
            context.reactor.call_soon(self._send_head)
            exchange.resume_body()
            self._set_deadline()

    def _send_head(self) -> None:
        """The head, if nothing of the body has taken it along."""
        if self._head and self._link is not None:
            self._send(self._link, b"")

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body."""
        link = self._link
        if link is None or self._sent:
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
        if link is None or self._sent:
            return
        if self._exchange.request.chunked:
            self._send(link, LAST_CHUNK)
        self._sent = True
        self._set_deadline()

    # From the origin.

    def data_received(self, data: bytes) -> None:
        """Something of the answer."""
        back = self._back
        if back is None:
            if self._sent and not self._upgrade and self._pass_on_known(data):
                return
            back = self._back = Return(self._proxy, self._exchange, self._upgrade)
        back.receive(data)
        self._read(back)

    def eof_received(self) -> None:
        """The origin has closed."""
        back = self._back
        if back is None:
            self._lost("closed by the origin without an answer")
        else:
            back.reader.receive_eof()
            self._read(back)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The link broke."""
        self._lost(f"lost: {exc}")

    def _pass_on_known(self, data: bytes) -> bool:
        """Whether `data` are a whole answer whose head is known; then it is on its way."""
        exchange = self._exchange
        known = self._proxy.answers.find(exchange, data)
        if known is None:
            return False
        self._let_go(True)
        exchange.pass_on(200, known.payload, known.length)
        exchange.consumer = None
        return True

    def _read(self, back: Return) -> None:
        """Act on all that has come of the answer."""
        try:
            if back.read():
                self._complete(back)
                return
            back.pass_on()
        except RemoteProtocolError as error:
            self._break(error)
            return
        link = self._link
        if link is None:
            return
        if back.is_inflating:
            link.transport.pause_reading()
            self._resume()
            return
        if back.is_long:
            back.is_long = False
            client = self._exchange.conn.transport
            back.splice = splice_between(link.transport, client, self._spliced, self._exchange.send_file)
        self._hold_back(link)

    def _spliced(self, count: int) -> None:
        """So much of the body went to the client inside the kernel."""
        back = self._back
        if back is not None and self._link is not None:
            back.spliced(count)
            self._read(back)

    def _complete(self, back: Return) -> None:
        """The answer is complete: keep the link if it can be used again, and pass the rest on."""
        if back.switch is not None:
            self._switch(back, back.switch)
            return
        if back.splice is not None and self._link is not None:
            self._link.transport.stop_instead(back.splice)
        # Some origins send a body in answer to HEAD, which may come in a moment.
        is_over = self._sent and back.reader.reusable and self._exchange.request.method != "HEAD"
        self._let_go(is_over)
        back.finish()
        self._exchange.consumer = None  # which makes a circle

    def _switch(self, back: Return, response: Response) -> None:
        """The origin changes the protocol: from now on the bytes are no business of ours."""
        fields = upgrade_fields(response.headers, self._upgrade)
        exchange, link = self._exchange, self._link
        if not fields or link is None:
            raise RemoteProtocolError(502, "101 to a protocol that was not asked for")
        self._link = None
        exchange.context.onward -= 1    # the relay counts it from here on
        exchange.consumer = None
        role = RelayRole(link.hand_over(), str(self._pool.target.onward), back.reader.leftover())
        exchange.upgrade(fields, role)

    def _hold_back(self, link: Link) -> None:
        """Read nothing more for a client that does not take what there is."""
        if self._exchange.is_high:
            link.transport.pause_reading()
        self._set_deadline()

    def _go_on(self) -> None:
        """The next step of a page that is large when inflated."""
        back = self._back
        if back is None or self._link is None or not back.is_inflating:
            return
        try:
            more = back.go_on()
        except RemoteProtocolError as error:
            self._break(error)
            return
        self._read(back)
        if not more:
            self._resume()

    # Both ways.

    def drained(self) -> None:
        """There is room again, at the origin or at the client."""
        link = self._link
        if link is None:
            return
        if not link.transport.is_high:
            self._exchange.resume_body()
        if link.deadline.why == IDLE:
            link.deadline.clear()   # its time begins anew: it may have had to wait for the other side
        self._resume()

    def _resume(self) -> None:
        """Read on, if what was read could be passed on."""
        link = self._link
        if link is None:
            return
        if not self._exchange.is_high:
            if self._back is not None and self._back.is_inflating:
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
        now = self._exchange.context.reactor.now
        if until > now:
            link.deadline.set(until, why)
        elif self._exchange.conn.transport.size:
            link.deadline.set(now + seconds, why)   # it waits for the client
        else:
            key = "proxy-timeout" if why == FIRST else "proxy-idle-timeout"
            self._say(log.WARN, f"{why}: nothing within {seconds:.0f} s ({key})")
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
        if link.used and self._repeatable and self._back is None:
            self._let_go(False)
            self._open()
            return
        self._say(log.WARN, reason)
        self._fail(502, "the server behind this one has broken off")

    def _break(self, error: RemoteProtocolError) -> None:
        """The origin breaks the rules."""
        self._say(log.WARN, error.why)
        self._fail(502, "the server behind this one has sent no proper answer")

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

    def _say(self, level: int, text: str) -> None:
        if log.enabled(level):
            exchange = self._exchange
            asked = f"{exchange.request.method} {exchange.path[:MAX_LOGGED]!a}"
            log.write(level, f"conn {exchange.conn.ident}: proxy {self._pool.target.onward}: {asked}: {text}")


def hint(reason: str) -> str:
    """What to do about `reason`, why an origin cannot be connected to; "" where it says so itself."""
    return next((f" ({text})" for words, text in HINTS if words in reason), "")
