"""What connections get of the contexts: shown by handshakes, not by reading attributes back."""

from __future__ import annotations

import socket
import ssl
import warnings
from pathlib import Path
from typing import Iterator, Optional

import pytest

from lwsws.net.tls import PROTECTION, check_tls13_ciphers, server_context, unknown_ciphers
from lwsws.net.tls_files import OPTIONS, TlsError
from tests.support.certificates import Certificates, make_ca, make_certificate
from tests.support.handshake import any_client, fails, session_of, settings, shake, works

NO_TLS12, NO_TLS13 = 0x08000000, 0x20000000     # as an administrator finds them in ssl.h
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Python warns of some option bits, which no administrator should ever see."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Versions and ciphers.


@BOTH
def test_a_connection(certificates: Certificates, version: ssl.TLSVersion) -> None:
    ends = shake(server_context(settings(certificates.a)), any_client(version))
    assert ends.failure == ""
    ends.client.sendall(b"question")
    assert ends.server.recv(9) == b"question"
    ends.server.sendall(b"answer")
    assert ends.client.recv(9) == b"answer"
    assert ends.server.tls.version() == ("TLSv1.2" if version == TLS12 else "TLSv1.3")
    assert ends.server.tls.compression() is None
    ends.close()


def test_versions_before_1_2_are_refused(certificates: Certificates) -> None:
    old = any_client(ciphers="ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    server = server_context(settings(certificates.a)._replace(ciphers="ALL:@SECLEVEL=0"))
    assert "PROTOCOL_VERSION" in fails(shake(server, old))


@pytest.mark.parametrize("ciphers, refused", [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", False), ("ECDHE-ECDSA-CHACHA20-POLY1305", False),
    ("ECDHE-ECDSA-AES128-SHA", True), ("ECDHE-ECDSA-AES256-SHA384", True), ("ECDHE-ECDSA-AES128-CCM", True),
])
def test_default_ciphers_have_forward_secrecy_and_authenticated_encryption(
        certificates: Certificates, ciphers: str, refused: bool) -> None:
    ends = shake(server_context(settings(certificates.a)), any_client(TLS12, ciphers=ciphers))
    if refused:
        assert "HANDSHAKE_FAILURE" in fails(ends)
        weaker = settings(certificates.a)._replace(ciphers=f"ECDHE+AESGCM:{ciphers}")
        ends = shake(server_context(weaker), any_client(TLS12, ciphers=ciphers))
    works(ends)


def test_a_static_key_exchange_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    rsa = make_certificate(tmp_path, "a.test", key_type="rsa")
    for ciphers, refused in (("AES128-GCM-SHA256", True), ("ECDHE-RSA-AES128-GCM-SHA256", False)):
        ends = shake(server_context(settings(rsa)), any_client(TLS12, ciphers=ciphers))
        fails(ends) if refused else works(ends)


def test_the_server_chooses_the_cipher(certificates: Certificates) -> None:
    order = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    theirs = any_client(TLS12, ciphers=order)
    ends = shake(server_context(settings(certificates.a)), theirs)
    assert ends.client.cipher() == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2", 256)
    works(ends)


@pytest.mark.parametrize("curve, theirs, refused", [
    ("", "secp384r1", False), ("prime256v1", "prime256v1", False), ("P-256", "prime256v1", False),
    ("secp256r1", "prime256v1", False), ("prime256v1", "secp384r1", True), ("P-384", "prime256v1", True),
])
def test_curve(certificates: Certificates, curve: str, theirs: str, refused: bool) -> None:
    context = any_client(TLS13)
    context.set_ecdh_curve(theirs)
    ends = shake(server_context(settings(certificates.a)._replace(curve=curve)), context)
    fails(ends) if refused else works(ends)


def test_alpn(certificates: Certificates) -> None:
    server = server_context(settings(certificates.a)._replace(alpn=("http/1.1", "http/1.0")))
    theirs = any_client()
    for offered, chosen in ((["http/1.0", "http/1.1"], "http/1.1"), (["h2", "http/1.0"], "http/1.0"),
                            (["h2"], None)):
        theirs.set_alpn_protocols(offered)
        ends = shake(server, theirs)
        assert ends.client.selected_alpn_protocol() == chosen
        works(ends)


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3,), reason="older ones leave it to the caller")
def test_a_fin_without_close_notify_is_an_end(certificates: Certificates) -> None:
    ends = shake(server_context(settings(certificates.a)), any_client())
    with socket.socket(fileno=ends.client.detach()) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert ends.server.recv(1) == b""
    ends.close()


# Option bits.


@pytest.mark.parametrize("bits_set, bits_cleared, version", [
    (0, 0, "TLSv1.3"), (NO_TLS13, 0, "TLSv1.2"), (NO_TLS12, 0, "TLSv1.3"), (NO_TLS13, NO_TLS13, "TLSv1.3"),
    (268435456, 0, "TLSv1.3"),      # the example of the specification, SSL_OP_NO_TLSv1_1
    (0, 268435456, "TLSv1.3"),
])
def test_option_bits_of_versions(certificates: Certificates, bits_set: int, bits_cleared: int,
                                 version: str) -> None:
    given = settings(certificates.a)._replace(options_set=bits_set, options_clear=bits_cleared)
    ends = shake(server_context(given), any_client())
    assert ends.client.version() == version
    works(ends)


def test_without_tls_1_2_a_client_of_1_2_is_refused(certificates: Certificates) -> None:
    server = server_context(settings(certificates.a)._replace(options_set=NO_TLS12))
    assert "PROTOCOL_VERSION" in fails(shake(server, any_client(TLS12)))


def test_no_version_is_left(certificates: Certificates) -> None:
    given = settings(certificates.a)._replace(options_set=NO_TLS12 | NO_TLS13)
    with pytest.raises(TlsError, match=r"1\.2 and 1\.3 are both switched off") as caught:
        server_context(given)
    assert caught.value.part == OPTIONS


def test_other_option_bits_are_set_and_cleared(certificates: Certificates) -> None:
    no_ticket, preference = int(ssl.OP_NO_TICKET), int(ssl.OP_CIPHER_SERVER_PREFERENCE)
    given = settings(certificates.a)._replace(options_set=no_ticket | 1 << 40, options_clear=preference)
    options = int(server_context(given).options)
    assert options & no_ticket
    assert options & 1 << 40
    assert not options & preference


def test_protection_cannot_be_cleared(certificates: Certificates) -> None:
    given = settings(certificates.a)._replace(options_clear=(1 << 53) - 1)
    context = server_context(given)
    assert int(context.options) & PROTECTION == PROTECTION
    works(shake(context, any_client(TLS12)))


# Client certificates.


@BOTH
def test_client_certificates(certificates: Certificates, version: ssl.TLSVersion) -> None:
    server = server_context(settings(certificates.a, certificates.ca)._replace(client_certificates=True))
    ends = shake(server, any_client(version, certificates.client))
    subject = (ends.server.tls.getpeercert() or {}).get("subject")
    works(ends)
    assert subject == ((("commonName", "client"),),)
    fails(shake(server, any_client(version)))
    fails(shake(server, any_client(version, certificates.stranger)))
    # Signed by the right authority, but not for clients.
    fails(shake(server, any_client(version, certificates.b)))


@BOTH
def test_an_authority_below_another_one_is_trusted_alone(certificates: Certificates, tmp_path: Path,
                                                         version: ssl.TLSVersion) -> None:
    below = make_ca(tmp_path, "below", certificates.ca)
    own = make_certificate(tmp_path, "own", ca=below, client=True)
    server = server_context(settings(certificates.a, below)._replace(client_certificates=True))
    works(shake(server, any_client(version, own)))
    fails(shake(server, any_client(version, certificates.client)))


@BOTH
def test_without_authorities_no_client_gets_in(certificates: Certificates, version: ssl.TLSVersion) -> None:
    server = server_context(settings(certificates.a)._replace(client_certificates=True))
    fails(shake(server, any_client(version, certificates.client)))


# Sessions.


@BOTH
def test_a_session_is_resumed(certificates: Certificates, version: ssl.TLSVersion) -> None:
    server, theirs = server_context(settings(certificates.a)), any_client(version)
    first = shake(server, theirs)
    session = session_of(first)
    assert session.has_ticket
    second = shake(server, theirs, session=session)
    assert second.client.session_reused
    works(second)
    first.close()


@BOTH
def test_a_session_of_one_vhost_is_not_resumed_on_another(certificates: Certificates,
                                                          version: ssl.TLSVersion) -> None:
    """LESSONS T2, CVE-2025-23419."""
    a = server_context(settings(certificates.a))
    b = server_context(settings(certificates.b, certificates.ca))
    demanding = server_context(settings(certificates.b, certificates.ca)._replace(client_certificates=True))
    theirs = any_client(version)
    first = shake(a, theirs)
    session = session_of(first)
    second = shake(b, theirs, "b.test", session=session)
    assert not second.client.session_reused
    works(second)
    fails(shake(demanding, theirs, "b.test", session=session))
    first.close()


@BOTH
def test_without_tickets_there_is_no_ticket(certificates: Certificates, version: ssl.TLSVersion) -> None:
    server = server_context(settings(certificates.a, certificates.ca)._replace(client_certificates=True))
    ends = shake(server, any_client(version, certificates.client))
    ends.server.sendall(b"x")
    assert ends.client.recv(1) == b"x"
    assert ends.client.session is None or not ends.client.session.has_ticket
    ends.close()


def test_there_is_one_ticket(certificates: Certificates) -> None:
    """Counted in bytes on the wire, for a ticket is the only thing that the server sends by itself."""
    sizes = []
    for count in (1, 2):
        server = server_context(settings(certificates.a))
        if count == 2:
            server.num_tickets = 2
        ends = shake(server, any_client(TLS13))
        with socket.socket(fileno=ends.client.detach()) as sock:
            sizes.append(len(sock.recv(1 << 16)))
        ends.close()
    assert 2 * sizes[0] == sizes[1]


# The second look at the server name.


@BOTH
@pytest.mark.parametrize("name, expected, refused", [
    ("a.test", "a.test", False), ("A.Test", "a.test", False), ("a.test.", "a.test", False), (None, "", False),
    ("b.test", "a.test", True), ("a.test", "", True), (None, "a.test", True), ("www.a.test", "a.test", True),
])
def test_server_name(certificates: Certificates, version: ssl.TLSVersion, name: Optional[str], expected: str,
                     refused: bool) -> None:
    server = server_context(settings(certificates.a))
    ends = shake(server, any_client(version), name, expected)
    if refused:
        assert "UNRECOGNIZED_NAME" in fails(ends)
    else:
        works(ends)


@BOTH
def test_server_name_of_a_resumed_session(certificates: Certificates, version: ssl.TLSVersion) -> None:
    server, theirs = server_context(settings(certificates.a)), any_client(version)
    first = shake(server, theirs)
    session = session_of(first)
    assert "UNRECOGNIZED_NAME" in fails(shake(server, theirs, "a.test", "b.test", session))
    works(shake(server, theirs, "a.test", "a.test", session))
    first.close()


def test_an_object_of_another_class_is_refused(certificates: Certificates) -> None:
    server = server_context(settings(certificates.a))
    server.sslobject_class = ssl.SSLObject
    assert "UNRECOGNIZED_NAME" in fails(shake(server, any_client()))


# Names of ciphers.


@pytest.mark.parametrize("text, unknown", [
    ("", []), ("ECDHE+AESGCM:!aNULL:-MD5:+SHA1:@STRENGTH", []), ("HIGH ECDHE-RSA-AES128-GCM-SHA256,kRSA", []),
    ("ECDHE+AESGCM:EDCHE+AESGCM", ["EDCHE+AESGCM"]), ("x:y", ["x", "y"]),
    ("TLS_AES_128_GCM_SHA256", ["TLS_AES_128_GCM_SHA256"]),
])
def test_unknown_ciphers(text: str, unknown: object) -> None:
    assert unknown_ciphers(text) == unknown


def test_ciphers_of_tls_1_3() -> None:
    assert check_tls13_ciphers("") == ""
    assert check_tls13_ciphers("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == ""
    assert check_tls13_ciphers("TLS_AES_128_GCM_SHA256:ECDHE+AESGCM").startswith(
        "no TLS 1.3 cipher is called ECDHE+AESGCM: there are TLS_AES_128_GCM_SHA256, ")
