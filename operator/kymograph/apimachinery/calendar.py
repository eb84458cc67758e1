"""The Gregorian calendar without end: seconds since 1970 to dates and back, for years that `datetime` does not know.

Go computes with years before 1 and after 9999, and so do durations that policies add to times. No zones, no clocks.
"""

from typing import NamedTuple

YEAR_ONE = -62_135_596_800
"""Seconds from 1970 to the first of January of the year 1."""

_DAY = 86_400
_DAYS_OF_400_YEARS = 146_097
_DAYS_TO_1970 = 719_468  # from the first of March of the year 0
_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)


class Date(NamedTuple):
    """A date and the time of day.

    Attributes:
        weekday: 0 is Sunday.
    """

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    weekday: int


def date(seconds: int) -> Date:
    """What a clock shows so many seconds after it showed the start of 1970."""
    days, rest = divmod(seconds, _DAY)
    era, day_of_era = divmod(days + _DAYS_TO_1970, _DAYS_OF_400_YEARS)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)  # counted from March
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return Date(
        era * 400 + year_of_era + (month <= 2),
        month,
        day_of_year - (153 * shifted + 2) // 5 + 1,
        rest // 3600,
        rest // 60 % 60,
        rest % 60,
        (days + 4) % 7,
    )


def days(year: int, month: int, day: int) -> int:
    """Days from the first of January 1970 to a date; negative before it."""
    shifted_year = year - (month <= 2)
    era, year_of_era = divmod(shifted_year, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return (
        era * _DAYS_OF_400_YEARS
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + day_of_year
        - _DAYS_TO_1970
    )


def is_leap(year: int) -> bool:
    """Whether a year has a 29th of February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_in(month: int, year: int) -> int:
    """Days of a month."""
    return 29 if month == 2 and is_leap(year) else _BEFORE[month] - _BEFORE[month - 1]


def of_day(year: int, number: int) -> tuple[int, int]:
    """Month and day of the n-th day of a year, counted from one."""
    shown = date((days(year, 1, 1) + number - 1) * _DAY)
    return shown.month, shown.day
