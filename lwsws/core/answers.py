"""The fast path: answers remembered, by the bytes of the request and by what it asks for.

Most requests to a busy static site are the same few bytes again and again.  An answer that
depends on nothing but the request and a file (no login, no state) is remembered twice:

    by bytes      The next request of exactly these bytes costs a dict lookup and a write, instead of
                  parsing, routing, opening and formatting.  Load balancers, monitors, benchmarks.
    by essence    Browsers send cookies and referers that differ each time and change nothing.  Their
                  requests are parsed, and then found by the few parts that can matter: method,
                  target, host, version, keep-alive and Accept-Encoding.

Where each answer is a new one, as with other servers behind this one, at least the way there is remembered
by bytes (`Way`): the parsed request, and the vhost and the mount that it is for.  What may still refuse it
is asked each time: the handler, and so the password.

Everything is forgotten together, at most `LIFETIME` after the first answer was remembered.  So a
changed file is seen within that time, the Date field is never older, and there is no entry to
check or evict one by one.  The slow path beside it (roles/http.py) gives the same bytes; a test
compares all three.  One `Answers` belongs to one `VhostSet`, because the same request may mean something
else on another port or under another TLS name; the `Room` is common to all.

Measured for a browser's request on one core, the client's part included: 7 us by bytes, 28 by essence,
56 by the slow path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Set, Tuple

from lwsws.core.accesslog import AccessLog
from lwsws.net.reactor import Reactor
from lwsws.wire.request import Request

if TYPE_CHECKING:
    from lwsws.core.vhost import Counts, MountPoint, Vhost

# Seconds; short enough that nobody who saves a file and reloads the page notices.
LIFETIME = 0.4

# A crowd of different requests must not fill the memory: at most this much in a process.
MAX_ENTRIES = 2048
MAX_BYTES = 8 * 1024 * 1024
# Longer requests (cookies) are found by essence only, and their bytes are not kept.
MAX_REQUEST = 2048
# A parsed request takes so many times its bytes of memory.
WAY_FACTOR = 6

# Fields that can change an answer and are not in the essence: requests with one of them have none.
DECISIVE_FIELDS = frozenset(("authorization", "expect", "if-match", "if-modified-since", "if-none-match",
                             "if-range", "if-unmodified-since", "range", "upgrade"))

Essence = Tuple[str, str, str, str, bool, Optional[str]]


class Answer(NamedTuple):
    """A whole answer: its bytes, what happens then, and its line for the access log."""

    payload: bytes
    keep_alive: bool
    keepalive: float
    access_log: Optional[AccessLog]
    log_tail: str
    counts: Counts


class Way(NamedTuple):
    """Where a request leads; `request` was parsed when it came first, and nobody changes it."""

    request: Request
    vhost: Vhost
    mount: MountPoint


class Known:
    """An answer remembered by essence, and the last request that got it."""

    __slots__ = ("payload", "status", "body_bytes", "mount", "request")

    def __init__(self, payload: bytes, status: int, body_bytes: int, mount: Optional[MountPoint],
                 request: bytes) -> None:
        self.payload = payload
        self.status = status
        self.body_bytes = body_bytes
        self.mount = mount
        self.note(request)

    def note(self, request: bytes) -> None:
        """`request` is the last one now."""
        self.request = request if len(request) <= MAX_REQUEST else b""


def essence(request: Request) -> Optional[Essence]:
    """The parts of `request` that a remembered answer can depend on; None if others matter too."""
    table = request.headers.table
    if request.content_length != 0 or not DECISIVE_FIELDS.isdisjoint(table):
        return None
    return (request.method, request.target, request.host, request.version, request.keep_alive,
            table.get("accept-encoding"))


class Room:
    """How many answers, of how many bytes, may still be remembered in this process."""

    __slots__ = ("entries", "size")

    def __init__(self) -> None:
        self.entries = MAX_ENTRIES
        self.size = MAX_BYTES

    def take(self, size: int) -> bool:
        """Take room for an answer of `size` bytes, if there is."""
        if not self.entries or size > self.size:
            return False
        self.entries -= 1
        self.size -= size
        return True

    def give_back(self, entries: int, size: int) -> None:
        """`entries` answers of `size` bytes together are forgotten."""
        self.entries += entries
        self.size += size


class Answers:
    """The remembered answers of one set of vhosts."""

    __slots__ = ("_reactor", "_room", "_by_bytes", "_by_essence", "_ways", "_seen", "_entries", "_size",
                 "get", "way")

    def __init__(self, reactor: Reactor, room: Optional[Room] = None) -> None:
        """`room` is shared with others, or this one's own."""
        self._reactor = reactor
        self._room = room or Room()
        self._by_bytes: Dict[bytes, Answer] = {}
        self._by_essence: Dict[Essence, Known] = {}
        self._ways: Dict[bytes, Way] = {}
        self._seen: Set[int] = set()    # hashes of requests that came once
        self._entries = 0
        self._size = 0
        # The dict's own lookup, because it is asked for each request: request bytes -> Answer or None.
        self.get = self._by_bytes.get
        self.way = self._ways.get

    def __len__(self) -> int:
        """How many answers are remembered by bytes."""
        return len(self._by_bytes)

    def find(self, request: Request) -> Optional[Known]:
        """The answer remembered for what `request` asks for."""
        if not self._by_essence:
            return None
        key = essence(request)
        return None if key is None else self._by_essence.get(key)

    def is_repeated(self, known: Known, raw: bytes) -> bool:
        """Whether the request `raw` is the very one that got `known` last; noted for the next time."""
        if known.request == raw:
            return True
        known.note(raw)
        return False

    def remember(self, request: Request, known: Known, answer: Answer) -> None:
        """Remember the answer to `request`, if there is room, in the way that fits.

        By essence at first; by bytes when the same bytes come a second time in a row, so that the
        ever different requests of browsers do not fill the memory with entries of no use.
        """
        key, raw = essence(request), request.raw
        if key is not None:
            before = self._by_essence.get(key)
            if before is None:
                # The key holds parts of the request; `known` will hold the bytes of one like it.
                if self._has_room(len(raw) + MAX_REQUEST + len(known.payload)):
                    self._by_essence[key] = known
                return
            if not self.is_repeated(before, raw):
                return
        if len(raw) <= MAX_REQUEST and self._has_room(len(raw) + len(answer.payload) + len(answer.log_tail)):
            self._by_bytes[raw] = answer

    def remember_way(self, request: Request, vhost: Vhost, mount: MountPoint) -> None:
        """Remember where `request`, which has no body, leads, when its bytes come a second time."""
        raw = request.raw
        if not raw or len(raw) > MAX_REQUEST or raw in self._ways or len(self._seen) >= MAX_ENTRIES:
            return
        key = hash(raw)
        if key in self._seen:
            if self._has_room(len(raw) * WAY_FACTOR):
                self._ways[raw] = Way(request, vhost, mount)
        else:
            if not self._seen and not self._entries:
                self._reactor.call_later(LIFETIME, self.forget)
            self._seen.add(key)

    def _has_room(self, size: int) -> bool:
        if not self._room.take(size):
            return False
        if not self._entries and not self._seen:
            self._reactor.call_later(LIFETIME, self.forget)
        self._entries += 1
        self._size += size
        return True

    def forget(self) -> None:
        """Drop all answers."""
        self._by_bytes.clear()
        self._by_essence.clear()
        self._ways.clear()
        self._seen.clear()
        self._room.give_back(self._entries, self._size)
        self._entries = self._size = 0
