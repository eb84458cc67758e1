"""Kyverno's functions of maps and lists: look up, take apart, put together, compare labels."""

import math
from typing import Any

from kymograph.engine import values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath import texts
from kymograph.engine.jmespath.functions import (
    ANY,
    ARRAY,
    BOOLEAN,
    OBJECT,
    STRING,
    TEXT,
    Parameter,
    Type,
    failure,
    register,
)

_CONTAINER = Parameter(Type.OBJECT, Type.ARRAY)


@register("lookup", _CONTAINER, TEXT, returns=ANY, note="the value of a key or at an index; null if there is none")
def _lookup(_: Budget, container: dict[str, Any] | list[Any], key: str | float) -> values.JSON:
    if isinstance(container, dict):
        if not isinstance(key, str):
            raise failure("lookup", "argument #2 is not of type String")
        try:
            return container[key]  # not get(): a map may load its entries when asked
        except KeyError:
            return None
    if isinstance(key, str):
        raise failure("lookup", "argument #2 is not of type Number")
    if not isinstance(key, int) and (not math.isfinite(key) or key != int(key)):
        raise failure("lookup", f"argument #2: expected an integer number but got: {key!r}")
    if not -(2.0**63) <= key < 2.0**63:
        raise failure("lookup", f"argument #2: number is outside the range of integer numbers: {key!r}")
    return container[int(key)] if 0 <= key < len(container) else None


@register(
    "items",
    _CONTAINER,
    STRING,
    STRING,
    returns=ARRAY,
    note="a map or list as a list of maps of key (or index) and value",
)
def _items(
    budget: Budget, container: dict[str, Any] | list[Any], key_name: str, value_name: str
) -> list[dict[str, Any]]:
    budget.spend(1 + 2 * len(container))
    budget.allocate(250 * len(container))
    if isinstance(container, list):
        return [{key_name: index, value_name: value} for index, value in enumerate(container)]
    return [{key_name: key, value_name: container[key]} for key in sorted(container)]


@register(
    "object_from_lists",
    ARRAY,
    ARRAY,
    returns=OBJECT,
    note="a map of a list of keys and a list of values; null where values end",
)
def _object_from_lists(budget: Budget, keys: list[Any], contents: list[Any]) -> dict[str, Any]:
    budget.spend(1 + len(keys))
    budget.allocate(100 * len(keys))
    made: dict[str, Any] = {}
    for index, key in enumerate(keys):
        try:
            name = texts.as_text(key)
        except TypeError:
            raise failure("object_from_lists", "argument #1 is not of type StringArray") from None
        made[name] = contents[index] if index < len(contents) else None
    return made


@register(
    "label_match", OBJECT, OBJECT, returns=BOOLEAN, note="whether the second map holds all keys and values of the first"
)
def _label_match(budget: Budget, wanted: dict[str, Any], labels: dict[str, Any]) -> bool:
    budget.spend(1 + len(wanted))
    return all(key in labels and values.equal(labels[key], value, budget) for key, value in wanted.items())
