"""What is not cleaned up: the operator itself, what the ConfigMap filters out, on request what Kyverno manages.

An operator that deletes its own certificate, role or CustomResourceDefinition stops enforcing, and the last of these
takes all policies with it. Who may label an object must not be able to bring that about.
"""

import dataclasses
from collections.abc import Callable, Mapping

from kymograph.clients.kubernetes import resources
from kymograph.controllers import managed
from kymograph.controllers.configuration import filters
from kymograph.engine.generate import labels as written
from kymograph.model import kinds

_OWN = (("app.kubernetes.io/name", "kymograph"), (written.MANAGED_BY, "kymograph"))
"""Labels of what the operator is installed with, and of what it registers."""

_DEFINITIONS = frozenset(f"{kind.plural}.{kind.group}" for kind in kinds.SHIPPED)


@dataclasses.dataclass(frozen=True, slots=True)
class Spared:
    """Says of objects whether they are spared.

    Attributes:
        namespace: The operator's own; empty for none.
        protect: Policies spare what Kyverno manages as well (`--protectManagedResources`).
        filtering: Gives the `resourceFilters` of the moment, which policies heed.
    """

    namespace: str
    protect: bool = False
    filtering: Callable[[], filters.Filters] = filters.Filters

    def own(self, resource: resources.Resource, namespace: str, name: str, *, marked: bool) -> bool:
        """Whether an object is part of the operator.

        Args:
            resource: What it is.
            namespace: Where; empty for an object of the cluster.
            name: Its name.
            marked: Its labels say so, which counts for objects of the cluster.
        """
        if namespace:
            return namespace == self.namespace
        if resource == resources.NAMESPACES:
            return name == self.namespace
        if resource.group == resources.CUSTOM_RESOURCE_DEFINITIONS.group and name in _DEFINITIONS:
            return True
        return marked

    def from_policies(self, resource: resources.Resource, namespace: str, name: str, labels: Mapping[str, str]) -> bool:
        """Whether policies must leave an object alone."""
        kind = (resource.group, resource.version, resource.kind)
        return (
            self.own(resource, namespace, name, marked=is_marked(labels))
            or (self.protect and managed.is_managed(labels))
            or self.filtering().match(kind, "", namespace, name)
        )


def is_marked(labels: Mapping[str, str]) -> bool:
    """Whether labels say that an object belongs to the operator."""
    return any(labels.get(key) == value for key, value in _OWN)
