"""Builds the records of model.py from the nodes of one file, by the table of keys.py.

`read_file` takes the outermost object of a file; what it finds is collected in a `FileContents`.
Everything wrong goes to the report; a record with a fatal fault in it is left out, so that what is
built can be checked further (crosscheck.py) and all complaints appear together.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from lwsws.config import jsonc, kinds, values
from lwsws.config.jsonc import Member, Node
from lwsws.config.keys import KEYS
from lwsws.config.model import MountConfig, Position, ProtocolConfig, VhostConfig
from lwsws.config.report import TYPE_WORDS, Entry, Report

_SECTIONS = ("global", "vhosts")

# What a person sees around the place where a key of that level stands.
_PLACES = {"global": "the global section", "vhost": "a vhost", "mount": "a mount",
           "file": 'the outermost level, which holds "global" and "vhosts"'}

# How much of an unknown key must be that of a known one (difflib's ratio) to suggest it.
SIMILAR = 0.65


class FileContents:
    """What one file adds: global values by field name, vhosts, and how many entries `vhosts` had."""

    __slots__ = ("globals", "positions", "vhosts", "vhost_count")

    def __init__(self) -> None:
        self.globals: Dict[str, Any] = {}
        self.positions: Dict[str, Position] = {}
        self.vhosts: List[VhostConfig] = []
        self.vhost_count = 0


class _Fields:
    """The keys of one object: values by field name, positions and the nodes of list keys by key name."""

    __slots__ = ("values", "positions", "lists")

    def __init__(self) -> None:
        self.values: Dict[str, Any] = {}
        self.positions: Dict[str, Position] = {}
        self.lists: Dict[str, List[Node]] = {}


def read_file(root: Node, report: Report) -> FileContents:
    """What the outermost value of a file says."""
    contents = FileContents()
    if root.kind != jsonc.OBJECT:
        report.refuse(root, "", 'a file must be one object, { "vhosts": [ ... ] }, and not '
                                f"{TYPE_WORDS[root.kind]}")
        return contents
    for member in root.members:
        if member.key == "global":
            _read_global(member.node, contents, report)
        elif member.key == "vhosts":
            _read_vhosts(member.node, contents, report)
        else:
            _unknown(member, "file", "", report)
    return contents


def _read_global(node: Node, contents: FileContents, report: Report) -> None:
    if node.kind != jsonc.OBJECT:
        report.refuse(node, "global", 'must be an object, "global": { ... }, and not '
                                      f"{TYPE_WORDS[node.kind]}")
        return
    fields = _read_keys(node, "global", "global", report)
    merge_globals(contents.globals, fields.values)
    contents.positions.update(fields.positions)


def merge_globals(into: Dict[str, Any], more: Dict[str, Any]) -> None:
    """Add the values of a later `global` section: lists add up, of other keys the later value wins."""
    for field, value in more.items():
        into[field] = into.get(field, ()) + value if isinstance(value, tuple) else value


def _read_vhosts(node: Node, contents: FileContents, report: Report) -> None:
    if node.kind != jsonc.ARRAY:
        report.refuse(node, "vhosts",
                      f'must be a list, "vhosts": [ {{ ... }} ], and not {TYPE_WORDS[node.kind]}')
        return
    for item in node.items:
        vhost = _read_vhost(item, f"vhosts[{contents.vhost_count}]", report)
        contents.vhost_count += 1
        if vhost is not None:
            contents.vhosts.append(vhost)


def _read_vhost(node: Node, path: str, report: Report) -> Optional[VhostConfig]:
    """The vhost, or None if a key of its own (not of its mounts) has a fatal fault."""
    if node.kind != jsonc.OBJECT:
        report.refuse(node, path, f"a vhost must be an object {{ ... }}, and not {TYPE_WORDS[node.kind]}")
        return None
    fatal_before = report.fatal
    fields = _read_keys(node, "vhost", path, report)
    if "port" not in fields.positions and fields.values.get("listen_fd"):
        fields.values["port"] = 443 if fields.values.get("host_ssl_cert") else 80
    elif "port" not in fields.positions and not fields.values.get("unix_socket"):
        report.refuse(node, path, 'Port required (eg, 443): write "port": "443", or "unix-socket": "1" with '
                                  'the path of a socket as "interface"')
    if fields.values.get("noipv6") and fields.values.pop("ipv6only", None):
        report.odd(fields.positions["ipv6only"], f"{path}.ipv6only",
                   '"noipv6" is given as well, and that leaves nothing to listen on. This key is left out')
    is_sound = report.fatal == fatal_before
    mounts = _read_mounts(fields.lists.get("mounts", ()), path, report)
    protocols = _read_protocols(fields.lists.get("ws-protocols", ()), f"{path}.ws-protocols", report)
    if not is_sound:
        return None
    return VhostConfig(mounts=tuple(mounts), ws_protocols=tuple(protocols), where=report.position(node),
                       path=path, positions=fields.positions, **fields.values)


def _read_mounts(nodes: Sequence[Node], vhost_path: str, report: Report) -> List[MountConfig]:
    mounts = []
    index = 0
    for node in nodes:
        if node.kind != jsonc.ARRAY:
            report.refuse(node, f"{vhost_path}.mounts",
                          f'must be a list, "mounts": [ {{ ... }} ], and not {TYPE_WORDS[node.kind]}')
        for item in node.items:
            mount = _read_mount(item, f"{vhost_path}.mounts[{index}]", report)
            index += 1
            if mount is not None:
                mounts.append(mount)
    return mounts


def _read_mount(node: Node, path: str, report: Report) -> Optional[MountConfig]:
    if node.kind != jsonc.OBJECT:
        report.refuse(node, path, f"a mount must be an object {{ ... }}, and not {TYPE_WORDS[node.kind]}")
        return None
    fatal_before = report.fatal
    fields = _read_keys(node, "mount", path, report)
    if report.fatal > fatal_before:
        return None
    missing = [name for name in ("mountpoint", "origin") if name not in fields.values]
    if missing:
        reason = f"mountpoint and origin required: this mount has no {' and no '.join(missing)}"
        report.refuse(node, path, reason)
        return None
    return MountConfig(where=report.position(node), path=path, positions=fields.positions, **fields.values)


def _read_protocols(nodes: Sequence[Node], path: str, report: Report) -> List[ProtocolConfig]:
    """The protocols in the order of their first mention; options of later mentions are added."""
    entry = Entry(KEYS["vhost"]["ws-protocols"], path, report)
    found: Dict[str, ProtocolConfig] = {}
    for member in values.members_of(entry, nodes):
        if not member.key:
            report.refuse(member, path, "a protocol needs a name")
            continue
        own_path = f"{path}.{member.key}"
        known = found.get(member.key) or ProtocolConfig(member.key, (), report.position(member), own_path)
        options = known.options
        for option in values.members_of(entry._replace(path=own_path), [member.node]):
            _check_option(option, own_path, report)
            texts = values.option_texts(entry._replace(path=f"{own_path}.{option.key}"), option)
            options += tuple((option.key, text) for text in texts)
        found[member.key] = known._replace(options=options)
    return list(found.values())


def _check_option(option: Member, path: str, report: Report) -> None:
    """Complain of an option that the server itself reads; the others are the plugin's to judge."""
    key = KEYS["ws-protocols"].get(option.key)
    if key is not None and option.node.kind in (jsonc.STRING, jsonc.NUMBER):
        values.read(key, [option.node], f"{path}.{option.key}", report)


def _read_keys(node: Node, level: str, path: str, report: Report) -> _Fields:
    """The known keys of the object `node`, checked and converted; unknown ones are complained of."""
    table = KEYS[level]
    found: Dict[str, List[Member]] = {}
    for member in node.members:
        key = table.get(member.key)
        if key is None:
            _unknown(member, level, path, report)
        elif member.node.kind == jsonc.NULL:
            report.odd(member.node, f"{path}.{member.key}", "null says nothing: leave the key out")
        else:
            found.setdefault(key.name, []).append(member)
    fields = _Fields()
    for name, members in found.items():
        fields.positions[name] = report.position(members[-1].node)
        nodes = [member.node for member in members]
        if table[name].kind == kinds.LIST:
            fields.lists[name] = nodes
            continue
        value = values.read(table[name], nodes, f"{path}.{members[-1].key}", report)
        if value is not None and table[name].served != kinds.NEVER:
            fields.values[table[name].field] = value
    return fields


def _unknown(member: Member, level: str, path: str, report: Report) -> None:
    """Complain of a key that means nothing here, with what was probably meant."""
    reason = _placed_elsewhere(member.key, level)
    if not reason:
        guess = _nearest(member.key, _SECTIONS if level == "file" else tuple(KEYS[level]))
        reason = f'unknown key "{member.key[:60]}"' + (f'; "{guess}" is probably meant' if guess else "")
    report.odd(member, f"{path}.{member.key}" if path else member.key, f"{reason}. It has no effect here")


def _placed_elsewhere(name: str, level: str) -> str:
    """A sentence about a key that is known, but not at `level`; "" if it is known nowhere."""
    for home in ("vhost", "mount", "global"):
        if home != level and name in KEYS[home]:
            return f'"{name}" is a {home} key, and this is {_PLACES[level]}'
    return ""


def _nearest(name: str, known: Tuple[str, ...]) -> str:
    """The known spelling that `name` was most likely meant to be, or ""."""
    from difflib import get_close_matches  # takes a while to import, and is for typos only
    found = get_close_matches(name.lower().replace("_", "-"), known, 1, SIMILAR)
    return found[0] if found else ""
