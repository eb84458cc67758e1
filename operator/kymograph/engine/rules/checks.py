"""What the expressions of a rule look at that has to be looked up or taken apart first: the user's roles, images."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_ELSEWHERE = ("name", "match", "exclude")
_BARE = ("jmesPath", "list")
_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ROLES = re.compile(
    r"""(?:^-?\s*|@\.|[^.\w"'`-])request\b"""
    r"""(?:\s*\.\s*"?(?:roles|clusterRoles)\b|(?!\s*\.\s*["A-Za-z_]))"""  # by name, or request as a whole
)
_IMAGES = re.compile(r"(?:^|[^.\w])images\b")


def expressions(rule: Mapping[str, Any]) -> list[str]:
    """Everything in a rule that may be an expression, or part of one; what selects objects holds none.

    Args:
        rule: The rule.
    """
    found: list[str] = []
    for name, part in rule.items():
        if name not in _ELSEWHERE:
            _gather(part, found)
    return found


def mention_roles(written: Iterable[str]) -> bool:
    """Whether an expression may see the roles of the user: it names them, or takes `request` as a whole.

    Only what is written in the policy counts: a name that text from an object completes does not bring them.

    Args:
        written: The expressions of a rule.
    """
    return any(map(_ROLES.search, written))


def mention_images(written: Iterable[str]) -> bool:
    """Whether an expression may see the images of the object.

    Args:
        written: The expressions of a rule.
    """
    return any(map(_IMAGES.search, written))


def _gather(document: Any, found: list[str]) -> None:
    """Add the variables of a document, in keys too, and what stands in fields for expressions without braces."""
    if type(document) is str:
        if "{{" in document:
            found += _VARIABLE.findall(document)
    elif type(document) is dict:
        for key, value in document.items():
            if "{{" in key:
                found += _VARIABLE.findall(key)
            if key in _BARE and type(value) is str:
                found.append(value)
            _gather(value, found)
    elif type(document) is list:
        for item in document:
            _gather(item, found)
