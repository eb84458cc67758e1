"""Whether API servers reach the webhooks: asked of the API server itself, before it is told to fail without an answer.

A Lease is written every few seconds, and a webhook of ours is asked about each of these writes. It notes the time in
the Lease, so that who wrote it sees in the answer whether the API server came through: certificate, Service, network
policy and all. Kyverno has the same Lease, and believes its own writes.

Without an answer nothing is taken back: a policy that fails closed was meant to. Nothing is added either.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from kymograph.apimachinery import jsonpatch
from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.admission import server, webhooknames
from kymograph.model import admission

logger = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two writes of the Lease."""

RETRY_FIRST = 0.05
RETRY_MOST = 2.0
"""Seconds until the next write while nobody has come through: API servers hear of a webhook within moments."""

LASTS = 100.0
"""Seconds that having been reached counts, as in Kyverno."""


class Leases(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """An object; raises NotFound where there is none."""

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Create an object."""

    async def update(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Replace an object; raises Conflict where its resourceVersion is not the latest."""


class Reachability:
    """Writes the Lease, and answers when the API server asks about it.

    Args:
        client: Reads and writes it, untraced.
        namespace: The operator's own namespace.
        names: What Lease and annotation are called.
        identity: Who we are.
        now: The time for people, RFC 3339 with microseconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        client: Leases,
        namespace: str,
        names: webhooknames.Names,
        identity: str,
        now: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._names = names
        self._identity = identity
        self._now = now
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._reached_at: float | None = None
        self._complained = False

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function when API servers begin to reach us."""
        self._listeners.append(listener)

    @property
    def reached(self) -> bool:
        """Whether an API server has come through lately."""
        return self._reached_at is not None and self._clock() < self._reached_at + LASTS

    async def run(self) -> None:
        """Write the Lease until cancelled; nothing that the API server does ends it."""
        wait = RETRY_FIRST
        while True:
            began = self._clock()
            try:
                came_through, why = await self._try(), "it does not call the webhook"
            except errors.KubernetesError as error:
                came_through, why = False, str(error)
            if came_through:
                before, self._reached_at = self.reached, began
                if not before:
                    logger.info("The API server reaches the webhooks")
                    for listener in self._listeners:
                        listener()
                self._complained = False
                wait = RETRY_FIRST
                await asyncio.sleep(EVERY)
                continue
            if wait >= RETRY_MOST and not self._complained:
                self._complained = True
                logger.warning("The API server does not reach the webhooks, so no policy gets new ones: %s", why)
            await asyncio.sleep(wait)
            wait = min(wait * 2, RETRY_MOST)

    def answer(self, http: server.Request) -> server.Answer:
        """Answer a review of the Lease: allowed, with the time noted in it."""
        try:
            request = admission.request_of(orjson.loads(http.body))
        except ValueError as error:
            return server.Response(400, orjson.dumps({"error": f"malformed_review: {error}"}))
        before = request.get("object") or {}
        metadata = before.get("metadata") or {}
        annotations = {**(metadata.get("annotations") or {}), self._names.reached: self._now()}
        operations = jsonpatch.make(before, {**before, "metadata": {**metadata, "annotations": annotations}})
        return orjson.dumps(admission.response(request["uid"], allowed=True, patch=orjson.dumps(operations)))

    async def _try(self) -> bool:
        """Write the Lease; whether the API server asked us about that."""
        try:
            lease = await self._client.get(resources.LEASES, self._names.lease, namespace=self._namespace)
        except errors.NotFound:
            lease = await self._client.create(resources.LEASES, self._first(), namespace=self._namespace)
        metadata = lease["metadata"]
        before = (metadata.get("annotations") or {}).get(self._names.reached)
        written = await self._client.update(
            resources.LEASES,
            {
                **lease,
                "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **self._names.labels}},
                "spec": {**(lease.get("spec") or {}), "holderIdentity": self._identity, "renewTime": self._now()},
            },
            namespace=self._namespace,
        )
        after = (written["metadata"].get("annotations") or {}).get(self._names.reached)
        return after is not None and after != before

    def _first(self) -> dict[str, Any]:
        return {
            "apiVersion": resources.LEASES.api_version,
            "kind": resources.LEASES.kind,
            "metadata": {"name": self._names.lease, "namespace": self._namespace, "labels": dict(self._names.labels)},
            "spec": {"leaseDurationSeconds": int(LASTS)},
        }
