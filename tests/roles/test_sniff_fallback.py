"""What connections become that are neither TLS nor http, and raw vhosts."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from lwsws.core.connection import GRACE_SECONDS
from lwsws.roles.http import HttpRole
from lwsws.roles.raw import RawRole
from tests.support.certificates import Certificates
from tests.support.ending import tell_all
from tests.support.peer import Peer
from tests.support.tls_bench import FALLBACK, HTTP, LOOK_AGAIN, RAW, MakeBench, benches, met, tls
from tests.support.tls_peer import TlsPeer


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Makes the bench of some vhosts."""
    with benches(tmp_path) as make:
        yield make


# The fallback.


def role_of(peer: Peer) -> type:
    return type(peer.connection.role)


def test_fallback_on_a_tls_port_gets_all_bytes(make_bench: MakeBench, certificates: Certificates) -> None:
    bench = make_bench({**tls(certificates.a, allow_non_tls="1"), **FALLBACK})
    for beginning in (b"SSH-2.0-x\r\n", HTTP, b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", b"\x00",
                      b"\x16\x02abc"):
        peer = bench.connect()
        peer.send(beginning)
        assert role_of(peer) is RawRole
        assert peer.receive() == beginning
    split = bench.connect()
    for byte in b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00":
        split.send(bytes((byte,)))
    bench.advance(LOOK_AGAIN)
    assert split.receive() == b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00"
    assert met(bench, certificates, "a.test", "a.test") == "a.test"


def test_fallback_beside_http_on_a_tls_port(make_bench: MakeBench, certificates: Certificates) -> None:
    bench = make_bench({**tls(certificates.a, allow_non_tls="1", redirect_http="1"), **FALLBACK})
    assert bench.connect().get("/who", host="a.test").status == 301
    peer = bench.connect()
    peer.send(b"SSH-2.0-x\r\n")
    assert peer.receive() == b"SSH-2.0-x\r\n"


def test_fallback_on_a_plain_port(make_bench: MakeBench) -> None:
    bench = make_bench(FALLBACK)
    peer = bench.connect()
    assert peer.get("/who", host="a.test").body == b"a.test"
    assert role_of(peer) is HttpRole
    peer.send(b"SSH-2.0-x\r\n")     # too late to be anything but a bad request
    assert peer.answer().status == 400
    for beginning in (b"NOTHTTP \x01\x02\r\n", b"get /who HTTP/1.1\r\n", b"GET nothing", b"\x16\x03\x01",
                      b"QUIT\r\n"):
        peer = bench.connect()
        peer.send(beginning)
        assert peer.receive() == beginning
    # HTTP, though a bad one.
    assert bench.connect().ask("GET / HTTP/1.1").status == 400


def test_an_unfinished_method_is_http_no_more_at_its_deadline(make_bench: MakeBench) -> None:
    bench = make_bench(FALLBACK)
    peer = bench.connect()
    peer.send(b"GE")
    bench.advance(4.9)
    assert not peer.receive()
    bench.advance(0.2)
    assert peer.receive() == b"GE"


@pytest.mark.parametrize("over_tls", [False, True])
def test_who_says_nothing_gets_the_fallback_after_a_while(
        make_bench: MakeBench, certificates: Certificates, over_tls: bool) -> None:
    """Where the server speaks first, the client waits."""
    keys = tls(certificates.a, allow_non_tls="1") if over_tls else {}
    bench = make_bench({**keys, **FALLBACK})
    peer = bench.connect()
    bench.advance(1.9)
    assert role_of(peer) is not RawRole
    bench.advance(0.2)
    assert role_of(peer) is RawRole
    peer.send(b"hello")
    assert peer.receive() == b"hello"


def test_sessions_end_as_they_begin_when_the_server_stops(make_bench: MakeBench) -> None:
    bench = make_bench(FALLBACK)
    silent, unfinished, late = bench.connect(), bench.connect(), bench.connect()
    unfinished.send(b"GE")
    tell_all(bench.context)
    bench.advance(GRACE_SECONDS - 0.1)
    assert not silent.closed
    late.send(b"SSH-2.0-x\r\n")
    assert late.connection.transport.closing and not late.data
    bench.advance(0.1)
    assert [peer.closed for peer in (silent, unfinished)] == [True, False]
    bench.advance(10)
    assert unfinished.closed


def test_fallback_wait_0_is_never(make_bench: MakeBench) -> None:
    bench = make_bench({**FALLBACK, "fallback-wait": "0"})
    peer = bench.connect()
    bench.advance(9.9)
    assert role_of(peer) is not RawRole
    bench.advance(0.2)
    assert peer.closed


def test_who_leaves_without_a_word_gets_nothing(make_bench: MakeBench) -> None:
    peer = make_bench(FALLBACK).connect()
    peer.half_close()
    assert peer.closed


def test_fallback_without_allow_non_tls_is_none(make_bench: MakeBench, certificates: Certificates) -> None:
    peer = make_bench({**tls(certificates.a), **FALLBACK}).connect()
    peer.send(b"SSH-2.0-x\r\n")
    assert peer.closed


def test_the_fallback_is_no_way_around_a_demand_for_certificates(
        make_bench: MakeBench, certificates: Certificates) -> None:
    demand = {"client_cert_required": "1", "host_ssl_ca": str(certificates.ca.cert)}
    guarded = tls(certificates.a, allow_non_tls="1", **demand)
    peer = make_bench({**guarded, **FALLBACK, "apply-listen-accept": "1"}).connect()
    peer.send(b"hello without certificate\n")
    assert peer.closed
    # Where only the site is guarded, the fallback is something else.
    peer = make_bench({**guarded, **FALLBACK}).connect()
    peer.send(b"SSH-2.0-x\r\n")
    assert peer.receive() == b"SSH-2.0-x\r\n"


# Raw vhosts.


def test_apply_listen_accept(make_bench: MakeBench) -> None:
    peer = make_bench({**RAW, "apply-listen-accept": "1"}).connect()
    assert role_of(peer) is RawRole
    peer.send(HTTP)
    assert peer.receive() == HTTP


def test_apply_listen_accept_inside_tls(make_bench: MakeBench, certificates: Certificates) -> None:
    bench = make_bench(tls(certificates.a),
                       {"name": "b.test", **tls(certificates.b), **RAW, "apply-listen-accept": "1"})
    peer = TlsPeer(bench.connect(), certificates.ca, "b.test").handshake()
    peer.send(b"\x00\x01 raw")
    assert peer.receive() == b"\x00\x01 raw"
    assert met(bench, certificates, "a.test", "a.test") == "a.test"
    assert met(bench, certificates, "a.test", "b.test") == "421"
