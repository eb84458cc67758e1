"""The background controller: what requests and policies set off, done by the replica that leads."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from kymograph.clients.kubernetes import resources
from kymograph.controllers import policies
from kymograph.controllers.background import (
    applying,
    downstream,
    facts,
    generating,
    kinds,
    leftovers,
    loops,
    mutating,
    notes,
    policychanges,
    queue,
    telling,
    triggers,
    watches,
    worker,
)
from kymograph.engine import exceptions
from kymograph.telemetry.instruments import labels
from kymograph.telemetry.providers import Telemetry


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
    ) -> None:
        self._client = client
        self._catalogues = catalogues
        self._store = store
        self._answers = facts.Facts(source, client, catalogues)
        self._telemetry = telemetry
        self._namespace = namespace
        self._account = account
        self._excepted = excepted
        self._told = told
        self._deletable = deletable
        self._clock = clock
        self._now = now
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
        """Work until cancelled; for the leader. Each time it begins with what the cluster says."""
        await self._store.complete.wait()
        await self._catalogues.refresh()
        client, catalogues, store = self._client, self._catalogues, self._store
        written = downstream.Downstream(client)
        noted = notes.Notes(client, self._namespace)
        session = self._now().isoformat()
        left = leftovers.Leftovers(self._deletable, catalogues, store, written, noted, session)
        ended, stopped = (
            self._telemetry.instruments.update_requests,
            self._telemetry.instruments.update_requests_stopped,
        )
        tracer = self._telemetry.tracer_for("background")
        applies = applying.Applying(
            store,
            triggers.Triggers(client, catalogues),
            generating.Generating(written, self._answers, catalogues, self._clock, self._excepted),
            mutating.Mutating(client, self._answers, catalogues, self._clock, self._excepted),
            loops.Chains(self._account, lambda: self._clock() / 1e9),
            self._told,
            tracer,
            lambda type_: stopped.bind((type_,)).add(),
        )
        working = worker.Worker(
            client,
            self._namespace,
            applies,
            tracer,
            lambda type_, state: ended.bind(labels.Ended(type_, state)).add(),
            self._now,
            self._telemetry.work("update-request-controller"),
        )
        following = policychanges.PolicyWork(
            self._changes,
            store,
            client,
            catalogues,
            written,
            noted,
            left,
            working.pending,
            self._answers,
            self._clock,
            self._excepted,
            session,
        )
        watching = watches.Watches(client, catalogues, store, written, noted)
        self._worker, self._watches = working, watching
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(working.run())
                tasks.create_task(watching.run())
                tasks.create_task(following.run())
        finally:
            self._worker = self._watches = None
