"""Kyverno's functions of text: compare, replace, cut, split, match wildcards.

Letters change case one by one, as in Go: no letter becomes two, and no language has rules of its own.
"""

import decimal
import struct

from kymograph.apimachinery import semver, wildcard
from kymograph.engine import errors, values
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import BOOLEAN, NUMBER, STRING, STRINGS, TEXT, failure, register

_LOWER = {"\u0130": "i"}  # the one capital whose small letter Python writes as two characters


@register("compare", STRING, STRING, returns=NUMBER, note="the order of two texts: -1, 0 or 1")
def _compare(_: Budget, left: str, right: str) -> int:
    return (left > right) - (left < right)


@register(
    "equal_fold", STRING, STRING, returns=BOOLEAN, note="whether two texts are equal but for upper and lower case"
)
def _equal_fold(budget: Budget, left: str, right: str) -> bool:
    if len(left) != len(right):
        return False
    budget.spend(1 + len(left) // 8)
    return lower(upper(left)) == lower(upper(right))


@register(
    "replace", STRING, STRING, STRING, NUMBER, returns=STRING, note="a text with its first n parts of a kind replaced"
)
def _replace(budget: Budget, text: str, old: str, new: str, count: float) -> str:
    return _replaced(budget, text, old, new, max(-1, min(_int(count), len(text) + 1)))


@register("replace_all", STRING, STRING, STRING, returns=STRING, note="a text with all parts of a kind replaced")
def _replace_all(budget: Budget, text: str, old: str, new: str) -> str:
    return _replaced(budget, text, old, new, -1)


def _replaced(budget: Budget, text: str, old: str, new: str, most: int) -> str:
    budget.spend(1 + len(text) // 8)
    count = text.count(old) if most < 0 else min(text.count(old), most)
    budget.allocate(len(text) + count * len(new))
    return text.replace(old, new, most)


@register("to_upper", STRING, returns=STRING, note="a text in capitals")
def _to_upper(budget: Budget, text: str) -> str:
    budget.spend(1 + len(text) // 8)
    budget.allocate(len(text))
    return upper(text)


@register("to_lower", STRING, returns=STRING, note="a text in small letters")
def _to_lower(budget: Budget, text: str) -> str:
    budget.spend(1 + len(text) // 8)
    budget.allocate(len(text))
    return lower(text)


@register("trim", STRING, STRING, returns=STRING, note="a text without the given characters at both ends")
def _trim(budget: Budget, text: str, characters: str) -> str:
    budget.spend(1 + len(text) * len(characters) // 512)
    budget.allocate(len(text))
    return text.strip(characters)


@register("trim_prefix", STRING, STRING, returns=STRING, note="a text without what it starts with, if it does")
def _trim_prefix(budget: Budget, text: str, prefix: str) -> str:
    budget.allocate(len(text))
    return text.removeprefix(prefix)


@register(
    "split", STRING, STRING, returns=STRINGS, note="the parts of a text between separators; its characters for none"
)
def _split(budget: Budget, text: str, separator: str) -> list[str]:
    parts = text.count(separator) + 1 if separator else len(text)
    budget.spend(parts)
    budget.allocate(len(text) + 50 * parts)
    return text.split(separator) if separator else list(text)


@register(
    "pattern_match", STRING, TEXT, returns=BOOLEAN, note="whether a text matches a wildcard pattern of `*` and `?`"
)
def _pattern_match(budget: Budget, pattern: str, subject: str | float) -> bool:
    text = as_text(subject)
    budget.spend(1 + (len(pattern) + len(text)) // 8 + pattern.count("?") * len(text) // 32)
    return wildcard.match(pattern, text)


@register("to_boolean", STRING, returns=BOOLEAN, note="true or false from their names in any case")
def _to_boolean(budget: Budget, text: str) -> bool:
    budget.spend(1 + len(text) // 8)
    match lower(text):
        case "true":
            return True
        case "false":
            return False
    raise failure("to_boolean", f"lowercase argument must be 'true' or 'false' (provided: '{text}')")


@register("truncate", STRING, NUMBER, returns=STRING, note="a text cut off after n characters")
def _truncate(budget: Budget, text: str, length: float) -> str:
    budget.allocate(len(text))
    return text[: max(0, _int(length))]


@register("path_canonicalize", STRING, returns=STRING, note="a path without `.`, `..` and doubled slashes")
def _path_canonicalize(budget: Budget, path: str) -> str:
    if not path:
        return ""
    budget.spend(1 + path.count("/"))
    budget.allocate(len(path))
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if kept and kept[-1] != "..":
                kept.pop()
            elif not rooted:
                kept.append(part)
        elif part not in ("", "."):
            kept.append(part)
    return f"{'/' if rooted else ''}{'/'.join(kept)}" or "."


@register(
    "semver_compare", STRING, STRING, returns=BOOLEAN, note="whether a version lies in a range; a bad version is 0.0.0"
)
def _semver_compare(budget: Budget, version: str, wanted: str) -> bool:
    budget.spend(1 + len(wanted) // 4)
    try:
        return (semver.find(version) or semver.ZERO) in semver.parse_range(wanted)
    except ValueError as problem:
        raise errors.EvaluationError(str(problem)) from None


def upper(text: str) -> str:
    """Capitals, as Go's `strings.ToUpper`."""
    return text.upper() if text.isascii() else "".join(map(_capital, text))


def lower(text: str) -> str:
    """Small letters, as Go's `strings.ToLower`."""
    return text.lower() if text.isascii() else "".join([_LOWER.get(one) or one.lower() for one in text])


def _capital(letter: str) -> str:
    for changed in (letter.upper(), letter.title()):
        if len(changed) == 1:
            return changed
    return letter


def as_text(value: values.JSON) -> str:
    """A text, number or bool as text; numbers at the precision of 32 bits and without an exponent, as Kyverno does.

    Raises:
        TypeError: It is none of them.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() if abs(value) <= 1 << 24:
            return str(value)
        case int() | float():
            return _short(value)
    raise TypeError(type(value).__name__)


def _short(number: float) -> str:
    """The fewest digits that read as the same 32-bit float."""
    try:
        packed = struct.pack("<f", number)
    except OverflowError:
        return "+Inf" if number > 0 else "-Inf"
    (single,) = struct.unpack("<f", packed)
    written = next(
        text for digits in range(1, 10) if struct.pack("<f", float(text := f"{single:.{digits}g}")) == packed
    )
    return f"{decimal.Decimal(written):f}"


def _int(number: float) -> int:
    """Go's conversion to an integer: what does not fit into 64 bits becomes the least one."""
    return int(number) if -(2.0**63) <= number < 2.0**63 else -(1 << 63)
