"""What policies may need to know of the cluster beyond the request: labels of namespaces, kinds of resources.

Labels come from an informer, so that nearly every review finds them at hand; a namespace that the informer has not
seen yet (made a moment ago) is read from the API server.
"""

from collections.abc import Mapping
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery, errors, informer, resources
from kymograph.engine import needs


def namespaces(client: clients.KubernetesClient) -> informer.Informer:
    """An informer that keeps the labels of all namespaces."""
    return informer.Informer(
        client,
        resources.NAMESPACES,
        metadata_only=True,
        project=lambda document: document["metadata"].get("labels") or {},
    )


class ClusterFacts:
    """Answers the needs of evaluations.

    Args:
        client: Asked for what is not at hand.
        labels: The informer of `namespaces`.
        catalogues: What the API server serves.
    """

    def __init__(
        self, client: clients.KubernetesClient, labels: informer.Informer, catalogues: discovery.Catalogues
    ) -> None:
        self._client = client
        self._labels = labels
        self._catalogues = catalogues

    def at_hand(self, request: Mapping[str, Any], facts: needs.Facts) -> None:
        """Add the labels of the request's namespace where the informer knows them."""
        namespace = request.get("namespace")
        if namespace:
            labels = self._labels.objects.get(("", namespace))
            if labels is not None:
                facts.add(needs.NamespaceLabels(namespace), labels)

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Ask the API server, or record why it cannot be known."""
        try:
            match need:
                case needs.NamespaceLabels(namespace):
                    facts.add(need, await self._namespace_labels(namespace))
                case needs.ResourceKind(group, version, resource):
                    facts.add(need, await self._kind(group, version, resource))
        except errors.KubernetesError as error:
            facts.fail(need, f"{need} cannot be read: {error}")

    async def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        try:
            document = await self._client.get(resources.NAMESPACES, namespace, metadata_only=True)
        except errors.NotFound:
            return {}
        return document["metadata"].get("labels") or {}

    async def _kind(self, group: str, version: str, resource: str) -> tuple[str, str, str]:
        found = self._catalogues.current.kind_of(group, version, resource)
        if found is None:
            found = (await self._catalogues.refresh()).kind_of(group, version, resource)
        if found is not None:
            return group, version, found
        raise errors.NotFound(404, "NotFound", f"the API server serves no {resource}.{version}.{group}")
