"""What a rule may select by kind: wildcards, subresources, and what a Policy may be about."""

from collections.abc import Iterator, Mapping
from typing import Any

from kymograph.apimachinery import gvk
from kymograph.engine import fields
from kymograph.engine.validation import messages, scopes, subject

_ONLY_METADATA = "policy can only deal with the metadata field of the resource if the rule does not match any kind"
_STRINGS_ONLY = 'labels and annotations supports only string values, "use double quotes around the non string values"'


def check(policy: subject.Policy, problems: fields.Problems, scope: scopes.Scope) -> None:
    """Check the kinds of each rule, and its patterns against them."""
    for rule in policy.rules:
        for block in ("match", "exclude"):
            if "{{" in subject.digest(rule.document.get(block)):
                problems.add(f"{rule.path}.{block}", f'rule "{rule.name}" should not have variables in {block} section')
        for resources, path in rule.descriptions("match", "exclude"):
            named = subject.texts(resources.get("kinds"))
            if policy.namespaced:
                _check_namespaced(resources, named, path, problems, scope)
            if "*" in named:
                _check_wildcard(policy, rule, named, f"{path}.kinds", problems)
        for body, path in _bodies(rule):
            for metadata, where in _metadata(body, path):
                for field in ("labels", "annotations"):
                    values = metadata.get(field)
                    if isinstance(values, Mapping) and not all(isinstance(value, str) for value in values.values()):
                        problems.add(f"{where}.{field}", _STRINGS_ONLY)


def check_scanned(policy: subject.Policy, problems: fields.Problems) -> None:
    """Check that the background can scan what the rules of a policy are about; as in Kyverno, only a cluster minds."""
    if not policy.background:
        return
    for rule in policy.rules:
        if not rule.has("validate"):
            continue
        for resources, path in rule.descriptions("match", "exclude"):
            named = subject.texts(resources.get("kinds"))
            if "*" not in named:
                _check_subresources(named, f"{path}.kinds", problems)


def _check_namespaced(
    resources: Mapping[str, Any], named: list[str], path: str, problems: fields.Problems, scope: scopes.Scope
) -> None:
    if resources.get("namespaces"):
        problems.add(f"{path}.namespaces", "Filtering namespaces not allowed in namespaced policies")
    for index, kind in enumerate(named):
        if namespaced(kind, scope) is False:
            problems.add(f"{path}.kinds[{index}]", f"Cluster wide resource '{kind}' not allowed in namespaced policy")


def namespaced(kind: str, scope: scopes.Scope) -> bool | None:
    """Whether a kind as a policy writes it (`v1/Secret`) is namespaced; None where that is not known."""
    try:
        selector = gvk.parse_kind_selector(kind)
    except ValueError:
        return None
    if selector.subresource or "*" in selector.kind:
        return None
    if "*" in (selector.version, selector.group):
        return scope("" if selector.group == "*" else f"{selector.group}/{selector.version}", selector.kind)
    return scope(f"{selector.group}/{selector.version}".lstrip("/"), selector.kind)


def _check_wildcard(
    policy: subject.Policy, rule: subject.Rule, named: list[str], path: str, problems: fields.Problems
) -> None:
    if policy.background:
        problems.add(path, f"wildcard policy not allowed in background mode. {messages.SET_BACKGROUND}")
    if len(named) > 1:
        problems.add(path, "wildcard policy can not deal with more than one kind")
    if rule.has("generate") or rule.has("verifyImages") or rule.table("validate").get("foreach") is not None:
        problems.add(path, "wildcard policy does not support rule type")
    for body, where in _bodies(rule):
        if "foreach" not in where and isinstance(body, Mapping) and any(key != "metadata" for key in body):
            problems.add(where, _ONLY_METADATA)
    deny = subject.table(rule.table("validate").get("deny")).get("conditions")
    for index, condition in enumerate(subject.items(deny)):
        key = subject.text(subject.table(condition).get("key"))
        if key and not _about_metadata(key):
            problems.add(f"{rule.path}.validate.deny.conditions[{index}].key", _ONLY_METADATA)


def _about_metadata(key: str) -> bool:
    """Whether the key of a condition (of the oldest form of conditions) needs no kind to make sense."""
    if "request.object.metadata." in key:
        return True
    compact = key.replace(" ", "")
    allowed = ("{{request.", "{{serviceAccountName", "{{serviceAccountNamespace")
    return any(each in compact for each in allowed) and "request.object.spec" not in key


def _check_subresources(named: list[str], path: str, problems: fields.Problems) -> None:
    for index, kind in enumerate(named):
        try:
            selector = gvk.parse_kind_selector(kind)
        except ValueError:
            continue
        if selector.subresource:
            problems.add(f"{path}[{index}]", f"background scan enabled with subresource {kind}")


def _bodies(rule: subject.Rule) -> Iterator[tuple[Any, str]]:
    """The patterns and patches of a rule, those of its loops too, with their paths."""
    for operation, fields_of in (("validate", ("pattern", "anyPattern")), ("mutate", ("patchStrategicMerge",))):
        holder = rule.table(operation)
        holders = [(holder, f"{rule.path}.{operation}")]
        holders += [
            (subject.table(each), f"{rule.path}.{operation}.foreach[{index}]")
            for index, each in enumerate(subject.items(holder.get("foreach")))
        ]
        for each, path in holders:
            for field in fields_of:
                found = each.get(field)
                if field == "anyPattern":
                    yield from ((one, f"{path}.{field}[{i}]") for i, one in enumerate(subject.items(found)))
                elif found is not None:
                    yield found, f"{path}.{field}"


def _metadata(pattern: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The metadata of a pattern and of its Pod template."""
    for steps in (("metadata",), ("spec", "template", "metadata")):
        found: Any = pattern
        for step in steps:
            found = found.get(step) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            yield found, ".".join((path, *steps))
