"""What the operator may not read, and what whoever grants rights is told about it.

Reports need `get`, and scans `list` and `watch`, on the objects that policies look at. The shipped role grants them for
the usual workloads; for every other kind the missing rule is logged once, ready to be applied.
"""

import logging
from collections.abc import Callable

import yaml

from kymograph.clients.kubernetes import errors, resources

logger = logging.getLogger(__name__)

ASK_AGAIN_AFTER = 60.0
"""Seconds until a kind that may not be read is tried again: a right may have been granted meanwhile."""

AGGREGATION_LABEL = "rbac.kymograph.dev/aggregate-to-reports"
"""The label by which a ClusterRole becomes part of `kymograph:reports`."""


class Permissions:
    """Remembers which resources may not be read.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: dict[resources.Resource, float] = {}

    def lacks(self, resource: resources.Resource) -> bool:
        """Whether reading these objects was refused a moment ago."""
        refused_at = self._refused.get(resource)
        return refused_at is not None and self._clock() - refused_at < ASK_AGAIN_AFTER

    def refused(self, resource: resources.Resource) -> None:
        """Reading was refused: say so, the first time."""
        known = resource in self._refused
        self._refused[resource] = self._clock()
        if not known:
            logger.warning(
                "Objects of kind %s get no report: the operator may not read them. To grant it, apply:\n%s",
                resource.kind,
                role(resource),
            )


def role(resource: resources.Resource) -> str:
    """The ClusterRole that grants reading objects, as YAML; it becomes part of `kymograph:reports` by its label."""
    name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    return yaml.safe_dump(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"kymograph:reports:{name}", "labels": {AGGREGATION_LABEL: "true"}},
            "rules": [
                {"apiGroups": [resource.group], "resources": [resource.plural], "verbs": ["get", "list", "watch"]}
            ],
        },
        sort_keys=False,
    )


def is_missing_right(error: errors.Forbidden) -> bool:
    """Whether a refusal is about the operator's rights.

    The API server says 403 also of a namespace that is being deleted, an exhausted quota and what a webhook denies;
    only the authorizer's text says what the user `cannot` do (staging/src/k8s.io/apiserver, `ForbiddenStatusError`).
    """
    return error.code == 401 or " cannot " in error.message
