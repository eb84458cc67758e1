"""Mutate rules: exactly one way to change an object, and targets where existing objects are to change."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from kymograph.engine import fields
from kymograph.engine.validation import names, subject

_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")
_PLACEHOLDER = "kyvernojsonpatchvariable"
_ON_UPDATE = "mutateExistingOnPolicyUpdate"


def check(policy: subject.Policy, problems: fields.Problems) -> None:
    """Check the `mutate` of every rule."""
    for index, rule in enumerate(policy.rules):
        if not rule.has("mutate"):
            continue
        mutate, path = rule.table("mutate"), f"{rule.path}.mutate"
        if (policy.spec.get(_ON_UPDATE) is True or mutate.get(_ON_UPDATE) is True) and not rule.targets:
            reason = f"rules[{index}].mutate.targets has to be specified when {_ON_UPDATE} is set"
            problems.add(f"spec.{_ON_UPDATE}", reason)
        if policy.namespaced:
            _check_targets(rule.targets or [], policy.namespace, f"{path}.targets", problems)
        _check_bodies(mutate, path, problems)
        for patches, where in _patches(mutate, path):
            _check_patches(patches, where, rule, problems)


def jsonpatches_pods(rule: subject.Rule) -> bool:
    """Whether a rule patches Pods by path: Pods that belong to a controller are changed against its template."""
    matched = subject.texts(subject.table(rule.table("match").get("resources")).get("kinds"))
    return "Pod" in matched and bool(rule.table("mutate").get("patchesJson6902"))


def _check_targets(targets: list[Any], namespace: str, path: str, problems: fields.Problems) -> None:
    for index, target in enumerate(map(subject.table, targets)):
        if target.get("namespace") and target["namespace"] != namespace:
            problems.add(
                f"{path}[{index}].namespace",
                "This field can be ignored or should have value of the namespace where the policy is being created",
            )


def _check_bodies(mutate: Mapping[str, Any], path: str, problems: fields.Problems) -> None:
    strategic = mutate.get("patchStrategicMerge") is not None
    pointers = bool(mutate.get("patchesJson6902"))
    loops = subject.items(mutate.get("foreach"))
    if loops and (strategic or pointers):
        problems.add(path, "only one of `foreach`, `patchStrategicMerge`, or `patchesJson6902` is allowed")
    elif strategic and pointers:
        problems.add(path, "only one of `patchStrategicMerge` or `patchesJson6902` is allowed")
    _check_loops(loops, f"{path}.foreach", problems)


def _check_loops(loops: list[Any], path: str, problems: fields.Problems) -> None:
    for index, loop in enumerate(map(subject.table, loops)):
        where = f"{path}[{index}]"
        inner = subject.items(loop.get("foreach"))
        if inner:
            others = ("context", "preconditions", "patchesJson6902", "patchStrategicMerge")
            if any(loop.get(field) for field in others):
                problems.add(where, "a nested foreach cannot contain other declarations")
            _check_loops(inner, f"{where}.foreach", problems)
        elif bool(loop.get("patchesJson6902")) == (loop.get("patchStrategicMerge") is not None):
            problems.add(where, "only one of `patchStrategicMerge` or `patchesJson6902` is allowed")


def _patches(mutate: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """The JSON patches of a `mutate`, as text; those of loops may hold what only the element tells."""
    if subject.text(mutate.get("patchesJson6902")):
        yield mutate["patchesJson6902"], f"{path}.patchesJson6902"


def _check_patches(patches: str, path: str, rule: subject.Rule, problems: fields.Problems) -> None:
    where = rule.path
    for operation in _operations(patches):
        pointer, kind = operation.get("path"), operation.get("op")
        if isinstance(pointer, str) and _PLACEHOLDER in pointer:
            problems.add(path, f'rule "{rule.name}" should not have variables in patchesJSON6902 path section')
        elif not isinstance(pointer, str) or not pointer.startswith("/"):
            problems.add(path, f"path must begin with a forward slash: {where}: {pointer or ''}")
        if kind not in _OPERATIONS:
            problems.add(path, f"unexpected kind: {where}: {kind}")


def _operations(patches: str) -> list[Mapping[str, Any]]:
    """The operations with their variables masked; none where the text is no list, which compiling it says."""
    try:
        parsed = yaml.load(names.mask(patches, _PLACEHOLDER), yaml.CSafeLoader)
    except yaml.YAMLError:
        return []
    return [subject.table(each) for each in subject.items(parsed)]
