"""PEM files: what is in them, what is wrong with them, and whether they have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lwsws.net.tls_files import (
    CERTIFICATE,
    KEY,
    MAX_FILE_BYTES,
    PemFiles,
    TlsError,
    leaf_certificate,
)
from tests.support.certificates import Certificates, openssl

no_root = pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")


def error_of(path: Path) -> TlsError:
    with pytest.raises(TlsError) as caught:
        PemFiles().content(KEY, str(path))
    return caught.value


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    error = error_of(tmp_path / "no")
    assert str(error) == f"there is no file '{tmp_path}/no'"
    assert (error.part, error.is_missing, error.is_forbidden) == (KEY, True, False)
    (tmp_path / "file").write_text("")
    assert error_of(tmp_path / "file" / "no").is_missing


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        error = error_of(path)
        assert str(error) == f"'{path}' is not a file"
        assert not error.is_missing


def test_a_link_that_leads_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    error = error_of(tmp_path / "link")
    assert "cannot read" in str(error)
    assert not error.is_missing


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert "is larger than" in str(error_of(tmp_path / "big"))
    os.truncate(tmp_path / "big", MAX_FILE_BYTES)
    assert "there is no private key in" in str(error_of(tmp_path / "big"))


@no_root
def test_a_file_that_we_may_not_read(tmp_path: Path) -> None:
    (tmp_path / "key").touch(0)
    error = error_of(tmp_path / "key")
    assert str(error) == f"cannot read '{tmp_path}/key': Permission denied"
    assert error.is_forbidden


def test_no_file_stays_open(tmp_path: Path, certificates: Certificates) -> None:
    before = os.listdir("/proc/self/fd")
    pem = PemFiles()
    pem.content(CERTIFICATE, str(certificates.a.cert))
    with pem.in_memory(str(certificates.a.cert)):
        pass
    error_of(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


# The certificate of the server among others.


def test_the_first_certificate_of_a_chain(certificates: Certificates, tmp_path: Path) -> None:
    parts = (certificates.a.key, certificates.a.cert, certificates.b.cert, certificates.ca.cert)
    chain = tmp_path / "chain"
    chain.write_bytes(b"a.test, 2026\n" + b"".join(part.read_bytes() for part in parts))
    assert leaf_certificate(str(chain)) == leaf_certificate(str(certificates.a.cert))
    assert leaf_certificate(str(chain)).names == ("a.test",)


def test_other_labels_of_a_certificate(certificates: Certificates, tmp_path: Path) -> None:
    text = certificates.a.cert.read_bytes()
    (tmp_path / "old").write_bytes(text.replace(b" CERTIFICATE", b" X509 CERTIFICATE"))
    assert leaf_certificate(str(tmp_path / "old")).names == ("a.test",)
    with open(tmp_path / "old", "ab") as file:
        file.write(certificates.b.cert.read_bytes())
    assert leaf_certificate(str(tmp_path / "old")).names == ("a.test",)
    # One with remarks of OpenSSL about trust behind it, which we do not take apart.
    trusted = str(tmp_path / "trusted")
    openssl("x509", "-in", str(certificates.a.cert), "-trustout", "-setalias", "x", "-out", trusted)
    with pytest.raises(TlsError, match="cannot take apart the certificate"):
        leaf_certificate(trusted)


def test_lines_may_end_as_on_windows(certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "crlf").write_bytes(certificates.a.cert.read_bytes().replace(b"\n", b"\r\n"))
    assert leaf_certificate(str(tmp_path / "crlf")).names == ("a.test",)


@pytest.mark.parametrize("body", [b"", b"MIIB", b"!", b"MIIBAAA", b"\xff\xfe"])
def test_a_damaged_certificate(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "cert"
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n")
    with pytest.raises(TlsError, match="cannot take apart the certificate") as caught:
        leaf_certificate(str(path))
    assert caught.value.part == CERTIFICATE
    assert repr(str(path)) in str(caught.value)


# For OpenSSL.


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path, reads = str(tmp_path / "both"), []
    content = b"-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n"

    def read(path: str, most: int) -> bytes:
        reads.append((path, most))
        return content

    pem = PemFiles(read)
    assert pem.content(CERTIFICATE, path) == pem.content(KEY, path) == content
    with pem.in_memory(path) as one, pem.in_memory(path) as other:
        assert one != other
        assert Path(one).read_bytes() == Path(other).read_bytes() == content
    assert reads == [(path, MAX_FILE_BYTES)]


def test_without_files_in_memory_it_is_the_file_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with PemFiles().in_memory("/etc/cert.pem") as name:
        assert name == "/etc/cert.pem"
