"""What works but should be written otherwise, and what probably is not meant: warnings, never reasons to refuse.

Kyverno also warns of each ClusterPolicy and Policy, because it will drop these kinds. They stay here, so nobody is told
to rewrite them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.apimachinery import gvk
from kymograph.engine.autogen import controllers
from kymograph.engine.validation import generation, mutation, subject

_MOVED = {
    "validationFailureAction": "spec.rules[*].validate.failureAction",
    "validationFailureActionOverrides": "spec.rules[*].validate.failureActionOverrides",
    "failurePolicy": "spec.webhookConfiguration.failurePolicy",
    "webhookTimeoutSeconds": "spec.webhookConfiguration.timeoutSeconds",
    "generateExisting": "spec.rules[*].generate.generateExisting",
    "mutateExistingOnPolicyUpdate": "spec.rules[*].mutate.mutateExistingOnPolicyUpdate",
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
_PODS_PATCHED = (
    "Pods managed by workload controllers should not be directly mutated using policies. "
    "Use the autogen feature or write policies that match Pod controllers."
)
_ONLY_REQUESTS = (
    "spec.webhookConfiguration.matchConditions are evaluated by the API server, for requests: "
    "background scans, generateExisting and mutateExistingOnPolicyUpdate leave this policy out."
)
_SOME_CONTROLLERS = (
    "Policies that match Pods apply to all Pods including those created and managed by controllers excluded from "
    "autogen. Use preconditions to exclude the Pods managed by controllers which are excluded from autogen. "
    "Refer to https://kyverno.io/docs/policy-types/cluster-policy/autogen/ for details."
)
_EVERY_CONTROLLER = {"cronjob", "daemonset", "deployment", "job", "statefulset"}


def warnings(policy: subject.Policy) -> Iterator[str]:
    """What the author of a policy should know of it, one sentence each, in no particular order."""
    for name, instead in _MOVED.items():
        if policy.spec.get(name) is not None:
            yield f"spec.{name} is deprecated, use {instead} instead."
    yield from (f"{path}: {_LOWER_CASE}" for path in lower_case_actions(policy))
    for rule in policy.rules:
        yield from _of_rule(policy, rule)
    yield from generation.warnings(policy)
    if subject.table(policy.spec.get("webhookConfiguration")).get("matchConditions"):
        yield _ONLY_REQUESTS


def _of_rule(policy: subject.Policy, rule: subject.Rule) -> Iterator[str]:
    if mutation.jsonpatches_pods(rule):
        yield _PODS_PATCHED
    if _leaves_controllers_out(policy.annotations) and _bare_kinds(rule.kinds("match")) == {"Pod"}:
        yield _SOME_CONTROLLERS
    named = [*rule.kinds("match", "exclude"), *(subject.text(subject.table(e).get("kind")) for e in rule.targets or ())]
    for body in (_without_conditions(rule.table("validate")), rule.table("mutate")):
        yield from _subresources(body, named)
    for image in map(subject.table, subject.items(rule.document.get("verifyImages"))):
        for attestation in map(subject.table, subject.items(image.get("attestations"))):
            old = attestation.get("predicateType")
            if old:
                yield f"predicateType has been deprecated use 'type: {old}' instead of 'predicateType: {old}'"
    for operator in _operators(rule.document):
        instead = " ".join(f'"{each}"' for each in _OPERATORS_BY_LOWER_CASE.get(operator.lower(), ()))
        if instead:
            yield f"Operator {operator} has been deprecated and will be removed soon. Use these instead: [{instead}]"


def lower_case_actions(policy: subject.Policy) -> Iterator[str]:
    """The path of each action that is spelled as it used to be."""
    yield from _actions(policy.spec, "spec", "validationFailureAction")
    for rule in policy.rules:
        yield from _actions(rule.table("validate"), f"{rule.path}.validate", "failureAction")


def _actions(holder: Mapping[str, Any], path: str, name: str) -> Iterator[str]:
    said = [(holder.get(name), f"{path}.{name}")]
    said += [
        (subject.table(each).get("action"), f"{path}.{name}Overrides[{index}].action")
        for index, each in enumerate(subject.items(holder.get(f"{name}Overrides")))
    ]
    for action, where in said:
        if action in ("audit", "enforce"):
            yield where


def _leaves_controllers_out(annotations: Mapping[str, Any]) -> bool:
    value = annotations.get(controllers.ANNOTATION)
    return isinstance(value, str) and value != "none" and set(value.lower().split(",")) != _EVERY_CONTROLLER


def _bare_kinds(named: list[str]) -> set[str]:
    found = set()
    for each in named:
        try:
            found.add(gvk.parse_kind_selector(each).kind)
        except ValueError:
            continue
    return found


def _without_conditions(validate: Mapping[str, Any]) -> Mapping[str, Any]:
    deny = subject.table(validate.get("deny"))
    if not deny:
        return validate
    return {**validate, "deny": {field: value for field, value in deny.items() if field != "conditions"}}


def _subresources(body: Mapping[str, Any], named: list[str]) -> Iterator[str]:
    """Requests on `scale` and `status` bring objects of their own, which a rule about the parent does not see."""
    text = subject.digest(body)
    kinds = " ".join(named).lower()
    if "replicas" in text and "scale" not in kinds:
        yield "You are matching on replicas but not including the scale subresource in the policy."
    if (".status" in text or '"status":' in text) and "status" not in kinds:
        yield "You are matching on status but not including the status subresource in the policy."


def _operators(document: Any) -> Iterator[str]:
    """The operators of all conditions of a rule, wherever they stand."""
    if isinstance(document, list):
        for each in document:
            yield from _operators(each)
    elif isinstance(document, Mapping):
        if "key" in document and isinstance(document.get("operator"), str):
            yield document["operator"]
        else:
            for value in document.values():
                yield from _operators(value)
