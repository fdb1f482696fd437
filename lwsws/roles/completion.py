"""How a request ends: its line in the access log, its counts, and whether its answer is remembered.

Also the answer to what was no request, which never became an exchange.
"""

from __future__ import annotations

from lwsws import log
from lwsws.core.accesslog import bad_request_tail, line_tail
from lwsws.core.answers import Answer, Answers, Known
from lwsws.core.connection import Connection
from lwsws.core.errorpage import CONTENT_TYPE, error_page
from lwsws.core.exchange import Exchange
from lwsws.core.vhost import Vhost
from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.http1_write import response_head

HTML = ("Content-Type", CONTENT_TYPE)

# Of a path, in a line of the log.
MAX_LOGGED = 200


def log_answer(exchange: Exchange, sent: int) -> str:
    """Count the answered request, and log it with `sent` bytes of body; returns the end of its line."""
    exchange.vhost.counts.requests += 1
    access_log = exchange.vhost.access_log
    if access_log is None:
        return ""
    tail = line_tail(exchange.asked, exchange.status, sent)
    access_log.write(exchange.conn.peer, exchange.user or "", tail)
    return tail


def log_timeout(exchange: Exchange) -> None:
    """Say that the handler of `exchange` gave no answer in time."""
    mount = exchange.mount
    whose = "" if mount is None else f" of {mount.origin}"
    asked = f"{exchange.request.method} {exchange.path[:MAX_LOGGED]!a}"
    log.warn(f"conn {exchange.conn.ident}: {asked}: no answer{whose} within {exchange.patience:.0f} s")


def remember(exchange: Exchange, answers: Answers, keepalive: float, tail: str) -> None:
    """Remember the whole answer of `exchange`, where an equal request would get the same; `keepalive` seconds
    are waited for the next request after it, `tail` is the end of its line in the log."""
    request, payload = exchange.request, exchange.payload
    if request.has_body or payload is None or exchange.context.winding_down or request is not exchange.asked:
        return
    if exchange.known is not None and not answers.is_repeated(exchange.known, request.raw):
        return
    known = Known(payload, exchange.status, exchange.body_bytes, exchange.mount, request.raw)
    vhost = exchange.vhost
    answer = Answer(payload, exchange.keep_alive, keepalive, vhost.access_log, tail, vhost.counts)
    answers.remember(request, known, answer)


def refuse(conn: Connection, vhost: Vhost, error: RemoteProtocolError) -> None:
    """Answer what broke the rules with an error page in the name of `vhost`, and close."""
    vhost.counts.rejected += 1
    page = error_page(error.status, error.why)
    fields = [HTML, ("Content-Length", str(len(page))), ("Connection", "close")]
    head = response_head(error.status, fields, conn.context.date_field() + vhost.headers.fixed)
    conn.transport.write(head + page)
    if vhost.access_log is not None:
        vhost.access_log.write(conn.peer, "", bad_request_tail(error.status, len(page)))
    conn.close(linger=True)
