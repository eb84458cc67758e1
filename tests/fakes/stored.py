"""Policies as a cluster holds them: with uid, generation and resourceVersion."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from kymograph.clients.kubernetes import errors
from support.installed import policy

NO_LATEST = {"message": "No latest.", "pattern": {"spec": {"containers": [{"image": "!*:latest"}]}}}
BROKEN = {"message": "Broken.", "pattern": {"spec": {"^(containers)": {"image": "?"}, "unknown": "{{ ( }}"}}}


def stored(
    name: str,
    version: int,
    *,
    uid: str = "",
    generation: int = 1,
    validate: Mapping[str, Any] = NO_LATEST,
    status: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A policy with one rule for Pods, read from a cluster."""
    document: dict[str, Any] = policy(name, dict(validate), **spec)
    document["metadata"] |= {"uid": uid or f"uid-{name}", "resourceVersion": str(version), "generation": generation}
    if labels is not None:
        document["metadata"]["labels"] = dict(labels)
    if status is not None:
        document["status"] = dict(status)
    return document


class Lists:
    """What a cluster lists, by plural; satisfies `policies.Lister`. A plural that is missing is not installed."""

    def __init__(self, **documents: list[dict[str, Any]]) -> None:
        self.documents = documents
        self.failures: list[errors.KubernetesError] = []
        self.between: list[Any] = []
        self.listed: list[str] = []

    async def pages(self, resource: Any) -> AsyncIterator[dict[str, Any]]:
        """Give one page; `between` is called after the page was read and before it is given."""
        self.listed.append(resource.plural)
        if self.failures:
            raise self.failures.pop(0)
        if resource.plural not in self.documents:
            raise errors.NotFound(404, "NotFound", resource.plural)
        items = [
            {key: each[key] for key in each if key not in ("apiVersion", "kind")}
            for each in self.documents[resource.plural]
        ]
        for happens in self.between:
            happens()
        yield {"items": items}
