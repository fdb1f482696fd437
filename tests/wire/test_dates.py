"""HTTP dates: the three forms of RFC 9110 5.6.7, the calendar, and what is refused."""

from __future__ import annotations

import datetime
from typing import List, Tuple

import pytest

from lwsws.wire.dates import format_date, parse_date, seconds_since_1970

# The instant that RFC 9110 5.6.7 writes in three ways.
EXAMPLE = 784111777


def test_the_form_that_is_sent() -> None:
    assert format_date(EXAMPLE) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert format_date(-1) == "Wed, 31 Dec 1969 23:59:59 GMT"


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_are_read(text: str) -> None:
    assert parse_date(text) == EXAMPLE


def days_to_try() -> List[datetime.date]:
    """The borders of each month of the years in which some leap rule decides, and a stride over all."""
    borders = [
        datetime.date(year, month, 1) + datetime.timedelta(days=offset)
        for year in (1600, 1899, 1900, 1901, 1970, 1999, 2000, 2001, 2004, 2038, 2100, 2400)
        for month in range(1, 13)
        for offset in (-1, 0)
    ]
    first, last = datetime.date(1, 1, 1).toordinal(), datetime.date(9999, 12, 31).toordinal()
    return borders + [datetime.date.fromordinal(day) for day in range(first, last, 997)]


def test_the_calendar_agrees_with_the_standard_library() -> None:
    for date in days_to_try():
        seconds = (date - datetime.date(1970, 1, 1)).days * 86400 + 45296
        expected = f"{date:%a, %d %b} {date.year:04} 12:34:56 GMT"
        assert format_date(seconds) == expected
        assert parse_date(expected) == seconds


@pytest.mark.parametrize(
    "date",
    [
        (2026, 0, 1, 0, 0, 0),
        (2026, 13, 1, 0, 0, 0),
        (2026, 4, 0, 0, 0, 0),
        (2026, 4, 31, 0, 0, 0),
        (2026, 2, 29, 0, 0, 0),
        (2026, 1, 1, 24, 0, 0),
        (2026, 1, 1, 0, 60, 0),
        (2026, 1, 1, 0, 0, 61),
    ],
)
def test_dates_and_times_that_do_not_exist(date: Tuple[int, int, int, int, int, int]) -> None:
    assert seconds_since_1970(*date) is None


def test_times_beyond_four_digits_of_a_year_are_clamped() -> None:
    assert format_date(10**18) == "Fri, 31 Dec 9999 23:59:59 GMT"
    assert format_date(-(10**18)) == "Sat, 01 Jan 0000 00:00:00 GMT"


@pytest.mark.parametrize(
    "two_digits, this_year, year",
    [("94", 2026, 1994), ("76", 2026, 2076), ("77", 2026, 1977), ("26", 2026, 2026), ("00", 2026, 2000)],
)
def test_two_digit_years_lie_at_most_fifty_years_ahead(two_digits: str, this_year: int, year: int) -> None:
    expected = parse_date(f"Sun, 01 Aug {year} 00:00:00 GMT")
    assert parse_date(f"Sunday, 01-Aug-{two_digits} 00:00:00 GMT", this_year) == expected


def test_leap_days_and_leap_seconds() -> None:
    assert parse_date("Tue, 29 Feb 2000 00:00:00 GMT") == 951782400
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_date("Sun, 01 Jan 2017 00:00:00 GMT")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 06  Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Wed, 29 Feb 1900 00:00:00 GMT",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        "Foo, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994 GMT",
    ],
)
def test_anything_else_is_no_date(text: str) -> None:
    assert parse_date(text) is None
