"""Go durations: what `time.ParseDuration` reads and `Duration.String` writes, in nanoseconds.

Kyverno compares and computes with them, so reading and writing follow Go to the last digit, including that fractions
are multiplied as floats and cut off. Days and weeks are no units, as in Go.
"""

import functools
import json
import re

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "\u00b5s": MICROSECOND,  # micro sign
    "\u03bcs": MICROSECOND,  # Greek letter mu
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_PART = re.compile(r"(\d*)(?:\.(\d*))?([^.\d]*)", re.ASCII)
_LIMIT = 1 << 63
_LONGEST_CACHED = 64
_MAX_PLACES = 308  # beyond it Go divides by infinity


def parse(text: str) -> int:
    """Read a duration such as `1h30m`, `-1.5s` or `0`.

    Returns:
        Nanoseconds.

    Raises:
        ValueError: The text is no duration, or one that does not fit into 64 bits.
    """
    nanoseconds = find(text)
    if nanoseconds is None:
        raise ValueError(f"{text[:100]!r} is no duration: write for example 300ms, 1.5h or 2h45m")
    return nanoseconds


def find(text: str) -> int | None:
    """Read a duration where one may stand; None for any other text."""
    if text[-1:] not in "smh0":  # the last letter of every unit; most texts end here
        return None
    return _find_cached(text) if len(text) <= _LONGEST_CACHED else _find(text)


def _find(text: str) -> int | None:
    position = 1 if text[:1] in ("-", "+") else 0
    if text[position:] == "0":
        return 0
    end = len(text)
    if position == end:
        return None
    total = 0
    while position < end:
        part = _PART.match(text, position)
        if part is None:
            return None
        whole, fraction, name = part.groups()
        unit = _UNITS.get(name)
        digits = whole.lstrip("0")
        if unit is None or not (whole or fraction) or len(digits) > 19:
            return None
        total += int(digits or "0") * unit
        if fraction:
            numerator, places = _fraction(fraction)
            total += int(float(numerator) * (unit / 10.0**places)) if places <= _MAX_PLACES else 0
        if total > _LIMIT:
            return None
        position = part.end()
    if text[0] == "-":
        return -total
    return total if total < _LIMIT else None


def _fraction(digits: str) -> tuple[int, int]:
    """A fraction's digits as a number and how many they are: Go drops those that do not fit into 63 bits."""
    significant = digits.lstrip("0")
    zeros = len(digits) - len(significant)
    if len(significant) > 18:
        first, next_digit = int(significant[:18]), int(significant[:19])
        fits = first <= (_LIMIT - 1) // 10 and next_digit <= _LIMIT
        return (next_digit, zeros + 19) if fits else (first, zeros + 18)
    return int(significant or "0"), len(digits)


_find_cached = functools.lru_cache(maxsize=4096)(_find)


def refusal(text: str) -> str:
    """Why a text is no duration, in Go's words."""
    quoted = json.dumps(text, ensure_ascii=False)
    position = 1 if text[:1] in ("-", "+") else 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or not (part[1] or part[2]):
            break
        if not part[3]:
            return f"time: missing unit in duration {quoted}"
        if part[3] not in _UNITS:
            return f"time: unknown unit {json.dumps(part[3], ensure_ascii=False)} in duration {quoted}"
        position = part.end()
    return f"time: invalid duration {quoted}"


def format(nanoseconds: int) -> str:  # noqa: A001 - the counterpart of parse
    """Write a duration as Go does: `1h30m0s`, `1.5s`, `250ms`, `0s`."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < SECOND:
        if rest == 0:
            return "0s"
        for unit, name in ((MILLISECOND, "ms"), (MICROSECOND, "\u00b5s"), (NANOSECOND, "ns")):
            if rest >= unit:
                return f"{sign}{_decimal(rest, unit)}{name}"
    minutes, below = divmod(rest, MINUTE)
    seconds = f"{_decimal(below, SECOND)}s"
    if minutes == 0:
        return f"{sign}{seconds}"
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}h{minutes}m{seconds}" if hours else f"{sign}{minutes}m{seconds}"


def _decimal(amount: int, unit: int) -> str:
    whole, fraction = divmod(amount, unit)
    if fraction == 0:
        return str(whole)
    places = len(str(unit)) - 1
    return f"{whole}.{fraction:0{places}d}".rstrip("0")
