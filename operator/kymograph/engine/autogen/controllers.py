"""For which controllers the rules of a policy are rewritten."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kymograph.apimachinery import gvk

ANNOTATION = "pod-policies.kyverno.io/autogen-controllers"
"""The annotation of a policy that narrows the controllers (a list with commas) or turns autogen off (`none`)."""

CRON_JOB = "CronJob"
KINDS = {
    "DaemonSet": "apps/v1/DaemonSet",
    "Deployment": "apps/v1/Deployment",
    "Job": "batch/v1/Job",
    "StatefulSet": "apps/v1/StatefulSet",
    "ReplicaSet": "apps/v1/ReplicaSet",
    "ReplicationController": "v1/ReplicationController",
    CRON_JOB: "batch/v1/CronJob",
}
"""The controllers with their full kinds."""


def wanted(rules: Sequence[Mapping[str, Any]], annotations: Mapping[str, Any]) -> tuple[str, ...]:
    """The controllers for which the rules of a policy are rewritten, sorted; none where the policy forbids it.

    Autogen needs every rule to select by kinds alone (names, selectors and annotations belong to the Pod and say
    nothing of its controller), no filter to name Pod beside other kinds, and at least one filter to name Pod or a
    controller. It is off for policies that generate or patch by JSON pointer.

    Args:
        rules: The rules as written.
        annotations: The annotations of the policy.
    """
    if not _is_possible(rules):
        return ()
    value = annotations.get(ANNOTATION)
    names = value.split(",") if isinstance(value, str) else KINDS
    return tuple(sorted({name for name in names if name not in {"", "none"}}))


def selects_pods(kinds: Sequence[Any]) -> bool:
    """Whether one of some kinds, as written, is Pod in any group, version and subresource."""
    for text in kinds:
        try:
            if gvk.parse_kind_selector(text).kind == "Pod":
                return True
        except ValueError:
            continue
    return False


def blocks(block: Any) -> Iterator[Mapping[str, Any]]:
    """The resource descriptions of a `match` or `exclude` block, in all of its forms."""
    if not isinstance(block, dict):
        return
    for holder in (block, *(block.get("any") or ()), *(block.get("all") or ())):
        resources = holder.get("resources") if isinstance(holder, dict) else None
        if isinstance(resources, dict):
            yield resources


def _is_possible(rules: Sequence[Mapping[str, Any]]) -> bool:
    needed = False
    for rule in rules:
        if rule.get("generate"):
            return False
        mutation = rule.get("mutate") or {}
        if mutation.get("patchesJson6902") or any(
            each.get("patchesJson6902") for each in mutation.get("foreach") or ()
        ):
            return False
        for resources in (*blocks(rule.get("match")), *blocks(rule.get("exclude"))):
            kinds = resources.get("kinds") or ()
            if any(resources.get(name) for name in ("name", "names")):
                return False
            if resources.get("selector") is not None or resources.get("annotations") is not None:
                return False
            if len(kinds) > 1 and selects_pods(kinds):
                return False
            needed = needed or any(kind == "Pod" or kind in KINDS for kind in kinds)
    return needed
