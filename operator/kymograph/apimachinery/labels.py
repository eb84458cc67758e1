"""Label selectors, compiled once to a test of a set of labels.

The semantics are those of `metav1.LabelSelector`: all requirements hold, `NotIn` and `DoesNotExist` hold for absent
keys, an empty selector selects everything. Policies may also write the wildcards `*` and `?` in `matchLabels`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kymograph.apimachinery import wildcard

Labels: TypeAlias = Mapping[str, Any]
Matcher: TypeAlias = Callable[[Labels], bool]

_NAME = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_LONGEST_PREFIX = 253

LONGEST_VALUE = 63
"""Characters of a label's value."""


def is_value(text: str) -> bool:
    """Whether a text may be the value of a label."""
    return not text or _NAME.fullmatch(text) is not None


def is_empty(selector: Mapping[str, Any]) -> bool:
    """Whether a selector states no requirement at all and so selects everything."""
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def matcher(selector: Mapping[str, Any]) -> Matcher:
    """Compile a `metav1.LabelSelector`.

    A `matchLabels` entry with a wildcard in its key or value holds when one label matches both (Kyverno).

    Args:
        selector: The selector as written: `matchLabels` and `matchExpressions`, both optional.

    Raises:
        ValueError: A key, value or operator is not valid in a label selector, or a field is unknown.
    """
    unknown = sorted(set(selector) - {"matchLabels", "matchExpressions"})
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r} in a label selector")
    labels = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    if not isinstance(labels, Mapping) or not isinstance(expressions, list):
        raise ValueError("matchLabels must be a map and matchExpressions a list")  # noqa: TRY004 - one error for a bad selector
    tests = [_requirement(key, value) for key, value in labels.items()]
    tests += [_expression(expression) for expression in expressions]
    if len(tests) == 1:
        return tests[0]
    requirements = tuple(tests)

    def matches(labels: Labels) -> bool:
        return all(requirement(labels) for requirement in requirements)

    return matches


def _requirement(key: Any, value: Any) -> Matcher:
    if not isinstance(key, str) or not isinstance(value, str):
        raise ValueError(f"matchLabels must map text to text, not {key!r} to {value!r}")  # noqa: TRY004 - as above
    if not wildcard.has(key) and not wildcard.has(value):
        _check_key(key)
        _check_value(value)
        return lambda labels: labels.get(key) == value
    matches_key = wildcard.compile(key)
    matches_value = wildcard.compile(value)
    return lambda labels: any(matches_key(a_key) and matches_value(a_value) for a_key, a_value in labels.items())


def _expression(expression: Any) -> Matcher:
    if not isinstance(expression, Mapping):
        raise ValueError("an entry of matchExpressions must be a map of key, operator and values")  # noqa: TRY004 - as above
    key, operator, values = expression.get("key", ""), expression.get("operator"), expression.get("values") or []
    _check_key(key)
    if operator not in _OPERATORS:
        raise ValueError(f"{operator!r} is not a valid label selector operator: use one of {', '.join(_OPERATORS)}")
    if operator in {"Exists", "DoesNotExist"}:
        if values:
            raise ValueError(f"values must be empty for operator {operator}")
        if operator == "Exists":
            return lambda labels: key in labels
        return lambda labels: key not in labels
    if not isinstance(values, list) or not values:
        raise ValueError(f"values must be given for operator {operator}")
    for value in values:
        _check_value(value)
    allowed = frozenset(values)
    if operator == "In":
        return lambda labels: labels.get(key) in allowed
    return lambda labels: labels.get(key) not in allowed


def _check_key(key: Any) -> None:
    prefix, slash, name = key.rpartition("/") if isinstance(key, str) else ("", "", "")
    if not _NAME.fullmatch(name) or (slash and (len(prefix) > _LONGEST_PREFIX or not _PREFIX.fullmatch(prefix))):
        raise ValueError(f"{key!r} is not a valid label key")


def _check_value(value: Any) -> None:
    if not isinstance(value, str) or not is_value(value):
        raise ValueError(f"{value!r} is not a valid label value")
