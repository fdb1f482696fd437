"""A CA that looks at a challenge on a TLS port (RFC 8737), beside all other clients."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from lwsws.acme.state import Shown, State, encode
from lwsws.wire.acme import Challenge
from tests.support.certificates import Certificates, make_certificate
from tests.support.peer import Bench
from tests.support.tls_bench import MakeBench, benches, tls
from tests.support.tls_peer import TlsPeer, client_context

ACME = "acme-tls/1"


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Makes the bench of some vhosts."""
    with benches(tmp_path) as make:
        yield make


@pytest.fixture
def bench(make_bench: MakeBench, certificates: Certificates, tmp_path: Path) -> Bench:
    """Vhosts a.test and, for clients with a certificate, c.test; the first asks a CA for its certificate, and
    challenges for both are up."""
    options = {"auth-path": f"{tmp_path}/account.pem", "cert-path": f"{tmp_path}/a.crt",
               "key-path": f"{tmp_path}/a.key", "directory-url": "https://ca.test/", "email": "a@a.test",
               "common-name": "a.test", "challenge": "tls-alpn-01"}
    tmp_path.chmod(0o700)
    made = make_bench(
        {"name": "a.test", **tls(certificates.a), "ws-protocols": [{"lws-acme-client": options}]},
        {"name": "c.test", **tls(certificates.b, client_cert_required="1",
                                 host_ssl_ca=str(certificates.ca.cert))})
    put_up(tmp_path, certificates, "a.test")
    return made


def put_up(folder: Path, certificates: Certificates, name: str) -> None:
    """Put up a challenge for `name`, as the process with the order does."""
    own = folder / f"challenge of {name}"
    own.mkdir()
    pair = make_certificate(own, name, [name, "challenge.test"], certificates.ca)
    shown = Shown(Challenge("tls-alpn-01", name, "token", "token.thumbprint"),
                  pair.cert.read_text() + pair.key.read_text())
    (folder / "a.crt.acme").write_bytes(encode(State(shown=shown)))


def certificate_for(bench: Bench, certificates: Certificates, name: str, alpn: Sequence[str]) -> TlsPeer:
    """A client after its handshake."""
    return TlsPeer(bench.connect(), client_context(certificates.ca, alpn=alpn), name).handshake()


def is_of_challenge(peer: TlsPeer) -> bool:
    """Whether the server has shown the certificate of the challenge."""
    shown = peer.tls.getpeercert() or {}
    return ("DNS", "challenge.test") in shown.get("subjectAltName", ())


def test_the_ca_meets_the_challenge_and_nothing_behind_it(bench: Bench, certificates: Certificates) -> None:
    peer = certificate_for(bench, certificates, "a.test", [ACME])
    assert is_of_challenge(peer) and peer.tls.selected_alpn_protocol() == ACME
    # RFC 8737 3: the connection is closed without any data.
    assert peer.receive() == b"" and peer.ended


def test_all_others_meet_the_vhost(bench: Bench, certificates: Certificates) -> None:
    """Also those that offer more than a CA does."""
    for alpn in ([], ["http/1.1"], [ACME, "http/1.1"], ["http/1.1", ACME]):
        peer = certificate_for(bench, certificates, "a.test", alpn)
        assert not is_of_challenge(peer) and peer.tls.selected_alpn_protocol() in (None, "http/1.1")
        assert peer.get("/who").body == b"a.test"


def test_no_challenge_for_that_name(bench: Bench, certificates: Certificates) -> None:
    """RFC 8737 3: a server that has none must not select the protocol."""
    for name in ("b.test", "c.test"):
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            certificate_for(bench, certificates, name, [ACME])


def test_a_vhost_that_demands_certificates(bench: Bench, certificates: Certificates, tmp_path: Path) -> None:
    """The CA has none; and it gets nowhere by that."""
    put_up(tmp_path, certificates, "c.test")
    peer = certificate_for(bench, certificates, "c.test", [ACME])
    assert is_of_challenge(peer) and peer.receive() == b""
    # What was up before is not any more, which is seen at once.
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        certificate_for(bench, certificates, "a.test", [ACME])


def test_a_damaged_challenge(bench: Bench, certificates: Certificates, tmp_path: Path) -> None:
    shown = Shown(Challenge("tls-alpn-01", "a.test", "token", "token.thumbprint"), "no certificate")
    (tmp_path / "a.crt.acme").write_bytes(encode(State(shown=shown)))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        certificate_for(bench, certificates, "a.test", [ACME])
