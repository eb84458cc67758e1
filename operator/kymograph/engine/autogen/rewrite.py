"""One rule about Pods, rewritten for controllers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from kymograph.engine.autogen import controllers

PREFIX = "autogen-"
CRON_JOB_PREFIX = "autogen-cronjob-"
LONGEST_NAME = 63
"""Rule names are label values; longer names are cut."""

_BODY = ("message", "failureAction", "failureActionOverrides", "allowExistingViolations")


def for_controllers(rule: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any] | None:
    """The rule for controllers whose Pod template is at `spec.template`; None where the rule is not about Pods.

    Args:
        rule: The rule as written; it is not changed.
        kinds: The controllers: names of `controllers.KINDS`, or other kinds with the same shape.
    """
    wrapped = _for_template(rule, kinds)
    return None if wrapped is None else _shift(wrapped, "spec.template")


def for_cron_jobs(rule: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any] | None:
    """The rule for CronJobs, whose Pod template is at `spec.jobTemplate.spec.template`; None as above.

    Args:
        rule: The rule as written; it is not changed.
        kinds: The controllers of the policy; the rule for them is what the rule for CronJobs is made from.
    """
    inner = _for_template(rule, kinds)
    if inner is None:
        return None
    full = [controllers.KINDS[controllers.CRON_JOB]]

    def with_kinds(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {**entry, "resources": {**(entry.get("resources") or {}), "kinds": full}}

    wrapped = _wrap(inner, f"{CRON_JOB_PREFIX}{rule['name']}", "jobTemplate", full, with_kinds)
    return _shift(wrapped, "spec.jobTemplate.spec.template")


def _for_template(rule: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any] | None:
    matched = _kinds_of(rule.get("match"))
    excluded = _kinds_of(rule.get("exclude"))
    if str(rule["name"]).startswith(PREFIX) or not controllers.selects_pods(matched):
        return None
    if excluded and not controllers.selects_pods(excluded):
        return None
    if not _changes_the_object(rule):
        return None
    full = [controllers.KINDS.get(kind, kind) for kind in kinds]

    def with_kinds(entry: Mapping[str, Any]) -> dict[str, Any]:
        resources = entry.get("resources") or {}
        if not controllers.selects_pods(resources.get("kinds") or ()):
            return dict(entry)
        return {**entry, "resources": {**resources, "kinds": full}}

    return _wrap(rule, f"{PREFIX}{rule['name']}", "template", full, with_kinds)


def _wrap(
    rule: Mapping[str, Any],
    name: str,
    key: str,
    kinds: list[str],
    with_kinds: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """The rule with other kinds, and with what it says of the Pod moved below `spec.<key>`."""
    wrapped = {**rule, "name": name[:LONGEST_NAME], "match": _with_kinds(rule["match"], kinds, with_kinds)}
    wrapped.pop("imageExtractors", None)  # they say where the images of the kinds written are
    preconditions = rule.get("preconditions")
    if isinstance(preconditions, dict):  # Kyverno writes the rule anew, without lists that are empty
        wrapped["preconditions"] = {form: listed for form, listed in preconditions.items() if listed}
    exclude = rule.get("exclude")
    if exclude and (exclude.get("any") or exclude.get("all") or _kinds_of(exclude)):
        wrapped["exclude"] = _with_kinds(exclude, kinds, with_kinds)
    mutation = rule.get("mutate")
    if isinstance(mutation, dict):
        wrapped["mutate"] = _wrap_mutation(mutation, key)
    validation = rule.get("validate")
    if isinstance(validation, dict):
        body = {field: validation[field] for field in _BODY if field in validation}
        if validation.get("pattern") is not None:
            wrapped["validate"] = {**body, "pattern": {"spec": {key: validation["pattern"]}}}
        elif validation.get("deny") is not None:
            wrapped["validate"] = {**body, "deny": validation["deny"]}
        elif validation.get("anyPattern") is not None:
            patterns = [{"spec": {key: pattern}} for pattern in validation["anyPattern"]]
            wrapped["validate"] = {**body, "anyPattern": patterns}
    return wrapped


def _wrap_mutation(mutation: Mapping[str, Any], key: str) -> dict[str, Any]:
    if mutation.get("patchStrategicMerge") is not None:
        return {"patchStrategicMerge": {"spec": {key: mutation["patchStrategicMerge"]}}}
    loops = [
        {**loop, "patchStrategicMerge": {"spec": {key: loop.get("patchStrategicMerge")}}}
        for loop in mutation.get("foreach") or ()
    ]
    return {"foreach": loops}


def _changes_the_object(rule: Mapping[str, Any]) -> bool:
    """Whether a mutate rule is one that a rewritten one can be made from.

    One with targets changes other objects, whose shape does not depend on who triggered it; Kyverno drops the targets
    and changes the controller instead. Of nested loops it makes rules that remove the template.
    """
    mutation = rule.get("mutate")
    if not isinstance(mutation, dict):
        return True
    loops = mutation.get("foreach") or ()
    if mutation.get("targets") or not (loops or mutation.get("patchStrategicMerge") is not None):
        return False
    return all(isinstance(loop, dict) and loop.get("patchStrategicMerge") is not None for loop in loops)


def _with_kinds(
    block: Mapping[str, Any], kinds: list[str], with_kinds: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    for form in ("any", "all"):
        if block.get(form):
            return {**block, form: [with_kinds(entry) for entry in block[form]]}
    return {**block, "resources": {**(block.get("resources") or {}), "kinds": kinds}}


def _kinds_of(block: Any) -> list[str]:
    return [kind for resources in controllers.blocks(block) for kind in resources.get("kinds") or ()]


def _shift(rule: Mapping[str, Any], template: str) -> dict[str, Any]:
    """Let every mention of the object's spec and metadata mean its Pod template's, wherever in the rule it stands."""
    text = orjson.dumps(rule)
    for part in ("spec", "metadata"):
        for which in ("object", "oldObject"):
            text = text.replace(f"request.{which}.{part}".encode(), f"request.{which}.{template}.{part}".encode())
    shifted: dict[str, Any] = orjson.loads(text)
    return shifted
