"""What is remembered of attempts to log in: which addresses failed, and which passwords were right.

Failures count by address: ten within a minute, and the address has to wait for the rest of that
minute (LESSONS 3.28).  An attempt whose password is still being hashed counts too, so that guesses
sent all at once gain nothing, and so does one whose client hangs up before the answer.

Verified remembers for a minute that a costly hash was met, because a browser sends the password
with every request.  Its entries are HMACs under a key of this process: neither the password nor
the hash can be had from them.
"""

from __future__ import annotations

import hmac
import os
import time
from math import ceil
from typing import Callable, Dict, Iterable, Optional

# Failed attempts of one address within WINDOW seconds before it has to wait: enough for a person
# who mistypes, and 14,400 guesses a day for a program.
MAX_FAILURES = 10
WINDOW = 60

# Attempts of one address that may be at a worker at the same time: many people may share an
# address, each with the six connections of a browser, but one address must not fill the queue.
MAX_PENDING = 32

# Addresses remembered, about 200 KB; past that the one that began to fail first is forgotten.
MAX_ADDRESSES = 1024

# How long a right password need not be hashed again, in seconds, and for how many of them.
REMEMBER = 60
MAX_VERIFIED = 256


class _Record:
    """One address: failures since `since`, and attempts that are not decided yet."""

    __slots__ = ("since", "failures", "pending")

    def __init__(self, since: float) -> None:
        self.since = since
        self.failures = 0
        self.pending = 0


class Failures:
    """Counts failed attempts by the keys of address_key() in core/peers.py; None as a key is never counted:
    the users of one proxy on a unix socket must not lock each other out."""

    __slots__ = ("_clock", "_records")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: Dict[str, _Record] = {}

    def wait(self, key: Optional[str]) -> int:
        """Seconds until `key` may try again, 0 if it may now."""
        record = self._records.get(key) if key is not None else None
        if record is None:
            return 0
        left = record.since + WINDOW - self._clock()
        if record.failures >= MAX_FAILURES and left > 0:
            return ceil(left)
        return 1 if record.pending >= MAX_PENDING else 0

    def begun(self, key: Optional[str]) -> None:
        """An attempt of `key` is being decided; `failed`, `succeeded` or `dropped` follows."""
        if key is not None:
            self._record(key).pending += 1

    def dropped(self, key: Optional[str]) -> None:
        """An attempt that had begun is not going to be decided, by no fault of the peer."""
        record = self._records.get(key) if key is not None else None
        if record is not None and record.pending:
            record.pending -= 1

    def failed(self, key: Optional[str]) -> bool:
        """Count a failure; True if it is the one after which `key` has to wait."""
        if key is None:
            return False
        record = self._record(key)
        record.failures += 1
        return record.failures == MAX_FAILURES

    def succeeded(self, key: Optional[str]) -> None:
        """Forget the failures of `key`."""
        record = self._records.get(key) if key is not None else None
        if record is not None and key is not None:
            record.failures = 0
            if not record.pending:
                del self._records[key]

    def _record(self, key: str) -> _Record:
        """The record of `key` for the present window, made if need be."""
        now = self._clock()
        record = self._records.get(key)
        if record is None:
            if len(self._records) >= MAX_ADDRESSES:
                del self._records[next(iter(self._records))]
            record = self._records[key] = _Record(now)
        elif now - record.since >= WINDOW:
            record.since, record.failures = now, 0
            self._records[key] = self._records.pop(key)     # to the end: the order is that of `since`
        return record


class Verified:
    """Remembers for REMEMBER seconds which passwords met which stored hashes."""

    __slots__ = ("_clock", "_secret", "_until")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = os.urandom(32)
        self._until: Dict[bytes, float] = {}

    def key(self, user: bytes, password: bytes, stored: Iterable[str]) -> bytes:
        """What stands for this password of this user with these stored hashes."""
        parts = [user, password, *(text.encode("latin-1", "replace") for text in stored)]
        return hmac.digest(self._secret, b"".join(b"%d:%b," % (len(part), part) for part in parts), "sha256")

    def has(self, key: bytes) -> bool:
        """Whether `key` was added less than REMEMBER seconds ago."""
        until = self._until.get(key)
        return until is not None and self._clock() < until

    def add(self, key: bytes) -> None:
        """Remember `key` from now on."""
        self._until.pop(key, None)
        if len(self._until) >= MAX_VERIFIED:
            del self._until[next(iter(self._until))]    # the oldest, they all last equally long
        self._until[key] = self._clock() + REMEMBER

    def clear(self) -> None:
        """Forget everything: the password file has changed."""
        self._until.clear()
