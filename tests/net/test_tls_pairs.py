"""Certificates, keys and words that contexts are made of, good ones and bad ones, and contexts of clients."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from lwsws.net.tls import ClientSettings, ServerSettings, client_context, server_context, try_server_context
from lwsws.net.tls_files import ALPN, CA, CERTIFICATE, CIPHERS, CURVE, KEY, OPTIONS, TlsError
from tests.support.certificates import Certificates, Pair, make_ca, make_certificate, openssl
from tests.support.handshake import any_client, fails, settings, shake, works

NO_TLS12, NO_TLS13 = 0x08000000, 0x20000000     # as an administrator finds them in ssl.h


# Certificates and keys.


def test_the_chain_is_completed_from_the_authorities(certificates: Certificates, tmp_path: Path) -> None:
    below = make_ca(tmp_path, "below", certificates.ca)
    pair = make_certificate(tmp_path, "c.test", ["c.test"], below)
    strict = client_context(ClientSettings(str(certificates.ca.cert)))
    assert "CERTIFICATE_VERIFY_FAILED" in fails(shake(server_context(settings(pair)), strict, "c.test"))
    works(shake(server_context(settings(pair, below)), strict, "c.test"))


@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_other_kinds_of_keys(certificates: Certificates, tmp_path: Path, key_type: str) -> None:
    pair = make_certificate(tmp_path, "a.test", key_type=key_type)
    works(shake(server_context(settings(pair)), any_client(ssl.TLSVersion.TLSv1_3)))


def test_certificate_and_key_in_one_file(certificates: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.a.key.read_bytes() + certificates.a.cert.read_bytes())
    works(shake(server_context(ServerSettings(str(both), str(both))), any_client()))


def error_of(given: ServerSettings) -> TlsError:
    with pytest.raises(TlsError) as caught:
        server_context(given)
    assert str(caught.value) == caught.value.text
    return caught.value


def test_a_key_of_another_certificate(certificates: Certificates, tmp_path: Path) -> None:
    rsa = make_certificate(tmp_path, "rsa", key_type="rsa")
    for other in (certificates.b, rsa):
        error = error_of(ServerSettings(str(certificates.a.cert), str(other.key)))
        assert error.part == KEY
        assert error.text == (f"{str(other.key)!r} is not the key of the certificate in "
                              f"{str(certificates.a.cert)!r}")


def test_an_encrypted_key_asks_nobody(certificates: Certificates, tmp_path: Path) -> None:
    for old in ("-traditional", "-aes256"):
        locked = tmp_path / f"locked{old}.key"
        openssl("pkey", "-in", str(certificates.a.key), old, "-aes128", "-passout", "pass:x",
                "-out", str(locked))
        error = error_of(ServerSettings(str(certificates.a.cert), str(locked)))
        assert error.part == KEY
        assert "is encrypted" in error.text
        assert str(locked) in error.text


@pytest.mark.parametrize("part, content, words", [
    (CERTIFICATE, b"", "there is no certificate in"),
    (KEY, b"", "there is no private key in"),
    (CA, b"hello", "there is no certificate in"),
    (CERTIFICATE, b"\x30\x82\x01\x00", "probably DER"),
    (CERTIFICATE, b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "is damaged"),
    (CERTIFICATE, b"-----BEGIN CERTIFICATE-----\n", "is damaged"),
    (KEY, b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "is damaged"),
    (CA, b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "cannot load the authorities in"),
])
def test_files_with_something_else_in_them(certificates: Certificates, tmp_path: Path, part: str,
                                           content: bytes, words: str) -> None:
    path = tmp_path / "file.pem"
    path.write_bytes(content)
    given = settings(certificates.a, certificates.ca)._asdict()
    error = error_of(ServerSettings(**{**given, part: str(path)}))
    assert error.part == part
    assert words in error.text
    assert repr(str(path)) in error.text


def test_a_key_in_place_of_the_certificate(certificates: Certificates) -> None:
    error = error_of(ServerSettings(str(certificates.a.key), str(certificates.a.cert)))
    assert (error.part, error.is_missing) == (CERTIFICATE, False)


def test_a_key_too_small_for_openssl(tmp_path: Path) -> None:
    files = ["-keyout", str(tmp_path / "k"), "-out", str(tmp_path / "c")]
    openssl("req", "-x509", "-nodes", "-newkey", "rsa:512", "-subj", "/CN=a", *files)
    error = error_of(ServerSettings(str(tmp_path / "c"), str(tmp_path / "k"), ciphers="ALL:@SECLEVEL=2"))
    assert "key too small" in error.text


@pytest.mark.parametrize("field, value, part", [
    ("ciphers", "NO-SUCH", CIPHERS), ("ciphers", "TLS_AES_128_GCM_SHA256", CIPHERS),
    ("curve", "no-such", CURVE), ("curve", "prime256v1:X25519", CURVE), ("alpn", ("x" * 256,), ALPN),
    ("alpn", ("\u00e9",), ALPN), ("alpn", ("",), ALPN),
])
def test_words_that_openssl_does_not_know(certificates: Certificates, field: str, value: object,
                                          part: str) -> None:
    given = {**settings(certificates.a)._asdict(), field: value}
    error = error_of(ServerSettings(**given))
    assert error.part == part
    assert field == "alpn" or repr(value) in error.text


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    cert, key, ca = (str(tmp_path / name) for name in ("cert", "key", "ca"))
    given = ServerSettings(cert, key, ca, ciphers="x", curve="x", options_set=NO_TLS12 | NO_TLS13, alpn=("",))
    faults = try_server_context(given)[1]
    assert [fault.part for fault in faults] == [OPTIONS, CIPHERS, CURVE, CA, CERTIFICATE, KEY, ALPN]
    assert [fault.is_missing for fault in faults] == [False, False, False, True, True, True, False]


def test_one_missing_file_is_one_fault(tmp_path: Path) -> None:
    both = str(tmp_path / "both")
    assert len(try_server_context(ServerSettings(both, both))[1]) == 1


# As a client.


def test_a_client_checks_name_and_authority(certificates: Certificates, tmp_path: Path) -> None:
    server = server_context(settings(certificates.a))
    strict = client_context(ClientSettings(str(certificates.ca.cert)))
    works(shake(server, strict))
    fails(shake(server, strict, "b.test"))
    fails(shake(server, client_context(ClientSettings())))      # no authority of this system
    other = make_ca(tmp_path, "other")
    fails(shake(server, client_context(ClientSettings(str(other.cert)))))


def test_a_client_trusts_whom_the_system_trusts(certificates: Certificates,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    server = server_context(settings(certificates.a))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca.cert))
    works(shake(server, client_context(ClientSettings())))
    other = ClientSettings(str(certificates.folder / "other-ca.crt"))
    fails(shake(server, client_context(other)))


def test_a_client_shows_its_certificate(certificates: Certificates) -> None:
    server = server_context(settings(certificates.a, certificates.ca)._replace(client_certificates=True))
    ca, cert, key = str(certificates.ca.cert), str(certificates.client.cert), str(certificates.client.key)
    works(shake(server, client_context(ClientSettings(ca, cert, key))))
    fails(shake(server, client_context(ClientSettings(ca))))


def test_a_client_has_the_same_options(certificates: Certificates) -> None:
    given = ClientSettings(str(certificates.ca.cert), ciphers="ECDHE+CHACHA20", curve="P-256",
                           options_set=NO_TLS13)
    ends = shake(server_context(settings(certificates.a)), client_context(given))
    cipher = ends.client.cipher()
    works(ends)
    assert cipher is not None
    assert cipher[:2] == ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2")
    with pytest.raises(TlsError):
        client_context(ClientSettings(ciphers="NO-SUCH"))
    with pytest.raises(TlsError):
        client_context(ClientSettings(certificate=given.ca, key=given.ca))


def test_a_client_offers_what_is_spoken_here(certificates: Certificates) -> None:
    server = server_context(settings(certificates.a)._replace(alpn=("h2", "http/1.1")))
    ends = shake(server, client_context(ClientSettings(str(certificates.ca.cert))))
    assert ends.client.selected_alpn_protocol() == "http/1.1"
    works(ends)


def test_a_context_is_made_of_the_files_of_that_moment(certificates: Certificates, tmp_path: Path) -> None:
    pair = Pair(tmp_path / "c", tmp_path / "k")
    shutil.copy(certificates.a.cert, pair.cert)
    shutil.copy(certificates.a.key, pair.key)
    server = server_context(settings(pair))
    shutil.copy(certificates.b.cert, pair.cert)
    works(shake(server, client_context(ClientSettings(str(certificates.ca.cert)))))
