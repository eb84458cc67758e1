"""Keeps an informer for each kind that may be cleaned up, and none for any other.

What may be is read again every minute and when kinds come or go. Informers ask for the metadata of labelled objects
only; where nothing may be deleted nothing is listed, not even what the API server serves.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from opentelemetry import trace

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery, errors, informer, resources
from kymograph.controllers.cleanup import clock as clocks
from kymograph.controllers.cleanup import deletions, grants, ttl
from kymograph.telemetry import roots, work

logger = logging.getLogger(__name__)

RESYNC_EVERY = 60.0
RETRY_AFTER = 5.0
"""Seconds: until rights and kinds are read again; until that is tried again when the API server did not answer."""

SETTLE = 1.0
"""Seconds that a burst of changed kinds is given to end: CustomResourceDefinitions are installed by the dozen."""

ESTABLISHED_AFTER = 5.0
"""Seconds after which kinds are looked at once more: they are served some time after their definition appears."""

FIRST_LIST = 1.0
"""Seconds an informer has for its first list before the next starts: sixty lists at once would crowd out reviews."""

Changed = Callable[[deletions.Target, ttl.Labelled | None], None]


class Watches:
    """Informers for what may be cleaned up.

    Args:
        client: Asks with the operator's identity.
        catalogues: What the API server serves.
        tracer: For a root span per resync.
        clock: For waiting.
        changed: Told of every labelled object, and when one is gone or no longer watched.
        counted: Where resyncs are counted.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        catalogues: discovery.Catalogues,
        tracer: trace.Tracer,
        clock: clocks.Clock,
        changed: Changed,
        counted: work.Work,
    ) -> None:
        self._client = client
        self._catalogues = catalogues
        self._tracer = tracer
        self._clock = clock
        self._changed = changed
        self._counted = counted
        self._running: dict[resources.Resource, tuple[informer.Informer, asyncio.Task[None]]] = {}
        self._dirty = asyncio.Event()

    @property
    def watched(self) -> frozenset[resources.Resource]:
        """What is watched right now; may be asked from any thread."""
        return frozenset(tuple(self._running))

    def look_again(self) -> None:
        """Kinds or rights may have changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._keep_true(tasks)
        finally:
            self._running.clear()

    async def _keep_true(self, tasks: asyncio.TaskGroup) -> None:
        wait = RESYNC_EVERY
        while True:
            try:
                wanted = await self._wanted()
            except errors.KubernetesError as error:
                logger.warning("What may be cleaned up cannot be found out, trying again: %s", error)
                wait = min(wait, RETRY_AFTER)
            else:
                await self._watch(wanted, tasks)
            wait = await self._until_next(wait)

    async def _until_next(self, wait: float) -> float:
        """Wait until it is time to look again; returns how long to wait after that."""
        if not await self._clock.wait(self._dirty, wait):
            return RESYNC_EVERY
        await self._clock.sleep(SETTLE)
        self._dirty.clear()
        return ESTABLISHED_AFTER

    async def _wanted(self) -> frozenset[resources.Resource]:
        with self._counted.reconciling(), roots.root(self._tracer, "CLEANUP resync"):
            granted = await grants.read(self._client)
            if not granted:
                return frozenset()
            return grants.cleanable(await self._catalogues.refresh(), granted)

    async def _watch(self, wanted: frozenset[resources.Resource], tasks: asyncio.TaskGroup) -> None:
        for resource in self.watched - wanted:
            self._stop(resource)
        for resource in sorted(wanted - self.watched, key=lambda new: (new.group, new.plural)):
            await self._start(resource, tasks)

    async def _start(self, resource: resources.Resource, tasks: asyncio.TaskGroup) -> None:
        def changed(key: informer.Key, labelled: Any) -> None:
            self._changed(deletions.Target(resource, *key), labelled)

        started = informer.Informer(
            self._client, resource, label_selector=ttl.LABEL, metadata_only=True, project=ttl.read, changed=changed
        )
        self._running[resource] = started, tasks.create_task(started.run())
        logger.info("Watching the label %s of %s", ttl.LABEL, _full_name(resource))
        await self._clock.wait(started.synced, FIRST_LIST)

    def _stop(self, resource: resources.Resource) -> None:
        stopped, task = self._running.pop(resource)
        task.cancel()
        for namespace, name in stopped.objects:
            self._changed(deletions.Target(resource, namespace, name), None)
        logger.info("No longer watching the label %s of %s", ttl.LABEL, _full_name(resource))


def _full_name(resource: resources.Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural
