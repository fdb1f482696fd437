"""HTTP dates (RFC 9110 5.6.7): seconds since 1970 to the one form that is sent, and back from all three.

The calendar is computed here, because neither `time` nor `email.utils` belongs into wire code and both
would bring locales or slow imports.  Years are counted from the first of March, so that a leap day is
the last day of its year and the days before each month follow one straight line (153 days in five
months); 400 of these years, an era, are always 146,097 days.
"""

from __future__ import annotations

import re
from typing import Optional, Tuple

_WEEKDAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")  # 1 January 1970 was a Thursday
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_SECONDS_PER_DAY = 86400
_DAYS_PER_ERA = 146097
_ERA_YEARS = 400
# Days from 1 March of the year 0 to 1 January 1970.
_EPOCH = 719468

# The first and the last second that four digits of a year can say.
_FIRST = -62167219200
_LAST = 253402300799

# 2024.  A clock before it was never set, as on small boards without a battery, and says nothing of dates.
UNSET_CLOCK = 1704067200

# Wire code has no clock.  This year decides the century of two-digit years only, fifty years away,
# so it may grow old; a caller with a clock can give the real one.
THIS_YEAR = 2026

_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY_NAME = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY_NAME = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"

_IMF_FIXDATE = re.compile(f"{_DAY_NAME}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT")
# The obsolete forms are so rare that `re` may compile them when one comes: that keeps the start fast.
_RFC850_DATE = f"{_LONG_DAY_NAME}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"
_ASCTIME_DATE = f"{_DAY_NAME} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"


def format_date(seconds: int) -> str:
    """The IMF-fixdate of a time in whole seconds since 1970 UTC: "Sun, 06 Nov 1994 08:49:37 GMT".

    Times that four digits cannot hold (a file may claim any) give the nearest one they can.
    """
    days, rest = divmod(min(max(seconds, _FIRST), _LAST), _SECONDS_PER_DAY)
    year, month, day = _civil(days)
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    date = f"{_WEEKDAYS[days % 7]}, {day:02} {_MONTHS[month - 1]} {year:04}"
    return f"{date} {hour:02}:{minute:02}:{second:02} GMT"


def parse_date(text: str, this_year: int = THIS_YEAR) -> Optional[int]:
    """The seconds since 1970 of an HTTP date in any of its three forms; None if it is none.

    Strict in the syntax and in the ranges (30 February is no date); whether the name of the weekday
    fits is not looked at.  `this_year` settles two-digit years.
    """
    found = (
        _IMF_FIXDATE.fullmatch(text) or re.fullmatch(_RFC850_DATE, text) or re.fullmatch(_ASCTIME_DATE, text)
    )
    if found is None:
        return None
    year = int(found.group("year"))
    if len(found.group("year")) == 2:
        year = _full_year(year, this_year)
    month = _MONTHS.index(found.group("month")) + 1
    day = int(found.group("day"))
    hour, minute, second = int(found.group("hour")), int(found.group("minute")), int(found.group("second"))
    return seconds_since_1970(year, month, day, hour, minute, second)


def seconds_since_1970(
    year: int, month: int, day: int, hour: int, minute: int, second: int
) -> Optional[int]:
    """The seconds from the beginning of 1970 to this time UTC; None if there is no such date or time."""
    if not 1 <= month <= len(_MONTHS) or not 1 <= day <= _month_length(year, month):
        return None
    # 60 is a leap second; it falls together with the next full minute.
    if hour > 23 or minute > 59 or second > 60:
        return None
    return _days(year, month, day) * _SECONDS_PER_DAY + hour * 3600 + minute * 60 + second


def _full_year(two_digits: int, this_year: int) -> int:
    # RFC 9110 5.6.7: more than 50 years in the future means the most recent past year so written.
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year


def _month_length(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if leap and month == 2 else _DAYS_IN_MONTH[month - 1]


def _days(year: int, month: int, day: int) -> int:
    """Days from 1 January 1970 to this date."""
    if month <= 2:
        year -= 1  # January and February end the year that began last March
    era, year_of_era = divmod(year, _ERA_YEARS)
    day_of_year = (153 * ((month - 3) % 12) + 2) // 5 + day - 1
    day_of_era = 365 * year_of_era + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * _DAYS_PER_ERA + day_of_era - _EPOCH


def _civil(days: int) -> Tuple[int, int, int]:
    """Year, month and day of the date so many days after 1 January 1970."""
    era, day_of_era = divmod(days + _EPOCH, _DAYS_PER_ERA)
    # Take out the leap days before this one (one in 4 years, none in 100) to divide by 365 exactly;
    # the last term holds for the extra day at the end of the era.
    leap_days = day_of_era // 1460 - day_of_era // 36524 + day_of_era // 146096
    year_of_era = (day_of_era - leap_days) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    months_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * months_from_march + 2) // 5 + 1
    month = (months_from_march + 2) % 12 + 1
    return era * _ERA_YEARS + year_of_era + (month <= 2), month, day
