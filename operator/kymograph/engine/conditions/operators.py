"""The operators of conditions: how a key and a value become true or false.

`prepare` takes the value of a condition apart once (durations, quantities, wildcards, lists) and gives a test of keys.
A value that is literal in the policy is prepared when the policy is compiled, one with variables for each request.
Names are written exactly so, as Kyverno's validation wants them. No test raises: what cannot be compared is false.
"""

from collections.abc import Callable
from typing import TypeAlias

from kymograph.apimachinery import duration, quantity, wildcard
from kymograph.engine import values
from kymograph.engine.budget import Budget
from kymograph.engine.conditions import membership, ordering

Test: TypeAlias = Callable[[values.JSON, Budget], bool]
"""Whether a condition holds for a key."""

Prepare: TypeAlias = Callable[[values.JSON, Budget], Test]
"""From the value of a condition to the test of its key."""


def equals(value: values.JSON, budget: Budget) -> Test:  # noqa: ARG001 - one signature for all operators
    """`Equals`: the value may be a wildcard pattern for a string key; durations and quantities count as such."""
    match value:
        case bool():
            return lambda key, _: key is value
        case int() | float():
            return _equals_number(value)
        case str():
            return _equals_text(value)
        case None:
            return lambda _key, _budget: False
    return lambda key, budget: type(key) is type(value) and values.equal(key, value, budget)


def not_equals(value: values.JSON, budget: Budget) -> Test:
    """`NotEquals`: whatever is not equal, but never null."""
    same = equals(value, budget)
    return lambda key, budget: key is not None and not same(key, budget)


def _equals_number(value: float) -> Test:
    seconds = int(value) * duration.SECOND

    def test(key: values.JSON, _: Budget) -> bool:
        if type(key) is str:
            return key != "0" and duration.find(key) == seconds
        return values.is_number(key) and bool(key == value)

    return test


def _equals_text(value: str) -> Test:
    length = None if value == "0" else duration.find(value)
    amount, number = quantity.find(value), values.number(value)
    matches, size = wildcard.compile(value), len(value)
    if length is None and amount is None and number is None and not wildcard.has(value):
        return lambda key, _: type(key) is str and key == value  # what has another meaning is written otherwise, too

    def test(key: values.JSON, budget: Budget) -> bool:
        if type(key) is not str:
            return number is not None and values.is_number(key) and bool(key == number)
        if length is not None and key != "0" and (other := duration.find(key)) is not None:
            return length == other
        if (found := quantity.find(key)) is not None:
            return amount is not None and found.value == amount.value
        membership.pay(len(key), size, budget)
        return matches(key)

    return test


TABLE: dict[str, Prepare] = {
    "Equal": equals,
    "Equals": equals,
    "NotEqual": not_equals,
    "NotEquals": not_equals,
    "In": membership.deprecated_in,
    "AnyIn": membership.any_in,
    "AllIn": membership.all_in,
    "NotIn": membership.deprecated_not_in,
    "AnyNotIn": membership.any_not_in,
    "AllNotIn": membership.all_not_in,
    "GreaterThanOrEquals": ordering.greater_or_equal,
    "GreaterThan": ordering.greater,
    "LessThanOrEquals": ordering.less_or_equal,
    "LessThan": ordering.less,
    "DurationGreaterThanOrEquals": ordering.duration_greater_or_equal,
    "DurationGreaterThan": ordering.duration_greater,
    "DurationLessThanOrEquals": ordering.duration_less_or_equal,
    "DurationLessThan": ordering.duration_less,
}
"""Every operator by its name; those after Kyverno 1.10's deprecations (`In`, `NotIn`, `Duration*`) included."""
