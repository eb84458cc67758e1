"""The functions of the JMESPath specification, as Kyverno's fork implements them; `sum` is Kyverno's own.

Differences from the specification are the fork's: `avg` of nothing has no value here (Go divides zero by zero),
and `to_string` writes JSON with sorted keys and escaped `<`, `>`, `&`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import (
    ANY,
    ARRAY,
    BOOLEAN,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    Parameter,
    Search,
    Type,
    from_float,
    register,
)

_standard = functools.partial(register, standard=True)

_NUMBERS = Parameter(Type.NUMBERS)
_SORTABLE = Parameter(Type.NUMBERS, Type.STRINGS)
_EXPRESSION = Parameter(Type.EXPRESSION)


@_standard("abs", NUMBER, returns=NUMBER, note="the distance of a number from zero")
def _abs(_: Budget, number: float) -> float:
    return abs(number)


@_standard("avg", _NUMBERS, returns=Parameter(Type.NUMBER, Type.NULL), note="the mean of numbers; null for none")
def _avg(_: Budget, numbers: list[float]) -> float | None:
    return from_float(sum(map(float, numbers)) / len(numbers)) if numbers else None


@_standard("ceil", NUMBER, returns=NUMBER, note="the number rounded up to a whole one")
def _ceil(_: Budget, number: float) -> float:
    return math.ceil(number) if math.isfinite(number) else number


@_standard(
    "contains",
    Parameter(Type.ARRAY, Type.STRING),
    ANY,
    returns=BOOLEAN,
    note="whether a list holds a value, or a text another text",
)
def _contains(budget: Budget, whole: list[Any] | str, part: values.JSON) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    budget.spend(len(whole))
    if type(part) is str:
        return part in whole
    return any(values.equal(item, part, budget) for item in whole)


@_standard("ends_with", STRING, STRING, returns=BOOLEAN, note="whether a text ends with another")
def _ends_with(_: Budget, text: str, suffix: str) -> bool:
    return text.endswith(suffix)


@_standard("floor", NUMBER, returns=NUMBER, note="the number rounded down to a whole one")
def _floor(_: Budget, number: float) -> float:
    return math.floor(number) if math.isfinite(number) else number


@_standard("join", STRING, STRINGS, returns=STRING, note="the texts of a list with a separator between them")
def _join(budget: Budget, separator: str, texts: list[str]) -> str:
    budget.allocate(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@_standard("keys", OBJECT, returns=STRINGS, note="the keys of a map")
def _keys(budget: Budget, mapping: dict[str, Any]) -> list[str]:
    budget.spend(len(mapping))
    return list(mapping)


@_standard(
    "length",
    Parameter(Type.STRING, Type.ARRAY, Type.OBJECT),
    returns=NUMBER,
    note="how many characters, items or keys there are",
)
def _length(_: Budget, value: str | list[Any] | dict[str, Any]) -> int:
    return len(value)


@_standard("map", _EXPRESSION, ARRAY, returns=ARRAY, note="what the expression gives for each item, nulls included")
def _map(budget: Budget, expression: Search, items: list[Any]) -> list[Any]:
    budget.spend(len(items))
    return [expression(item, budget) for item in items]


@_standard(
    "max",
    _SORTABLE,
    returns=Parameter(Type.NUMBER, Type.STRING, Type.NULL),
    note="the largest number, or the last text in order; null for none",
)
def _max(_: Budget, items: list[Any]) -> values.JSON:
    return max(items, default=None)


@_standard("max_by", ARRAY, _EXPRESSION, returns=ANY, note="the item for which the expression is largest")
def _max_by(budget: Budget, items: list[Any], expression: Search) -> values.JSON:
    return _best(budget, items, expression, max)


@_standard("merge", OBJECT, variadic=True, returns=OBJECT, note="one map of all keys; later maps win")
def _merge(budget: Budget, *mappings: dict[str, Any]) -> dict[str, Any]:
    budget.spend(sum(map(len, mappings)))
    merged: dict[str, Any] = {}
    for mapping in mappings:
        merged.update(mapping)
    return merged


@_standard(
    "min",
    _SORTABLE,
    returns=Parameter(Type.NUMBER, Type.STRING, Type.NULL),
    note="the smallest number, or the first text in order; null for none",
)
def _min(_: Budget, items: list[Any]) -> values.JSON:
    return min(items, default=None)


@_standard("min_by", ARRAY, _EXPRESSION, returns=ANY, note="the item for which the expression is smallest")
def _min_by(budget: Budget, items: list[Any], expression: Search) -> values.JSON:
    return _best(budget, items, expression, min)


@_standard("not_null", ANY, variadic=True, returns=ANY, note="the first argument that is not null")
def _not_null(_: Budget, *arguments: values.JSON) -> values.JSON:
    return next((argument for argument in arguments if argument is not None), None)


@_standard(
    "reverse",
    Parameter(Type.ARRAY, Type.STRING),
    returns=Parameter(Type.ARRAY, Type.STRING),
    note="the items or characters from last to first",
)
def _reverse(budget: Budget, value: list[Any] | str) -> list[Any] | str:
    if isinstance(value, str):
        budget.allocate(len(value))
    else:
        budget.spend(len(value))
    return value[::-1]


@_standard("sort", Parameter(Type.STRINGS, Type.NUMBERS), returns=ARRAY, note="the numbers or texts in ascending order")
def _sort(budget: Budget, items: list[Any]) -> list[Any]:
    budget.spend(len(items) * len(items).bit_length())
    return sorted(items)


@_standard(
    "sort_by", ARRAY, _EXPRESSION, returns=ARRAY, note="the items in ascending order of what the expression gives"
)
def _sort_by(budget: Budget, items: list[Any], expression: Search) -> list[Any]:
    if len(items) < 2:
        return items
    budget.spend(len(items) * len(items).bit_length())
    keys = _comparable(budget, items, expression, unlike="error in sort_by comparison")
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]


@_standard("starts_with", STRING, STRING, returns=BOOLEAN, note="whether a text starts with another")
def _starts_with(_: Budget, text: str, prefix: str) -> bool:
    return text.startswith(prefix)


@_standard("to_array", ANY, returns=ARRAY, note="the list itself, or a list of the one value")
def _to_array(_: Budget, value: values.JSON) -> list[Any]:
    return value if isinstance(value, list) else [value]


@_standard(
    "to_number",
    ANY,
    returns=Parameter(Type.NUMBER, Type.NULL),
    note="the number that a text writes; null if it is none",
)
def _to_number(_: Budget, value: values.JSON) -> float | None:
    if type(value) is str:
        return values.number(value)
    return value if values.is_number(value) else None


@_standard("to_string", ANY, returns=STRING, note="the text itself, or the value as JSON")
def _to_string(budget: Budget, value: values.JSON) -> str:
    return value if type(value) is str else values.to_json(value, budget)


@_standard("type", ANY, returns=STRING, note="the name of a value's type")
def _type(_: Budget, value: values.JSON) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
    return "number"


@_standard("values", OBJECT, returns=ARRAY, note="the values of a map")
def _values(budget: Budget, mapping: dict[str, Any]) -> list[Any]:
    budget.spend(len(mapping))
    return list(mapping.values())


def _best(budget: Budget, items: list[Any], expression: Search, choose: Callable[..., Any]) -> values.JSON:
    if len(items) < 2:
        return items[0] if items else None
    budget.spend(len(items))
    keys = _comparable(budget, items, expression)
    return items[choose(range(len(items)), key=keys.__getitem__)]


def _comparable(budget: Budget, items: list[Any], expression: Search, unlike: str = "") -> list[Any]:
    """The keys of the items, all numbers or all strings; `unlike` is what to say where they are not of one type."""
    keys = [expression(item, budget) for item in items]
    if values.is_number(keys[0]):
        if not all(map(values.is_number, keys)):
            raise errors.EvaluationError(unlike or "invalid type, must be number")
    elif type(keys[0]) is str:
        if not all(type(key) is str for key in keys):
            raise errors.EvaluationError(unlike or "invalid type, must be string")
    else:
        raise errors.EvaluationError("invalid type, must be number of string")
    return keys
