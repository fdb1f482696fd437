"""The file of state: what is written is read, and whatever else is there is the first state."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from lwsws.acme.state import MAX_BYTES, Shown, State, decode, encode
from lwsws.wire.dates import format_date
from tests.acme.support import challenge, full_state, shown

FIRST = State()
CHALLENGE = {"kind": "http-01", "name": "w.test", "token": "t", "authorization": "t.x", "pem": ""}


def line(**members: Any) -> bytes:
    return json.dumps(members).encode() + b"\n"


@pytest.mark.parametrize("state", [
    FIRST, full_state(), State(mark="m", failures=1, error="x", tried=1.0, next_try=2.0),
    State(renew_now=True), State(shown=shown()), State(turns=7, directory="https://a.test/"),
    State(next_try=1_800_000_000.123456)])
def test_what_is_written_is_read(state: State) -> None:
    data = encode(state)
    assert decode(data) == state
    assert data.endswith(b"\n") and data.count(b"\n") == 1
    assert data.isascii()


@pytest.mark.parametrize("text, said", [
    ("\ud800", ""), ("a\0", ""), ("a\nb", ""), ("\u2028", ""), ("a\x1b[2Jb", ""), ("\u202etxt.exe", ""),
    ("b\u00fccher", "b\u00fccher"), ("a  b", "a  b"), ("x" * 1000, "x" * 1000)],
    ids=lambda text: ascii(text[:20]))
@pytest.mark.parametrize("name", ["mark", "error", "directory", "window_of"])
def test_texts_are_fit_for_the_terminal_of_root(name: str, text: str, said: str) -> None:
    """Whoever writes the file is not root, who is shown what is in it."""
    wanted: Dict[str, Any] = {name: said}
    written: Dict[str, Any] = {name: text}
    assert decode(line(**written)) == State(**wanted)
    assert decode(encode(State(**written))) == State(**wanted)


def test_what_is_as_at_first_is_left_out() -> None:
    assert encode(FIRST) == b"{}\n"
    assert json.loads(encode(State(failures=2, mark="m"))) == {"mark": "m", "failures": 2}


def test_a_challenge_in_words() -> None:
    members = json.loads(encode(State(shown=shown())))["shown"]
    assert members == {"kind": "http-01", "name": "w.test", "token": "token_-1",
                       "authorization": "token_-1.thumbprint", "pem": ""}


def test_a_challenge_with_its_certificate_is_not_too_large() -> None:
    pem = "-----BEGIN CERTIFICATE-----\n" + "A" * 8000
    assert len(encode(full_state()._replace(error="\u1234" * 500, shown=Shown(challenge(), pem)))) < MAX_BYTES


@pytest.mark.parametrize("data", [
    b"", b"\n", b"\n\n", b"\0" * 100, b"\0" * 100 + b"\n", b"null\n", b"[]\n", b'"x"\n', b"1\n", b"true\n",
    b"{\n", b"}\n", b"{]\n", b"\xff\xfe{}\n", b"\xef\xbb\xbf{}\n", b"NaN\n", b"{}{}\n", b"garbage\n",
    b'{"mark": "m"}', b"[" * 60000 + b"\n", b'{"a":' * 10000 + b"\n", b'{"mark": "\xe9"}\n'],
    ids=lambda data: ascii(data[:12]))
def test_the_first_state_for_what_is_none(data: bytes) -> None:
    assert decode(data) == FIRST


def test_torn_at_each_byte() -> None:
    data = encode(full_state())
    for end in range(len(data)):
        assert decode(data[:end]) == FIRST
    # And with the rest of a longer one behind it, before that is cut off.
    assert decode(data + b'more"}\n') == full_state()


@pytest.mark.parametrize("members", [
    {"mark": 1}, {"mark": None}, {"mark": ["x"]}, {"failures": "3"}, {"failures": 3.0}, {"failures": True},
    {"failures": None}, {"turns": 2.0}, {"turns": True}, {"directory": 1}, {"error": {}}, {"tried": "1"},
    {"tried": True}, {"tried": None}, {"tried": []}, {"renew_now": 1}, {"renew_now": "yes"},
    {"window_of": 5}, {"shown": 1}, {"shown": []}, {"shown": {}}, {"shown": "x"}, {"shown": None}])
def test_members_of_other_kinds_are_as_at_first(members: Dict[str, Any]) -> None:
    assert decode(line(**members)) == FIRST
    assert decode(line(mark_="x", next_try=7, **members)).next_try == 7.0


def test_a_number_without_a_point_is_a_time_too() -> None:
    state = decode(line(tried=12, next_try=13.5))
    assert (state.tried, state.next_try) == (12.0, 13.5)
    assert isinstance(state.tried, float)


def test_unknown_members_are_passed_over() -> None:
    assert decode(line(mark="m", later="x", shown={**CHALLENGE, "more": 1})) == State(
        mark="m", shown=Shown(challenge(token="t")._replace(authorization="t.x")))


@pytest.mark.parametrize("name", sorted(CHALLENGE))
@pytest.mark.parametrize("value", [None, 1, [], {}])
def test_a_challenge_that_lacks_something_is_none(name: str, value: Any) -> None:
    assert decode(line(mark="m", shown={**CHALLENGE, name: value})) == State(mark="m")
    without = {key: each for key, each in CHALLENGE.items() if key != name}
    assert decode(line(mark="m", shown=without)) == State(mark="m")


@pytest.mark.parametrize("name", ["kind", "name", "token", "authorization"])
@pytest.mark.parametrize("text", [
    "\n", "a\nb", "a\0", "\x1b[2J", "\x7f", "\u00e4", "\u0661", "\ud800", "a\tb"], ids=ascii)
def test_a_challenge_that_cannot_be_shown_to_anybody(name: str, text: str) -> None:
    """It goes into answers, to a hook, and to root, who asks how things are."""
    assert decode(line(mark="m", shown={**CHALLENGE, name: text})) == State(mark="m")


def test_the_certificate_of_a_challenge_has_lines() -> None:
    for pem, is_kept in (("a\nb\n", True), ("", True), ("\u00e4", False), ("a\ud800", False)):
        found = decode(line(shown={**CHALLENGE, "pem": pem})).shown
        assert (found is not None and found.pem == pem) == is_kept


TIMES = ("tried", "next_try", "renewed", "window_start", "window_end", "ask_at")


@pytest.mark.parametrize("number", ["-1", "-0.001", "1e11", "100000000000", "1e300", "-1e300"])
@pytest.mark.parametrize("name", TIMES)
def test_times_that_no_calendar_has(name: str, number: str) -> None:
    assert decode(f'{{"mark": "m", "{name}": {number}}}\n'.encode()) == State(mark="m")


@pytest.mark.parametrize("number", ["0", "-0.0", "1e-300", "99999999999", "99999999999.9"])
@pytest.mark.parametrize("name", TIMES)
def test_times_at_the_ends_of_the_calendar(name: str, number: str) -> None:
    found = getattr(decode(f'{{"{name}": {number}}}\n'.encode()), name)
    assert found == float(number)
    assert format_date(int(found)).endswith(" GMT")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400],
                         ids=["nan", "inf", "-inf", "1e999", "many-digits"])
def test_what_is_no_time_at_all(number: str) -> None:
    """No calendar has it, so it would end whoever writes it to the log; no loader of JSON refuses it."""
    for name in TIMES:
        assert decode(f'{{"{name}": {number}}}\n'.encode()) == FIRST
