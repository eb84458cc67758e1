"""`GreaterThan` and its kin: numbers, durations, quantities and versions, tried in this order.

A duration is compared with a duration or with a number of seconds (whole ones: Kyverno cuts fractions off); two strings
that are quantities as quantities; then numbers, also written as strings; at last two semantic versions.
"""

import operator
from collections.abc import Callable
from typing import Any

from kymograph.apimachinery import duration, quantity, semver
from kymograph.engine import values
from kymograph.engine.budget import Budget

_Compare = Callable[[Any, Any], bool]
_Test = Callable[[values.JSON, Budget], bool]


def _ordered(compare: _Compare) -> Callable[[values.JSON, Budget], _Test]:
    def prepare(value: values.JSON, _: Budget) -> _Test:
        if values.is_number(value):
            return _against_number(compare, value)
        return _against_text(compare, value) if type(value) is str else _never

    return prepare


def _against_number(compare: _Compare, value: float) -> _Test:
    seconds = int(value) * duration.SECOND

    def test(key: values.JSON, _: Budget) -> bool:
        if type(key) is not str:
            return values.is_number(key) and compare(key, value)
        if (length := _length(key)) is not None:
            return compare(length, seconds)
        number = values.number(key)
        return number is not None and compare(number, value)

    return test


def _against_text(compare: _Compare, value: str) -> _Test:
    length, amount = _length(value), quantity.find(value)
    number, version = values.number(value), semver.find(value)

    def against_number(key: float) -> bool:
        if length is not None:
            return compare(int(key) * duration.SECOND, length)
        return number is not None and compare(key, number)

    def test(key: values.JSON, _: Budget) -> bool:
        if type(key) is not str:
            return values.is_number(key) and against_number(key)
        if length is not None and (other := _length(key)) is not None:
            return compare(other, length)
        if amount is not None and (found := quantity.find(key)) is not None:
            return compare(found.value, amount.value)
        if (written := values.number(key)) is not None:
            return against_number(written)
        return version is not None and (release := semver.find(key)) is not None and compare(release, version)

    return test


def _length(text: str) -> int | None:
    """A duration in nanoseconds; a bare zero is a number, not a duration."""
    return None if text == "0" else duration.find(text)


def _never(_key: values.JSON, _budget: Budget) -> bool:
    return False


def _as_durations(compare: _Compare) -> Callable[[values.JSON, Budget], _Test]:
    def prepare(value: values.JSON, _: Budget) -> _Test:
        length = _seconds_or_duration(value)
        if length is None:
            return _never

        def test(key: values.JSON, _: Budget) -> bool:
            other = _seconds_or_duration(key)
            return other is not None and compare(other, length)

        return test

    return prepare


def _seconds_or_duration(value: values.JSON) -> int | None:
    if values.is_number(value):
        return int(value) * duration.SECOND
    return duration.find(value) if type(value) is str else None


greater_or_equal = _ordered(operator.ge)
greater = _ordered(operator.gt)
less_or_equal = _ordered(operator.le)
less = _ordered(operator.lt)
duration_greater_or_equal = _as_durations(operator.ge)
duration_greater = _as_durations(operator.gt)
duration_less_or_equal = _as_durations(operator.le)
duration_less = _as_durations(operator.lt)
