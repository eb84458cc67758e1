"""The Gregorian calendar, held against `datetime` where that reaches."""

import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.apimachinery import calendar


@settings(deadline=None)
@given(st.datetimes())
def test_agrees_with_datetime(moment: dt.datetime) -> None:
    seconds = calendar.days(moment.year, moment.month, moment.day) * 86_400
    shown = calendar.date(seconds + moment.hour * 3600 + moment.minute * 60 + moment.second)
    expected = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    assert shown[:6] == expected
    assert shown.weekday == moment.isoweekday() % 7


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15))
def test_a_date_stands_for_its_day(seconds: int) -> None:
    shown = calendar.date(seconds)
    assert calendar.days(shown.year, shown.month, shown.day) == seconds // 86_400
    assert 1 <= shown.day <= calendar.days_in(shown.month, shown.year)


@settings(deadline=None)
@given(st.integers(-10_000, 10_000))
def test_a_year_is_as_long_as_its_months(year: int) -> None:
    length = sum(calendar.days_in(month, year) for month in range(1, 13))
    assert length == 365 + calendar.is_leap(year) == calendar.days(year + 1, 1, 1) - calendar.days(year, 1, 1)
    assert calendar.of_day(year, length) == (12, 31)
