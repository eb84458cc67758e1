"""Semantic versions as Kyverno's conditions compare them (semver.org 2.0.0, strictly: three numbers, no `v`)."""

import dataclasses
import functools
import re
from typing import TypeAlias

_NUMERIC = r"(?:0|[1-9]\d{0,18})"
_IDENTIFIER = rf"(?:{_NUMERIC}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_TEXT = re.compile(
    rf"({_NUMERIC})\.({_NUMERIC})\.({_NUMERIC})"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
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
    parts = _TEXT.fullmatch(text) if len(text) <= _LONGEST else None
    if parts is None:
        return None
    major, minor, patch, pre = parts.groups()
    identifiers = tuple(
        (False, int(part), "") if part.isdecimal() else (True, 0, part) for part in (pre.split(".") if pre else ())
    )
    return Version((int(major), int(minor), int(patch), pre is None, identifiers))
