"""The certificate Secret in the cluster, as the certificates' manager reads and writes it."""

from collections.abc import Callable, Mapping
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors, informer, resources
from kymograph.runtime import certificates

NAME = "kymograph-tls"
"""The Secret that holds the operator's CA and serving certificate; the role grants this name and no other."""


class SecretStore:
    """Reads and writes the Secret; a write meets a Conflict where another replica was faster.

    Args:
        client: Reads and writes with the operator's identity.
        namespace: The operator's own namespace.
    """

    def __init__(self, client: clients.KubernetesClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def read(self) -> certificates.Stored | None:
        """What the Secret holds, or None where there is none."""
        try:
            document = await self._client.get(resources.SECRETS, NAME, namespace=self._namespace)
        except errors.NotFound:
            return None
        metadata = document["metadata"]
        return certificates.Stored(
            document.get("data") or {}, metadata["resourceVersion"], metadata.get("annotations") or {}
        )

    def watch(self, changed: Callable[[], None]) -> informer.Informer:
        """An informer that tells when the Secret was made, changed or deleted."""
        return informer.Informer(
            self._client,
            resources.SECRETS,
            namespace=self._namespace,
            field_selector=f"metadata.name={NAME}",
            metadata_only=True,
            project=lambda document: document["metadata"]["resourceVersion"],
            changed=lambda _key, _version: changed(),
        )

    async def write(self, data: Mapping[str, str], annotations: Mapping[str, str], version: str | None) -> None:
        """Create the Secret (no version), or change the one of that version.

        Raises:
            Conflict: It was created, changed or deleted by somebody else.
            KubernetesError: It cannot be written; NotFound where there is no such namespace.
        """
        metadata: dict[str, Any] = {"annotations": dict(annotations)}
        try:
            if version is None:
                await self._create(metadata, data)
            else:
                patch = {"metadata": {**metadata, "resourceVersion": version}, "data": dict(data)}
                await self._change(patch)
        except errors.Conflict as error:
            raise certificates.Conflict(str(error)) from error

    async def _create(self, metadata: Mapping[str, Any], data: Mapping[str, str]) -> None:
        labels = {"app.kubernetes.io/managed-by": "kymograph"}
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "name": NAME, "namespace": self._namespace, "labels": labels},
            "type": "Opaque",
            "data": dict(data),
        }
        await self._client.create(resources.SECRETS, document, namespace=self._namespace)

    async def _change(self, patch: Mapping[str, Any]) -> None:
        try:
            await self._client.merge(resources.SECRETS, NAME, patch, namespace=self._namespace)
        except errors.NotFound as error:
            raise certificates.Conflict(str(error)) from error
