"""Turns what stands behind a key into the value of its field: one function for each kind of kinds.py.

`read` gets every occurrence of a key in its object, because some kinds add up (headers), some are
OR-ed (option flags), and of the others the last one counts.  It returns None where the default is
to be used.  What is wrong goes to the `Report`: *refused* if the server must not start with it
(a wrong JSON type, a header that would break answers), *odd* if it can be left out or defaulted,
which is what the original does with it without a word.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Optional, Sequence, Tuple, Union

from lwsws.config import jsonc, kinds
from lwsws.config.jsonc import Member, Node
from lwsws.config.kinds import Key
from lwsws.config.model import Pairs
from lwsws.config.origin import Origin, doubt, has_control, parse_origin
from lwsws.config.report import TYPE_WORDS, Entry, Report

TRUE_WORDS = frozenset(("on", "yes", "true"))
FALSE_WORDS = frozenset(("off", "no", "false"))

# The exchange alone decides on these; a configured one would break the framing of answers.
FRAMING_HEADERS = frozenset(("connection", "content-length", "date", "keep-alive", "proxy-connection", "te",
                             "trailer", "transfer-encoding", "upgrade"))

# Stands for all peers of a unix socket, who have no address.
UNIX_PEERS = "unix"

# Sets of characters stand for regular expressions here where they can: compiling those at every
# start would take longer than reading a configuration.
_DIGITS = frozenset("0123456789")
_HOST_CHARS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz.-_")
_IPV6_CHARS = frozenset("0123456789abcdef:.[]")
_TOKEN_CHARS = frozenset(  # RFC 9110 5.6.2
    "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~")
_DECIMAL = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_OWNER = r"[^:\s]+:[^:\s]+"
_ERROR_ANSWER = r"([45][0-9][0-9])(?:[ \t]+(.*))?"

# More digits than any field takes; int() of very long ones is slow and refused by newer Pythons.
_MAX_DIGITS = 18

_BOOLEANS = (jsonc.TRUE, jsonc.FALSE)
_SCALARS = (jsonc.STRING, jsonc.NUMBER)

# Stands for the name of one header or suffix, which no table can know.
_MEMBER = Key("", kinds.TEXT, "", "", '"some text"')

Keywords = Tuple[Tuple[str, int, str], ...]
Value = Union[str, int, Pairs, Tuple[str, ...], Keywords, Origin, Tuple[Origin, ...]]


def read(key: Key, nodes: Sequence[Node], path: str, report: Report) -> Optional[Value]:
    """The value of `key`, which occurs with these `nodes`; None: the default is to be used."""
    entry = Entry(key, path, report)
    collect = COLLECTED.get(key.kind)
    if collect is not None:
        return collect(entry, nodes)
    node = nodes[-1]
    if any(other.value != node.value for other in nodes[:-1]):
        entry.odd(node, "is given more than once with different values; the last one counts")
    return SINGLE[key.kind](entry, node)


def scalar(entry: Entry, node: Node) -> Optional[str]:
    """The text of a string or number; anything else is refused."""
    if node.kind in _SCALARS:
        return node.value
    key = entry.key
    entry.refuse(node, f"must be {key.kind}, such as {key.example}, and not {TYPE_WORDS[node.kind]}")
    return None


# Kinds of which one value counts

def _text(entry: Entry, node: Node) -> Optional[str]:
    text = scalar(entry, node)
    if text is not None and has_control(text):
        entry.refuse(node, "must not hold control characters")
        return None
    return text


def _number(entry: Entry, node: Node) -> Optional[int]:
    text = node.value if node.kind in _BOOLEANS else scalar(entry, node)
    if text is None:
        return None
    key = entry.key
    highest = "up" if key.high in (kinds.MAX_INT, kinds.MAX_SIZE) else f"to {key.high}"
    wanted = f"write a whole number{' of ' + key.unit if key.unit else ''} from {key.low} {highest}"
    number = whole(text.strip())
    if number is None:
        entry.wrong(node, f'"{text[:40]}" is not a number: {wanted}')
        return None
    if not key.low <= number <= key.high:
        entry.wrong(node, f"{text[:40]} is out of range: {wanted}")
        return None
    return number


def whole(text: str) -> Optional[int]:
    """The whole number that `text` is (in ASCII digits, without + or _), or None."""
    digits = text.removeprefix("-")
    if not digits or not _DIGITS.issuperset(digits):
        return None
    return int(text) if len(digits) <= _MAX_DIGITS else kinds.MAX_SIZE + 1


def _count(entry: Entry, node: Node) -> Optional[int]:
    """A number, or 0 for "auto"."""
    return 0 if node.value.strip().lower() == "auto" else _number(entry, node)


def _bool(entry: Entry, node: Node) -> Optional[bool]:
    """As the original reads it: true, on, yes or a number other than 0; all else is false."""
    text = node.value if node.kind in _BOOLEANS else scalar(entry, node)
    if text is None:
        return None
    word = text.strip().lower()
    if word not in TRUE_WORDS and word not in FALSE_WORDS and not re.fullmatch(_DECIMAL, word):
        entry.odd(node, f'"{text[:40]}" is neither yes nor no: write "yes" or "no", "on" or "off", '
                        '"1" or "0", true or false. It counts as no')
    return says_yes(text)


def says_yes(text: str) -> bool:
    """Whether `text` is true, on, yes or a number other than 0."""
    word = text.strip().lower()
    return word in TRUE_WORDS or (re.fullmatch(_DECIMAL, word) is not None and float(word) != 0)


def _choice(entry: Entry, node: Node) -> Optional[str]:
    """One of the words of the key; where yes and no are among them, the other spellings work too."""
    text = node.value if node.kind in _BOOLEANS else scalar(entry, node)
    if text is None:
        return None
    word = text.strip().lower()
    if word in TRUE_WORDS or word == "1":
        word = "yes"
    elif word in FALSE_WORDS or word == "0":
        word = "no"
    if word in entry.key.choices:
        return word
    entry.wrong(node, f'"{text[:40]}" is not known here: write one of {", ".join(entry.key.choices)}')
    return None


def _host_name(entry: Entry, node: Node) -> Optional[str]:
    name = _text(entry, node)
    if name is None:
        return None
    name = name.lower().rstrip(".")
    if not name:
        return None
    if name.startswith("*."):
        entry.odd(node, f'there are no wildcards: "{name[2:]}" already stands for its subdomains')
    elif not name.isascii():
        entry.odd(node, f'clients send "{name}" in its ASCII form, which begins with "xn--": write that')
    elif not _HOST_CHARS.issuperset(name) and not (":" in name and _IPV6_CHARS.issuperset(name)):
        entry.odd(node, f'no client will ask for a host called "{name[:60]}": write the host name alone, '
                        "without http://, port or path")
    return name


def _owner(entry: Entry, node: Node) -> Optional[str]:
    text = _text(entry, node)
    if not text or re.fullmatch(_OWNER, text):
        return text
    entry.odd(node, f'"{text[:60]}" is not user:group, such as {entry.key.example}. The socket stays with '
                    "the user that the server runs as")
    return None


def _uri(entry: Entry, node: Node) -> Optional[str]:
    text = _text(entry, node)
    if not text or text.startswith(("/", "http://", "https://")):
        return text
    entry.odd(node, f'"{text[:60]}" must begin with a slash: write "/{text[:60]}"')
    return "/" + text


def _header_value(entry: Entry, node: Node) -> Optional[str]:
    text = scalar(entry, node)
    if text is None:
        return None
    if has_control(text.replace("\t", "")):  # RFC 9110 5.5: no controls but the tab
        entry.refuse(node, "must not hold control characters: it is sent in a header")
        return None
    return on_the_wire(text.strip(" \t"))


def on_the_wire(text: str) -> str:
    """`text` as a header carries it: the bytes of its UTF-8 form as Latin-1 characters."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _mountpoint(entry: Entry, node: Node) -> Optional[str]:
    text = _text(entry, node)
    if not text:
        return None
    if not text.startswith("/"):
        entry.refuse(node, f'"{text[:60]}" must begin with a slash: write "/{text[:60]}"')
        return None
    path = text.rstrip("/")
    if any(segment in ("", ".", "..") for segment in path.split("/")[1:]):
        entry.odd(node, f'no request can match "{text[:60]}": paths are compared without empty, "." and '
                        '".." parts')
    if "%" in path or "?" in path or "#" in path:
        entry.odd(node, f'"{text[:60]}" is compared with the decoded path of a request, without its query: '
                        "write the characters themselves")
    return path or "/"


def _index(entry: Entry, node: Node) -> Optional[str]:
    text = _text(entry, node)
    return (text or "").lstrip("/") or None


def _origin(entry: Entry, node: Node) -> Optional[Origin]:
    text = scalar(entry, node)
    if not text:
        return None
    try:
        origin = parse_origin(text)
    except ValueError as exc:
        entry.refuse(node, str(exc))
        return None
    reason = doubt(origin)
    if reason:
        entry.odd(node, reason)
    return origin


# Kinds that add up

def _anything(_entry: Entry, _nodes: Sequence[Node]) -> None:
    """A key without effect is not looked at."""


def _flags(entry: Entry, nodes: Sequence[Node]) -> Optional[int]:
    """Decimal numbers, OR-ed: of a repeated key, of a list, or both."""
    flags = 0
    for node in _flat(nodes):
        number = _number(entry, node)
        flags |= number or 0
    return flags


def _flat(nodes: Sequence[Node]) -> List[Node]:
    """The nodes, with the items of lists in place of the lists."""
    return [item for node in nodes for item in (node.items if node.kind == jsonc.ARRAY else (node,))]


def _texts(entry: Entry, nodes: Sequence[Node]) -> Tuple[str, ...]:
    found = (_text(entry, node) for node in _flat(nodes))
    return tuple(text for text in found if text)


def _origins(entry: Entry, nodes: Sequence[Node]) -> Tuple[Origin, ...]:
    found = (_origin(entry, node) for node in _flat(nodes))
    return tuple(origin for origin in found if origin)


def _addresses(entry: Entry, nodes: Sequence[Node]) -> Tuple[str, ...]:
    from ipaddress import ip_network  # for a rare key only; takes longer to import than a config to load
    addresses = []
    for node in _flat(nodes):
        text = _text(entry, node)
        if text is None:
            continue
        address = text.strip().lower()
        try:
            if address != UNIX_PEERS:
                ip_network(address, strict=False)
        except ValueError:
            entry.odd(node, f'"{text[:60]}" is neither an IP address or network, such as "10.0.0.0/8", nor '
                            f'"{UNIX_PEERS}". It is left out')
        else:
            addresses.append(address)
    return tuple(addresses)


def members_of(entry: Entry, nodes: Sequence[Node]) -> List[Member]:
    """The members of the objects that the nodes are or list; anything else is refused."""
    members: List[Member] = []
    for node in _flat(nodes):
        if node.kind == jsonc.OBJECT:
            members.extend(node.members)
        else:
            entry.refuse(node, f"must be written like {entry.key.example}")
    return members


def option_texts(entry: Entry, member: Member) -> List[str]:
    """The value of an option as text, several if it is a list; true is "1" and false is "0"."""
    texts = []
    for node in _flat([member.node]):
        if node.kind in _BOOLEANS:
            texts.append("1" if node.kind == jsonc.TRUE else "0")
        elif node.kind not in _SCALARS:
            entry.refuse(node, f'the value of "{member.key}" must be text, and not {TYPE_WORDS[node.kind]}')
        elif "\0" in node.value:
            entry.refuse(node, f'the value of "{member.key}" must not hold a NUL character')
        else:
            texts.append(node.value)
    return texts


def _pairs(entry: Entry, nodes: Sequence[Node]) -> Pairs:
    pairs: List[Tuple[str, str]] = []
    for member in members_of(entry, nodes):
        if not member.key or "=" in member.key or "\0" in member.key:
            entry.report.refuse(member, entry.path, "a name must not be empty or hold = or NUL characters")
        pairs.extend((member.key, text) for text in option_texts(entry, member))
    return tuple(pairs)


def _headers(entry: Entry, nodes: Sequence[Node]) -> Pairs:
    headers = []
    for member in members_of(entry, nodes):
        if not member.key or not _TOKEN_CHARS.issuperset(member.key):
            entry.report.refuse(member, entry.path, f'"{member.key[:60]}" is no header name: letters, digits '
                                                    "and dashes are allowed")
        elif member.key.lower() in FRAMING_HEADERS:
            entry.report.odd(member, entry.path, f'only the server itself sends "{member.key}". This one is '
                                                 "left out")
        else:
            value = _header_value(Entry(_MEMBER, f"{entry.path}.{member.key}", entry.report), member.node)
            if value is not None:
                headers.append((member.key, value))
    return tuple(headers)


def _suffixes(entry: Entry, nodes: Sequence[Node]) -> Pairs:
    pairs = []
    for member in members_of(entry, nodes):
        text = _header_value(Entry(_MEMBER, f"{entry.path}.{member.key}", entry.report), member.node)
        if text is None:
            continue
        suffix = member.key.lower()
        if not suffix.startswith(".") and suffix != "*":
            entry.report.odd(member, entry.path, f'a suffix begins with a dot: write ".{suffix}", or "*" '
                                                 "for all")
        pairs.append((suffix, text))
    return tuple(pairs)


def _types(entry: Entry, nodes: Sequence[Node]) -> Pairs:
    pairs = _suffixes(entry, nodes)
    for suffix, media_type in pairs:
        if media_type and "/" not in media_type:
            entry.odd(nodes[-1], f'"{media_type[:60]}" for {suffix} is no media type, such as "text/plain"')
    return pairs


def _keywords(entry: Entry, nodes: Sequence[Node]) -> Keywords:
    keywords = []
    for member in members_of(entry, nodes):
        text = _text(entry, member.node)
        if text is None:
            continue
        answer = re.fullmatch(_ERROR_ANSWER, text.strip())
        if not answer or not member.key:
            entry.report.odd(member, entry.path, 'write "word": "404 Not Found": a word of the User-Agent, '
                                                 "and an error from 400 to 599. It is left out")
        else:
            keywords.append((member.key, int(answer.group(1)), answer.group(2) or ""))
    return tuple(keywords)


SINGLE: Dict[str, Callable[[Entry, Node], Optional[Value]]] = {
    kinds.TEXT: _text,
    kinds.PATH: _text,
    kinds.NAME: _host_name,
    kinds.NUMBER: _number,
    kinds.COUNT: _count,
    kinds.BOOL: _bool,
    kinds.SWITCH: _bool,
    kinds.CHOICE: _choice,
    kinds.OWNER: _owner,
    kinds.URI: _uri,
    kinds.VALUE: _header_value,
    kinds.MOUNTPOINT: _mountpoint,
    kinds.INDEX: _index,
    kinds.ORIGIN: _origin,
}

COLLECTED: Dict[str, Callable[[Entry, Sequence[Node]], Optional[Value]]] = {
    kinds.FLAGS: _flags,
    kinds.TEXTS: _texts,
    kinds.ADDRESSES: _addresses,
    kinds.ORIGINS: _origins,
    kinds.PAIRS: _pairs,
    kinds.HEADERS: _headers,
    kinds.SUFFIXES: _suffixes,
    kinds.TYPES: _types,
    kinds.KEYWORDS: _keywords,
    kinds.ANYTHING: _anything,
}
