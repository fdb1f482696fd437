"""wsgi: Python web applications in the server itself (PEP 3333): Flask, Django, bottle and their like.

    { "mountpoint": "/", "origin": "callback://wsgi",
      "pmo": [{ "app": "shop.main:app" }, { "path": "/srv/shop" }] }

    "ws-protocols": [{ "wsgi": { "threads": "8" } }]

Options of the mount (`pmo`): `app`, the application as "module:callable"; `path`, directories in which
Python looks for it, several times; `chdir`, the current directory of the process; `timeout`, the seconds that
the application may take until it says something.  Option of the protocol: `threads`, how many requests are
answered at once.

The whole call of one request is made by one thread of a pool of the protocol's own.  What the client sends is
gathered first, so that one who is slow does not occupy a thread; only a large body is read while it comes
(wsgi_streams.py).  What the application sends goes to the reactor bit by bit (wsgi_answer.py).
"""

from __future__ import annotations

import functools
import io
from typing import Any, Dict, List, NamedTuple, Optional, Tuple
from wsgiref.util import FileWrapper

from lwsws.builtin.wsgi_answer import ROOM, Answer, Batch
from lwsws.builtin.wsgi_call import Application, Call
from lwsws.builtin.wsgi_faults import fault_lines, is_gone
from lwsws.builtin.wsgi_load import check_options, load_application
from lwsws.builtin.wsgi_streams import BodyStream, ErrorStream
from lwsws.plugin import HttpRequest, HttpSession, Options, Protocol, ProtocolVhost, http_variables

THREADS = 8
TIMEOUT = 60
MAX_TIMEOUT = 24 * 3600

# Bytes of a body that are gathered before the application is called: most are not longer.  If much is
# gathered for all requests together, less has to do.
GATHER = 1 << 20
GATHER_ALL = 64 << 20
GATHER_LITTLE = 16 * 1024

FIRST_ERROR = 400


class Mounted(NamedTuple):
    """The application of a mount, and the seconds of the option `timeout`."""

    application: Application
    patience: int


class Wsgi(Protocol):
    """Answers by applications."""

    name = "wsgi"
    known_options = ("threads",)
    known_pmo = ("app", "path", "chdir", "timeout")

    gathered = 0
    """Bytes of bodies held for requests that are not over; those of bodies that are read while they come are
    few, and not counted."""

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """OptionError if `threads` is no number."""
        self.pool = self.server.make_pool(options.number("threads", THREADS, low=1, high=256), "wsgi")
        # By mountpoint and options: two mounts may have the mountpoint, one of them for that path alone.
        self._mounts: Dict[Tuple[str, Options], Mounted] = {}
        self._constant: Dict[str, Any] = {
            "SERVER_SOFTWARE": f"lwsws/{self.server.version}",
            "SERVER_NAME": vhost.name,
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,      # there may be several, and are during a reload
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,  # it has an end, also where CONTENT_LENGTH is missing
        }

    def check_mount(self, mountpoint: str, options: Options) -> None:
        """OptionError for what makes no sense even if there is such an application."""
        patience_of(options)
        check_options(options)

    def mounted(self, mountpoint: str, options: Options) -> None:
        """Import the application of a mount; OptionError if there is none."""
        self._mounts[mountpoint, options] = Mounted(load_application(options), patience_of(options))

    def http_request(self, s: HttpSession, request: HttpRequest) -> None:
        """A request, whose body follows; 503 if the mount was refused."""
        mounted = self._mounts.get((s.mountpoint, s.options))
        if mounted is None:
            s.respond(503)
            return
        s.patience = mounted.patience
        s.user = Conversation(self, s, mounted)

    def http_body(self, s: HttpSession, data: bytes) -> None:
        """The next piece of the body."""
        s.user.body_received(data)

    def http_body_end(self, s: HttpSession) -> None:
        """The body is complete."""
        s.user.body_ended()

    def http_writable(self, s: HttpSession) -> None:
        """There is room for more of the answer."""
        s.user.drained()

    def timer(self, s: HttpSession) -> None:
        """The client has kept the application waiting for too long."""
        s.user.too_slow()

    def http_closed(self, s: HttpSession) -> None:
        """The request is over."""
        if s.user is not None:
            s.user.over()

    def environ(self, s: HttpSession) -> Dict[str, Any]:
        """The environment of a request (PEP 3333), but for its body."""
        request, headers = s.request, s.request.headers
        # PEP 3333: text stands for the bytes that were sent, which are UTF-8 here.
        path, rest = (text.encode("utf-8").decode("latin-1") for text in (request.path, s.rest))
        environ = {
            **self._constant,
            **http_variables(headers.items),
            "REQUEST_METHOD": request.method,
            "REQUEST_URI": request.target,
            "SCRIPT_NAME": path[:len(path) - len(rest)],
            "PATH_INFO": rest,
            "QUERY_STRING": request.query or "",
            "SERVER_PORT": str(s.vhost.port or (443 if s.secure else 80)),
            "SERVER_PROTOCOL": f"HTTP/{request.version}",
            "REMOTE_ADDR": s.peer,
            "wsgi.url_scheme": "https" if s.secure else "http",
        }
        if request.host:
            environ["HTTP_HOST"] = request.host     # RFC 9112 3.2.2: perhaps that of the target
        if s.secure:
            environ["HTTPS"] = "on"
        for variable, name in (("CONTENT_TYPE", "content-type"), ("CONTENT_LENGTH", "content-length"),
                               ("HTTP_AUTHORIZATION", "authorization")):
            value = headers.get(name)
            if value is not None:
                environ[variable] = value
        if s.username:
            environ.update(AUTH_TYPE="Basic", REMOTE_USER=s.username)
            environ.pop("HTTP_AUTHORIZATION", None)     # the password is the server's, not the application's
        return environ


class Conversation:
    """One request on its way through an application, as the reactor's thread sees it."""

    __slots__ = ("_protocol", "_session", "_mounted", "_gathered", "_size", "_stream", "_answer", "_call",
                 "_begun", "_ended", "_over", "_untaken", "_waits_for_body", "_came",
                 "_timed")

    def __init__(self, protocol: Wsgi, session: HttpSession, mounted: Mounted) -> None:
        self._protocol = protocol
        self._session = session
        self._mounted = mounted
        self._gathered: List[bytes] = []    # of the body, before the call
        self._size = 0
        self._stream: Optional[BodyStream] = None
        self._answer: Optional[Answer] = None
        self._call: Optional[Call] = None
        self._begun = False     # the head was sent
        self._ended = False     # all was sent
        self._over = False
        self._untaken = 0       # bytes of the answer that make room when the client has taken them
        self._waits_for_body = False    # the application is called, and more of the body is to come
        self._came = 0          # of that, since the client's time began anew
        self._timed = False     # the client's time runs

    # The request.

    def body_received(self, data: bytes) -> None:
        """The next piece of the body."""
        if self._stream is not None:
            self._came += len(data)
            if self._stream.feed(data):
                self._session.pause_body()
                self._wait_for_body(False)
            elif self._came >= ROOM:
                self._wait_for_body(True)
            return
        self._gathered.append(data)
        self._size += len(data)
        self._protocol.gathered += len(data)
        if self._size >= (GATHER if self._protocol.gathered < GATHER_ALL else GATHER_LITTLE):
            self._stream = BodyStream(self._gathered, self._resume)
            self._count_off()
            self._begin(io.BufferedReader(self._stream), None)
            self._wait_for_body(True)

    def body_ended(self) -> None:
        """The body is complete."""
        if self._stream is not None:
            self._stream.end()
            self._wait_for_body(False)
        else:
            body, self._gathered = b"".join(self._gathered), []
            self._begin(io.BytesIO(body), len(body))

    def _count_off(self) -> None:
        self._protocol.gathered -= self._size
        self._size = 0
        self._gathered = []

    def _begin(self, body: Any, size: Optional[int]) -> None:
        """Have a thread call the application with `body`, of `size` bytes if that is known."""
        protocol = self._protocol
        log_line = functools.partial(warn_from_thread, protocol, self._session.ident)
        errors = ErrorStream(log_line)
        environ = protocol.environ(self._session)
        environ["wsgi.input"], environ["wsgi.errors"] = body, errors
        if size:
            environ["CONTENT_LENGTH"] = str(size)   # which a chunked one does not say by itself
        self._answer = Answer(functools.partial(protocol.server.call_from_thread, self._send))
        self._call = Call(self._mounted.application, environ, self._answer, errors)
        protocol.pool.run_blocking(self._call.run, then=self._returned)

    def _resume(self) -> None:
        """The application has read much of what waited; on its thread."""
        self._protocol.server.call_from_thread(self._go_on)

    def _go_on(self) -> None:
        self._session.resume_body()
        self._wait_for_body(True)

    # How long a client may keep a thread waiting.

    def _wait_for_body(self, waits: bool) -> None:
        """The application needs more of the body, or it does not; the client's time begins anew."""
        self._waits_for_body = waits
        self._came = 0
        self._limit_time()

    def _limit_time(self) -> None:
        """For each ROOM bytes that it has to send or to take the client has `timeout` seconds."""
        waits = not self._over and not self._ended and (self._waits_for_body or self._untaken > 0)
        if waits:
            self._session.set_timer(self._mounted.patience)
        elif self._timed:
            self._session.set_timer(None)
        self._timed = waits

    def too_slow(self) -> None:
        """The time is up."""
        protocol, ident = self._protocol, self._session.ident
        protocol.server.log(f"conn {ident}: wsgi: cut off a client that kept a thread waiting")
        self._session.abort()

    # The answer.

    def _send(self) -> None:
        """Send what the application has given."""
        if self._over or self._answer is None:
            return
        batch = self._answer.take()
        s, head = self._session, batch.head
        self._ended = batch.ended
        if head is not None:
            self._begun = True
            if is_whole(batch):
                s.respond(head.status, head.fields, batch.data, head.reason)
                return
            s.start(head.status, head.fields, head.length, head.reason)
        s.write(batch.data)
        if batch.ended:
            s.finish()
            return
        self._untaken += len(batch.data)
        if s.is_high:
            s.request_writable()
            self._limit_time()
        else:
            self.drained()

    def drained(self) -> None:
        """The client has taken enough: the application may go on."""
        untaken, self._untaken = self._untaken, 0
        if self._answer is not None:
            self._answer.taken(untaken)
        self._limit_time()

    def over(self) -> None:
        """The answer is complete, or the client is gone: nothing waits for it any more."""
        self._over = True
        self._count_off()
        if self._stream is not None:
            self._stream.break_off()
        if self._answer is not None:
            self._answer.break_off()

    def _returned(self, result: Any, error: Optional[Exception]) -> None:
        """The call has ended, in whatever way."""
        call, self._call = self._call, None
        if error is None or call is None:
            return
        s = self._session
        if not call.began:
            s.respond(503, [("Retry-After", "1")])
            return
        if not is_gone(error):
            for line in fault_lines(error):
                warn(self._protocol, s.ident, line)
        if not self._begun:
            s.respond(500)
        elif not self._ended:
            s.abort()   # never a false end


def is_whole(batch: Batch) -> bool:
    """Whether all of the answer is there, and as long as its head says."""
    head = batch.head
    if head is None or not batch.ended or head.length != len(batch.data):
        return False
    # In place of an error without a body the server would send its page.
    return batch.data != b"" or head.status < FIRST_ERROR


def patience_of(options: Options) -> int:
    """The seconds of the option `timeout`; OptionError if it is no number."""
    return options.number("timeout", TIMEOUT, low=1, high=MAX_TIMEOUT)


def warn(protocol: Wsgi, ident: int, line: str) -> None:
    """A line of an application, which tells of a fault."""
    protocol.server.log(f"conn {ident}: wsgi: {line}", "warn")


def warn_from_thread(protocol: Wsgi, ident: int, line: str) -> None:
    """The same, for its threads."""
    protocol.server.call_from_thread(functools.partial(warn, protocol, ident, line))
