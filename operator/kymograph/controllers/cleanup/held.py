"""One cleanup policy as the cluster holds it: compiled, and when it is due."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from kymograph.apimachinery import objectkey
from kymograph.clients.kubernetes import resources
from kymograph.engine import cleanup, errors

RESOURCES = {"CleanupPolicy": resources.CLEANUP_POLICIES, "ClusterCleanupPolicy": resources.CLUSTER_CLEANUP_POLICIES}


class Key(NamedTuple):
    """Which policy: kind, namespace (empty for a ClusterCleanupPolicy) and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {objectkey.of(self.namespace, self.name)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A policy.

    Attributes:
        uid: Which incarnation of it.
        version: Its resourceVersion.
        generation: Which generation of its spec.
        created: When it was created.
        last: When it ran last, as its status says; None for never.
        compiled: The policy, or None where it does not compile.
        problems: Why it does not; empty where it does.
        status: What its status says now.
    """

    uid: str
    version: str
    generation: int
    created: dt.datetime
    last: dt.datetime | None
    compiled: cleanup.CleanupPolicy | None
    problems: tuple[errors.Problem, ...]
    status: Mapping[str, Any]

    def due(self, ran: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
        """When it runs next; a moment that has passed was missed, and is made up for once. None for never.

        Args:
            ran: When it ran last as far as we know ourselves, which its status may not say yet.
            now: The time. A last run in the future means that a clock was set back: it counts as now.
        """
        if self.compiled is None:
            return None
        runs = [each for each in (self.last, ran) if each is not None]
        since = min(max(runs), now) if runs else min(self.created, now)
        return self.compiled.schedule.next(since)


def hold(document: Mapping[str, Any]) -> Held:
    """Take in a policy as the cluster holds it."""
    metadata, status = document["metadata"], document.get("status") or {}
    compiled: cleanup.CleanupPolicy | None = None
    problems: tuple[errors.Problem, ...] = ()
    try:
        compiled = cleanup.compile(document)
    except errors.PolicyInvalid as invalid:
        problems = invalid.problems
    return Held(
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=int(metadata.get("generation") or 0),
        created=dt.datetime.fromisoformat(metadata["creationTimestamp"]),
        last=_moment(status.get("lastExecutionTime")),
        compiled=compiled,
        problems=problems,
        status=status,
    )


def _moment(text: Any) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if isinstance(text, str) and text else None
