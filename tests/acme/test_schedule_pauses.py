"""How long nothing is ordered after certificates that have come, whatever it is that wants the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lwsws.acme.schedule import (
    ASK_SECONDS,
    FIRST_DELAY,
    MAX_ASK,
    ORDER,
    TURN_SECONDS,
    Due,
    Held,
    after_asking_in_vain,
    after_failure,
    after_success,
    next_due,
)
from lwsws.acme.settings import DAY, HOUR
from lwsws.acme.state import State, decode, encode
from lwsws.wire.certificate import Certificate
from tests.acme.support import LIFE, NAME, NOW, settings

WANTED = settings(Path("/a"))
OTHER = settings(Path("/a"), email="b@w.test")
NONE = "there is no certificate"
# In seconds: after the second certificate within a day, the third, and so on.
PAUSES = [60, 240, 960, 3840, 15360, 61440, DAY, DAY, DAY]


def held(days: float = 90, begin: float = NOW) -> Held:
    """A certificate that holds from `begin` on for so many days."""
    return Held(Certificate(int(begin), int(begin + days * DAY), (NAME,), ""))


def turned(turns: int, now: float = NOW) -> State:
    """After so many certificates within a day of the last."""
    return after_success(State(), WANTED, now, LIFE)._replace(turns=turns)


def test_a_certificate_that_came_and_is_not_there() -> None:
    """Somebody takes it away, or nobody may put it in its place: that is no reason for another at once."""
    state = after_success(State(), WANTED, NOW, LIFE)
    for now in (NOW, NOW + 1, NOW + HOUR - 1):
        assert next_due(WANTED, state, None, now) == Due(ORDER, NOW + FIRST_DELAY, NONE)
    assert next_due(WANTED, state, None, NOW + HOUR + 1) == Due(ORDER, NOW + HOUR + 1, NONE)


@pytest.mark.parametrize("why", ["the certificate is not for w.test", "the certificate is from another"])
def test_one_that_came_and_is_not_what_was_wanted(why: str) -> None:
    state, have = after_success(State(), WANTED, NOW, LIFE), held()
    if "another" in why:
        state = state._replace(directory="https://other.test/dir")
    else:
        have = Held(have.certificate._replace(names=("b.test",)))
    found = next_due(WANTED, state, have, NOW)
    assert (found.at, found.what, found.is_in_time) == (NOW + FIRST_DELAY, ORDER, False)
    assert found.why.startswith(why)


@pytest.mark.parametrize("turns", range(1, len(PAUSES) + 1))
def test_a_longer_pause_with_each_that_follows(turns: int) -> None:
    pause = PAUSES[turns - 1]
    assert pause == min(TURN_SECONDS * 4 ** (turns - 1), DAY)
    state = turned(turns)
    assert next_due(WANTED, state, None, NOW).at == NOW + max(pause, FIRST_DELAY)
    # Whoever changes the settings need not wait for an hour, but for that.
    assert next_due(OTHER, state, None, NOW) == Due(ORDER, NOW + pause, NONE)


@pytest.mark.parametrize("turns", [100, 10 ** 6, 10 ** 30])
def test_never_longer_than_a_day(turns: int) -> None:
    for want in (WANTED, OTHER):
        assert next_due(want, turned(turns), None, NOW).at == NOW + DAY


def test_no_pause_for_a_first_change() -> None:
    state = after_success(State(), WANTED, NOW, LIFE)
    assert state.turns == 0
    assert next_due(OTHER, state, None, NOW) == Due(ORDER, NOW, NONE)
    again = after_success(state, OTHER, NOW + 5, LIFE)
    assert again.turns == 1
    assert next_due(WANTED, again, None, NOW + 6) == Due(ORDER, NOW + 5 + TURN_SECONDS, NONE)


@pytest.mark.parametrize("after, turns", [
    (0, 4), (1, 4), (2 * DAY - 1, 4), (2 * DAY, 0), (60 * DAY, 0), (-1, 0), (-DAY, 0)])
def test_what_follows_within_two_days_counts(after: float, turns: int) -> None:
    """A clock that was put back says nothing of how fast they come."""
    assert after_success(turned(3), WANTED, NOW + after, LIFE).turns == turns
    assert after_success(turned(3), OTHER, NOW + after, LIFE).turns == turns


def test_the_first_one_of_all_follows_none() -> None:
    assert after_success(State(), WANTED, NOW, LIFE).turns == 0


def test_two_that_take_the_place_of_each_other() -> None:
    """As two servers do that share a file: they get tired of it."""
    elsewhere = settings(Path("/a"), directory_url="https://other.test/dir")
    state, now, moments = after_success(State(), elsewhere, NOW, LIFE), NOW, []
    for number in range(100):
        want = (WANTED, elsewhere)[number % 2]
        now = next_due(want, decode(encode(state)), held(), now + 1).at
        state = after_success(state, want, now, LIFE)
        moments.append(now - NOW)
    assert moments[:4] == [1, 61, 301, 1261]
    assert len([moment for moment in moments if moment < DAY]) == 7
    assert len([moment for moment in moments if moment < 10 * DAY]) == 16


def test_short_lived_ones_follow_each_other() -> None:
    """One for a day is renewed in time, again and again."""
    state, now = after_success(State(), WANTED, NOW, DAY), NOW
    for _ in range(20):
        have = held(days=1, begin=now)
        now = next_due(WANTED, state, have, now + 1).at
        assert now < have.certificate.not_after - DAY / 4
        state = after_success(state, WANTED, now, DAY)
        assert state.turns == 0


def test_what_an_administrator_asks_for_does_not_count() -> None:
    """Who tries out, and then writes another directory, does not wait."""
    state = after_success(State(), WANTED, NOW, LIFE)
    for second in (10, 20):
        state = after_success(state, WANTED, NOW + second, LIFE, True)
    assert state.turns == 0 and next_due(OTHER, state, None, NOW + 30).at == NOW + 30


def test_a_success_of_the_future_holds_nothing_up() -> None:
    """The clock was ahead when the last certificate came, and is right since."""
    ahead = after_success(State(), WANTED, NOW + 365 * DAY, LIFE)
    failed = after_failure(ahead, WANTED, "x", NOW, 0, 0)
    assert next_due(WANTED, failed, None, NOW + 1).at == NOW + 1


def test_an_administrator_waits_for_nothing() -> None:
    for turns in (0, 3, 100):
        state = turned(turns)._replace(renew_now=True)
        assert next_due(WANTED, state, held(), NOW).at == NOW


def test_a_certificate_that_is_good_is_not_held_up() -> None:
    """The pause is over long before its time comes."""
    for turns in (0, 3, 100):
        found = next_due(WANTED, turned(turns), held(), NOW)
        assert found.at == next_due(WANTED, State(), held(), NOW).at > NOW + 50 * DAY


def test_after_a_success_failures_count_from_then_on() -> None:
    state = after_success(State(), WANTED, NOW, LIFE)
    state = after_failure(state, WANTED, "x", NOW + 60 * DAY, 0, 0)
    assert next_due(WANTED, state, held(), NOW + 60 * DAY).at == NOW + 60 * DAY + HOUR
    # What failed soon afterwards is not tried before the other pause is over, either.
    state = after_failure(turned(6), WANTED, "x", NOW + HOUR, 0, 0)
    assert next_due(WANTED, state, None, NOW + HOUR).at == NOW + PAUSES[5]


# Asking in vain.


@pytest.mark.parametrize("retry_after, wait", [
    (0, ASK_SECONDS), (1, ASK_SECONDS), (7 * HOUR, 7 * HOUR), (7 * DAY, MAX_ASK)])
def test_no_answer_changes_nothing(retry_after: float, wait: float) -> None:
    """But that it is asked again: what the CA has said last still holds."""
    before = State(mark="m", failures=1, window_of="key.serial", window_start=1.0, window_end=2.0)
    asked = after_asking_in_vain(before, "key.serial", retry_after, NOW)
    assert asked == before._replace(ask_at=NOW + wait)
    other = after_asking_in_vain(before, "key.other", retry_after, NOW)
    assert other == State(mark="m", failures=1, window_of="key.other", ask_at=NOW + wait)


# From the future.


@pytest.mark.parametrize("ahead", [1, HOUR, 10 * 365 * DAY, 9e10])
def test_what_was_tried_in_the_future_holds_nothing_up(ahead: float) -> None:
    """The clock was ahead then; nothing can be said of when it was."""
    failed = after_failure(State(), WANTED, "x", NOW + ahead, 0, 0)
    came = turned(5, NOW + ahead)
    for state in (failed, came):
        assert next_due(WANTED, state, None, NOW) == Due(ORDER, NOW, NONE)
        assert next_due(WANTED, state, held(), NOW).at == next_due(WANTED, State(), held(), NOW).at
        assert next_due(WANTED, state, None, NOW + ahead).at > NOW + ahead


def test_what_was_tried_right_now_holds_up() -> None:
    assert next_due(WANTED, after_failure(State(), WANTED, "x", NOW, 0, 0), None, NOW).at == NOW + HOUR
