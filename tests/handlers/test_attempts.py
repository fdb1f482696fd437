"""What is remembered of attempts: addresses that wait (LESSONS 3.28), and passwords that were right."""

from __future__ import annotations

from typing import Optional

from lwsws.handlers.attempts import (
    MAX_ADDRESSES,
    MAX_FAILURES,
    MAX_PENDING,
    MAX_VERIFIED,
    REMEMBER,
    WINDOW,
    Failures,
    Verified,
)
from tests.support.clock import ManualClock


def fail(failures: Failures, key: Optional[str], times: int) -> None:
    for _ in range(times):
        failures.failed(key)


def test_ten_failures_then_the_rest_of_the_minute() -> None:
    clock = ManualClock()
    failures = Failures(clock)
    for number in range(1, MAX_FAILURES + 1):
        assert failures.wait("a") == 0
        assert failures.failed("a") == (number == MAX_FAILURES)
        clock.advance(1)
    assert failures.wait("a") == WINDOW - MAX_FAILURES
    assert failures.wait("b") == 0
    clock.advance(WINDOW - MAX_FAILURES - 0.5)
    assert failures.wait("a") == 1      # never "retry after 0 seconds"
    clock.advance(0.5)
    assert failures.wait("a") == 0


def test_a_new_window_begins_with_a_new_count() -> None:
    clock = ManualClock()
    failures = Failures(clock)
    fail(failures, "a", MAX_FAILURES)
    clock.advance(WINDOW)
    fail(failures, "a", MAX_FAILURES - 1)
    assert failures.wait("a") == 0
    failures.failed("a")
    assert failures.wait("a") == WINDOW


def test_slow_failures_never_wait() -> None:
    clock = ManualClock()
    failures = Failures(clock)
    for _ in range(100):
        failures.failed("a")
        assert failures.wait("a") == 0
        clock.advance(WINDOW / (MAX_FAILURES - 1) + 0.001)


def test_a_success_clears() -> None:
    failures = Failures(ManualClock())
    fail(failures, "a", MAX_FAILURES - 1)
    failures.succeeded("a")
    fail(failures, "a", MAX_FAILURES - 1)
    assert failures.wait("a") == 0
    failures.succeeded("never seen")


def test_attempts_under_way_are_limited_and_counted_until_they_end() -> None:
    failures = Failures(ManualClock())
    for _ in range(MAX_PENDING):
        assert failures.wait("a") == 0
        failures.begun("a")
    assert failures.wait("a") == 1
    failures.succeeded("a")             # of another connection: those under way stay
    assert failures.wait("a") == 1
    failures.dropped("a")
    assert failures.wait("a") == 0
    failures.dropped("never seen")


def test_unix_peers_never_wait() -> None:
    failures = Failures(ManualClock())
    for _ in range(2 * MAX_PENDING):
        failures.begun(None)
        assert not failures.failed(None)
    assert failures.wait(None) == 0
    failures.dropped(None)
    failures.succeeded(None)


def test_the_table_is_bounded_and_forgets_who_began_first() -> None:
    clock = ManualClock()
    failures = Failures(clock)
    fail(failures, "first", MAX_FAILURES)
    clock.advance(1)
    fail(failures, "second", MAX_FAILURES)
    for number in range(MAX_ADDRESSES - 1):
        failures.failed(f"crowd {number}")
    assert failures.wait("first") == 0
    assert failures.wait("second") == WINDOW
    failures.dropped("first")


def test_who_fails_again_later_is_not_the_oldest() -> None:
    clock = ManualClock()
    failures = Failures(clock)
    failures.failed("again")
    clock.advance(WINDOW)
    fail(failures, "old", MAX_FAILURES)
    fail(failures, "again", MAX_FAILURES)
    for number in range(MAX_ADDRESSES - 1):
        failures.failed(f"crowd {number}")
    assert failures.wait("old") == 0
    assert failures.wait("again") == WINDOW


def test_verified_for_a_minute() -> None:
    clock = ManualClock()
    verified = Verified(clock)
    key = verified.key(b"user", b"pass", ["$6$..."])
    assert not verified.has(key)
    verified.add(key)
    clock.advance(REMEMBER - 0.1)
    assert verified.has(key)
    clock.advance(0.1)
    assert not verified.has(key)
    verified.add(key)
    assert verified.has(key)
    verified.clear()
    assert not verified.has(key)


def test_verified_keys_differ_where_anything_differs() -> None:
    verified = Verified(ManualClock())
    parts = [
        (b"user", b"pass", ["h"]), (b"userp", b"ass", ["h"]), (b"user", b"pas", ["sh"]),
        (b"user", b"pass", ["i"]), (b"user", b"pass", ["h", "h"]), (b"user", b"pass", []),
        (b"user", b"", ["h"]),
    ]
    assert len({verified.key(*part) for part in parts}) == len(parts)
    assert verified.key(*parts[0]) == verified.key(b"user", b"pass", ("h",))


def test_verified_keys_are_of_this_process_and_hide_the_password() -> None:
    """The key of one table means nothing to another."""
    one, other = Verified(ManualClock()), Verified(ManualClock())
    assert one.key(b"user", b"pass", []) != other.key(b"user", b"pass", [])
    assert b"pass" not in one.key(b"user", b"pass", [])


def test_verified_is_bounded() -> None:
    clock = ManualClock()
    verified = Verified(clock)
    keys = [b"%d" % number for number in range(MAX_VERIFIED + 1)]
    for key in keys[:-1]:
        verified.add(key)
    verified.add(keys[0])               # now the youngest
    verified.add(keys[-1])
    assert not verified.has(keys[1])
    assert all(verified.has(key) for key in (keys[0], *keys[2:]))
