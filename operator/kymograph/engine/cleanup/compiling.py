"""Reads cleanup policies. Whatever is half understood is refused: what it deletes does not come back."""

from collections.abc import Mapping
from typing import Any

import orjson

from kymograph.apimachinery import cron, gvk
from kymograph.engine import conditions, errors, fields, wellformed
from kymograph.engine import context as contexts
from kymograph.engine.cleanup import policy
from kymograph.engine.context import images
from kymograph.engine.match import existing
from kymograph.engine.rules import checks

GROUP = "kyverno.io"
VERSIONS = ("v2", "v2beta1")
KINDS = ("CleanupPolicy", "ClusterCleanupPolicy")
PROPAGATIONS = ("Foreground", "Background", "Orphan")

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_SPEC = ("schedule", "match", "exclude", "context", "conditions", "deletionPropagationPolicy")
_LONGEST_NAME = 63
_NOT_ALLOWED = {"imageRegistry": "ImageRegistry", "configMap": "ConfigMap"}
_CRON = "schedule spec in the cleanupPolicy is not in proper cron format"


def compile(document: Mapping[str, Any]) -> policy.CleanupPolicy:  # noqa: A001 - the engine's word
    """Compile a cleanup policy.

    Args:
        document: The object, `kyverno.io/v2` or `v2beta1`; it is not changed.

    Raises:
        PolicyInvalid: With all problems that were found.
    """
    problems = fields.Problems()
    wellformed.check(document, problems)
    problems.raise_if_any()
    top = fields.Fields(document, "", problems, _TOP)
    group, version = gvk.split_api_version(top.text("apiVersion"))
    if group != GROUP or version not in VERSIONS:
        problems.add("apiVersion", f"must be {' or '.join(f'{GROUP}/{each}' for each in VERSIONS)}")
    kind = top.text("kind", among=KINDS)
    held = top.raw("metadata")
    metadata = fields.Fields(held, "metadata", problems, tuple(held) if isinstance(held, Mapping) else ())
    name = metadata.text("name")
    if len(name) > _LONGEST_NAME:
        metadata.wrong("name", f"Too long: may not be more than {_LONGEST_NAME} bytes")
    namespace = metadata.text("namespace") if kind == "CleanupPolicy" else ""
    spec = fields.Fields(top.raw("spec"), "spec", problems, _SPEC)
    context = _context(spec, namespace)
    schedule = _schedule(spec)
    match = existing.read(spec.raw("match"), spec.at("match"), problems)
    if match.scopes and not any(scope.kinds for scope in match.scopes):
        spec.wrong("match", "at least one kind must be specified")
    if any(selector.subresource for scope in match.scopes for selector in scope.kinds):
        spec.wrong("match", "subresources cannot be deleted: name kinds alone")
    exclude = existing.read(spec.raw("exclude"), spec.at("exclude"), problems) if "exclude" in spec else None
    if kind == "CleanupPolicy":
        for part in ("match", "exclude"):
            _refuse_namespaces(spec, part)
    _refuse_empty_set(spec)
    demanded = _conditions(spec)
    propagation = spec.text("deletionPropagationPolicy", among=PROPAGATIONS)
    problems.raise_if_any()
    if schedule is None:
        raise AssertionError("a schedule that is not read is a problem")
    return policy.CleanupPolicy(
        kind=kind,
        namespace=namespace,
        name=name,
        schedule=schedule,
        match=match,
        exclude=exclude,
        context=context,
        conditions=demanded,
        propagation=propagation,
        document=document,
    )


def _schedule(spec: fields.Fields) -> cron.Schedule | None:
    text = spec.text("schedule")
    try:
        return cron.parse(text)
    except ValueError as error:
        spec.wrong("schedule", f"Invalid value: {orjson.dumps(text).decode()}: {_CRON}: {error}")
        return None


def _context(spec: fields.Fields, namespace: str) -> tuple[contexts.Entry, ...]:
    allowed = []
    for entry, path in spec.items("context"):
        refused = [name for name in _NOT_ALLOWED if isinstance(entry, Mapping) and entry.get(name) is not None]
        for name in refused:
            spec.problems.add(path, f"{_NOT_ALLOWED[name]} is not allowed in CleanUp Policy")
        if not refused:
            allowed.append((entry, path))
    entries = contexts.compile(allowed, spec.problems, namespace=namespace)
    written = {"context": spec.raw("context"), "conditions": spec.raw("conditions")}
    return (images.OF_TARGET, *entries) if checks.mention_images(checks.expressions(written)) else entries


def _conditions(spec: fields.Fields) -> conditions.Conditions | None:
    document = spec.raw("conditions")
    if document is None:
        return None
    if not isinstance(document, Mapping):
        spec.wrong("conditions", "must be a map with any and all")
        return None
    try:
        return conditions.compile(dict(document), spec.at("conditions"))
    except errors.PolicyInvalid as invalid:
        spec.problems.absorb(invalid)
        return None


def _refuse_namespaces(spec: fields.Fields, part: str) -> None:
    """A policy of a namespace deletes there and nowhere else."""
    for form in ("any", "all"):
        for index, entry in enumerate(_filters(spec, part, form)):
            resources = entry.get("resources") if isinstance(entry, Mapping) else None
            if isinstance(resources, Mapping) and resources.get("namespaces"):
                path = f"spec.{part}.{form}[{index}].namespaces"
                spec.problems.add(path, "Filtering namespaces not allowed in namespaced policies")


def _refuse_empty_set(spec: fields.Fields) -> None:
    """What is matched by a filter and excluded by the same one is nothing."""
    if _filters(spec, "match", "all") or _filters(spec, "exclude", "all"):
        return
    excluded = _filters(spec, "exclude", "any")
    if any(entry in excluded for entry in _filters(spec, "match", "any")):
        spec.problems.add(spec.path, "CleanupPolicy is matching an empty set")


def _filters(spec: fields.Fields, part: str, form: str) -> list[Any]:
    block = spec.raw(part)
    entries = block.get(form) if isinstance(block, Mapping) else None
    return entries if isinstance(entries, list) else []
