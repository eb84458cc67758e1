"""The certificate Secret in the cluster, as the certificates' manager reads and writes it."""

from collections.abc import Mapping

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors, resources
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
        return certificates.Stored(document.get("data") or {}, document["metadata"]["resourceVersion"])

    async def write(self, data: Mapping[str, str], version: str | None) -> None:
        """Create the Secret (no version), or replace the one of that version.

        Raises:
            Conflict: It was created or changed by somebody else.
        """
        metadata = {"name": NAME, "namespace": self._namespace, "labels": {"app.kubernetes.io/managed-by": "kymograph"}}
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata if version is None else {**metadata, "resourceVersion": version},
            "type": "Opaque",
            "data": dict(data),
        }
        try:
            if version is None:
                await self._client.create(resources.SECRETS, document, namespace=self._namespace)
            else:
                await self._client.update(resources.SECRETS, document, namespace=self._namespace)
        except (errors.Conflict, errors.NotFound) as error:
            raise certificates.Conflict(str(error)) from error
