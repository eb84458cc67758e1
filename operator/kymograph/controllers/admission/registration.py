"""Keeps the webhook configurations in the cluster equal to what the policies need.

Reconciled when policies, what the API server serves, or the CA change, when somebody touches a configuration of ours,
and now and then in any case. Bursts of changes become one write.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import kopf
from opentelemetry.trace import SpanKind

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery, errors, resources
from kymograph.controllers import policies
from kymograph.controllers.admission import webhooks
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

RESYNC_EVERY = 60.0
RETRY_AFTER = 1.0
UNRESOLVED_EVERY = 5.0
"""Seconds: until all is compared again; until a failed write is tried again; until unknown kinds are looked up."""

SETTLE = 0.02
"""Seconds that a burst of changes is given to end before one write answers it."""

_CONFIGURATIONS = resources.VALIDATING_WEBHOOK_CONFIGURATIONS


class Registration:
    """Writes the webhook configurations.

    Args:
        client: Writes with the operator's identity.
        store: The policies.
        catalogues: What the API server serves.
        telemetry: Where each reconciliation is traced.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        store: policies.PolicyStore,
        catalogues: discovery.Catalogues,
        telemetry: Telemetry,
    ) -> None:
        self._client = client
        self._store = store
        self._telemetry = telemetry
        self._address: webhooks.Address | None = None
        self._catalogues = catalogues
        self._dirty = asyncio.Event()
        self._rediscover = True
        self._written: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._covered = -1
        self._progress = asyncio.Condition()
        store.listen(lambda _key, _held: self._dirty.set())

    @property
    def registered(self) -> bool:
        """Whether the configurations have been written at least once."""
        return self._covered >= 0

    async def covers(self, generation: int) -> None:
        """Wait until the configurations are those of a generation of the policies, or of a later one."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._covered >= generation)

    def address(self, address: webhooks.Address) -> None:
        """The webhook server is (now) reached like this."""
        self._address = address
        self._dirty.set()

    def kinds_changed(self) -> None:
        """A CustomResourceDefinition came or went: look again at what is served."""
        self._rediscover = True
        self._dirty.set()

    def touched(self, name: str, version: str | None) -> None:
        """A configuration was changed; written again unless the change was ours."""
        if name in self._written and self._written[name][0] != version:
            del self._written[name]
            self._dirty.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._store.complete.wait()
        self._dirty.set()
        wait = RESYNC_EVERY
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self._dirty.wait()
            except TimeoutError:
                self._rediscover = True
                self._written.clear() if wait == RESYNC_EVERY else None
            await asyncio.sleep(SETTLE)
            self._dirty.clear()
            if self._address is None:
                continue
            try:
                missing = await self._reconcile(self._address)
                wait = UNRESOLVED_EVERY if missing else RESYNC_EVERY
            except errors.KubernetesError as error:
                logger.warning("The webhook configurations cannot be written, trying again: %s", error)
                wait = RETRY_AFTER

    async def _reconcile(self, address: webhooks.Address) -> set[str]:
        held = self._store.policies
        compiled = held.policies
        if self._rediscover:
            await self._catalogues.refresh()
            self._rediscover = False
        catalogue = self._catalogues.current
        await self._ensure(webhooks.POLICY_CONFIGURATION, webhooks.policy_configuration(address))
        wanted = webhooks.resource_configuration(compiled, catalogue, address)
        await self._ensure(webhooks.RESOURCE_CONFIGURATION, wanted)
        async with self._progress:
            self._covered = held.generation
            self._progress.notify_all()
        return webhooks.unresolved(compiled, catalogue)

    async def _ensure(self, name: str, wanted: Mapping[str, Any] | None) -> None:
        written = self._written.get(name)
        if written is not None and written[1] == (wanted or {}):
            return
        with self._telemetry.tracer.start_as_current_span(
            f"ADMISSION webhook configuration {name}", kind=SpanKind.INTERNAL
        ):
            if wanted is not None:
                document = await self._client.apply(_CONFIGURATIONS, wanted)
                self._written[name] = (document["metadata"]["resourceVersion"], wanted)
                logger.info("Webhook configuration %s written", name)
                return
            try:
                await self._client.delete(_CONFIGURATIONS, name)
                logger.info("Webhook configuration %s removed: no policy needs it", name)
            except errors.NotFound:
                pass
            self._written[name] = ("", {})


def register(registry: kopf.OperatorRegistry, registration: Registration) -> None:
    """Have Kopf tell of changes to our configurations."""

    @kopf.on.event(
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        id="watch-webhook-configurations",
        labels=webhooks.MANAGED_BY,
        registry=registry,
    )
    async def configuration_event(event: Mapping[str, Any], **_: Any) -> None:
        metadata = event["object"]["metadata"]
        version = None if event["type"] == "DELETED" else metadata["resourceVersion"]
        registration.touched(metadata["name"], version)
