"""Kyverno's functions of time. The time of day is asked for: one evaluation sees one moment."""

import re
from collections.abc import Callable
from typing import TypeVar

from kymograph.apimachinery import duration, gotime
from kymograph.engine import errors, needs, values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import BOOLEAN, STRING, register

_INTEGER = re.compile(r"[+-]?[0-9]+")
_LONGEST = 1024  # characters of a time or a layout
_INT64_MAX = (1 << 63) - 1
_Read = TypeVar("_Read")


@register(
    "time_since",
    STRING,
    STRING,
    STRING,
    returns=STRING,
    note="the duration between two times of a layout; the second may be empty for now",
)
def _time_since(budget: Budget, layout: str, start: str, end: str) -> str:
    begun = _time(start, layout or gotime.RFC3339)
    ended = _time(end, layout or gotime.RFC3339) if end else _now(budget)
    return _between(begun, ended)


@register("time_now", returns=STRING, note="the time of the evaluation in RFC 3339")
def _time_now(budget: Budget) -> str:
    return _now(budget).rfc3339()


@register("time_now_utc", returns=STRING, note="the time of the evaluation in UTC, in RFC 3339")
def _time_now_utc(budget: Budget) -> str:
    return _now(budget).rfc3339()


@register("time_to_cron", STRING, returns=STRING, note="a time as a cron expression: minute, hour, day, month, weekday")
def _time_to_cron(_: Budget, text: str) -> str:
    shown = _time(text).date()
    return f"{shown.minute} {shown.hour} {shown.day} {shown.month} {shown.weekday}"


@register("time_add", STRING, STRING, returns=STRING, note="the time that is a duration later")
def _time_add(_: Budget, text: str, later: str) -> str:
    start = _time(text)
    return start.add(_duration(later)).rfc3339()


@register(
    "time_parse",
    STRING,
    STRING,
    returns=STRING,
    note="a time of a Go layout in RFC 3339; of a number as layout: seconds since 1970",
)
def _time_parse(_: Budget, layout: str, text: str) -> str:
    if values.integer(layout) is None:
        return _time(text, layout).rfc3339()
    seconds = values.integer(text)
    if seconds is None:
        reason = "value out of range" if _INTEGER.fullmatch(text) else "invalid syntax"
        raise errors.EvaluationError(f'strconv.ParseInt: parsing "{text[:_LONGEST]}": {reason}')
    return gotime.Moment(seconds * duration.SECOND).rfc3339()


@register("time_utc", STRING, returns=STRING, note="a time on a clock in UTC")
def _time_utc(_: Budget, text: str) -> str:
    return _time(text).utc().rfc3339()


@register("time_diff", STRING, STRING, returns=STRING, note="the duration from one time to another")
def _time_diff(_: Budget, start: str, end: str) -> str:
    begun = _time(start)
    return _between(begun, _time(end))


@register("time_before", STRING, STRING, returns=BOOLEAN, note="whether a time is before another")
def _time_before(_: Budget, text: str, other: str) -> bool:
    return _time(text).nanoseconds < _time(other).nanoseconds


@register("time_after", STRING, STRING, returns=BOOLEAN, note="whether a time is after another")
def _time_after(_: Budget, text: str, other: str) -> bool:
    return _time(text).nanoseconds > _time(other).nanoseconds


@register(
    "time_between", STRING, STRING, STRING, returns=BOOLEAN, note="whether a time is after one and before another"
)
def _time_between(_: Budget, text: str, start: str, end: str) -> bool:
    moment = _time(text).nanoseconds
    begun, ended = _time(start).nanoseconds, _time(end).nanoseconds
    return begun < moment < ended


@register("time_truncate", STRING, STRING, returns=STRING, note="a time rounded down to a multiple of a duration")
def _time_truncate(_: Budget, text: str, step: str) -> str:
    moment = _time(text)
    return moment.truncate(_duration(step)).rfc3339()


def _now(budget: Budget) -> gotime.Moment:
    return gotime.Moment(budget.ask(needs.Now()))


def _time(text: str, layout: str = gotime.RFC3339) -> gotime.Moment:
    if len(text) > _LONGEST or len(layout) > _LONGEST:
        raise errors.EvaluationError(f"a time or its layout is longer than {_LONGEST} characters")
    return _read(lambda: gotime.parse(layout, text))


def _duration(text: str) -> int:
    if len(text) > _LONGEST:
        raise errors.EvaluationError(f"a duration is longer than {_LONGEST} characters")
    nanoseconds = duration.find(text)
    if nanoseconds is None:
        raise errors.EvaluationError(duration.refusal(text))
    return nanoseconds


def _read(read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except ValueError as problem:
        raise errors.EvaluationError(str(problem)) from None


def _between(start: gotime.Moment, end: gotime.Moment) -> str:
    """Go's `Time.Sub`: what does not fit into 64 bits is the longest duration."""
    difference = end.nanoseconds - start.nanoseconds
    return duration.format(max(-_INT64_MAX - 1, min(_INT64_MAX, difference)))
