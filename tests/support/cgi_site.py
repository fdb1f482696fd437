"""A site with a mount of programs, on a bench: real programs, real pipes, and a clock that stands still.

    site = CgiSite(tmp_path)
    site.script("hello", "echo 'Content-Type: text/plain'; echo; echo hello")
    assert site.get("/cgi/hello").body == b"hello\n"

A program takes its time, however short; so the helpers here run the reactor until what they wait for is
there, for WAIT_SECONDS at most.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, List

from lwsws.handlers.cgi import CgiHandler
from tests.support.peer import Answer, Bench, Peer

WAIT_SECONDS = 20.0
TURN_SECONDS = 0.02

TEXT = "echo Content-Type: text/plain; echo"


class CgiSite:
    """Programs in the directory `programs`, at /cgi; files in `www`, at /."""

    def __init__(self, directory: Path, **keys: Any) -> None:
        """`keys` are of the mount, with _ for -."""
        self.directory = directory
        self.programs = directory / "programs"
        self.programs.mkdir()
        (directory / "www").mkdir()
        (directory / "www" / "page.txt").write_text("a page\n")
        named = {key.replace("_", "-"): value for key, value in keys.items()}
        programs = {"mountpoint": "/cgi", "origin": f"cgi://{self.programs}", **named}
        files = {"mountpoint": "/", "origin": f"file://{directory / 'www'}"}
        self._fifos: Dict[str, int] = {}
        self.bench = Bench(directory, {"mounts": [programs, files]})

    @property
    def handler(self) -> CgiHandler:
        """What answers for /cgi."""
        mount = self.bench.vhosts().default.routes.match("/cgi")
        assert mount is not None and isinstance(mount.handler, CgiHandler)
        return mount.handler

    @property
    def alive(self) -> int:
        """How many programs there are, those included that are only waited for."""
        return self.bench.context.program_counts[1]

    def script(self, name: str, text: str) -> Path:
        """Write a program for /bin/sh into the directory."""
        path = self.programs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def fifo(self, name: str) -> Path:
        """A pipe with a name, for programs to wait for a line in it."""
        path = self.directory / name
        os.mkfifo(path)
        self._fifos[name] = os.open(path, os.O_RDWR)    # so that neither side's open() waits
        return path

    def tell(self, name: str, text: str = "\n") -> None:
        """Write into a pipe of fifo()."""
        os.write(self._fifos[name], text.encode("ascii"))

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Let the server work until `condition` holds."""
        give_up = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < give_up, f"still waiting for {what}"
            self.bench.reactor.run_once(TURN_SECONDS)

    def wait_end(self) -> None:
        """Wait until no program runs, and what the last one wrote is read."""
        self.wait(lambda: not self.handler.running, "the end of the programs")
        self.bench.run()

    def ask(self, request: str, method: str = "GET") -> Answer:
        """Send a request on a connection of its own; its answer."""
        peer = self.bench.connect()
        peer.send(request.replace("\n", "\r\n").encode("latin-1"))
        return self.answer(peer, method)

    def get(self, target: str, *fields: str) -> Answer:
        """GET `target` on a connection of its own; the answer."""
        return self.ask("\n".join((f"GET {target} HTTP/1.1", "Host: localhost", *fields, "", "")))

    def answer(self, peer: Peer, method: str = "GET") -> Answer:
        """The next answer, once it has come whole."""
        found: List[Answer] = []

        def came() -> bool:
            data = peer.receive()
            try:
                found.append(peer.answer(method))
            except (AssertionError, ValueError):
                if peer.eof:
                    raise
                peer.data = data
            return bool(found)

        self.wait(came, "an answer")
        return found[0]

    def send(self, peer: Peer, data: bytes) -> None:
        """Send all of `data`, however long the programs let it wait."""
        unsent = memoryview(data)

        def sent() -> bool:
            nonlocal unsent
            peer.receive()
            with suppress(BlockingIOError):
                unsent = unsent[peer.sock.send(unsent):]
            return not unsent

        self.wait(sent, "the sending of a request")

    def begin(self, target: str) -> Peer:
        """A new connection that asks for `target`, whose program is running now."""
        peer = self.bench.connect()
        before = self.bench.context.program_counts[0]
        peer.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii"))
        self.wait(lambda: self.bench.context.program_counts[0] > before, "the start of the program")
        return peer

    def close(self) -> None:
        """Nothing may be left."""
        self.bench.close()
        for fd in self._fifos.values():
            os.close(fd)
        assert not self.handler.running or not self.alive
