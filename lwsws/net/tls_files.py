"""The PEM files of TLS: what is in them, what is wrong with them, and whether they have changed.

OpenSSL reads certificates and keys itself, by path, and says little about what it does not like ("PEM
lib").  So the files are read here before, which gives faults that name the file and the remedy.  Files that
could block, such as a FIFO, are not opened by OpenSSL at all.

    file_states(paths)          changes when one of the files does, or the way to it
    leaf_certificate(path)      dates and names of the first certificate in the file
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Sequence, Tuple

from lwsws.net.regular_file import NotRegular, TooLarge, read_regular_file
from lwsws.wire.certificate import Certificate, read_certificate

# The certificates of all public authorities together have a quarter of a megabyte.
MAX_FILE_BYTES = 4 * 1024 * 1024

# What a fault is about.
CERTIFICATE, KEY, CA = "certificate", "key", "ca"
CIPHERS, CURVE, OPTIONS, ALPN = "ciphers", "curve", "options", "alpn"

# How what a PEM file must hold begins, and what it is called.  OpenSSL knows several labels of each.
_LABELS = {
    CERTIFICATE: ((b"-----BEGIN CERTIFICATE-----", b"-----BEGIN X509 CERTIFICATE-----",
                   b"-----BEGIN TRUSTED CERTIFICATE-----"), "certificate"),
    KEY: ((b"PRIVATE KEY-----",), "private key"),
}
_LABELS[CA] = _LABELS[CERTIFICATE]

FileState = Tuple[int, ...]


class TlsError(Exception):
    """Something that TLS cannot be had with: `text` is for people and names the file, `part` says which of
    the settings it is about, `errno` why a file cannot be read (0 if that is not the reason)."""

    def __init__(self, part: str, text: str, errno: int = 0) -> None:
        super().__init__(part, text, errno)
        self.part = part
        self.text = text
        self.errno = errno

    def __str__(self) -> str:
        return self.text

    @property
    def is_missing(self) -> bool:
        """The file, or a directory on the way to it, does not exist."""
        return self.errno in (errno.ENOENT, errno.ENOTDIR)

    @property
    def is_forbidden(self) -> bool:
        """The file exists, and we may not read it."""
        return self.errno in (errno.EACCES, errno.EPERM)


def read_pem(part: str, path: str) -> bytes:
    """The content of the file at `path`, in which there is what `part` needs; TlsError if not."""
    data = _read(part, path)
    labels, what = _LABELS[part]
    if any(label in data for label in labels):
        return data
    hint = "PEM is needed, and this is probably DER: `openssl x509` and `openssl pkey` convert it" \
        if data.startswith(b"\x30") else "it is not PEM, or holds something else"
    raise TlsError(part, f"there is no {what} in {path!r}: {hint}")


def _read(part: str, path: str) -> bytes:
    try:
        return read_regular_file(path, MAX_FILE_BYTES)
    except NotRegular:
        raise TlsError(part, f"{path!r} is not a file") from None
    except TooLarge as error:
        raise TlsError(part, f"{path!r} is {error.strerror}") from None
    except FileNotFoundError:
        raise TlsError(part, f"there is no file {path!r}", errno.ENOENT) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise TlsError(part, f"cannot read {path!r}: {reason}", error.errno or errno.EIO) from None


def leaf_certificate(path: str) -> Certificate:
    """The first certificate in the file at `path`, which is the server's own (RFC 8446 4.4.2).

    TlsError if it cannot be read.
    """
    data = read_pem(CERTIFICATE, path)
    starts = [data.find(label) + len(label) for label in _LABELS[CERTIFICATE][0] if label in data]
    text = data[min(starts):].partition(b"-----")[0].decode("latin-1")
    try:
        return read_certificate(ssl.PEM_cert_to_DER_cert(ssl.PEM_HEADER + text + ssl.PEM_FOOTER))
    except ValueError as error:
        raise TlsError(CERTIFICATE, f"cannot take apart the certificate in {path!r}: {error}") from None


def file_states(paths: Sequence[str]) -> Tuple[FileState, ...]:
    """What tells versions of the files at `paths` apart, be they changed, replaced, or made readable."""
    return tuple(map(_file_state, paths))


def _file_state(path: str) -> FileState:
    try:
        info = os.stat(path)
    except OSError as error:
        return (error.errno or errno.EIO,)
    # st_ctime_ns tells of an access list, too; the mode is there for clocks that tick slowly.
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns,
            info.st_mode, info.st_uid, info.st_gid)
