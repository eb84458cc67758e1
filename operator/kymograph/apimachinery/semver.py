"""Semantic versions as Kyverno compares them (semver.org 2.0.0, strictly: three numbers, no `v`), and ranges of them.

Ranges are those of the Go library blang/semver: `>=1.0.0 <2.0.0 || !3.x`, read with its leniencies and refused with its
words. Neither reads a version leniently.
"""

import dataclasses
import functools
import json
import operator
import re
from collections.abc import Callable
from typing import TypeAlias

_NUMERIC = r"(?:0|[1-9]\d{0,19})"
_IDENTIFIER = rf"(?:{_NUMERIC}|\d*[A-Za-z-][0-9A-Za-z-]*)"
# Patterns are texts: `re` compiles and keeps those that are used, and most processes read no version.
_TEXT = (
    rf"(?a)({_NUMERIC})\.({_NUMERIC})\.({_NUMERIC})"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LONGEST = 256

_Precedence: TypeAlias = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


@functools.total_ordering
@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """A version, ordered by precedence; build metadata take no part.

    Attributes:
        precedence: What is compared: the numbers, whether it is a release, the identifiers of a pre-release.
    """

    precedence: _Precedence

    def __lt__(self, other: "Version") -> bool:
        return self.precedence < other.precedence


def parse(text: str) -> Version:
    """Read a version.

    Raises:
        ValueError: The text is no semantic version.
    """
    found = find(text)
    if found is None:
        raise ValueError(f"{text[:100]!r} is no semantic version: write for example 1.25.0 or 2.0.0-rc.1")
    return found


def find(text: str) -> Version | None:
    """Read a version where one may stand; None for any other text."""
    parts = re.fullmatch(_TEXT, text) if len(text) <= _LONGEST else None
    if parts is None:
        return None
    major, minor, patch, pre = parts.groups()
    identifiers = tuple(
        (False, int(part), "") if part.isdecimal() else (True, 0, part) for part in (pre.split(".") if pre else ())
    )
    numbers = (int(major), int(minor), int(patch))
    if max(*numbers, *(number for _, number, _ in identifiers)) >> 64:
        return None
    return Version((*numbers, pre is None, identifiers))


ZERO = Version((0, 0, 0, True, ()))
"""The version 0.0.0."""

_COMPARATORS: dict[str, Callable[[Version, Version], bool]] = {
    "": operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    "!": operator.ne,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_WILDCARDS = {  # comparator: (comparators of the version with zeros for x, comparator of the next version)
    "": (">=", "<"),
    "=": (">=", "<"),
    "==": (">=", "<"),
    "!": ("<", ">="),
    "!=": ("<", ">="),
    ">": ("", ">="),
    "<=": ("", "<"),
    ">=": (">=", ""),
    "<": ("<", ""),
}
_PART = r"(?s)\s*(\D*)(\d.*)"
_NUMBERS = ("major", "minor", "patch")


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """A set of versions.

    Attributes:
        alternatives: One of them has to hold as a whole: each is a list of comparisons with a version.
    """

    alternatives: tuple[tuple[tuple[Callable[[Version, Version], bool], Version], ...], ...]

    def __contains__(self, version: Version) -> bool:
        return any(all(compare(version, than) for compare, than in parts) for parts in self.alternatives)


def parse_range(text: str) -> Range:
    """Read a range: comparisons joined by blanks (and) and `||` (or), with `x` for any minor or patch number.

    Raises:
        ValueError: The text is no range, with the words of blang/semver.
    """
    alternatives: list[list[str]] = [[]]
    parts = _split(text)
    for number, part in enumerate(parts):
        if part != "||":
            alternatives[-1].append(part)
        elif number == 0:
            raise ValueError("First element in range is '||'")
        else:
            alternatives.append([])
    if not parts or parts[-1] == "||":
        raise ValueError("Last element in range is '||'")
    expanded = [[one for part in some for one in _expand(part)] for some in alternatives]
    return Range(tuple(tuple(_comparison(part) for part in some) for some in expanded if some))


def _split(text: str) -> list[str]:
    """Parts between blanks; a blank after `>`, `<` or `=` belongs to the comparison, a single character is lost."""
    parts: list[str] = []
    start, last = 0, ""
    for at, character in enumerate(text):
        if character != " ":
            last = character
        elif last not in (">", "<", "="):
            if start < at - 1:
                parts.append(text[start:at])
            start = at + 1
    if start < len(text) - 1:
        parts.append(text[start:])
    return [part.replace(" ", "") for part in parts]


def _comparator_and_version(part: str) -> tuple[str, str]:
    found = re.fullmatch(_PART, part)
    if found is None:
        raise ValueError(f"Could not get version from string: {_quote(part)}")
    return found[1].strip(), found[2]


def _expand(part: str) -> list[str]:
    """A comparison with an `x` as the comparisons it stands for."""
    if "x" not in part:
        return [part]
    comparator, version = _comparator_and_version(part)
    numbers = version.split(".")
    flat = version.replace(".x.x", ".x", 1).replace(".x", ".0", 1)
    if flat.count(".") == 1:
        flat += ".0"
    if comparator not in _WILDCARDS:
        return [flat]
    first, then = _WILDCARDS[comparator]
    place = len(numbers) - 2 if numbers[-1] == "x" and len(numbers) in (2, 3) else None
    expanded = [first + flat] if first else []
    if then:
        expanded.append(then + (_next(flat, place) if place is not None else ""))
    return expanded


def _next(version: str, place: int) -> str:
    parts = version.split(".")
    if place >= len(parts) or re.fullmatch(r"[+-]?[0-9]{1,18}", parts[place]) is None:
        return ""
    parts[place] = str(int(parts[place]) + 1)
    return ".".join(parts)


def _comparison(part: str) -> tuple[Callable[[Version, Version], bool], Version]:
    comparator, version = _comparator_and_version(part)
    whole = _quote(f"{comparator}{version}")
    compare = _COMPARATORS.get(comparator)
    if compare is None:
        raise ValueError(
            f"Could not parse Range {_quote(part)}: Could not parse comparator {_quote(comparator)} in {whole}"
        )
    found = find(version)
    if found is None:
        raise ValueError(
            f"Could not parse Range {_quote(part)}: "
            f"Could not parse version {_quote(version)} in {whole}: {_complaint(version)}"
        )
    return compare, found


def _complaint(text: str) -> str:
    """Why a text is no version."""
    if not text:
        return "Version string empty"
    parts = text.split(".", 2)
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    rest, _, build = parts[2].partition("+")
    parts[2], _, pre = rest.partition("-")
    for name, number in zip(_NUMBERS, parts, strict=True):
        if re.fullmatch(r"[0-9]*", number) is None:
            return f"Invalid character(s) found in {name} number {_quote(number)}"
        if len(number) > 1 and number[0] == "0":
            return f"{name.capitalize()} number must not contain leading zeroes {_quote(number)}"
        if not number:
            return f"strconv.ParseUint: parsing {_quote(number)}: invalid syntax"
        if int(number[:30]) >= 1 << 64:
            return f"strconv.ParseUint: parsing {_quote(number)}: value out of range"
    for identifier in pre.split(".") if "-" in rest else ():
        if not identifier:
            return "Prerelease is empty"
        if re.fullmatch(r"0[0-9]+", identifier):
            return f"Numeric PreRelease version must not contain leading zeroes {_quote(identifier)}"
        if re.fullmatch(r"[0-9A-Za-z-]+", identifier) is None:
            return f"Invalid character(s) found in prerelease {_quote(identifier)}"
    for identifier in build.split("."):
        if not identifier:
            return "Build meta data is empty"
        if re.fullmatch(r"[0-9A-Za-z-]+", identifier) is None:
            return f"Invalid character(s) found in build meta data {_quote(identifier)}"
    return "a number is too large"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
