"""Labels of namespaces, kinds of resources and roles of users: what policies ask about the request's surroundings.

Informers keep it at hand for nearly every review. A namespace that the informer has not seen yet (made a moment ago)
is read from the API server; roles are waited for while their bindings are being listed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery, errors, informer, resources
from kymograph.controllers.admission import rolebindings
from kymograph.engine import needs


def namespaces(
    client: clients.KubernetesClient, changed: Callable[[str, Mapping[str, str] | None], None]
) -> informer.Informer:
    """An informer that keeps the labels of all namespaces, and tells of each that has others; None where it is gone."""
    return informer.Informer(
        client,
        resources.NAMESPACES,
        metadata_only=True,
        project=lambda document: document["metadata"].get("labels") or {},
        changed=lambda key, labels: changed(key[1], labels),
    )


class ClusterFacts:
    """Answers the needs of evaluations.

    Args:
        client: Asked for what is not at hand.
        labels: The informer of `namespaces`.
        catalogues: What the API server serves.
        bindings: Knows the roles of users.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        labels: informer.Informer,
        catalogues: discovery.Catalogues,
        bindings: rolebindings.RoleBindings,
    ) -> None:
        self._client = client
        self._labels = labels
        self._catalogues = catalogues
        self._bindings = bindings

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what a need turns out to be where that is known without asking anybody; whether it is."""
        found: Any = None
        match need:
            case needs.NamespaceLabels(namespace):
                found = self._labels.objects.get(("", namespace))
            case needs.ResourceKind(group, version, resource):
                kind = self._catalogues.current.kind_of(group, version, resource)
                found = kind and (group, version, kind)
            case needs.UserRoles():
                found = self._bindings.at_hand(need)
        if found is None:
            return False
        facts.add(need, found)
        return True

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Ask the API server, or record why it cannot be known."""
        try:
            match need:
                case needs.NamespaceLabels(namespace):
                    facts.add(need, await self._namespace_labels(namespace))
                case needs.ResourceKind(group, version, resource):
                    facts.add(need, await self._kind(group, version, resource))
                case needs.UserRoles():
                    facts.add(need, await self._bindings.roles_of(need))
        except errors.KubernetesError as error:
            facts.fail(need, f"{need} cannot be read: {error}")
        except rolebindings.Unknown as error:
            facts.fail(need, f"the roles of the user are not known: {error}")

    async def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        try:
            document = await self._client.get(resources.NAMESPACES, namespace, metadata_only=True)
        except errors.NotFound:
            return {}
        return document["metadata"].get("labels") or {}

    async def _kind(self, group: str, version: str, resource: str) -> tuple[str, str, str]:
        found = (await self._catalogues.refresh()).kind_of(group, version, resource)
        if found is not None:
            return group, version, found
        raise errors.NotFound(404, "NotFound", f"the API server serves no {resource}.{version}.{group}")
