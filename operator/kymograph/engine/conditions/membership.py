"""`AnyIn`, `AllIn`, `AnyNotIn`, `AllNotIn`, and the deprecated `In` and `NotIn`.

Keys and values are compared as text, with wildcards on either side. The value is a list, a string that is a range
(`1-10`), a string that is a JSON list of strings, or a single string. What the operators cannot read (a null or a map
as key, JSON that is no list of strings as value) makes all of them false, the negative ones too.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import orjson

from kymograph.apimachinery import wildcard
from kymograph.engine import values
from kymograph.engine.budget import Budget
from kymograph.engine.pattern import operators as patterns

_Test = Callable[[values.JSON, Budget], bool]
_Found = Callable[[str, Budget], bool]

_WORK = 4096  # characters of pattern times characters of text that one step pays for


def pay(text: int, pattern: int, budget: Budget) -> None:
    """Pay for matching a text against a pattern, by their lengths; free for what is usual."""
    if (work := text * pattern) > _WORK:
        budget.spend(work // _WORK)


class _Items:
    """The strings of a value: which keys are among them, wildcards on either side."""

    __slots__ = ("_exact", "_longest", "_patterns", "_texts")

    def __init__(self, texts: list[str], budget: Budget) -> None:
        budget.spend(len(texts))
        self._texts = texts
        self._exact = frozenset(texts)
        self._patterns = tuple(wildcard.compile(text) for text in self._exact if wildcard.has(text))
        self._longest = max(map(len, texts), default=0)

    def has(self, key: str, budget: Budget) -> bool:
        if key in self._exact:
            return True
        if self._patterns:
            budget.spend(len(self._patterns))
            pay(len(key), self._longest, budget)
            if any(matches(key) for matches in self._patterns):
                return True
        if not wildcard.has(key):
            return False
        budget.spend(len(self._texts))
        pay(len(key), self._longest * len(self._texts), budget)
        return any(map(wildcard.compile(key), self._texts))


@dataclasses.dataclass(frozen=True, slots=True)
class _Reading:
    """A value, read for look-ups.

    Attributes:
        scalar: Whether a scalar key is among the values.
        among: Whether one key of a list is; None where the value cannot be read for lists.
        certain: Whether a scalar key that is not found is really not there; else the value could not be read.
    """

    scalar: _Found
    among: _Found | None
    certain: bool = True


def _read(value: values.JSON, budget: Budget, *, number: bool, outside: bool) -> _Reading:
    if type(value) is list:
        found = _Items([values.to_text(item, budget) for item in value], budget).has
        return _Reading(found, found)
    if type(value) is not str:
        readable = number and (values.is_number(value) or isinstance(value, bool))
        among = _Items([values.to_text(value, budget)], budget).has if readable else None
        return _Reading(_nothing, among, certain=False)
    like = _like(value)
    within = patterns.in_range(value)
    if within is not None:
        beyond = patterns.not_in_range(value) if outside else None
        return _Reading(
            lambda key, budget: like(key, budget) or within(key, budget),
            within if beyond is None else lambda key, budget: not beyond(key, budget),
        )
    try:
        texts = _strings(orjson.loads(value))
    except orjson.JSONDecodeError:
        texts = [value]
    if texts is None:
        return _Reading(like, None, certain=False)
    exact = frozenset(texts)
    return _Reading(lambda key, budget: like(key, budget) or key in exact, _Items(texts, budget).has)


def _nothing(_key: str, _budget: Budget) -> bool:
    return False


def _like(pattern: str) -> _Found:
    matches, size = wildcard.compile(pattern), len(pattern)

    def like(key: str, budget: Budget) -> bool:
        pay(len(key), size, budget)
        return matches(key)

    return like


def _strings(document: values.JSON) -> list[str] | None:
    """The strings of a JSON list as Go reads them (null is a list of none, or the empty string); None for others."""
    if document is None:
        return []
    if not isinstance(document, list) or not all(item is None or isinstance(item, str) for item in document):
        return None
    return [item or "" for item in document]


def _operator(
    *,
    of_scalar: Callable[[bool], bool],
    of_list: Callable[[list[str], _Found, Budget], bool],
    single: bool,
    number: bool,
    outside: bool = False,
) -> Callable[[values.JSON, Budget], _Test]:
    """Make an operator.

    Args:
        of_scalar: From whether a scalar key is among the values to the result.
        of_list: From the keys and the question whether one is among the values to the result.
        single: The result for a list of one key that equals a string value.
        number: Whether a number or bool may be the value for a list of keys.
        outside: Whether a key of a list counts as in a range unless it is outside of it (text is neither).
    """

    def prepare(value: values.JSON, budget: Budget) -> _Test:
        reading = _read(value, budget, number=number, outside=outside)
        scalar, among, certain = reading.scalar, reading.among, reading.certain

        def test(key: values.JSON, budget: Budget) -> bool:
            if type(key) is str:
                found = scalar(key, budget)
            elif type(key) is list:
                keys = [values.to_text(item, budget) for item in key]
                budget.spend(len(keys))
                if type(value) is str and len(keys) == 1 and keys[0] == value:
                    return single
                return among is not None and of_list(keys, among, budget)
            elif key is None or isinstance(key, dict):
                return False
            else:
                found = scalar(values.to_text(key, budget), budget)
            return (found or certain) and of_scalar(found)

        return test

    return prepare


def _deprecated(*, negative: bool) -> Callable[[values.JSON, Budget], _Test]:
    """`In` and `NotIn`: no ranges, no single strings, and a list key is compared without wildcards."""

    def prepare(value: values.JSON, budget: Budget) -> _Test:
        scalar: _Found = _nothing
        certain = False
        texts: list[str] | None = None
        if type(value) is list:
            scalar, certain = _Items([values.to_text(item, budget) for item in value], budget).has, True
            texts = value if all(type(item) is str for item in value) else None
        elif type(value) is str:
            try:
                texts = _strings(orjson.loads(value))
            except orjson.JSONDecodeError:
                texts = None
            like, certain, among = _like(value), texts is not None, frozenset(texts or ())
            scalar = lambda key, budget: like(key, budget) or key in among  # noqa: E731 - one of two definitions
        exact = None if texts is None else frozenset(texts)

        def test(key: values.JSON, budget: Budget) -> bool:
            if type(key) is list:
                keys: list[Any] = key
                if not all(type(item) is str for item in keys):
                    return False
                budget.spend(len(keys))
                if type(value) is str and len(keys) == 1 and keys[0] == value:
                    return True  # of both: `NotIn` is wrong here in Kyverno, and deprecated
                return exact is not None and exact.issuperset(keys) is not negative
            if key is None or isinstance(key, dict):
                return False
            found = scalar(key if type(key) is str else values.to_text(key, budget), budget)
            return (found or certain) and found is not negative

        return test

    return prepare


any_in = _operator(
    of_scalar=lambda found: found,
    of_list=lambda keys, among, budget: any(among(key, budget) for key in keys),
    single=True,
    number=True,
)
all_in = _operator(
    of_scalar=lambda found: found,
    of_list=lambda keys, among, budget: all(among(key, budget) for key in keys),
    single=True,
    number=False,
)
any_not_in = _operator(
    of_scalar=lambda found: not found,
    of_list=lambda keys, among, budget: any(not among(key, budget) for key in keys),
    single=False,
    number=True,
    outside=True,
)
all_not_in = _operator(
    of_scalar=lambda found: not found,
    of_list=lambda keys, among, budget: not any(among(key, budget) for key in keys),
    single=False,
    number=False,
)
deprecated_in = _deprecated(negative=False)
deprecated_not_in = _deprecated(negative=True)
