"""What comes to a TLS port and is no proper handshake: each ends cleanly, and others are served meanwhile.

LWSWS_FUZZ_CASES=100000 in the environment tries more random beginnings; a failure names the case, which its
number gives again.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Iterator, NamedTuple, Optional, Type

import pytest

from tests.interop.conftest import Serve
from tests.support import hellos
from tests.support.certificates import Certificates, make_certificate
from tests.support.client import Client
from tests.support.live_fuzz import DAMAGES, ENDS, Case, run_cases
from tests.support.procfs import fd_count, idle_fds
from tests.support.server import Server, file_mount, site_server
from tests.support.tls_peer import client_context
from tests.support.tls_site import connect_tls, tls_keys
from tests.support.waiting import wait_until

CASES = int(os.environ.get("LWSWS_FUZZ_CASES", "1000"))
TIMEOUT = 2  # timeout-secs, which is for a handshake from its first byte on
LATE = 2.0  # how much later than its deadline an event may be seen on a busy machine
SLOW_CLIENTS = 20
STUCK_CLIENTS = 100
BATCH = 25  # clients at a time
PAGE = b"<p>page</p>"
LIMIT = 16 * 1024  # of a ClientHello, without the headers of its records

HANDSHAKE_RECORD = b"\x16\x03"
ALERT_RECORD = b"\x15\x03"
DECODE_ERROR = b"\x15\x03\x03\x00\x02\x02\x32"
# What random beginnings are made of.
CORPUS = (
    hellos.CHROMIUM,
    hellos.CURL_TLS12,
    hellos.IN_TWO_RECORDS,
    hellos.SSL2,
    hellos.hello(hellos.GREASE),
    hellos.in_records(hellos.padded(LIMIT, hellos.named(b"localhost"))),
    hellos.hello(hellos.named(b"localhost"), hellos.offering(b"http/1.1")),
    hellos.fresh_hello("localhost"),
    hellos.fresh_hello("localhost", newest=ssl.TLSVersion.TLSv1_2),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"SSH-2.0-x\r\n",
)


class Site(NamedTuple):
    """The server that all tests here share, and a client's settings for it."""

    server: Server
    context: ssl.SSLContext

    def serves(self) -> bool:
        """Whether a new client gets the page, and soon."""
        begun = time.monotonic()
        with Client(connect_tls(self.server, self.context)) as client:
            body = client.get().body
        return body == PAGE and time.monotonic() - begun < TIMEOUT


@pytest.fixture(scope="module", params=[TIMEOUT])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Site]:
    """A TLS vhost; whatever is done to it, at the end it is as before and has next to nothing in its log."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "index.html").write_bytes(PAGE)
    pair = make_certificate(folder, "localhost", ["localhost"], certificates.ca)
    vhost = {"mounts": [file_mount(folder)], **tls_keys(pair)}
    with site_server(folder / "conf", [vhost], timeout_secs=request.param) as server:
        shared = Site(server, client_context(certificates.ca))
        assert shared.serves()  # the first one opens the document root
        fds = idle_fds(server.pid, server.port)
        yield shared
        wait_until(lambda: fd_count(server.pid) == fds, "all fds freed")
        # Nothing that clients do is worth a line by default, or an attack would fill the disk.
        assert len(server.lines()) <= 6, server.log()


class Handshake:
    """A client whose bytes the test sends itself, beginning with `hello`."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.is_complete()
        self.hello = self.outgoing.read()
        self.sock = server.connect()

    def is_complete(self) -> bool:
        """Go on with what has come; whether the handshake is complete."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def shake(self) -> None:
        """The rest of the handshake."""
        while not self.is_complete():
            self._receive()
        self.sock.sendall(self.outgoing.read())

    def finish(self) -> None:
        """The rest of the handshake, then a request and its answer."""
        self.shake()
        self.tls.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while not answer.endswith(PAGE):
            try:
                answer += self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self._receive()
        assert answer.startswith(b"HTTP/1.1 200 ")

    def _receive(self) -> None:
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())
        data = self.sock.recv(1 << 16)
        assert data, "the server has ended the connection"
        self.incoming.write(data)

    def has_ended(self, byte: bytes) -> bool:
        """Send one more byte; whether the server had ended the connection."""
        self.sock.setblocking(False)
        try:
            if self.sock.recv(100) == b"":
                return True
        except BlockingIOError:
            self.sock.send(byte)
        except ConnectionResetError:
            return True
        return False

    def __enter__(self) -> Handshake:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.sock.close()


def end_of(sock: socket.socket) -> bytes:
    """All that comes up to the end of the connection, which must come in time."""
    sock.settimeout(TIMEOUT + LATE)
    return Client(sock).rest()


@pytest.mark.parametrize("site", [60], indirect=True)
def test_a_hello_split_at_every_byte(site: Site) -> None:
    """A handshake for each place; the first parts of many are there at the same time."""
    with Handshake(*site) as client:
        places = range(1, len(client.hello))
    for begin in places[::BATCH]:
        with ExitStack() as stack:
            clients = {place: stack.enter_context(Handshake(*site)) for place in places[begin - 1 :][:BATCH]}
            for place, client in clients.items():
                client.sock.sendall(client.hello[:place])
            assert site.serves()  # and before that the first parts were looked at
            for place, client in clients.items():
                client.sock.sendall(client.hello[place:])
                client.finish()


def test_a_byte_at_a_time_until_the_deadline(site: Site) -> None:
    """The bytes do not move it, and nobody else has to wait (LESSONS 3.8)."""
    with ExitStack() as stack:
        slow = [stack.enter_context(Handshake(*site)) for _ in range(SLOW_CLIENTS)]
        begun, count = time.monotonic(), 0
        while slow:
            for client in list(slow):
                # Where all of it would be there before the deadline, the last one does not come.
                if client.has_ended(client.hello[: -1][count : count + 1]):
                    slow.remove(client)
                    assert TIMEOUT - 0.1 < time.monotonic() - begun < TIMEOUT + LATE
            assert site.serves()
            assert time.monotonic() - begun < TIMEOUT + LATE, "nobody is cut"
            count += 1
    assert count > 10


def test_many_that_are_stuck(site: Site) -> None:
    """Within their hello, and in the middle of the handshake."""
    with ExitStack() as stack:
        begun = time.monotonic()
        stuck = [stack.enter_context(Handshake(*site)) for _ in range(STUCK_CLIENTS)]
        for number, client in enumerate(stuck):
            client.sock.sendall(client.hello if number % 2 else client.hello[:100])
        for _ in range(10):
            assert site.serves()
        for number, client in enumerate(stuck):
            assert end_of(client.sock)[:2] == (HANDSHAKE_RECORD if number % 2 else b"")
        assert TIMEOUT - 0.1 < time.monotonic() - begun < TIMEOUT + LATE


@pytest.mark.parametrize(
    "beginning, answer",
    [
        (hellos.SSL2, b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
        (b"\0" * 20_000, b""),
        (b"SSH-2.0-x\r\n", b""),
        (hellos.in_records(b"\x0e\x00\x00\x00"), b""),  # ServerHelloDone
        (hellos.record(b"\x02\x28", kind=21), b""),  # an alert
        (hellos.in_records(b"\x01\x00\x00\x01\x00"), DECODE_ERROR),
        (hellos.record(b"\x01\x00\xff\xff" + bytes(16_380)), DECODE_ERROR),
        (hellos.in_records(hellos.padded(LIMIT + 1)), DECODE_ERROR),
    ],
    ids=["SSLv2", "http", "zeros", "ssh", "other message", "alert", "too short", "too long", "just too long"],
)
@pytest.mark.parametrize("more", [b"", b"x" * 100_000], ids=["alone", "with more"])
def test_what_is_no_hello(site: Site, beginning: bytes, answer: bytes, more: bytes) -> None:
    """It is refused at once, be it all that the client sends or not."""
    begun = time.monotonic()
    with site.server.connect() as sock:
        sock.sendall(beginning + more)
        assert end_of(sock) == answer
    assert time.monotonic() - begun < TIMEOUT
    assert site.serves()


def test_a_hello_of_16_kb(certificates: Certificates, site: Site) -> None:
    """A real one, which comes in pieces and has a good end."""
    names = [f"{number:03}" * 80 for number in range(66)]
    with Handshake(site.server, client_context(certificates.ca, alpn=[*names, "http/1.1"])) as client:
        assert LIMIT - 250 < len(client.hello) < LIMIT + 5
        for begin in range(0, len(client.hello), 1000):
            client.sock.sendall(client.hello[begin : begin + 1000])
        client.finish()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_garbage_after_the_handshake(
        certificates: Certificates, site: Site, version: ssl.TLSVersion) -> None:
    """It is answered by an alert, after a request as well as within one."""
    for request in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\n"):
        with Handshake(site.server, client_context(certificates.ca, version)) as client:
            client.sock.sendall(client.hello)
            client.shake()
            client.tls.write(request)
            client.sock.sendall(client.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
            client.incoming.write(end_of(client.sock))
            with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
                while client.tls.read(1 << 16):
                    pass  # the answer


def make_case(number: int) -> Case:
    """A beginning like those in CORPUS, most of them damaged, or mere noise."""
    rand = random.Random(number)
    data = rand.choice(CORPUS)
    if rand.random() < 0.1:
        data = bytes(rand.getrandbits(8) for _ in range(rand.randrange(1, 400)))
    elif rand.random() < 0.1:
        data = HANDSHAKE_RECORD + data
    for _ in range(rand.choice((0, 1, 1, 2, 5))):
        data = rand.choice(DAMAGES)(rand, data)
    cuts = sorted(rand.randrange(len(data) + 1) for _ in range(rand.choice((0, 0, 1, 3, 30))))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]
    return Case(number, [piece for piece in pieces if piece], rand.choice(ENDS))


def test_random_beginnings(site: Site) -> None:
    """They never crash, hang or leak; what is said to them is TLS."""
    said = set()

    def check(case: Case, received: bytes) -> None:
        said.add(received[:2])
        assert received[:2] in (b"", HANDSHAKE_RECORD, ALERT_RECORD), f"{case} got {received[:200]!r}"

    assert run_cases(site.server.address, map(make_case, range(CASES)), check) > CASES * 0.9
    assert site.serves()
    assert CASES < 1000 or said == {b"", HANDSHAKE_RECORD, ALERT_RECORD}


def test_a_server_that_stops_waits_for_no_handshake_in_vain(serve: Serve, certificates: Certificates) -> None:
    """Each may go on until its usual deadline."""
    server = serve([tls_keys(certificates.a)], shutdown_timeout=30, timeout_secs=TIMEOUT)
    with ExitStack() as stack:
        context = client_context(certificates.ca)
        clients = [stack.enter_context(Handshake(server, context)) for _ in range(4)]
        for client, size in zip(clients, (0, 1, 100, 1000)):
            client.sock.sendall(client.hello[:size])
        assert client.sock.recv(2) == HANDSHAKE_RECORD  # so the others have been looked at
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            end_of(client.sock)
            client.sock.close()     # or the server would wait for that a little longer
        assert server.process.wait(5) == 0
