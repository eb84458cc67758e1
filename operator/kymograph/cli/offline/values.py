"""Values: what a test says about the context of its policies instead of a cluster.

Kyverno's `Values` (`cli.kyverno.io/v1alpha1`), in a file of its own or inline in a test. A key is a path into the
context of expressions, `request.object.metadata.name`; a part with a dot in it is quoted as in CSV.
"""

import csv
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kymograph.engine import fields, policy

SPEC = ("globalValues", "policies", "namespaceSelector", "namespaces", "subresources")
"""The fields of a Values document beside `apiVersion`, `kind` and `metadata`."""

OPERATION = "request.operation"
OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT")

_API_RESOURCE = (
    "name",
    "singularName",
    "namespaced",
    "group",
    "version",
    "kind",
    "verbs",
    "shortNames",
    "categories",
    "storageVersionHash",
)
_NOTHING: Mapping[Any, Any] = types.MappingProxyType({})


class Subresource(NamedTuple):
    """A kind that is served as a subresource of another one.

    Attributes:
        kind: (group, version, kind) of what is sent to the subresource: `("autoscaling", "v1", "Scale")`.
        parent: (group, version, kind) of what has the subresource.
        resource: The resource that serves the parent, `deployments`.
        name: Name of the subresource, `scale`.
    """

    kind: tuple[str, str, str]
    parent: tuple[str, str, str]
    resource: str
    name: str


class Values(NamedTuple):
    """Values for the contexts of policies.

    Attributes:
        everywhere: For every object and policy, by key.
        by_resource: For one object under one policy: by (name of the policy, name of the object), then by key.
        by_rule: For one rule under every object: by (name of the policy, name of the rule), then by key.
        namespaces: Labels of namespaces, by name.
        subresources: What is sent to which subresource.
    """

    everywhere: Mapping[str, Any] = _NOTHING
    by_resource: Mapping[tuple[str, str], Mapping[str, Any]] = _NOTHING
    by_rule: Mapping[tuple[str, str], Mapping[str, Any]] = _NOTHING
    namespaces: Mapping[str, Mapping[str, str]] = _NOTHING
    subresources: Sequence[Subresource] = ()

    def of_rule(self, each: policy.CompiledRule) -> Mapping[str, Any]:
        """The values for a rule: those for its name, or for that of the rule it was made from."""
        name = each.policy.rpartition("/")[2]
        return self.by_rule.get((name, each.name)) or self.by_rule.get((name, each.base_name)) or {}

    def of(self, policy_name: str, resource: str) -> Mapping[str, Any]:
        """The values for an object under a policy; those for the object win.

        Args:
            policy_name: Name of the policy.
            resource: Name of the object.
        """
        special = self.by_resource.get((policy_name, resource))
        return {**self.everywhere, **special} if special else self.everywhere


def read(spec: fields.Fields) -> Values:
    """Read the fields of Values. What is wrong is noted in the problems of `spec`.

    Args:
        spec: The document, or the `values` of a test; its known fields must include `SPEC`.
    """
    everywhere = _table(spec, "globalValues")
    operation = everywhere.get(OPERATION)
    if isinstance(operation, str) and operation not in ("", *OPERATIONS):
        spec.wrong(f"globalValues[{OPERATION}]", f"{operation!r} is not one of {', '.join(OPERATIONS)}")
    by_resource: dict[tuple[str, str], dict[str, Any]] = {}
    by_rule: dict[tuple[str, str], dict[str, Any]] = {}
    for entry, path in spec.items("policies"):
        of_policy = fields.Fields(entry, path, spec.problems, ("name", "resources", "rules"))
        name = _required(of_policy, "name")
        for each, where in of_policy.items("resources"):
            resource = fields.Fields(each, where, spec.problems, ("name", "values"))
            by_resource.setdefault((name, _required(resource, "name")), {}).update(_table(resource, "values"))
        for each, where in of_policy.items("rules"):
            rule = fields.Fields(each, where, spec.problems, ("name", "values", "foreachValues"))
            # the first entry with a name counts
            by_rule.setdefault((name, _required(rule, "name")), _table(rule, "values") | _first_of_each(rule))
    return Values(everywhere, by_resource, by_rule, _namespaces(spec), tuple(_subresources(spec)))


def path_of(key: str) -> list[str]:
    """The parts of a key: `a."b.c/d"` is `a`, `b.c/d`.

    Args:
        key: A key as written; empty for no part.
    """
    return next(csv.reader([key], delimiter="."), [])


def _table(holder: fields.Fields, name: str) -> dict[str, Any]:
    value = holder.raw(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        holder.wrong(name, "must be an object: keys and what they stand for")
        return {}
    for key in value:
        try:
            steps = path_of(key)
        except csv.Error:
            steps = []
        if not steps:
            holder.wrong(name, f"{key!r} is no path into the context, such as request.object.metadata.name")
            return {}
    return dict(value)


def _first_of_each(rule: fields.Fields) -> dict[str, Any]:
    """Of `foreachValues` every pass of a loop sees the first value: Kyverno never counts on."""
    firsts = {}
    for key, value in _table(rule, "foreachValues").items():
        if isinstance(value, list) and value:
            firsts[key] = value[0]
        else:
            rule.wrong(f"foreachValues[{key}]", "must be a list with at least one value")
    return firsts


def _required(holder: fields.Fields, name: str) -> str:
    found = holder.text(name)
    if not found:
        holder.wrong(name, "is required")
    return found


def _namespaces(spec: fields.Fields) -> dict[str, Mapping[str, str]]:
    """Labels by namespace; full Namespaces win over bare selectors."""
    found: dict[str, Mapping[str, str]] = {}
    for entry, path in spec.items("namespaceSelector"):
        selector = fields.Fields(entry, path, spec.problems, ("name", "labels"))
        found[_required(selector, "name")] = selector.table("labels")
    for entry, path in spec.items("namespaces"):
        namespace = fields.Fields(entry, path, spec.problems, ("apiVersion", "kind", "metadata", "spec", "status"))
        document = namespace.raw("metadata")
        known = tuple(document) if isinstance(document, Mapping) else ()
        metadata = fields.Fields(document, namespace.at("metadata"), spec.problems, known)
        found[_required(metadata, "name")] = metadata.table("labels")
    return found


def _subresources(spec: fields.Fields) -> list[Subresource]:
    found = []
    for entry, path in spec.items("subresources"):
        pair = fields.Fields(entry, path, spec.problems, ("subresource", "parentResource"))
        child = fields.Fields(pair.raw("subresource"), pair.at("subresource"), spec.problems, _API_RESOURCE)
        parent = fields.Fields(pair.raw("parentResource"), pair.at("parentResource"), spec.problems, _API_RESOURCE)
        resource, slash, name = child.text("name").partition("/")
        if not slash or not name:
            child.wrong("name", "must be of the form resource/subresource, such as deployments/scale")
            continue
        found.append(Subresource(_kind(child), _kind(parent), resource, name))
    return found


def _kind(holder: fields.Fields) -> tuple[str, str, str]:
    return holder.text("group"), holder.text("version"), holder.text("kind")
