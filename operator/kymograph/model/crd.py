"""Builds CustomResourceDefinition documents from the schemas of this room.

The documents in `crds/` are written from here (`kymograph crds --write crds`) and a test fails when they differ, so
that a field has exactly one source. A field enters a schema when it works, never before.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

MAX_NAME = 253
"""The longest name of a Kubernetes object, in characters."""


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`.

    Attributes:
        name: The heading.
        type: `string`, `integer`, `boolean` or `date`.
        path: A JSONPath into the object.
        priority: 0 is always shown, 1 only with `-o wide`.
    """

    name: str
    type: str
    path: str
    priority: int = 0

    def document(self) -> Schema:
        """The column as the API server reads it."""
        return {"name": self.name, "type": self.type, "jsonPath": self.path, "priority": self.priority}


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """One version of a kind."""

    name: str
    schema: Schema
    storage: bool = True
    columns: Sequence[Column] = ()

    def document(self) -> Schema:
        """The version as the API server reads it."""
        return {
            "name": self.name,
            "served": True,
            "storage": self.storage,
            "schema": {"openAPIV3Schema": self.schema},
            "subresources": {"status": {}} if "status" in self.schema["properties"] else {},
            "additionalPrinterColumns": [column.document() for column in self.columns],
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of custom resource.

    Attributes:
        categories: Names by which `kubectl get <category>` finds the kind among others.
    """

    group: str
    kind: str
    plural: str
    namespaced: bool
    versions: Sequence[Version]
    short_names: Sequence[str] = ()
    categories: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The name of the CustomResourceDefinition."""
        return f"{self.plural}.{self.group}"

    def document(self) -> Schema:
        """The whole CustomResourceDefinition (apiextensions.k8s.io/v1)."""
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name},
            "spec": {
                "group": self.group,
                "names": {
                    "kind": self.kind,
                    "listKind": f"{self.kind}List",
                    "plural": self.plural,
                    "singular": self.kind.lower(),
                    "shortNames": list(self.short_names),
                    "categories": list(self.categories),
                },
                "scope": "Namespaced" if self.namespaced else "Cluster",
                "versions": [version.document() for version in self.versions],
            },
        }


def text(description: str, *, max_length: int = MAX_NAME, **rules: Any) -> Schema:
    """A string with an upper bound on its length (in characters), as everything a user can write has one."""
    return {"type": "string", "description": description, "maxLength": max_length, **rules}


def record(description: str, properties: Mapping[str, Schema], **rules: Any) -> Schema:
    """An object with named fields."""
    return {"type": "object", "description": description, "properties": dict(properties), **rules}


def open_record(description: str, properties: Mapping[str, Schema] | None = None, **rules: Any) -> Schema:
    """An object that keeps fields this schema does not name, for a webhook to judge instead of being pruned."""
    return record(description, properties or {}, **{"x-kubernetes-preserve-unknown-fields": True}, **rules)


def listing(description: str, items: Schema, *, max_items: int, **rules: Any) -> Schema:
    """A list with an upper bound on its items."""
    return {"type": "array", "description": description, "items": items, "maxItems": max_items, **rules}


def rule(expression: str, message: str) -> Schema:
    """A validation rule in CEL, checked by the API server (KEP-2876)."""
    return {"rule": expression, "message": message}


def form(pattern: str, message: str) -> Schema:
    """A validation rule of a text that has a form, told in words: of `pattern` the API server would say itself alone.

    The text needs a `max_length`, by which the API server bounds what the rule costs.
    """
    return rule(f"self.matches(r'{pattern}')", message)


def conditions(types: str) -> Schema:
    """The status conditions of a resource (metav1.Condition), a map keyed by type."""
    return listing(
        f"The latest observations: {types}.",
        record(
            "One observation.",
            {
                "type": text("What is observed."),
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": text("A word for machines that says why."),
                "message": text("A sentence for people that says why and what to do.", max_length=32_768),
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            },
            required=["type", "status", "reason", "message", "lastTransitionTime"],
        ),
        max_items=8,
        **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


def resource(description: str, spec: Schema, status: Schema, **rules: Any) -> Schema:
    """The schema of a whole object with a spec and a status."""
    return record(
        description,
        {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        required=["spec"],
        **rules,
    )
