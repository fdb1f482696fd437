"""Http sessions of plugins on a bench: a plugin that writes down what it is told, and a site that calls it.

    plugin, peer = CallbackSite(tmp_path).connect(request=lambda s: s.respond(200, body=b"hello"))
    assert peer.get("/call").body == b"hello"
    assert plugin.events == ["request", "body end", "closed"]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from lwsws.core.options import Options
from lwsws.core.protocol import Protocol
from lwsws.core.session import HttpRequest, HttpSession, ProtocolVhost
from lwsws.handlers.callback import CallbackHandler
from tests.support.docroot import open_fds
from tests.support.peer import Bench, Peer

VHOST = ProtocolVhost("localhost", 7681)

Hook = Callable[[HttpSession], None]


class HttpNotes(Protocol):
    """Writes down what it is told, and calls the hook of that event, if there is one."""

    name = "notes"

    def __init__(self, **hooks: Hook) -> None:
        self.events: List[str] = []
        self.body = b""
        self.sessions_seen: List[HttpSession] = []
        self.hooks: Dict[str, Hook] = hooks
        self._depth = 0

    @property
    def session(self) -> HttpSession:
        """The last session."""
        return self.sessions_seen[-1]

    def http_request(self, s: HttpSession, request: HttpRequest) -> None:
        assert request is s.request
        self.sessions_seen.append(s)
        self._note("request", s)

    def http_body(self, s: HttpSession, data: bytes) -> None:
        assert data
        self.body += data
        self._note("body", s)

    def http_body_end(self, s: HttpSession) -> None:
        self._note("end", s)

    def http_writable(self, s: HttpSession) -> None:
        self._note("writable", s)

    def http_closed(self, s: HttpSession) -> None:
        self._note("closed", s)

    def timer(self, s: Any) -> None:
        self._note("timer", s)

    def _note(self, event: str, s: HttpSession) -> None:
        assert not self._depth, f"{event} in the middle of {self.events[-1]}"
        self.events.append(event)
        self._depth += 1
        try:
            if event in self.hooks:
                self.hooks[event](s)
        finally:
            self._depth -= 1


def respond_ok(s: HttpSession) -> None:
    """A hook."""
    s.respond(200, [("Content-Type", "text/plain")], b"ok")


def fault(*args: Any) -> None:
    """A hook, or what is told of the result of blocking work."""
    raise ZeroDivisionError("a fault of the plugin")


def each(*hooks: Hook) -> Hook:
    """All of these, one after the other."""
    def call(s: HttpSession) -> None:
        for hook in hooks:
            hook(s)
    return call


class CallbackSite:
    """A site whose mount /call belongs to plugins of a test; everything else is 404."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.bench = Bench(directory, {}, **settings)
        self.plugin: Optional[Protocol] = None

    def serve(self, plugin: Protocol, options: Sequence[Tuple[str, str]] = (), auth_mask: int = 0,
              max_body: int = 1 << 30) -> None:
        """Have `plugin` answer."""
        self.plugin = plugin
        handler = CallbackHandler(lambda: self.plugin, VHOST, Options(options), auth_mask)
        self.bench.mount("/call", handler, max_body)

    def connect(self, **hooks: Hook) -> Tuple[HttpNotes, Peer]:
        """A new plugin with these hooks, and a client."""
        plugin = HttpNotes(**hooks)
        self.serve(plugin)
        return plugin, self.bench.connect()


def post(body: bytes, *fields: str, target: str = "/call", announced: Optional[int] = None) -> bytes:
    """A POST with `body`, of which `announced` bytes are said to come."""
    length = len(body) if announced is None else announced
    lines = (f"POST {target} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *fields, "", "")
    return "\r\n".join(lines).encode() + body


def open_targets(part: str) -> List[str]:
    """What the open file descriptors of this process lead to, where it holds `part`."""
    targets = []
    for fd in open_fds():
        try:
            targets.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:   # that of the list itself
            pass
    return [target for target in targets if part in target]
