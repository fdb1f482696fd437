"""Fetching: a small HTTPS client on the reactor, for what the server itself asks of others (ACME, RFC 8555).

    fetcher.fetch("GET", url, b"", "", done)    done(Reply(status, headers, body), "") or done(None, reason)

    URL --> a kept link, or name, address, TCP, TLS with a checked certificate --> request --> whole answer

Only https://, only HTTP/1.1, no redirects followed, no cookies, no content codings.  The answer is read as
strictly as those of origins (wire/http1_response.py), its size is limited, and so is the time that all of it
takes together.  A status of 4xx or 5xx is an answer like any other.

A kept link may be closed by the server in the very moment of its use.  If it breaks before a byte of the
answer, the request is sent once more, over a new link.  That is done for POST too, because the requests of
RFC 8555 carry a nonce: one that was worked on already is refused as a repeat (6.5).
"""

from __future__ import annotations

import functools
import re
import socket
from typing import TYPE_CHECKING, Callable, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from lwsws.net.bind import address_family
from lwsws.net.link import Link
from lwsws.net.onward import MAX_NAME, MAX_PORT, NAME, PORT, Onward
from lwsws.net.pool import Opening, Pool, Target
from lwsws.net.reactor import Reactor
from lwsws.net.workers import Workers
from lwsws.wire.errors import RemoteProtocolError, excerpt
from lwsws.wire.forwarding import request_head
from lwsws.wire.headers import Headers
from lwsws.wire.http1_response import Data, EndOfMessage, Interim, Response, ResponseReader

if TYPE_CHECKING:
    from ssl import SSLContext

# From fetch() to the last byte of the answer; an authority may take its time to sign.
FETCH_SECONDS = 30.0
# Of the body of an answer: a chain of certificates has some KiB.
MAX_BODY = 1024 * 1024
MAX_URL = 2048
# Servers that links are kept for.  One authority has one, seldom two.
MAX_POOLS = 8
# Idle links of each, and how long they may be idle: requests that belong together follow each other at once.
MAX_IDLE = 2
IDLE_SECONDS = 5.0

HTTPS_PORT = 443
# Methods for which a request without a body says so (RFC 9110 8.6).
METHODS_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))

_VISIBLE = re.compile("[!-~]*")
# RFC 3986 appendix B, less what another scheme would have; the fragment is left out.
_URL = re.compile("https://([^/?#]*)([^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(rf"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<name>{NAME}))(?::(?P<port>{PORT}))?")

Field = Tuple[str, str]


class Reply(NamedTuple):
    """A complete answer; `body` is b"" if it has none."""

    status: int
    headers: Headers
    body: bytes


Done = Callable[[Optional[Reply], str], None]


class Place(NamedTuple):
    """What a URL names: whom to connect to (`host` in lower case, IPv6 without brackets), what to ask for."""

    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As for Host (RFC 9110 7.2): without the port if it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"


def parse_url(url: str) -> Place:
    """What `url` names; ValueError with a reason for the log if it is no https:// URL, or one with user info.

    A URL may be what another server said, so it is quoted and cut short in the reason.
    """
    if len(url) > MAX_URL:
        raise ValueError(f"the URL {excerpt(url)} is longer than {MAX_URL} characters")
    if _VISIBLE.fullmatch(url) is None:
        raise ValueError(f"the URL {excerpt(url)} holds a character that none may have")
    parts = _URL.match(url)
    if parts is None:
        raise ValueError(f"{excerpt(url)} is no https:// URL")
    authority, target = parts.groups()
    found = _AUTHORITY.fullmatch(authority)
    host = "" if found is None else (found["literal"] or found["name"]).lower()
    port = int(found["port"] or HTTPS_PORT) if found is not None else 0
    if not _is_host(host, authority.startswith("[")) or not 1 <= port <= MAX_PORT:
        raise ValueError(f"the URL {excerpt(url)} has no proper host and port")
    return Place(host, port, target if target.startswith("/") else "/" + target)


def _is_host(host: str, in_brackets: bool) -> bool:
    """Whether `host`, of the right characters, is an IPv6 address if `in_brackets`, else a name or IPv4."""
    family = address_family(host)
    if in_brackets or family:
        return in_brackets == (family == socket.AF_INET6)
    # The resolver reads "127.1" and "2130706433" as addresses.
    return 0 < len(host) <= MAX_NAME and not host.replace(".", "").isdigit()


class Fetch:
    """One request under way; while it has a link, it is the user of that.  Fetcher.fetch() makes it."""

    __slots__ = ("_fetcher", "_done", "_give_up_at", "_name", "_pool", "_method", "_request", "_opening",
                 "_link", "_reader", "_came", "_response", "_body")

    _pool: Pool
    _reader: ResponseReader
    _response: Response

    def __init__(self, fetcher: Fetcher, done: Done) -> None:
        self._fetcher = fetcher
        self._done: Optional[Done] = done
        self._give_up_at = fetcher.reactor.clock() + fetcher.seconds
        self._name = ""             # of the server, for the log
        self._method = ""
        self._request = b""
        self._opening: Optional[Opening] = None
        self._link: Optional[Link] = None
        self._came = False          # a byte of the answer
        self._body = bytearray()

    def __repr__(self) -> str:
        return f"<Fetch from {self._name}>"

    def cancel(self) -> None:
        """Give up, and call nobody.  No effect once it is over."""
        self._done = None
        self._let_go(False)
        self._fetcher.forget(self)

    # For Fetcher.

    def begin(self, pool: Pool, name: str, method: str, request: bytes) -> None:
        """Send `request` by a link of `pool`."""
        self._pool, self._name, self._method, self._request = pool, name, method, request
        link = pool.take(IDLE_SECONDS)
        if link is None:
            self._open()
        else:
            self._use(link)

    def end(self, reply: Optional[Reply], reason: str) -> None:
        """It is over.  That is told as a callback of its own, so that it matters to nobody what it does."""
        self._fetcher.reactor.call_soon(functools.partial(self._tell, reply, reason))

    def _tell(self, reply: Optional[Reply], reason: str) -> None:
        done, self._done = self._done, None
        self._fetcher.forget(self)
        if done is not None:
            done(reply, reason)

    # To the server.

    def _open(self) -> None:
        fetcher = self._fetcher
        left = max(0.0, self._give_up_at - fetcher.reactor.clock())
        self._opening = self._pool.open(fetcher.reactor, fetcher.workers, left, self._use, self._not_opened)

    def _not_opened(self, reason: str, late: bool) -> None:
        self._opening = None
        if late and reason.endswith("no answer"):
            reason += f" within {self._fetcher.seconds:g} s"
        self._fail(reason)

    def _use(self, link: Link) -> None:
        self._opening = None
        self._link = link
        self._reader = ResponseReader(self._method)
        link.use(self)
        link.deadline.set(self._give_up_at, "no answer")
        link.transport.write(self._request)

    # From the server.

    def data_received(self, data: bytes) -> None:
        """Something of the answer."""
        self._came = True
        self._reader.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        """The server has closed, which may be the end of a body."""
        if not self._sent_again():
            self._reader.receive_eof()
            self._read()

    def drained(self) -> None:
        """All of the request is sent."""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """The link broke."""
        if not self._sent_again():
            self._fail(f"the connection was lost: {exc}")

    def expired(self, why: str) -> None:
        """The time is up, however much has come."""
        what = "no complete answer" if self._came else why
        self._fail(f"{what} within {self._fetcher.seconds:g} s")

    def _sent_again(self) -> bool:
        """Whether the link was a kept one that the server was tired of; then a new one is being opened."""
        link = self._link
        if link is None or not link.used or self._came:
            return False
        self._let_go(False)
        self._open()
        return True

    def _read(self) -> None:
        """Act on all that has come."""
        try:
            event = self._reader.next_event()
            while event is not None and not isinstance(event, EndOfMessage):
                self._take(event)
                event = self._reader.next_event()
        except RemoteProtocolError as error:
            self._fail(error.why)
            return
        if event is not None:
            # Servers that answer HEAD with a body are none of RFC 8555: their links are kept, too.
            self._let_go(self._reader.reusable)
            self.end(Reply(self._response.status, self._response.headers, bytes(self._body)), "")

    def _take(self, event: Union[Interim, Response, Data]) -> None:
        size = 0
        if isinstance(event, Response):
            self._response = event
            if event.has_body:
                size = event.content_length or 0
        elif isinstance(event, Data):
            self._body += event.data
            size = len(self._body)
        if size > MAX_BODY:
            raise RemoteProtocolError(502, f"the answer is longer than {MAX_BODY} bytes")

    # The end.

    def _fail(self, reason: str) -> None:
        self._let_go(False)
        self.end(None, f"{self._name}: {reason}")

    def _let_go(self, keep: bool) -> None:
        """Have no link any more, nor wait for one; `keep` it for the next request, or close it."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        link, self._link = self._link, None
        if link is None:
            return
        if keep:
            self._pool.give_back(link)
        else:
            link.drop()


class Fetcher:
    """Makes requests of one kind: as one client, and with one opinion on whom to trust."""

    __slots__ = ("reactor", "workers", "seconds", "_tls", "_fields", "_pools", "_under_way", "_closed")

    def __init__(self, reactor: Reactor, workers: Workers, tls: SSLContext, user_agent: str,
                 seconds: float = FETCH_SECONDS) -> None:
        """`tls` checks certificates and names (client_context of tls.py); `seconds` are for one request, from
        fetch() to the last byte of the answer."""
        self.reactor = reactor
        self.workers = workers
        self.seconds = seconds
        self._tls = tls
        # RFC 8555 6.1: a client MUST send User-Agent, and SHOULD send Accept-Language.
        self._fields: List[Field] = [("User-Agent", user_agent), ("Accept-Language", "en"),
                                     ("Accept-Encoding", "identity")]
        self._pools: Dict[Tuple[str, int], Pool] = {}   # the one used last is the last
        self._under_way: Set[Fetch] = set()
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a request is under way, whose end was not told yet."""
        return bool(self._under_way)

    def fetch(self, method: str, url: str, body: bytes, content_type: str, done: Done) -> Fetch:
        """Begin a request, without a body if `body` is b"".

        Calls `done` once: with the answer, whatever its status, and "", or with None and a reason for the
        log.  Never from within this call, and not after cancel() or close().  LocalProtocolError if `method`
        or `content_type` cannot be sent; anything wrong with `url` is told to `done`.
        """
        try:
            place, reason = parse_url(url), "no more requests are made" if self._closed else ""
        except ValueError as error:
            place, reason = Place("", 0, "/"), str(error)
        request = self._head(method, place, body, content_type) + body
        fetch = Fetch(self, done)
        self._under_way.add(fetch)
        if reason:
            fetch.end(None, reason)
        else:
            fetch.begin(self._pool(place), place.authority, method, request)
        return fetch

    def close(self) -> None:
        """No more: cancel what is under way, and close the idle links."""
        self._closed = True
        for fetch in list(self._under_way):
            fetch.cancel()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def forget(self, fetch: Fetch) -> None:
        """`fetch` is over; for Fetch only."""
        self._under_way.discard(fetch)

    def _head(self, method: str, place: Place, body: bytes, content_type: str) -> bytes:
        fields = [("Host", place.authority), *self._fields]
        if content_type:
            fields.append(("Content-Type", content_type))
        if body or method in METHODS_WITH_BODY:
            fields.append(("Content-Length", str(len(body))))
        return request_head(method, place.target, fields)

    def _pool(self, place: Place) -> Pool:
        """The links to the server of `place`."""
        key = place.host, place.port
        pool = self._pools.pop(key, None)
        if pool is None:
            onward = Onward(place.host, place.port, address_family(place.host))
            # A dot at the end is for the look-up only: certificates have none (RFC 6066 3).
            target = Target(onward, self._tls, place.host.removesuffix("."))
            pool = Pool(target, MAX_IDLE, IDLE_SECONDS)
        self._pools[key] = pool
        if len(self._pools) > MAX_POOLS:
            self._pools.pop(next(iter(self._pools))).close()
        return pool
