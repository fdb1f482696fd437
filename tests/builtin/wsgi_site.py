"""A site for the tests of wsgi: applications of wsgi_apps before a real reactor and real threads."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple, Union

from lwsws.builtin.wsgi import Wsgi
from lwsws.core.options import Options
from lwsws.core.session import HttpSession
from lwsws.handlers.callback import CallbackHandler
from lwsws.server.plugin_server import PluginServer
from tests.builtin import wsgi_apps
from tests.net.support import spin
from tests.support.http_sessions import VHOST, CallbackSite
from tests.support.peer import Answer, Peer
from tests.support.waiting import wait_until

MODULE = wsgi_apps.__name__


class Counted(Wsgi):
    """Counts the sessions that have ended."""

    ended = 0

    def http_closed(self, s: HttpSession) -> None:
        super().http_closed(s)
        self.ended += 1


class Applications:
    """A site whose mount /call is an application."""

    def __init__(self, directory: Path) -> None:
        self.site = CallbackSite(directory)
        self.bench = self.site.bench
        self.expected = 0       # requests that were waited for
        self.wsgi = Counted()
        self.wsgi.server = PluginServer(self.bench.reactor, self.bench.workers, lambda hide: {})

    def serve(self, app: str, *options: Tuple[str, str], threads: str = "2") -> Peer:
        """A client of the application `app` of wsgi_apps."""
        self.wsgi.init(VHOST, Options([("threads", threads)]))
        given = Options([("app", f"{MODULE}:{app}"), *options])
        self.wsgi.mounted("/call", given)
        self.mount("/call", given)
        return self.bench.connect()

    def mount(self, mountpoint: str, options: Options) -> None:
        """The only mount, which leads to the protocol whether that has heard of it or not."""
        self.bench.mount(mountpoint, CallbackHandler(lambda: self.wsgi, VHOST, options, 0), 1 << 30)

    def until_over(self, *peers: Peer) -> None:
        """Until one more request of each is over, while they read."""
        self.expected += len(peers)

        def over() -> bool:
            for peer in peers:
                peer.receive()
            return self.wsgi.ended >= self.expected

        spin(self.bench.reactor, over)

    def ask(self, peer: Peer, request: bytes, method: str = "GET") -> Answer:
        """Send `request` and take the answer."""
        peer.send(request)
        self.until_over(peer)
        return peer.answer(method)

    def get(self, peer: Peer, target: str = "/call", method: str = "GET", *fields: str) -> Answer:
        """One without a body."""
        head = "\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""))
        return self.ask(peer, head.encode(), method)

    def send_all(self, peer: Peer, data: Union[bytes, memoryview]) -> None:
        """Send `data`, of which the server takes no more than the application."""
        left = memoryview(data)

        def is_sent() -> bool:
            nonlocal left
            try:
                while left:
                    left = left[peer.sock.send(left):]
                    self.bench.run()
            except BlockingIOError:
                self.bench.run()
            return not left

        wait_until(is_sent, "all is sent")

    def until_told(self, text: str) -> None:
        """Until an application has said that."""
        def is_told() -> bool:
            self.bench.run()
            return text in wsgi_apps.told

        wait_until(is_told, text)

    def close(self) -> None:
        """No thread may be left waiting."""
        wsgi_apps.gate.set()
        for connection in list(self.bench.context.connections):
            connection.abort()
        self.bench.run()
        assert self.wsgi.gathered == 0
        assert self.bench.workers.stop(10)
        self.bench.close()
