"""Claims of UpdateRequests: who works on one has written so into its status, in the version that was seen last.

A claim is one call: the answer to it is the request itself, which is read for itself only where somebody else has
written it since. What is claimed and has to wait for its object to be stored is remembered, and not read again.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import updaterequests

MOST_REMEMBERED = 1_000
"""Claimed requests that are remembered; of others there is another claim at the next look."""

_STATUS = {"state": updaterequests.PENDING, "message": "it is being worked on"}


class Cluster(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch."""


class Claims:
    """The claims of one time of leading.

    Args:
        client: Reads and writes UpdateRequests.
        namespace: Where they are.
    """

    def __init__(self, client: Cluster, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._remembered: dict[str, updaterequests.UpdateRequest] = {}

    async def claim(self, name: str, uid: str, version: str) -> updaterequests.UpdateRequest | None:
        """Claim a request, unless it is claimed already.

        Args:
            name: Its name.
            uid: Its uid.
            version: The version that was seen last.

        Returns:
            The request, in the version since it was claimed; None where it has ended or is gone.

        Raises:
            KubernetesError: It could not be claimed; a Conflict where somebody else writes it all the time.
        """
        remembered = self._remembered.pop(name, None)
        if remembered is not None:
            return remembered
        try:
            return updaterequests.read(await self._write(name, uid, version, _STATUS))
        except errors.NotFound:
            return None
        except errors.Conflict:
            pass  # it has been written since
        try:
            asked = updaterequests.read(
                await self._client.get(resources.UPDATE_REQUESTS, name, namespace=self._namespace)
            )
            if asked.state in updaterequests.FINAL:
                return None
            return updaterequests.read(await self._write(name, asked.uid, asked.version, _STATUS))
        except errors.NotFound:
            return None

    def remember(self, asked: updaterequests.UpdateRequest) -> None:
        """Keep a claimed request for the next look at it."""
        if len(self._remembered) < MOST_REMEMBERED:
            self._remembered[asked.name] = asked

    def forget(self, name: str) -> None:
        """A request is gone, or has ended."""
        self._remembered.pop(name, None)

    async def write(self, asked: updaterequests.UpdateRequest, status: Mapping[str, Any]) -> bool:
        """Write the status of a claimed request; False where somebody else has written it since, or it is gone.

        Raises:
            KubernetesError: It could not be written for another reason.
        """
        try:
            await self._write(asked.name, asked.uid, asked.version, status)
        except (errors.Conflict, errors.NotFound):
            return False
        return True

    async def _write(self, name: str, uid: str, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        patch = {"metadata": {"uid": uid, "resourceVersion": version}, "status": status}
        return await self._client.merge(
            resources.UPDATE_REQUESTS, name, patch, namespace=self._namespace, subresource="status"
        )
