"""The way back: an answer of an origin, read, changed where it has to be, and passed on to the client.

A short answer waits until it is complete and goes out in one piece, with its length.  Of a longer one each
piece goes on as it comes; a body that is neither in chunks nor changed passes by the reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Tuple

from lwsws import log
from lwsws.core.exchange import Exchange
from lwsws.handlers.proxy_answer import answer_fields, fields_of_changed
from lwsws.handlers.proxy_html import HtmlBody, html_body, is_html
from lwsws.net.splice import Splice
from lwsws.wire.errors import excerpt
from lwsws.wire.forwarding import response_fields
from lwsws.wire.http1_response import Data, Interim, Response, ResponseReader
from lwsws.wire.http1_write import REASONS

if TYPE_CHECKING:
    from lwsws.handlers.proxy import ProxyHandler

# A body of less is through before a pipe is worth its while.
LONG_BYTES = 1024 * 1024

SWITCHING_PROTOCOLS = 101
CONTINUE = 100


class Return:
    """One answer.  All that reads raises RemoteProtocolError 502 if the origin breaks a rule."""

    __slots__ = ("reader", "switch", "is_long", "splice", "_proxy", "_exchange", "_first", "_answer",
                 "_pieces", "_body")

    def __init__(self, proxy: ProxyHandler, exchange: Exchange, upgrade: str) -> None:
        """`upgrade` are the protocols that the origin was asked to change to, "" for none."""
        self.reader = ResponseReader(exchange.request.method, upgrade=upgrade != "")
        # The answer by which the origin has changed the protocol.
        self.switch: Optional[Response] = None
        # A body has begun that is worth a splice, and that is made if there can be one.
        self.is_long = False
        self.splice: Optional[Splice] = None
        self._proxy = proxy
        self._exchange = exchange
        self._first = b""           # what came first, as long as nothing else did
        self._answer: Optional[Response] = None     # its head was not passed on yet
        self._pieces: List[bytes] = []              # nor were these of its body
        self._body: Optional[HtmlBody] = None       # what the body goes through, if it is changed

    def receive(self, data: bytes) -> None:
        """The origin has sent `data`."""
        reader = self.reader
        ahead = reader.body_ahead
        if ahead >= len(data) and self._body is None and self._answer is None:
            # In bulk the bytes need not be looked at.
            reader.passed(len(data))
            self._exchange.write(data)
            if self.splice is not None:
                self.splice.allowed = reader.body_ahead
                self.splice.came(len(data))
            return
        self._first = b"" if reader.started else data
        reader.receive_data(data)

    def read(self) -> bool:
        """Read what has come; whether that is the whole answer, or all until the protocol changes."""
        while not self.is_inflating:
            event = self.reader.next_event()
            if event is None:
                return False
            if isinstance(event, Data):
                self._pieces.append(event.data if self._body is None else self._body.feed(event.data))
            elif isinstance(event, Response):
                if event.status == SWITCHING_PROTOCOLS:
                    self.switch = event
                    return True
                self._begin(event)
            elif isinstance(event, Interim):
                self._interim(event)
            else:
                if self._body is not None:
                    self._pieces.append(self._body.finish())
                return True
        return False

    def _interim(self, event: Interim) -> None:
        # A 100 (Continue) is for us: the client was told to send when we could take it.
        if event.status != CONTINUE:
            exchange = self._exchange
            exchange.interim(event.status, response_fields(event.headers, exchange.headers.names))

    @property
    def is_inflating(self) -> bool:
        """Whether a piece that has come makes more than was made of it so far: then go_on() comes next."""
        return self._body is not None and self._body.pending

    def go_on(self) -> bool:
        """The next step of a page that is large when inflated; whether there is a further one."""
        if self._body is not None:
            self._pieces.append(self._body.go_on())
        return self.is_inflating

    def pass_on(self) -> None:
        """Send what there is of an answer that is not complete."""
        exchange = self._exchange
        if self._answer is not None:
            response, fields = self._take_answer()
            length = None if self._body is not None else response.content_length
            exchange.start(response.status, fields, length, reason=unusual(response))
            self.is_long = length is not None and length >= LONG_BYTES
        if self._pieces:
            exchange.write(b"".join(self._pieces))
            self._pieces.clear()

    def spliced(self, count: int) -> None:
        """So much of the body went to the client inside the kernel."""
        self.reader.passed(count)
        if self.splice is not None:
            self.splice.allowed = self.reader.body_ahead

    def finish(self) -> None:
        """Send the rest of a complete answer."""
        exchange = self._exchange
        rest = b"".join(self._pieces)
        if self._answer is None:
            exchange.write(rest)
            exchange.finish()
            return
        response, fields = self._take_answer()
        if exchange.request.method == "HEAD":
            length = None if self._body is not None else response.content_length
            exchange.start(response.status, fields, length, reason=unusual(response))
            exchange.finish()
            return
        exchange.respond(response.status, fields, rest, unusual(response))
        if not self._first:
            return
        if self._body is None:
            self._proxy.answers.note(exchange, response, self._first)
        elif self.reader.reusable:
            self._proxy.answers.note_page(exchange, response, self._first)

    def _begin(self, response: Response) -> None:
        """The head of the answer has come."""
        self._answer = response
        if not self._proxy.rewrites or not is_html(response.status, response.headers):
            return
        self._body = html_body(response.headers, self._proxy.paths.link)
        if self._body is None:
            coding = response.headers.get("content-encoding") or ""
            ident = self._exchange.conn.ident
            log.info(f"conn {ident}: proxy: links are not rewritten in {excerpt(coding)}")

    def _take_answer(self) -> Tuple[Response, List[Tuple[str, str]]]:
        exchange, proxy = self._exchange, self._proxy
        response, self._answer = self._answer, None
        assert response is not None
        fields = answer_fields(exchange, response, proxy.paths, proxy.requests.kept_host(exchange.request))
        return response, fields_of_changed(fields) if self._body is not None else fields


def unusual(response: Response) -> Optional[str]:
    """The reason phrase of an answer, None if it is the usual one or none."""
    reason = response.reason
    return None if not reason or reason == REASONS.get(response.status) else reason
