"""Decides of one object whether a cleanup policy deletes it.

Expressions see `target` (the object), `images` (those of the object), `request.namespace` and the policy's context
entries, as in Kyverno's cleanup controller. An entry is loaded for every object that it is needed for: one that names
`target` is about that object. Where anything fails the object stays.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk
from kymograph.engine import budget as budgets
from kymograph.engine import context as contexts
from kymograph.engine import errors, needs
from kymograph.engine.cleanup import policy
from kymograph.engine.match import target as targets

DELETE = "delete"
UNMATCHED = "unmatched"
EXCLUDED = "excluded"
UNMET = "unmet"
ERROR = "error"


class Decision(NamedTuple):
    """What becomes of an object.

    Attributes:
        outcome: `delete`, or why not: `unmatched`, `excluded`, `unmet` (its conditions), `error`.
        reason: What the conditions or the error say; may be empty.
    """

    outcome: str
    reason: str = ""


def decide(subject: policy.CleanupPolicy, resource: dict[str, Any], budget: budgets.Budget) -> Decision:
    """Decide whether a policy deletes an object now.

    Args:
        subject: The policy.
        resource: The object, with its `apiVersion` and `kind`.
        budget: What may be spent; is asked for facts, and notes the context entries that are loaded.

    Raises:
        Needed: A fact is missing.
    """
    try:
        budget.spend()
        target = _target(subject, resource, budget)
        if subject.namespace and target.namespace != subject.namespace:
            return Decision(UNMATCHED)
        if not subject.match.holds(target):
            return Decision(UNMATCHED)
        if subject.exclude is not None and subject.exclude.holds(target):
            return Decision(EXCLUDED)
        if subject.conditions is None:
            return Decision(DELETE)
        base = {"target": resource, "request": {"namespace": target.namespace}}
        context = contexts.nested(base, {}, subject.context, budget)
        met, said = subject.conditions.evaluate(context, budget)
    except errors.EvaluationError as error:
        return Decision(ERROR, str(error))
    return Decision(DELETE if met else UNMET, said)


def _target(subject: policy.CleanupPolicy, resource: Mapping[str, Any], budget: budgets.Budget) -> targets.Target:
    group, version = gvk.split_api_version(resource["apiVersion"])
    namespace = resource["metadata"].get("namespace") or ""
    labels: Mapping[str, str] = {}
    if namespace and subject.needs_namespace_labels:
        labels = budget.ask(needs.NamespaceLabels(namespace))
    return targets.of(resource, (group, version, resource["kind"], ""), "", namespace, labels, None)
