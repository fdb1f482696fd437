"""The keys of a FalseCa, and the certificates that it issues; all is done by the openssl tool."""

from __future__ import annotations

import atexit
import functools
import itertools
import re
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple

from tests.support.certificates import (
    DAY,
    LEAF_EXTENSIONS,
    Pair,
    alternative,
    configure,
    generalized,
    make_ca,
    make_certificate,
    openssl,
)
from tests.support.false_ca_answers import encode64
from tests.support.programs import need


class BadRequest(Exception):
    """The CSR is none, or for other names."""


class Issued(NamedTuple):
    """A certificate that has been issued."""

    names: Tuple[str, ...]
    chain: str
    ari_id: str
    not_before: int
    not_after: int


def kept_folder() -> Path:
    """A folder for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="false-ca-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # For servers that are not root any more.
    folder.chmod(0o755)
    return folder


@functools.cache
def for_https(names: Tuple[str, ...]) -> Tuple[Pair, Pair]:
    """An authority, and the certificate for https of a server with these names."""
    folder = kept_folder()
    ca = make_ca(folder, "https-ca")
    return ca, make_certificate(folder, "https", names, ca)


@functools.cache
def authorities() -> Tuple[Pair, Pair, str]:
    """The root and the intermediate of all issuers of this process, and what RFC 9773 calls the last key."""
    folder = kept_folder()
    root = make_ca(folder, "false-root")
    pair = make_ca(folder, "false-intermediate", root)
    probe = make_certificate(folder, "probe", ca=pair)
    return root, pair, ari_id(probe.cert).partition(".")[0]


class Issuer:
    """A root, `root`, and an intermediate, `pair`, which signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Making them takes longer than most tests.
        self.root, self.pair, self.key_id = authorities()
        self._numbers = itertools.count(1)

    def could_have(self, name: object) -> bool:
        """Whether `name` is what RFC 9773 calls a certificate of this issuer, signed here or by a test."""
        return isinstance(name, str) and re.fullmatch(re.escape(self.key_id) + r"\.[\w-]+", name) is not None

    def issue(self, csr: bytes, names: Sequence[str], begin: int, lifetime: float) -> Issued:
        """A certificate for a CSR in DER, which must be for exactly these names; `lifetime` is in days."""
        base = self.folder / f"issued-{next(self._numbers)}"
        request = f"{base}.csr"
        pem = ssl.DER_cert_to_PEM_cert(csr).replace("CERTIFICATE", "CERTIFICATE REQUEST")
        Path(request).write_text(pem)
        found = names_of(request)
        if sorted(found) != sorted(names):
            raise BadRequest(f"it is for {found}, not for {names}")
        alternatives = "subjectAltName = " + ", ".join(map(alternative, names))
        extensions = [LEAF_EXTENSIONS, "extendedKeyUsage = serverAuth", alternatives]
        configure(self.folder, base.name, "\n".join(extensions))
        Path(f"{base}.index").write_text("")
        end = begin + int(lifetime * DAY)
        signer = ["-cert", str(self.pair.cert), "-keyfile", str(self.pair.key)]
        dates = ["-startdate", generalized(begin), "-enddate", generalized(end)]
        files = ["-config", f"{base}.cnf", "-in", request, "-out", f"{base}.crt"]
        try:
            openssl("ca", "-batch", "-notext", *files, "-subj", f"/CN={names[0][:64]}", *dates, *signer)
        except AssertionError as fault:
            raise BadRequest(str(fault)) from None
        cert = Path(f"{base}.crt")
        chain = cert.read_text() + self.pair.cert.read_text()
        return Issued(tuple(names), chain, ari_id(cert), begin, end)


def names_of(request: str) -> List[str]:
    """The names that a CSR in a PEM file is for."""
    try:
        text = tool("req", "-in", request, "-noout", "-text")
    except subprocess.CalledProcessError as fault:
        raise BadRequest(f"no CSR: {fault.stderr!r}") from None
    return re.findall(r"\b(?:DNS|IP Address|email|URI):([^,\s]+)", text)


def ari_id(cert: Path) -> str:
    """What RFC 9773 calls the (first) certificate in a file."""
    text = tool("x509", "-in", str(cert), "-noout", "-serial", "-ext", "authorityKeyIdentifier")
    found = re.search(r"serial=([0-9A-F]+)(?s:.*)\b((?:[0-9A-F]{2}:){19}[0-9A-F]{2})", text)
    assert found is not None, text
    serial = bytes.fromhex(found.group(1))
    sign = b"\0" if serial[0] & 0x80 else b""
    return f"{encode64(bytes.fromhex(found.group(2).replace(':', '')))}.{encode64(sign + serial)}"


def tool(*arguments: str) -> str:
    """What openssl writes; subprocess.CalledProcessError if it fails."""
    command = [need("openssl"), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()
