"""Go's time layouts: text to moment as `time.Parse` reads it, and RFC 3339 as `Time.Format` writes it.

A layout shows how the reference time, Mon Jan 2 15:04:05 MST 2006, would look. Kyverno's time functions take such
layouts from policies, so what is read, what is refused and how the refusal reads follow Go. Zones are offsets: names
are read where a layout asks for them, but there is no zone database, as in Kyverno's image; an unknown name is UTC.
Nothing here knows what time it is, and no other layout than RFC 3339 is written.
"""

import functools
import itertools
import re
from typing import NamedTuple

from kymograph.apimachinery import calendar

RFC3339 = "2006-01-02T15:04:05Z07:00"
"""The layout of RFC 3339, with or without a fraction of a second."""

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NAMES = {
    "January": _MONTHS,
    "Jan": tuple(name[:3] for name in _MONTHS),
    "Monday": _DAYS,
    "Mon": tuple(name[:3] for name in _DAYS),
}
# Patterns are texts: `re` compiles and keeps those that are used, and most processes read no time.
_ELEMENT = (
    r"(?a)January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|15|1|_(?=2006)|2006|__2|_2|2|3|4|5|PM|pm"
    r"|[Z-](?:070000|07:00:00|0700|07:00|07)|[.,](?:0+|9+)(?!\d)"
)
_OFFSETS = {
    "07": r"(?s)(.)(..)",
    "0700": r"(?s)(.)(..)(..)",
    "07:00": r"(?s)(.)(..):(..)",
    "070000": r"(?s)(.)(..)(..)(..)",
    "07:00:00": r"(?s)(.)(..):(..):(..)",
}
_NUMBERS = {
    "1": ("month", 1, 12, False),
    "01": ("month", 1, 12, True),
    "2": ("day", 0, 99, False),
    "_2": ("day", 0, 99, False),
    "02": ("day", 0, 99, True),
    "15": ("hour", 0, 23, False),
    "3": ("hour", 0, 12, False),
    "03": ("hour", 0, 12, True),
    "4": ("minute", 0, 59, False),
    "04": ("minute", 0, 59, True),
    "5": ("second", 0, 59, False),
    "05": ("second", 0, 59, True),
}
_FRACTION = r"[.,]([0-9]+)"
_SHORT_YEAR = r"[0-9]{2}|[+-][0-9]"
_ONE_OR_TWO_DIGITS = r"[0-9]{1,2}"
_ZONE_NAME = r"ChST|MeST|GMT(?:[+-](?:0*(?:1?[0-9]|2[0-3]))(?![0-9]))?|[+-]0*(?:1?[0-9]|2[0-3])(?![0-9])"
_UPPER = r"[A-Z]{0,6}"
_SECOND = 1_000_000_000


class Moment(NamedTuple):
    """A point in time and the offset of the clock that showed it.

    Attributes:
        nanoseconds: Since 1970 in UTC; negative before.
        offset: Seconds east of UTC.
    """

    nanoseconds: int
    offset: int = 0

    def utc(self) -> "Moment":
        """The same point in time on a clock in UTC."""
        return Moment(self.nanoseconds)

    def add(self, nanoseconds: int) -> "Moment":
        """The moment that much later on the same clock."""
        return Moment(self.nanoseconds + nanoseconds, self.offset)

    def truncate(self, nanoseconds: int) -> "Moment":
        """Round down to a multiple of a duration since the year 1 in UTC; zero and less change nothing."""
        if nanoseconds <= 0:
            return self
        since_year_one = self.nanoseconds - calendar.YEAR_ONE * _SECOND
        return Moment(self.nanoseconds - since_year_one % nanoseconds, self.offset)

    def date(self) -> "calendar.Date":
        """What the clock shows."""
        return calendar.date(self.nanoseconds // _SECOND + self.offset)

    def rfc3339(self) -> str:
        """Write the moment in RFC 3339 without a fraction of a second."""
        shown = self.date()
        sign, east = ("-", -self.offset) if self.offset < 0 else ("+", self.offset)
        zone = f"{sign}{east // 3600:02d}:{east // 60 % 60:02d}" if self.offset else "Z"
        year = f"{shown.year:04d}" if shown.year >= 0 else f"-{-shown.year:04d}"
        return f"{year}-{shown.month:02d}-{shown.day:02d}T{shown.hour:02d}:{shown.minute:02d}:{shown.second:02d}{zone}"


def parse(layout: str, text: str) -> Moment:
    """Read a time by a Go layout; `RFC3339` reads what Kubernetes writes.

    Raises:
        ValueError: The text does not follow the layout, or names no day; with Go's words.
    """
    return _Reader(layout, text).read()


@functools.lru_cache(maxsize=256)
def _elements(layout: str) -> tuple[tuple[str, str], ...]:
    """A layout as pairs of literal text and the element after it; the last element is empty."""
    parts: list[tuple[str, str]] = []
    start = 0
    for found in re.finditer(_ELEMENT, layout):
        if found[0] == "_":  # of `_2006`: a character like any other
            continue
        parts.append((layout[start : found.start()], found[0]))
        start = found.end()
    parts.append((layout[start:], ""))
    return tuple(parts)


class _Reader:
    """Reads one text by one layout."""

    def __init__(self, layout: str, text: str) -> None:
        self._layout = layout
        self._text = self._rest = text
        self._fields: dict[str, int] = {}
        self._zone: int | None = None
        self._named = 0  # the offset of a named zone, by which Go shows the time but does not reckon it
        self._half = ""

    def read(self) -> Moment:
        parts = _elements(self._layout)
        for number, (literal, element) in enumerate(parts):
            self._skip(literal)
            if not element:
                break
            hold = self._rest
            following = parts[number + 1][1] if number + 1 < len(parts) else ""
            if not self._take(element, fraction_follows=following.startswith((".", ","))):
                raise self._cannot(hold, element)
        if self._rest:
            raise self._wrong(f": extra text: {_quote(self._rest)}")
        return self._moment()

    def _cannot(self, value: str, element: str) -> ValueError:
        return ValueError(
            f"parsing time {_quote(self._text)} as {_quote(self._layout)}: "
            f"cannot parse {_quote(value)} as {_quote(element)}"
        )

    def _wrong(self, reason: str) -> ValueError:
        return ValueError(f"parsing time {_quote(self._text)}{reason}")

    def _skip(self, literal: str) -> None:
        """Go past literal text; a run of blanks stands for any run, also for none."""
        rest, prefix = self._rest, literal
        while prefix:
            if prefix[0] == " ":
                if rest and rest[0] != " ":
                    raise self._cannot(rest, literal)
                prefix, rest = prefix.lstrip(" "), rest.lstrip(" ")
            elif rest[:1] != prefix[0]:
                raise self._cannot(rest, literal)
            else:
                prefix, rest = prefix[1:], rest[1:]
        self._rest = rest

    def _take(self, element: str, *, fraction_follows: bool) -> bool:
        """Read one element; whether the text could be read."""
        if element in _NUMBERS:
            return self._number(element) and (element not in ("5", "05") or fraction_follows or self._extra_fraction())
        if element in _NAMES:
            return self._name(element)
        if element[0] in ".,":
            return self._fraction(element)
        if element[0] in "Z-":
            return self._offset(element)
        match element:
            case "2006":
                return self._long_year()
            case "06":
                found, self._rest = re.match(_SHORT_YEAR, self._rest), self._rest[2:]
                if found is not None:
                    year = int(found[0])
                    self._fields["year"] = year + (1900 if year >= 69 else 2000)
                return found is not None
            case "__2" | "002":
                return self._day_of_year(element)
            case "PM" | "pm":
                self._half, self._rest = self._rest[:2], self._rest[2:]
                return self._half in (element, element.replace("P", "A").replace("p", "a"))
        return self._zone_name()

    def _long_year(self) -> bool:
        text = self._rest[:4]
        if len(text) < 4 or not (text.isascii() and text.isdecimal()):
            return False
        self._fields["year"], self._rest = int(text), self._rest[4:]
        return True

    def _number(self, element: str) -> bool:
        field, least, most, fixed = _NUMBERS[element]
        if element == "_2" and self._rest[:1] == " ":
            self._rest = self._rest[1:]
        found = re.match(_ONE_OR_TWO_DIGITS, self._rest)
        if found is None or (fixed and len(found[0]) == 1):
            return False
        self._rest = self._rest[found.end() :]
        value = self._fields[field] = int(found[0])
        if not least <= value <= most:
            raise self._wrong(f": {field} out of range")
        return True

    def _day_of_year(self, element: str) -> bool:
        text = self._rest
        if element == "__2":
            for _ in range(2):
                text = text.removeprefix(" ")
        found = re.match(r"[0-9]{1,3}", text)
        if found is None or (element == "002" and len(found[0]) != 3):
            return False
        self._fields["yday"], self._rest = int(found[0]), text[found.end() :]
        return True

    def _name(self, element: str) -> bool:
        for number, name in enumerate(_NAMES[element], 1):
            if self._rest[: len(name)].lower() == name.lower():
                if element[0] == "J":
                    self._fields["month"] = number
                self._rest = self._rest[len(name) :]
                return True
        return False

    def _extra_fraction(self) -> bool:
        """A fraction of a second that the layout does not mention is read after the seconds."""
        found = re.match(_FRACTION, self._rest)
        if found is not None:
            self._nanoseconds(found)
        return True

    def _fraction(self, element: str) -> bool:
        found = re.match(_FRACTION, self._rest)
        if element[1] == "0":
            found = re.match(rf"[.,]([0-9]{{{len(element) - 1}}})", self._rest)
            if found is None:
                return False
        if found is not None:
            self._nanoseconds(found)
        return True

    def _nanoseconds(self, found: re.Match[str]) -> None:
        self._fields["nanosecond"] = int(found[1][:9].ljust(9, "0"))
        self._rest = self._rest[found.end() :]

    def _offset(self, element: str) -> bool:
        if element[0] == "Z" and self._rest[:1] == "Z":
            self._zone, self._rest = 0, self._rest[1:]
            return True
        found = re.match(_OFFSETS[element[1:]], self._rest)
        if found is None:
            return False
        sign, *parts = found.groups()
        digits = [int(part) for part in itertools.takewhile(_is_two_digits, parts)]
        hours, minutes, seconds = (*digits, 0, 0, 0)[:3]
        for value, most, what in ((seconds, 60, "second"), (minutes, 60, "minute"), (hours, 24, "hour")):
            if value > most:
                raise self._wrong(f": time zone offset {what} out of range")
        if len(digits) < len(parts) or sign not in "+-":
            return False
        self._rest = self._rest[found.end() :]
        self._zone = ((hours * 60 + minutes) * 60 + seconds) * (-1 if sign == "-" else 1)
        return True

    def _zone_name(self) -> bool:
        found = re.match(_ZONE_NAME, self._rest)
        if self._rest[:3] == "UTC":
            self._rest, self._zone = self._rest[3:], 0
            return True
        if len(self._rest) < 3:
            return False
        if found is not None:
            name = found[0]
        else:
            upper = re.match(_UPPER, self._rest)
            letters = upper[0] if upper is not None else ""
            if len(letters) not in (3, 4, 5) or (len(letters) > 3 and letters[-1] != "T" and letters != "WITA"):
                return False
            name = letters
        self._rest = self._rest[len(name) :]
        self._named = int(name[3:]) * 3600 if name[:3] == "GMT" and len(name) > 3 else 0
        return True

    def _moment(self) -> Moment:
        fields = self._fields
        year, hour = fields.get("year", 0), fields.get("hour", 0)
        if self._half in ("PM", "pm") and hour < 12:
            hour += 12
        elif self._half in ("AM", "am") and hour == 12:
            hour = 0
        month, day = self._month_and_day(year)
        if not 1 <= day <= calendar.days_in(month, year):
            raise self._wrong(": day out of range")
        seconds = calendar.days(year, month, day) * 86400 + hour * 3600
        seconds += fields.get("minute", 0) * 60 + fields.get("second", 0)
        zone = self._zone or 0
        shown = self._named if self._zone is None else zone
        return Moment((seconds - zone) * _SECOND + fields.get("nanosecond", 0), shown)

    def _month_and_day(self, year: int) -> tuple[int, int]:
        month, day = self._fields.get("month"), self._fields.get("day")
        yday = self._fields.get("yday")
        if yday is None:
            return month or 1, 1 if day is None else day
        if not 1 <= yday <= 365 + calendar.is_leap(year):
            raise self._wrong(": day-of-year out of range")
        found_month, found_day = calendar.of_day(year, yday)
        if month is not None and month != found_month:
            raise self._wrong(": day-of-year does not match month")
        if day is not None and day != found_day:
            raise self._wrong(": day-of-year does not match day")
        return found_month, found_day


def _quote(text: str) -> str:
    r"""Text in double quotes, what is not printable ASCII as `\x` and two digits a byte."""
    shown = []
    for character in text:
        if " " <= character < "\x80":
            shown.append(f"\\{character}" if character in '"\\' else character)
        else:
            shown.extend(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    return f'"{"".join(shown)}"'


def _is_two_digits(text: str) -> bool:
    return len(text) == 2 and text.isascii() and text.isdecimal()
