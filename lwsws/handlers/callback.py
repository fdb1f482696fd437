"""The handler of mounts with a `callback://` origin: a plugin answers.

Each exchange becomes a session, which the plugin's methods get:

    http_request   ( http_body | http_body_end | http_writable | timer )*   http_closed

The body flows after http_request, unless the plugin pauses it or has answered by then; http_body_end comes
for requests without a body too.  http_closed comes once and last, whatever has ended the session.

A plugin is never called from within one of its own calls.  An answer that is complete lets the next
pipelined request begin, which may be for a plugin again; so what completes an answer is noted, and done when
the plugin's method has returned.  What it gives for the head is checked at once, where its traceback
shows who gave it.
"""

from __future__ import annotations

import functools
from enum import Enum
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

from lwsws import log
from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.core.options import Options
from lwsws.core.plugincall import call_plugin, check_seconds, move_timer, submit
from lwsws.core.protocol import Protocol
from lwsws.core.session import Finished, HttpRequest, ProtocolVhost
from lwsws.core.vhost import FRAMING_FIELDS
from lwsws.net.timers import Deadline
from lwsws.net.transport import LOW
from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.headers import check_field

# A session for which more than this waits to be sent takes no more: nobody reads at the other end.
MAX_QUEUED = 16 * 1024 * 1024

FIRST_ERROR = 400

NOT_FOR_PLUGINS = FRAMING_FIELDS - {"date"}

Fields = Sequence[Tuple[str, str]]


class CallbackMount(NamedTuple):
    """What all sessions of one mount have in common."""

    vhost: ProtocolVhost
    options: Options = Options()
    auth_mask: int = 0


class CallbackHandler(Handler):
    """Gives the exchanges of one mount to a protocol."""

    def __init__(self, protocol_of: Callable[[], Optional[Protocol]], vhost: ProtocolVhost, options: Options,
                 auth_mask: int) -> None:
        """`protocol_of` is asked for each request, because plugins are made after the mounts."""
        self._protocol_of = protocol_of
        self._mount = CallbackMount(vhost, options, auth_mask)

    def begin(self, exchange: Exchange) -> None:
        """Call the plugin; HttpError 503 if there is none."""
        protocol = self._protocol_of()
        if protocol is None:
            raise HttpError(503, "the protocol of this mount is not offered by this vhost")
        CallbackSession(exchange, protocol, self._mount).begin()


class State(Enum):
    """How far the answer is."""

    WAITING = "waiting for the plugin's answer"
    STARTED = "the head is sent"
    ANSWERED = "the plugin has said all"
    ENDED = "http_closed was called"


class CallbackSession:
    """One exchange, for a plugin (HttpSession) and for the http role (Consumer)."""

    __slots__ = ("exchange", "protocol", "mount", "user", "_state", "_outcome", "_calling", "_left",
                 "_paused", "_end_told", "_wants_writable", "_timer")

    def __init__(self, exchange: Exchange, protocol: Protocol, mount: CallbackMount) -> None:
        self.exchange = exchange
        self.protocol = protocol
        self.mount = mount
        self.user: Any = None
        self._state = State.WAITING
        self._outcome: Optional[Callable[[], None]] = None  # completes the answer
        self._calling = False                   # the plugin is being called
        self._left: Optional[int] = None        # of the length that the plugin has announced
        self._paused = False
        self._end_told = False                  # the plugin knows that there is no body
        self._wants_writable = False
        self._timer: Optional[Deadline] = None

    def begin(self) -> None:
        """Tell the plugin of its request, then let the body flow."""
        exchange = self.exchange
        self._call(self.protocol.http_request, exchange.request)
        if self._state is State.ENDED:
            return
        if self._paused:
            exchange.consumer = self    # to hear of the rest; a 100 (Continue) would ask for the body
        else:
            exchange.take_body(self)
            self._tell_no_body()

    # What the http role says.

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body, which is not that of a request it was made of (Exchange.restart)."""
        if not self._over and not self._end_told:
            self._call(self.protocol.http_body, data)

    def body_ended(self) -> None:
        """The request's body is complete."""
        if not self._over and not self._end_told:
            self._end_told = True
            self._call(self.protocol.http_body_end)

    def drained(self) -> None:
        """Little or nothing waits to be sent."""
        self._offer_writable()

    def aborted(self) -> None:
        """The client is gone, or the role has answered."""
        self._end()
        self.exchange.consumer = None   # as below

    # What the plugin may know.

    @property
    def ident(self) -> int:
        """The number of the connection."""
        return self.exchange.conn.ident

    @property
    def peer(self) -> str:
        """The address of the client."""
        return self.exchange.peer

    @property
    def vhost(self) -> ProtocolVhost:
        """The vhost that it belongs to."""
        return self.mount.vhost

    @property
    def request(self) -> HttpRequest:
        """The request."""
        return self.exchange.request

    @property
    def mountpoint(self) -> str:
        """The path that the mount is at."""
        mount = self.exchange.mount
        return mount.prefix if mount is not None and mount.prefix else "/"

    @property
    def rest(self) -> str:
        """The path below the mountpoint."""
        return self.exchange.rest

    @property
    def username(self) -> str:
        """Who logged in."""
        return self.exchange.user or ""

    @property
    def options(self) -> Options:
        """The mount's options."""
        return self.mount.options

    @property
    def auth_mask(self) -> int:
        """The mount's mask."""
        return self.mount.auth_mask

    @property
    def secure(self) -> bool:
        """Whether the client came by TLS."""
        return self.exchange.secure

    @property
    def patience(self) -> float:
        """Seconds that may pass without a sign of the plugin."""
        return self.exchange.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        check_seconds(seconds)
        self.exchange.patience = seconds

    @property
    def is_high(self) -> bool:
        """Whether enough waits to be sent."""
        return self.exchange.is_high

    # What the plugin asks for.

    def respond(self, status: int, fields: Fields = (), body: bytes = b"",
                reason: Optional[str] = None) -> None:
        """Answer at once.  LocalProtocolError for a head that cannot be sent, or if one was sent."""
        if self._over:
            return
        kept = self._check_head(status, fields, reason)
        body = b"" + body   # a TypeError now, rather than one when it is sent
        self._state = State.ANSWERED
        exchange = self.exchange
        if status >= FIRST_ERROR and not body:
            kept = [field for field in kept if field[0].lower() != "content-type"]
            self._complete(functools.partial(exchange.fail, HttpError(status, "", kept)))
        else:
            self._complete(functools.partial(exchange.respond, status, kept, body, reason))

    def start(self, status: int, fields: Fields = (), length: Optional[int] = None,
              reason: Optional[str] = None) -> None:
        """Send the head of an answer.  LocalProtocolError as above."""
        if self._over:
            return
        kept = self._check_head(status, fields, reason)
        if length is not None and length < 0:
            raise LocalProtocolError(f"an answer cannot have {length} bytes")
        self._state = State.STARTED
        self._left = length
        self.exchange.start(status, kept, length, reason=reason)

    def write(self, data: bytes) -> None:
        """Send a piece of the body.  LocalProtocolError before start(), and beyond the length given there."""
        if self._over:
            return
        self._check_started()
        data = b"" + data
        conn = self.exchange.conn
        if conn.transport.size > MAX_QUEUED:
            log.warn(f"conn {conn.ident}: {conn.transport.size} bytes wait to be sent: aborted")
            conn.abort()
            return
        if self._left is not None:
            if len(data) > self._left:
                raise LocalProtocolError(f"{len(data) - self._left} bytes more than the length of the answer")
            self._left -= len(data)
        self.exchange.write(data)

    def finish(self) -> None:
        """The answer is complete.  LocalProtocolError before start(), and if it is not."""
        if self._over:
            return
        self._check_started()
        if self._left and self._has_body:
            raise LocalProtocolError(f"{self._left} bytes less than the length of the answer")
        self._state = State.ANSWERED
        self._complete(self.exchange.finish)

    def abort(self) -> None:
        """Close the connection now."""
        if not self._over:
            self.exchange.conn.abort()

    def pause_body(self) -> None:
        """Hold the request's body back."""
        if not self._over:
            self._paused = True
            self.exchange.pause_body()

    def resume_body(self) -> None:
        """Let it flow again, in a later turn."""
        if self._paused and not self._over:
            self._paused = False
            self.exchange.context.reactor.call_soon(self._resume)

    def request_writable(self) -> None:
        """Call http_writable() in a later turn, when the output is low."""
        if not self._wants_writable:
            self._wants_writable = True
            self.exchange.context.reactor.call_soon(self._offer_writable)

    def set_timer(self, seconds: Optional[float]) -> None:
        """Set, move or clear the one timer; ValueError if `seconds` is negative or no number."""
        check_seconds(seconds)
        wanted = None if self._over else seconds
        self._timer = move_timer(self._timer, self.exchange.context.reactor, wanted, self._timer_due)

    def run_blocking(self, fn: Callable[..., Any], *args: Any, then: Finished) -> None:
        """Have a worker call `fn(*args)`, and then `then(self, result, error)` here."""
        def finished(result: Any, error: Optional[Exception]) -> None:
            if not self._over:
                self._call(then, result, error)

        if not self._over:
            context = self.exchange.context
            submit(context.reactor, context.workers, fn, args, finished)

    # Checks.

    @property
    def _over(self) -> bool:
        """Whether the plugin has nothing to say any more."""
        return (self._state is State.ANSWERED or self._state is State.ENDED or self.exchange.closed
                or self.exchange.conn.transport.closing)

    @property
    def _has_body(self) -> bool:
        """Whether the answer that has begun has a body."""
        return self.exchange.request.method != "HEAD" and self.exchange.status not in (204, 304)

    def _check_head(self, status: int, fields: Fields, reason: Optional[str]) -> List[Tuple[str, str]]:
        """The fields that are to be sent: the configured ones replace others of their names."""
        if self._state is not State.WAITING:
            raise LocalProtocolError("a second answer to one request")
        # RFC 9110 15.2: those below 200 are no answers.
        if not 200 <= status <= 599:
            raise LocalProtocolError(f"{status} is no status of an answer")
        if reason is not None:
            check_field("reason", reason)
        kept = []
        for name, value in fields:
            check_field(name, value)
            lower = name.lower()
            if lower in NOT_FOR_PLUGINS:
                raise LocalProtocolError(f"the field {name} is the server's own to send")
            if lower == "date":
                self.exchange.dated = True
            if lower not in self.exchange.headers.names:
                kept.append((name, value))
        return kept

    def _check_started(self) -> None:
        if self._state is not State.STARTED:
            raise LocalProtocolError("no answer was begun by start()")

    # Calls of the plugin.

    def _call(self, method: Callable[..., None], *args: Any) -> None:
        """Call the plugin, then complete its answer; its fault is answered with 500, or breaks the answer
        off."""
        self._calling = True
        sound = call_plugin(self.ident, method, self, *args)
        self._calling = False
        if not sound:
            self._state = State.ANSWERED
            self._outcome = functools.partial(self.exchange.fail, HttpError(500))
        self._settle()

    def _complete(self, outcome: Callable[[], None]) -> None:
        """Have `outcome` done when the plugin has returned.  The call may be one for another session."""
        self._outcome = outcome
        if not self._calling:
            self.exchange.context.reactor.call_soon(self._settle)

    def _settle(self) -> None:
        """The plugin has returned: complete the answer, if that is what it wants.

        The session ends first, because the next request may begin as soon as the answer is complete.
        """
        outcome, self._outcome = self._outcome, None
        exchange = self.exchange
        if outcome is not None and not exchange.closed and not exchange.conn.transport.closing:
            self._end()
            outcome()
            exchange.consumer = None    # which makes a circle

    def _end(self) -> None:
        """Call the last method of the session, once."""
        if self._state is not State.ENDED:
            self._forget()
            call_plugin(self.ident, self.protocol.http_closed, self)

    def _forget(self) -> None:
        """The session is over."""
        self._state = State.ENDED
        if self._timer is not None:
            self._timer.end()

    def _resume(self) -> None:
        if not self._paused and not self._over:
            self.exchange.resume_body()
            self._tell_no_body()

    def _tell_no_body(self) -> None:
        """The body is complete, if there is none."""
        if not self.exchange.request.has_body and not self._end_told and not self._over:
            self._end_told = True
            self._call(self.protocol.http_body_end)

    def _offer_writable(self) -> None:
        if self._wants_writable and not self._over and self.exchange.conn.transport.size < LOW:
            self._wants_writable = False
            self._call(self.protocol.http_writable)

    def _timer_due(self, why: str) -> None:
        if not self._over:
            self._call(self.protocol.timer)
