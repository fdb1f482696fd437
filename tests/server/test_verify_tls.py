"""What `-t` and the start say of certificates, keys and everything else about TLS."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Optional, Tuple

import pytest

from lwsws.config.loader import parse_text
from lwsws.config.model import Fault, GlobalConfig, VhostConfig
from lwsws.server.certificates import DAY
from lwsws.server.verify import verify
from lwsws.server.verify_tls import Complaint, complaints
from lwsws.wire.certificate import is_for
from tests.support.certificates import Certificates, make_certificate, openssl

FILES = pytest.mark.parametrize("name, key", [("crt", "host-ssl-cert"), ("key", "host-ssl-key"),
                                              ("ca", "host-ssl-ca")])


@pytest.fixture
def vhost(tmp_path: Path, certificates: Certificates) -> VhostConfig:
    """One that is in order; its files are copies."""
    a, ca = certificates.a, certificates.ca
    for source, name in ((a.cert, "crt"), (a.key, "key"), (ca.cert, "ca")):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "key").chmod(0o600)
    return VhostConfig(name="a.test", port=443, host_ssl_cert=f"{tmp_path}/crt",
                       host_ssl_key=f"{tmp_path}/key", host_ssl_ca=f"{tmp_path}/ca")


def check(vhost: VhostConfig, now: Optional[float] = None) -> List[Complaint]:
    return list(complaints(vhost, GlobalConfig(), time.time() if now is None else now))


def only(vhost: VhostConfig, now: Optional[float] = None) -> Complaint:
    complaint, = check(vhost, now)
    return complaint


def test_what_is_in_order_has_no_faults(vhost: VhostConfig) -> None:
    assert check(vhost) == []
    assert check(vhost._replace(ciphers="ECDHE+AESGCM", tls13_ciphers="TLS_AES_256_GCM_SHA384",
                                ecdh_curve="prime256v1", alpn="http/1.1", ssl_option_set=268435456,
                                client_cert_required=True, enable_client_ssl=True,
                                client_ssl_ca=vhost.host_ssl_ca)) == []


@FILES
def test_a_file_that_is_missing(vhost: VhostConfig, tmp_path: Path, name: str, key: str) -> None:
    (tmp_path / name).unlink()
    assert only(vhost) == (key, f"there is no file '{tmp_path}/{name}'", True)
    may_come = only(vhost._replace(ignore_missing_cert=True))
    assert may_come == (key, f"there is no file '{tmp_path}/{name}': no TLS here until there is", False)


@FILES
@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\n", b"PRIVATE KEY-----"])
def test_a_file_with_something_else_in_it(vhost: VhostConfig, tmp_path: Path, name: str, key: str,
                                          content: bytes) -> None:
    """Not even ignore-missing-cert helps."""
    (tmp_path / name).write_bytes(content)
    complaint = only(vhost._replace(ignore_missing_cert=True))
    assert (complaint.key, complaint.fatal) == (key, True)
    assert repr(str(tmp_path / name)) in complaint.reason


def test_a_key_of_another_certificate(vhost: VhostConfig, certificates: Certificates, tmp_path: Path) -> None:
    shutil.copy(certificates.b.key, tmp_path / "key")
    reason = f"'{tmp_path}/key' is not the key of the certificate in '{tmp_path}/crt'"
    assert only(vhost) == ("host-ssl-key", reason, True)


def test_a_key_that_is_nowhere(vhost: VhostConfig, tmp_path: Path) -> None:
    complaint = only(vhost._replace(host_ssl_key=""))
    assert (complaint.key, complaint.fatal) == ("host-ssl-key", True)
    assert complaint.reason.startswith(f"there is no private key in '{tmp_path}/crt'")


def test_an_encrypted_key(vhost: VhostConfig, tmp_path: Path, certificates: Certificates) -> None:
    locked = str(tmp_path / "key")
    openssl("pkey", "-in", str(certificates.a.key), "-aes128", "-passout", "pass:x", "-out", locked)
    complaint = only(vhost)
    assert (complaint.key, complaint.fatal) == ("host-ssl-key", True)
    assert "is encrypted" in complaint.reason


@pytest.mark.parametrize("field, value, key", [
    ("ciphers", "NO-SUCH", "ciphers"), ("ecdh_curve", "no-such", "ecdh-curve"),
    ("ssl_option_set", 0x28000000, "ssl-option-set"),
])
def test_words_that_openssl_does_not_know(vhost: VhostConfig, field: str, value: object, key: str) -> None:
    complaint = check(VhostConfig(**{**vhost._asdict(), field: value}))[0]
    assert (complaint.key, complaint.fatal) == (key, True)


def test_a_bad_name_of_an_application_protocol(vhost: VhostConfig) -> None:
    raw = vhost._replace(apply_listen_accept=True, alpn="x" * 256)
    assert (only(raw).key, only(raw).fatal) == ("alpn", True)


def test_misspelled_ciphers_among_good_ones(vhost: VhostConfig) -> None:
    complaint = only(vhost._replace(ciphers="ECDHE+AESGCM:EDCHE+CHACHA20"))
    assert (complaint.key, complaint.fatal) == ("ciphers", False)
    assert complaint.reason.startswith("OpenSSL has no TLS 1.2 cipher called EDCHE+CHACHA20: ")
    complaint = only(vhost._replace(tls13_ciphers="TLS_AES_128_GCM_SHA256:TLS_X"))
    assert (complaint.key, complaint.fatal) == ("tls13-ciphers", False)
    assert complaint.reason.startswith("no TLS 1.3 cipher is called TLS_X: ")


def test_all_is_told_together(vhost: VhostConfig, tmp_path: Path) -> None:
    for name in ("crt", "key", "ca"):
        (tmp_path / name).unlink()
    given = vhost._replace(ciphers="x", ecdh_curve="x", enable_client_ssl=True,
                           client_ssl_ca=f"{tmp_path}/ca")
    assert {complaint.key for complaint in check(given)} == {
        "host-ssl-cert", "host-ssl-key", "host-ssl-ca", "ciphers", "ecdh-curve", "client-ssl-ca"}


# Dates, names, rights: nothing of these keeps the server from starting.


@pytest.mark.parametrize("days, words", [
    (15, ""), (14, "expires in 13 days, on "), (1, "expires within a day, on "),
])
def test_an_end_that_comes_near(vhost: VhostConfig, tmp_path: Path, days: int, words: str) -> None:
    now = int(time.time())
    pair = make_certificate(tmp_path, "a.test", not_before=now - DAY, not_after=now + days * DAY - 1)
    given = vhost._replace(host_ssl_cert=str(pair.cert), host_ssl_key=str(pair.key))
    if words:
        complaint = only(given, now)
        assert (complaint.key, complaint.fatal) == ("host-ssl-cert", False)
        assert f"the certificate in '{pair.cert}' {words}" in complaint.reason
    else:
        assert check(given, now) == []


@pytest.mark.parametrize("shift, words", [(-60 * DAY, "is not valid before"), (60 * DAY, "has expired on")])
def test_out_of_date(vhost: VhostConfig, shift: int, words: str) -> None:
    complaint = only(vhost, time.time() + shift)
    assert (complaint.key, complaint.fatal) == ("host-ssl-cert", False)
    assert words in complaint.reason


def test_a_clock_that_was_never_set_says_nothing_of_dates(vhost: VhostConfig) -> None:
    assert check(vhost, 1000.0) == []


def test_a_certificate_for_other_names(vhost: VhostConfig, tmp_path: Path) -> None:
    complaint = only(vhost._replace(name="b.test"))
    assert (complaint.key, complaint.fatal) == ("host-ssl-cert", False)
    assert complaint.reason == (f"the certificate in '{tmp_path}/crt' is for a.test, and not for 'b.test', "
                                "the name of this vhost: clients will refuse it")
    assert check(vhost._replace(name="default")) == []      # it was given no name


@pytest.mark.parametrize("names, name, good", [
    (("a.test",), "a.test", True), (("*.test",), "a.test", True), (("x.test", "a.test"), "a.test", True),
    (("b.test",), "a.test", False), ((), "a.test", False), (("xa.test",), "a.test", False),
    # The vhost stands for its subdomains too.
    (("*.a.test",), "a.test", True), (("www.a.test",), "a.test", True), (("a.test",), "www.a.test", False),
    (("::1",), "[::1]", True), (("192.0.2.1",), "192.0.2.1", True), (("192.0.2.2",), "192.0.2.1", False),
])
def test_names(names: Tuple[str, ...], name: str, good: bool) -> None:
    assert is_for(names, name) is good


def test_a_certificate_that_only_openssl_takes_apart(vhost: VhostConfig, tmp_path: Path,
                                                     certificates: Certificates) -> None:
    trusted = str(tmp_path / "trusted")
    openssl("x509", "-in", str(certificates.a.cert), "-trustout", "-setalias", "x", "-out", trusted)
    complaint = only(vhost._replace(host_ssl_cert=trusted))
    assert complaint.reason.endswith(": its dates and names are not checked")
    assert not complaint.fatal


def test_a_key_that_everybody_can_read(vhost: VhostConfig, tmp_path: Path) -> None:
    (tmp_path / "key").chmod(0o644)
    reason = f"everybody on this system can read the private key in '{tmp_path}/key': chmod o-r it"
    assert only(vhost) == ("host-ssl-key", reason, False)
    both = tmp_path / "both"
    both.write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "crt").read_bytes())
    both.chmod(0o644)
    assert only(vhost._replace(host_ssl_cert=str(both), host_ssl_key="")).key == "host-ssl-cert"


# As a client.


def test_the_client_side(vhost: VhostConfig, tmp_path: Path, certificates: Certificates) -> None:
    plain = VhostConfig(name="a.test", port=80, client_ssl_cert=str(certificates.client.cert),
                        client_ssl_key=str(certificates.client.key), client_ssl_ca=f"{tmp_path}/no",
                        client_ssl_ciphers="x", client_ecdh_curve="x", client_tls13_ciphers="x",
                        ssl_client_option_set=0x28000000)
    assert check(plain) == []
    plain = plain._replace(enable_client_ssl=True)
    assert [(complaint.key, complaint.fatal) for complaint in check(plain)] == [
        ("ssl-client-option-set", True), ("client-ssl-ciphers", True), ("client-ecdh-curve", True),
        ("client-ssl-ca", True), ("client-ssl-ciphers", False), ("client-tls13-ciphers", False)]
    swapped = VhostConfig(name="a.test", port=80, enable_client_ssl=True, client_ssl_cert=vhost.host_ssl_cert,
                          client_ssl_key=str(certificates.b.key), client_ssl_ca=vhost.host_ssl_ca)
    assert (only(swapped).key, only(swapped).fatal) == ("client-ssl-key", True)


def test_a_client_certificate_that_ends_soon(vhost: VhostConfig, tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "short", days=3)
    client = VhostConfig(name="a.test", port=80, enable_client_ssl=True, client_ssl_ca=vhost.host_ssl_ca,
                         client_ssl_cert=str(pair.cert), client_ssl_key=str(pair.key))
    assert only(client).key == "client-ssl-cert"
    assert "expires in 2 days" in only(client).reason


# Within all the checks of a configuration.


def faults(text: str) -> List[Fault]:
    loaded = parse_text(text, "conf")
    assert loaded.config is not None, loaded.faults
    return verify(loaded.config)


def test_a_fault_points_at_the_value(tmp_path: Path) -> None:
    fault, = faults(f'{{ "vhosts": [ {{ "port": "443",\n "host-ssl-cert": "{tmp_path}/no" }} ] }}')
    assert str(fault) == f"conf:2:19: vhosts[0].host-ssl-cert: there is no file '{tmp_path}/no'"
    assert fault.fatal


def test_without_the_ssl_module_a_server_without_tls_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on OpenWrt, where it is a package of its own."""
    monkeypatch.setitem(sys.modules, "lwsws.server.verify_tls", None)
    assert faults('{ "vhosts": [ { "port": "80" } ] }') == []
    for key in ('"host-ssl-cert": "/c"', '"enable-client-ssl": "1"'):
        fault, = faults('{ "vhosts": [ { "port": "80", %s } ] }' % key)
        assert fault.fatal
        assert fault.path == f"vhosts[0].{key.split(chr(34))[1]}"
        assert "python3-openssl" in fault.reason


def test_a_server_without_tls_never_loads_it() -> None:
    """It would take a fifth of the start, and megabytes."""
    code = """
import sys
from lwsws.config.loader import parse_text
from lwsws.server.verify import verify
config = parse_text('{ "vhosts": [ { "port": "80" } ] }').config
assert verify(config) == []
assert "ssl" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
