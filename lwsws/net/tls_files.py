"""The PEM files of TLS: what is in them, what is wrong with them, and how OpenSSL gets them.

OpenSSL reads certificates and keys itself, by path, and says little about what it does not like ("PEM
lib").  So the files are read here, once, which gives faults that name the file and the remedy, and OpenSSL
reads the very same bytes from memory (LESSONS T9): a file that blocks, or is exchanged meanwhile, or that
only the parent process may read, makes no difference to it.

    PemFiles(read)              reads each file once
    leaf_certificate(path)      dates and names of the first certificate in the file
"""

from __future__ import annotations

import errno
import os
import ssl
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, Optional

from lwsws.net.memory_file import has_memory_files, memory_file, name_of
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

# What reads a file of at most so many bytes, with errors as of read_regular_file().
Read = Callable[[str, int], bytes]


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


class PemFiles:
    """The files that one context is made of: each is read once, so that what was looked at is what is used.

    Of use for one attempt; keys should not stay in memory.
    """

    def __init__(self, read: Read = read_regular_file) -> None:
        """`read` may be that of a Keeper."""
        self._read = read
        self._contents: Dict[str, bytes] = {}

    def content(self, part: str, path: str) -> bytes:
        """The content of the file at `path`, in which there is what `part` needs; TlsError if not."""
        if path not in self._contents:
            self._contents[path] = _content(part, path, self._read)
        data = self._contents[path]
        labels, what = _LABELS[part]
        if any(label in data for label in labels):
            return data
        hint = "PEM is needed, and this is probably DER: `openssl x509` and `openssl pkey` convert it" \
            if data.startswith(b"\x30") else "it is not PEM, or holds something else"
        raise TlsError(part, f"there is no {what} in {path!r}: {hint}")

    @contextmanager
    def in_memory(self, path: str) -> Iterator[str]:
        """A name by which OpenSSL can open what was read from `path`; OSError.

        Where there are no files in memory it is `path` itself.
        """
        if not has_memory_files():
            yield path
            return
        fd = memory_file("lwsws-pem", self._contents[path])
        try:
            yield name_of(fd)
        finally:
            os.close(fd)


def _content(part: str, path: str, read: Read) -> bytes:
    try:
        return read(path, MAX_FILE_BYTES)
    except NotRegular:
        raise TlsError(part, f"{path!r} is not a file") from None
    except TooLarge as error:
        raise TlsError(part, f"{path!r} is {error.strerror}") from None
    except FileNotFoundError:
        raise TlsError(part, f"there is no file {path!r}", errno.ENOENT) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise TlsError(part, f"cannot read {path!r}: {reason}", error.errno or errno.EIO) from None


def leaf_certificate(path: str, files: Optional[PemFiles] = None) -> Certificate:
    """The first certificate in the file at `path`, which is the server's own (RFC 8446 4.4.2).

    TlsError if it cannot be read.
    """
    try:
        return read_certificate(leaf_der(path, files or PemFiles()))
    except ValueError as error:
        raise TlsError(CERTIFICATE, f"cannot take apart the certificate in {path!r}: {error}") from None


def leaf_der(path: str, files: PemFiles) -> bytes:
    """The same certificate in DER.  TlsError if there is none, ValueError if its PEM is damaged."""
    data = files.content(CERTIFICATE, path)
    starts = [data.find(label) + len(label) for label in _LABELS[CERTIFICATE][0] if label in data]
    text = data[min(starts):].partition(b"-----")[0].decode("latin-1")
    return ssl.PEM_cert_to_DER_cert(ssl.PEM_HEADER + text + ssl.PEM_FOOTER)
