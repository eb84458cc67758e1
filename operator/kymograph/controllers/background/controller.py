"""The background controller: what requests and policies set off, done by the replica that leads."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from opentelemetry.trace import SpanContext, Tracer

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers import policies, redaction, steptraces
from kymograph.controllers.background import (
    applying,
    downstream,
    existingtriggers,
    facts,
    generating,
    kinds,
    leftovers,
    loops,
    metrics,
    mutating,
    notes,
    policychanges,
    policywork,
    queue,
    telling,
    triggers,
    watches,
    worker,
)
from kymograph.engine import exceptions
from kymograph.telemetry import roots
from kymograph.telemetry.instruments import labels
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

ASK_AGAIN_AFTER = 1.0
"""Seconds until an API server that does not say what it serves is asked again."""


class Cluster(worker.Cluster, downstream.Cluster, mutating.Cluster, Protocol):
    """What the controller asks of a Kubernetes client."""


class Background:
    """Applies generate rules, and mutate rules with targets.

    Args:
        client: Calls the API server.
        catalogues: What it serves.
        store: The policies.
        source: Answers what rules ask for, but for other objects.
        telemetry: Where work is traced and counted.
        namespace: The operator's own namespace.
        account: Gives the operator's own user name.
        excepted: Gives the PolicyExceptions of the moment.
        told: Tells users what came of work.
        deletable: Gives the resources of which the operator may list and delete objects in every namespace.
        clock: Monotonic nanoseconds.
        now: The time, by the API server's clock.
        most: Gives how many UpdateRequests there may be at once.
        compilation: The span of the latest compilation of a policy; None where that was not traced.
    """

    def __init__(
        self,
        client: Cluster,
        catalogues: kinds.Catalogues,
        store: policies.PolicyStore,
        source: facts.Source,
        telemetry: Telemetry,
        namespace: str,
        account: Callable[[], str],
        excepted: Callable[[], exceptions.Exceptions],
        told: telling.Telling,
        deletable: Callable[[], Awaitable[Iterable[resources.Resource]]],
        clock: Callable[[], int],
        now: Callable[[], dt.datetime],
        most: Callable[[], int],
        compilation: Callable[[policies.Key], SpanContext | None] = lambda _key: None,
    ) -> None:
        self._client = client
        self._catalogues = catalogues
        self._store = store
        self._answers = facts.Facts(source, client, catalogues, lambda: store.installation)
        self._telemetry = telemetry
        self._namespace = namespace
        self._account = account
        self._excepted = excepted
        self._told = told
        self._deletable = deletable
        self._clock = clock
        self._now = now
        self._most = most
        self._compilation = compilation
        self._changes = policychanges.PolicyChanges(store)
        self._worker: worker.Worker | None = None
        self._watches: watches.Watches | None = None
        store.listen(lambda _key, _held: self.look_again())
        telemetry.instruments.update_requests_listed.observe(lambda: [((namespace,), sum(self.waiting.values()))])

    @property
    def waiting(self) -> dict[str, int]:
        """How many UpdateRequests wait or are worked on here, by `queue.State`."""
        return self._worker.queue.states if self._worker is not None else dict.fromkeys(map(str, queue.State), 0)

    @property
    def age(self) -> float:
        """Seconds for which the oldest of them has been waiting."""
        return self._worker.queue.age if self._worker is not None else 0.0

    def look_again(self) -> None:
        """Policies or kinds have changed."""
        if self._watches is not None:
            self._watches.look_again()

    async def run(self) -> None:
        """Work until cancelled; for the leader. Each time it begins with what the cluster says.

        First comes what waits; what has to be looked for may take its time.
        """
        await self._store.complete.wait()
        client, catalogues, store = self._client, self._catalogues, self._store
        written = downstream.Downstream(client)
        session = self._now().isoformat()
        counted = self._telemetry.instruments
        ended, stopped, contested = (
            counted.update_requests,
            counted.update_requests_stopped,
            counted.generated_objects_contested,
        )
        tracer = self._telemetry.tracer_for("background")

        def hidden() -> redaction.Paths:
            return self._telemetry.redacted_paths

        steps = steptraces.StepTraces(tracer, self._telemetry.describe, self._clock, time.time_ns)
        applies = applying.Applying(
            store,
            triggers.Triggers(client, catalogues),
            generating.Generating(
                written,
                self._answers,
                catalogues,
                self._clock,
                self._excepted,
                steps,
                hidden,
                self._changes.is_moving,
            ),
            mutating.Mutating(client, self._answers, catalogues, self._clock, self._excepted, steps, hidden),
            loops.Chains(self._account, lambda: self._clock() / 1e9),
            self._told,
            tracer,
            lambda type_: stopped.bind((type_,)).add(),
            metrics.RuleMetrics(counted, store),
            contested.bind(()).add,
            hidden,
        )
        working = worker.Worker(
            client,
            self._namespace,
            applies,
            tracer,
            lambda type_, state: ended.bind(labels.Ended(type_, state)).add(),
            self._now,
            self._telemetry.work("update-request-controller"),
            self._most,
            self._telemetry.work("update-request-removal"),
        )
        noted = notes.Notes(client, self._namespace, working.room)
        left = leftovers.Leftovers(self._deletable, catalogues, store, written, noted, session, tracer)
        existing = existingtriggers.ExistingTriggers(
            client, catalogues, lambda: store.filters, self._answers, self._clock, self._excepted
        )
        following = policywork.PolicyWork(
            self._changes,
            store,
            catalogues,
            written,
            noted,
            left,
            existing,
            working.pending,
            session,
            tracer,
            self._compilation,
            self._telemetry.work("policy-controller"),
        )
        watching = watches.Watches(client, catalogues, store, written, noted, tracer)
        self._worker, self._watches = working, watching
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(working.run())
                await self._learn_kinds(tracer)
                tasks.create_task(watching.run())
                tasks.create_task(following.run())
        finally:
            self._worker = self._watches = None

    async def _learn_kinds(self, tracer: Tracer) -> None:
        """Have a catalogue as of now."""
        while True:
            try:
                with roots.root(tracer, "BACKGROUND discovery"):
                    await self._catalogues.refresh()
            except kubernetes_errors.KubernetesError as error:
                logger.warning("What the API server serves is not known, asking again: %s", error)
                await asyncio.sleep(ASK_AGAIN_AFTER)
            else:
                return
