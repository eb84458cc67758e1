"""A compiled cleanup policy."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kymograph.apimachinery import cron, gvk, objectkey
from kymograph.engine import conditions
from kymograph.engine import context as contexts
from kymograph.engine.match import existing


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CleanupPolicy:
    """What is deleted, and when. Compared and hashed by identity.

    Attributes:
        kind: `CleanupPolicy` or `ClusterCleanupPolicy`.
        namespace: Its namespace, beyond which it deletes nothing; empty for one of the cluster.
        name: Its name.
        schedule: When it runs.
        match: Which objects it is about.
        exclude: Which of them it spares; None for none.
        context: What its conditions may name beside the object.
        conditions: What must hold of an object; None for nothing.
        propagation: What becomes of dependents: `Foreground`, `Background`, `Orphan`; empty for the kind's default.
        document: The policy as applied; not to be changed.
    """

    kind: str
    namespace: str
    name: str
    schedule: cron.Schedule
    match: existing.Block
    exclude: existing.Block | None
    context: tuple[contexts.Entry, ...]
    conditions: conditions.Conditions | None
    propagation: str
    document: Mapping[str, Any]

    @property
    def selectors(self) -> tuple[gvk.KindSelector, ...]:
        """The kinds that it selects, each once and in their order."""
        return tuple(dict.fromkeys(selector for scope in self.match.scopes for selector in scope.kinds))

    @property
    def needs_namespace_labels(self) -> bool:
        """Whether it looks at the labels of the objects' namespaces."""
        return self.match.needs_namespace_labels or (self.exclude is not None and self.exclude.needs_namespace_labels)

    def __str__(self) -> str:
        return f"{self.kind} {objectkey.of(self.namespace, self.name)}"
