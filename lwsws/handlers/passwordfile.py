"""PasswordFile: the users of a `basic-auth` file and their secrets (spec "Lwsws Other mount options" 7).

    testuser:testpass           plain, as the original has it
    other:$scrypt$ln=14,...     hashed, see passwords.py

One `user:secret` a line, the user up to the first ":".  There are no comments, and blanks count.
A user may have several lines, any of which lets him in.  The file is read again when its content
has changed, so a new password works within a second and needs no reload.

Plain secrets are kept as digests under a key of this process: comparing digests takes the same
time whatever the length, and what is in memory is not the password.
"""

from __future__ import annotations

import hmac
import os
import time
from typing import Callable, Dict, List, NamedTuple, Tuple

from lwsws import log
from lwsws.handlers.attempts import Failures, Verified
from lwsws.handlers.passwords import MAX_FILE_BYTES, is_hash, needs_worker, unsupported
from lwsws.net.regular_file import read_regular_file

# Seconds between two looks at the file.
LOOK_INTERVAL = 1.0
# Lines for one user that count, as each one adds to the work of an attempt.
MAX_SECRETS = 4
# Faults of one file that are logged one by one.
MAX_FAULTS_LOGGED = 20

_DIGEST_KEY = os.urandom(32)


class Account(NamedTuple):
    """What the file says of one user: digests of plain secrets, and stored hashes."""

    plain: Tuple[bytes, ...]
    hashed: Tuple[str, ...]


class Accounts(NamedTuple):
    """A password file taken apart; `faults` are line numbers with what is wrong there."""

    users: Dict[bytes, Account]
    hashes: Tuple[str, ...]
    faults: List[Tuple[int, str]]


NOBODY = Account((), ())


def _digest(secret: bytes) -> bytes:
    return hmac.digest(_DIGEST_KEY, secret, "sha256")


_NO_SECRET = os.urandom(len(_digest(b"")))


def read_accounts(data: bytes) -> Accounts:
    """Take apart the content of a password file: `user:secret` lines, "#" has no meaning."""
    users: Dict[bytes, Account] = {}
    faults: List[Tuple[int, str]] = []
    ignored: List[int] = []
    # By hand: splitlines would also split at VT, FF and others, which may be in a password (LESSONS F6).
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line[:-1] if line.endswith(b"\r") else line
        user, colon, secret = line.partition(b":")
        if not colon or not user:
            if line:
                ignored.append(number)
            continue
        account = users.get(user, NOBODY)
        if len(account.plain) + len(account.hashed) >= MAX_SECRETS:
            faults.append((number, f"more than {MAX_SECRETS} lines for one user: this one is ignored"))
            continue
        users[user] = _with_secret(account, secret, number, faults)
    if ignored:
        faults.append((ignored[0], f"not user:secret: ignored, as are {len(ignored) - 1} more lines"))
    hashes = tuple(text for account in users.values() for text in account.hashed)
    return Accounts(users, hashes, faults)


def _with_secret(account: Account, secret: bytes, number: int, faults: List[Tuple[int, str]]) -> Account:
    text = secret.decode("latin-1")
    if not is_hash(text):
        if not secret:
            faults.append((number, "this user has an empty password"))
        return account._replace(plain=(*account.plain, _digest(secret)))
    if needs_worker(text):
        return account._replace(hashed=(*account.hashed, text))
    # Never a plain password, even though it cannot be checked (LESSONS 3.27).
    faults.append((number, unsupported(text) or "unusable hash"))
    return account


class PasswordFile:
    """The users of one password file, as it is now; mounts with the same file should share one.

    The file is looked at when somebody logs in, at most once a second.  While it is missing,
    unreadable or too big, nobody gets in.
    """

    __slots__ = ("path", "failures", "verified", "_clock", "_read", "_next_look", "_state", "_users",
                 "_hashes")

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic,
                 read: Callable[[str, int], bytes] = read_regular_file) -> None:
        """`read` gets the content of a file of at most so many bytes, or raises OSError."""
        self.path = path
        self._read = read
        self.failures = Failures(clock)
        self.verified = Verified(clock)
        self._clock = clock
        self._next_look = clock()
        self._state = b""           # a digest of the content, or why there is none
        self._users: Dict[bytes, Account] = {}
        self._hashes: Tuple[str, ...] = ()

    def refresh(self) -> None:
        """Read the file again if it has changed and was not looked at within the last second."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_INTERVAL
        try:
            data = self._read(self.path, MAX_FILE_BYTES)
        except OSError as error:
            self._lock_out(error.strerror or str(error))
            return
        # By content: times of files are too coarse to tell two changes within one tick apart.
        state = _digest(data)
        if state != self._state:
            self._state = state
            self._take(data)

    def _lock_out(self, why: str) -> None:
        state = why.encode()
        if state != self._state:
            log.err(f"password file {self.path}: {why}: nobody gets in")
            self._state = state
            self._users, self._hashes = {}, ()
            self.verified.clear()

    def _take(self, data: bytes) -> None:
        accounts = read_accounts(data)
        self._users, self._hashes = accounts.users, accounts.hashes
        self.verified.clear()
        for number, fault in accounts.faults[:MAX_FAULTS_LOGGED]:
            log.warn(f"{self.path}:{number}: {fault}")
        if len(accounts.faults) > MAX_FAULTS_LOGGED:
            log.warn(f"{self.path}: {len(accounts.faults) - MAX_FAULTS_LOGGED} more lines have faults")
        log.info(f"password file {self.path}: {len(self._users)} users")

    def accepts_plain(self, user: bytes, password: bytes) -> bool:
        """Whether `password` is a plain secret of `user`; takes the same time for unknown users."""
        offered = _digest(password)
        met = False
        for known in self._users.get(user, NOBODY).plain or (_NO_SECRET,):
            met |= hmac.compare_digest(offered, known)
        return met

    def hashes_of(self, user: bytes) -> Tuple[str, ...]:
        """The stored hashes that let `user` in."""
        return self._users.get(user, NOBODY).hashed

    def decoys_for(self, user: bytes) -> Tuple[str, ...]:
        """Hashes of somebody else to do the work of, where `user` has none; always the same for a
        name, so that trying it again tells nothing.  Empty if the file has no hashes."""
        if not self._hashes:
            return ()
        chosen = int.from_bytes(_digest(user)[:8], "big") % len(self._hashes)
        return (self._hashes[chosen],)
