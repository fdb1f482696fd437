"""What the tests of the server layer share: services on real sockets, with a clock that stands still."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from lwsws.net.keeper import Keeper, OwnKeeper
from lwsws.net.reactor import Reactor
from lwsws.server.plugins import Plugins
from lwsws.server.scoreboard import Slot
from lwsws.server.service import Service
from tests.support.clock import ManualClock
from tests.support.docroot import file_mount
from tests.support.peer import load_config, write_config
from tests.support.server import connect
from tests.support.waiting import PASS_SECONDS, PASSES, run_until

# Passes of the reactor; each waits a little for the kernel, so they are many only if a test fails.

REQUEST = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n"
BODY = b"a file\n"
BIG = 16 << 20     # more than socket buffers take


class Host:
    """A directory with a docroot, and the services that a test starts there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.docroot = home / "www"
        self.docroot.mkdir()
        (self.docroot / "a.txt").write_text("a file\n")
        self.clock = ManualClock()
        self.reactor = Reactor(clock=self.clock)
        self.keeper: Optional[Keeper] = None    # of the services to come; their own if None
        self.slot: Optional[Slot] = None        # the same
        self.services: List[Service] = []
        self.clients: List[socket.socket] = []

    def prepared(self, *vhosts: Dict[str, Any], **settings: Any) -> Service:
        """A service of these vhosts, which serve the docroot as a.test on 127.0.0.1 where they do not say;
        before it is furnished."""
        usual = {"name": "a.test", "interface": "127.0.0.1", "mounts": [file_mount("/", self.docroot)]}
        complete = [{**usual, **vhost} for vhost in vhosts]
        named = {key.replace("_", "-"): value for key, value in settings.items()}
        config = load_config(write_config(self.home / "etc", complete, named))
        service = Service(config, self.reactor, keeper=self.keeper, slot=self.slot)
        self.services.append(service)
        return service

    def service(self, *vhosts: Dict[str, Any], **settings: Any) -> Service:
        """The same, furnished."""
        service = self.prepared(*vhosts, **settings)
        service.furnish(Plugins())
        return service

    def started(self, *vhosts: Dict[str, Any], **settings: Any) -> Service:
        """The same, accepting."""
        service = self.service(*vhosts, **settings)
        service.open()
        service.start()
        return service

    def connect(self, address: Any) -> socket.socket:
        """A client that never blocks."""
        client = connect(address if isinstance(address, str) else ("127.0.0.1", address))
        client.setblocking(False)
        self.clients.append(client)
        return client

    def stuck_download(self, port: int) -> socket.socket:
        """A client that has begun to take a big file and goes on no more."""
        (self.docroot / "big.txt").write_bytes(bytes(BIG))
        client = self.connect(port)
        client.sendall(REQUEST.replace(b"a.txt", b"big.txt"))
        self.until(lambda: self.received(client))
        return client

    def until(self, condition: Callable[[], object]) -> None:
        """Let the reactor run until the condition holds."""
        run_until(self.reactor, condition)

    def settle(self) -> None:
        """Let the reactor do what there is to do, also what that brings about."""
        for _ in range(4):
            self.reactor.run_once(PASS_SECONDS)

    def received(self, client: socket.socket, size: int = 1) -> bytes:
        """At least `size` bytes for the client, or all until the end of the connection."""
        data = b""
        for _ in range(PASSES):
            try:
                piece = client.recv(1 << 16)
            except BlockingIOError:
                self.reactor.run_once(PASS_SECONDS)
                continue
            data += piece
            if not piece or len(data) >= size:
                return data
        raise AssertionError(f"only {len(data)} bytes came")

    def close(self) -> None:
        """End everything."""
        for service in self.services:
            service.close()
        for client in self.clients:
            client.close()
        self.reactor.run_once(0)
        self.reactor.close()


class SharedKeeper:
    """As of a parent: has the sockets also when those who serve have ended."""

    has_parent = True

    def __init__(self, own: OwnKeeper) -> None:
        self.anew = own.anew
        self.listen = own.listen
        self.release = own.release
        self.allow = own.allow
        self.read = own.read
        self.state = own.state
        self.open_log = own.open_log
        self.seal = own.seal
        self.close = own.close

    def wind_down(self) -> None:
        """Others have the sockets, too."""


class Unable:
    """Makes sockets of one family fail, at their making or at bind, as long as `error` is set."""

    def __init__(self, family: int, error: int, at_bind: bool) -> None:
        self.family = family
        self.error = error
        self.at_bind = at_bind

    def fail(self, family: int, at_bind: bool) -> None:
        """OSError if this is what has to fail."""
        if self.error and family == self.family and at_bind == self.at_bind:
            raise OSError(self.error, os.strerror(self.error))


Disable = Callable[[int, int, bool], Unable]
