"""For the tests of the HTTPS client: servers in threads over real sockets, and a clock that stands still."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, Union

from lwsws.net.fetch import FETCH_SECONDS, MAX_POOLS, Fetch, Fetcher, Reply
from lwsws.net.tls import ClientSettings, client_context
from tests.net.connecting import Outgoing, port_of
from tests.net.support import PASSES, settle
from tests.support.certificates import Certificates, Pair, make_certificate

# What a server does after each request: an answer, or something with its socket.
Step = Union[bytes, Callable[[ssl.SSLSocket], object]]

PATIENCE = 10
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NAMES = [f"n{number}.test" for number in range(MAX_POOLS + 1)]


def hang_up(conn: ssl.SSLSocket) -> None:
    """End the connection."""
    conn.shutdown(socket.SHUT_RDWR)


class Server:
    """An HTTPS server, each connection in a thread of its own.

    Connection i reads a request before each of `scripts[i]` but those that are no bytes, then waits for the
    client's end.
    """

    def __init__(self, context: ssl.SSLContext, scripts: Sequence[Sequence[Step]], host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family)
        self.port = port_of(self.listener)
        self.requests: List[bytes] = []
        self.left: List[int] = []       # the numbers of the connections that the client has ended
        self._context = context
        self._threads = [threading.Thread(target=self._accept, args=(scripts,))]
        self._threads[0].start()

    def _accept(self, scripts: Sequence[Sequence[Step]]) -> None:
        for number, script in enumerate(scripts):
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(number, sock, script)))
            self._threads[-1].start()

    def _serve(self, number: int, sock: socket.socket, script: Sequence[Step]) -> None:
        sock.settimeout(PATIENCE)
        try:
            with self._context.wrap_socket(sock, server_side=True) as conn:
                for step in script:
                    if isinstance(step, bytes):
                        self.requests.append(read_request(conn))
                        if step:
                            conn.sendall(step)
                    else:
                        step(conn)
                while conn.recv(1024):
                    pass
        except OSError as exc:      # the client, or the script, has had enough
            if "timed out" in str(exc):
                return
        self.left.append(number)

    def close(self) -> None:
        """End it; the clients have ended."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self.listener.close()


def read_request(conn: ssl.SSLSocket) -> bytes:
    """One whole request; ConnectionError if there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(conn)
    head, _, body = data.partition(b"\r\n\r\n")
    found = head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]
    while len(body) < int(found or 0):
        body += receive(conn)
    return head + b"\r\n\r\n" + body


def receive(conn: ssl.SSLSocket) -> bytes:
    """Some bytes; ConnectionError at the end."""
    data = conn.recv(65536)
    if not data:
        raise ConnectionAbortedError
    return data


def own_pair(certificates: Certificates) -> Pair:
    """The certificate of the servers, made when it is first needed."""
    pair = Pair(certificates.folder / "fetch.crt", certificates.folder / "fetch.key")
    if pair.cert.exists():
        return pair
    names = ["127.0.0.1", "::1", "localhost", "acme.test", *NAMES]
    return make_certificate(certificates.folder, "fetch", names, certificates.ca)


class Asking:
    """A fetcher, its servers, and what was told."""

    def __init__(self, net: Outgoing, certificates: Certificates) -> None:
        self.reactor = net.reactor
        self.net = net
        self.told: List[Tuple[Optional[Reply], str]] = []
        self.servers: List[Server] = []
        tls = client_context(ClientSettings(ca=str(certificates.ca.cert)))
        self.fetcher = Fetcher(net.reactor, net.workers, tls, "test/1")
        self._certificates = certificates

    def serve(self, *scripts: Sequence[Step], host: str = "127.0.0.1", pair: Optional[Pair] = None) -> Server:
        """A server for as many connections as there are scripts."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(pair or own_pair(self._certificates)))
        self.servers.append(Server(context, scripts, host))
        return self.servers[-1]

    def begin(self, port: int, method: str = "GET", body: bytes = b"", content_type: str = "",
              host: str = "127.0.0.1") -> Fetch:
        """Begin a request; nothing is told from within."""
        before = len(self.told)
        fetch = self.fetcher.fetch(method, f"https://{host}:{port}/dir", body, content_type, self.tell)
        assert len(self.told) == before and self.fetcher.busy
        return fetch

    def tell(self, reply: Optional[Reply], reason: str) -> None:
        """Note it."""
        assert (reply is None) == (reason != "")
        self.told.append((reply, reason))

    def spin(self, until: Callable[[], object]) -> None:
        """Run passes until the condition holds, which may be a matter of a thread."""
        for _ in range(PASSES):
            if until():
                return
            self.reactor.run_once(0.005)
        raise AssertionError("the condition never came to hold")

    def end(self) -> Tuple[Optional[Reply], str]:
        """What is told of one request, and that it is told once."""
        self.spin(lambda: self.told)
        settle(self.reactor)
        assert len(self.told) == 1 and not self.fetcher.busy
        return self.told.pop()

    def get(self, port: int, method: str = "GET", body: bytes = b"", host: str = "127.0.0.1") -> Reply:
        """The answer to a request."""
        self.begin(port, method, body, "text/plain" if body else "", host)
        reply, reason = self.end()
        assert reply is not None, reason
        return reply

    def fault(self, port: int, host: str = "127.0.0.1") -> str:
        """Why there is none, without the server's name in front."""
        self.begin(port, host=host)
        return self.reason(f"{host}:{port}: ")

    def reason(self, name: str) -> str:
        """Why the request that is under way gets no answer, without `name` in front."""
        reply, reason = self.end()
        assert reply is None and reason.startswith(name)
        return reason[len(name):]

    def watched(self) -> int:
        """How many sockets the reactor watches, less the wake-up of the workers."""
        return len(self.net.selector.get_map()) - bool(self.net.workers.threads)

    def nothing_more(self) -> None:
        """Nobody is told, and nothing of a request is left."""
        settle(self.reactor)
        self.net.pass_time(10 * FETCH_SECONDS)
        assert not self.told and not self.fetcher.busy and self.watched() == 0

    def close(self) -> None:
        """End all."""
        self.fetcher.close()
        settle(self.reactor)
        for server in self.servers:
            server.close()


@contextlib.contextmanager
def asking(net: Outgoing, certificates: Certificates) -> Iterator[Asking]:
    """A fetcher with servers for it; `net` has the workers."""
    ask = Asking(net, certificates)
    try:
        yield ask
    finally:
        ask.close()
        net.close()
