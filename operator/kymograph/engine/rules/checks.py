"""What the expressions of a rule look at that has to be looked up or taken apart first: the user's roles, images."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_ELSEWHERE = ("name", "match", "exclude")
_BARE = ("jmesPath", "list")
_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ROLES = re.compile(
    r"""(?:^-?\s*|@\.|[^.\w"'`-])request\b"""
    r"""(?:\s*\.\s*"?(?:roles|clusterRoles)\b|(?!\s*\.\s*["A-Za-z_]))"""  # by name, or request as a whole
)
_IMAGES = re.compile(r"(?:^|[^.\w])images\b")


def mentions_roles(rule: Mapping[str, Any]) -> bool:
    """Whether an expression of a rule may see the roles of the user: it names them, or takes `request` as a whole.

    Only what is written in the policy counts: a name that text from an object completes does not bring them.

    Args:
        rule: The rule.
    """
    return any(_ROLES.search(each) for each in _expressions(rule))


def mentions_images(rule: Mapping[str, Any]) -> bool:
    """Whether an expression of a rule may see the images of the object.

    Args:
        rule: The rule.
    """
    return any(_IMAGES.search(each) for each in _expressions(rule))


def _expressions(rule: Mapping[str, Any]) -> Iterator[str]:
    """Everything in a rule that may be an expression, or part of one."""
    for name, part in rule.items():
        if name not in _ELSEWHERE:
            for text in _texts(part):
                yield from _VARIABLE.findall(text)
            yield from _bare(part)


def _bare(document: Any) -> Iterator[str]:
    """The expressions of a document that stand in fields of their own, without braces."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if key in _BARE and isinstance(value, str):
                yield value
            else:
                yield from _bare(value)
    elif isinstance(document, list):
        for item in document:
            yield from _bare(item)


def _texts(document: Any) -> Iterator[str]:
    """Every string of a document, keys too."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(document, list):
        for item in document:
            yield from _texts(item)
