"""Cron schedules: when a policy that runs by the clock runs next.

The grammar is that of robfig/cron's standard parser, by which Kyverno checks schedules: five fields (minute, hour, day
of the month, month, day of the week) of `*`, `?`, numbers, names, ranges and steps; `@hourly`, `@daily`, `@midnight`,
`@weekly`, `@monthly`, `@yearly`, `@annually`; `@every 90m`. As in its third version `CRON_TZ=Europe/Oslo ` (or `TZ=`)
may stand before them. There are no seconds, no years, and none of `L`, `W` and `#`.

A moment matches if the wall clock of the zone shows a matching minute: times that the clock leaps over do not come,
times that it shows twice come twice. That is what robfig/cron finds too, but for days that have no midnight and clocks
that are changed by half an hour, where it skips matching minutes. No clock is read here; the moment to begin from is
passed in.
"""

import bisect
import dataclasses
import datetime as dt
import re
import zoneinfo
from typing import NoReturn, TypeAlias

from kymograph.apimachinery import calendar, duration

YEARS = 5
"""A schedule that does not come for so many years (`0 0 30 2 *`) never comes."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S*)\s+(.*)", re.DOTALL)
_NUMBER = re.compile(r"\+?[0-9]{1,9}")
_STARS = ("*", "?")
_DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Every:
    """Again and again after the same time.

    Attributes:
        delay: The time, whole seconds and at least one.
    """

    delay: dt.timedelta

    def next(self, after: dt.datetime) -> dt.datetime | None:
        """The first moment after another, on a whole second; None where the calendar ends before."""
        try:
            return after.replace(microsecond=0) + self.delay
        except OverflowError:
            return None


@dataclasses.dataclass(frozen=True, slots=True)
class Times:
    """The minutes that match five fields.

    Attributes:
        minutes: 0 to 59, sorted, as the following are.
        hours: 0 to 23.
        days: 1 to 31.
        months: 1 to 12.
        weekdays: 0 (Sunday) to 6.
        both: A day must match in both ways, because one of them was written as a star; else one is enough.
        zone: Whose wall clock counts.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    both: bool
    zone: dt.tzinfo

    def next(self, after: dt.datetime) -> dt.datetime | None:
        """The first matching moment after another, in UTC; None where there is none within `YEARS`.

        At most 61 months, the days of each, and the minutes of one day whose clock is changed are looked at.

        Args:
            after: An aware datetime.
        """
        try:
            begin = after.astimezone(self.zone)
            return self._next(begin.date(), after.astimezone(dt.UTC))
        except OverflowError:
            return None

    def _next(self, first: dt.date, after: dt.datetime) -> dt.datetime | None:
        for year in range(first.year, min(first.year + YEARS, dt.MAXYEAR - 1) + 1):
            for month in self.months:
                if (year, month) < (first.year, first.month):
                    continue
                for number in range(1, calendar.days_in(month, year) + 1):
                    day = dt.date(year, month, number)
                    if day < first or not self._is_day(day):
                        continue
                    found = self._within(day, after)
                    if found is not None:
                        return found
        return None

    def _is_day(self, day: dt.date) -> bool:
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month and of_week) if self.both else (of_month or of_week)

    def _within(self, day: dt.date, after: dt.datetime) -> dt.datetime | None:
        """The first matching moment of a day that is after another."""
        midnight = dt.datetime(day.year, day.month, day.day, tzinfo=self.zone)
        if midnight.utcoffset() != (midnight + _DAY).utcoffset() or _leaps(midnight):
            return min((moment for moment in self._shown(day) if moment > after), default=None)
        local = after.astimezone(self.zone)
        hour, minute = (local.hour, local.minute) if local.date() == day else (0, -1)
        if local.date() > day:
            return None
        at = bisect.bisect_left(self.hours, hour)
        if at < len(self.hours) and self.hours[at] == hour:
            later = bisect.bisect_right(self.minutes, minute)
            if later < len(self.minutes):
                return _utc(day, hour, self.minutes[later], self.zone)
            at += 1
        if at < len(self.hours) and self.minutes:
            return _utc(day, self.hours[at], self.minutes[0], self.zone)
        return None

    def _shown(self, day: dt.date) -> list[dt.datetime]:
        """All matching moments of a day whose clock is changed."""
        found = []
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1):
                    moment = _utc(day, hour, minute, self.zone, fold)
                    shown = moment.astimezone(self.zone)
                    if (shown.date(), shown.hour, shown.minute) == (day, hour, minute):
                        found.append(moment)
        return found


Schedule: TypeAlias = Every | Times


def parse(text: str) -> Schedule:
    """Read a schedule.

    Args:
        text: As written; without a zone it is about UTC.

    Raises:
        ValueError: It is none; the text says which part of it is wrong.
    """
    zone: dt.tzinfo = dt.UTC
    if text.startswith(("CRON_TZ=", "TZ=")):
        found = _ZONE.fullmatch(text)
        if found is None:
            raise ValueError("a schedule must follow the time zone")
        zone, text = _zone(found[1]), found[2]
    if text.startswith(_EVERY):
        seconds = max(duration.parse(text[len(_EVERY) :]) // duration.SECOND, 1)
        return Every(dt.timedelta(seconds=seconds))
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"unknown descriptor {text[:64]!r}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected 5 fields, found {len(fields)}")
    minutes, _ = _field(fields[0], 0, 59)
    hours, _ = _field(fields[1], 0, 23)
    days, all_days = _field(fields[2], 1, 31)
    months, _ = _field(fields[3], 1, 12, _MONTHS)
    weekdays, all_weekdays = _field(fields[4], 0, 6, _DAYS)
    return Times(minutes, hours, days, months, weekdays, all_days or all_weekdays, zone)


def _zone(name: str) -> dt.tzinfo:
    try:
        return zoneinfo.ZoneInfo(name or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name[:64]!r}") from error


def _field(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> tuple[tuple[int, ...], bool]:
    """The numbers that a field selects, and whether it was written as a star, which a step restricts."""
    chosen: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        bounds, _, step = part.partition("/")
        first, _, last = bounds.partition("-")
        if first in _STARS:
            begin, end = low, high
        else:
            begin = _number(first, low, names, part)
            end = _number(last, low, names, part) if "-" in bounds else high if "/" in part else begin
        every = _number(step, 0, (), part) if "/" in part else 1
        if begin < low or end > high or begin > end or every == 0:
            _refuse(part)
        star = star or (first in _STARS and every == 1)
        chosen.update(range(begin, end + 1, every))
    return tuple(sorted(chosen)), star


def _number(text: str, low: int, names: tuple[str, ...], part: str) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if _NUMBER.fullmatch(text) is None:
        _refuse(part)
    return int(text)


def _refuse(part: str) -> NoReturn:
    raise ValueError(f"{part[:64]!r} is no number, name, range or step of its field")


def _leaps(midnight: dt.datetime) -> bool:
    """Whether the clock is never at a midnight, or twice."""
    return midnight.utcoffset() != midnight.replace(fold=1).utcoffset()


def _utc(day: dt.date, hour: int, minute: int, zone: dt.tzinfo, fold: int = 0) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone, fold=fold).astimezone(dt.UTC)
