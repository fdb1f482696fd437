"""Certificates and keys made with the `openssl` tool while the tests run; none is ever committed.

    ca = make_ca(folder)
    pair = make_certificate(folder, "a.test", ["a.test", "127.0.0.1"], ca)

One call of openssl makes a key and its certificate.  A certificate with dates of its own takes two,
because OpenSSL 3.0 sets dates only by its `ca` command.  Each comes with a configuration file of its
own, so that the one of the system does not matter.
"""

from __future__ import annotations

import ipaddress
import subprocess
import time
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from tests.support.programs import need

DAY = 86400
# What `openssl req` needs to make a key of the kind.
KEY_TYPES = {
    "ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "ed25519": ("-newkey", "ed25519"),
    "rsa": ("-newkey", "rsa:2048"),
}
CONFIGURATION = """\
[req]
distinguished_name = subject
x509_extensions = extensions
prompt = no
[subject]
CN = {name}
[extensions]
{extensions}
[ca]
default_ca = issuing
[issuing]
database = {base}.index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = anything
x509_extensions = extensions
[anything]
commonName = supplied
"""
CA_EXTENSIONS = """\
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid"""
LEAF_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid"""


class Pair(NamedTuple):
    """A certificate and its key, both PEM files."""

    cert: Path
    key: Path


class Certificates(NamedTuple):
    """What most tests of TLS need; the fixture `certificates` makes it once per session."""

    folder: Path
    ca: Pair
    # For servers, each for the one name.
    a: Pair  # a.test
    b: Pair  # b.test
    # For clients: one by the CA, one by another CA that nobody trusts.
    client: Pair
    stranger: Pair


def make_ca(folder: Path, name: str = "ca", ca: Optional[Pair] = None, days: int = 30) -> Pair:
    """A CA `name`.crt and `name`.key in `folder`: a root, or with `ca` one that this one vouches for."""
    configure(folder, name, CA_EXTENSIONS)
    return issue(folder, name, "ec", days, ca)


def make_certificate(
    folder: Path,
    name: str,
    names: Sequence[str] = (),
    ca: Optional[Pair] = None,
    days: int = 30,
    not_before: Optional[int] = None,
    not_after: Optional[int] = None,
    client: bool = False,
    key_type: str = "ec",
) -> Pair:
    """A certificate `name`.crt with CN `name` and its key `name`.key in `folder`; self-signed without `ca`.

    `names` are DNS names and IP addresses for subjectAltName; with none there is no such extension.
    The dates are unix seconds; with only one of them, the other is `days` away.
    """
    extensions = LEAF_EXTENSIONS + f"\nextendedKeyUsage = {'clientAuth' if client else 'serverAuth'}"
    if names:
        extensions += "\nsubjectAltName = " + ", ".join(map(alternative, names))
    configure(folder, name, extensions)
    if not_before is None and not_after is None:
        return issue(folder, name, key_type, days, ca)
    if not_before is None:
        not_before = int(time.time()) if not_after is None else min(int(time.time()), not_after - days * DAY)
    return issue_dated(folder, name, key_type, not_before, not_after or not_before + days * DAY, ca)


def make_certificates(folder: Path) -> Certificates:
    """All of Certificates in `folder`."""
    ca = make_ca(folder)
    other = make_ca(folder, "other-ca")
    return Certificates(
        folder,
        ca,
        make_certificate(folder, "a.test", ["a.test"], ca),
        make_certificate(folder, "b.test", ["b.test"], ca),
        make_certificate(folder, "client", ca=ca, client=True),
        make_certificate(folder, "stranger", ca=other, client=True),
    )


def configure(folder: Path, name: str, extensions: str) -> None:
    """Write the configuration file for the certificate `name`."""
    text = CONFIGURATION.format(name=name, extensions=extensions, folder=folder, base=folder / name)
    (folder / f"{name}.cnf").write_text(text)


def alternative(name: str) -> str:
    """One entry of subjectAltName."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def issue(folder: Path, name: str, key_type: str, days: int, ca: Optional[Pair]) -> Pair:
    """Key and certificate by one call, valid from now on."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    signer = [] if ca is None else ["-CA", str(ca.cert), "-CAkey", str(ca.key)]
    request = ["-x509", "-days", str(days), "-out", str(pair.cert), *signer]
    openssl("req", *KEY_TYPES[key_type], *common(folder, name, pair), *request)
    return pair


def issue_dated(
    folder: Path, name: str, key_type: str, not_before: int, not_after: int, ca: Optional[Pair]
) -> Pair:
    """Key and request by one call, the certificate with its dates by a second."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    request = folder / f"{name}.csr"
    openssl("req", *KEY_TYPES[key_type], *common(folder, name, pair), "-new", "-out", str(request))
    (folder / f"{name}.index").write_text("")
    signer = ["-selfsign", "-keyfile", str(pair.key)]
    if ca is not None:
        signer = ["-cert", str(ca.cert), "-keyfile", str(ca.key)]
    dates = ["-startdate", generalized(not_before), "-enddate", generalized(not_after)]
    files = ["-config", str(folder / f"{name}.cnf"), "-in", str(request), "-out", str(pair.cert)]
    openssl("ca", "-batch", "-notext", *files, *dates, *signer)
    return pair


def common(folder: Path, name: str, pair: Pair) -> List[str]:
    """What both ways tell `openssl req`: the configuration, and a key that is not encrypted."""
    return ["-config", str(folder / f"{name}.cnf"), "-nodes", "-keyout", str(pair.key)]


def generalized(seconds: int) -> str:
    """Unix seconds as `openssl ca` takes a date."""
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds))


def openssl(*arguments: str) -> None:
    """Run the tool; its own words are the failure."""
    command = [need("openssl"), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
