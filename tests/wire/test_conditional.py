"""Conditional requests and ranges: every step of RFC 9110 13.2.2, and every form of a Range field."""

from __future__ import annotations

import random
from typing import Dict, List, Tuple

import pytest

from lwsws.wire.conditional import MAX_RANGES, Verdict, evaluate, is_conditional, make_etag
from lwsws.wire.dates import format_date
from lwsws.wire.headers import Headers

ETAG = '"a-1"'
MTIME = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
SIZE = 10

Fields = Dict[str, str]


def verdict(fields: Fields, method: str = "GET", size: int = SIZE) -> Verdict:
    return evaluate(method, Headers(list(fields.items())), ETAG, MTIME, size)


def status(fields: Fields, method: str = "GET") -> int:
    return verdict(fields, method).status


def ranges_of(value: str, size: int = SIZE) -> Tuple[int, List[Tuple[int, int]]]:
    found = verdict({"Range": value}, size=size)
    return found.status, list(found.ranges)


def test_the_date_used_here_is_that_of_the_representation() -> None:
    assert format_date(MTIME) == DATE


def test_an_unconditional_request_gets_the_whole() -> None:
    headers = Headers([("Host", "a.example"), ("Accept", "*/*"), ("If-Range", ETAG)])
    assert not is_conditional(headers)
    assert evaluate("GET", headers, ETAG, MTIME, SIZE) == (200, ())


@pytest.mark.parametrize(
    "name", ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Range"]
)
def test_each_condition_is_noticed(name: str) -> None:
    assert is_conditional(Headers([(name, "x")]))


@pytest.mark.parametrize(
    "value, wanted",
    [
        ("*", 304),
        (ETAG, 304),
        ("W/" + ETAG, 304),
        (f'"x", {ETAG}', 304),
        (f'"x",{ETAG},"y"', 304),
        (f", ,\t{ETAG} ,", 304),
        ('W/"x", W/' + ETAG, 304),
        (f'"with,comma", {ETAG}', 304),
        ('"a-2"', 200),
        ("a-1", 200),                   # a tag without quotes is none
        ("w/" + ETAG, 200),             # RFC 9110 8.8.3: W is case-sensitive
        ("W/ " + ETAG, 200),
        ('"a-1', 200),
        (f'"x" {ETAG}', 200),           # no comma between them
        ('"x y", ' + ETAG, 200),        # no blank in a tag; what follows a fault is not read
        ("**", 200),
        ("", 200),
        ('"\xe9", ' + ETAG, 304),       # obs-text is allowed in a tag
    ],
)
def test_if_none_match(value: str, wanted: int) -> None:
    assert status({"If-None-Match": value}) == wanted
    assert status({"If-None-Match": value}, "HEAD") == wanted
    # RFC 9110 13.1.2: for other methods a match means that the condition failed.
    assert status({"If-None-Match": value}, "PUT") == (412 if wanted == 304 else 200)


def test_if_none_match_repeated_is_one_list() -> None:
    headers = Headers([("If-None-Match", '"x"'), ("if-none-match", ETAG)])
    assert evaluate("GET", headers, ETAG, MTIME, SIZE).status == 304


@pytest.mark.parametrize(
    "value, wanted",
    [
        ("*", 200),
        (ETAG, 200),
        (f'"x", {ETAG}', 200),
        ("W/" + ETAG, 412),             # RFC 9110 13.1.1: strong comparison
        ('"x"', 412),
        ("a-1", 412),
        ("", 412),
    ],
)
def test_if_match(value: str, wanted: int) -> None:
    assert status({"If-Match": value}) == wanted
    assert status({"If-Match": value}, "HEAD") == wanted


@pytest.mark.parametrize(
    "value, wanted",
    [
        (DATE, 304),
        (AFTER, 304),
        (BEFORE, 200),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("Sun Nov  6 08:49:37 1994", 304),
        ("yesterday", 200),
        ("", 200),
        (f"{DATE}, {DATE}", 200),       # RFC 9110 13.1.3: more than one member counts as none
    ],
)
def test_if_modified_since(value: str, wanted: int) -> None:
    assert status({"If-Modified-Since": value}) == wanted
    assert status({"If-Modified-Since": value}, "HEAD") == wanted
    assert status({"If-Modified-Since": value}, "POST") == 200


@pytest.mark.parametrize(
    "value, wanted", [(DATE, 200), (AFTER, 200), (BEFORE, 412), ("tomorrow", 200), ("", 200)]
)
def test_if_unmodified_since(value: str, wanted: int) -> None:
    assert status({"If-Unmodified-Since": value}) == wanted
    assert status({"If-Unmodified-Since": value}, "DELETE") == wanted


@pytest.mark.parametrize(
    "fields, wanted",
    [
        # 1 before 2: a tag that fits makes the date unimportant.
        ({"If-Match": ETAG, "If-Unmodified-Since": BEFORE}, 200),
        ({"If-Match": '"x"', "If-Unmodified-Since": AFTER}, 412),
        # 1 and 2 before 3 and 4.
        ({"If-Match": '"x"', "If-None-Match": ETAG}, 412),
        ({"If-Match": ETAG, "If-None-Match": ETAG}, 304),
        ({"If-Unmodified-Since": BEFORE, "If-None-Match": ETAG}, 412),
        ({"If-Unmodified-Since": DATE, "If-Modified-Since": DATE}, 304),
        # 3 before 4.
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, 200),
        ({"If-None-Match": ETAG, "If-Modified-Since": BEFORE}, 304),
        # 3 and 4 before 5.
        ({"If-None-Match": ETAG, "Range": "bytes=0-1"}, 304),
        ({"If-Modified-Since": DATE, "Range": "bytes=0-1"}, 304),
        ({"If-None-Match": '"x"', "Range": "bytes=0-1"}, 206),
        ({"If-Match": '"x"', "Range": "bytes=0-1"}, 412),
        ({"If-Match": ETAG, "Range": "bytes=99-"}, 416),
    ],
)
def test_the_order_of_the_steps(fields: Fields, wanted: int) -> None:
    assert status(fields) == wanted


@pytest.mark.parametrize(
    "value, wanted",
    [
        (ETAG, 206),
        ("W/" + ETAG, 200),             # RFC 9110 13.1.5: strong comparison
        ('"x"', 200),
        (DATE, 206),
        ("Sun Nov  6 08:49:37 1994", 206),
        (AFTER, 200),                   # exactly that date or none
        (BEFORE, 200),
        ("nonsense", 200),
        (f'"x", {ETAG}', 200),          # no list here
        ("", 200),
    ],
)
def test_if_range(value: str, wanted: int) -> None:
    assert status({"If-Range": value, "Range": "bytes=0-3"}) == wanted


@pytest.mark.parametrize("now, wanted", [(MTIME - 1, 200), (MTIME, 200), (MTIME + 1, 206)])
def test_a_date_in_if_range_means_nothing_while_its_second_lasts(now: int, wanted: int) -> None:
    headers = Headers([("Range", "bytes=0-3"), ("If-Range", DATE)])
    assert evaluate("GET", headers, ETAG, MTIME, SIZE, now).status == wanted


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_range_is_for_get_only(method: str) -> None:
    assert status({"Range": "bytes=0-3"}, method) == 200
    assert status({"Range": "bytes=99-"}, method) == 200


@pytest.mark.parametrize(
    "value, wanted",
    [
        ("bytes=0-3", [(0, 3)]),
        ("bytes=0-0", [(0, 0)]),
        ("bytes=9-9", [(9, 9)]),
        ("bytes=4-", [(4, 9)]),
        ("bytes=0-", [(0, 9)]),
        ("bytes=-3", [(7, 9)]),
        ("bytes=-100", [(0, 9)]),       # a shorter file is sent whole
        ("bytes=5-100", [(5, 9)]),      # past the end: clipped
        ("BYTES=0-3", [(0, 3)]),        # RFC 9110 14.1: unit names ignore case
        ("bytes=000000000000000000000000004-5", [(4, 5)]),
        ("bytes=5-" + "9" * 400, [(5, 9)]),
        ("bytes=-" + "9" * 400, [(0, 9)]),
        ("bytes=0-1,4-5", [(0, 1), (4, 5)]),
        ("bytes=0-1, 4-5", [(0, 1), (4, 5)]),
        ("bytes= 0-1 ,\t4-5 , ,", [(0, 1), (4, 5)]),
        ("bytes=4-5,0-1", [(4, 5), (0, 1)]),            # disjoint ones in the order asked for
        ("bytes=0-1,99-", [(0, 1)]),                    # what cannot be satisfied is left out
        ("bytes=-0,0-1", [(0, 1)]),
        ("bytes=0-4,3-6", [(0, 6)]),                    # overlapping and touching ones become one
        ("bytes=0-4,5-6", [(0, 6)]),
        ("bytes=6-7,0-3,2-4", [(0, 4), (6, 7)]),
        ("bytes=0-,0-,0-", [(0, 9)]),
    ],
)
def test_good_ranges(value: str, wanted: List[Tuple[int, int]]) -> None:
    assert ranges_of(value) == (206, wanted)


@pytest.mark.parametrize(
    "value",
    [
        "bytes=", "bytes=,", "bytes=-", "bytes", "", "=0-3", "bytes=a-b", "bytes=0", "bytes=0-3-5",
        "bytes=5-3", "bytes=0-3,5-3", "bytes=0-3;4-5", "bytes=+1-3", "bytes=-+3", "bytes=0x1-3",
        "bytes=1_0-", "bytes=0 - 3", "bytes=\u0661-", "bytes=\xb2-", "bytes:0-3", "bytes =0-3",
        "items=0-3", "none", "bytes=*-3",
    ],
)
def test_malformed_ranges_and_foreign_units_count_as_absent(value: str) -> None:
    assert ranges_of(value) == (200, [])


@pytest.mark.parametrize(
    "value", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99-,-0", "bytes=" + "9" * 400 + "-"]
)
def test_ranges_that_cannot_be_satisfied(value: str) -> None:
    assert ranges_of(value) == (416, [])


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-5", "bytes=3-4", "bytes=-0"])
def test_an_empty_file_is_sent_whole(value: str) -> None:
    assert ranges_of(value, size=0) == (200, [])


def test_too_many_ranges_get_the_whole() -> None:
    """LESSONS 3.10."""
    specs = [f"{2 * n}-{2 * n}" for n in range(MAX_RANGES + 1)]
    most = "bytes=" + ",".join(specs[:MAX_RANGES])
    assert ranges_of(most, 1000) == (206, [(2 * n, 2 * n) for n in range(MAX_RANGES)])
    assert ranges_of("bytes=" + ",".join(specs), 1000) == (200, [])


@pytest.mark.parametrize(
    "value", ["bytes=" + "0-," * 5000, "bytes=" + "," * 16000, "bytes=" + "-" * 16000, "bytes=" + "1" * 16000]
)
def test_a_long_field_is_not_worth_its_length(value: str) -> None:
    """LESSONS 3.10: no quadratic parsing; these take seconds if it is, and give 200 if not."""
    assert ranges_of(value) == (200, [])


@pytest.mark.parametrize(
    "value", ['"' * 16000, '"x",' * 4000, "W/" * 8000, " " * 16000, '"' + "x" * 16000, "," * 16000]
)
def test_long_lists_of_tags(value: str) -> None:
    """LESSONS 3.10."""
    assert status({"If-None-Match": value}) == 200


def test_a_partial_answer_is_never_longer_than_the_file() -> None:
    """LESSONS 3.10: ranges do not multiply the output; seeded sets, mostly overlapping ones."""
    chance = random.Random(9110)
    for _ in range(3000):
        size = chance.choice([1, 2, 10, 1000])
        specs = []
        for _ in range(chance.randint(1, MAX_RANGES)):
            first, last = chance.randint(0, size + 2), chance.randint(0, size + 2)
            specs.append(chance.choice([f"{first}-{last}", f"{first}-", f"-{last}"]))
        found = verdict({"Range": "bytes=" + ",".join(specs)}, size=size)
        assert found.status in (200, 206, 416)
        assert (found.status == 206) == bool(found.ranges)
        covered = [n for first, last in found.ranges for n in range(first, last + 1)]
        assert len(covered) == len(set(covered))
        assert all(0 <= n < size for n in covered)


def test_etags_are_quoted_and_tell_states_apart() -> None:
    assert make_etag(10, 1600000000123456789) == '"a-16345785dffbcd15"'
    tags = {make_etag(10, 0), make_etag(11, 0), make_etag(10, 1), make_etag(0, 0), make_etag(10, -1)}
    assert len(tags) == 5
    for tag in tags:
        assert evaluate("GET", Headers([("If-None-Match", tag)]), tag, 0, 10).status == 304
