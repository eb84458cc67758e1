"""Kyverno's arithmetic on numbers, quantities (`1Gi`) and durations (`1h30m`).

A text is a quantity if it can be one (`1m` is a thousandth), else a duration. What may be combined with what is the
table of Kyverno's; everything else is "Types mismatch". Numbers are 64-bit floats, durations wrap at 64 bits.
"""

import dataclasses
import math
from typing import Any, TypeAlias

from kymograph.apimachinery import duration, quantity
from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import ANY, ARRAY, NUMBER, failure, from_float, register

_INT64_MIN = -(1 << 63)


@dataclasses.dataclass(frozen=True, slots=True)
class _Duration:
    nanoseconds: int

    @property
    def seconds(self) -> float:
        """As Go's `Duration.Seconds`: whole seconds and the rest, each as a float."""
        whole, rest = divmod(abs(self.nanoseconds), duration.SECOND)
        return math.copysign(float(whole) + float(rest) / 1e9, self.nanoseconds)


_Operand: TypeAlias = float | quantity.Quantity | _Duration


@register("add", ANY, ANY, returns=ANY, note="the sum of two numbers, quantities or durations")
def _add(_: Budget, left: values.JSON, right: values.JSON) -> values.JSON:
    return _plus("add", left, right)


@register("sum", ARRAY, returns=ANY, note="the sum of a list of numbers, quantities or durations")
def _sum(budget: Budget, items: list[Any]) -> values.JSON:
    if not items:
        raise failure("sum", "at least one element in the array is required")
    budget.spend(len(items) * 4)
    total = items[0]
    for item in items[1:]:
        total = _plus("sum", total, item)
    return total


@register("subtract", ANY, ANY, returns=ANY, note="the difference of two numbers, quantities or durations")
def _subtract(_: Budget, left: values.JSON, right: values.JSON) -> values.JSON:
    match _operand("subtract", left), _operand("subtract", right):
        case quantity.Quantity() as one, quantity.Quantity() as two:
            return _computed("subtract", quantity.subtract, one, two)
        case _Duration() as one, _Duration() as two:
            return duration.format(_wrap(one.nanoseconds - two.nanoseconds))
        case float() as one, float() as two:
            return from_float(one - two)
    raise failure("subtract", "Types mismatch")


@register("multiply", ANY, ANY, returns=ANY, note="the product of a number and a number, quantity or duration")
def _multiply(_: Budget, left: values.JSON, right: values.JSON) -> values.JSON:
    match _operand("multiply", left), _operand("multiply", right):
        case float() as one, float() as two:
            return from_float(one * two)
        case (quantity.Quantity() as amount, float() as factor) | (float() as factor, quantity.Quantity() as amount):
            return _computed("multiply", quantity.multiply, amount, _as_quantity(factor))
        case (_Duration() as time, float() as factor) | (float() as factor, _Duration() as time):
            return _from_seconds(time.seconds * factor)
    raise failure("multiply", "Types mismatch")


@register(
    "divide", ANY, ANY, returns=ANY, note="the quotient of two of a kind, or of a quantity or duration and a number"
)
def _divide(_: Budget, left: values.JSON, right: values.JSON) -> values.JSON:
    match _operand("divide", left), _operand("divide", right):
        case quantity.Quantity() as one, quantity.Quantity() as two:
            return _ratio(quantity.approximate(one), quantity.approximate(two))
        case quantity.Quantity() as amount, float() as number:
            if number == 0:
                raise failure("divide", "Zero divisor passed")
            return _computed("divide", quantity.divide, amount, _as_quantity(number))
        case _Duration() as one, _Duration() as two:
            return _ratio(one.seconds, two.seconds)
        case _Duration() as time, float() as number:
            if number == 0:
                raise failure("divide", "Zero divisor passed")
            return _from_seconds(time.seconds / number)
        case float() as one, float() as two:
            return _ratio(one, two)
    raise failure("divide", "Types mismatch")


@register("modulo", ANY, ANY, returns=ANY, note="the remainder of two whole numbers or quantities, or of two durations")
def _modulo(_: Budget, left: values.JSON, right: values.JSON) -> values.JSON:
    match _operand("modulo", left), _operand("modulo", right):
        case quantity.Quantity() as one, quantity.Quantity() as two:
            rest = _remainder(_whole(quantity.approximate(one)), _whole(quantity.approximate(two)))
            return str(quantity.from_integer(rest, one.format))
        case _Duration() as one, _Duration() as two:
            return duration.format(_remainder(one.nanoseconds, two.nanoseconds))
        case float() as one, float() as two:
            return _remainder(_whole(one), _whole(two))
    raise failure("modulo", "Types mismatch")


@register(
    "round", NUMBER, NUMBER, returns=NUMBER, note="a number rounded to so many decimal places, halves away from zero"
)
def _round(_: Budget, number: float, places: float) -> float:
    if not isinstance(places, int) and (not math.isfinite(places) or places != int(places)):
        raise failure("round", "Non-integer argument(s) passed for round off")
    if places < 0:
        raise failure("round", f"2 argument is out of bounds ({int(places)})")
    value = _float("round", number)
    shift = 10.0 ** int(places) if places <= 308 else math.inf
    shifted = value * shift
    if not math.isfinite(shifted):
        raise failure("round", "the result is not a number")
    whole = float(math.trunc(shifted))
    if abs(shifted - whole) >= 0.5:
        whole += math.copysign(1.0, shifted)
    return from_float(whole / shift)


def _plus(function: str, left: values.JSON, right: values.JSON) -> values.JSON:
    match _operand(function, left), _operand(function, right):
        case quantity.Quantity() as one, quantity.Quantity() as two:
            return _computed(function, quantity.add, one, two)
        case _Duration() as one, _Duration() as two:
            return duration.format(_wrap(one.nanoseconds + two.nanoseconds))
        case float() as one, float() as two:
            return from_float(one + two)
    raise failure(function, "Types mismatch")


def _operand(function: str, value: values.JSON) -> _Operand:
    if values.is_number(value):
        return _float(function, value)
    if type(value) is str:
        amount = quantity.find(value)
        if amount is not None:
            return amount
        nanoseconds = duration.find(value)
        if nanoseconds is not None:
            return _Duration(nanoseconds)
    raise failure(function, "invalid operand")


def _float(function: str, number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        raise failure(function, "invalid operand") from None


def _as_quantity(number: float) -> quantity.Quantity:
    try:
        return quantity.from_float(number)
    except ValueError as problem:
        raise errors.EvaluationError(str(problem)) from None


def _computed(function: str, compute: Any, left: quantity.Quantity, right: quantity.Quantity) -> str:
    try:
        return str(compute(left, right))
    except ValueError as problem:
        raise failure(function, str(problem)) from None


def _ratio(dividend: float, divisor: float) -> float:
    if divisor == 0:
        raise failure("divide", "Zero divisor passed")
    return from_float(dividend / divisor)


def _whole(number: float) -> int:
    if not math.isfinite(number) or number != math.trunc(number) or not _INT64_MIN <= number < -_INT64_MIN:
        raise failure("modulo", "Non-integer argument(s) passed for modulo")
    return int(number)


def _remainder(dividend: int, divisor: int) -> int:
    """With the sign of the dividend, as in Go."""
    if divisor == 0:
        raise failure("modulo", "Zero divisor passed")
    rest = abs(dividend) % abs(divisor)
    return -rest if dividend < 0 else rest


def _from_seconds(seconds: float) -> str:
    nanoseconds = seconds * 1e9
    if not -(2.0**63) <= nanoseconds < 2.0**63:  # also not a number
        return duration.format(_INT64_MIN)
    return duration.format(int(nanoseconds))


def _wrap(nanoseconds: int) -> int:
    return (nanoseconds - _INT64_MIN) % (1 << 64) + _INT64_MIN
