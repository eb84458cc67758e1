"""The Lease in the cluster that says which replica leads, as leadership reads and writes it.

Only the record is read here. Whether it still counts is for leadership to say, by its own clock: the times that stand
in a Lease were written by somebody else's and are for people.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors, informer, resources
from kymograph.runtime import leadership


class LeaseLock:
    """Reads and writes one Lease (coordination.k8s.io/v1); a write meets a Conflict where another replica was faster.

    Args:
        client: Calls with the operator's identity. Renewals come every two seconds for good: give it a client that
            does not trace them.
        namespace: The operator's own namespace.
        name: The Lease's name.
        now: The time that is shown to people.
    """

    def __init__(
        self, client: clients.KubernetesClient, namespace: str, name: str, now: Callable[[], dt.datetime]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._now = now

    async def read(self) -> leadership.Record | None:
        """The record, or None where there is no Lease."""
        try:
            document = await self._client.get(resources.LEASES, self._name, namespace=self._namespace)
        except errors.NotFound:
            return None
        return _record(document)

    async def write(self, record: leadership.Record) -> leadership.Record:
        """Create the Lease (a record without version), or replace the one of that version.

        Returns:
            The record as it is stored.

        Raises:
            Conflict: It was created, changed or deleted by somebody else.
        """
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": record.seconds,
            "acquireTime": record.acquired or now,
            "renewTime": now,
            "leaseTransitions": record.transitions,
        }
        document: dict[str, Any] = {
            "apiVersion": resources.LEASES.api_version,
            "kind": resources.LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        try:
            if not record.version:
                return _record(await self._client.create(resources.LEASES, document, namespace=self._namespace))
            document["metadata"]["resourceVersion"] = record.version
            return _record(await self._client.update(resources.LEASES, document, namespace=self._namespace))
        except (errors.Conflict, errors.NotFound) as error:
            raise leadership.Conflict(str(error)) from error

    def watch(self, noticed: Callable[[leadership.Record | None], None]) -> informer.Informer:
        """An informer that tells every change of the record; None when the Lease is gone."""
        return informer.Informer(
            self._client,
            resources.LEASES,
            namespace=self._namespace,
            field_selector=f"metadata.name={self._name}",
            project=_record,
            changed=lambda _key, record: noticed(record),
        )


def _record(document: dict[str, Any]) -> leadership.Record:
    spec = document.get("spec") or {}
    return leadership.Record(
        holder=spec.get("holderIdentity") or "",
        seconds=int(spec.get("leaseDurationSeconds") or 0),
        acquired=spec.get("acquireTime") or "",
        renewed=spec.get("renewTime") or "",
        transitions=int(spec.get("leaseTransitions") or 0),
        version=document["metadata"]["resourceVersion"],
    )
