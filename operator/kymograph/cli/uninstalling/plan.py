"""What there is of an installation in a cluster, in the order in which it is to go. Reads only.

Webhook configurations are first of all: while they are there and nobody answers, whatever fails closed is refused.
"""

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.admission import webhooknames, webhooks
from kymograph.model import kinds
from kymograph.runtime import secretstore
from kymograph.runtime.settings import CONTROLLERS

DEPLOYMENTS = resources.Resource("apps", "v1", "deployments", "Deployment", namespaced=True)

LABEL = "app.kubernetes.io/name=kymograph"
"""What the manifests put on everything of the operator."""

_ACCESS_REVIEWS = resources.Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
_CONFIGURATIONS = {
    resource.kind: resource
    for resource in (resources.VALIDATING_WEBHOOK_CONFIGURATIONS, resources.MUTATING_WEBHOOK_CONFIGURATIONS)
}
_LEADERS = ("kymograph", *(f"kymograph-{name}" for name in CONTROLLERS[1:]))
_PROGRESS = "kymograph-scans"


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One object that is to go.

    Attributes:
        resource: What it is.
        namespace: Where it is; empty for one of the cluster.
        name: Its name.
        uid: Which one of that name.
    """

    resource: resources.Resource
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}" if self.namespace else self.path

    @property
    def path(self) -> str:
        """Kind and name."""
        return f"{self.resource.kind} {self.name}"


class Installation:
    """An installation as it is.

    Args:
        client: Reads with the caller's identity.
        namespace: The operator's namespace.
    """

    def __init__(self, client: clients.KubernetesClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def operators(self) -> list[Item]:
        """The Deployments of the operator."""
        found = self._client.pages(DEPLOYMENTS, namespace=self._namespace, label_selector=LABEL)
        return [
            Item(DEPLOYMENTS, self._namespace, each["metadata"]["name"], each["metadata"]["uid"])
            async for page in found
            for each in page.get("items") or ()
        ]

    async def webhooks(self) -> list[Item]:
        """The webhook configurations; those with Kyverno's names only where they lead to this operator."""
        wanted = list(webhooks.configurations(webhooknames.KYMOGRAPH))
        if await self._has_kyvernos_names():
            wanted += webhooks.configurations(webhooknames.KYVERNO)
        return [item for kind, name in wanted async for item in self._there(_CONFIGURATIONS[kind], name)]

    async def others(self) -> list[Item]:
        """What else the operator has made in its namespace: Leases, its certificate, and how far scans were."""
        leases = (*_LEADERS, webhooknames.KYMOGRAPH.lease)
        if await self._has_kyvernos_names():
            leases += (webhooknames.KYVERNO.lease,)
        wanted = [(resources.LEASES, name) for name in leases]
        wanted += [(resources.SECRETS, secretstore.NAME), (resources.CONFIG_MAPS, _PROGRESS)]
        return [item for resource, name in wanted async for item in self._there(resource, name)]

    async def definitions(self) -> list[Item]:
        """The CustomResourceDefinitions, with which all their objects go."""
        resource = resources.CUSTOM_RESOURCE_DEFINITIONS
        return [item for kind in kinds.SHIPPED async for item in self._there(resource, kind.name)]

    async def leaders(self, now: dt.datetime) -> list[str]:
        """Who leads at this moment, as far as Leases say: an operator that would put back what is taken away.

        Args:
            now: The API server's time.
        """
        found = []
        for name in _LEADERS:
            try:
                lease = await self._client.get(resources.LEASES, name, namespace=self._namespace)
            except errors.NotFound:
                continue
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") and _counts(spec, now):
                found.append(str(spec["holderIdentity"]))
        return found

    async def lacking(self, items: Sequence[Item]) -> list[str]:
        """What the caller may not delete, each told once."""
        found: dict[str, None] = {}
        for item in items:
            asked = {
                "group": item.resource.group,
                "resource": item.resource.plural,
                "verb": "delete",
                "name": item.name,
                "namespace": item.namespace,
            }
            review = await self._client.create(
                _ACCESS_REVIEWS,
                {
                    "apiVersion": _ACCESS_REVIEWS.api_version,
                    "kind": _ACCESS_REVIEWS.kind,
                    "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
                },
            )
            if not (review.get("status") or {}).get("allowed"):
                found[f"delete {item}"] = None
        return list(found)

    async def _has_kyvernos_names(self) -> bool:
        resource = resources.VALIDATING_WEBHOOK_CONFIGURATIONS
        try:
            return webhooks.is_ours(await self._client.get(resource, webhooknames.KYVERNO.policies))
        except errors.NotFound:
            return False

    async def _there(self, resource: resources.Resource, name: str) -> AsyncIterator[Item]:
        namespace = self._namespace if resource.namespaced else ""
        try:
            document: dict[str, Any] = await self._client.get(resource, name, namespace=namespace, metadata_only=True)
        except errors.NotFound:
            return
        yield Item(resource, namespace, name, document["metadata"]["uid"])


def _counts(spec: dict[str, Any], now: dt.datetime) -> bool:
    """Whether a Lease was renewed within its duration."""
    try:
        renewed = dt.datetime.fromisoformat(str(spec.get("renewTime") or ""))
    except ValueError:
        return False
    return renewed + dt.timedelta(seconds=int(spec.get("leaseDurationSeconds") or 0)) > now
