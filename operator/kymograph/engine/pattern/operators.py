"""The operators of string patterns: `>=1Gi`, `!*:latest`, `10-20`, `nginx* | httpd*`, `>1 & <5`.

A pattern is alternatives (`|`) of conditions that all hold (`&`). A condition is an operator and an operand; both it
and the value are compared as durations if both are durations, else as quantities if both are quantities, else as text
with wildcards in the operand, which only equality and `!` do. Operands are parsed once, when the pattern is compiled.
"""

import enum
import operator
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from kymograph.apimachinery import duration, quantity, wildcard
from kymograph.engine import values
from kymograph.engine.budget import Budget

Test: TypeAlias = Callable[[values.JSON, Budget], bool]
"""Whether a value matches; pays for long texts."""

LONG_TEXT = 4096
"""From this length on, matching a text against wildcards is paid for by both lengths."""


class Operator(enum.Enum):
    """How a condition compares."""

    EQUAL = ""
    MORE_EQUAL = ">="
    LESS_EQUAL = "<="
    NOT_EQUAL = "!"
    MORE = ">"
    LESS = "<"
    IN_RANGE = "-"
    NOT_IN_RANGE = "!-"


_END = r"([-|+]?\d+(?:\.\d+)?[A-Za-z]*)"
_IN_RANGE = re.compile(rf"{_END}-{_END}", re.ASCII)
_NOT_IN_RANGE = re.compile(rf"{_END}!-{_END}", re.ASCII)
_PREFIXES = (Operator.MORE_EQUAL, Operator.LESS_EQUAL, Operator.MORE, Operator.LESS, Operator.NOT_EQUAL)
_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
    Operator.MORE_EQUAL: operator.ge,
    Operator.LESS_EQUAL: operator.le,
    Operator.MORE: operator.gt,
    Operator.LESS: operator.lt,
}


def operator_of(condition: str) -> Operator:
    """The operator that a condition is written with."""
    if len(condition) < 2:
        return Operator.EQUAL
    for prefix in _PREFIXES:
        if condition.startswith(prefix.value):
            return prefix
    if _NOT_IN_RANGE.fullmatch(condition) is not None:
        return Operator.NOT_IN_RANGE
    return Operator.EQUAL if _IN_RANGE.fullmatch(condition) is None else Operator.IN_RANGE


def compile(pattern: str) -> Test:  # noqa: A001 - the field's word
    """Compile a string pattern to a test of a scalar value (a list or map never matches)."""
    alternatives = [
        [part.strip(" ") for part in alternative.strip(" ").split("&")] for alternative in pattern.split("|")
    ]
    if all(len(parts) == 1 and _is_plain(parts[0]) for parts in alternatives):
        return _one_of(frozenset(parts[0] for parts in alternatives) | {pattern})
    tests = [_all([_condition(part) for part in parts]) for parts in alternatives]
    if len(tests) == 1:
        (only,) = tests
        return lambda value, budget: value == pattern or only(value, budget)

    def matches(value: values.JSON, budget: Budget) -> bool:
        if value == pattern:
            return True
        budget.spend(len(tests))
        return any(test(value, budget) for test in tests)

    return matches


def in_range(text: str) -> Test | None:
    """The test of a range `a-b`, which its own text also passes, or None when the text is no range."""
    if operator_of(text) is not Operator.IN_RANGE:
        return None
    within = _condition(text)
    return lambda value, budget: value == text or within(value, budget)


def not_in_range(text: str) -> Test | None:
    """The test of being outside of a range `a-b`, or None when the text is no range."""
    ends = _IN_RANGE.fullmatch(text) if operator_of(text) is Operator.IN_RANGE else None
    return None if ends is None else _outside(ends[1], ends[2])


def _is_plain(condition: str) -> bool:
    return (
        operator_of(condition) is Operator.EQUAL
        and not wildcard.has(condition)
        and duration.find(condition) is None
        and quantity.find(condition) is None
    )


def _one_of(texts: frozenset[str]) -> Test:
    def matches(value: values.JSON, _: Budget) -> bool:
        return (value if type(value) is str else _text(value)) in texts

    return matches


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda value, budget: all(test(value, budget) for test in tests)


def _condition(text: str) -> Test:
    kind = operator_of(text)
    if kind is Operator.IN_RANGE and (ends := _IN_RANGE.fullmatch(text)) is not None:
        low, high = _comparison(Operator.MORE_EQUAL, ends[1]), _comparison(Operator.LESS_EQUAL, ends[2])
        return lambda value, budget: low(value, budget) and high(value, budget)
    if kind is Operator.NOT_IN_RANGE and (ends := _NOT_IN_RANGE.fullmatch(text)) is not None:
        return _outside(ends[1], ends[2])
    return _comparison(kind, text[len(kind.value) :].strip())


def _outside(low: str, high: str) -> Test:
    below, above = _comparison(Operator.LESS, low), _comparison(Operator.MORE, high)
    return lambda value, budget: below(value, budget) or above(value, budget)


def _comparison(kind: Operator, operand: str) -> Test:
    length, amount = duration.find(operand), quantity.find(operand)
    text_test = _text_test(kind, operand)
    if length is None and amount is None:
        return text_test
    compare = _COMPARE[kind]

    def matches(value: values.JSON, budget: Budget) -> bool:
        if length is not None and (other := _duration(value)) is not None:
            return compare(other, length)
        if amount is not None and (size := _amount(value)) is not None:
            return compare(size, amount.value)
        return text_test(value, budget)

    return matches


def _text_test(kind: Operator, operand: str) -> Test:
    if kind is not Operator.EQUAL and kind is not Operator.NOT_EQUAL:
        return lambda _value, _budget: False
    match, size, wanted = wildcard.compile(operand), len(operand), kind is Operator.EQUAL

    def matches(value: values.JSON, budget: Budget) -> bool:
        text = value if type(value) is str else _text(value)
        if text is None:
            return False
        if len(text) > LONG_TEXT:
            budget.spend(len(text) * size // LONG_TEXT)
        return match(text) is wanted

    return matches


def _duration(value: values.JSON) -> int | None:
    """The value as a duration in nanoseconds: null and zero are no time, other numbers have no unit."""
    if type(value) is str:
        return duration.find(value)
    return 0 if value is None or (type(value) is int and value == 0) else None


def _amount(value: values.JSON) -> Any:
    """The value as an amount: null is zero, a float counts with six decimals."""
    if type(value) is int:
        return value
    if value is None:
        return 0
    text = value if type(value) is str else f"{value:f}" if type(value) is float else None
    found = None if text is None else quantity.find(text)
    return None if found is None else found.value


def _text(value: values.JSON) -> str | None:
    """A scalar that is no string as the text that wildcards are matched against; None for null, lists and maps."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    return _scientific(value) if type(value) is float else None


def _scientific(number: float) -> str:
    """A float as Go's `strconv.FormatFloat(x, 'E', -1, 64)`: `5E-01`."""
    if number == 0:
        return "0E+00"
    digits, _, exponent = f"{number:.16E}".partition("E")
    for places in range(17):
        text = f"{number:.{places}E}"
        if float(text) == number:
            digits, _, exponent = text.partition("E")
            break
    return f"{digits}E{exponent}"
