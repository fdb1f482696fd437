"""The files of a configuration directory as they were at one moment: read once, parsed as often as needed.

`conf`, then the files of `conf.d` in the order of their names.  Several processes that shall serve the same
configuration parse the same `Sources`; a file that changes meanwhile makes no difference between them.
`pack` turns them into bytes that go through a memfd, `unpack` back:

    MAGIC, then fields: length (4 bytes, big endian), bytes
    fields: directory; number of files, path and content of each; number of notices, each;
            number of faults, file, line, column, path, reason and fatal of each

Lengths and counts are checked on the way back, so bytes that are damaged are refused, never half believed.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import Callable, List, NamedTuple, Sequence, Tuple, TypeVar

from lwsws import archive
from lwsws.config.model import Fault, Position

# What editors and package tools leave beside a file they change.
LEFTOVER_ENDINGS = ("~", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".rpmsave", ".rpmnew", ".rpmorig", ".bak",
                    ".swp", ".orig", ".rej")
LEFTOVER_BEGINNINGS = (".", "#")

# Thousands of vhosts fit; what is larger is something else, and is not read into memory.
MAX_FILE_BYTES = 16 * 1024 * 1024
# All files together: each process of the server holds them while it starts.
MAX_BYTES = 64 * 1024 * 1024
MAX_FILES = 10000

# O_NONBLOCK: a FIFO put here after the look at it must not keep us waiting.
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

MAGIC = b"lwsws configuration 1\n"
LENGTH = struct.Struct(">I")

Item = TypeVar("Item")


class Source(NamedTuple):
    """One file: its name and what it holds."""

    path: str
    data: bytes


class Sources(NamedTuple):
    """The files of `directory` in their order, what was passed over, and what could not be read (fatal)."""

    files: Tuple[Source, ...]
    notices: Tuple[str, ...] = ()
    faults: Tuple[Fault, ...] = ()
    directory: str = ""

    @property
    def first_file(self) -> str:
        """The name of the file that comes first, whether it is there or not."""
        return os.path.join(self.directory, "conf")

    @property
    def names(self) -> List[str]:
        """All files that were looked at, also those that could not be read, in their order."""
        names = {source.path for source in self.files} | {fault.position.file for fault in self.faults}
        return sorted(names, key=lambda name: (name != self.first_file, name))


def read_sources(directory: str) -> Sources:
    """Read the configuration files of `directory`.  Raises nothing: what cannot be read is a fault."""
    reading = _Reading()
    reading.add_file(os.path.join(directory, "conf"))
    fragments = os.path.join(directory, "conf.d")
    for name in reading.list(fragments):
        path = os.path.join(fragments, name)
        if name.endswith(LEFTOVER_ENDINGS) or name.startswith(LEFTOVER_BEGINNINGS):
            reading.notices.append(f"{path}: skipped, by its name a leftover of an editor or package tool")
        else:
            reading.add_file(path)
    return Sources(tuple(reading.files), tuple(reading.notices), tuple(reading.faults), directory)


class _Reading:
    """What has been read so far."""

    __slots__ = ("files", "notices", "faults", "_bytes")

    def __init__(self) -> None:
        self.files: List[Source] = []
        self.notices: List[str] = []
        self.faults: List[Fault] = []
        self._bytes = 0

    def list(self, directory: str) -> Sequence[str]:
        """The names in `directory`, sorted; none if there is no such directory."""
        inside = archive.find(directory)
        try:
            return sorted(os.listdir(directory) if inside is None else inside.list())
        except FileNotFoundError:
            return ()
        except OSError as exc:
            self._cannot_open(directory, exc)
            return ()

    def add_file(self, path: str) -> None:
        """Read one file, or say why not."""
        try:
            inside = archive.find(path)
            data = _read(path) if inside is None else inside.read()
        except _NoFile:
            self.notices.append(f"{path}: skipped, it is not a regular file")
            return
        except OSError as exc:
            self._cannot_open(path, exc)
            return
        self._bytes += len(data)
        if len(data) > MAX_FILE_BYTES:
            self._fault(path, f"parsing error: the file is longer than {MAX_FILE_BYTES} bytes")
        elif self._bytes > MAX_BYTES:
            self._fault(path, f"not read: the files before it and this one have more than {MAX_BYTES} bytes")
        elif len(self.files) >= MAX_FILES:
            self._fault(path, f"not read: there are more than {MAX_FILES} files")
        else:
            self.files.append(Source(path, data))

    def _cannot_open(self, path: str, exc: OSError) -> None:
        self._fault(path, f"Cannot open {path}: {exc.strerror}")

    def _fault(self, path: str, reason: str) -> None:
        self.faults.append(Fault(Position(path, 0, 0), "", reason, True))


class _NoFile(Exception):
    """There is something else than a regular file."""


def _read(path: str) -> bytes:
    """The content of the file at `path`, one byte more than allowed if it is too long."""
    # Looked at before, because a socket cannot be opened, and after, because it may have changed.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise _NoFile
    with open(os.open(path, FLAGS), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _NoFile
        return file.read(MAX_FILE_BYTES + 1)


# Through a memfd and back.


def pack(sources: Sources) -> bytes:
    """`sources` as bytes."""
    fields: List[bytes] = [_text(sources.directory)]
    _add_all(fields, sources.files, lambda source: [_text(source.path), source.data])
    _add_all(fields, sources.notices, lambda notice: [_text(notice)])
    _add_all(fields, sources.faults, lambda fault: [
        _text(fault.position.file), b"%d" % fault.position.line, b"%d" % fault.position.column,
        _text(fault.path), _text(fault.reason), b"%d" % fault.fatal])
    return MAGIC + b"".join(LENGTH.pack(len(field)) + field for field in fields)


def unpack(data: bytes) -> Sources:
    """What pack() made `data` of; ValueError if it is not that."""
    fields = _Fields(data)
    directory = fields.text()
    files = fields.all(lambda: Source(fields.text(), fields.next()))
    notices = fields.all(fields.text)
    faults = fields.all(lambda: Fault(Position(fields.text(), fields.number(), fields.number()),
                                      fields.text(), fields.text(), fields.number() != 0))
    fields.end()
    return Sources(files, notices, faults, directory)


def _text(text: str) -> bytes:
    # As file names are decoded, but whatever the locale: a reason may hold any character.
    return text.encode("utf-8", "surrogatepass")


def _add_all(fields: List[bytes], items: Sequence[Item], parts: Callable[[Item], List[bytes]]) -> None:
    fields.append(b"%d" % len(items))
    for item in items:
        fields.extend(parts(item))


class _Fields:
    """Packed bytes, field by field; ValueError where there is not what is asked for."""

    __slots__ = ("_data", "_at")

    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):
            raise ValueError("not a packed configuration")
        self._data = data
        self._at = len(MAGIC)

    def next(self) -> bytes:
        """The next field."""
        start = self._at + LENGTH.size
        if start > len(self._data):
            raise ValueError("a packed configuration that ends too early")
        end = start + LENGTH.unpack_from(self._data, self._at)[0]
        if end > len(self._data):
            raise ValueError("a packed configuration that ends too early")
        self._at = end
        return self._data[start:end]

    def text(self) -> str:
        """The next field as text."""
        return self.next().decode("utf-8", "surrogatepass")

    def number(self) -> int:
        """The next field as a number that is not negative."""
        field = self.next()
        # isdigit of bytes knows ASCII digits only (LESSONS F6).
        if not field.isdigit() or len(field) > 10:
            raise ValueError(f"no number in a packed configuration: {field[:20]!r}")
        return int(field)

    def all(self, read: Callable[[], Item]) -> Tuple[Item, ...]:
        """As many items as the next field says."""
        # A number that is too large ends at the end of the data.
        return tuple([read() for _ in range(self.number())])

    def end(self) -> None:
        """There is nothing more."""
        if self._at != len(self._data):
            raise ValueError("a packed configuration with something behind it")
