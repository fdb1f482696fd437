"""Precompressed siblings: `app.js.br`, `app.js.zst`, `app.js.gz` beside `app.js`.

A sibling is sent instead of its file to clients that accept its coding.  It counts if it is a
regular file beneath the same root (LESSONS 3.15: it is opened like any other) and not older than
its file, in whole seconds, because not all compressors keep fractions of them.

Most files have none, and three failed opens for each request would cost more than the answer.  So
what is found is remembered, and all of it forgotten together every `LIFETIME` seconds.  That only
delays when a new sibling comes into use: a sibling that is sent is opened and looked at each time.
"""

from __future__ import annotations

from typing import Callable, Dict, Optional, Sequence, Tuple

from lwsws.handlers.beneath import Root
from lwsws.handlers.openfile import OpenFile
from lwsws.wire.headers import accepted_codings

# Content coding -> suffix of its files; in order of preference, which is that of their usual size.
SUFFIXES = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}

# Seconds, and names: about 200 bytes each.
LIFETIME = 5.0
MAX_NAMES = 4096


class Siblings:
    """The precompressed siblings of the files beneath `root`."""

    __slots__ = ("_root", "_clock", "_known", "_forget_at")

    def __init__(self, root: Root, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._known: Dict[str, Tuple[str, ...]] = {}
        self._forget_at = 0.0

    def codings(self, name: str, file: OpenFile) -> Tuple[str, ...]:
        """The codings in which the open `file`, called `name` beneath the root, lies there as well."""
        now = self._clock()
        if now >= self._forget_at or len(self._known) >= MAX_NAMES:
            self._known.clear()
            self._forget_at = now + LIFETIME
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._look_for(name, file)
        return known

    def open(self, name: str, file: OpenFile, coding: str) -> Optional[OpenFile]:
        """The sibling of `file` in `coding`; None if it is gone or no longer fits."""
        try:
            sibling = OpenFile(self._root.open(name + SUFFIXES[coding]))
        except OSError:
            return None
        if sibling.is_regular and sibling.mtime >= file.mtime:
            return sibling
        sibling.close()
        return None

    def _look_for(self, name: str, file: OpenFile) -> Tuple[str, ...]:
        found = []
        for coding in SUFFIXES:
            sibling = self.open(name, file, coding)
            if sibling is not None:
                sibling.close()
                found.append(coding)
        return tuple(found)


def choose_coding(accept_encoding: Optional[str], available: Sequence[str]) -> str:
    """The best of `available` codings for a client that sent `accept_encoding`; "" for none of them.

    RFC 9110 12.5.3.  Equal weights are decided by the order of `available`.  A client that refuses
    identity and accepts nothing we have gets the plain file all the same: 12.4.1 lets a server
    disregard the field, and an answer helps more than a 406.
    """
    if not accept_encoding:
        return ""
    accepted = accepted_codings(accept_encoding)
    rest = accepted.get("*", 0.0)
    # Identity is always acceptable, but only a client that names it can prefer it.
    best, best_weight = "", accepted.get("identity", 0.0)
    for coding in available:
        weight = accepted.get(coding, rest)
        if weight > best_weight or (weight == best_weight and weight > 0 and not best):
            best, best_weight = coding, weight
    return best
