"""The PROXY protocol: believed of listed peers only, in front of http, TLS and raw connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest

from lwsws.core.connection import GRACE_SECONDS
from lwsws.core.peers import Peers
from tests.support.certificates import Certificates
from tests.support.docroot import file_mount, make_docroot
from tests.support.ending import tell_all
from tests.support.peer import Bench
from tests.support.tls_peer import TlsPeer

V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\xc6\x33\x64\x01\x12\x67\x01\xbb"
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
REQUEST = b"GET /plain.txt HTTP/1.1\r\nHost: a.test\r\n\r\n"

LISTED, UNLISTED = ("192.0.2.7", 4711), ("192.0.3.7", 4711)

MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Makes the bench of one vhost behind the proxies of 192.0.2.0/24."""
    made = []
    docroot = make_docroot(tmp_path)

    def make(**keys: Any) -> Bench:
        named: Dict[str, Any] = {name.replace("_", "-"): value for name, value in keys.items()}
        vhost = {"name": "a.test", "mounts": [file_mount("/", docroot)], "access-log": str(tmp_path / "log"),
                 "proxy-protocol-from": ["192.0.2.0/24", "2001:db8::1"], **named}
        bench = Bench(tmp_path, vhost)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.close()


def logged(tmp_path: Path) -> str:
    """The client's address in the only line of the access log."""
    line, = (tmp_path / "log").read_text().splitlines()
    return line.split(" ")[0]


@pytest.mark.parametrize("header, client", [(V1, "203.0.113.9"), (V2, "203.0.113.9"), (LOCAL, "192.0.2.7"),
                                            (b"PROXY UNKNOWN\r\n", "192.0.2.7")])
@pytest.mark.parametrize("pieces", ["whole", "apart", "byte by byte"])
def test_the_announced_client_counts(
        make_bench: MakeBench, tmp_path: Path, header: bytes, client: str, pieces: str) -> None:
    bench = make_bench()
    peer = bench.connect(LISTED)
    if pieces == "whole":
        peer.send(header + REQUEST)
    elif pieces == "apart":
        peer.send(header)
        peer.send(REQUEST)
    else:
        for byte in header:
            peer.send(bytes((byte,)))
        bench.advance(0.05)
        peer.send(REQUEST)
    assert peer.answer().status == 200
    assert peer.connection.peer == client
    assert logged(tmp_path) == client


def test_in_front_of_tls(make_bench: MakeBench, tmp_path: Path, certificates: Certificates) -> None:
    bench = make_bench(host_ssl_cert=str(certificates.a.cert), host_ssl_key=str(certificates.a.key))
    client = bench.connect(LISTED)
    client.send(V2)
    peer = TlsPeer(client, certificates.ca, "a.test").handshake()
    assert peer.get("/plain.txt").status == 200
    assert logged(tmp_path) == "203.0.113.9"


def test_in_front_of_raw_connections(make_bench: MakeBench) -> None:
    bench = make_bench(apply_listen_accept="1", listen_accept_protocol="raw-test")
    peer = bench.connect(LISTED)
    peer.send(V1 + b"PROXY TCP4 x")
    assert peer.receive() == b"PROXY TCP4 x"


@pytest.mark.parametrize("address", [UNLISTED, ("2001:db8::2", 1), "", ("fe80::1%eth0", 1)])
def test_nobody_else_is_believed(make_bench: MakeBench, address: Any) -> None:
    """LESSONS 3.33."""
    bench = make_bench()
    for header in (V1, V2):
        peer = bench.connect(address)
        peer.send(header + REQUEST)
        assert peer.answer().status == 400
        assert peer.connection.peer != "203.0.113.9"
    peer = bench.connect(address)
    peer.send(REQUEST)
    assert peer.answer().status == 200


@pytest.mark.parametrize("address", [LISTED, ("2001:db8::1", 1)])
@pytest.mark.parametrize("beginning", [
    REQUEST, b"PROXY TCP4 203.0.113.999 198.51.100.1 4711 443\r\n", b"\x16\x03\x01"])
def test_a_proxy_without_header_is_refused(make_bench: MakeBench, address: Any, beginning: bytes) -> None:
    """LESSONS 3.33: its own address must not stand for a client's."""
    peer = make_bench().connect(address)
    peer.send(beginning)
    assert peer.closed


def test_the_header_has_an_absolute_deadline(make_bench: MakeBench) -> None:
    """LESSONS 3.8."""
    bench = make_bench()
    peer = bench.connect(LISTED)
    for byte in V1[:4]:
        peer.send(bytes((byte,)))
        bench.advance(1)
        assert not peer.closed
    bench.advance(1.1)
    assert peer.closed


def test_a_proxy_that_leaves_in_the_middle(make_bench: MakeBench) -> None:
    bench = make_bench()
    peer = bench.connect(LISTED)
    peer.send(V1[:20])
    peer.half_close()
    bench.advance(0.05)
    assert peer.closed


def test_peers_of_a_unix_socket(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench(proxy_protocol_from=["unix"])
    peer = bench.connect("")
    peer.send(V1 + REQUEST)
    assert peer.answer().status == 200
    assert logged(tmp_path) == "203.0.113.9"


# Limits for each client.


def test_limits_hold_for_the_announced_client(make_bench: MakeBench) -> None:
    bench = make_bench()
    peers = bench.context.peers = Peers(2, 0, bench.clock)
    waiting = [bench.connect(LISTED) for _ in range(5)]     # which nobody has announced yet
    assert len(peers) == 0
    for peer in waiting[:3]:
        peer.send(V1)
    bench.advance(0.05)
    assert [peer.closed for peer in waiting] == [False, False, True, False, False]
    assert (bench.context.refused, len(peers)) == (1, 1)
    waiting[3].send(V1.replace(b".9 ", b".10 ") + REQUEST)
    assert waiting[3].answer().status == 200
    waiting[4].send(LOCAL + REQUEST)    # the proxy itself has no limit
    assert waiting[4].answer().status == 200
    assert len(peers) == 2
    for peer in waiting:
        peer.sock.close()
    bench.run()
    assert len(peers) == 0


# The end.


def test_a_header_that_comes_soon_is_read_when_the_server_stops(make_bench: MakeBench) -> None:
    bench = make_bench()
    old = bench.connect(LISTED)
    bench.advance(GRACE_SECONDS)
    slow, quick = bench.connect(LISTED), bench.connect(LISTED)
    tell_all(bench.context)
    bench.run()
    assert old.closed
    bench.advance(GRACE_SECONDS - 0.1)
    quick.send(V1 + REQUEST)
    assert quick.answer().get("Connection") == "close"
    assert not slow.closed
    bench.advance(0.1)
    assert slow.closed
