"""Is a client that will send no more still there?  Asked while its answer is being made.

Who has sent all of its request may half-close and wait for the answer; who has gone away looks the same:
the end of the stream has come.  It makes a difference where a program or another server works for nobody.
TCP tells it to those who send something: what is gone answers with a reset.  So now and then an interim
answer is sent, 100 (Continue), which every client has to skip (RFC 9110 15.2), and soon after it one looks
whether the connection still stands.
"""

from __future__ import annotations

import functools

from lwsws import log
from lwsws.core.exchange import Exchange
from lwsws.net.reset import is_reset

# A quick answer comes before the first question.
FIRST_SECONDS = 0.5
# A reset needs a round trip.
ANSWER_SECONDS = 0.5
NEXT_SECONDS = 5.0


def probe_later(exchange: Exchange) -> None:
    """Begin to ask, for as long as the answer has not begun; who is gone is aborted."""
    exchange.context.reactor.call_later(FIRST_SECONDS, functools.partial(_ask, exchange))


def _ask(exchange: Exchange) -> None:
    if not exchange.started and not exchange.closed:
        exchange.interim(100, [])
        exchange.context.reactor.call_later(ANSWER_SECONDS, functools.partial(_look, exchange))


def _look(exchange: Exchange) -> None:
    if exchange.closed:
        return
    if is_reset(exchange.conn.transport):
        log.info(f"conn {exchange.conn.ident}: {exchange.peer}: gone before the answer")
        exchange.conn.abort()
    else:
        exchange.context.reactor.call_later(NEXT_SECONDS, functools.partial(_ask, exchange))
