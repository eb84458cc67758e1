"""Keeps the webhook configurations in the cluster equal to what the policies need.

Reconciled when policies, what the API server serves, or the CA change, when somebody touches a configuration of ours,
and now and then in any case. Bursts of changes become one write.

One replica writes, another may have written last: what was written counts until something else is seen.

Webhooks for resources may fail closed, so they are written only while API servers reach us. What the API server refuses
in one webhook (a match condition that is no CEL) costs that webhook alone.
"""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import kopf
from opentelemetry.trace import SpanContext

from kymograph.clients.kubernetes import discovery, errors, resources
from kymograph.controllers import policies
from kymograph.controllers.admission import webhooknames, webhookrules, webhooks
from kymograph.telemetry import roots, work
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

RESYNC_EVERY = 60.0
RETRY_AFTER = 1.0
UNRESOLVED_EVERY = 5.0
"""Seconds: until all is compared again; until a failed write is tried again; until unknown kinds are looked up."""

_INVALID = 422
"""The status of an object that is refused for what it says."""

MOST_CAUSES = 16
"""Spans that a write which is tried again is linked to."""

SETTLE = 0.02
"""Seconds that a burst of changes is given to end before one write answers it."""

CALM = 0.5
"""Seconds after a write in which a change may belong to a burst; a later one is answered at once."""

_KINDS = {
    resource.kind: resource
    for resource in (resources.VALIDATING_WEBHOOK_CONFIGURATIONS, resources.MUTATING_WEBHOOK_CONFIGURATIONS)
}


class Writer(Protocol):
    """What registration asks of a Kubernetes client."""

    async def apply(
        self, resource: resources.Resource, document: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Apply the fields of a document as ours, or only see whether that could be done."""

    async def delete(self, resource: resources.Resource, name: str) -> None:
        """Delete an object; raises NotFound where there is none."""


class Registration:
    """Writes the webhook configurations.

    Args:
        client: Writes with the operator's identity.
        store: The policies.
        catalogues: What the API server serves.
        telemetry: Where each write is traced.
        wishes: Gives what the installation wants of the configurations at this moment.
        reached: Whether API servers reach us, as far as is known at this moment.
        causes: The spans of what has changed since this was asked for the last time.
    """

    def __init__(
        self,
        client: Writer,
        store: policies.PolicyStore,
        catalogues: discovery.Catalogues,
        telemetry: Telemetry,
        wishes: Callable[[], webhooks.Wishes] = lambda: webhooks.NOTHING,
        reached: Callable[[], bool] = lambda: True,
        causes: Callable[[], Sequence[SpanContext]] = tuple,
    ) -> None:
        self._client = client
        self._wishes = wishes
        self._reached = reached
        self._causes = causes
        self._because: Sequence[SpanContext] = ()
        self._store = store
        self._telemetry = telemetry
        self._address: webhooks.Address | None = None
        self._catalogues = catalogues
        self._counted = telemetry.work("webhook-controller")
        self._dirty = work.Signal(self._counted)
        self._rediscover = True
        self._written: dict[str, tuple[str | None, Mapping[str, Any]]] = {}
        self._touched: dict[str, str | None] = {}
        self._authorities: dict[str, tuple[bytes, ...]] = {}
        self._refused: dict[str, str] = {}
        self._told: dict[str, str] = {}  # versions: a resync that changes nothing is not told of
        self._covered = -1
        self._introduced = asyncio.Event()
        self._progress = asyncio.Condition()
        store.listen(lambda _key, _held: self._dirty.set())

    @property
    def registered(self) -> bool:
        """Whether this replica has told API servers of the webhooks that prove it can be reached, at least once."""
        return self._introduced.is_set()

    @property
    def current(self) -> bool:
        """Whether this replica has told API servers of all policies that are held, as they are."""
        return self._covered >= self._store.policies.generation

    async def introduced(self) -> None:
        """Wait until API servers have been told how to reach us."""
        await self._introduced.wait()

    async def covers(self, generation: int) -> None:
        """Wait until this replica has made the configurations those of a generation of the policies, or a later one."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._covered >= generation)

    async def trusts(self, authority: bytes) -> None:
        """Wait until every configuration of ours that is in the cluster trusts a CA (PEM), whoever writes them."""
        certificate = authority.strip()
        async with self._progress:
            await self._progress.wait_for(
                lambda: all(certificate in bundle for bundles in self._authorities.values() for bundle in bundles)
            )

    def address(self, address: webhooks.Address) -> None:
        """The webhook server is (now) reached like this."""
        self._address = address
        self._dirty.set()

    def look_again(self) -> None:
        """What the installation wants, or whether we are reached, has changed."""
        self._dirty.set()

    def kinds_changed(self) -> None:
        """A CustomResourceDefinition came or went: look again at what is served."""
        self._rediscover = True
        self._dirty.set()

    def touched(self, name: str, version: str | None) -> None:
        """A configuration was changed, or deleted (no version); written again unless that was our doing."""
        self._touched[name] = version
        if name in self._written and self._written[name][0] != version:
            del self._written[name]
            self._dirty.set()

    async def seen(self, name: str, webhooks_seen: Iterable[Mapping[str, Any]]) -> None:
        """A configuration has these webhooks now; none when it is gone."""
        bundles = (each["clientConfig"].get("caBundle") or "" for each in webhooks_seen)
        self._authorities[name] = tuple(map(base64.b64decode, bundles))
        async with self._progress:
            self._progress.notify_all()

    async def run(self) -> None:
        """Reconcile until cancelled. May be run again: what was written before is not believed to be there still."""
        await self._store.complete.wait()
        with self._counted.attending():
            await self._keep_reconciled()

    async def _keep_reconciled(self) -> None:
        self._written.clear()
        self._covered = -1
        self._rediscover = True
        self._dirty.set()
        clock = asyncio.get_running_loop().time
        wait, resync_at, failures = RESYNC_EVERY, clock() + RESYNC_EVERY, 0
        calm_at = clock() + CALM
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self._dirty.wait()
            except TimeoutError:
                self._rediscover = True
            if clock() >= resync_at:
                self._written.clear()
                resync_at = clock() + RESYNC_EVERY
            if clock() < calm_at:
                await asyncio.sleep(SETTLE)
            self._dirty.clear()
            if self._address is None:
                continue
            self._because = (*self._because, *self._causes())[-MOST_CAUSES:]
            try:
                with self._counted.reconciling():
                    missing = await self._reconcile(self._address)
                wait, failures = UNRESOLVED_EVERY if missing else RESYNC_EVERY, 0
                self._because = ()
            except errors.KubernetesError as error:
                logger.warning("The webhook configurations cannot be written, trying again: %s", error)
                wait = RETRY_AFTER
                failures += 1
                self._counted.requeued(failures)
            calm_at = clock() + CALM

    async def _reconcile(self, address: webhooks.Address) -> set[str]:
        held = self._store.policies
        compiled = held.policies
        if self._rediscover:
            self._rediscover = False
            try:
                with roots.root(self._telemetry.tracer_for("admission"), "ADMISSION discovery", causes=self._because):
                    await self._catalogues.refresh()
            except errors.KubernetesError:
                self._rediscover = True
                raise
        catalogue, wishes = self._catalogues.current, self._wishes()
        names = wishes.names
        await self._ensure(webhooks.VALIDATING, names.policies, webhooks.policy_configuration(address, wishes))
        reachability = webhooks.reachability_configuration(address, wishes)
        await self._ensure(webhooks.MUTATING, names.reachability, reachability)
        self._introduced.set()
        if not self._reached() and not self._distrusted(address, names):
            return set()
        validation = webhooks.resource_configuration(compiled, catalogue, address, wishes)
        await self._ensure(webhooks.VALIDATING, names.validation, validation)
        mutation = webhooks.mutation_configuration(compiled, catalogue, address, wishes)
        await self._ensure(webhooks.MUTATING, names.mutation, mutation)
        await self._ensure(webhooks.VALIDATING, names.ttl, webhooks.ttl_configuration(address, wishes))
        for kind, name in webhooks.superseded(names):
            await self._ensure(kind, name, None)
        async with self._progress:
            self._covered = held.generation
            self._progress.notify_all()
        return webhookrules.unresolved(compiled, catalogue)

    def _distrusted(self, address: webhooks.Address, names: webhooknames.Names) -> bool:
        """Whether webhooks that are there trust another authority than ours: only a write can mend that."""
        held = (bundle for name in (names.validation, names.mutation) for bundle in self._authorities.get(name, ()))
        return any(bundle != address.ca_pem for bundle in held)

    async def _ensure(self, kind: str, name: str, wanted: Mapping[str, Any] | None) -> None:
        resource = _KINDS[kind]
        written = self._written.get(name)
        if written is not None and written[1] == (wanted or {}):
            return
        tracer = self._telemetry.tracer_for("admission")
        with roots.root(tracer, f"ADMISSION webhook configuration {name}", causes=self._because):
            if wanted is not None:
                self._touched.pop(name, None)
                document = await self._apply(resource, wanted)
                version = document["metadata"]["resourceVersion"]
                self._written[name] = (version, wanted)
                self.touched(name, self._touched.get(name, version))  # while we wrote: before us or after, who knows
                changed = self._told.get(name) != version
                self._told[name] = version
                logger.log(logging.INFO if changed else logging.DEBUG, "Webhook configuration %s written", name)
                return
            try:
                await self._client.delete(resource, name)
                logger.info("Webhook configuration %s removed: no policy needs it", name)
            except errors.NotFound:
                pass
            self._written[name] = (None, {})
            self._told.pop(name, None)

    async def _apply(self, resource: resources.Resource, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Write a configuration; one webhook that is refused is left out rather than all of them."""
        try:
            document = await self._client.apply(resource, wanted)
        except errors.StatusError as error:
            if error.code != _INVALID:
                raise
        else:
            self._refused.clear()
            return document
        taken = [each for webhook in wanted["webhooks"] async for each in self._taken(resource, wanted, webhook)]
        return await self._client.apply(resource, {**wanted, "webhooks": taken})

    async def _taken(
        self, resource: resources.Resource, wanted: Mapping[str, Any], webhook: Mapping[str, Any]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """What the API server takes of a webhook: it, or it without conditions unless they are a policy's, or nothing.

        Without the installation's conditions more is asked about; without a policy's it would be about what it is not.

        Raises:
            StatusError: One that several policies share is refused either way, and what is there stays.
        """
        forms = [webhook]
        shared = webhooks.FINE_GRAINED not in str(webhook["clientConfig"])
        if shared and "matchConditions" in webhook:
            forms.append({key: value for key, value in webhook.items() if key != "matchConditions"})
        for form in forms:
            try:
                await self._client.apply(resource, {**wanted, "webhooks": [form]}, dry_run=True)
            except errors.StatusError as error:
                if error.code != _INVALID or (shared and form is forms[-1]):
                    raise
                self._tell(str(webhook["name"]), error.message, shared=shared)
            else:
                yield form
                return

    def _tell(self, name: str, reason: str, *, shared: bool) -> None:
        if self._refused.get(name) != reason:
            self._refused[name] = reason
            done = "without the ConfigMap's conditions" if shared else "never, so that its policy is not enforced"
            logger.error("Webhook %s is refused and written %s: %s", name, done, reason)


def register(registry: kopf.OperatorRegistry, registration: Registration, labels: Mapping[str, str]) -> None:
    """Have Kopf tell of changes to our configurations, which have these labels."""

    async def configuration_event(event: Mapping[str, Any], **_: Any) -> None:
        document, metadata = event["object"], event["object"]["metadata"]
        deleted = event["type"] == "DELETED"
        registration.touched(metadata["name"], None if deleted else metadata["resourceVersion"])
        await registration.seen(metadata["name"], () if deleted else document.get("webhooks") or ())

    for resource in _KINDS.values():
        kopf.on.event(
            resource.group,
            resource.version,
            resource.plural,
            id=f"watch-{resource.plural}",
            labels=labels,
            registry=registry,
        )(configuration_event)
