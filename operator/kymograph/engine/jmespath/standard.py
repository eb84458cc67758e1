"""The 26 functions of the JMESPath specification, as Kyverno's fork implements them.

Differences from the specification are the fork's: `avg` of nothing has no value here (Go divides zero by zero),
and `to_string` writes JSON with sorted keys and escaped `<`, `>`, `&`.
"""

import math
from collections.abc import Callable
from typing import Any

from kymograph.engine import values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import Parameter, Search, Type, failure, register

_NUMBER = Parameter(Type.NUMBER)
_STRING = Parameter(Type.STRING)
_ARRAY = Parameter(Type.ARRAY)
_OBJECT = Parameter(Type.OBJECT)
_NUMBERS = Parameter(Type.NUMBERS)
_STRINGS = Parameter(Type.STRINGS)
_SORTABLE = Parameter(Type.NUMBERS, Type.STRINGS)
_EXPRESSION = Parameter(Type.EXPRESSION)
_ANY = Parameter(Type.ANY)


@register("abs", _NUMBER)
def _abs(_: Budget, number: float) -> float:
    return abs(number)


@register("avg", _NUMBERS)
def _avg(_: Budget, numbers: list[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


@register("ceil", _NUMBER)
def _ceil(_: Budget, number: float) -> int:
    return math.ceil(number)


@register("contains", Parameter(Type.ARRAY, Type.STRING), _ANY)
def _contains(budget: Budget, whole: list[Any] | str, part: values.JSON) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    budget.spend(len(whole))
    if type(part) is str:
        return part in whole
    return any(values.equal(item, part, budget) for item in whole)


@register("ends_with", _STRING, _STRING)
def _ends_with(_: Budget, text: str, suffix: str) -> bool:
    return text.endswith(suffix)


@register("floor", _NUMBER)
def _floor(_: Budget, number: float) -> int:
    return math.floor(number)


@register("join", _STRING, _STRINGS)
def _join(budget: Budget, separator: str, texts: list[str]) -> str:
    budget.allocate(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@register("keys", _OBJECT)
def _keys(budget: Budget, mapping: dict[str, Any]) -> list[str]:
    budget.spend(len(mapping))
    return list(mapping)


@register("length", Parameter(Type.STRING, Type.ARRAY, Type.OBJECT))
def _length(_: Budget, value: str | list[Any] | dict[str, Any]) -> int:
    return len(value)


@register("map", _EXPRESSION, _ARRAY)
def _map(budget: Budget, expression: Search, items: list[Any]) -> list[Any]:
    budget.spend(len(items))
    return [expression(item, budget) for item in items]


@register("max", _SORTABLE)
def _max(_: Budget, items: list[Any]) -> values.JSON:
    return max(items, default=None)


@register("max_by", _ARRAY, _EXPRESSION)
def _max_by(budget: Budget, items: list[Any], expression: Search) -> values.JSON:
    return _best("max_by", budget, items, expression, max)


@register("merge", _OBJECT, variadic=True)
def _merge(budget: Budget, *mappings: dict[str, Any]) -> dict[str, Any]:
    budget.spend(sum(map(len, mappings)))
    merged: dict[str, Any] = {}
    for mapping in mappings:
        merged.update(mapping)
    return merged


@register("min", _SORTABLE)
def _min(_: Budget, items: list[Any]) -> values.JSON:
    return min(items, default=None)


@register("min_by", _ARRAY, _EXPRESSION)
def _min_by(budget: Budget, items: list[Any], expression: Search) -> values.JSON:
    return _best("min_by", budget, items, expression, min)


@register("not_null", _ANY, variadic=True)
def _not_null(_: Budget, *arguments: values.JSON) -> values.JSON:
    return next((argument for argument in arguments if argument is not None), None)


@register("reverse", Parameter(Type.ARRAY, Type.STRING))
def _reverse(budget: Budget, value: list[Any] | str) -> list[Any] | str:
    if isinstance(value, str):
        budget.allocate(len(value))
    else:
        budget.spend(len(value))
    return value[::-1]


@register("sort", _SORTABLE)
def _sort(budget: Budget, items: list[Any]) -> list[Any]:
    budget.spend(len(items) * len(items).bit_length())
    return sorted(items)


@register("sort_by", _ARRAY, _EXPRESSION)
def _sort_by(budget: Budget, items: list[Any], expression: Search) -> list[Any]:
    if len(items) < 2:
        return items
    budget.spend(len(items) * len(items).bit_length())
    keys = _comparable("sort_by", budget, items, expression)
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]


@register("starts_with", _STRING, _STRING)
def _starts_with(_: Budget, text: str, prefix: str) -> bool:
    return text.startswith(prefix)


@register("sum", _NUMBERS)
def _sum(_: Budget, numbers: list[float]) -> float:
    return sum(numbers)


@register("to_array", _ANY)
def _to_array(_: Budget, value: values.JSON) -> list[Any]:
    return value if isinstance(value, list) else [value]


@register("to_number", _ANY)
def _to_number(_: Budget, value: values.JSON) -> float | None:
    if type(value) is str:
        return values.number(value)
    return value if values.is_number(value) else None


@register("to_string", _ANY)
def _to_string(budget: Budget, value: values.JSON) -> str:
    return value if type(value) is str else values.to_json(value, budget)


@register("type", _ANY)
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


@register("values", _OBJECT)
def _values(budget: Budget, mapping: dict[str, Any]) -> list[Any]:
    budget.spend(len(mapping))
    return list(mapping.values())


def _best(name: str, budget: Budget, items: list[Any], expression: Search, choose: Callable[..., Any]) -> values.JSON:
    if len(items) < 2:
        return items[0] if items else None
    budget.spend(len(items))
    keys = _comparable(name, budget, items, expression)
    return items[choose(range(len(items)), key=keys.__getitem__)]


def _comparable(name: str, budget: Budget, items: list[Any], expression: Search) -> list[Any]:
    """The keys of the items, all numbers or all strings."""
    keys = [expression(item, budget) for item in items]
    if values.is_number(keys[0]):
        if not all(map(values.is_number, keys)):
            raise failure(name, "invalid type, must be number")
    elif type(keys[0]) is str:
        if not all(type(key) is str for key in keys):
            raise failure(name, "invalid type, must be string")
    else:
        raise failure(name, "invalid type, must be number or string")
    return keys
