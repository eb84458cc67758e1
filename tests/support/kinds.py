"""Kinds of the tests' own."""

from typing import Any


def definition(group: str, plural: str, kind: str, *, scope: str = "Namespaced", **schema: Any) -> dict[str, Any]:
    """A CustomResourceDefinition with one version, `v1`; with another schema it is another generation.

    Args:
        group: The API group.
        plural: The resource's name in paths.
        kind: The kind.
        scope: `Namespaced` or `Cluster`.
        schema: What its schema says beside that it is about objects.
    """
    content = {"openAPIV3Schema": {"type": "object", **schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": content}],
        },
    }
