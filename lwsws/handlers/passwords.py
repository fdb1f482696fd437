"""Stored passwords: checking an offered password against one, and making new ones.

A password file holds secrets as plain text, as the original wants them, or hashed in one of three
forms, each of which carries its own cost and salt:

    $scrypt$ln=14,r=8,p=1$SALT$HASH       RFC 7914, N = 2^ln; base64 without padding; what we write
    $pbkdf2-sha256$600000$SALT$HASH       RFC 8018 5.2; base64 without padding, "." for "+"
    $6$rounds=5000$SALT$HASH              SHA-512 of crypt(3): U. Drepper, "Unix crypt using SHA-256
                                          and SHA-512", version 0.6; "rounds=" may be left out

The first two are the forms of passlib, so files are interchangeable with it; the third is what
`mkpasswd`, `openssl passwd -6` and shadow files have.  Everything else that is known to be a hash
is recognised, so that it is never taken for a plain password (LESSONS 3.27), and named in
`unsupported`.  All functions are pure and slow on purpose: call them on a worker.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from hashlib import pbkdf2_hmac, sha512
from typing import Callable, Dict, NamedTuple, Optional, Tuple

try:
    from hashlib import scrypt as _hashlib_scrypt
except ImportError:  # Python built with an OpenSSL that leaves it out
    _hashlib_scrypt = None  # type: ignore[assignment]

# The work for one password is quadratic in its length with sha512-crypt; nobody types this much.
MAX_PASSWORD = 1024
# A password file: about 20,000 users.  It is read on the reactor.
MAX_FILE_BYTES = 1 << 20
# The longest stored form we know has under 200 characters.
MAX_STORED = 512

# What a stored hash may cost at most: about half a second of one core, and 64 MiB for each worker.
# A file with more is a mistake or an attack on the server, not more security.
MAX_SCRYPT_MEMORY = 64 << 20
MAX_SCRYPT_WORK = 4 * MAX_SCRYPT_MEMORY
MAX_PBKDF2_ROUNDS = 2_000_000
MAX_SHA512_ROUNDS = 500_000
# OpenSSL counts a little more than 128 * N * r bytes.
SCRYPT_OVERHEAD = 1 << 20

# Drepper's specification: the rounds without "rounds=", and the least that are done.
SHA512_DEFAULT_ROUNDS = 5000
SHA512_MIN_ROUNDS = 1000

# What `make_hash` writes: 50 to 150 ms on one core of 2020.
SCRYPT_COSTS = (14, 8, 1)
PBKDF2_ROUNDS = 600_000
SHA512_ROUNDS = 50_000
SALT_BYTES = 16
DIGEST_BYTES = 32

SCHEMES = ("scrypt", "pbkdf2", "sha512")

_SCRYPT = re.compile(r"\$scrypt\$ln=([1-9][0-9]?),r=([1-9][0-9]{0,3}),p=([1-9][0-9]{0,3})"
                     r"\$([A-Za-z0-9+/]{0,88})\$([A-Za-z0-9+/]{43})")
_PBKDF2 = re.compile(r"\$pbkdf2-sha256\$([1-9][0-9]{0,9})\$([A-Za-z0-9./]{0,88})\$([A-Za-z0-9./]{43})")
# The salt is any text without "$"; ":" would end the secret in other readers of such files.
_SHA512 = re.compile(r"\$6\$(?:rounds=([0-9]{1,9})\$)?(?!rounds=)([!-#%-9;-~]{0,16})\$([./0-9A-Za-z]{86})")

# The other kinds of hash that password files are found to hold, by what stands between the first
# two "$" of the modular crypt format (crypt(5) of libxcrypt, passlib's table, Apache's htpasswd).
_FOREIGN = {
    "1": "MD5-crypt", "apr1": "Apache's MD5-crypt", "md5": "SunMD5", "3": "NT-Hash", "5": "SHA-256-crypt",
    "2": "bcrypt", "2a": "bcrypt", "2b": "bcrypt", "2x": "bcrypt", "2y": "bcrypt", "bcrypt-sha256": "bcrypt",
    "7": "scrypt of crypt(3)", "y": "yescrypt", "gy": "gost-yescrypt", "sha1": "SHA-1-crypt",
    "argon2i": "Argon2", "argon2d": "Argon2", "argon2id": "Argon2",
    "pbkdf2": "PBKDF2 with SHA-1", "pbkdf2-sha512": "PBKDF2 with SHA-512",
}
_OURS = {"scrypt": "scrypt", "pbkdf2-sha256": "pbkdf2", "6": "sha512"}
_IDENTIFIER = re.compile(r"\$([a-z0-9-]{1,24})[$,]")
# A kind we have never heard of, but with the shape of the known ones.
_LIKE_A_HASH = re.compile(r"\$[a-z0-9-]{1,24}\$.*\$[A-Za-z0-9./+]{16,}={0,2}", re.DOTALL)
# RFC 2307 and htpasswd -s.
_LDAP = re.compile(r"\{(S?SHA(?:256|384|512)?|S?MD5|CRYPT|PBKDF2[A-Z0-9-]*|ARGON2[A-Z]*)\}", re.IGNORECASE)

# The alphabet of crypt(3), in the order of the values 0 to 63.
_CRYPT64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class SchemeMissing(Exception):
    """This Python cannot make hashes of that scheme."""


class _Unusable(Exception):
    """Why a stored hash cannot be checked, in a line for the administrator."""


class _Hash(NamedTuple):
    """A stored hash taken apart."""

    scheme: str
    costs: Tuple[int, ...]
    salt: bytes
    digest: bytes


# What the file layer asks.

def is_hash(stored: str) -> bool:
    """Whether `stored` is a hash of any kind, ours or not, and so never a plain password."""
    identifier = _IDENTIFIER.match(stored)
    if identifier is not None and (identifier.group(1) in _OURS or identifier.group(1) in _FOREIGN):
        return True
    return _LDAP.match(stored) is not None or _LIKE_A_HASH.fullmatch(stored) is not None


def needs_worker(stored: str) -> bool:
    """Whether `verify` has real work to do with `stored`: it is a hash that can be checked here."""
    return is_hash(stored) and unsupported(stored) is None


def unsupported(stored: str) -> Optional[str]:
    """Why the hash `stored` never lets anybody in, as one line without the hash; None if it is usable."""
    if not is_hash(stored):
        return None
    try:
        _take_apart(stored)
    except _Unusable as reason:
        return str(reason)
    return None


def verify(password: bytes, stored: str) -> bool:
    """Whether `password` is the one whose hash is `stored`, compared in constant time.

    False for everything that is no usable hash, plain text included: plain secrets are compared by
    the caller.  Costs up to half a second.
    """
    if len(password) > MAX_PASSWORD or not is_hash(stored):
        return False
    try:
        known = _take_apart(stored)
    except _Unusable:
        return False
    return hmac.compare_digest(_derive(known.scheme, password, known.salt, known.costs), known.digest)


def make_hash(password: bytes, scheme: str = "scrypt") -> str:
    """A new stored form of `password` with a fresh salt, by one of SCHEMES.

    ValueError for an unknown scheme or a password longer than MAX_PASSWORD; SchemeMissing if this
    Python lacks the scheme.
    """
    if len(password) > MAX_PASSWORD:
        raise ValueError(f"a password has at most {MAX_PASSWORD} bytes")
    salt = os.urandom(SALT_BYTES)
    if scheme == "scrypt":
        ln, r, p = SCRYPT_COSTS
        digest = _derive(scheme, password, salt, SCRYPT_COSTS)
        return f"$scrypt$ln={ln},r={r},p={p}${_unpadded(salt)}${_unpadded(digest)}"
    if scheme == "pbkdf2":
        digest = _derive(scheme, password, salt, (PBKDF2_ROUNDS,))
        text = f"{_unpadded(salt)}${_unpadded(digest)}".replace("+", ".")
        return f"$pbkdf2-sha256${PBKDF2_ROUNDS}${text}"
    if scheme == "sha512":
        salt = "".join(_CRYPT64[byte & 63] for byte in salt).encode("ascii")
        digest = _derive(scheme, password, salt, (SHA512_ROUNDS,))
        return f"$6$rounds={SHA512_ROUNDS}${salt.decode('ascii')}${digest.decode('ascii')}"
    raise ValueError(f"no scheme {scheme!r}: give one of {', '.join(SCHEMES)}")


# Reading stored forms.

def _take_apart(stored: str) -> _Hash:
    """The parts of a hash; _Unusable if it is of a foreign kind, malformed or too costly."""
    identifier = _IDENTIFIER.match(stored)
    scheme = _OURS.get(identifier.group(1)) if identifier is not None else None
    if scheme is None:
        raise _Unusable(f"{_foreign_name(stored)} is not supported: run lwsws passwd")
    if len(stored) > MAX_STORED or not stored.isascii():
        raise _Unusable(f"malformed {scheme} hash: run lwsws passwd")
    try:
        known = _READERS[scheme](stored)
    except ValueError:  # a base64 text of an impossible length
        known = None
    if known is None:
        raise _Unusable(f"malformed {scheme} hash: run lwsws passwd")
    return known


def _foreign_name(stored: str) -> str:
    identifier = _IDENTIFIER.match(stored)
    if identifier is not None and identifier.group(1) in _FOREIGN:
        return _FOREIGN[identifier.group(1)]
    ldap = _LDAP.match(stored)
    return ldap.group() if ldap is not None else "this kind of hash"


def _read_scrypt(stored: str) -> Optional[_Hash]:
    match = _SCRYPT.fullmatch(stored)
    if match is None:
        return None
    if _hashlib_scrypt is None:
        raise _Unusable("this Python was built without scrypt: run lwsws passwd -s pbkdf2")
    ln, r, p = int(match.group(1)), int(match.group(2)), int(match.group(3))
    # RFC 7914 section 2: N blocks of 128 * r bytes are held, and gone through p times.
    memory = (128 * r) << ln
    if memory > MAX_SCRYPT_MEMORY or memory * p > MAX_SCRYPT_WORK:
        raise _Unusable("scrypt hash costs too much (64 MiB at most, p=4 with that): run lwsws passwd")
    return _Hash("scrypt", (ln, r, p), _unpadded_bytes(match.group(4)), _unpadded_bytes(match.group(5)))


def _read_pbkdf2(stored: str) -> Optional[_Hash]:
    match = _PBKDF2.fullmatch(stored)
    if match is None:
        return None
    rounds = int(match.group(1))
    if rounds > MAX_PBKDF2_ROUNDS:
        raise _Unusable(f"pbkdf2 hash costs too much ({MAX_PBKDF2_ROUNDS} rounds at most): run lwsws passwd")
    salt, digest = (_unpadded_bytes(text.replace(".", "+")) for text in match.group(2, 3))
    return _Hash("pbkdf2", (rounds,), salt, digest)


def _read_sha512(stored: str) -> Optional[_Hash]:
    match = _SHA512.fullmatch(stored)
    if match is None:
        return None
    rounds = int(match.group(1) or SHA512_DEFAULT_ROUNDS)
    if rounds > MAX_SHA512_ROUNDS:
        raise _Unusable(f"sha512 hash costs too much ({MAX_SHA512_ROUNDS} rounds at most): run lwsws passwd")
    return _Hash("sha512", (max(rounds, SHA512_MIN_ROUNDS),), match.group(2).encode("ascii"),
                 match.group(3).encode("ascii"))


_READERS: Dict[str, Callable[[str], Optional[_Hash]]] = {
    "scrypt": _read_scrypt, "pbkdf2": _read_pbkdf2, "sha512": _read_sha512,
}


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _unpadded_bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


# The three derivations.

def _derive(scheme: str, password: bytes, salt: bytes, costs: Tuple[int, ...]) -> bytes:
    """What `scheme` makes of `password`: 32 bytes, or for sha512 the 86 characters of crypt(3)."""
    if scheme == "scrypt":
        return _scrypt(password, salt, *costs)
    if scheme == "pbkdf2":
        return pbkdf2_hmac("sha256", password, salt, costs[0], DIGEST_BYTES)
    return _crypt64(_sha512_crypt(password, salt, costs[0])).encode("ascii")


def _scrypt(password: bytes, salt: bytes, ln: int, r: int, p: int) -> bytes:
    if _hashlib_scrypt is None:
        raise SchemeMissing("this Python was built without scrypt: use pbkdf2 or sha512")
    maxmem = ((128 * r) << ln) + 128 * r * p + SCRYPT_OVERHEAD
    return _hashlib_scrypt(password, salt=salt, n=1 << ln, r=r, p=p, maxmem=maxmem, dklen=DIGEST_BYTES)


def _sha512_crypt(password: bytes, salt: bytes, rounds: int) -> bytes:
    """The digest of Drepper's specification; the numbers are its steps."""
    size = len(password)
    alternate = sha512(password + salt + password).digest()                    # 4-8
    first = sha512(password + salt + _repeat(alternate, size))                 # 1-3, 9-10
    bits = size
    while bits:                                                                # 11
        first.update(alternate if bits & 1 else password)
        bits >>= 1
    digest = first.digest()                                                    # 12
    p_bytes = _repeat(sha512(password * size).digest(), size)                  # 13-16
    s_bytes = _repeat(sha512(salt * (16 + digest[0])).digest(), len(salt))     # 17-20
    for number in range(rounds):                                               # 21
        odd = number & 1
        text = p_bytes if odd else digest
        if number % 3:
            text += s_bytes
        if number % 7:
            text += p_bytes
        digest = sha512(text + (digest if odd else p_bytes)).digest()
    return digest


def _repeat(block: bytes, size: int) -> bytes:
    """`size` bytes of `block` over and over."""
    return (block * (size // len(block) + 1))[:size]


def _crypt64(digest: bytes) -> str:
    """Step 22: the 64 bytes in threes, lowest six bits first, each three one further on from the last
    with the places changed round: 0 21 42, 22 43 1, 44 2 23, ..."""
    text = []
    a, b, c = 0, 21, 42
    for _ in range(21):
        group = digest[a] << 16 | digest[b] << 8 | digest[c]
        text += [_CRYPT64[group >> shift & 63] for shift in (0, 6, 12, 18)]
        a, b, c = b + 1, c + 1, a + 1
    return "".join(text) + _CRYPT64[digest[63] & 63] + _CRYPT64[digest[63] >> 6]
