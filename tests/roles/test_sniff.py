"""What connections become by their first bytes: TLS by server name, or plain http where that is allowed."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Dict, Iterator, Optional

import pytest

from lwsws.core.connection import GRACE_SECONDS
from lwsws.wire.client_hello import MAX_BYTES
from tests.support.certificates import Certificates, Pair
from tests.support.ending import tell_all
from tests.support.peer import Bench
from tests.support.tls_bench import HTTP, LOOK_AGAIN, MakeBench, benches, met, tls
from tests.support.tls_peer import TLS12, TLS13, TlsPeer, client_context


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Makes the bench of some vhosts."""
    with benches(tmp_path) as make:
        yield make


@pytest.fixture
def three(make_bench: MakeBench, certificates: Certificates) -> Bench:
    """Vhosts a.test, b.test and, for clients with a certificate, c.test, on one TLS port."""
    return make_bench(
        {"name": "a.test", **tls(certificates.a)}, {"name": "b.test", **tls(certificates.b)},
        {"name": "c.test", **tls(certificates.b, client_cert_required="1",
                                 host_ssl_ca=str(certificates.ca.cert))})


# By server name.


def test_the_server_name_chooses_certificate_and_vhost(three: Bench, certificates: Certificates) -> None:
    # The clients check the name in the certificate.
    assert met(three, certificates, "a.test", "a.test") == "a.test"
    assert met(three, certificates, "b.test", "b.test:7681") == "b.test"
    assert met(three, certificates, "A.TEST", "A.test") == "a.test"


def test_without_a_name_it_is_the_first_vhost(three: Bench, certificates: Certificates) -> None:
    assert met(three, certificates, None, "a.test") == "a.test"
    assert met(three, certificates, None, "192.0.2.1") == "a.test"


def test_an_unknown_name_is_the_first_vhosts_unless_it_is_strict(
        make_bench: MakeBench, certificates: Certificates) -> None:
    context = client_context(certificates.ca)
    context.check_hostname = False
    lenient = make_bench(tls(certificates.a))
    peer = TlsPeer(lenient.connect(), context, "who.test").handshake()
    assert peer.get("/who", host="who.test").status == 200
    strict = make_bench(tls(certificates.a, strict_host_check="1"))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        TlsPeer(strict.connect(), context, "who.test").handshake()
    # Without a name there is nothing to refuse yet.
    peer = TlsPeer(strict.connect(), certificates.ca, None).handshake()
    assert peer.get("/who", host="who.test").status == 421
    assert peer.get("/who").status == 200


def test_a_host_of_another_vhost_is_misdirected(three: Bench, certificates: Certificates) -> None:
    """LESSONS 3.24: also where the answer to those very bytes is remembered for the other vhost."""
    for _ in range(4):
        assert met(three, certificates, "b.test", "b.test") == "b.test"
        assert met(three, certificates, "a.test", "b.test") == "421"
        assert met(three, certificates, "a.test", "c.test") == "421"
        assert met(three, certificates, None, "b.test") == "421"
    peer = TlsPeer(three.connect(), certificates.ca, "a.test").handshake()
    assert peer.get("/who", host="b.test").status == 421
    assert peer.get("/who", host="a.test").body == b"a.test"


def test_a_misdirected_request_may_be_allowed_but_never_past_a_demand_for_certificates(
        make_bench: MakeBench, certificates: Certificates) -> None:
    """LESSONS 3.24."""
    demand = {"client_cert_required": "1", "host_ssl_ca": str(certificates.ca.cert)}
    bench = make_bench(
        {"name": "a.test", **tls(certificates.a)},
        {"name": "b.test", **tls(certificates.b, allow_sni_mismatch="1")},
        {"name": "c.test", **tls(certificates.b, allow_sni_mismatch="1", **demand)})
    assert met(bench, certificates, "a.test", "b.test") == "b.test"
    assert met(bench, certificates, None, "b.test") == "b.test"
    assert met(bench, certificates, "b.test", "a.test") == "421"
    assert met(bench, certificates, "a.test", "c.test") == "421"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_who_shows_no_certificate_does_not_get_in(
        three: Bench, certificates: Certificates, version: ssl.TLSVersion) -> None:
    for own in (None, certificates.stranger):
        context = client_context(certificates.ca, version, own=own)
        context.check_hostname = False
        peer = TlsPeer(three.connect(), context, "c.test")
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|handshake.failure|unknown.ca"):
            peer.handshake().get("/who", host="c.test")
    context = client_context(certificates.ca, version, own=certificates.client)
    context.check_hostname = False
    peer = TlsPeer(three.connect(), context, "c.test").handshake()
    assert peer.get("/who", host="c.test").body == b"c.test"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_no_session_of_another_vhost_opens_the_door(
        three: Bench, certificates: Certificates, version: ssl.TLSVersion) -> None:
    """LESSONS 3.25: the same client, which has a session of a.test, asks for c.test with it."""
    context = client_context(certificates.ca, version)
    context.check_hostname = False
    first = TlsPeer(three.connect(), context, "a.test").handshake()
    assert first.get("/who").status == 200  # a ticket of TLS 1.3 comes behind the handshake
    again = TlsPeer(three.connect(), context, "a.test", first.tls.session).handshake()
    again.get("/who")
    assert again.tls.session_reused
    other = TlsPeer(three.connect(), context, "b.test", first.tls.session).handshake()
    other.get("/who", host="b.test")
    assert not other.tls.session_reused
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|handshake.failure"):
        TlsPeer(three.connect(), context, "c.test", first.tls.session).handshake().get("/who", host="c.test")


def test_alpn(three: Bench, certificates: Certificates) -> None:
    """LESSONS T6, RFC 7301 3.2: nothing in common is an alert, not a guess."""
    context = client_context(certificates.ca, alpn=["h2", "http/1.1"])
    peer = TlsPeer(three.connect(), context, "a.test").handshake()
    assert peer.tls.selected_alpn_protocol() == "http/1.1"
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        TlsPeer(three.connect(), client_context(certificates.ca, alpn=["h2"]), "a.test").handshake()


def test_a_vhost_without_its_certificate_yet(
        make_bench: MakeBench, certificates: Certificates, tmp_path: Path) -> None:
    missing = Pair(tmp_path / "later.crt", tmp_path / "later.key")
    bench = make_bench({"name": "b.test", **tls(missing, ignore_missing_cert="1")},
                       {"name": "a.test", **tls(certificates.a)})
    assert met(bench, certificates, "a.test", "a.test") == "a.test"
    with pytest.raises(ssl.SSLError, match=r"(?i)internal.error"):
        TlsPeer(bench.connect(), certificates.ca, "b.test").handshake()


# Hellos that are slow or broken.


def test_a_hello_bit_by_bit_while_others_are_served(three: Bench, certificates: Certificates) -> None:
    """LESSONS T5.  A unix socket holds few single bytes; over TCP it is done byte by byte elsewhere."""
    slow = TlsPeer(three.connect(), certificates.ca, "b.test")
    with pytest.raises(ssl.SSLWantReadError):
        slow.tls.do_handshake()
    while slow.outgoing.pending:
        slow.peer.send(slow.outgoing.read(8))
    assert met(three, certificates, "a.test", "a.test") == "a.test"
    three.advance(LOOK_AGAIN)
    assert slow.handshake().get("/who", host="b.test").body == b"b.test"


def test_the_deadline_for_a_handshake_is_absolute(three: Bench, certificates: Certificates) -> None:
    """LESSONS 3.8: a byte each second does not help beyond timeout-secs."""
    slow = TlsPeer(three.connect(), certificates.ca, "b.test")
    with pytest.raises(ssl.SSLWantReadError):
        slow.tls.do_handshake()
    hello = slow.outgoing.read()
    for byte in hello[:4]:
        slow.peer.send(bytes((byte,)))
        three.advance(1)
        assert not slow.peer.closed
    slow.peer.send(hello[4:5])
    three.advance(1.1)
    assert slow.peer.closed


def test_a_handshake_that_stops_in_the_middle(three: Bench, certificates: Certificates) -> None:
    peer = TlsPeer(three.connect(), certificates.ca, "a.test")
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    peer.flush()
    assert peer.peer.receive()
    three.advance(4.9)
    assert not peer.peer.eof
    three.advance(0.2)
    peer.peer.receive()
    assert peer.peer.eof


def test_silence(three: Bench) -> None:
    peer = three.connect()
    three.advance(9.9)
    assert not peer.closed
    three.advance(0.2)
    assert peer.closed


ALERT_DECODE_ERROR = b"\x15\x03\x03\x00\x02\x02\x32"


@pytest.mark.parametrize("beginning, answer", [
    (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", ALERT_DECODE_ERROR),     # too short to be one
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(600), ALERT_DECODE_ERROR),
    (b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(MAX_BYTES), ALERT_DECODE_ERROR),  # a very long one
    (b"\x80\x2e\x01\x00\x02" + bytes(41), b""),     # SSLv2
    (b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", b""),     # another message than a hello
    (b"\x00\x01\x02\x03", b""),
    (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", b""),
    (b"SSH-2.0-x\r\n", b""),
])
def test_what_is_no_hello_ends_cleanly(three: Bench, beginning: bytes, answer: bytes) -> None:
    peer = three.connect()
    peer.send(beginning)
    assert peer.receive() == answer
    assert peer.eof


def test_the_client_leaves(three: Bench, certificates: Certificates) -> None:
    for count in (0, 1, 50):
        peer = TlsPeer(three.connect(), certificates.ca, "a.test")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        peer.peer.send(peer.outgoing.read()[:count])
        peer.peer.half_close()
        three.advance(LOOK_AGAIN)
        assert peer.peer.closed


def test_who_is_silent_for_long_when_the_server_stops_is_closed(
    three: Bench, certificates: Certificates
) -> None:
    old = three.connect()
    three.advance(GRACE_SECONDS)
    new, late = three.connect(), TlsPeer(three.connect(), certificates.ca, "a.test")
    tell_all(three.context)
    three.run()
    assert (old.closed, new.closed) == (True, False)
    three.advance(GRACE_SECONDS - 0.1)
    assert late.handshake().get("/a.txt", host="a.test").get("Connection") == "close"
    three.advance(0.1)
    assert new.closed


@pytest.mark.parametrize("count", [3, None])
def test_a_handshake_that_has_begun_is_finished_when_the_server_stops(
    three: Bench, certificates: Certificates, count: Optional[int]
) -> None:
    """After some bytes of the ClientHello, or all of it; and then there is a moment for the request."""
    shaking = TlsPeer(three.connect(), certificates.ca, "a.test")
    with pytest.raises(ssl.SSLWantReadError):
        shaking.tls.do_handshake()
    hello = shaking.outgoing.read()
    shaking.peer.send(hello[:count])
    three.advance(2 * GRACE_SECONDS)
    tell_all(three.context)
    three.run()
    assert not shaking.peer.closed
    shaking.peer.send(hello[len(hello[:count]):])
    three.advance(LOOK_AGAIN)
    shaking.handshake()
    three.advance(GRACE_SECONDS / 2)
    assert shaking.get("/a.txt", host="a.test").get("Connection") == "close"


# Plain http on a TLS port.


def test_redirect_http(make_bench: MakeBench, certificates: Certificates) -> None:
    bench = make_bench(tls(certificates.a, allow_non_tls="1", redirect_http="1"),
                       {"name": "b.test", **tls(certificates.b)}, server_string="x")
    cases = {"a.test": "a.test", "a.test:7681": "a.test:7681", "A.Test:9443": "A.Test:9443",
             "a.test:80": "a.test", "www.a.test": "www.a.test", "who.test": "a.test:7681",
             "192.0.2.1:7681": "a.test:7681"}
    for host, expected in cases.items():
        answer = bench.connect().get("/x%20y//z?a=b", host=host)
        assert (answer.status, answer.get("location")) == (301, f"https://{expected}/x%20y/z?a=b")
    assert bench.connect().get("/who", host="b.test").status == 421     # it allows no plain http at all
    assert bench.connect().ask("GET / HTTP/1.1").status == 400  # no Host
    assert met(bench, certificates, "a.test", "a.test") == "a.test"


def test_allow_http_on_https(make_bench: MakeBench, certificates: Certificates) -> None:
    allow = {"allow_non_tls": "1", "allow_http_on_https": "1"}
    demand = {"client_cert_required": "1", "host_ssl_ca": str(certificates.ca.cert)}
    bench = make_bench(
        {"name": "b.test", **tls(certificates.b), "sts": "1"},
        {"name": "a.test", **tls(certificates.a, **allow), "sts": "1"},
        {"name": "c.test", **tls(certificates.b, **allow, **demand)},
        {"name": "d.test", **tls(certificates.b, allow_non_tls="1", redirect_http="1"), "sts": "1"})
    plain = bench.connect().get("/who", host="a.test")
    assert plain.body == b"a.test"
    assert plain.get("strict-transport-security") is None
    for host in ("b.test", "c.test", "who.test"):
        for _ in range(3):
            refused = bench.connect().get("/who", host=host)
            assert refused.status == 421
            assert refused.get("strict-transport-security") is None     # RFC 6797 7.2
    assert bench.connect().get("/who", host="d.test").get("location") == "https://d.test/who"
    # The same bytes over TLS are another request.
    assert met(bench, certificates, "a.test", "a.test") == "a.test"


@pytest.mark.parametrize("keys", [
    {"allow_non_tls": "1"}, {"redirect_http": "1"}, {"allow_http_on_https": "1"}, {}])
def test_plain_http_is_hung_up_on(
        make_bench: MakeBench, certificates: Certificates, keys: Dict[str, str]) -> None:
    bench = make_bench(tls(certificates.a, **keys))
    peer = bench.connect()
    peer.send(HTTP)
    assert peer.closed


def test_what_is_no_http_gets_400_where_http_is_allowed(
        make_bench: MakeBench, certificates: Certificates) -> None:
    bench = make_bench(tls(certificates.a, allow_non_tls="1", allow_http_on_https="1"))
    peer = bench.connect()
    peer.send(b"\x00\x01\x02\x03")
    assert peer.answer().status == 400


def test_a_session_does_not_outlive_the_certificate_of_the_client(
        make_bench: MakeBench, certificates: Certificates) -> None:
    """TLS 1.2 by session id, which Python cannot switch off; the clock of the bench is years ahead."""
    bench = make_bench({"name": "a.test", **tls(certificates.a, client_cert_required="1",
                                                host_ssl_ca=str(certificates.ca.cert))})
    context = client_context(certificates.ca, TLS12, own=certificates.client)
    ahead, bench.context.wall_clock = bench.context.wall_clock, time.time
    first = TlsPeer(bench.connect(), context, "a.test").handshake()
    again = TlsPeer(bench.connect(), context, "a.test", first.tls.session).handshake()
    assert again.tls.session_reused
    assert again.get("/who").status == 200
    bench.context.wall_clock = lambda: ahead() + 10 * 365 * 86400
    late = TlsPeer(bench.connect(), context, "a.test", first.tls.session).handshake()
    assert late.tls.session_reused
    assert late.peer.closed
