"""When something is due, by tables: no clock runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Tuple

import pytest

from lwsws.acme.schedule import (
    ASK,
    ASK_SECONDS,
    ASKED_FOR,
    DELAY_JITTER,
    EARLIER,
    LEFT,
    MAX_ASK,
    MIN_ASK,
    ORDER,
    YOUNGEST,
    Due,
    Held,
    after_asking,
    after_failure,
    after_success,
    ends,
    missing_names,
    next_due,
    next_order,
    read_time,
    share,
    usual_time,
)
from lwsws.acme.settings import DAY, HOUR, AcmeSettings
from lwsws.acme.state import MAX_ERROR, State
from lwsws.wire.acme import DNS_01, Renewal
from lwsws.wire.certificate import Certificate
from tests.acme.support import LIFE, NAME, NOW, full_state, settings

WANTED = settings(Path("/a"))
BEGIN = int(NOW)
IDENTIFIER = "key.serial"
FIRST = State()


def held(days: float = 90, names: Tuple[str, ...] = (NAME,), identifier: str = "") -> Held:
    """A certificate that holds from NOW on for so many days."""
    return Held(Certificate(BEGIN, BEGIN + int(days * DAY), names, ""), identifier)


def wanted(**changes: Any) -> AcmeSettings:
    return settings(Path("/a"), **changes)


def in_time(at: float, why: str) -> Due:
    """An order of a certificate that is good, until it ends."""
    return Due(ORDER, at, why, True)


def due(state: State = FIRST, have: Optional[Held] = None, now: float = NOW,
        want: AcmeSettings = WANTED) -> Due:
    return next_due(want, state, have, now)


# What is missing.


def test_one_that_is_signed_by_itself() -> None:
    """As made by hand for the first days: the CA's is wanted, though it would be good for long."""
    mine = held()._replace(is_self_issued=True)
    assert due(have=mine) == Due(ORDER, NOW, "the certificate is signed by itself")


def test_no_certificate() -> None:
    assert due() == Due(ORDER, NOW, "there is no certificate")


@pytest.mark.parametrize("names, missing", [
    ((NAME, "b.test"), []), (("b.test",), [NAME]), ((), [NAME, "b.test"]), (("*.test",), []),
    (("*.w.test", "b.test"), [NAME]), (("b.test", NAME, "c.test"), [])])
def test_missing_names(names: Tuple[str, ...], missing: Any) -> None:
    want = wanted(alt_names="b.test")
    have = held(names=names)
    if names == ("b.test",):
        assert missing_names(want, have) == missing
        assert due(want=want, have=have) == Due(ORDER, NOW, "the certificate is not for w.test")
    else:
        assert missing_names(want, have) == missing
        assert (due(want=want, have=have).at == NOW) == bool(missing)


def test_a_wildcard_is_covered_by_itself_only() -> None:
    want = wanted(common_name="*.w.test", alt_names="w.test", challenge=DNS_01, dns_hook="/hook")
    assert missing_names(want, held(names=("*.w.test", "w.test"))) == []
    assert missing_names(want, held(names=("a.w.test", "*.test"))) == ["*.w.test"]
    assert missing_names(want, held(names=("*.*.test", "w.test"))) == ["*.w.test"]


def test_not_all_missing_names_go_to_the_log() -> None:
    want = wanted(alt_names=",".join(f"n{number}.test" for number in range(50)))
    assert due(want=want, have=held()).why == (
        "the certificate is not for n0.test, n1.test, n2.test, n3.test, n4.test")


def test_another_directory() -> None:
    """The first one was for trying it out."""
    state = after_success(FIRST, wanted(directory_url="https://staging.test/dir"), NOW, LIFE)
    for have in (held(), held(identifier=IDENTIFIER)):
        assert due(state, have) == Due(ORDER, NOW, "the certificate is from another directory")
        quiet = after_success(FIRST, WANTED, NOW, LIFE)
        assert due(quiet, have).why != "the certificate is from another directory"
    again = after_failure(state, WANTED, "x", NOW, 0, 0)
    assert due(again, held()) == Due(ORDER, NOW + HOUR, "the certificate is from another directory")
    assert again.directory == "https://staging.test/dir"
    assert after_asking(state, IDENTIFIER, None, NOW).directory == "https://staging.test/dir"


# The usual time.


@pytest.mark.parametrize("days", [90, 45, 6, 1, 1 / 24, 3650])
def test_at_a_third_left_or_a_little_earlier(days: float) -> None:
    have, life = held(days), int(days * DAY)
    found = due(have=have)
    assert found.what == ORDER
    assert found.at == usual_time(WANTED, have) == pytest.approx(
        BEGIN + life * (1 - LEFT) - life * EARLIER * share(have))
    assert BEGIN + life * (1 - LEFT - EARLIER) <= found.at <= BEGIN + life * (1 - LEFT)


def test_the_words_of_it() -> None:
    assert due(have=held(90)).why == "it ends in 90 days"
    assert due(have=held(90), now=NOW + 89 * DAY).why == "it ends in 24 h"
    assert due(have=held(90), now=NOW + 91 * DAY).why == "it has ended"


@pytest.mark.parametrize("left, text", [
    (2 * DAY, "ends in 2 days"), (2 * DAY - 1, "ends in 48 h"), (0, "ends in 0 h"), (-1, "has ended")])
def test_ends(left: float, text: str) -> None:
    have = held(90)
    assert ends(have.certificate, have.certificate.not_after - left) == text


def test_shares_differ_and_stay() -> None:
    shares = {share(held(identifier=f"key.{number}")) for number in range(100)}
    assert len(shares) == 100
    assert all(0 <= each < 1 for each in shares)
    assert min(shares) < 0.2 and max(shares) > 0.8
    assert share(held()) == share(held())
    assert share(held()) != share(held(names=("b.test",)))


@pytest.mark.parametrize("before, days, low, high", [
    ("30d", 90, 57, 60), ("10d", 90, 77, 80), ("36h", 6, 4.3, 4.5), ("48h", 6, 3.8, 4)])
def test_renew_before(before: str, days: float, low: float, high: float) -> None:
    at = due(have=held(days), want=wanted(renew_before=before)).at
    assert BEGIN + low * DAY <= at <= BEGIN + high * DAY


@pytest.mark.parametrize("before", ["6d", "30d", "99999d"])
def test_never_all_the_time(before: str) -> None:
    """What is to be renewed before it came is renewed soon, not at once."""
    want = wanted(renew_before=before)
    assert due(have=held(6), want=want) == in_time(BEGIN + 6 * DAY * YOUNGEST, "it ends in 6 days")
    now = BEGIN + 52000
    later = Held(Certificate(now, now + 6 * int(DAY), (NAME,), ""))
    assert due(have=later, want=want, now=now).at > now + DAY / 2
    # And what has an identifier is asked about, as any other.
    assert due(have=held(6, identifier=IDENTIFIER), want=want).what == ASK


def test_a_certificate_that_has_ended() -> None:
    found = due(have=held(90), now=NOW + 100 * DAY)
    assert found.what == ORDER and found.at < NOW + 90 * DAY


# What the CA says.


def told(start: float, end: float, ask_at: float = 0.0, of: str = IDENTIFIER) -> State:
    return State(window_of=of, window_start=start, window_end=end, ask_at=ask_at)


def test_asked_before_it_is_ordered() -> None:
    have = held(identifier=IDENTIFIER)
    assert due(have=have) == Due(ASK, 0.0)
    assert due(have=have, now=NOW + 89 * DAY) == Due(ASK, 0.0)
    assert due(have=held()).what == ORDER   # a CA that gives no identifiers is not asked


def test_a_window() -> None:
    have = held(identifier=IDENTIFIER)
    moment = NOW + 10 * DAY + 2 * DAY * share(have)
    assert NOW + 10 * DAY < moment < NOW + 12 * DAY
    state = told(NOW + 10 * DAY, NOW + 12 * DAY, moment + HOUR)
    assert due(state, have, moment - HOUR) == in_time(moment, "the CA wants it renewed")
    assert next_order(WANTED, state, have, NOW) == in_time(moment, "the CA wants it renewed")
    assert due(state._replace(ask_at=moment - 1), have, moment - HOUR) == Due(ASK, moment - 1)


def test_a_window_that_has_passed() -> None:
    have = held(identifier=IDENTIFIER)
    found = due(told(NOW - 12 * DAY, NOW - 10 * DAY, NOW + HOUR), have)
    assert found.what == ORDER and found.at < NOW


def test_asked_again_before_the_window_comes() -> None:
    have = held(identifier=IDENTIFIER)
    assert due(told(NOW + 10 * DAY, NOW + 12 * DAY, NOW + HOUR), have) == Due(ASK, NOW + HOUR)


def test_without_a_word_of_the_ca_it_is_the_usual_time() -> None:
    have = held(identifier=IDENTIFIER)
    usual = usual_time(WANTED, have)
    state = told(0.0, 0.0, usual + HOUR)
    assert due(state, have, usual - HOUR) == in_time(usual, f"it {ends(have.certificate, usual - HOUR)}")
    assert next_order(WANTED, state, have, NOW) == in_time(usual, "it ends in 90 days")


@pytest.mark.parametrize("now, ask_at, is_kept", [
    (NOW, NOW + MAX_ASK, True), (NOW, NOW + MAX_ASK + 1, False), (NOW, 9e10, False),
    (NOW + 10 * DAY, NOW + 11 * DAY, True)])
def test_a_question_in_the_far_future_is_none(now: float, ask_at: float, is_kept: bool) -> None:
    """The CA has said so when the clock was ahead, and would never be asked again."""
    found = due(told(NOW + 50 * DAY, NOW + 51 * DAY, ask_at), held(identifier=IDENTIFIER), now)
    assert found == Due(ASK, ask_at if is_kept else 0.0)


def test_in_time_though_the_window_is_not() -> None:
    """Not later than a tenth of the lifetime before the end, whatever the CA says."""
    have = held(90, identifier=IDENTIFIER)
    latest = NOW + 81 * DAY
    for start in (NOW + 82 * DAY, NOW + 89 * DAY, NOW + 400 * DAY):
        assert next_order(WANTED, told(start, start + DAY), have, NOW).at == latest
    within = next_order(WANTED, told(NOW + 79 * DAY, NOW + 80 * DAY), have, NOW).at
    assert NOW + 79 * DAY < within < NOW + 80 * DAY


def test_a_window_that_is_always_now_is_so_once_a_day() -> None:
    have = held(90, identifier=IDENTIFIER)
    state = told(NOW - DAY, NOW, NOW + HOUR)._replace(mark=WANTED.mark, tried=NOW, renewed=NOW)
    for now in (NOW, NOW + HOUR, NOW + DAY):
        assert next_order(WANTED, state, have, now).at == NOW + DAY
    assert next_order(WANTED, state._replace(renewed=NOW - 2 * DAY), have, NOW).at < NOW
    # One that will have come tomorrow has not.
    ahead = state._replace(tried=NOW + 9 * DAY, renewed=NOW + 9 * DAY)
    assert next_order(WANTED, ahead, have, NOW).at < NOW


def test_the_window_of_another_certificate() -> None:
    have = held(identifier=IDENTIFIER)
    assert due(told(NOW, NOW + 1, NOW + 50 * DAY, "key.other"), have) == Due(ASK, 0.0)
    # Nor is that of one without an identifier meant for this one.
    assert due(told(NOW, NOW + 1, NOW + 50 * DAY, ""), held()) == in_time(
        usual_time(WANTED, held()), "it ends in 90 days")


def test_no_window_for_what_is_missing() -> None:
    have = held(identifier=IDENTIFIER, names=("b.test",))
    found = due(told(NOW + DAY, NOW + 2 * DAY), have)
    assert (found.what, found.at, found.is_in_time) == (ORDER, NOW, False)
    assert due(told(NOW + DAY, NOW + 2 * DAY)).at == NOW


# After failures.


def failed(times: int, retry_after: float = 0.0, jitter: float = 0.0) -> State:
    state = State()
    for _ in range(times):
        state = after_failure(state, WANTED, "it failed", NOW, retry_after, jitter)
    return state


@pytest.mark.parametrize("times, hours", [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 24), (7, 24),
                                          (2000, 24)])
def test_each_time_twice_as_long_up_to_a_day(times: int, hours: float) -> None:
    state = failed(times)
    assert (state.failures, state.tried, state.error) == (times, NOW, "it failed")
    assert state.next_try == NOW + hours * HOUR
    assert failed(times, jitter=1.0).next_try == pytest.approx(NOW + hours * HOUR * (1 + DELAY_JITTER))
    assert failed(times, jitter=0.5).next_try == pytest.approx(NOW + hours * HOUR * (1 + DELAY_JITTER / 2))


@pytest.mark.parametrize("retry_after, hours", [(10, 1), (HOUR, 1), (2 * HOUR, 2), (7 * DAY, 168)])
def test_the_ca_may_ask_for_more_patience(retry_after: float, hours: float) -> None:
    assert failed(1, retry_after).next_try == NOW + hours * HOUR


def test_not_before_the_next_try() -> None:
    state = failed(1)
    assert due(state) == Due(ORDER, NOW + HOUR, "there is no certificate")
    assert due(state, held(names=())).at == NOW + HOUR
    assert due(state, held(1), now=NOW + 23.9 * HOUR).at < NOW + 23.9 * HOUR
    have = held(90)
    late = after_failure(State(), WANTED, "x", NOW + 61 * DAY, 0, 0)
    assert due(late, have, NOW + 61 * DAY).at == NOW + 61 * DAY + HOUR
    assert due(state, now=NOW + 2 * HOUR).at == NOW + 2 * HOUR


def test_the_next_try_is_not_before_the_window_either() -> None:
    have = held(identifier=IDENTIFIER)
    state = told(NOW + DAY, NOW + 2 * DAY)._replace(mark=WANTED.mark, next_try=NOW + 3 * DAY)
    assert next_order(WANTED, state, have, NOW) == in_time(NOW + 3 * DAY, "the CA wants it renewed")
    assert next_order(WANTED, state._replace(next_try=NOW), have, NOW).at > NOW + DAY


def test_other_settings_begin_anew() -> None:
    state, other = failed(5), wanted(email="b@w.test")
    assert due(state, want=other).at == NOW
    again = after_failure(state, other, "x", NOW, 0, 0)
    assert (again.failures, again.mark, again.next_try) == (1, other.mark, NOW + HOUR)


def test_an_administrator_does_not_wait() -> None:
    state = failed(5)._replace(renew_now=True)
    for have in (None, held(), held(identifier=IDENTIFIER)):
        assert due(state, have) == Due(ORDER, NOW, ASKED_FOR)
    again = after_failure(state, WANTED, "x", NOW, 0, 0)
    assert not again.renew_now
    assert due(again).at == NOW + 24 * HOUR


def test_what_a_failure_leaves() -> None:
    before = full_state()
    state = after_failure(before, WANTED, "x", NOW, 0, 0)
    assert (state.directory, state.turns) == (before.directory, before.turns)
    assert state.shown is None
    assert (state.renewed, state.window_of, state.window_start, state.window_end, state.ask_at) == (
        before.renewed, before.window_of, before.window_start, before.window_end, before.ask_at)


def test_an_error_is_not_kept_whole_if_it_is_long() -> None:
    assert after_failure(FIRST, WANTED, "x" * 1000, NOW, 0, 0).error == "x" * MAX_ERROR + "..."
    assert after_failure(FIRST, WANTED, "a\x1b[2J\nb", NOW, 0, 0).error == "a?[2J b"


def test_a_success_ends_all_that() -> None:
    state = after_success(full_state(), WANTED, NOW, LIFE)
    assert state == State(mark=WANTED.mark, tried=NOW, renewed=NOW, directory=WANTED.directory_url)
    assert due(state, held()).at > NOW


# Asking.


def asked(start: str = "2027-02-01T00:00:00Z", end: str = "2027-02-03T00:00:00Z",
          seconds: float = 0.0) -> State:
    return after_asking(State(), IDENTIFIER, Renewal(start, end, "", seconds), NOW)


def test_a_window_is_kept() -> None:
    state = asked()
    assert (state.window_of, state.window_start, state.window_end) == (IDENTIFIER, 1801440000.0, 1801612800.0)
    before = full_state()
    kept = after_asking(before, IDENTIFIER, None, NOW)
    assert kept == before._replace(window_of=IDENTIFIER, window_start=0.0, window_end=0.0,
                                   ask_at=NOW + ASK_SECONDS)


@pytest.mark.parametrize("seconds, wait", [
    (0, ASK_SECONDS), (1, MIN_ASK), (-5, MIN_ASK), (2 * HOUR, 2 * HOUR), (30 * DAY, MAX_ASK)])
def test_when_to_ask_again(seconds: float, wait: float) -> None:
    assert asked(seconds=seconds).ask_at == NOW + wait
    assert asked("x", "y", seconds).ask_at == NOW + wait


@pytest.mark.parametrize("start, end", [
    ("", ""), ("2027-02-01T00:00:00Z", ""), ("", "2027-02-03T00:00:00Z"), ("soon", "later"),
    ("2027-02-03T00:00:00Z", "2027-02-01T00:00:00Z"), ("2027-02-03T00:00:00Z", "2027-02-03T00:00:00Z"),
    ("1960-01-01T00:00:00Z", "2027-02-03T00:00:00Z"), ("1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"),
    ("2027-02-30T00:00:00Z", "2027-03-03T00:00:00Z")])
def test_a_window_that_makes_no_sense_is_none(start: str, end: str) -> None:
    state = asked(start, end)
    assert (state.window_of, state.window_start, state.window_end) == (IDENTIFIER, 0.0, 0.0)
    assert due(state, held(identifier=IDENTIFIER)) == Due(ASK, NOW + ASK_SECONDS)


# Times.

NEW_YEAR = 1_735_689_600.0  # 2025


@pytest.mark.parametrize("text, seconds", [
    ("2025-01-01T00:00:00Z", NEW_YEAR), ("2025-01-01t00:00:00z", NEW_YEAR),
    ("2025-01-01 00:00:00Z", NEW_YEAR),
    ("2025-01-01T00:00:00.5Z", NEW_YEAR), ("2025-01-01T00:00:00.123456789012345678Z", NEW_YEAR),
    ("2025-01-01T00:00:01Z", NEW_YEAR + 1), ("2025-01-01T23:59:59Z", NEW_YEAR + DAY - 1),
    ("2025-01-01T02:00:00+02:00", NEW_YEAR), ("2024-12-31T19:00:00-05:00", NEW_YEAR),
    ("2025-01-01T05:45:00.25+05:45", NEW_YEAR), ("2024-12-31T20:30:00-03:30", NEW_YEAR),
    ("2025-01-01T00:00:00+00:00", NEW_YEAR), ("2025-01-01T00:00:00-00:00", NEW_YEAR),
    ("2024-12-31T23:59:60Z", NEW_YEAR), ("2024-02-29T00:00:00Z", 1709164800.0),
    ("9999-12-31T23:59:59Z", 253402300799.0)])
def test_times(text: str, seconds: float) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", [
    "", "x", "2025-01-01", "2025-01-01T00:00:00", "2025-01-01T00:00Z", "2025-1-1T00:00:00Z",
    "25-01-01T00:00:00Z",
    "2025-13-01T00:00:00Z", "2025-00-01T00:00:00Z", "2025-01-32T00:00:00Z", "2025-02-29T00:00:00Z",
    "2025-01-01T24:00:00Z", "2025-01-01T00:60:00Z", "2025-01-01T00:00:61Z", "2025-01-01T00:00:00.Z",
    "2025-01-01T00:00:00+0200", "2025-01-01T00:00:00+2:00", "2025-01-01T00:00:00 Z", " 2025-01-01T00:00:00Z",
    "2025-01-01T00:00:00Z\n", "\u0662\u0660\u0662\u0665-01-01T00:00:00Z", "Wed, 01 Jan 2025 00:00:00 GMT",
    "1735689600", "2025-01-01T00:00:00,5Z", "2025-01-01_00:00:00Z", "+2025-01-01T00:00:00Z"])
def test_what_is_no_time(text: str) -> None:
    assert read_time(text) == 0.0
