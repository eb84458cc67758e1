"""JSON values as Kyverno's Go sees them: truth, equality, text and numbers.

Every walk over a value spends from the budget. An expression can build a list whose two items are one list whose two
items are one list: small in memory, endless to compare or to write, so nothing here may call C code that walks a
container before the walk has been paid for.
"""

import decimal
import math
import re
from typing import Any, TypeAlias

import orjson

from kymograph.engine import errors
from kymograph.engine.budget import Budget

JSON: TypeAlias = Any
"""None, bool, int, float, str, list of JSON, or dict of str to JSON."""

_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_NUMBER = re.compile(
    r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE
)
_LONGEST_NUMBER = 400
_SHORT = 1_000_000  # from here on, Go's `%v` writes floats with an exponent
_TOO_DEEP = "the value is nested too deeply"
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def truthy(value: JSON) -> bool:
    """JMESPath's truth: null, false and empty strings, lists and maps are false; zero is true."""
    return True if value else type(value) is int or type(value) is float


def is_number(value: JSON) -> bool:
    """Whether a value is a JSON number (a bool is none)."""
    return type(value) is int or type(value) is float


def equal(left: JSON, right: JSON, budget: Budget) -> bool:
    """Deep equality: numbers by value, a bool never equals a number.

    Raises:
        EvaluationError: The values are nested too deeply, or the budget is exhausted.
    """
    if type(left) is str or type(right) is str:
        return bool(left == right)
    if isinstance(left, list | dict):
        if not isinstance(right, list if isinstance(left, list) else dict) or len(left) != len(right):
            return False
        budget.spend(len(left))
        try:
            if isinstance(left, list):
                return all(equal(a, b, budget) for a, b in zip(left, right, strict=True))
            return all(key in right and equal(value, right[key], budget) for key, value in left.items())
        except RecursionError:
            raise errors.EvaluationError(_TOO_DEEP) from None
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def to_json(value: JSON, budget: Budget) -> str:
    """Write a value as Go's `json.Marshal` does: keys sorted, `<`, `>` and `&` escaped, whole floats without `.0`.

    Raises:
        BudgetExhausted: The text would be larger than the budget allows.
        EvaluationError: The value cannot be written as JSON (a NaN, an integer beyond 64 bits, too many levels).
    """
    try:
        text = orjson.dumps(_plain(value, budget), option=orjson.OPT_SORT_KEYS).decode()
    except RecursionError:
        raise errors.EvaluationError(_TOO_DEEP) from None
    except TypeError as problem:
        raise errors.EvaluationError(f"cannot write the value as JSON: {problem}") from problem
    return text.translate(_HTML)


def _plain(value: JSON, budget: Budget) -> JSON:
    """The same value with floats as Go writes them; pays for the text that the value will become."""
    match value:
        case str():
            budget.allocate(len(value) + 2)
            return value
        case list():
            budget.spend(len(value) + 1)
            budget.allocate(len(value) + 2)
            return [_plain(item, budget) for item in value]
        case dict():
            budget.spend(len(value) + 1)
            budget.allocate(sum(map(len, value)) + 4 * len(value) + 2)
            return {key: _plain(item, budget) for key, item in value.items()}
        case float():
            if math.isnan(value) or math.isinf(value):
                raise errors.EvaluationError("cannot write the value as JSON: it holds a number that is not finite")
            return int(value) if value.is_integer() and abs(value) < 1e15 else value
    budget.allocate(8)
    return value


def to_text(value: JSON, budget: Budget) -> str:
    """Write a value as Go's `fmt.Sprint` does: `true`, `<nil>`, `1.5`, `[a b]`, `map[k:v]`.

    Raises:
        EvaluationError: The value is nested too deeply, or the budget is exhausted.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            return "<nil>"
        case float():
            return _float_text(value)
        case list() | dict():
            budget.spend(len(value) + 1)
            try:
                text = _container_text(value, budget)
            except RecursionError:
                raise errors.EvaluationError(_TOO_DEEP) from None
            budget.allocate(len(text))
            return text
    return str(value)


def as_floats(value: JSON) -> JSON:
    """A value of the context as Go has it there: every number is a float, which shows in the text of large ones.

    Args:
        value: What an expression gave, or a number that stands alone in a policy. Numbers in lists and maps that are
            written in a policy stay integers in Go; they are not for this.
    """
    if type(value) is int:
        return float(value) if abs(value) >= _SHORT else value
    if type(value) is list and any(type(item) is int and abs(item) >= _SHORT for item in value):
        return [as_floats(item) for item in value]
    return value


def _float_text(value: float) -> str:
    """A float as Go's `%v` writes it: `1.5`, `100000`, `1e+06`."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < _SHORT:
        return str(int(value)) if value.is_integer() else repr(value)
    digits, _, exponent = f"{decimal.Decimal(repr(value)).normalize():e}".partition("e")
    return f"{digits}e{exponent[0]}{exponent[1:]:0>2}"


def _container_text(value: list[Any] | dict[str, Any], budget: Budget) -> str:
    if isinstance(value, list):
        return f"[{' '.join([to_text(item, budget) for item in value])}]"
    return f"map[{' '.join([f'{key}:{to_text(value[key], budget)}' for key in sorted(value)])}]"


def integer(text: str) -> int | None:
    """What `strconv.ParseInt` reads in base ten, or None."""
    if len(text) > _LONGEST_NUMBER or _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


def number(text: str) -> int | float | None:
    """What `strconv.ParseFloat` reads in decimal notation, or None; whole numbers stay integers."""
    if len(text) > _LONGEST_NUMBER or _NUMBER.fullmatch(text) is None:
        return None
    if _INTEGER.fullmatch(text) is not None:
        return int(text)
    value = float(text)
    return None if math.isinf(value) and text[-1].isdigit() else value
