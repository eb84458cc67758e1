"""Assertion trees: whether a value is as a file says, and where it is not.

A tree looks like the value. A map asks for its keys and no others, a list for exactly its elements. A key may be
`(expression)`, evaluated on the value; `~.key` or `~index.key` asks every element; `key->name` binds what is found for
the tree below; `\\(key)\\` is a key that only looks like an expression. A text `(expression)` is what it evaluates to.
"""

import re
from collections.abc import Iterator
from typing import Any

from conformance import expressions

_EACH = re.compile(r"^~(\w+)?\.(.*)$", re.DOTALL)
_BOUND = re.compile(r"^(.*?)\s*->\s*(\w+)$", re.DOTALL)
_ESCAPED = re.compile(r"^\\(.+)\\$", re.DOTALL)
_SHOWN = 300


def mismatches(expected: Any, actual: Any, bindings: expressions.Bindings, path: str = "") -> Iterator[str]:
    """Where a value is not as a tree says, a line for each place; nothing where it is.

    Raises:
        ExpressionFailed: An expression of the tree cannot be evaluated.
    """
    if isinstance(expected, dict):
        for key, below in expected.items():
            yield from _entry(str(key), below, actual, bindings, path)
    elif isinstance(expected, list):
        if not isinstance(actual, list):
            yield f"{path}: expected a list, found {_shown(actual)}"
        elif len(expected) != len(actual):
            yield f"{path}: expected {len(expected)} elements, found {len(actual)}: {_shown(actual)}"
        else:
            for index, (below, value) in enumerate(zip(expected, actual, strict=True)):
                yield from mismatches(below, value, bindings, f"{path}[{index}]")
    else:
        wanted = expected
        if isinstance(expected, str) and (expression := expressions.inner(expected)) is not None:
            wanted = expressions.evaluate(expression, actual, bindings)
        if not _same(wanted, actual):
            yield f"{path}: expected {_shown(wanted)}, found {_shown(actual)}"


def _entry(key: str, below: Any, actual: Any, bindings: expressions.Bindings, path: str) -> Iterator[str]:
    each = _EACH.match(key)
    key = each[2] if each else key
    bound = _BOUND.match(key)
    key = bound[1] if bound else key
    here = f"{path}.{key}" if path else key
    escaped = _ESCAPED.match(key)
    if escaped is None and (expression := expressions.inner(key)) is not None:
        value = expressions.evaluate(expression, actual, bindings)
    else:
        name = escaped[1] if escaped else key
        if not isinstance(actual, dict) or name not in actual:
            yield f"{here}: not there"
            return
        value = actual[name]
    if bound:
        bindings = {**bindings, bound[2]: value}
    if each is None:
        yield from mismatches(below, value, bindings, here)
        return
    items = value.items() if isinstance(value, dict) else enumerate(value or ())
    for index, element in items:
        inside = {**bindings, each[1]: index} if each[1] else bindings
        yield from mismatches(below, element, inside, f"{here}[{index}]")


def _same(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(actual, bool):
        return wanted is actual
    return bool(wanted == actual)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
