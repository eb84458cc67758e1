"""Regular expressions as Go reads them (RE2), in time that is linear in the text.

Policies and objects both supply patterns, so no backtracking engine may see them: RE2 does the work. It is loaded when
the first pattern needs it; patterns of plain characters, with one repetition at most, mean the same to Python's `re`
and cannot backtrack, so they are left to it. Refusals read as Go's do. Look-around and back-references do not exist.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from kymograph.engine.budget import Budget

LONGEST = 4096
"""Characters of the longest pattern."""

_MEMORY = 2 << 20  # bytes that RE2 may spend on a compiled pattern and its automaton
_LONGEST_CACHED = 512
_NODES_A_STEP = 64  # of the automaton, times characters: what RE2 does in about a microsecond at its slowest

_CLASS = r"\[\^?(?:[A-Za-z0-9_./:@ ](?!-)|a-z|A-Z|0-9)+-?\]"
_ATOM = rf"(?:[A-Za-z0-9_ /:@=,;<>~#%&!'\"-]|\\[./:$^*+?(){{}}\[\]|\\-]|\\d|{_CLASS}|\.)"
_PLAIN = re.compile(rf"(?:{_ATOM})*\$?", re.ASCII)
_PLAIN_ANCHORED = re.compile(rf"\^(?:{_ATOM})*(?:{_ATOM}[*+](?:{_ATOM})*)?\$?", re.ASCII)
_TEMPLATE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
_SINGLE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")  # `\C`, which RE2 knows and Go does not
_SURROGATE = re.compile("[\ud800-\udfff]")
_REASONS = {  # RE2's words: Go's words
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "unexpected )": "unexpected )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "invalid escape sequence": "invalid escape sequence",
    "invalid character class": "invalid character class",
    "invalid character class range": "invalid character class range",
    "invalid UTF-8": "invalid UTF-8",
}
_NO_ARGUMENT = ("trailing backslash at end of expression",)


class RegexInvalid(ValueError):
    """A pattern is no regular expression of Go's; the text is Go's."""


class _Match(Protocol):
    def span(self, group: int | str = 0, /) -> tuple[int, int]: ...

    def group(self, group: int | str = 0, /) -> str | Any: ...


class Pattern:
    """A compiled regular expression.

    Args:
        search: Finds the first match in a text.
        finditer: Finds the matches from left to right.
        groups: Groups by name.
        count: How many groups there are.
        size: Nodes of the automaton, by which searching is charged.
    """

    __slots__ = ("_count", "_finditer", "_groups", "_search", "_size")

    def __init__(
        self,
        search: Callable[[str], object],
        finditer: Callable[[str], Iterable[Any]],
        groups: dict[str, int],
        count: int,
        size: int,
    ) -> None:
        self._search = search
        self._finditer = finditer
        self._groups = groups
        self._count = count
        self._size = size

    def found_in(self, text: str, budget: Budget) -> bool:
        """Whether the pattern matches anywhere in the text.

        Raises:
            BudgetExhausted: The text is too long for the steps that are left.
        """
        return self._search(self._sound(text, budget)) is not None

    def replace(self, text: str, template: str, budget: Budget) -> str:
        """Replace all matches by a template in which `$1`, `${1}` and `${name}` are groups and `$$` is a dollar.

        A name is as long as it can be (`$1x` is the group `1x`); groups that do not exist are empty.

        Raises:
            BudgetExhausted: The text or the result is too long for what is left.
        """
        if "$" not in template:
            return self.replace_literal(text, template, budget)
        parts = list(self._parts(template))
        return self._replace(text, lambda match: [self._expand(part, match) for part in parts], budget)

    def replace_literal(self, text: str, replacement: str, budget: Budget) -> str:
        """Replace all matches by a text.

        Raises:
            BudgetExhausted: The text or the result is too long for what is left.
        """
        return self._replace(text, lambda _: [replacement], budget)

    def _sound(self, text: str, budget: Budget) -> str:
        budget.spend(1 + len(text) * self._size // _NODES_A_STEP)
        return text if text.isascii() else _SURROGATE.sub("\ufffd", text)

    def _replace(self, text: str, expand: Callable[[_Match], list[str]], budget: Budget) -> str:
        text = self._sound(text, budget)
        pieces: list[str] = []
        done = 0
        for match in self._finditer(text):
            start, end = match.span()
            if end <= done and start > 0:  # Go ignores an empty match right behind another
                continue
            made = expand(match)
            budget.spend(1 + len(made))
            budget.allocate(start - done + sum(map(len, made)))
            pieces.append(text[done:start])
            pieces.extend(made)
            done = end
        pieces.append(text[done:])
        return "".join(pieces)

    def _parts(self, template: str) -> Iterator[str | int]:
        """A template as literal texts and numbers of groups."""
        done = 0
        for found in _TEMPLATE.finditer(template):
            yield template[done : found.start()]
            done = found.end()
            name = found[1] or found[2]
            if name is None:
                yield "$"
            elif name.isascii() and name.isdecimal() and (name == "0" or name[0] != "0"):
                if len(name) < 10 and int(name) <= self._count:
                    yield int(name)
            elif name in self._groups:
                yield self._groups[name]
        yield template[done:]

    @staticmethod
    def _expand(part: str | int, match: _Match) -> str:
        return part if isinstance(part, str) else match.group(part) or ""


def compile(pattern: str) -> Pattern:  # noqa: A001 - the field's word: regex.compile, as re.compile
    """Compile a pattern.

    Raises:
        RegexInvalid: Go would refuse it, or it is too long or too large.
    """
    return _cached(pattern) if len(pattern) <= _LONGEST_CACHED else _compile(pattern)


def _compile(pattern: str) -> Pattern:
    if len(pattern) > LONGEST:
        raise RegexInvalid(f"error parsing regexp: expression too large: {len(pattern)} characters")
    if _PLAIN.fullmatch(pattern) is not None or _PLAIN_ANCHORED.fullmatch(pattern) is not None:
        anchored = pattern.endswith("$") and (len(pattern) - len(pattern[:-1].rstrip("\\"))) % 2 == 1
        plain = re.compile(f"{pattern[:-1]}\\Z" if anchored else pattern, re.ASCII)
        return Pattern(plain.search, plain.finditer, {}, 0, len(pattern) + 1)
    return _by_re2(_SURROGATE.sub("\ufffd", pattern))


_cached = functools.lru_cache(maxsize=512)(_compile)


def _by_re2(pattern: str) -> Pattern:
    if "\\Q" not in pattern and _SINGLE_BYTE.search(pattern) is not None:
        raise RegexInvalid("error parsing regexp: invalid escape sequence: `\\C`")
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - ships no types; slow to load and rarely needed

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as problem:
        raise RegexInvalid(f"error parsing regexp: {_reason(problem.args[0])}") from None
    return Pattern(
        compiled.search, compiled.finditer, dict(compiled.groupindex), compiled.groups, max(compiled.programsize, 1)
    )


def _reason(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    code, _, argument = text.partition(": ")
    reason = _REASONS.get(code)
    if reason is None:
        return "expression too large"
    return f"{reason}: `{'' if reason in _NO_ARGUMENT else argument}`"
