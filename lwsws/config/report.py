"""How the readers of the configuration complain: every fault with its place, none of them raised.

A fault that is *refused* keeps the server from starting; one that is *odd* is worked around, the
way the original does it, and told to the administrator.
"""

from __future__ import annotations

from typing import List, NamedTuple, Union

from lwsws.config import jsonc
from lwsws.config.jsonc import Member, Node
from lwsws.config.kinds import Key
from lwsws.config.model import Fault, MountConfig, Position, VhostConfig

Place = Union[Node, Member, Position]

TYPE_WORDS = {jsonc.OBJECT: "an object { ... }", jsonc.ARRAY: "a list [ ... ]", jsonc.STRING: "text",
              jsonc.NUMBER: "a number", jsonc.TRUE: "true", jsonc.FALSE: "false", jsonc.NULL: "null"}


class Report:
    """The faults of one file, and how many of them are fatal."""

    __slots__ = ("file", "faults", "fatal")

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: List[Fault] = []
        self.fatal = 0

    def position(self, at: Place) -> Position:
        """The place of `at` in this file."""
        return Position(self.file, at.line, at.column)

    def refuse(self, at: Place, path: str, reason: str) -> None:
        """Add a fault that the server cannot start with."""
        self.faults.append(Fault(self.position(at), path, reason, True))
        self.fatal += 1

    def odd(self, at: Place, path: str, reason: str) -> None:
        """Add a fault that is worked around."""
        self.faults.append(Fault(self.position(at), path, reason, False))


class Entry(NamedTuple):
    """The key that is being read, and where to complain about it."""

    key: Key
    path: str
    report: Report

    def refuse(self, node: Node, reason: str) -> None:
        """The server cannot start with this value."""
        self.report.refuse(node, self.path, reason)

    def odd(self, node: Node, reason: str) -> None:
        """This value is worked around."""
        self.report.odd(node, self.path, reason)

    def wrong(self, node: Node, reason: str) -> None:
        """A wrong value: fatal for strict keys, for others the default is used."""
        if self.key.strict:
            self.refuse(node, reason)
        else:
            self.odd(node, f"{reason}. The default is used: {default_words(self.key)}")


def fault_at(record: Union[VhostConfig, MountConfig], name: str, reason: str,
             fatal: bool = False) -> Fault:
    """A fault of the key `name` of a vhost or mount that is read already; of the whole, without that key."""
    position = record.positions.get(name, record.where)
    return Fault(position, f"{record.path}.{name}", reason, fatal)


def default_words(key: Key) -> str:
    """The default of `key` for people."""
    if key.default_text:
        return key.default_text
    if isinstance(key.default, bool):
        return "yes" if key.default else "no"
    return str(key.default) if key.default not in ("", (), None) else "none"
