"""Proxy mounts whose origin is down, slow, broken or faster than the client, and clients that go away."""

from __future__ import annotations

import select
from typing import Callable, List

import pytest

from lwsws.handlers.passage import DOWN_SECONDS, hint
from lwsws.net.transport import HIGH
from tests.support.peer import Peer
from tests.support.proxy_site import OK, OriginEnd, ProxySite

Make = Callable[..., ProxySite]

GET = b"GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
BIG = bytes(range(256)) * 4096


# No proper answer.


@pytest.mark.parametrize("answer", [
    b"",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\n\r\n" * 20,
])
def test_no_answer_that_could_be_passed_on(proxy: ProxySite, answer: bytes) -> None:
    """The client gets a 502, whose page does not tell what is wrong, and can go on."""
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.head()
    origin.send(answer)
    origin.close()
    while (found := peer.answer()).status == 103:
        pass
    assert found.status == 502 and b"garbage" not in found.body
    assert not peer.eof
    peer.send(GET)
    proxy.accept().send(OK)
    assert peer.answer().body == b"ok"


@pytest.mark.parametrize("begin", [
    b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc", b"\r\nabc"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_an_answer_that_breaks_off(proxy: ProxySite, begin: bytes, version: bytes) -> None:
    """The client's connection does, too: a part must not look like the whole."""
    peer = proxy.connect()
    peer.send(GET.replace(b"1.1", version))
    origin = proxy.accept()
    origin.head()
    origin.send(b"HTTP/1.1 200 OK\r\n" + begin)
    assert b"abc" in peer.receive()
    origin.reset()
    assert not peer.receive().endswith(b"0\r\n\r\n") and peer.eof


def test_a_fault_in_the_middle_of_an_answer(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.head()
    origin.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    origin.send(b"zz\r\n")
    assert peer.receive().endswith(b"3\r\nabc\r\n") and peer.eof
    assert origin.closed


# Time.


def test_an_origin_that_says_nothing(make_proxy: Make) -> None:
    """From the end of the request on, and not before."""
    proxy = make_proxy(proxy_timeout="7")
    peer = proxy.connect()
    peer.send(b"POST /p/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na")
    origin = proxy.accept()
    proxy.bench.advance(4)
    peer.send(b"b")
    proxy.bench.advance(6.9)
    assert peer.receive() == b""
    proxy.bench.advance(0.2)
    assert peer.answer().status == 504
    origin.receive()
    assert origin.eof


def test_an_origin_that_stops_in_the_middle(make_proxy: Make) -> None:
    proxy = make_proxy(proxy_idle_timeout="30")
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na")
    for _ in range(5):
        proxy.bench.advance(29)
        origin.send(b"b")
        assert not peer.eof
    proxy.bench.advance(29)
    assert peer.receive().endswith(b"\r\n\r\nabbbbb") and not peer.eof
    proxy.bench.advance(2)
    peer.receive()
    assert peer.eof


def test_an_origin_has_its_time_after_a_client_that_stalled(make_proxy: Make) -> None:
    """It could not send, though little waits for the client."""
    proxy = make_proxy(proxy_idle_timeout="30")
    peer = proxy.connect(buffer=4096)
    peer.send(GET)
    origin = proxy.accept()
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n" + bytes(100_000))
    assert 0 < peer.connection.transport.size < HIGH
    proxy.bench.advance(28)
    while peer.connection.transport.size:
        peer.receive()
    proxy.bench.advance(28)
    origin.send(b"x")
    assert peer.answer().body[-1:] == b"x"


def test_an_origin_that_takes_nothing(make_proxy: Make) -> None:
    proxy = make_proxy(proxy_idle_timeout="30", proxy_timeout="5")
    peer = proxy.connect()
    peer.send(b"POST /p/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
    origin = proxy.accept()
    sent = send_until_full(proxy, peer)
    assert sent < 20_000_000
    assert peer.connection.role.exchange.body_paused  # type: ignore[attr-defined]
    proxy.bench.advance(29)
    assert not peer.eof and not peer.data
    proxy.bench.advance(2)
    assert peer.answer().status == 504
    origin.reset()


def send_until_full(proxy: ProxySite, peer: Peer) -> int:
    """Send until the server takes nothing more; how much it took."""
    sent = idle = 0
    while idle < 10:
        try:
            sent += peer.sock.send(BIG)
            idle = 0
        except BlockingIOError:
            idle += 1
        proxy.bench.run()
    return sent


def test_a_slow_upload_arrives_whole(proxy: ProxySite) -> None:
    peer = proxy.connect()
    size = 8 * len(BIG)
    peer.send(f"PUT /p/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
    origin = proxy.accept()
    origin.head()
    left, got = BIG * 8, bytearray()
    while len(got) < size:
        try:
            left = left[peer.sock.send(left):] if left else left
        except BlockingIOError:
            pass
        proxy.bench.run()
        got += origin.receive()
        origin.data = b""
    assert bytes(got) == BIG * 8
    origin.send(OK)
    assert peer.answer().body == b"ok"


def test_a_client_that_does_not_read_stops_the_origin(proxy: ProxySite) -> None:
    """The time limits of the origin do not run meanwhile; then all of it arrives."""
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.head()
    size = 12 * len(BIG)
    left = memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + BIG * 12)
    idle = 0
    while idle < 10:
        taken = origin.send_some(left)
        left, idle = left[taken:], 0 if taken else idle + 1
        proxy.bench.run()
    assert left and peer.connection.transport.is_high
    assert peer.connection.transport.size < HIGH + 200_000
    for _ in range(5):      # the send-timeout is another matter
        proxy.bench.advance(20)
        peer.data += peer.sock.recv(1 << 16)
    assert not peer.eof
    while left:
        left = left[origin.send_some(left):]
        peer.receive()
    assert peer.answer().body == BIG * 12


# Clients.


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
def test_a_client_that_goes_away(proxy: ProxySite, answer: bytes) -> None:
    peer = proxy.connect()
    peer.send(GET)
    origin = proxy.accept()
    origin.head()
    origin.send(answer)
    peer.connection.abort()
    proxy.bench.run()
    assert origin.closed
    assert proxy.bench.context.onward == 0


def test_a_client_that_goes_away_while_we_connect(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.sock.send(GET)
    proxy.bench.reactor.run_once(0)
    peer.connection.abort()
    proxy.bench.run()
    assert proxy.bench.context.onward == 0


# Several origins.


def test_origins_take_turns(make_proxy: Make) -> None:
    proxy = make_proxy(origins=3)
    seen: List[int] = []
    for _ in range(6):
        peer = proxy.connect()
        peer.send(GET)
        index = next(index for index in range(3) if index not in seen[-2:] and arrives(proxy, index))
        seen.append(index)
        peer.connection.abort()
        proxy.bench.run()
    assert sorted(seen[:3]) == [0, 1, 2] and seen[:3] == seen[3:]


def arrives(proxy: ProxySite, index: int) -> bool:
    """Whether there is a connection to the origin `index`."""
    return not proxy.is_quiet(index)


def test_an_origin_that_is_down_is_passed_over(make_proxy: Make) -> None:
    """At once for this request, and for a while for others; a body comes whole in spite of it."""
    proxy = make_proxy(origins=2)
    proxy.down(0)
    for _ in range(4):
        peer = proxy.connect()
        peer.send(b"POST /p/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
        origin = proxy.accept(1)
        assert origin.fields()["host"] == f"127.0.0.1:{proxy.ports[1]}"
        assert origin.take(2) == b"hi"
        origin.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        assert peer.answer().body == b"ok"
    assert proxy.pools[0].down_until == proxy.bench.reactor.now + DOWN_SECONDS


def test_all_origins_are_down(make_proxy: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """Each is tried anew for each request; the log has a line for each, but not for each request."""
    proxy = make_proxy(origins=2)
    proxy.down(0)
    proxy.down(1)
    for _ in range(3):
        peer = proxy.connect()
        peer.send(GET)
        proxy.bench.run()
        assert peer.answer().status == 502
    assert capfd.readouterr().err.count("cannot connect: Connection refused") == 2


def test_kept_connections_belong_to_their_origin(make_proxy: Make) -> None:
    proxy = make_proxy(origins=2)
    ends: List[OriginEnd] = []
    peer = proxy.connect()
    for _ in range(2):
        peer.send(GET)
        index = first_with_connection(proxy)
        ends.append(proxy.accept(index))
        assert ends[-1].fields()["host"] == f"127.0.0.1:{proxy.ports[index]}"
        ends[-1].send(OK)
        peer.answer()
    assert [len(pool) for pool in proxy.pools] == [1, 1]


def first_with_connection(proxy: ProxySite) -> int:
    """The index of an origin to which a connection waits."""
    proxy.bench.run()
    ready, _, _ = select.select(proxy.listeners, [], [], 5)
    return proxy.listeners.index(ready[0])


@pytest.mark.parametrize("reason, wanted", [
    ("TLS handshake: certificate verify failed: unable to get local issuer certificate", "client-ssl-ca"),
    ("TLS handshake: wrong version number", "http://"),
    ("Connection refused", ""),
])
def test_hints_for_the_administrator(reason: str, wanted: str) -> None:
    assert (wanted in hint(reason)) if wanted else hint(reason) == ""
