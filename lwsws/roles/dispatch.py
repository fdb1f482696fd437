"""Which handler answers a request: policy first, then what is remembered, WebSockets, and the mount.

An Upgrade to anything but WebSocket is ignored (RFC 9110 7.8; LESSONS 3.11).  A request for a WebSocket need
not be below any mount, as in the original, but one that is meets the mount first: it may refuse it, redirect
it, or pass it on to another server.
"""

from __future__ import annotations

from typing import Optional, Tuple

from lwsws.core.answers import Answers
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.wire.headers import tokens
from lwsws.wire.http1_request import RequestReader
from lwsws.wire.request import METHODS, Request


def dispatch(exchange: Exchange, misdirected: bool, answers: Answers,
             reader: Optional[RequestReader]) -> None:
    """Answer `exchange`, or give it to its handler; `misdirected` as VhostSet.choose() says, `reader` has the
    body that is still to come, if any.  HttpError as of check_policy() and find_handler()."""
    request = exchange.request
    check_policy(exchange, misdirected)
    if request.form == "asterisk":
        exchange.respond(200, [("Allow", "GET, HEAD, OPTIONS")])
        return
    known = answers.find(request)
    if known is not None:
        exchange.repeat(known)
        return
    handler, max_body = find_handler(exchange)
    if reader is not None:
        reader.limit_body(max_body)
    elif exchange.mount is not None and handler is exchange.mount.handler and handler.is_live:
        answers.remember_way(request, exchange.vhost, exchange.mount)
    handler.begin(exchange)


def dispatch_again(exchange: Exchange) -> None:
    """The same for an exchange that has another request now."""
    find_handler(exchange)[0].begin(exchange)


def check_policy(exchange: Exchange, misdirected: bool) -> None:
    """HttpError for requests that no mount shall see: for another site, of a refused client, of an unknown
    method."""
    request = exchange.request
    if misdirected:
        raise HttpError(421, "no site of this name here")
    for word, status, text in exchange.context.limits.reject_keywords:
        if word in (request.headers.get("user-agent") or ""):
            exchange.closes = True
            exchange.vhost.counts.rejected += 1
            raise HttpError(status, text)
    if request.method not in METHODS:
        raise HttpError(501, "unknown method")


def find_handler(exchange: Exchange) -> Tuple[Handler, int]:
    """What answers `exchange`, and the largest request body it takes; HttpError if nothing does.

    The exchange learns its mount, and what of the path is below it.
    """
    request, vhost = exchange.request, exchange.vhost
    mount = vhost.routes.match(request.path)
    if mount is not None:
        exchange.enter(mount)
    if asks_for_websocket(request):
        if mount is not None and mount.no_ws_upgrades:
            raise HttpError(403, "no WebSockets here")
        if mount is None or not mount.handler.takes_upgrade(exchange):
            if vhost.upgrades is None:
                raise HttpError(404, "no WebSocket protocol is offered here")
            return vhost.upgrades, 0
    if mount is None:
        raise HttpError(404)
    return mount.handler, mount.max_body


def asks_for_websocket(request: Request) -> bool:
    """Whether `request` wants its connection to become a WebSocket; whether it may is decided later."""
    upgrade = request.headers.get("upgrade")
    # RFC 9110 7.8: MUST ignore an Upgrade in HTTP/1.0.
    return upgrade is not None and request.version != "1.0" and "websocket" in tokens(upgrade)


def serve_error_document(exchange: Exchange) -> bool:
    """Answer with the vhost's document for 404; False if it has none, or it cannot be had."""
    path = exchange.vhost.error_document
    mount = exchange.vhost.routes.match(path) if path else None
    return mount is not None and mount.handler.serve_document(exchange, path[len(mount.prefix):], 404)
