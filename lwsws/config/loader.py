"""Reads a configuration directory: `conf`, then the files of `conf.d` in the order of their names.

    load            read the files (sources.py) and parse them
    load_sources    parse what was read before, maybe by another process

Every file may hold a `global` section, of which later values win, and `vhosts`, which add up.
Whatever is wrong in any of them is collected and reported together, sorted by file and line; the
configuration is None if the server must not start with it.  Nothing but these files is looked at:
whether users, certificates and interfaces exist is checked elsewhere (server/verify.py).
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

from lwsws.config import jsonc
from lwsws.config.crosscheck import crosscheck
from lwsws.config.model import NOWHERE, Config, Fault, GlobalConfig, Position, VhostConfig
from lwsws.config.records import merge_globals, read_file
from lwsws.config.report import Report
from lwsws.config.sources import Source, Sources, read_sources

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
    return load_sources(read_sources(directory), data_dir)


def load_sources(sources: Sources, data_dir: str) -> Loaded:
    """The configuration that `sources` hold; `data_dir` as for load()."""
    draft = _Draft(data_dir, sources)
    for source in sources.files:
        draft.add_text(source)
    return draft.finish(sources.first_file)


def parse_text(text: str, filename: str = "conf", data_dir: str = jsonc.DATA_DIR_MARK) -> Loaded:
    """The configuration that `text` holds, as if it were the only file, called `filename`."""
    source = Source(filename, text.encode("utf-8", "surrogatepass"))
    draft = _Draft(data_dir, Sources((source,)))
    draft.add_text(source)
    return draft.finish(filename)


class _Draft:
    """What the files read so far amount to."""

    __slots__ = ("data_dir", "files", "globals", "positions", "vhosts", "vhost_count", "faults", "notices",
                 "is_complete")

    def __init__(self, data_dir: str, sources: Sources) -> None:
        self.data_dir = data_dir
        self.files = sources.names
        self.globals: Dict[str, Any] = {}
        self.positions: Dict[str, Position] = {}
        self.vhosts: List[VhostConfig] = []
        self.vhost_count = 0
        self.faults = list(sources.faults)
        self.notices = list(sources.notices)
        self.is_complete = not sources.faults

    def add_text(self, source: Source) -> None:
        """Parse the content of one file and add what it says."""
        report = Report(source.path)
        try:
            text = jsonc.decode(source.data)
            if jsonc.is_blank(text):
                self.notices.append(f"{source.path}: skipped, there is nothing in it but blanks and comments")
                return
            contents = read_file(jsonc.parse(text, self.data_dir), report)
        except jsonc.SyntaxFault as exc:
            self.is_complete = False
            where = Position(source.path, exc.line, exc.column)
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
