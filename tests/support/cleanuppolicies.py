"""Cleanup policies for tests."""

from typing import Any


def cleanup_policy(
    name: str = "tidy", namespace: str = "", *, kinds: tuple[str, ...] = ("Pod",), **spec: Any
) -> dict[str, Any]:
    """A policy, of a namespace where one is given, that deletes all objects of some kinds every five minutes."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "kyverno.io/v2",
        "kind": "CleanupPolicy" if namespace else "ClusterCleanupPolicy",
        "metadata": metadata,
        "spec": {"schedule": "*/5 * * * *", "match": {"any": [{"resources": {"kinds": [*kinds]}}]}, **spec},
    }


def named_like(pattern: str) -> dict[str, Any]:
    """Conditions that hold of objects with such a name."""
    return {"all": [{"key": "{{ target.metadata.name }}", "operator": "Equals", "value": pattern}]}
