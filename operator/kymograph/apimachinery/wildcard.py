"""Kyverno's wildcards: `*` is any run of characters, `?` exactly one, everything else stands for itself.

`fnmatch` reads `[` as a class and treats case by platform, so it cannot be used. Text is flat: `/` and newlines are
characters like others. Patterns come from objects too (the key of a condition may be the pattern), so there is no
backtracking here: each stretch between two `*` is placed once, as early as it fits.
"""

import functools
import re
from collections.abc import Callable

LONGEST_CACHED = 512
"""Longer patterns are compiled each time: they come from objects, and a cache of them would be the object's to fill."""


def has(text: str) -> bool:
    """Whether the text holds a wildcard."""
    return "*" in text or "?" in text


def match(pattern: str, text: str) -> bool:
    """Whether the whole text matches the pattern (case-sensitive)."""
    return compile(pattern)(text)


def compile(pattern: str) -> Callable[[str], bool]:  # noqa: A001 - the field's word: wildcard.compile, as re.compile
    """Turn a pattern into a function that says whether a whole text matches it."""
    return _cached(pattern) if len(pattern) <= LONGEST_CACHED else _compile(pattern)


def _compile(pattern: str) -> Callable[[str], bool]:
    head, *rest = pattern.split("*")
    if not rest:
        return _Open(pattern).is_whole if "?" in pattern else pattern.__eq__
    *inner, tail = rest
    middle = [text for text in inner if text]
    match head, middle, tail:
        case "", [], "":
            return _anything
        case "?", [], "":
            return bool
    if "?" not in pattern:
        match head, middle, tail:
            case _, [], "":
                return lambda text: text.startswith(head)
            case "", [], _:
                return lambda text: text.endswith(tail)
            case "", [only], "":
                return lambda text: only in text
    return _Glob(head, middle, tail).matches


_cached = functools.lru_cache(maxsize=4096)(_compile)


def _anything(_: str) -> bool:
    return True


class _Literal:
    """A stretch without wildcards."""

    __slots__ = ("_text", "length")

    def __init__(self, text: str) -> None:
        self.length = len(text)
        self._text = text

    def find(self, text: str, start: int, end: int) -> int:
        return text.find(self._text, start, end)


class _Open:
    """A stretch with `?`: it still matches exactly as many characters as it is long."""

    __slots__ = ("_expression", "length")

    def __init__(self, text: str) -> None:
        self.length = len(text)
        self._expression = re.compile("".join("." if c == "?" else re.escape(c) for c in text), re.DOTALL)

    def find(self, text: str, start: int, end: int) -> int:
        found = self._expression.search(text, start, end)
        return -1 if found is None else found.start()

    def is_whole(self, text: str) -> bool:
        return self._expression.fullmatch(text) is not None


class _Glob:
    """Stretches between stars: the first at the start, the last at the end, the others in turn."""

    __slots__ = ("_head", "_middle", "_shortest", "_tail")

    def __init__(self, head: str, middle: list[str], tail: str) -> None:
        self._head, *self._middle, self._tail = (
            _Open(text) if "?" in text else _Literal(text) for text in (head, *middle, tail)
        )
        self._shortest = sum(stretch.length for stretch in (self._head, *self._middle, self._tail))

    def matches(self, text: str) -> bool:
        size = len(text)
        if size < self._shortest:
            return False
        start, end = self._head.length, size - self._tail.length
        if self._head.find(text, 0, start) != 0 or self._tail.find(text, end, size) != end:
            return False
        for stretch in self._middle:
            found = stretch.find(text, start, end)
            if found < 0:
                return False
            start = found + stretch.length
        return True
