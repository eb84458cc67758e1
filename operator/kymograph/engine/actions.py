"""What a failed rule leads to: Enforce blocks the request, Audit only reports.

The first of these that says something decides: the rule's overrides for the namespace, the rule's own action, the
policy's overrides, the policy's action. The old lower-case spellings mean the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from kymograph.apimachinery import labels, wildcard
from kymograph.engine import fields
from kymograph.engine.match.target import Target

ENFORCE = "Enforce"
AUDIT = "Audit"
SPELLINGS = ("Audit", "Enforce", "audit", "enforce")

Resolver: TypeAlias = Callable[[Target], str]


class Override(NamedTuple):
    """Another action for some namespaces.

    Attributes:
        action: Enforce or Audit.
        applies: Whether it is for the namespace of a target.
        needs_namespace_labels: It looks at the labels of that namespace.
    """

    action: str
    applies: Callable[[Target], bool]
    needs_namespace_labels: bool


class Declared(NamedTuple):
    """What a policy or a rule says about its action.

    Attributes:
        action: Enforce or Audit; empty where nothing is said.
        overrides: In the order in which they are tried.
    """

    action: str
    overrides: tuple[Override, ...]

    @property
    def may_enforce(self) -> bool:
        """Whether any target could meet Enforce."""
        return self.action == ENFORCE or any(override.action == ENFORCE for override in self.overrides)

    @property
    def needs_namespace_labels(self) -> bool:
        """Whether an override looks at the labels of the namespace."""
        return any(override.needs_namespace_labels for override in self.overrides)

    def action_for(self, target: Target) -> str:
        """The action for a target; empty where nothing is said of it."""
        for override in self.overrides:
            if override.applies(target):
                return override.action
        return self.action


def read(holder: fields.Fields, action: str, overrides: str) -> Declared:
    """Read an action and its overrides.

    Args:
        holder: The object with the two fields.
        action: Name of the field with the action.
        overrides: Name of the field with the overrides.
    """
    found = []
    for entry, path in holder.items(overrides):
        override = fields.Fields(entry, path, holder.problems, ("action", "namespaces", "namespaceSelector"))
        chosen = override.text("action", among=SPELLINGS)
        namespaces = override.texts("namespaces") if "namespaces" in override else None
        selector = None
        if override.raw("namespaceSelector") is not None:
            selector = _selector(override)
        if chosen:
            found.append(Override(chosen.capitalize(), _applies(namespaces, selector), selector is not None))
    return Declared(holder.text(action, among=SPELLINGS).capitalize(), tuple(found))


def without_overrides(declared: Sequence[Declared]) -> str:
    """The action where no override applies: the first one that is said, Audit if none is."""
    return next((each.action for each in declared if each.action), AUDIT)


def fixed(declared: Sequence[Declared]) -> str:
    """The action if it is the same for every target; empty if it is not."""
    return "" if any(each.overrides for each in declared) else without_overrides(declared)


def resolver(declared: Sequence[Declared]) -> Resolver:
    """Compile declarations to the action for a target: the first that says something of it decides."""
    ordered = tuple(declared)

    def resolve(target: Target) -> str:
        return next((action for each in ordered if (action := each.action_for(target))), AUDIT)

    return resolve


def _selector(override: fields.Fields) -> labels.Matcher | None:
    value: Any = override.raw("namespaceSelector")
    try:
        return labels.matcher(value)
    except (ValueError, AttributeError, TypeError) as error:
        override.wrong("namespaceSelector", str(error))
        return None


def _applies(namespaces: tuple[str, ...] | None, selector: labels.Matcher | None) -> Callable[[Target], bool]:
    matchers = None if namespaces is None else tuple(wildcard.compile(namespace) for namespace in namespaces)

    def applies(target: Target) -> bool:
        if matchers is not None and not any(matches(target.namespace) for matches in matchers):
            return False
        return selector is None or selector(target.namespace_labels)

    return applies
