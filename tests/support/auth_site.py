"""A site behind basic auth for tests: a real vhost, connections, reactor and one worker.

    site = AuthSite(tmp_path, "user:pass", f"hashed:{HASH}")
    site.greet()                                # a handler that says who got in
    answer = log_in(site, "user:pass")          # credentials as they are typed
    site.close()
"""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any, List, Optional

from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.handlers.basicauth import BasicAuthHandler, PasswordFile
from lwsws.net.workers import Overloaded
from tests.support.peer import Answer, Bench, Peer

CHALLENGE = 'Basic realm="lwsws"'
# Of the password "password"; cheap, because many tests compute it.
HASH = "$pbkdf2-sha256$1000$.//.NTY3ODlhYmNkZWY$b1lTVZTx5KQlKw.apFha7JiwF2K5sdQHbC/CFaynObA"
SHA512 = "$6$a.b/Z9$LlHWmow/aYcWmoenTMr9CLxOkvTPZy3/JShSS11sBoIarB6T9yQnhIKCVw68Omg1uujoQSHJNRwUL/n/XTvaS/"

# The password file of most tests.
LINES = ("user:pass", "other:se:cret", "# comment:x", "empty:", f"hashed:{HASH}")

# Seconds within which a worker must have answered; never waited for where all is well.
PATIENCE = 10


class Greeter(Handler):
    """Says who got in and what he sent; /missing and /broken fail."""

    def begin(self, exchange: Exchange) -> None:
        """Answer with the user or with the request body."""
        if exchange.path == "/missing":
            raise HttpError(404)
        if exchange.path == "/broken":
            raise ZeroDivisionError("a fault of the inner handler")
        if exchange.request.has_body:
            exchange.take_body(Echo(exchange))
        else:
            exchange.respond(200, [], f"hello {exchange.user}".encode())


class Echo:
    """Sends the request body back."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = b""

    def body_received(self, data: bytes) -> None:
        self.body += data

    def body_ended(self) -> None:
        self.exchange.respond(200, [], self.body)

    def drained(self) -> None:
        pass

    def aborted(self) -> None:
        pass


class AuthSite:
    """A vhost whose only mount lets in who is in the file of these lines."""

    def __init__(self, directory: Path, *lines: str) -> None:
        self.path = directory / "pw"
        (directory / "www").mkdir()
        (directory / "www" / "plain.txt").write_text("hello world\n")
        self.write(*lines)
        mount = {"mountpoint": "/", "origin": f"file://{directory}/www", "basic-auth": str(self.path)}
        self.bench = Bench(directory, {"mounts": [mount]})
        self.file = PasswordFile(str(self.path), self.bench.clock)
        self.release = threading.Event()

    def write(self, *lines: str) -> None:
        """Make these the lines of the password file."""
        self.path.write_text("".join(f"{line}\n" for line in lines))
        self.path.chmod(0o600)

    def greet(self) -> None:
        """Let the Greeter answer, and the password file go by the clock of the test."""
        mount = self.bench.vhosts().default.routes.match("/")
        assert mount is not None
        mount.handler = BasicAuthHandler(self.file, Greeter())

    def hold_worker(self) -> None:
        """Keep the only worker busy until `release` is set."""
        started = threading.Event()

        def job() -> None:
            started.set()
            self.release.wait(PATIENCE)

        self.bench.workers.submit(job, lambda result, error: None)
        assert started.wait(PATIENCE)

    def fill_queue(self) -> None:
        """Queue work until the workers take no more."""
        try:
            while True:
                self.bench.workers.submit(lambda: None, lambda result, error: None)
        except Overloaded:
            pass

    def wait_for_worker(self) -> None:
        """Let the worker go on, and wait until all that it was given before is decided."""
        self.release.set()
        decided: List[bool] = []
        while not decided:
            try:
                self.bench.workers.submit(lambda: None, lambda result, error: decided.append(True))
            except Overloaded:
                pass
            self.bench.reactor.run_once(PATIENCE)

    def close(self) -> None:
        """End all that is open."""
        self.release.set()
        self.bench.close()


def authorization(credentials: str, scheme: str = "Basic") -> str:
    return f"Authorization: {scheme} {base64.b64encode(credentials.encode()).decode()}"


def request(credentials: Optional[str], target: str = "/", *fields: str, method: str = "GET") -> bytes:
    """The bytes of a request head."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
    if credentials is not None:
        lines.append(authorization(credentials))
    return "\r\n".join([*lines, "", ""]).encode()


def wait_for_answer(peer: Peer) -> Answer:
    """The next answer, after the workers have done what it takes."""
    for _ in range(100):
        if b"\r\n\r\n" in peer.receive():
            break
        peer.bench.reactor.run_once(PATIENCE)
    return peer.answer()


def log_in(site: AuthSite, credentials: str, target: str = "/", address: Any = ("192.0.2.7", 4711)) -> Answer:
    """One request on a connection of its own."""
    peer = site.bench.connect(address)
    peer.send(request(credentials, target))
    return wait_for_answer(peer)
