"""Sessions as plugins see them: what a method of a plugin may ask of the connection or request it is called
for, and of the server.

These are interfaces only.  WebSocket and raw sessions are roles (roles/websocket.py, roles/raw.py), http
sessions hang on an exchange (handlers/callback.py).  All of it is for the reactor's thread.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

if TYPE_CHECKING:
    from lwsws.core.options import Options
    from lwsws.net.onward import Onward
    from lwsws.wire.ws_message import PreparedMessage


class ProtocolVhost(NamedTuple):
    """What a plugin knows of its vhost; `port` is 0 on a unix socket."""

    name: str
    port: int


Finished = Callable[[Any, Any, Optional[Exception]], None]
"""What is called with the session, the result and the error of work done by a worker."""


class Fields(typing.Protocol):
    """The header fields of a request; names are given in lower case."""

    def get(self, name: str) -> Optional[str]:
        """The value of `name`, repeated ones joined by ", "; None if there is none."""

    def all(self, name: str) -> List[str]:
        """All values of `name`."""

    @property
    def items(self) -> List[Tuple[str, str]]:
        """All of them, names and values as they were sent, as latin-1 text; not to be changed."""


class HttpRequest(typing.Protocol):
    """The head of a request."""

    @property
    def method(self) -> str:
        """GET, POST and so on."""

    @property
    def target(self) -> str:
        """What was asked for, as it was sent: path and query, nearly always."""

    @property
    def version(self) -> str:
        """1.1 or 1.0."""

    @property
    def path(self) -> str:
        """The path, decoded and without dot segments."""

    @property
    def query(self) -> Optional[str]:
        """What follows the first `?`, as it was sent; None without one."""

    @property
    def host(self) -> str:
        """The Host field."""

    @property
    def headers(self) -> Fields:
        """The header fields."""


class PendingCall(typing.Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """It shall not come."""


class Pool(typing.Protocol):
    """Worker threads of a plugin's own."""

    def run_blocking(self, fn: Callable[..., Any], *args: Any,
                     then: Callable[[Any, Optional[Exception]], None]) -> None:
        """As that of the server, on one of these threads."""


class Server(typing.Protocol):
    """What a plugin may ask of the server."""

    @property
    def version(self) -> str:
        """The version of lwsws."""

    def status(self, hide_vhosts: bool = False) -> Mapping[str, Any]:
        """How the server is: numbers and names, described in docs/plugins.md; made anew at each call."""

    def log(self, text: str, level: str = "notice") -> None:
        """Write a line to the server's log, at the level "err", "warn", "notice", "info" or "debug";
        ValueError for another one."""

    def call_later(self, seconds: float, fn: Callable[[], None]) -> PendingCall:
        """Call `fn` once, `seconds` from now.  What it raises is logged."""

    def run_blocking(self, fn: Callable[..., Any], *args: Any,
                     then: Callable[[Any, Optional[Exception]], None]) -> None:
        """As that of sessions, for work that belongs to none: calls `then(result, error)`."""

    def make_pool(self, threads: int, name: str) -> Pool:
        """At most `threads` threads, called `name`, for work that may wait for long: it shall not keep the
        server's own workers from looking up names and passwords.  They start when there is work for them."""

    def call_from_thread(self, fn: Callable[[], None]) -> None:
        """Call `fn` on the reactor's thread, soon.  The one method for other threads: what a thread asks for
        is done in order, and before `then` is called if it is a worker's.  What `fn` raises is logged; once
        the server has ended nothing is called."""


class Session(typing.Protocol):
    """What all sessions have.  Calls have no effect any more once a session is closing."""

    user: Any
    """The plugin's own object for this session, None at first."""

    @property
    def ident(self) -> int:
        """The number of the connection, as in the log."""

    @property
    def peer(self) -> str:
        """The address of the client; "unix" if it came through a unix socket."""

    @property
    def vhost(self) -> ProtocolVhost:
        """The vhost that it belongs to."""

    def request_writable(self) -> None:
        """Call writable() (http_writable(), raw_writable()) once, in a later turn, as soon as little (64 KiB)
        or nothing waits to be sent."""

    def set_timer(self, seconds: Optional[float]) -> None:
        """Call timer() once, `seconds` from now, in place of what was set before; None: do not."""

    def run_blocking(self, fn: Callable[..., Any], *args: Any, then: Finished) -> None:
        """Have a worker thread call `fn(*args)`, which must not touch the session, and then call
        `then(session, result, None)`, or `then(session, None, error)` if it raised or no worker can be had.
        `then` is not called if the session is over by that time."""

    def abort(self) -> None:
        """Close the connection now and forget what was not sent."""


class WsSession(Session, typing.Protocol):
    """One WebSocket."""

    @property
    def request(self) -> HttpRequest:
        """The request that opened it.  Parsed anew each time, so keep what you need of it."""

    @property
    def username(self) -> str:
        """Who logged in by the option `basic-auth`; "" without."""

    @property
    def subprotocol(self) -> str:
        """The name that was agreed on with the client; "" if it named none."""

    @property
    def secure(self) -> bool:
        """Whether the client came by TLS."""

    @property
    def queued(self) -> int:
        """How many bytes wait to be sent."""

    @property
    def is_high(self) -> bool:
        """Enough waits to be sent (256 KiB): a plugin that sends unasked leaves this session out for now,
        or drops it.  Nothing is received meanwhile, so one that only answers need not care."""

    def send(self, message: Union[str, bytes, PreparedMessage]) -> None:
        """Send a message: text if it is a str, binary if it is bytes.  One that goes to many is prepared
        once.  A session for which more than 16 MiB wait is aborted."""

    def send_fragment(self, data: Union[str, bytes], final: bool) -> None:
        """Send the next piece of a message, the last one if `final`.  All pieces of a message are of the type
        of the first; send() in between is an error."""

    def ping(self, data: bytes = b"") -> None:
        """Send a ping with at most 125 bytes; pong() hears of the answer."""

    def pause(self) -> None:
        """No receive() until resume().  Nothing is read, so the client has to wait."""

    def resume(self) -> None:
        """Read again."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was sent so far, then a close frame; closed() follows when the client has answered it, or
        did not in time.  `reason` is cut to 123 bytes."""


class HttpSession(Session, typing.Protocol):
    """One request to a callback:// mount, and its answer."""

    @property
    def request(self) -> HttpRequest:
        """The request."""

    @property
    def mountpoint(self) -> str:
        """The mount's `mountpoint`, as mounted() was told of it."""

    @property
    def rest(self) -> str:
        """What follows the mountpoint in the path: "", or "/" and more."""

    @property
    def username(self) -> str:
        """Who logged in by the mount's `basic-auth`; "" without."""

    @property
    def options(self) -> Options:
        """The mount's `pmo`."""

    @property
    def auth_mask(self) -> int:
        """The mount's `auth-mask`."""

    @property
    def secure(self) -> bool:
        """Whether the client came by TLS."""

    @property
    def patience(self) -> float:
        """Seconds that may pass without an answer, or without more of it, before the server ends the session;
        60 unless it is set to something else."""

    @patience.setter
    def patience(self, seconds: float) -> None: ...

    @property
    def is_high(self) -> bool:
        """Enough of the answer waits to be sent (256 KiB): go on in http_writable()."""

    def pause_body(self) -> None:
        """No http_body() until resume_body().  The client has to wait."""

    def resume_body(self) -> None:
        """Go on with the request's body."""

    def respond(self, status: int, fields: Sequence[Tuple[str, str]] = (), body: bytes = b"",
                reason: Optional[str] = None) -> None:
        """Answer at once; `reason` is the phrase after the status, None for the usual one.  An error status
        without a body gets the server's error page."""

    def start(self, status: int, fields: Sequence[Tuple[str, str]] = (), length: Optional[int] = None,
              reason: Optional[str] = None) -> None:
        """Begin an answer of `length` bytes; None: as many as will be written."""

    def write(self, data: bytes) -> None:
        """Send the next piece of the answer's body."""

    def finish(self) -> None:
        """The answer is complete."""


class RawSession(Session, typing.Protocol):
    """One raw connection.  Its calls have no effect either once it was handed over."""

    def write(self, data: bytes) -> None:
        """Send `data` after what was written before.  While much of that waits (256 KiB), nothing is read, so
        a plugin that only answers need not care; others write from `raw_writable`."""

    def pause(self) -> None:
        """No raw_receive() nor raw_eof() until resume().  Nothing is read, so the client has to wait."""

    def resume(self) -> None:
        """Read again."""

    def shutdown_write(self) -> None:
        """Send what was written, then the end of the stream; go on receiving."""

    def close(self) -> None:
        """Send what was written, then close."""

    def tunnel(self, onward: Onward, first: bytes = b"") -> None:
        """Hand the connection over to the server at `onward`: bytes flow both ways from now on, `first` and
        what was received but not told yet before all others.  For the plugin the session is over."""
