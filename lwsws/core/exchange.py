"""Exchange: one request and its answer.

The http role makes an exchange for each request and gives it to the handler of the mount.  The
handler answers with `respond` (all at once) or with `start`, `write` / `send_file` and `finish`,
at once or later.  The exchange adds what every answer needs (Date, Server, configured headers,
framing, the fate of the connection), leaves out the body where the method or status has none, and
never lets a broken answer look like a whole one: a body shorter than promised aborts the connection.

A handler that wants the request body calls `take_body(consumer)`; until then, or until the answer
is finished, the http role holds the body back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, List, Optional, Protocol, Sequence, Tuple

from lwsws.core.connection import SEND
from lwsws.net.output import FileSlice
from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.http1_request import Request
from lwsws.wire.http1_write import LAST_CHUNK, chunk, response_head

if TYPE_CHECKING:
    from lwsws.core.answers import Known
    from lwsws.core.connection import Connection
    from lwsws.core.context import Context
    from lwsws.core.role import Role
    from lwsws.core.vhost import HeaderSet, MountPoint, Vhost

Field = Tuple[str, str]

# Seconds a handler may take to begin its answer, and for each next part of it, unless it says otherwise.
RESPONSE_TIMEOUT = 60.0
# The patience with a handler that has time limits of its own.
UNLIMITED = math.inf

# How often one request may be answered as another one; after that the programs send it in circles.
MAX_RESTARTS = 10


class HttpError(Exception):
    """A handler's wish to answer with an error page: status, a sentence for the page, more fields."""

    def __init__(self, status: int, why: str = "", fields: Sequence[Field] = ()) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why
        self.fields = fields


class Consumer(Protocol):
    """What a handler hangs on an exchange that it answers bit by bit."""

    def body_received(self, data: bytes) -> None:
        """A piece of the request body."""

    def body_ended(self) -> None:
        """The request body is complete."""

    def drained(self) -> None:
        """The output has room again after `is_high`."""

    def aborted(self) -> None:
        """The connection is gone; nothing can be answered any more."""


class Responder(Protocol):
    """What an exchange needs of the role that made it."""

    conn: Connection

    def may_keep_alive(self, exchange: Exchange) -> bool:
        """Whether the connection can serve another request after this one."""

    def body_wanted(self, exchange: Exchange) -> None:
        """The handler has taken the request body, or has paused or resumed it."""

    def fail(self, exchange: Exchange, error: HttpError) -> None:
        """Answer with an error page, or abort if the answer has begun."""

    def exchange_finished(self, exchange: Exchange) -> None:
        """The answer is complete and queued."""

    def upgraded(self, exchange: Exchange, role: Role) -> None:
        """The answer is a 101 and queued; `role` shall take over."""

    def restarted(self, exchange: Exchange) -> None:
        """The exchange has another request: find a handler for that one."""


class Exchange:
    """One request and its answer; used on the reactor thread only."""

    __slots__ = ("role", "conn", "request", "asked", "vhost", "mount", "headers", "secure", "path", "rest",
                 "user", "consumer", "status", "started", "finished", "keep_alive", "cacheable", "body_bytes",
                 "body_paused", "patience", "dated", "closes", "payload", "known", "_left", "_chunked",
                 "_bodiless", "_body_start", "_restarts")

    def __init__(self, role: Responder, request: Request, vhost: Vhost, secure: bool) -> None:
        self.role = role
        self.conn = role.conn
        self.request = request
        self.asked = request        # what the client has sent, also when `request` has become another one
        self.vhost = vhost
        self.mount: Optional[MountPoint] = None
        self.headers: HeaderSet = vhost.headers
        self.secure = secure
        self.path = request.path
        self.rest = ""
        self.user: Optional[str] = None
        self.consumer: Optional[Consumer] = None
        self.body_paused = False
        # Seconds without progress until the role answers in the handler's place, or breaks the answer off;
        # or UNLIMITED.
        self.patience = RESPONSE_TIMEOUT
        self.dated = False          # set by a handler whose fields have the Date of somebody else
        self.closes = False         # set by who wants the connection to end with this answer
        self.status = 0
        self.started = False
        self.finished = False
        self.keep_alive = False
        self.cacheable = False      # set by a handler whose answer depends on the request bytes alone
        self.body_bytes = 0
        self.payload: Optional[bytes] = None    # the whole answer, where it was one piece
        self.known: Optional[Known] = None      # where it came from memory
        self._left: Optional[int] = None
        self._chunked = False
        self._bodiless = False
        self._body_start = 0        # where in the output stream the body begins
        self._restarts = 0

    # What handlers may ask.

    @property
    def context(self) -> Context:
        """What all connections share."""
        return self.conn.context

    @property
    def peer(self) -> str:
        """The address of the client."""
        return self.conn.peer

    @property
    def local_address(self) -> Tuple[str, int]:
        """The address and port that the client has connected to; ("unix", 0) on a unix socket."""
        name = self.conn.transport.sock.getsockname()
        return (name[0], name[1]) if isinstance(name, tuple) else ("unix", 0)

    @property
    def closed(self) -> bool:
        """The connection is gone or the answer is finished: nothing can be sent any more."""
        return self.finished or self.conn.closed

    @property
    def takes_body(self) -> bool:
        """Whether the handler wants the body of the request now.  A request that took the place of what the
        client sent has none, so what still comes of a body is nobody's."""
        return self.consumer is not None and not self.body_paused and self.request is self.asked

    @property
    def is_high(self) -> bool:
        """Enough output is queued; go on when the consumer hears `drained`."""
        return self.conn.transport.is_high

    @property
    def body_sent(self) -> int:
        """Bytes of the body that the kernel has taken so far."""
        return max(0, min(self.body_bytes, self.conn.transport.bytes_sent - self._body_start))

    def enter(self, mount: MountPoint) -> None:
        """The exchange belongs to `mount`, which its path is below."""
        self.mount = mount
        self.headers = mount.headers
        self.rest = self.path[len(mount.prefix):]

    # The request body.

    def take_body(self, consumer: Consumer) -> None:
        """Give the request body to `consumer`; it also hears of drained output and of the end."""
        self.consumer = consumer
        self.role.body_wanted(self)

    def pause_body(self) -> None:
        """No more of the request body for now; the client has to wait."""
        self.body_paused = True
        self.role.body_wanted(self)

    def resume_body(self) -> None:
        """Go on with the request body."""
        if self.body_paused:
            self.body_paused = False
            self.role.body_wanted(self)

    # The answer.

    def respond(self, status: int, fields: List[Field], body: bytes = b"",
                reason: Optional[str] = None) -> None:
        """Answer with `status`, `fields` and the whole of `body`, in one write; `reason` is the phrase of the
        status line, None for the usual one."""
        head = self._head(status, fields, len(body), reason)
        self._left = 0
        if self._bodiless:
            self.payload = head
        else:
            self.payload = head + body
            self.body_bytes = len(body)
        self.conn.transport.write(self.payload)
        self.finish()

    def repeat(self, known: Known) -> None:
        """Answer with what an equal request got."""
        self.known = known
        self.mount = known.mount
        self.status = known.status
        self.payload = known.payload
        self.body_bytes = known.body_bytes
        self.keep_alive = self.request.keep_alive
        self.started = self.cacheable = True
        self.conn.transport.write(known.payload)
        self.finish()

    def interim(self, status: int, fields: List[Field]) -> None:
        """Send an interim answer, which is below 200; nothing to an HTTP/1.0 client (RFC 9110 15.2), nor once
        the answer has begun."""
        if not self.started and not self.closed and self.request.version != "1.0":
            self.conn.transport.write(response_head(status, fields))

    def restart(self, request: Request) -> None:
        """Answer as if the client had sent `request`, which has no body (RFC 3875 6.2.2).  HttpError if that
        goes round in circles; LocalProtocolError if the answer has begun."""
        if self.started:
            raise LocalProtocolError("a second answer to one request")
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise HttpError(508, "this leads round in circles")
        self.consumer = None
        self.body_paused = False
        self.request = request
        self.path, self.rest = request.path, ""
        self.mount, self.user = None, None
        self.headers = self.vhost.headers
        self.role.restarted(self)

    @property
    def may_keep_alive(self) -> bool:
        """Whether the connection could serve another request if the answer began now."""
        return self.role.may_keep_alive(self)

    def pass_on(self, status: int, payload: bytes, body_bytes: int) -> None:
        """Answer with `payload`, a whole answer to an HTTP/1.1 request as another one got it, of which
        `body_bytes` are the body; only if `may_keep_alive`."""
        self.status = status
        self.payload = payload
        self.body_bytes = body_bytes
        self.started = self.keep_alive = True
        self.conn.transport.write(payload)
        self.finish()

    def start(self, status: int, fields: List[Field], length: Optional[int], more: bool = False,
              reason: Optional[str] = None) -> None:
        """Send the head of an answer whose body of `length` bytes follows; None if that is not known yet.

        `more` says that a file follows at once, so that head and file may share a packet; `reason` as above.
        """
        head = self._head(status, fields, length, reason)
        self._left = 0 if self._bodiless else length
        self._body_start = self.conn.transport.bytes_sent + self.conn.transport.size + len(head)
        self.conn.transport.write(head, more=more and not self._bodiless)

    def write(self, data: bytes) -> None:
        """Send a piece of the body; nothing once the answer is finished, be it by a deadline of ours."""
        if self._bodiless or not data or self.closed:
            return
        self._count(len(data))
        self.conn.transport.write(chunk(data) if self._chunked else data)
        self._limit_client()

    def send_file(self, part: FileSlice) -> None:
        """Send a piece of the body from a file; only after a `start` with a length."""
        if self._bodiless or self.closed:
            part.close()
            return
        self._count(part.remaining)
        self.conn.transport.write_file(part)
        self._limit_client()

    def finish(self) -> None:
        """The answer is complete."""
        if self.finished or self.conn.closed:
            return
        if self._left:
            self.conn.abort()
            raise LocalProtocolError(f"answer ended {self._left} bytes short")
        if self._chunked and not self._bodiless:
            self.conn.transport.write(LAST_CHUNK)
        self.finished = True
        self.role.exchange_finished(self)

    def fail(self, error: HttpError) -> None:
        """Answer with the error page of `error`, or abort if the answer has begun."""
        self.role.fail(self, error)

    def upgrade(self, fields: List[Field], role: Role) -> None:
        """Answer with 101 and `fields`; the connection is in `role` from then on (RFC 9110 7.8)."""
        if self.started:
            raise LocalProtocolError("a second answer to one request")
        self.status = 101
        self.started = self.finished = True
        self.conn.transport.write(response_head(101, fields))
        self.role.upgraded(self, role)

    def _limit_client(self) -> None:
        """What waits for the client has to make progress, whoever else is slow: while it waits, a program or
        another server is held back, and gives its own limits up (LESSONS 3.40)."""
        if self.conn.transport.size:
            self.conn.expect_progress(self.conn.context.limits.send_timeout, SEND)

    def _count(self, size: int) -> None:
        self.body_bytes += size
        if self._left is None:
            return
        if size > self._left:
            self.conn.abort()
            raise LocalProtocolError(f"answer is {size - self._left} bytes longer than its Content-Length")
        self._left -= size

    def _head(self, status: int, fields: List[Field], length: Optional[int],
              reason: Optional[str] = None) -> bytes:
        """Decide framing and the fate of the connection, and serialize the head."""
        if self.started:
            raise LocalProtocolError("a second answer to one request")
        request = self.request
        headers = self.headers
        if headers.replaces:
            fields = [field for field in fields if field[0].lower() not in headers.replaces]
        self.status = status
        self.keep_alive = self.role.may_keep_alive(self)
        # RFC 9110 6.4.1: no body in answers to HEAD, nor in 1xx, 204 and 304.
        no_length = status == 304 or status == 204
        self._bodiless = no_length or request.method == "HEAD"
        self._chunked = False
        if no_length:
            pass    # RFC 9110 8.6, RFC 9112 6.1: neither Content-Length nor Transfer-Encoding
        elif length is not None:
            fields.append(("Content-Length", str(length)))
        elif request.version == "1.1":
            self._chunked = True
            fields.append(("Transfer-Encoding", "chunked"))
        else:
            # RFC 9112 6.3: to a 1.0 client the end of the connection is the end of the body.
            self.keep_alive = False
        if not self.keep_alive:
            if request.version == "1.1":
                fields.append(("Connection", "close"))
        elif request.version == "1.0":
            fields.append(("Connection", "keep-alive"))
        fixed = headers.fixed if self.dated else self.conn.context.date_field() + headers.fixed
        head = response_head(status, fields, fixed, reason)
        self.started = True
        return head
