"""The new certificate of a store: whether it is any good, who reads it, and how it takes the old one's place.

The serving process may not replace the old files.  So there are two ways to the new ones:

    PendingFiles    reads them in place of the old ones, for all vhosts that use these
    promote()       puts them in their place, at the next start; the old ones stay as <path>.old
"""

from __future__ import annotations

import errno
import os
import time
from typing import Callable, Dict, Iterable, NamedTuple, Optional, Sequence, Tuple

from lwsws.acme.schedule import Held, missing_names
from lwsws.acme.settings import DAY, NEW, OLD, UPD, AcmeSettings
from lwsws.acme.store import MAX_PEM, Pair, Store
from lwsws.net.keeper import FileKeeper
from lwsws.net.regular_file import FileState, changed_at
from lwsws.net.tls import ServerSettings, server_context
from lwsws.net.tls_files import CERTIFICATE, PemFiles, TlsError, leaf_certificate, leaf_der
from lwsws.wire.certificate import is_self_issued, renewal_identifier
from lwsws.wire.dates import UNSET_CLOCK, format_date

Read = Callable[[str, int], bytes]

# What others than the owner may do at most, if the file that was there says so.
KEY_MODE, CERTIFICATE_MODE = 0o640, 0o644
# Certificates in a chain.
MAX_CHAIN = 10
KEY_LABELS = (b"PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def sound(pair: Pair, settings: AcmeSettings, now: float) -> Waiting:
    """`pair` without anything that is not PEM, if it may be served at `now` (unix seconds): certificate and
    key are whole and belong together, are in date, and for one of the names; TlsError."""
    pair = Pair(_blocks(pair.certificate, (b"CERTIFICATE",), MAX_CHAIN, "certificate"),
                _blocks(pair.key, KEY_LABELS, 1, "private key"))
    held = hold(pair, settings)
    certificate = held.certificate
    if now >= UNSET_CLOCK and not certificate.not_before - DAY <= now <= certificate.not_after:
        raise TlsError(CERTIFICATE, f"it is good from {format_date(certificate.not_before)} until "
                                    f"{format_date(certificate.not_after)}")
    if settings.names and len(missing_names(settings, held)) == len(settings.names):
        raise TlsError(CERTIFICATE, f"it is for {', '.join(certificate.names) or 'nobody'}")
    return Waiting(pair, held)


def _blocks(data: bytes, labels: Sequence[bytes], most: int, what: str) -> bytes:
    """The PEM blocks in `data` that have one of these labels, up to `most` of them, and no byte else;
    TlsError if there is none, or more."""
    blocks = []
    pieces = data[:MAX_PEM].split(b"-----BEGIN ")
    for piece in pieces[1:]:
        label, _, rest = piece.partition(b"-----")
        body, end, _ = rest.partition(b"-----END " + label + b"-----")
        lines = body.split()
        if label in labels and end and lines and not b"".join(lines).strip(_BASE64):
            blocks.append(b"\n".join([b"-----BEGIN %s-----" % label, *lines, b"-----END %s-----\n" % label]))
    if not 1 <= len(blocks) <= most:
        number = f"more than {most}" if blocks else "no whole"
        raise TlsError(CERTIFICATE, f"there is {number} {what} in it")
    return b"".join(blocks)


def hold(pair: Pair, settings: AcmeSettings) -> Held:
    """What `pair` is, if certificate and key are whole and belong together; TlsError."""
    certificate, key = settings.cert_path + UPD, settings.key_path + UPD
    return held_by(certificate, key, lambda path, most: pair.certificate if path == certificate else pair.key)


def held_by(certificate: str, key: str, read: Read) -> Held:
    """The certificate that `read` finds at that path, if the one at `key` is its key; TlsError."""
    files = PemFiles(read)
    server_context(ServerSettings(certificate, key), files)
    found = leaf_certificate(certificate, files)
    try:
        der = leaf_der(certificate, files)
        return Held(found, renewal_identifier(der), is_self_issued(der))
    except ValueError:
        return Held(found)


class Waiting(NamedTuple):
    """A new certificate that waits, sound and better than the one in its place."""

    pair: Pair
    held: Held


def waiting(store: Store, keeper: FileKeeper, now: float) -> Optional[Waiting]:
    """The new certificate of `store` at `now` (unix seconds), None if there is none, or `keeper` finds one
    that was put in its place later, by somebody else."""
    try:
        pair = store.read_pair()
    except OSError:
        return None
    if not pair.certificate or not pair.key:
        return None
    settings = store.settings
    try:
        found = sound(pair, settings, now)
    except TlsError:
        return None
    # By the files: the dates in certificates of different CAs say nothing of which came first.
    changes = [changed_at(keeper.state(path)) for path in (settings.cert_path, settings.key_path)]
    changed = max(change if change <= now * 1e9 else 0 for change in changes)
    try:
        is_newer = changed > store.pair_changed_at() and in_place(settings, keeper.read) is not None
    except TlsError:
        is_newer = False    # ours can be read
    return None if is_newer else found


def in_place(settings: AcmeSettings, read: Read) -> Optional[Held]:
    """The certificate at `cert-path`, None if it is not there, or of no use; TlsError if that cannot be told,
    for it cannot be read."""
    try:
        return held_by(settings.cert_path, settings.key_path, read)
    except TlsError as error:
        if error.errno and not error.is_missing:
            raise
        return None


class PendingFiles:
    """Reads files as a keeper does, and what waits in place of what is there."""

    def __init__(self, keeper: FileKeeper, stores: Iterable[Store],
                 clock: Callable[[], float] = time.time) -> None:
        """`clock` tells unix seconds."""
        self.anew = keeper.anew
        self._clock = clock
        self.placed = keeper    # what is there
        self._stores: Dict[str, Store] = {}
        for store in stores:
            self._stores[store.settings.cert_path] = self._stores[store.settings.key_path] = store

    def read(self, path: str, limit: int) -> bytes:
        """As Keeper.read()."""
        normal = os.path.normpath(path)
        store = self._stores.get(normal)
        found = None if store is None else waiting(store, self.placed, self._clock())
        if store is None or found is None:
            return self.placed.read(path, limit)
        return found.pair.certificate if normal == store.settings.cert_path else found.pair.key

    def state(self, path: str) -> FileState:
        """As Keeper.state()."""
        store = self._stores.get(os.path.normpath(path))
        own = self.placed.state(path)
        return own if store is None else own + store.pair_state()


# The next start.


def promote(store: Store, keeper: FileKeeper, now: float) -> Tuple[bool, str]:
    """Put a certificate that waits in its place, at `now` (unix seconds).  With the lock.  Whether that was
    done, and what there is to say of it, which may be nothing.

    OSError, StoreError; nothing was changed then, unless it is the disk that is full or broken.

    The key goes first: where the power goes between the two, certificate and key do not belong together, and
    the next start does it again.
    """
    found = waiting(store, keeper, now)
    if found is None:
        return False, _why_not(store, keeper, now)
    settings = store.settings
    for path, data, most in ((settings.key_path, found.pair.key, KEY_MODE),
                             (settings.cert_path, found.pair.certificate, CERTIFICATE_MODE)):
        # One that is there already came before the power went: what is its .old belongs to the other's.
        if read_or_nothing(path, keeper) != data:
            replace(path, data, most)
    store.clear_pair()
    return True, f"the certificate that came for {settings.name} is in its place now: {settings.cert_path}"


def read_or_nothing(path: str, keeper: FileKeeper) -> bytes:
    """The content of a file of a certificate, b"" if it cannot be had."""
    try:
        return keeper.read(path, MAX_PEM)
    except OSError:
        return b""


def _why_not(store: Store, keeper: FileKeeper, now: float) -> str:
    """What waits and is of no use, for the log."""
    pair, settings = store.read_pair(), store.settings
    if not pair.certificate and not pair.key:
        return ""
    if pair == (read_or_nothing(settings.cert_path, keeper), read_or_nothing(settings.key_path, keeper)):
        store.clear_pair()      # all was done but that
        return ""
    try:
        sound(pair, settings, now)
    except TlsError as error:
        return f"{settings.cert_path}{UPD} is of no use, and left alone: {error}"
    return f"{settings.cert_path}{UPD} is older than what is there, and left alone"


def replace(path: str, data: bytes, most: int) -> None:
    """Let `data` be the file at `path`, at once and for good, with the owner and mode of the one that was
    there, but for bits beyond `most`; that stays as `path`.old.  OSError."""
    path = os.path.realpath(path)   # what a link there leads to is meant
    new = path + NEW
    try:
        os.unlink(new)
    except FileNotFoundError:
        pass
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _take_after(fd, path, most)
        if os.write(fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), new)
        os.fsync(fd)
    finally:
        os.close(fd)
    _keep_old(path, most)
    os.rename(new, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _take_after(fd: int, path: str, most: int) -> None:
    """Give the new file `fd` the owner and mode of the one at `path`, if there is one."""
    try:
        old = os.lstat(path)
    except FileNotFoundError:
        return
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, old.st_mode & most)


def _keep_old(path: str, most: int) -> None:
    try:
        os.unlink(path + OLD)
    except FileNotFoundError:
        pass
    try:
        os.link(path, path + OLD)
        os.chmod(path + OLD, os.stat(path + OLD).st_mode & most)
    except FileNotFoundError:
        pass
