"""What an ACME server answers: documents, problems, how long it wants to be left alone, and nonsense."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from lwsws.wire.acme_answer import (
    MAX_RETRY_AFTER,
    MAX_TEXT,
    AcmeError,
    Answer,
    Unreachable,
    describe,
    failure,
    find_challenge,
    identifier_of,
    member,
    members,
    printable,
    problem,
    retry_after,
    texts,
)
from lwsws.wire.headers import Headers
from tests.support.effort import LINEAR, growth

ACME = "urn:ietf:params:acme:error:"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
NOT_PROPER = r"^the CA's answer has no proper 'name'$"
HOSTILE = "one\r\n two\t\x1b[2J\0\x7f\x85\u2028\u202e\ud800"


def answer(body: Any = b"", status: int = 200, **headers: str) -> Answer:
    """An answer; a body that is not bytes is put in JSON, and in the names of `headers` _ stands for -."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, Headers([(name.replace("_", "-"), text) for name, text in headers.items()]), data)


# Documents


@pytest.mark.parametrize(
    "body, value",
    [
        (b"{}", {}),
        (b' {"a": [1, null, true, "\\u00e4"]}\r\n', {"a": [1, None, True, "\xe4"]}),
        (b'{"a": "\xc3\xa4"}', {"a": "\xe4"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
    ],
)
def test_json_objects(body: bytes, value: Dict[str, Any]) -> None:
    assert members(answer(body)) == value


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"7", b"true", b"{", b"{}{}", b"{'a': 1}", b'{"a": "\xff"}', b"\xff\xfe\0",
     b"\0", b"[" * 200_000, b'{"a":' * 200_000, b'{"a": ' + b"9" * 20_000 + b"}x"],
)
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(AcmeError, match=r"^the CA answers with status 418 and no JSON object: ") as caught:
        members(answer(body, 418))
    assert caught.value.text.isprintable()
    assert len(caught.value.text) < 300


def test_what_it_says_instead_of_json_is_told() -> None:
    html = b"<html>\r\n<title>502 Bad \xe9 Gateway</title>\x1b" + b"x" * 999
    with pytest.raises(AcmeError) as caught:
        members(answer(html, 502))
    begin = "'<html> <title>502 Bad \xe9 Gateway</title>?" + "x" * 19 + "'"
    assert str(caught.value) == f"the CA answers with status 502 and no JSON object: {begin}"


@pytest.mark.parametrize("kind, value", [(str, ""), (str, "x"), (list, []), (dict, {"a": 1})])
def test_members_of_the_right_type(kind: type, value: Any) -> None:
    assert member({"name": value}, "name", kind) == value


@pytest.mark.parametrize("kind", [str, list, dict])
@pytest.mark.parametrize("value", [{}, {"name": None}, {"name": 7}, {"name": True}, {"Name": "x"}])
def test_members_that_are_missing_or_of_the_wrong_type(kind: type, value: Any) -> None:
    with pytest.raises(AcmeError, match=NOT_PROPER):
        member(value, "name", kind)


def test_lists_of_texts() -> None:
    assert texts({"name": ["a", ""]}, "name") == ("a", "")
    for value in ([], ["a", 7], [None], "ab", {"a": "b"}, None):
        with pytest.raises(AcmeError, match=NOT_PROPER):
            texts({"name": value}, "name")


# Text for people


@pytest.mark.parametrize(
    "text, found",
    [
        ("", ""), ("a  b", "a b"), (" a\r\n\tb\v\f ", "a b"), ("gr\xfcn \u65e5", "gr\xfcn \u65e5"),
        ("\x1b[31m\0\x7f", "?[31m??"), ("a\u2028b\u2029c\x85d\xa0e", "a b c d e"),
        ("\u202e\ud800\ufeff", "???"),
        ("x" * 20, "x" * 20), ("x" * 21, "x" * 20 + "..."), ("\n" * 999 + "x", "x"),
    ],
)
def test_printable(text: str, found: str) -> None:
    assert printable(text, 20) == found


def test_printable_has_a_limit() -> None:
    assert printable("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert printable("x" * (MAX_TEXT + 1)) == "x" * MAX_TEXT + "..."
    assert growth(lambda size: printable("x\n" * size), 5000) < LINEAR


# Problems (RFC 7807, RFC 8555 6.7)


@pytest.mark.parametrize(
    "value, kind, text",
    [
        ({"type": ACME + "caa", "detail": "not by us"}, "caa", "caa: not by us"),
        ({"type": ACME + "caa", "title": "No"}, "caa", "caa: No"),
        ({"type": ACME + "caa", "title": "No", "detail": "not by us"}, "caa", "caa: not by us"),
        ({"type": ACME + "caa"}, "caa", "caa"),
        ({"detail": "x"}, "", "an unnamed problem: x"),
        ({}, "", "an unnamed problem"),
        ({"type": "about:blank", "title": "Not Found"}, "about:blank", "about:blank: Not Found"),
        ({"type": "https://ca.test/full", "detail": "x"}, "https://ca.test/full", "https://ca.test/full: x"),
        ({"type": 7, "detail": ["a", 1]}, "7", "7: ['a', 1]"),
        ({"type": ACME + HOSTILE, "detail": HOSTILE}, "one two ?[2J?? ??",
         "one two ?[2J?? ??: one two ?[2J?? ??"),
        ({"type": "t" * 999, "detail": "d"}, "t" * 60 + "...", "t" * 300 + "..."),
        (None, "", "nothing more about it"), ([{}], "", "nothing more about it"),
        ("x", "", "nothing more about it"), (7, "", "nothing more about it"),
    ],
)
def test_what_a_problem_says(value: Any, kind: str, text: str) -> None:
    assert describe(value) == (kind, text)


def below(name: Any, detail: Any = "d") -> Dict[str, Any]:
    """A problem with one name."""
    return {"type": ACME + "dns", "detail": detail, "identifier": {"type": "dns", "value": name}}


@pytest.mark.parametrize(
    "subproblems, text",
    [
        ([below("a.test")], "; a.test: dns: d"),
        ([below("a.test"), below("b.test", "no\naddress")], "; a.test: dns: d; b.test: dns: no address"),
        ([{"detail": "x"}, {}, {"identifier": 7}, {"identifier": {}}],
         "; an unnamed problem: x" + "; an unnamed problem" * 3),
        ([7, None, "x", [], below("a.test")], "; a.test: dns: d"),
        ([below("a.test")] * 99, "; a.test: dns: d" * 5),
        ([below("n" * 99)], "; " + "n" * 80 + "...: dns: d"),
        ([below("a\r\n\x1bb")], "; a ?b: dns: d"),
        ([below(7)], "; 7: dns: d"),
        ([], ""), ({}, ""), ("x", ""), (None, ""),
    ],
)
def test_problems_below_a_problem(subproblems: Any, text: str) -> None:
    """RFC 8555 6.7.1."""
    value = {"type": ACME + "compound", "detail": "several", "subproblems": subproblems}
    assert describe(value) == ("compound", "compound: several" + text)


def test_a_problem_is_an_error() -> None:
    told = {"type": ACME + "rateLimited", "detail": "too many", "status": 400}
    error = problem(answer({**told, "subproblems": [below("a.test")]}, 429, Retry_After="60"))
    assert str(error) == error.text == "the CA says rateLimited: too many; a.test: dns: d (status 429)"
    assert (error.kind, error.retry_after) == ("rateLimited", 60)
    error = problem(answer(b"<html>", 503, Retry_After="60"))
    assert str(error) == "the CA answers with status 503 and no JSON object: '<html>'"
    assert (error.kind, error.retry_after) == ("", 60)


def test_the_longest_problem() -> None:
    value = {"type": HOSTILE * 999, "detail": HOSTILE * 999}
    error = problem(answer({**value, "subproblems": [below(HOSTILE * 99, HOSTILE * 999)] * 99}, 400))
    assert error.text.isprintable()
    assert len(error.text) < 2500
    assert error.kind.isprintable()
    assert len(error.kind) <= 60 + len("...")


@pytest.mark.parametrize("depth", [50, 500, 900, 5000, 50_000])
@pytest.mark.parametrize(
    "where", ['{"detail":%s}', '{"type":%s}', '{"subproblems":[{"identifier":{"value":%s}}]}']
)
def test_a_problem_that_is_deep(where: str, depth: int) -> None:
    """Lists in lists: too deep for JSON here, or not; then what is told of them has a limit."""
    deep = "[" * depth + "]" * depth
    error = problem(answer((where % deep).encode(), 400))
    assert error.text.startswith("the CA ")
    assert len(error.text) < 900


def test_errors() -> None:
    error = AcmeError("text", "kind", 5.0)
    assert (str(error), error.text, error.kind, error.retry_after) == ("text", "text", "kind", 5.0)
    gone = Unreachable("gone")
    assert isinstance(gone, AcmeError)
    assert (str(gone), gone.kind, gone.retry_after) == ("gone", "", 0.0)


# How long to wait (RFC 9110 10.2.3)


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("0", 0), ("1", 1), ("120", 120), (" 7 ", 7), ("007", 7), ("604799", 604799),
        ("604801", MAX_RETRY_AFTER), ("999999999", MAX_RETRY_AFTER), ("1" + "0" * 5000, MAX_RETRY_AFTER),
        ("", 0), ("-1", 0), ("+1", 0), ("1.5", 0), ("1e3", 0), ("1_0", 0), ("0x10", 0), ("soon", 0),
        ("5s", 0), ("1, 2", 0), ("\xb2", 0), ("\u0665", 0), ("nan", 0), ("inf", 0),
    ],
)
def test_retry_after_in_seconds(text: str, seconds: float) -> None:
    assert retry_after(answer(Retry_After=text)) == seconds
    assert retry_after(answer(retry_after=text, Date=DATE)) == seconds


@pytest.mark.parametrize(
    "until, seconds",
    [
        ("Sun, 06 Nov 1994 08:49:38 GMT", 1),
        ("Sun, 06 Nov 1994 09:49:37 GMT", 3600),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
        ("Sun Nov  6 08:50:37 1994", 60),
        (DATE, 0),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Sun, 06 Nov 1994 08:49:38", 0),
        ("Sun, 32 Nov 1994 08:49:38 GMT", 0),
    ],
)
def test_retry_after_as_a_date(until: str, seconds: float) -> None:
    """The clock of the server counts, which it tells; without that nobody knows what it means."""
    assert retry_after(answer(Retry_After=until, Date=DATE)) == seconds
    assert retry_after(answer(Retry_After=until)) == 0
    assert retry_after(answer(Retry_After=until, Date="today")) == 0


def test_no_retry_after() -> None:
    assert retry_after(answer()) == retry_after(answer(Date=DATE)) == 0
    assert retry_after(Answer(429, Headers([("Retry-After", "1"), ("Retry-After", "2")]), b"")) == 0


# Authorizations


def test_the_challenge_of_a_kind() -> None:
    first, second = {"type": "dns-01", "url": "x"}, {"type": "http-01", "url": "y"}
    for challenges in ([first, second], [7, None, {}, second, first], [second, {"type": "http-01"}]):
        assert find_challenge({"challenges": challenges}, "http-01") is second


@pytest.mark.parametrize(
    "value, text",
    [
        ({"challenges": []}, "the CA does not offer http-01, only nothing"),
        ({"challenges": [7, [], None]}, "the CA does not offer http-01, only nothing"),
        ({"challenges": [{"type": "a"}, {"type": "b\n\x1b"}]}, "the CA does not offer http-01, only a, b ?"),
        ({"challenges": [{"type": str(number)} for number in range(9)]},
         "the CA does not offer http-01, only 0, 1, 2, 3, 4"),
        ({"challenges": [{"type": ["http-01"]}]}, "the CA does not offer http-01, only ['http-01']"),
        ({"challenges": [{"type": "dns-01"}], "wildcard": True},
         "the CA does not offer http-01, only dns-01. A name with a wildcard needs dns-01"),
        ({"challenges": {}}, "the CA's answer has no proper 'challenges'"),
        ({}, "the CA's answer has no proper 'challenges'"),
    ],
)
def test_a_kind_that_is_not_offered(value: Any, text: str) -> None:
    with pytest.raises(AcmeError) as caught:
        find_challenge(value, "http-01")
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "challenges, text",
    [
        ([{"error": {"type": ACME + "connection", "detail": "refused"}}], "connection: refused"),
        ([{}, 7, {"error": None}, {"error": {}}, {"error": {"detail": "x"}}], "an unnamed problem: x"),
        ([{"error": {"detail": "x"}}, {"error": {"detail": "y"}}], "an unnamed problem: x"),
        ([{"error": {"detail": "x", "subproblems": [below("a.test")]}}],
         "an unnamed problem: x; a.test: dns: d"),
        ([{"error": "x"}], "nothing more about it"),
        ([], "and does not say why"),
    ],
)
def test_why_an_authorization_has_failed(challenges: Any, text: str) -> None:
    assert failure({"challenges": challenges}) == text


def test_a_failed_authorization_without_challenges() -> None:
    with pytest.raises(AcmeError, match="no proper 'challenges'"):
        failure({"challenges": None})


@pytest.mark.parametrize(
    "value, name",
    [
        ({"identifier": {"type": "dns", "value": "a.test"}}, "a.test"),
        ({"identifier": {"value": ""}}, ""),
        ({"identifier": {"value": 7}}, None), ({"identifier": {}}, None), ({"identifier": "a.test"}, None),
        ({"identifier": None}, None), ({}, None),
    ],
)
def test_whom_an_authorization_is_about(value: Any, name: Any) -> None:
    assert identifier_of(value) == name
