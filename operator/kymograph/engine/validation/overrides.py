"""Overrides of the failure action that contradict each other: one namespace under both Audit and Enforce.

Which of two wins would depend on their order, which nobody reads as a rule. Selectors of namespaces are not compared:
whether two of them meet is known only in a cluster.
"""

from collections.abc import Iterable
from typing import Any

from kymograph.apimachinery import wildcard
from kymograph.engine import fields
from kymograph.engine.validation import subject


def check(policy: subject.Policy, problems: fields.Problems) -> None:
    """Compare the overrides of the policy with one another, and those of each rule."""
    if policy.namespaced:
        return
    for rule in policy.rules:
        overrides = rule.table("validate").get("failureActionOverrides")
        _compare(overrides, f"{rule.path}.validate.failureActionOverrides", problems)
    _compare(policy.spec.get("validationFailureActionOverrides"), "spec.validationFailureActionOverrides", problems)


def _compare(overrides: Any, path: str, problems: fields.Problems) -> None:
    said: dict[str, list[str]] = {"enforce": [], "audit": []}
    for index, override in enumerate(subject.items(overrides)):
        entry = subject.table(override)
        action = subject.text(entry.get("action")).lower()
        if action not in said:
            continue
        namespaces = subject.texts(entry.get("namespaces"))
        opposite = said["audit" if action == "enforce" else "enforce"]
        where = f"{path}[{index}].namespaces"
        both = sorted({each for each in namespaces if each in opposite and not wildcard.has(each)})
        if both:
            problems.add(where, f"conflicting namespaces found in path: {where}: {', '.join(both)}")
        for reason in _meeting(namespaces, opposite):
            problems.add(where, reason)
        said[action] += namespaces


def _meeting(namespaces: Iterable[str], others: Iterable[str]) -> Iterable[str]:
    """What the wildcards of the one select of the other; exact names are compared elsewhere."""
    pairs = [(a, b) for one in namespaces for two in others for a, b in ((one, two), (two, one)) if wildcard.has(a)]
    for pattern, name in pairs:
        if wildcard.match(pattern, name):
            if wildcard.has(name):
                yield f"wildcard pattern '{pattern}' conflicts with the pattern '{name}'"
            else:
                yield f"wildcard pattern '{pattern}' matches with namespace '{name}'"
            return
