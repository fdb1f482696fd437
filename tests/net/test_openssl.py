"""The openssl tool: what comes of it is checked with the tool itself, with ssl, and byte by byte."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import subprocess
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import pytest

from lwsws.net.openssl import DEFAULT_PATH, MAX_SAID, SECONDS, Openssl, find_openssl
from lwsws.net.programs import KILL_SECONDS, Programs
from lwsws.net.reactor import Reactor
from lwsws.net.run import MAX_INPUT_FILE, Run
from tests.net.support import settle, spin
from tests.support.clock import ManualClock
from tests.support.programs import need

Done = Callable[[Optional[bytes], str], None]
Begin = Callable[[Openssl, Done], Run]

DIGEST = hashlib.sha256(b"key authorization").digest()
# The extension of RFC 8737 with that: its number, critical, an OCTET STRING within that of each extension.
ACME_EXTENSION = bytes.fromhex("06082b0601050507011f 0101ff 0422 0420") + DIGEST
# 253 characters, and so far more than a subject could hold.
LONG_NAME = ".".join(["a" * 63] * 3 + ["b" * 61])


def tool(*arguments: str, data: bytes = b"") -> bytes:
    """What the tool writes when it is called as people do."""
    return subprocess.run([need("openssl"), *arguments], input=data, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def rsa_key() -> bytes:
    """A private key, PEM of PKCS #8."""
    return tool("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


@pytest.fixture(scope="module")
def ec_key() -> bytes:
    """A private key, PEM of PKCS #8."""
    return tool("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


@pytest.fixture(params=["ec", "rsa"])
def key(request: pytest.FixtureRequest, ec_key: bytes, rsa_key: bytes) -> bytes:
    """One of each kind."""
    return ec_key if request.param == "ec" else rsa_key


# What is asked of the tool.


def public_key(key: bytes) -> Begin:
    """Its public key."""
    return lambda openssl, done: openssl.public_key(key, done)


def sign(key: bytes, data: bytes) -> Begin:
    """A signature."""
    return lambda openssl, done: openssl.sign(key, data, done)


def request(key: bytes, names: Sequence[str]) -> Begin:
    """A request for a certificate."""
    return lambda openssl, done: openssl.request(key, names, done)


def self_signed(key: bytes, names: Sequence[str], days: int = 7, digest: bytes = b"") -> Begin:
    """A certificate."""
    return lambda openssl, done: openssl.self_signed(key, names, days, done, digest)


class Bench:
    """The tool, or a program in its place, and the reactor on which it runs."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.programs = Programs(reactor)

    def told(self, begin: Begin, program: str = "") -> Tuple[Optional[bytes], str]:
        """What is told of the run that `begin` starts."""
        told: List[Tuple[Optional[bytes], str]] = []
        openssl = Openssl(self.programs, program or need("openssl"))
        begin(openssl, lambda output, reason: told.append((output, reason)))
        assert told == []
        spin(self.reactor, lambda: bool(told))
        settle(self.reactor)
        assert len(told) == 1
        return told[0]

    def output(self, begin: Begin) -> bytes:
        """The output of one that goes well."""
        output, reason = self.told(begin)
        assert reason == ""
        assert output is not None
        return output

    def fault(self, begin: Begin, program: str = "") -> str:
        """The reason of one that does not."""
        output, reason = self.told(begin, program)
        assert output is None
        return reason


@pytest.fixture
def bench(reactor: Reactor) -> Iterator[Bench]:
    """After which no program is left."""
    bench = Bench(reactor)
    yield bench
    bench.programs.close()
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def make_program(path: Path, script: str) -> str:
    """A shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


# Where it is.


def test_it_is_the_first_in_the_path(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("none", "data", "folder", "one", "two")]
    for folder in folders[1:]:
        folder.mkdir()
    (folders[1] / "openssl").write_text("no program")
    (folders[2] / "openssl").mkdir()
    for folder in folders[3:]:
        make_program(folder / "openssl", "")
    path = ":".join(["", *map(str, folders)])
    assert find_openssl(path) == str(folders[3] / "openssl")
    assert find_openssl(":".join(map(str, folders[:3]))) == ""
    assert find_openssl("") == ""


def test_a_relative_directory_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path / "openssl", "")
    monkeypatch.chdir(tmp_path)
    assert find_openssl(f".:{os.curdir}:../{tmp_path.name}:") == ""


def test_it_is_where_it_mostly_is() -> None:
    need("openssl")
    assert os.access(find_openssl(DEFAULT_PATH), os.X_OK)


# Keys.


def test_new_keys(bench: Bench) -> None:
    one, two = bench.output(Openssl.new_key), bench.output(Openssl.new_key)
    assert one != two
    assert one.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    text = tool("pkey", "-text", "-noout", data=one)
    assert b"ASN1 OID: prime256v1" in text
    assert b"Field Type" not in text    # which a curve that is described has


def test_the_public_key(bench: Bench, key: bytes) -> None:
    public = bench.output(public_key(key))
    assert public == tool("pkey", "-pubout", "-outform", "DER", data=key)


def test_the_point_of_a_new_key_is_where_it_is_looked_for(bench: Bench) -> None:
    key = bench.output(Openssl.new_key)
    public = bench.output(public_key(key))
    assert (len(public), public[:2], public[26]) == (91, b"\x30\x59", 4)
    text = tool("pkey", "-pubin", "-inform", "DER", "-text", "-noout", data=public)
    parts = re.findall(rb"(?:[0-9a-f]{2}:?\s*){20,}", text)
    assert bytes.fromhex(re.sub(rb"[:\s]", b"", parts[0]).decode()) == public[26:]


@pytest.mark.parametrize("command", [("ec",), ("rsa", "-traditional")])
def test_keys_in_older_formats(bench: Bench, ec_key: bytes, rsa_key: bytes, command: Sequence[str],
                               tmp_path: Path) -> None:
    kind = command[0].upper().encode()
    modern = ec_key if kind == b"EC" else rsa_key
    try:
        older = tool(*command, data=modern)
    except subprocess.CalledProcessError:
        older = tool(command[0], data=modern)   # before OpenSSL 3 it is the only format
    assert older.startswith(b"-----BEGIN " + kind + b" PRIVATE KEY-----")
    public = bench.output(public_key(older))
    assert public == bench.output(public_key(modern))
    assert verifies(tmp_path, public, b"data", bench.output(sign(older, b"data")))


# Signatures.


def verifies(folder: Path, public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether it is a signature of `data`; `folder` is for files."""
    (folder / "public").write_bytes(tool("pkey", "-pubin", "-inform", "DER", data=public))
    (folder / "signature").write_bytes(signature)
    done = subprocess.run([need("openssl"), "dgst", "-sha256", "-verify", folder / "public", "-signature",
                           folder / "signature"], input=data, capture_output=True, check=False)
    assert done.returncode == (0 if done.stdout == b"Verified OK\n" else 1)
    return done.returncode == 0


@pytest.mark.parametrize("data", [b"", b"signing.input", os.urandom(300_000)], ids=["none", "some", "much"])
def test_a_signature(bench: Bench, key: bytes, data: bytes, tmp_path: Path) -> None:
    public = bench.output(public_key(key))
    signature = bench.output(sign(key, data))
    assert verifies(tmp_path, public, data, signature)
    assert not verifies(tmp_path, public, data + b"x", signature)


def test_kinds_of_signatures(bench: Bench, ec_key: bytes, rsa_key: bytes) -> None:
    by_ec = bench.output(sign(ec_key, b"data"))
    assert (by_ec[0], by_ec[1], by_ec[2]) == (0x30, len(by_ec) - 2, 0x02)
    by_rsa = bench.output(sign(rsa_key, b"data"))
    assert len(by_rsa) == 256
    again = bench.output(sign(rsa_key, b"data"))
    assert by_rsa == again  # PKCS #1 v1.5 has nothing random, unlike PSS


# Requests and certificates.

NAMES = ["*.w.example", "a.example", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2", "xn--bcher-kva.example",
         "x", LONG_NAME, "under_score.lan"]
SHOWN = ("DNS:*.w.example, DNS:a.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, "
         "IP Address:0:0:0:0:0:FFFF:C000:202, DNS:xn--bcher-kva.example, DNS:x, DNS:" + LONG_NAME
         + ", DNS:under_score.lan")


def alternatives(text: bytes) -> Tuple[str, str]:
    """What the tool shows of the subjectAltName: "critical" or "", and the names."""
    found = re.search(rb"Subject Alternative Name: ?(critical|)\s*\n +([^\n]*)\n", text)
    assert found is not None
    return found[1].decode(), found[2].decode()


def test_a_request(bench: Bench, key: bytes) -> None:
    made = bench.output(request(key, NAMES))
    text = tool("req", "-inform", "DER", "-noout", "-text", "-verify", data=made)
    assert alternatives(text) == ("", SHOWN)
    assert re.search(rb"Subject: *\n", text)
    assert b"sha256" in text.lower()
    public = tool("req", "-inform", "DER", "-noout", "-pubkey", data=made)
    assert public == tool("pkey", "-pubout", data=key)


def test_as_many_names_as_an_authority_takes(bench: Bench, ec_key: bytes) -> None:
    names = [f"{number}.{LONG_NAME[10:]}" for number in range(100)]
    made = bench.output(request(ec_key, names))
    text = tool("req", "-inform", "DER", "-noout", "-text", data=made)
    assert alternatives(text)[1].split(", ") == [f"DNS:{name}" for name in names]


def test_a_certificate_of_its_own(bench: Bench, key: bytes, tmp_path: Path) -> None:
    certificate = bench.output(self_signed(key, NAMES))
    path, key_path = tmp_path / "cert.pem", tmp_path / "key.pem"
    path.write_bytes(certificate)
    key_path.write_bytes(key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key_path)
    text = tool("x509", "-noout", "-text", data=certificate)
    assert alternatives(text) == ("critical", SHOWN)
    assert b"Version: 3 " in text
    assert re.search(rb"Subject: *\n", text)
    assert re.search(rb"Issuer: *\n", text)
    assert b"CA:TRUE" not in text
    assert b"1.3.6.1.5.5.7.1.31" not in text
    tool("x509", "-noout", "-checkend", str(7 * 86400 - 3600), data=certificate)
    with pytest.raises(subprocess.CalledProcessError):
        tool("x509", "-noout", "-checkend", str(7 * 86400 + 60), data=certificate)
    tool("verify", "-CAfile", str(path), "-check_ss_sig", str(path))


def test_a_certificate_that_answers_a_challenge(bench: Bench, ec_key: bytes) -> None:
    """RFC 8737 3: that one name, and the digest in a critical extension."""
    certificate = bench.output(self_signed(ec_key, ["a.example"], digest=DIGEST))
    text = tool("x509", "-noout", "-text", data=certificate)
    assert alternatives(text) == ("critical", "DNS:a.example")
    assert ssl.PEM_cert_to_DER_cert(certificate.decode()).count(ACME_EXTENSION) == 1


def test_certificates_differ(bench: Bench, ec_key: bytes) -> None:
    one, two = [bench.output(self_signed(ec_key, ["x"])) for _ in range(2)]
    serials = [tool("x509", "-noout", "-serial", data=certificate) for certificate in (one, two)]
    assert serials[0] != serials[1]


def test_nothing_depends_on_the_configuration_of_the_system(bench: Bench, ec_key: bytes, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "openssl.cnf"
    odd.write_text("this = [is $nonsense\n[\n")
    monkeypatch.setenv("OPENSSL_CONF", str(odd))
    assert bench.output(Openssl.new_key)
    assert bench.output(request(ec_key, ["a.example"]))


# What is refused.

BAD_NAMES = ["", " ", "a.example,DNS:evil.example", "a.example\n", "a b", "a.example\nDNS.9 = evil",
             "$ENV::PATH", "@names", "a#b", "a;b", "a\\b", "a=b", 'a"b', "a'b", "DNS:a", "a/b", "a\0b",
             "a..b", ".a", "a.", ".", "*", "*.", "*a.b", "a.*.b", "*.*.a", "-a", "a-", "a" * 64,
             LONG_NAME + "c", "büro.example", "a\u0661", "\ud800", "1.2.3.256", "1.2.3", "a.1", "[::1]",
             "fe80::1%eth0", "::1/64", "1.2.3.4\n", "::1\n", ":", ":::"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_what_is_no_name(bench: Bench, ec_key: bytes, name: str) -> None:
    for begin in (request(ec_key, ["a.example", name]), self_signed(ec_key, [name])):
        with pytest.raises(ValueError, match="no DNS name, wildcard or IP address: ") as raised:
            bench.told(begin)
        assert str(raised.value).isprintable()
    assert bench.programs.started == 0


def test_other_arguments_that_make_no_sense(bench: Bench, ec_key: bytes) -> None:
    large = b"x" * (MAX_INPUT_FILE + 1)
    for begin, why in (
        (request(ec_key, []), "for no name"),
        (self_signed(ec_key, []), "for no name"),
        (self_signed(ec_key, ["x"], 0), "for 0 days"),
        (self_signed(ec_key, ["x"], digest=DIGEST[1:]), "a digest of 31 bytes"),
        (sign(large, b""), "at most 60000 bytes"),
        (request(large, ["x"]), "at most 60000 bytes"),
        (request(ec_key, [LONG_NAME] * 1000), "at most 60000 bytes"),
    ):
        with pytest.raises(ValueError, match=why):
            bench.told(begin)
    assert bench.programs.started == 0


# Faults of the tool.


def test_what_is_no_key(bench: Bench, ec_key: bytes) -> None:
    encrypted = tool("pkcs8", "-topk8", "-v2", "aes-128-cbc", "-passout", "pass:word", data=ec_key)
    for key in (b"", b"nonsense", ec_key[:100], encrypted, tool("pkey", "-pubout", data=ec_key)):
        for command, begin in (("pkey", public_key(key)), ("dgst", sign(key, b"data")),
                               ("req", request(key, ["x"])), ("req", self_signed(key, ["x"]))):
            reason = bench.fault(begin)
            assert re.match(rf"openssl {command}: exit status [1-9]\d*: \S", reason)
            assert reason.isprintable()
            assert bench.programs.alive == 0


@pytest.mark.parametrize("script, reason", [
    ("echo 'it broke' >&2; echo again >&2; exit 3", "openssl genpkey: exit status 3: it broke again"),
    ("kill -9 $$", "openssl genpkey: was ended by SIGKILL: it said nothing"),
    ("exit 0", "openssl genpkey: no output of the expected kind: it said nothing"),
    ("echo what; echo really >&2", "openssl genpkey: no output of the expected kind: really"),
    (r"printf 'a\tb\033[2J\303\274\000\n' >&2; exit 1", "openssl genpkey: exit status 1: a b?[2J???"),
])
def test_faults_in_words(bench: Bench, tmp_path: Path, script: str, reason: str) -> None:
    assert bench.fault(Openssl.new_key, make_program(tmp_path / "openssl", script)) == reason


def test_much_that_was_said_is_cut(bench: Bench, tmp_path: Path) -> None:
    script = make_program(tmp_path / "openssl", "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert bench.fault(Openssl.new_key, script) == "openssl genpkey: exit status 1: " + "x" * MAX_SAID


def test_no_tool(bench: Bench, tmp_path: Path) -> None:
    assert bench.fault(Openssl.new_key, str(tmp_path / "openssl")) == (
        f"openssl genpkey cannot be started: No such file or directory: {tmp_path}/openssl")


def test_a_tool_that_does_not_end(bench: Bench, clock: ManualClock, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    told: List[str] = []
    program = make_program(tmp_path / "openssl", f"cat {tmp_path}/gate")
    Openssl(bench.programs, program).new_key(lambda output, reason: told.append(reason))
    clock.advance(SECONDS)
    spin(bench.reactor, lambda: bool(told))
    assert told == ["openssl genpkey did not end within 10 s"]
    clock.advance(KILL_SECONDS)
    spin(bench.reactor, lambda: bench.programs.alive == 0)


def test_no_key_is_seen_from_outside(bench: Bench, tmp_path: Path, ec_key: bytes) -> None:
    """A program in place of the tool writes down how it was called."""
    seen = tmp_path / "seen"
    program = make_program(tmp_path / "openssl", f'{{ echo "$@"; env; }} >>{seen}; exit 1')
    for begin in (public_key(ec_key), sign(ec_key, b"the data"), request(ec_key, ["a.example"]),
                  self_signed(ec_key, ["a.example"], digest=DIGEST)):
        bench.fault(begin, program)
    text = seen.read_text()
    assert len(re.findall("^(?:pkey|dgst|req) ", text, re.MULTILINE)) == 4
    for line in ec_key.decode().splitlines():
        assert line not in text
    assert "the data" not in text
    variables = set(re.findall("^([A-Z_]+)=", text, re.MULTILINE))
    assert variables - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LC_ALL", "OPENSSL_CONF"}
