r"""Kyverno's `random`: a text that a regular expression describes.

The expressions are those of Go's POSIX syntax without Perl's additions (no `\d`, no `\b`, no `(?:`, no lazy `*?`), as
Kyverno's generator takes them; anchors produce nothing, `*` and `+` repeat up to 4096 times. `.` is a printable
character of ASCII, where Kyverno's generator mostly gives U+FFFD. Randomness is drawn from the seed of the evaluation:
its n-th call gives the same text whenever the evaluation is run again.
"""

from collections.abc import Callable
from typing import TypeAlias

from kymograph.engine import errors, needs
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import STRING, register

_LONGEST = 4096
_UNBOUNDED = 4096
_MOST_REPEATS = 1000
_DEEPEST = 100
_OPERATORS = {"*": (0, _UNBOUNDED), "+": (1, _UNBOUNDED), "?": (0, 1)}
_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_PRINTABLE = ((0x20, 0x7E),)
_ESCAPES = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_CLASSES = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": ((48, 57),),
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}

_Ranges: TypeAlias = tuple[tuple[int, int], ...]


@register("random", STRING, returns=STRING, note="a random text that a regular expression describes")
def _random(budget: Budget, pattern: str) -> str:
    if not pattern:
        raise errors.EvaluationError("no pattern provided")
    if len(pattern) > _LONGEST:
        raise errors.EvaluationError(f"error parsing regexp: expression too large: {len(pattern)} characters")
    budget.spend(len(pattern))
    generate = _Parser(pattern).parse()
    number = budget.draws
    source = _Source(budget.ask(needs.Seed()), number, budget)
    budget.draws = number + 1
    pieces: list[str] = []
    generate(source, pieces)
    return "".join(pieces)


class _Source:
    """Random numbers from a seed and the number of the call."""

    __slots__ = ("_block", "_key", "_used", "budget")

    def __init__(self, seed: bytes, number: int, budget: Budget) -> None:
        self._key = seed + number.to_bytes(8, "big")
        self._block = b""
        self._used = 0
        self.budget = budget

    def below(self, limit: int) -> int:
        """A number from zero to below a limit, all equally likely."""
        fair = (1 << 32) - (1 << 32) % limit
        while True:
            offset = self._used % 64
            if offset == 0:
                import hashlib  # noqa: PLC0415 - slow to import, and few policies are random

                counter = (self._used // 64).to_bytes(8, "big")
                self._block = hashlib.blake2b(counter, key=self._key[:64]).digest()
            self._used += 4
            drawn = int.from_bytes(self._block[offset : offset + 4], "big")
            if drawn < fair:
                return drawn % limit


_Generate: TypeAlias = Callable[[_Source, list[str]], None]


class _Parser:
    """Turns a pattern into a function that makes texts."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def parse(self) -> _Generate:
        """Read the whole pattern.

        Raises:
            EvaluationError: It is no expression of this syntax, in Go's words.
        """
        generate, _ = self._alternatives()
        if self._at < len(self._pattern):
            raise self._refuse("unexpected )", self._pattern)
        return generate

    def _refuse(self, reason: str, part: str) -> errors.EvaluationError:
        return errors.EvaluationError(f"error parsing regexp: {reason}: `{part}`")

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _alternatives(self) -> tuple[_Generate, int]:
        """Alternatives up to a parenthesis, and the largest product of repeats among them."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._refuse("expression nests too deeply", self._pattern)
        branches, repeats = [], 1
        while True:
            branch, inner = self._sequence()
            branches.append(branch)
            repeats = max(repeats, inner)
            if self._next() != "|":
                break
            self._at += 1
        self._depth -= 1
        if len(branches) == 1:
            return branches[0], repeats
        return lambda source, pieces: branches[source.below(len(branches))](source, pieces), repeats

    def _sequence(self) -> tuple[_Generate, int]:
        parts: list[_Generate] = []
        most = 1
        while self._next() not in ("", "|", ")"):
            part, repeats = self._repeated()
            parts.append(part)
            most = max(most, repeats)

        def generate(source: _Source, pieces: list[str]) -> None:
            for part in parts:
                part(source, pieces)

        return (parts[0] if len(parts) == 1 else generate), most

    def _repeated(self) -> tuple[_Generate, int]:
        start = self._at
        if self._next() in ("*", "+", "?") or self._bounds() is not None:
            self._at = start
            bounds = self._bounds()
            part = self._pattern[start : self._at] if bounds is not None else self._pattern[start]
            raise self._refuse("missing argument to repetition operator", part)
        atom, repeats = self._atom()
        generate, stacked = atom, ""
        while True:
            before = self._at
            match self._next():
                case ("*" | "+" | "?") as repeated:
                    stacked = repeated if stacked in ("", repeated) else "*"  # `a**` is `a*`, and so is `a+?`
                    self._at += 1
                    generate = _repeat(atom, *_OPERATORS[stacked])
                case _:
                    bounds = self._bounds()
                    if bounds is None:
                        return generate, repeats
                    least, upper = bounds
                    most = max(least, _UNBOUNDED) if upper is None else upper
                    repeats *= max(least if upper is None else upper, 1)
                    if least > _MOST_REPEATS or (upper or 0) > _MOST_REPEATS or most < least or repeats > _MOST_REPEATS:
                        raise self._refuse("invalid repeat count", self._pattern[before : self._at])
                    generate = atom = _repeat(generate, least, most)
                    stacked = ""

    def _bounds(self) -> tuple[int, int | None] | None:
        """`{n}`, `{n,}` or `{n,m}`; any other brace is a character."""
        end = self._pattern.find("}", self._at)
        if self._next() != "{" or end < 0:
            return None
        least, comma, most = self._pattern[self._at + 1 : end].partition(",")
        if not _is_count(least) or (comma and most and not _is_count(most)):
            return None
        self._at = end + 1
        return int(least), (int(most) if most else None) if comma else int(least)

    def _atom(self) -> tuple[_Generate, int]:
        character = self._next()
        self._at += 1
        match character:
            case "(":
                generate, repeats = self._alternatives()
                if self._next() != ")":
                    raise self._refuse("missing closing )", self._pattern)
                self._at += 1
                return generate, repeats
            case "[":
                return _one_of(self._class()), 1
            case ".":
                return _one_of(_PRINTABLE), 1
            case "^" | "$":
                return _nothing, 1
            case "\\":
                return _literal(chr(self._escape())), 1
        return _literal(character), 1

    def _escape(self) -> int:
        """The character that a backslash and what follows stand for."""
        start, character = self._at - 1, self._next()
        if not character:
            raise errors.EvaluationError("error parsing regexp: trailing backslash at end of expression: ``")
        self._at += 1
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character == "x":
            if self._next() == "{":
                digits, brace, _ = self._pattern[self._at + 1 :].partition("}")
                self._at += len(digits) + 1 + len(brace)
            else:
                digits = self._pattern[self._at : self._at + 2].ljust(2)
                self._at += 2
            if digits and len(digits) < 9 and set(digits) <= set("0123456789abcdefABCDEF") and int(digits, 16) <= _LAST:
                return int(digits, 16)
        elif character in "01234567":
            digits = character
            while len(digits) < 3 and self._next() and self._next() in "01234567":
                digits += self._next()
                self._at += 1
            if character == "0" or len(digits) > 1:
                return int(digits, 8)
        elif character.isascii() and not character.isalnum():
            return ord(character)
        raise self._refuse("invalid escape sequence", self._pattern[start : self._at])

    def _class(self) -> _Ranges:
        """The characters of a class, after its bracket."""
        opened = self._at - 1
        negated = self._next() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self._next() != "]":
            if not self._next():
                raise self._refuse("missing closing ]", self._pattern[opened:])
            if self._next() == "-" and not first and (after := self._pattern[self._at + 1 : self._at + 2]) != "]":
                raise self._refuse("invalid character class range", f"-{after}")
            first = False
            if self._pattern.startswith("[:", self._at) and (named := self._named()) is not None:
                ranges.extend(named)
                continue
            start = self._at
            low = high = self._member(opened)
            if self._next() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._member(opened)
            if high < low:
                raise self._refuse("invalid character class range", self._pattern[start : self._at])
            ranges.append((low, high))
        self._at += 1
        return _normal(ranges, negated=negated)

    def _member(self, opened: int) -> int:
        character = self._next()
        if not character:
            raise self._refuse("missing closing ]", self._pattern[opened:])
        self._at += 1
        return self._escape() if character == "\\" else ord(character)

    def _named(self) -> _Ranges | None:
        """`[:alpha:]` and its like."""
        end = self._pattern.find(":]", self._at + 2)
        if end < 0:
            return None
        name = self._pattern[self._at + 2 : end]
        ranges = _CLASSES.get(name.removeprefix("^"))
        if ranges is None:
            raise self._refuse("invalid character class range", self._pattern[self._at : end + 2])
        self._at = end + 2
        return _normal(list(ranges), negated=True) if name.startswith("^") else ranges


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 9 and (text == "0" or text[0] != "0")


def _normal(ranges: list[tuple[int, int]], *, negated: bool) -> _Ranges:
    """Ranges in order, none of them twice, without NUL, surrogates and, negated, line feeds."""
    if negated:
        kept, low = [], 1
        for start, end in sorted([*ranges, (10, 10)]):
            if start > low:
                kept.append((low, start - 1))
            low = max(low, end + 1)
        if low <= _LAST:
            kept.append((low, _LAST))
        ranges = kept
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    first, last = _SURROGATES
    split = [part for low, high in merged for part in ((low, min(high, first - 1)), (max(low, last + 1), high))]
    return tuple(dict.fromkeys((max(low, 1), high) for low, high in split if max(low, 1) <= high))


def _nothing(_: _Source, __: list[str]) -> None:
    """Anchors make no text."""


def _literal(character: str) -> _Generate:
    def generate(source: _Source, pieces: list[str]) -> None:
        source.budget.spend()
        source.budget.allocate(8)
        pieces.append(character)

    return generate


def _one_of(ranges: _Ranges) -> _Generate:
    total = sum(high - low + 1 for low, high in ranges)
    if total == 0:
        raise errors.EvaluationError("invalid generator pattern: a class without characters")

    def generate(source: _Source, pieces: list[str]) -> None:
        source.budget.spend()
        source.budget.allocate(8)
        index = source.below(total)
        for low, high in ranges:
            if index <= high - low:
                pieces.append(chr(low + index))
                return
            index -= high - low + 1

    return generate


def _repeat(inner: _Generate, least: int, most: int) -> _Generate:
    def generate(source: _Source, pieces: list[str]) -> None:
        count = least + source.below(most - least + 1)
        source.budget.spend(count)
        for _ in range(count):
            inner(source, pieces)

    return generate
