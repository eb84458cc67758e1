"""Anchors: keys in parentheses that turn a pattern's key into a condition (`(k)`, `=(k)`, `^(k)`, `X(k)`, `<(k)`)."""

import enum
import re


class Anchor(enum.Enum):
    """What a key in parentheses asks for; the value is the sign before the parenthesis."""

    CONDITION = ""
    """The siblings count only if the key is there and matches; otherwise the element is skipped."""
    EQUALITY = "="
    """The value must match if the key is there."""
    EXISTENCE = "^"
    """At least one element of the list must match."""
    NEGATION = "X"
    """The key must not be there."""
    GLOBAL = "<"
    """The rule is skipped if the key is there and does not match."""
    ADD_IF_NOT_PRESENT = "+"
    """Mutation only: add the key if it is not there."""


_TEXT = re.compile(r"([+<=X^]?)\((.+)\)")


def parse(key: str) -> tuple[Anchor, str] | None:
    """The anchor and the key within, or None when the key is no anchor."""
    if not key.endswith(")") and not key.endswith(" "):
        return None
    parts = _TEXT.fullmatch(key.strip())
    return None if parts is None else (Anchor(parts[1]), parts[2])
