"""Reads the configuration language: JSON in which "#" begins a comment that ends with its line.

`parse` turns text into nodes that remember where they stand, so that every later complaint can
point at a line and column.  An object is kept as the list of its members as written: a key that
is given twice stays visible.  Parsing is recursive descent over a few regular expressions, to a
bounded depth; the first fault ends it, with a reason that says what to write instead.

The language is strict (RFC 8259): no trailing comma, no single quotes, no // comments.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, NamedTuple, NoReturn, Tuple

OBJECT, ARRAY, STRING, NUMBER = "object", "array", "string", "number"
TRUE, FALSE, NULL = "true", "false", "null"

# Real configurations are about 6 deep; deeper nesting than this is a mistake or an attack.
MAX_DEPTH = 64
# As much of a wrong word is shown; those of the language are shorter.
MAX_WORD = 40
DATA_DIR_MARK = "_lws_ddir_"

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
# These are rarely needed and compiled when they are, which shortens every start.
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_WORD = r"[^\s,:\[\]{}\"#]+|\"[^\"\n]*\"?"
_AFTER_NUMBER = " \t\r\n#,:]}[{\""
_HEX4 = r"[0-9A-Fa-f]{4}"

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS = {"true": TRUE, "false": FALSE, "null": NULL}
_LITERAL_HINTS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null",
                  "NULL": "null", "yes": '"yes"', "no": '"no"', "on": '"on"', "off": '"off"'}
_TYPOGRAPHIC = "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2018\u2019"
_HIGH_SURROGATES = range(0xD800, 0xDC00)
_LOW_SURROGATES = range(0xDC00, 0xE000)


class SyntaxFault(Exception):
    """The text is not in the language: where, and what would be right."""

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.column = column
        self.reason = reason


class Node(NamedTuple):
    """A value: `value` is the text of a string (escapes resolved) or of a number or word (as written);
    an array has `items`, an object has `members`."""

    kind: str
    value: str
    line: int
    column: int
    items: Tuple[Node, ...] = ()
    members: Tuple[Member, ...] = ()


class Member(NamedTuple):
    """One `"key": value` of an object, with the place of the key."""

    key: str
    line: int
    column: int
    node: Node


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, a byte order mark at its start is dropped (SyntaxFault if not UTF-8)."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        start = data.rfind(b"\n", 0, exc.start) + 1
        raise SyntaxFault(data.count(b"\n", 0, exc.start) + 1,
                          len(data[start:exc.start].decode("utf-8")) + 1,
                          f"byte 0x{data[exc.start]:02x} is not UTF-8 text: save the file as UTF-8") from None


def is_blank(text: str) -> bool:
    """Whether there is nothing but blanks and comments."""
    return _skip(text, 0) == len(text)


def parse(text: str, data_dir: str = DATA_DIR_MARK) -> Node:
    """The one value that `text` consists of; `_lws_ddir_` in strings (not in keys) becomes `data_dir`.

    Raises SyntaxFault.
    """
    return _Parser(text, data_dir).document()


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


class _Parser:
    """One pass over one text; `at` is the offset of the next character."""

    __slots__ = ("text", "data_dir", "at", "depth", "counted", "line", "line_start", "by_first")

    def __init__(self, text: str, data_dir: str) -> None:
        self.text = text
        self.data_dir = data_dir
        self.at = 0
        self.depth = 0
        self.counted = 0  # the offset up to which `line` counts
        self.line = 1
        self.line_start = 0
        self.by_first: Dict[str, Callable[[], Node]] = {
            "{": self.object, "[": self.array, '"': self.string_value, "-": self.number}
        self.by_first.update((digit, self.number) for digit in "0123456789")

    # Places and faults

    def place(self, offset: int) -> Tuple[int, int]:
        """The line and column of `offset`; quick for one after the last that was asked for."""
        if offset < self.counted:
            self.counted, self.line, self.line_start = 0, 1, 0
        newlines = self.text.count("\n", self.counted, offset)
        if newlines:
            self.line += newlines
            self.line_start = self.text.rfind("\n", self.counted, offset) + 1
        self.counted = offset
        return self.line, offset - self.line_start + 1

    def fault(self, offset: int, reason: str) -> NoReturn:
        raise SyntaxFault(*self.place(offset), reason)

    def found(self) -> str:
        """What stands at `at`, for a reason."""
        if self.at >= len(self.text):
            return "the end of the file"
        word = re.match(_WORD, self.text[self.at:self.at + MAX_WORD])
        return word.group() if word else self.text[self.at]

    def skip(self) -> str:
        """Go to the next character that is neither blank nor comment; returns it, "" at the end."""
        self.at = _skip(self.text, self.at)
        return self.text[self.at:self.at + 1]

    # Values

    def document(self) -> Node:
        if not self.skip():
            self.fault(self.at, "there is nothing in it but blanks and comments")
        node = self.value()
        if self.skip():
            hint = "a bracket too many" if self.text[self.at] in "]}" else "a file holds one { ... } only"
            self.fault(self.at, f"unexpected {self.found()} after the end of the configuration: {hint}")
        return node

    def value(self) -> Node:
        """The value that begins at `at`."""
        read = self.by_first.get(self.text[self.at:self.at + 1])
        return read() if read else self.word()

    def object(self) -> Node:
        """`{ "key": value, ... }`"""
        start = self.enter()
        line_column = self.place(start)
        members: List[Member] = []
        while not self.at_end("}", start, bool(members)):
            if self.text[self.at] != '"':
                self.bad_key()
            line, column = self.place(self.at)
            key = self.string()
            if self.skip() != ":":
                self.fault(self.at, f'a colon is missing between the key "{key[:60]}" and its value')
            self.at += 1
            self.expect_value(f'after the key "{key[:60]}"')
            members.append(Member(key, line, column, self.value()))
        self.depth -= 1
        return Node(OBJECT, "", *line_column, members=tuple(members))

    def array(self) -> Node:
        """`[ value, ... ]`"""
        start = self.enter()
        line_column = self.place(start)
        items: List[Node] = []
        while not self.at_end("]", start, bool(items)):
            self.expect_value("in this list")
            items.append(self.value())
        self.depth -= 1
        return Node(ARRAY, "", *line_column, items=tuple(items))

    def enter(self) -> int:
        """Step into an object or array; returns the offset of its bracket."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fault(self.at, f"brackets are nested more than {MAX_DEPTH} deep")
        self.at += 1
        return self.at - 1

    def at_end(self, closing: str, start: int, after_value: bool) -> bool:
        """Take the closing bracket, or the comma before the next entry; False when an entry follows."""
        value_end = self.at
        char = self.skip()
        if char == closing:
            self.at += 1
            return True
        if not char:
            self.never_closed(start, closing)
        if not after_value:
            return False
        if char != ",":
            self.no_comma(char, closing, start, value_end)
        comma = self.at
        self.at += 1
        char = self.skip()
        if char == closing:
            self.fault(comma, f"a comma too many: none may stand before the closing {closing}")
        if char == ",":
            self.fault(self.at, "a comma too many: two follow each other")
        if not char:
            self.never_closed(start, closing)
        return False

    def expect_value(self, where: str) -> None:
        char = self.skip()
        if not char or char in ",:]}":
            self.fault(self.at, f"a value is missing {where}: {self.found()} stands in its place")

    # Reasons

    def never_closed(self, start: int, closing: str) -> NoReturn:
        opened = f"the {self.text[start]} of line {self.place(start)[0]}"
        self.fault(self.at, f"the file ends before {opened} is closed by a {closing}")

    def no_comma(self, char: str, closing: str, start: int, value_end: int) -> NoReturn:
        opened = f"the {self.text[start]} of line {self.place(start)[0]}"
        if char in "]}":
            self.fault(self.at, f"{char} closes nothing here: {opened} must be closed by a {closing} first")
        if char == ":":
            self.fault(self.at, "a colon too many: it stands between a key and its value only")
        line = self.place(self.at)[0]
        self.fault(value_end, f"a comma is missing after this value, or a {closing} for {opened}: "
                              f"what follows is {self.found()} on line {line}")

    def bad_key(self) -> NoReturn:
        char = self.text[self.at]
        if char == ",":
            self.fault(self.at, "a comma too many: none may stand before the first entry")
        self.bad_character(char)
        if char in "{[":
            self.fault(self.at, f'a "key": must stand before this {char}, as entries of an object have one')
        if char in "]:":
            self.fault(self.at, f'unexpected {char}: the next "key": or a closing }} belongs here')
        self.fault(self.at, f'the key {self.found()} must stand in double quotes: "{self.found()}"')

    def bad_character(self, char: str) -> None:
        """Complain of marks that people bring along from word processors and other languages."""
        if char in _TYPOGRAPHIC or char in "'`":
            self.fault(self.at, f'{char} is not the plain double quote ": strings look like "this"')
        if self.text.startswith(("//", "/*"), self.at):
            self.fault(self.at, "a comment begins with # here, not with / and /*")
        if not char.isprintable() or char.isspace():
            self.fault(self.at, f"the invisible character U+{ord(char):04X} is not allowed here")

    # Strings, numbers, words

    def string_value(self) -> Node:
        line, column = self.place(self.at)
        text = self.string()
        if DATA_DIR_MARK in text:
            text = text.replace(DATA_DIR_MARK, self.data_dir)
        return Node(STRING, text, line, column)

    def string(self) -> str:
        """The string whose opening quote is at `at`, escapes resolved."""
        start = self.at
        self.at += 1
        pieces: List[str] = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            assert plain is not None  # the pattern matches the empty string
            pieces.append(plain.group())
            self.at = plain.end()
            char = self.text[self.at:self.at + 1]
            if char == '"':
                self.at += 1
                return "".join(pieces)
            if char != "\\":
                self.bad_string(char, start)
            pieces.append(self.escape())

    def bad_string(self, char: str, start: int) -> NoReturn:
        if char in ("", "\n", "\r"):
            self.fault(start, "the string that begins here has no closing double quote on its line")
        right = {"\t": r"\t"}.get(char, f"\\u{ord(char):04x}")
        self.fault(self.at, f"a control character cannot stand in a string: write {right}")

    def escape(self) -> str:
        """The character that the backslash at `at` begins (RFC 8259 7)."""
        start = self.at
        letter = self.text[start + 1:start + 2]
        self.at += 2
        if letter != "u":
            if letter not in _ESCAPES:
                self.fault(start, f"unknown escape \\{letter.strip()}: a backslash itself is written \\\\")
            return _ESCAPES[letter]
        code = self.hex4(start)
        if code in _HIGH_SURROGATES and self.text.startswith("\\u", self.at):
            self.at += 2
            low = self.hex4(start)
            if low in _LOW_SURROGATES:
                return chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00)
        if 0xD800 <= code < 0xE000:
            self.fault(start, f"\\u{code:04x} is half a character: it needs the other half of its pair")
        return chr(code)

    def hex4(self, start: int) -> int:
        digits = self.text[self.at:self.at + 4]
        if not re.fullmatch(_HEX4, digits):
            self.fault(start, r"\u must be followed by four hexadecimal digits")
        self.at += 4
        return int(digits, 16)

    def number(self) -> Node:
        start = self.at
        number = re.compile(_NUMBER).match(self.text, start)
        if not number or self.text[number.end():number.end() + 1] not in _AFTER_NUMBER:
            self.fault(start, f"{self.found()} is not a decimal number, and text must stand in double quotes")
        self.at = number.end()
        return Node(NUMBER, number.group(), *self.place(start))

    def word(self) -> Node:
        """true, false or null; anything else here is a fault."""
        start = self.at
        self.bad_character(self.text[start])
        word = self.found()
        if word not in _LITERALS:
            right = _LITERAL_HINTS.get(word, f'"{word}"')
            self.fault(start, f"{word} is not a value: text stands in double quotes. Write {right}")
        self.at += len(word)
        return Node(_LITERALS[word], word, *self.place(start))
