"""The openssl tool: keys, signatures, certificate requests and self-signed certificates.

The standard library has no asymmetric cryptography for anybody but TLS, and we write none ourselves.  So the
tool does it, as a program of its own (run.py).  Keys go to it through pipes, never by arguments or a disk.

Nothing of the system's configuration is read, which may be missing or odd: what `req` needs goes through a
pipe as well.  No option is younger than OpenSSL 1.1, and LibreSSL knows them all; it would heed no `-subj`
beside `prompt = no`.  The subject is empty, because a name there may have 64 characters only: all names are
alternative ones.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import shutil
import socket
from typing import Callable, Optional, Sequence, Union

from lwsws.net.memory_file import executable_memory_file, name_of
from lwsws.net.programs import describe_exit
from lwsws.net.run import Argument, Finished, InputFile, OpenFile, Run
from lwsws.net.spawn import Programs

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
ENVIRONMENT = {b"PATH": DEFAULT_PATH.encode(), b"LC_ALL": b"C", b"OPENSSL_CONF": b"/dev/null"}
# Each call takes some milliseconds.
SECONDS = 10.0
# Of what the tool said, in a reason.
MAX_SAID = 300
MAX_NAME = 253
# SHA-256.
DIGEST_BYTES = 32

PRIVATE_KEY = b"-----BEGIN PRIVATE KEY-----"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
# The first byte of a SEQUENCE in DER.
SEQUENCE = b"\x30"

# How a program for the kernel itself begins; elf(5).
ELF = b"\x7fELF"

# Letters, digits, hyphens within, and the underscore that names in local networks have.
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}", re.ASCII)
_ADDRESS = re.compile("[0-9A-Fa-f:.]+")

_CONFIGURATION = """\
[req]
distinguished_name = nobody
req_extensions = extensions
x509_extensions = extensions
[nobody]
[extensions]
{extensions}
[names]
{names}
"""
# RFC 8737 3; OpenSSL 3.0 does not know its name.  The value is an OCTET STRING of 32 bytes.
_ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31 = critical, DER:0420{}"

# The path of the program, or a descriptor of it.
Tool = Union[str, int]
# Gets the output, or None and the reason in one line.
Done = Callable[[Optional[bytes], str], None]


def find_openssl(path: str) -> str:
    """The first program "openssl" in the directories of `path`, which is like a PATH; "" if there is none."""
    for directory in path.split(":"):
        program = os.path.join(directory, "openssl")
        if directory.startswith("/") and os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    return ""


def hidden_copy(path: str) -> int:
    """A descriptor of a copy in memory of the program at `path`, of which root is the owner and which may be
    run, but not read: so nobody else of the user that runs it can look into it, and at the keys that it was
    given (proc_pid_fd(5), ptrace(2)).  Made by root, before he becomes somebody else; OSError."""
    fd = executable_memory_file("lwsws-openssl")
    try:
        with open(path, "rb", buffering=0) as program, open(fd, "wb", buffering=0, closefd=False) as copy:
            shutil.copyfileobj(program, copy)
        if os.pread(fd, len(ELF), 0) != ELF:    # a script has to be read by its interpreter
            raise OSError(errno.ENOEXEC, "it is a script")
        os.fchmod(fd, 0o111)
        # The kernel runs nothing that somebody could still write to.
        return os.open(name_of(fd), os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


class Openssl:
    """The tool.  Each method starts one run of it and tells `done` what came of it, never before it returns
    and not after the cancel() of the run.  A `key` is the PEM of a private key, EC or RSA, not encrypted."""

    __slots__ = ("_programs", "_tool")

    def __init__(self, programs: Programs, tool: Tool) -> None:
        """`tool` is the path of the program, or what hidden_copy() made of it."""
        self._programs = programs
        self._tool: Argument = tool if isinstance(tool, str) else OpenFile(tool)

    def new_key(self, done: Done) -> Run:
        """A new private key: PEM of PKCS #8, on the curve P-256, which is named and not described."""
        return self._run(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                          "-pkeyopt", "ec_param_enc:named_curve"], PRIVATE_KEY, done)

    def public_key(self, key: bytes, done: Done) -> Run:
        """The public key of `key`: DER of a SubjectPublicKeyInfo."""
        return self._run(["pkey", "-pubout", "-outform", "DER"], SEQUENCE, done, key)

    def sign(self, key: bytes, data: bytes, done: Done) -> Run:
        """The signature of `data` with SHA-256: by an EC key the DER of two numbers (RFC 3279 2.2.3), by an
        RSA key the bytes of PKCS #1 v1.5.  ValueError if the key is too large."""
        return self._run(["dgst", "-sha256", "-sign", InputFile(key), "-binary"], b"", done, data)

    def request(self, key: bytes, names: Sequence[str], done: Done) -> Run:
        """A request for a certificate (CSR, DER) for `names`: DNS names, wildcards, IP addresses.

        ValueError if one of them is none of these, if there is none, or if they or the key are too large.
        """
        configuration = _configuration(names, ["subjectAltName = @names"])
        return self._run(["req", "-new", "-sha256", "-subj", "/", "-config", configuration, "-key",
                          InputFile(key), "-outform", "DER"], SEQUENCE, done)

    def self_signed(self, key: bytes, names: Sequence[str], days: int, done: Done,
                    acme_digest: bytes = b"") -> Run:
        """A certificate (PEM) for `names` that holds for `days` from now, signed with its own key.
        `acme_digest`, of 32 bytes, makes it one that answers a challenge (RFC 8737).

        ValueError as with request(), and for other numbers of bytes or less than one day.
        """
        if days < 1:
            raise ValueError(f"a certificate for {days} days")
        # Critical as there is no subject: RFC 5280 4.2.1.6.
        extensions = ["subjectAltName = critical, @names"]
        if acme_digest:
            if len(acme_digest) != DIGEST_BYTES:
                raise ValueError(f"a digest of {len(acme_digest)} bytes")
            extensions.append(_ACME_IDENTIFIER.format(acme_digest.hex()))
        return self._run(["req", "-x509", "-new", "-sha256", "-subj", "/", "-days", f"{days:d}", "-config",
                          _configuration(names, extensions), "-key", InputFile(key)], CERTIFICATE, done)

    def _run(self, arguments: Sequence[Argument], begin: bytes, done: Done, stdin: bytes = b"") -> Run:
        """Run the tool; its output has to begin with `begin`."""
        label = f"openssl {arguments[0]}"
        return Run(self._programs, [self._tool, *arguments], functools.partial(_judge, label, begin, done),
                   label=label, seconds=SECONDS, environment=ENVIRONMENT, stdin=stdin)


def _judge(label: str, begin: bytes, done: Done, finished: Optional[Finished], reason: str) -> None:
    """Tell `done` what came of a run."""
    if finished is None:
        done(None, reason)
    elif finished.returncode != 0:
        code = finished.returncode
        how = f"exit status {code}" if code is not None and code > 0 else describe_exit(code)
        done(None, f"{label}: {how}: {_one_line(finished.stderr)}")
    elif not finished.stdout or not finished.stdout.startswith(begin):
        done(None, f"{label}: no output of the expected kind: {_one_line(finished.stderr)}")
    else:
        done(finished.stdout, "")


def _one_line(said: bytes) -> str:
    """What the tool said, cut and fit for a log."""
    line = " ".join(said.decode("ascii", "replace").split())[:MAX_SAID]
    return "".join(char if " " <= char <= "~" else "?" for char in line) or "it said nothing"


def _configuration(names: Sequence[str], extensions: Sequence[str]) -> InputFile:
    """What `openssl req` needs to know, in the format of its configuration; ValueError if a name is none."""
    if not names:
        raise ValueError("a certificate for no name")
    entries = [f"{_kind(name)}.{number} = {name}" for number, name in enumerate(names)]
    text = _CONFIGURATION.format(extensions="\n".join(extensions), names="\n".join(entries))
    return InputFile(text.encode("ascii"))


def _kind(name: str) -> str:
    """What OpenSSL calls it: "DNS" or "IP"; ValueError if `name` is neither a DNS name nor an address.

    Its text goes into a configuration, in which many characters have a meaning.
    """
    if _ADDRESS.fullmatch(name) is not None and _is_address(name):
        return "IP"
    if len(name) <= MAX_NAME and _DNS_NAME.fullmatch(name) is not None:
        return "DNS"
    raise ValueError(f"no DNS name, wildcard or IP address: {name[:MAX_NAME]!a}")


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name)
        except OSError:
            continue
        return True
    return False
