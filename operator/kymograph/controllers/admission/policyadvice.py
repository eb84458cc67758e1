"""What the author of a policy is told of it that its compilation cannot say: it depends on the cluster, or is old.

A kind that the API server does not serve is no mistake (its CustomResourceDefinition may come later) but is worth a
warning. A Policy cannot be about cluster-wide kinds: it would be accepted and enforce nothing, so it is refused. What
is deprecated works, and says what to write instead. The words are Kyverno's where it has any.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk
from kymograph.clients.kubernetes import discovery
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.engine import errors
from kymograph.engine.rules import checks

_MOVED = {
    "validationFailureAction": "spec.rules[*].validate.failureAction",
    "validationFailureActionOverrides": "spec.rules[*].validate.failureActionOverrides",
    "failurePolicy": "spec.webhookConfiguration.failurePolicy",
    "webhookTimeoutSeconds": "spec.webhookConfiguration.timeoutSeconds",
}
_OPERATORS = {
    "In": ("AllIn", "AnyIn"),
    "NotIn": ("AllNotIn", "AnyNotIn"),
    "DurationGreaterThan": ("GreaterThan",),
    "DurationGreaterThanOrEquals": ("GreaterThanOrEquals",),
    "DurationLessThan": ("LessThan",),
    "DurationLessThanOrEquals": ("LessThanOrEquals",),
}
_OPERATORS_BY_LOWER_CASE = {name.lower(): instead for name, instead in _OPERATORS.items()}
_LOWER_CASE = "Validation failure actions enforce/audit are deprecated, use Enforce/Audit instead."


class Advice(NamedTuple):
    """What is to be said of a policy that compiles.

    Attributes:
        problems: Why it is refused; empty where it is accepted.
        warnings: What its author should know in any case.
    """

    problems: tuple[errors.Problem, ...]
    warnings: tuple[str, ...]


async def of(document: Mapping[str, Any], catalogues: discovery.Catalogues) -> Advice:
    """Look at a policy that compiles.

    Args:
        document: The policy.
        catalogues: What the API server serves; asked again before anything is said about a kind.
    """
    warnings = tuple(dict.fromkeys(_deprecations(document["spec"])))
    if _of_kinds(document, catalogues.current) == _NOTHING:
        return Advice((), warnings)
    try:
        problems, unknown = _of_kinds(document, await catalogues.refresh())
    except kubernetes_errors.KubernetesError as error:
        return Advice((), (*warnings, f"whether the API server serves all kinds is not known now: {error}"))
    return Advice(problems, (*warnings, *unknown))


_NOTHING = Advice((), ())


def _of_kinds(document: Mapping[str, Any], catalogue: discovery.Catalogue) -> Advice:
    problems, unknown = [], []
    for text, path in _kinds(document["spec"]):
        selector = gvk.parse_kind_selector(text)
        if selector.kind == "*":
            continue
        served = list(catalogue.find(selector.group, selector.version, selector.kind, selector.subresource))
        if not served:
            unknown.append(f"{path}: the API server does not serve {text}; nothing is enforced on it until it does")
        elif document["kind"] == "Policy" and not any(each.namespaced for each in served):
            reason = f"Cluster wide resource '{text}' not allowed in namespaced policy"
            problems.append(errors.Problem(path, reason))
    return Advice(tuple(problems), tuple(unknown))


def _kinds(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The kinds of a policy as they are written, with their paths."""
    for index, rule in enumerate(spec["rules"]):
        for block in ("match", "exclude"):
            for resources, path in checks.descriptions(rule.get(block), f"spec.rules[{index}].{block}"):
                for position, text in enumerate(resources.get("kinds") or ()):
                    yield text, f"{path}.kinds[{position}]"


def _deprecations(spec: Mapping[str, Any]) -> Iterator[str]:
    for name, instead in _MOVED.items():
        if spec.get(name) is not None:
            yield f"spec.{name} is deprecated, use {instead} instead."
    yield from _actions(spec, "validationFailureAction")
    for rule in spec["rules"]:
        validate = rule.get("validate") or {}
        yield from _actions(validate, "failureAction")
        for conditions in (rule.get("preconditions"), (validate.get("deny") or {}).get("conditions")):
            for operator in _operators(conditions):
                instead = " ".join(f'"{each}"' for each in _OPERATORS_BY_LOWER_CASE.get(operator.lower(), ()))
                if instead:
                    yield (
                        f"Operator {operator} has been deprecated and will be removed soon. "
                        f"Use these instead: [{instead}]"
                    )


def _actions(holder: Mapping[str, Any], name: str) -> Iterator[str]:
    """A warning where an action, or one of its overrides, is spelled as it used to be."""
    said = [holder.get(name), *(each.get("action") for each in holder.get(f"{name}Overrides") or ())]
    if any(action in ("audit", "enforce") for action in said):
        yield _LOWER_CASE


def _operators(conditions: Any) -> Iterator[str]:
    """The operators of conditions in any of their forms."""
    if isinstance(conditions, list):
        for each in conditions:
            yield from _operators(each)
    elif isinstance(conditions, Mapping):
        if "operator" in conditions:
            yield conditions["operator"]
        else:
            yield from _operators(conditions.get("any"))
            yield from _operators(conditions.get("all"))
