"""The configuration language: values, places, comments, and a helpful reason for each mistake."""

from __future__ import annotations

from typing import List, Tuple

import pytest

from lwsws.config import jsonc
from lwsws.config.jsonc import Node, SyntaxFault, decode, is_blank, parse


def strings(node: Node) -> List[str]:
    """The text of every scalar below `node`, in order."""
    if node.kind == jsonc.OBJECT:
        return [text for member in node.members for text in strings(member.node)]
    if node.kind == jsonc.ARRAY:
        return [text for item in node.items for text in strings(item)]
    return [node.value]


def fault(text: str) -> Tuple[int, int, str]:
    """The line, column and reason that `text` is refused with."""
    with pytest.raises(SyntaxFault) as caught:
        parse(text)
    return caught.value.line, caught.value.column, caught.value.reason


def test_every_type() -> None:
    node = parse('{"s": "a", "n": -1.5e3, "t": true, "f": false, "z": null, "l": [1, []], "o": {}}')
    assert [member.key for member in node.members] == ["s", "n", "t", "f", "z", "l", "o"]
    assert [member.node.kind for member in node.members] == ["string", "number", "true", "false", "null",
                                                             "array", "object"]
    assert strings(node) == ["a", "-1.5e3", "true", "false", "null", "1"]


def test_places_are_of_values_and_keys() -> None:
    node = parse('# first\r\n{\n  "ü": [ 1,\n\t"x" ] }')
    member = node.members[0]
    assert (node.line, node.column) == (2, 1)
    assert (member.line, member.column) == (3, 3)
    assert (member.node.line, member.node.column) == (3, 8)
    assert [(item.line, item.column) for item in member.node.items] == [(3, 10), (4, 2)]


@pytest.mark.parametrize("text", [
    '["a#b"]',
    '["a#b"]#',
    '#x\n["a#b" # "c"\n] # end',
    '##\n#\n[#\n"a#b"#,\n]#',
    '\r\n\t ["a#b"]\r\n',
])
def test_comments_end_with_their_line_and_never_begin_in_a_string(text: str) -> None:
    assert strings(parse(text)) == ["a#b"]


def test_escapes() -> None:
    assert strings(parse(r'["q\"q\\b\u0041\/t\b\f\n\r\t\u00e9\ud83d\ude00"]')) == ['q"q\\bA/t\b\f\n\r\té😀']


def test_data_dir_is_replaced_everywhere_in_values_and_not_in_keys() -> None:
    node = parse('{"_lws_ddir_": ["_lws_ddir_/x_lws_ddir_", {"k": "file://_lws_ddir_"}]}', "/usr/share")
    assert node.members[0].key == "_lws_ddir_"
    assert strings(node) == ["/usr/share/x/usr/share", "file:///usr/share"]


def test_a_repeated_key_stays_visible() -> None:
    assert [member.node.value for member in parse('{"a": 1, "b": 2, "a": 3}').members] == ["1", "2", "3"]


def test_depth_is_bounded() -> None:
    deep = jsonc.MAX_DEPTH
    assert parse("[" * deep + "]" * deep).kind == jsonc.ARRAY
    assert fault("[" * (deep + 1) + "]" * (deep + 1))[:2] == (1, deep + 1)
    assert "64 deep" in fault('{"a":' * 100_000)[2]


def test_a_long_file_is_read_in_linear_time() -> None:
    text = "# comment\n" * 20_000 + "[" + '"value", # note\n' * 20_000 + '"last"]'
    assert parse(text).items[-1].line == 40_001


@pytest.mark.parametrize("text, line, column, words", [
    ("", 1, 1, "nothing in it"),
    ("# only\n", 2, 1, "nothing in it"),
    ('{"a": 1,}', 1, 8, "a comma too many"),
    ('{\n "a": [1, 2,\n ]}', 2, 12, "a comma too many"),
    ('[1,,2]', 1, 4, "a comma too many"),
    ('{,"a": 1}', 1, 2, "a comma too many"),
    ('[,1]', 1, 2, "a value is missing in this list"),
    ('{"a": 1\n "b": 2}', 1, 8, "a comma is missing after this value, or a } for the { of line 1"),
    ('{"a": 1\n "b": 2}', 1, 8, 'what follows is "b" on line 2'),
    ('["a" # x\n "b"]', 1, 5, "a comma is missing"),
    ('["a" b]', 1, 5, "what follows is b on line 1"),
    ('{"a" "b"}', 1, 6, 'a colon is missing between the key "a" and its value'),
    ('{"a", 1}', 1, 5, "a colon is missing"),
    ('{"a"}', 1, 5, "a colon is missing"),
    ('{"a":}', 1, 6, 'a value is missing after the key "a": } stands in its place'),
    ('{"a":, "b": 1}', 1, 6, "a value is missing"),
    ('{"headers":: []}', 1, 12, "a value is missing"),
    ('{"a":', 1, 6, "the end of the file"),
    ('{"a": 1', 1, 8, "the file ends before the { of line 1 is closed by a }"),
    ('{"a": [\n{"b": 1}', 2, 9, "the [ of line 1 is closed by a ]"),
    ('{"a": 1,', 1, 9, "the file ends"),
    ('{', 1, 2, "the file ends"),
    ('{"a": 1]', 1, 8, "] closes nothing here: the { of line 1 must be closed by a } first"),
    ('[1}', 1, 3, "} closes nothing here"),
    ('{]', 1, 2, "unexpected ]"),
    ('[}', 1, 2, "a value is missing in this list: }"),
    ('{"a": "b": "c"}', 1, 10, "a colon too many"),
    ('{"a": 1}}', 1, 9, "a bracket too many"),
    ('{"a": 1}\n{"b": 2}', 2, 1, "one { ... } only"),
    ('{{"a": 1}}', 1, 2, 'a "key": must stand before this {'),
    ('{port: 1}', 1, 2, 'the key port must stand in double quotes: "port"'),
    ("{'a': 1}", 1, 2, 'not the plain double quote'),
    ("['a']", 1, 2, "not the plain double quote"),
    ('{“ciphers”: "x"}', 1, 2, "not the plain double quote"),
    ('[“”]', 1, 2, "not the plain double quote"),
    ('["a" // note\n]', 1, 5, "a comma is missing"),
    ('// note\n[]', 1, 1, "a comment begins with #"),
    ('{/* note */}', 1, 2, "a comment begins with #"),
    ('[\u00a01]', 1, 2, "U+00A0"),
    ('[\ufeff1]', 1, 2, "U+FEFF"),
    ('[yes]', 1, 2, 'yes is not a value: text stands in double quotes. Write "yes"'),
    ('[True]', 1, 2, "Write true"),
    ('[trueish]', 1, 2, 'Write "trueish"'),
    ('[eth0]', 1, 2, 'Write "eth0"'),
    ('[01]', 1, 2, "01 is not a decimal number"),
    ('[+1]', 1, 2, 'Write "+1"'),
    ('[-]', 1, 2, "not a decimal number"),
    ('[1.]', 1, 2, "not a decimal number"),
    ('[.5]', 1, 2, 'Write ".5"'),
    ('[0x1F]', 1, 2, "not a decimal number"),
    ('[1e]', 1, 2, "not a decimal number"),
    ('[1\u0661]', 1, 2, "not a decimal number"),
    ('[127.0.0.1]', 1, 2, "127.0.0.1 is not a decimal number, and text must stand in double quotes"),
    ('[5x]', 1, 2, "5x is not a decimal number"),
    ('[NaN]', 1, 2, "is not a value"),
    ('["a\n"]', 1, 2, "no closing double quote on its line"),
    ('["a', 1, 2, "no closing double quote"),
    ('{"a: 1,\n "b": 2}', 1, 2, "no closing double quote"),
    ('["a\tb"]', 1, 4, r"write \t"),
    ('["a\x00b"]', 1, 4, r"write \u0000"),
    (r'["a\x41"]', 1, 4, r"unknown escape \x"),
    (r'["C:\path"]', 1, 5, r"a backslash itself is written \\"),
    ('["a\\', 1, 4, "unknown escape"),
    (r'["\u12"]', 1, 3, "four hexadecimal digits"),
    (r'["\u 041"]', 1, 3, "four hexadecimal digits"),
    (r'["\ud800"]', 1, 3, "half a character"),
    (r'["\ude00x"]', 1, 3, "half a character"),
    (r'["\ud800\u0041"]', 1, 3, "half a character"),
    (r'["\ud800\u"]', 1, 3, "four hexadecimal digits"),
])
def test_mistakes(text: str, line: int, column: int, words: str) -> None:
    at_line, at_column, reason = fault(text)
    assert words in reason
    assert (at_line, at_column) == (line, column)


def test_decode_drops_a_byte_order_mark() -> None:
    assert decode(b"\xef\xbb\xbf{}") == "{}"


@pytest.mark.parametrize("data, line, column", [
    (b"\xff", 1, 1),
    (b'# \xc3\xbc\n"\xc3\xbc\xe9"', 2, 3),
    (b'\xef\xbb\xbf"\xc3', 1, 2),
    (b'"\xed\xa0\x80"', 1, 2),
])
def test_decode_tells_where_the_text_is_not_utf8(data: bytes, line: int, column: int) -> None:
    with pytest.raises(SyntaxFault) as caught:
        decode(data)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert "UTF-8" in caught.value.reason


def test_is_blank() -> None:
    assert is_blank("")
    assert is_blank(" \r\n# x\n\t#")
    assert not is_blank("# x\n{}")
