"""One value at a time: how each kind of key reads what stands behind it."""

from __future__ import annotations

from typing import List, Optional, Tuple

import pytest

from lwsws.config import values
from lwsws.config.jsonc import parse
from lwsws.config.keys import KEYS
from lwsws.config.loader import parse_text
from lwsws.config.origin import Origin
from lwsws.config.report import Report


def read(level: str, name: str, *texts: str) -> Tuple[Optional[values.Value], List[str], bool]:
    """The value that the key has with these JSON texts, the faults as text, and whether one is fatal."""
    report = Report("f")
    nodes = [parse(text) for text in texts]
    value = values.read(KEYS[level][name], nodes, name, report)
    return value, [fault.reason for fault in report.faults], report.fatal > 0


@pytest.mark.parametrize("text, value", [
    ("true", True), ("1", True), ('"1"', True), ("2", True), ('"-1"', True), ("0.5", True), ('"on"', True),
    ('"YES"', True), ('"True"', True), ('" on "', True), ("1e999", True),
    ("false", False), ("0", False), ('"0"', False), ("0.0", False), ('"00"', False), ('"off"', False),
    ('"No"', False), ('"FALSE"', False),
])
def test_booleans_as_the_original_reads_them(text: str, value: bool) -> None:
    assert read("vhost", "sts", text) == (value, [], False)


@pytest.mark.parametrize("text", ['"maybe"', '""', '"y"', '"enabled"', '"1x"', '"\u0661"'])
def test_other_words_count_as_no_and_are_reported(text: str) -> None:
    value, faults, fatal = read("vhost", "sts", text)
    assert value is False
    assert not fatal
    assert "neither yes nor no" in faults[0]


@pytest.mark.parametrize("text, value", [('"on"', True), ('"off"', False), ("true", True)])
def test_ipv6only_knows_three_states(text: str, value: bool) -> None:
    assert read("vhost", "ipv6only", text) == (value, [], False)
    assert KEYS["vhost"]["ipv6only"].default is None


@pytest.mark.parametrize("text, value", [('"5"', 5), ("5", 5), ('" 60 "', 60), ('"007"', 7)])
def test_numbers(text: str, value: int) -> None:
    assert read("global", "timeout-secs", text) == (value, [], False)


@pytest.mark.parametrize("text, words", [
    ('"abc"', '"abc" is not a number: write a whole number of seconds from 1 to 31536000'),
    ('""', "is not a number"), ('"5s"', "is not a number"), ("1.5", "is not a number"),
    ("1e3", "is not a number"), ("true", "is not a number"), ('"1_000"', "is not a number"),
    ('"+5"', "is not a number"),
    ('"--5"', "is not a number"), ('"-"', "is not a number"), ('"\u0665"', "is not a number"),
    ("0", "0 is out of range"), ('"-5"', "out of range"), ("31536001", "out of range"),
    ("9" * 40, "out of range"), ('"' + "9" * 10_000 + '"', "out of range"),
])
def test_a_wrong_number_gives_the_default(text: str, words: str) -> None:
    value, faults, fatal = read("global", "timeout-secs", text)
    assert value is None
    assert not fatal
    assert words in faults[0]
    assert faults[0].endswith("The default is used: 5")


@pytest.mark.parametrize("level, name, text", [
    ("vhost", "port", '"http"'), ("vhost", "port", "0"), ("vhost", "port", '"99999"'),
    ("vhost", "port", "-1"), ("global", "uid", '"root"'), ("global", "gid", "-1"),
    ("global", "uid", "4294967295"),
])
def test_a_wrong_port_or_user_number_is_fatal(level: str, name: str, text: str) -> None:
    value, faults, fatal = read(level, name, text)
    assert value is None
    assert fatal
    assert "default" not in faults[0]


@pytest.mark.parametrize("text, value", [('"auto"', 0), ('"Auto"', 0), ("4", 4)])
def test_count_processes(text: str, value: int) -> None:
    assert read("global", "count-processes", text) == (value, [], False)


@pytest.mark.parametrize("texts, value", [
    (('"268435456"',), 268435456),
    (('"1"', "2"), 3),
    (('["1", 2, 4]',), 7),
    (('["1"]', '"8"'), 9),
    (('"2147485780"',), 2147485780),
])
def test_flags_are_ored_however_they_are_repeated(texts: Tuple[str, ...], value: int) -> None:
    assert read("vhost", "ssl-option-set", *texts) == (value, [], False)


def test_flags_of_a_key_that_one_object_has_twice_are_ored() -> None:
    """The specification: "It may be used multiple times and OR's the flags together"."""
    loaded = parse_text("""{ "vhosts": [ { "port": "1", "ssl-option-set": "268435456", "host-ssl-cert": "/c",
        "ssl-option-set": ["4", 8], "ssl-option-clear": 1, "enable-client-ssl": "1",
        "client-ssl-option-set": 16, "ssl-client-option-set": "32", "ssl-option-clear": "2" } ] }""")
    assert loaded.config is not None
    vhost, = loaded.config.vhosts
    assert (vhost.ssl_option_set, vhost.ssl_option_clear) == (268435456 | 4 | 8, 1 | 2)
    assert vhost.ssl_client_option_set == 16 | 32
    assert loaded.faults == []


def test_a_wrong_flag_leaves_the_others() -> None:
    value, faults, fatal = read("vhost", "ssl-option-clear", '["1", "0x10000000", "4"]')
    assert (value, fatal) == (5, False)
    assert '"0x10000000" is not a number' in faults[0]


@pytest.mark.parametrize("level, name, text", [
    ("vhost", "name", "{}"), ("vhost", "access-log", "[]"), ("vhost", "access-log", "true"),
    ("vhost", "port", "[80]"), ("vhost", "sts", "{}"), ("mount", "origin", "{}"),
    ("mount", "mountpoint", "[]"),
    ("global", "plugin-dir", "{}"), ("global", "server-string", "false"), ("mount", "follow-symlinks", "{}"),
    ("global", "timeout-secs", "{}"), ("mount", "cgi-env", '"A=b"'), ("vhost", "headers", "[[]]"),
    ("mount", "pmo", '[{"a": {}}]'),
    ("mount", "extra-mimetypes", '{".x": []}'), ("global", "reject-service-keywords", '"bot"'),
    ("vhost", "ssl-option-set", "{}"), ("mount", "pmo", '[{"a": null}]'),
])
def test_a_wrong_json_type_is_fatal(level: str, name: str, text: str) -> None:
    _, faults, fatal = read(level, name, text)
    assert fatal
    assert len(faults) == 1


def test_the_last_of_different_values_counts_and_is_reported() -> None:
    value, faults, fatal = read("vhost", "name", '"a"', '"b"')
    assert (value, fatal) == ("b", False)
    assert "more than once" in faults[0]


def test_the_same_value_twice_is_no_fault() -> None:
    assert read("vhost", "keepalive-timeout", '"2"', "2") == (2, [], False)


@pytest.mark.parametrize("text, value", [
    ('"WarmCat.COM."', "warmcat.com"), ('"a_b-c.example"', "a_b-c.example"), ('"[::1]"', "[::1]"),
    ('"::1"', "::1"), ("10", "10"),
])
def test_names_are_in_lower_case(text: str, value: str) -> None:
    assert read("vhost", "name", text) == (value, [], False)


@pytest.mark.parametrize("text, words", [
    ('"*.example.com"', '"example.com" already stands for its subdomains'),
    ('"http://example.com"', "write the host name alone"),
    ('"example.com:8080"', "write the host name alone"),
    ('"münchen.example"', "xn--"),
])
def test_names_that_no_client_asks_for(text: str, words: str) -> None:
    value, faults, fatal = read("vhost", "name", text)
    assert value
    assert not fatal
    assert words in faults[0]


def test_headers_keep_their_order_and_come_as_list_or_object() -> None:
    expected = (("X-B", "1"), ("X-A", "a b"), ("x-b", ""))
    assert read("vhost", "headers", '[{"X-B": 1, "X-A": " a b\\t"}, {"x-b": ""}]') == (expected, [], False)
    assert read("vhost", "headers", '{"X-B": "1"}', '{"X-A": "a b", "x-b": ""}') == (expected, [], False)


def test_header_values_beyond_ascii_become_utf8_on_the_wire() -> None:
    assert read("vhost", "headers", '{"X": "ü"}') == ((("X", "\xc3\xbc"),), [], False)
    assert read("global", "server-string", '"ü"') == ("\xc3\xbc", [], False)


@pytest.mark.parametrize("text", [
    '{"": "x"}', '{"A B": "x"}', '{"A:": "x"}', '{"Ü": "x"}', r'{"A\r\nB": "x"}', r'{"A": "x\r\nB: a"}',
    r'{"A": "x\u0000"}', r'{"A": "\u007f"}', r'{"\u212a": "x"}',
])
def test_headers_that_would_break_answers_are_fatal(text: str) -> None:
    """LESSONS 3.9."""
    value, faults, fatal = read("mount", "headers", text)
    assert (value, fatal, len(faults)) == ((), True, 1)


def test_a_header_value_may_hold_a_tab() -> None:
    assert read("mount", "headers", r'{"A": "x\ty"}') == ((("A", "x\ty"),), [], False)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Date", "Upgrade"])
def test_headers_that_the_server_alone_sends_are_left_out(name: str) -> None:
    value, faults, fatal = read("vhost", "headers", f'{{"{name}": "5", "X": "y"}}')
    assert (value, fatal) == ((("X", "y"),), False)
    assert "left out" in faults[0]


def test_options_keep_repeats_and_take_lists_and_booleans() -> None:
    assert read("mount", "pmo", '[{"a": "1", "b": [2, "3"]}, {"a": true, "c": false}]') == (
        (("a", "1"), ("b", "2"), ("b", "3"), ("a", "1"), ("c", "0")), [], False)


@pytest.mark.parametrize("text", ['{"": "x"}', '{"A=B": "x"}', r'{"A\u0000": "x"}', r'{"A": "\u0000"}'])
def test_environment_names_that_no_program_can_get_are_fatal(text: str) -> None:
    assert read("mount", "cgi-env", text)[2]


def test_media_types() -> None:
    assert read("mount", "extra-mimetypes", '{".ZIP": "application/zip", "*": ""}') == (
        ((".zip", "application/zip"), ("*", "")), [], False)
    value, faults, _ = read("mount", "extra-mimetypes", '{"zip": "zip"}')
    assert value == (("zip", "zip"),)
    assert 'write ".zip"' in faults[0]
    assert "no media type" in faults[1]
    assert read("mount", "extra-mimetypes", r'{".x": "a/b\r\nX: y"}')[2]


def test_rejected_words() -> None:
    assert read("global", "reject-service-keywords", '[{"scumbot": "404 Not Found", "evil": "403 Go  Away"}]',
                '{"teapot": 418}') == (
        (("scumbot", 404, "Not Found"), ("evil", 403, "Go  Away"), ("teapot", 418, "")), [], False)


@pytest.mark.parametrize("text", ['{"bot": "Not Found"}', '{"bot": "200 OK"}', '{"bot": "999"}',
                                  '{"": "404"}', '{"bot": "4041"}'])
def test_rejected_words_that_make_no_sense_are_left_out(text: str) -> None:
    value, faults, fatal = read("global", "reject-service-keywords", text)
    assert (value, fatal, len(faults)) == ((), False, 1)


def test_lists_of_text_add_up() -> None:
    assert read("global", "plugin-dir", '"/a"', '["/b", ""]', '"/c"') == (("/a", "/b", "/c"), [], False)


def test_addresses() -> None:
    value, faults, fatal = read("vhost", "proxy-protocol-from",
                                '["10.0.0.1", "10.1.2.3/8", "FE80::/10", "proxy", " Unix "]', '"::1"')
    assert value == ("10.0.0.1", "10.1.2.3/8", "fe80::/10", "unix", "::1")
    assert not fatal
    assert '"proxy" is neither an IP address or network' in faults[0]
    assert len(faults) == 1


@pytest.mark.parametrize("text, value", [("true", "yes"), ('"ON"', "yes"), ("1", "yes"), ("false", "no"),
                                         ('"0"', "no"), ('"Inside"', "inside")])
def test_follow_symlinks(text: str, value: str) -> None:
    assert read("mount", "follow-symlinks", text) == (value, [], False)


def test_a_wrong_word_for_follow_symlinks_gives_the_safe_default() -> None:
    value, faults, fatal = read("mount", "follow-symlinks", '"owner"')
    assert (value, fatal) == (None, False)
    assert "inside, yes, no" in faults[0]


@pytest.mark.parametrize("text, value", [
    ('"/"', "/"), ('"//"', "/"), ('"/two"', "/two"), ('"/two/"', "/two"), ('"/two/deep//"', "/two/deep"),
    ('""', None),
])
def test_mountpoints_lose_their_last_slash(text: str, value: Optional[str]) -> None:
    assert read("mount", "mountpoint", text) == (value, [], False)


@pytest.mark.parametrize("text", ['"/a//b"', '"/a/../b"', '"/./a"', '"/a%20b"', '"/a?b"', '"/a#b"'])
def test_mountpoints_that_match_nothing(text: str) -> None:
    value, faults, fatal = read("mount", "mountpoint", text)
    assert value
    assert not fatal
    assert len(faults) == 1


@pytest.mark.parametrize("text", ['"two"', '"./two"', r'"/a\nb"', r'"/\u0000"'])
def test_impossible_mountpoints_are_fatal(text: str) -> None:
    assert read("mount", "mountpoint", text)[2]


@pytest.mark.parametrize("text, value", [('"/"', None), ('""', None), ('"home.txt"', "home.txt"),
                                         ('"/test.html"', "test.html")])
def test_default_file(text: str, value: Optional[str]) -> None:
    assert read("mount", "default", text) == (value, [], False)


def test_origins() -> None:
    assert read("mount", "origin", '"file:///x"') == (Origin("file", "file", "/x"), [], False)
    assert read("mount", "origin", '"ftp://x"')[2]
    value, faults, fatal = read("mount", "origin", '">http:///x"')
    assert isinstance(value, Origin)
    assert not fatal
    assert "no host" in faults[0]


@pytest.mark.parametrize("text", ['"www-data"', '"a:b:c"', '":b"', '"a b:c"'])
def test_unix_socket_perms_need_user_and_group(text: str) -> None:
    value, faults, fatal = read("vhost", "unix-socket-perms", text)
    assert (value, fatal) == (None, False)
    assert "user:group" in faults[0]


def test_error_document() -> None:
    assert read("vhost", "error-document-404", '"/e.html"') == ("/e.html", [], False)
    value, faults, fatal = read("vhost", "error-document-404", '"e.html"')
    assert (value, fatal) == ("/e.html", False)
    assert 'write "/e.html"' in faults[0]
    assert read("vhost", "error-document-404", r'"/e\r\n"')[2]


@pytest.mark.parametrize("text", [r'"a\u0000b"', r'"a\nb"', r'"\u001b[m"'])
def test_control_characters_are_fatal_in_text_and_file_names(text: str) -> None:
    assert read("vhost", "access-log", text)[2]
    assert read("vhost", "ciphers", text)[2]
    assert read("vhost", "interface", text)[2]


@pytest.mark.parametrize("level, name", [("vhost", "dht"), ("global", "cpd-bypass"), ("mount", "protocol")])
@pytest.mark.parametrize("text", ["[]", "{}", "true", '"x"', "1.5"])
def test_keys_without_effect_take_anything(level: str, name: str, text: str) -> None:
    assert read(level, name, text, text) == (None, [], False)
