"""Reads a configuration directory: `conf`, then the files of `conf.d` in the order of their names.

Every file may hold a `global` section, of which later values win, and `vhosts`, which add up.
Whatever is wrong in any of them is collected and reported together, sorted by file and line; the
configuration is None if the server must not start with it.  Nothing but these files is looked at:
whether users, certificates and interfaces exist is checked elsewhere (server/verify.py).
"""

from __future__ import annotations

import os
import stat
from typing import Any, Dict, List, NamedTuple, Optional

from lwsws.config import jsonc
from lwsws.config.crosscheck import crosscheck
from lwsws.config.model import NOWHERE, Config, Fault, GlobalConfig, Position, VhostConfig
from lwsws.config.records import merge_globals, read_file
from lwsws.config.report import Report

# What editors and package tools leave beside a file they change.
LEFTOVER_ENDINGS = ("~", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".rpmsave", ".rpmnew", ".rpmorig", ".bak",
                    ".swp", ".orig", ".rej")
LEFTOVER_BEGINNINGS = (".", "#")

# Thousands of vhosts fit; what is larger is something else, and is not read into memory.
MAX_FILE_BYTES = 16 * 1024 * 1024

NO_VHOST = ("Need at least one vhost, here or in a file of conf.d: "
            '{ "vhosts": [ { "port": "7681", "mounts": [ ... ] } ] }')


class Loaded(NamedTuple):
    """The configuration (None if a fault is fatal), all faults, and what was passed over."""

    config: Optional[Config]
    faults: List[Fault]
    notices: List[str]


def load(directory: str, data_dir: str) -> Loaded:
    """Read the configuration in `directory`; `data_dir` stands for `_lws_ddir_` in its strings.

    Raises nothing: files that are missing or cannot be read are faults.
    """
    draft = _Draft(data_dir)
    draft.add_file(os.path.join(directory, "conf"))
    fragments = os.path.join(directory, "conf.d")
    try:
        names = sorted(os.listdir(fragments))
    except FileNotFoundError:
        names = []
    except OSError as exc:
        names = []
        draft.cannot_open(fragments, exc)
    for name in names:
        path = os.path.join(fragments, name)
        if name.endswith(LEFTOVER_ENDINGS) or name.startswith(LEFTOVER_BEGINNINGS):
            draft.notices.append(f"{path}: skipped, by its name a leftover of an editor or package tool")
        else:
            draft.add_file(path)
    return draft.finish(os.path.join(directory, "conf"))


def parse_text(text: str, filename: str = "conf", data_dir: str = jsonc.DATA_DIR_MARK) -> Loaded:
    """The configuration that `text` holds, as if it were the only file, called `filename`."""
    draft = _Draft(data_dir)
    draft.add_text(filename, text.encode("utf-8", "surrogatepass"))
    return draft.finish(filename)


class _Draft:
    """What the files read so far amount to."""

    __slots__ = ("data_dir", "files", "globals", "positions", "vhosts", "vhost_count", "faults", "notices",
                 "is_complete")

    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir
        self.files: List[str] = []
        self.globals: Dict[str, Any] = {}
        self.positions: Dict[str, Position] = {}
        self.vhosts: List[VhostConfig] = []
        self.vhost_count = 0
        self.faults: List[Fault] = []
        self.notices: List[str] = []
        self.is_complete = True

    def cannot_open(self, path: str, exc: OSError) -> None:
        self.is_complete = False
        self.files.append(path)
        self.faults.append(Fault(Position(path, 0, 0), "", f"Cannot open {path}: {exc.strerror}", True))

    def add_file(self, path: str) -> None:
        """Read one file, or say why not."""
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                self.notices.append(f"{path}: skipped, it is not a regular file")
                return
            with open(path, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as exc:
            self.cannot_open(path, exc)
        else:
            self.add_text(path, data)

    def add_text(self, path: str, data: bytes) -> None:
        """Parse the content of one file and add what it says."""
        report = Report(path)
        self.files.append(path)
        try:
            if len(data) > MAX_FILE_BYTES:
                raise jsonc.SyntaxFault(0, 0, f"the file is longer than {MAX_FILE_BYTES} bytes")
            text = jsonc.decode(data)
            if jsonc.is_blank(text):
                self.notices.append(f"{path}: skipped, there is nothing in it but blanks and comments")
                return
            contents = read_file(jsonc.parse(text, self.data_dir), report)
        except jsonc.SyntaxFault as exc:
            self.is_complete = False
            where = Position(path, exc.line, exc.column)
            self.faults.append(Fault(where, "", f"parsing error: {exc.reason}", True))
            return
        self.faults.extend(report.faults)
        merge_globals(self.globals, contents.globals)
        self.positions.update(contents.positions)
        self.vhosts.extend(contents.vhosts)
        self.vhost_count += contents.vhost_count

    def finish(self, first_file: str) -> Loaded:
        """Check the whole, and sort the faults."""
        where = min(self.positions.values(), default=NOWHERE, key=self.order)
        settings = GlobalConfig(where=where, positions=self.positions, **self.globals)
        config = Config(settings, tuple(self.vhosts))
        self.faults.extend(crosscheck(config))
        self.faults.sort(key=lambda fault: self.order(fault.position))
        if not self.vhost_count and self.is_complete:
            self.faults.append(Fault(Position(first_file, 0, 0), "", NO_VHOST, True))
        is_sound = not any(fault.fatal for fault in self.faults)
        return Loaded(config if is_sound else None, self.faults, self.notices)

    def order(self, position: Position) -> List[int]:
        """The place of a position in the files, for sorting."""
        index = self.files.index(position.file) if position.file in self.files else -1
        return [index, position.line, position.column]
