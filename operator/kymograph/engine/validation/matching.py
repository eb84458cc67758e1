"""Rules that can match nothing, because they exclude what they match, and roles that nobody can have."""

from collections.abc import Iterable, Mapping
from typing import Any

from kymograph.apimachinery import wildcard
from kymograph.engine import fields
from kymograph.engine.validation import subject

_SELECTORS = ("selector", "namespaceSelector")


def check(policy: subject.Policy, problems: fields.Problems) -> None:
    """Compare `match` and `exclude` of every rule."""
    for rule in policy.rules:
        if _is_empty(rule.table("match"), rule.table("exclude")):
            problems.add(rule.path, "Rule is matching an empty set")
        for block in ("match", "exclude"):
            for holder, path in subject.filters(rule.document.get(block), f"{rule.path}.{block}"):
                for index, role in enumerate(subject.texts(holder.get("roles"))):
                    if role.count(":") != 1:
                        problems.add(f"{path}.roles[{index}]", "Role is expected to be in namespace:name format")


def _is_empty(match: Mapping[str, Any], exclude: Mapping[str, Any]) -> bool:
    """Whether every attribute that `exclude` names is at least as wide as the one of `match`, literally.

    Attributes are compared as sets of texts; that two wildcards or selectors mean the same is found only for names.
    """
    if not exclude or match.get("all") or exclude.get("all"):
        return False
    if match.get("any") and exclude.get("any"):
        excluded = subject.items(exclude["any"])
        return any(each in excluded for each in subject.items(match["any"]))
    if match.get("any") or exclude.get("any"):
        return False
    matched, excluded_resources = subject.table(match.get("resources")), subject.table(exclude.get("resources"))
    if not any(exclude.values()) or not (excluded_resources or _users(exclude)):
        return False
    if not all(_covers(exclude.get(field), match.get(field)) for field in ("roles", "clusterRoles", "subjects")):
        return False
    name = subject.text(excluded_resources.get("name"))
    if name and not wildcard.match(name, subject.text(matched.get("name"))):
        return False
    names = subject.texts(excluded_resources.get("names"))
    if names:
        own = subject.texts(matched.get("names"))
        return any(wildcard.match(pattern, each) for pattern in names for each in own)
    if not all(_covers(excluded_resources.get(field), matched.get(field)) for field in ("namespaces", "kinds")):
        return False
    if not all(_same_selector(matched.get(field), excluded_resources.get(field)) for field in _SELECTORS):
        return False
    return (matched.get("annotations") or {}) == (excluded_resources.get("annotations") or {})


def _users(exclude: Mapping[str, Any]) -> bool:
    return any(exclude.get(field) for field in ("roles", "clusterRoles", "subjects"))


def _covers(excluded: Any, matched: Any) -> bool:
    """Whether nothing is excluded by this attribute alone, or everything that is matched by it."""
    theirs, own = _texts(subject.items(excluded)), _texts(subject.items(matched))
    return not theirs or (bool(own) and own <= theirs)


def _texts(values: Iterable[Any]) -> set[str]:
    return {subject.digest(value) for value in values}


def _same_selector(matched: Any, excluded: Any) -> bool:
    if (matched is None) != (excluded is None):
        return False
    own, theirs = subject.table(matched), subject.table(excluded)
    expressions = _texts(subject.items(theirs.get("matchExpressions")))
    if expressions and not (
        own.get("matchExpressions") and _texts(subject.items(own["matchExpressions"])) <= expressions
    ):
        return False
    labels = subject.table(theirs.get("matchLabels"))
    mine = subject.table(own.get("matchLabels"))
    return not labels or (bool(mine) and all(labels.get(label) == value for label, value in mine.items()))
