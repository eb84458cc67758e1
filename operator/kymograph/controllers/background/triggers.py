"""The object because of which work is done, as the cluster has it: the review that asked for the work proves nothing.

Admission notes the work before the object is stored, so for a moment there may be nothing to see; and another webhook
may deny the request after us, so it may stay that way. What a request claims counts once the API server shows it: an
object of that uid after a creation, another resourceVersion after an update, no such object after a deletion.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol

from kymograph.apimachinery import gvk
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import updaterequests
from kymograph.controllers.background import errors, kinds
from kymograph.controllers.configuration import filters as filtering
from kymograph.engine import policyset


class Reader(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    def pages(
        self, resource: resources.Resource, *, namespace: str = "", metadata_only: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection in pages."""


class Trigger(NamedTuple):
    """What has become of the object.

    Attributes:
        request: The request to evaluate rules with, about the object as it is; None where there is nothing to
            evaluate any more.
        ending: It is being deleted, and the request is not about that: nothing is made for it any more.
    """

    request: dict[str, Any] | None
    ending: bool = False


class Triggers:
    """Reads triggers.

    Args:
        client: Reads objects.
        catalogues: What the API server serves.
    """

    def __init__(self, client: Reader, catalogues: kinds.Catalogues) -> None:
        self._client = client
        self._catalogues = catalogues

    async def of(self, asked: updaterequests.UpdateRequest, part: updaterequests.Part) -> Trigger:
        """What has become of the trigger of a rule.

        Raises:
            NameTaken: What was to be created is not there, and another object has its name.
            NotYet: The cluster does not show what the request claims.
            Failing: Its kind is not served.
            KubernetesError: It could not be read.
        """
        request = asked.request
        if request is not None and (request.get("subResource") or "") not in policyset.SAME_KIND:
            return await self._of_subresource(request)
        trigger = part.trigger
        resource = await kinds.resource_of(self._catalogues, trigger.api_version, trigger.kind)
        found = await self._found(resource, trigger)
        live = None if found is not None and _other(found, trigger) else found
        going = live is None or bool(live["metadata"].get("deletionTimestamp"))
        if request is None:
            return Trigger(None) if live is None else Trigger(about(resource, live), ending=going)
        match request.get("operation"):
            case "DELETE":
                if not going:
                    raise errors.NotYet(f"{trigger} still exists: its deletion may have been denied")
                return Trigger({**request, "object": None})
            case "UPDATE":
                if live is None:
                    return Trigger(None)
                before = ((request.get("oldObject") or {}).get("metadata") or {}).get("resourceVersion")
                if not asked.unchanged and live["metadata"].get("resourceVersion") == before:
                    raise errors.NotYet(f"{trigger} has not changed: its update may have been denied")
            case _ if found is not None and live is None:
                raise errors.NameTaken(
                    f"{trigger} with uid {trigger.uid} does not exist, another object has its name: its creation was "
                    "refused, or it has been replaced"
                )
            case _ if live is None:
                raise errors.NotYet(
                    f"{trigger} with uid {trigger.uid} does not exist: its creation may have been denied"
                )
        return Trigger({**request, "object": live}, ending=going)

    async def _found(self, resource: resources.Resource, trigger: updaterequests.Reference) -> dict[str, Any] | None:
        """The object of the trigger's name, which may be another one; without a name, that of its uid."""
        if not trigger.name:
            return await self._by_uid(resource, trigger)
        namespace = trigger.namespace if resource.namespaced else ""
        try:
            return await self._client.get(resource, trigger.name, namespace=namespace)
        except kubernetes_errors.NotFound:
            return None

    async def _by_uid(self, resource: resources.Resource, trigger: updaterequests.Reference) -> dict[str, Any] | None:
        """Labels of generated objects name their trigger by uid only."""
        namespace = trigger.namespace if resource.namespaced else ""
        async for page in self._client.pages(resource, namespace=namespace, metadata_only=True):
            for each in page.get("items") or ():
                if each["metadata"]["uid"] == trigger.uid:
                    return await self._client.get(resource, each["metadata"]["name"], namespace=namespace)
        return None

    async def _of_subresource(self, request: Mapping[str, Any]) -> Trigger:
        """A request on a subresource has an object of its own, which is not stored; what is stored is its parent."""
        asked = request["resource"]
        found = self._catalogues.current.kind_of(asked["group"], asked["version"], asked["resource"])
        if found is None:
            found = (await self._catalogues.refresh()).kind_of(asked["group"], asked["version"], asked["resource"])
        if found is None:
            raise errors.Failing(f"the API server serves no {asked['resource']}")
        group = f"{asked['group']}/" if asked["group"] else ""
        parent = await kinds.resource_of(self._catalogues, f"{group}{asked['version']}", found)
        try:
            await self._client.get(parent, request["name"], namespace=request.get("namespace") or "")
        except kubernetes_errors.NotFound:
            if request.get("subResource") != "eviction":  # which may have succeeded by now
                raise errors.NotYet(f"{found} {request['name']} does not exist") from None
        return Trigger(dict(request))


def is_filtered(filters: filtering.Filters, trigger: updaterequests.Reference) -> bool:
    """Whether no policy is for an object, because the ConfigMap says so; its subresources are the reviews' business."""
    if not filters:
        return False
    group, version = gvk.split_api_version(trigger.api_version)
    return filters.match((group, version, trigger.kind), "", trigger.namespace, trigger.name)


def _other(found: Mapping[str, Any], trigger: updaterequests.Reference) -> bool:
    return bool(trigger.uid) and found["metadata"]["uid"] != trigger.uid


def about(resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
    """A request about an object that exists: nobody made it, and it is none of the operations."""
    group, version = gvk.split_api_version(resource.api_version)
    metadata = document["metadata"]
    return {
        "uid": "",
        "kind": {"group": group, "version": version, "kind": resource.kind},
        "resource": {"group": group, "version": version, "resource": resource.plural},
        "name": metadata["name"],
        "namespace": metadata.get("namespace") or "",
        "operation": "",
        "object": document,
    }
