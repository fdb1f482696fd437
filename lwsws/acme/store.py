"""The files of one certificate, opened before the rights are given up that this needs.

    <auth-path>         the account key; whoever holds its lock works with the account, all others wait
    <cert-path>.upd     the new certificate with its chain, and
    <key-path>.upd      its key: until the next start, when they take the place of the old ones (pending.py)
    <cert-path>.acme    what else is known of it (state.py)

The process that serves has them open, and may write to them, and to nothing else there.  All are for their
owner alone, in directories that nobody else can change: who could would choose what root writes to.

A certificate and a key that do not belong together, because the power went between the two, are none: the old
ones stay.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from typing import List, NamedTuple, Tuple

from lwsws.acme.settings import STATE, UPD, AcmeSettings
from lwsws.acme.state import MAX_BYTES, State, decode, encode
from lwsws.net.regular_file import FileState, changed_at, state_of
from lwsws.wire.jws import private_key_pem

# O_NONBLOCK: a FIFO must not hold us up; O_NOFOLLOW: nor a link lead us elsewhere.
OPEN_FLAGS = (os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
PRIVATE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH

# A chain of some certificates has 10 KiB.
MAX_PEM = 256 * 1024
# An RSA key of 16384 bits as JWK has 14 KiB.
MAX_KEY = 32 * 1024
# For both, the state, and what a file system keeps of them.
NEEDED_BYTES = 64 * 1024
# Between two times that a file system tells apart, with some to spare.
TICK_NS = 100_000_000
KEY_END = b"PRIVATE KEY-----"


class StoreError(Exception):
    """A file that cannot be used: which, and why, for people."""


class Pair(NamedTuple):
    """A certificate with its chain, and its key, both in PEM."""

    certificate: bytes
    key: bytes


class Store:
    """The open files of one certificate.  Reading is for all threads."""

    def __init__(self, settings: AcmeSettings) -> None:
        """Open them, and make those that are missing.  StoreError."""
        self.settings = settings
        self._fds: List[int] = []
        self._known: Tuple[FileState, State] = (), State()
        try:
            self._account = self._open(settings.auth_path)
            self._key = self._open(settings.key_path + UPD)
            self._certificate = self._open(settings.cert_path + UPD)
            self._state = self._open(settings.cert_path + STATE)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the files, and of the lock."""
        while self._fds:
            os.close(self._fds.pop())
        # Their numbers may be somebody else's now.
        self._account = self._key = self._certificate = self._state = -1

    def _open(self, path: str) -> int:
        try:
            check_directory(os.path.dirname(path))
            fd = os.open(path, OPEN_FLAGS, PRIVATE)
            self._fds.append(fd)
            _check_file(fd)
        except OSError as error:
            raise StoreError(f"cannot use {path!r}: {error.strerror or error}") from None
        return fd

    # The lock of the account.

    def lock(self) -> bool:
        """Take the lock of the account; False if somebody else has it, in this process or another."""
        try:
            fcntl.flock(self._account, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, ValueError):
            return False
        return True

    def unlock(self) -> None:
        """Give it back."""
        try:
            fcntl.flock(self._account, fcntl.LOCK_UN)
        except (OSError, ValueError):
            pass    # it is closed, and so given back

    # The account key.

    def account_key(self) -> bytes:
        """The account key in PEM; b"" as long as there is none.  StoreError if the file holds something else.

        The original keeps it as a JWK, which is taken as well.
        """
        data = _read(self._account, MAX_KEY + 1)
        if len(data) > MAX_KEY:
            raise StoreError(f"{self.settings.auth_path!r} is larger than an account key can be")
        if not data.strip() or KEY_END in data:
            return data.strip() and data
        try:
            value = json.loads(data)
            return private_key_pem(value if isinstance(value, dict) else {})
        except (ValueError, RecursionError) as error:
            raise StoreError(f"there is no account key in {self.settings.auth_path!r}, neither in PEM nor as "
                             f"JWK ({error}). Move it away, and a new account will be made") from None

    def save_account_key(self, pem: bytes) -> None:
        """Keep a new account key; with the lock.  StoreError."""
        self._write(self._account, pem, self.settings.auth_path)

    # The state.

    def read_state(self) -> State:
        """What is known now; the first state if nothing is."""
        version = self.state_version()
        if version != self._known[0]:
            try:
                state = decode(_read(self._state, MAX_BYTES))
            except OSError:
                return State()
            # The clock of a file system ticks slowly: what has just changed may change again unseen.
            if time.time_ns() - changed_at(version) < TICK_NS:
                return state
            self._known = version, state
        return self._known[1]

    def state_version(self) -> FileState:
        """Changes when the state does."""
        return _version(self._state)

    def write_state(self, state: State) -> None:
        """Know `state` from now on; with the lock.  StoreError."""
        self._write(self._state, encode(state), self.settings.cert_path + STATE)

    # The new certificate.

    def write_pair(self, pair: Pair) -> None:
        """Keep a new certificate until the next start; with the lock.  StoreError, and then the last one
        stays."""
        try:
            old = self.read_pair()
        except OSError as error:
            raise StoreError(f"cannot read {self.settings.cert_path + UPD!r}: {error.strerror}") from None
        try:
            self._write_pair(pair)
        except StoreError:
            if old.certificate:
                self._write_pair(old)
            raise

    def _write_pair(self, pair: Pair) -> None:
        # Never a new key beside an old certificate: that is first no certificate at all.
        self._write(self._certificate, b"", self.settings.cert_path + UPD)
        self._write(self._key, pair.key, self.settings.key_path + UPD)
        self._write(self._certificate, pair.certificate, self.settings.cert_path + UPD)

    def check_room(self) -> None:
        """StoreError if the disk has no room for a new certificate."""
        info = os.fstatvfs(self._certificate)
        if info.f_bavail * info.f_frsize < NEEDED_BYTES:
            raise StoreError(f"the disk of {self.settings.cert_path!r} is full")

    def clear_pair(self) -> None:
        """There is no new certificate any more."""
        for fd, path in ((self._certificate, self.settings.cert_path), (self._key, self.settings.key_path)):
            self._write(fd, b"", path + UPD)

    def read_pair(self) -> Pair:
        """What waits for the next start: sound or not, maybe empty.  OSError."""
        return Pair(_read(self._certificate, MAX_PEM), _read(self._key, MAX_PEM))

    def pair_state(self) -> FileState:
        """Changes when the new certificate does, as net/regular_file.py has it."""
        return _version(self._certificate) + _version(self._key)

    def pair_changed_at(self) -> int:
        """When the new certificate came, in nanoseconds."""
        return changed_at(_version(self._certificate))

    def _write(self, fd: int, data: bytes, path: str) -> None:
        """Let `data` be the content of `fd`, and be that on the disk."""
        try:
            # In one go, for who reads it meanwhile.
            if os.pwrite(fd, data, 0) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.ftruncate(fd, len(data))
            os.fsync(fd)
        except OSError as error:
            raise StoreError(f"cannot write {path!r}: {error.strerror}") from None


def _version(fd: int) -> FileState:
    try:
        return state_of(os.fstat(fd))
    except OSError as error:
        return (error.errno or errno.EIO,)


def _read(fd: int, most: int) -> bytes:
    return os.pread(fd, most, 0)


def check_directory(path: str) -> None:
    """PermissionError if others may change the directory at `path`; OSError if there is none."""
    info = os.stat(path)
    if not stat.S_ISDIR(info.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, f"{path} is no directory")
    if info.st_uid not in (0, os.geteuid()):
        owner = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
        raise PermissionError(errno.EPERM, f"the directory {path} belongs to uid {info.st_uid}: chown it to "
                                           f"{owner}")
    if info.st_mode & _WRITABLE:
        raise PermissionError(errno.EPERM, f"others may write to the directory {path}: chmod go-w it")


def _check_file(fd: int) -> None:
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if info.st_nlink > 1:
        raise PermissionError(errno.EPERM, "it has several names (hard links)")
    if info.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"it belongs to uid {info.st_uid}: chown it")
    if info.st_mode & _OTHERS:
        os.fchmod(fd, PRIVATE)
