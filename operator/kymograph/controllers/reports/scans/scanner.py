"""When objects are scanned, and for which policies.

All of them when this replica begins to lead and then every interval; those that a changed policy, or one with a changed
exception, may concern; and each object that changes, whether a webhook saw it or not. Objects are listed in pages, with
no body kept; between two short slices of work reviews are answered.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from kymograph.clients.kubernetes import discovery, errors, informer, resources
from kymograph.controllers import policies
from kymograph.controllers.reports import document, findings, permissions, queue
from kymograph.controllers.reports.scans import changes, coverage, examining, watch
from kymograph.controllers.reports.scans import index as indexes
from kymograph.controllers.reports.scans.metrics import ScanMetrics
from kymograph.controllers.reports.scans.progress import Progress
from kymograph.engine import needs
from kymograph.telemetry import semconv

logger = logging.getLogger(__name__)

SLICE = 4_000_000
"""Nanoseconds of work before a waiting review is let in."""

PAGES_PER_SECOND = 10.0
"""Lists of a hundred objects a second: ten thousand objects in ten seconds where there is nothing to write."""

CHANGED_PER_SECOND = 50.0
"""Changed objects read a second."""

SETTLE = 3.0
"""Seconds that objects are given to come to rest: a new Pod changes several times, and reviews report on it too."""

RETRY_AFTER = 10.0
"""Seconds until a scan that the API server broke off is begun again."""

ASK_AGAIN_AFTER = 300.0
"""Seconds until kinds that may not be listed are tried again: a right may have been granted."""

MOST_BATCHES = 100
"""Spans of batches in the trace of one scan; the trace of a scan of more objects does not grow further."""


class Cluster(informer.Source, Protocol):
    """What scans ask of a Kubernetes client."""

    async def get(
        self, resource: resources.Resource, name: str, *, namespace: str = "", metadata_only: bool = False
    ) -> dict[str, Any]:
        """One object."""


class Catalogues(Protocol):
    """Knows what the API server serves."""

    async def refresh(self) -> discovery.Catalogue:
        """Ask the API server again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Means:
    """What a scanner works with.

    Attributes:
        client: Lists, watches and reads.
        catalogues: What the API server serves.
        store: The policies.
        changes: What makes results different.
        examiner: Looks at objects.
        put: Hands findings to the writer, and waits while that has much to do.
        permitted: Which resources may be read.
        metrics: What is counted.
        progress: How far scans are.
        tracer: Where scans are traced.
        clock: Monotonic nanoseconds.
        wall_clock: Nanoseconds since the epoch.
        interval: Seconds between two scans of everything.
    """

    client: Cluster
    catalogues: Catalogues
    store: policies.PolicyStore
    changes: changes.Changes
    examiner: examining.Examiner
    put: Callable[[findings.Findings], Any]
    permitted: permissions.Permissions
    metrics: ScanMetrics
    progress: Progress
    tracer: trace.Tracer
    clock: Callable[[], int]
    wall_clock: Callable[[], int]
    interval: float


class Scanner:
    """Scans, as long as this replica leads; made anew each time that it begins to.

    Args:
        means: What it works with.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._covered: coverage.Coverage = {}
        self._watches: dict[resources.Resource, tuple[watch.Watch, asyncio.Task[None]]] = {}
        self._forbidden: set[resources.Resource] = set()
        self._news = asyncio.Event()
        self._pages = queue.Pace(PAGES_PER_SECOND)
        self._single = queue.Pace(CHANGED_PER_SECOND)

    @property
    def lag(self) -> float:
        """Seconds since the change of the object that is waiting longest."""
        waiting = [min(each.pending.values()) for each, _ in self._watches.values() if each.pending]
        return self._means.clock() / 1e9 - min(waiting) if waiting else 0.0

    async def run(self) -> None:
        """Scan until cancelled; nothing that the API server does ends it."""
        await self._means.store.complete.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._means.progress.publish())
            tasks.create_task(self._follow())
            try:
                await self._scan_when_due(tasks)
            finally:
                for _, task in self._watches.values():
                    task.cancel()

    async def _scan_when_due(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        changed: frozenset[str] | None = None
        due = loop.time()
        while True:
            taken = self._means.changes.take()
            changed = None if changed is None else changed | taken
            try:
                scanned = await self._scan(changed, tasks)
            except errors.KubernetesError as error:
                logger.warning("The scan was broken off and is begun again: %s", error)
                await asyncio.sleep(RETRY_AFTER)
                continue
            if changed is None:
                due = loop.time() + self._means.interval
            if scanned:
                self._means.progress.end(due - loop.time())
            changed = frozenset()
            again = min(due, loop.time() + ASK_AGAIN_AFTER) if self._forbidden else due
            try:
                async with asyncio.timeout_at(again):
                    await self._means.changes.settled()
            except TimeoutError:
                self._forbidden.clear()
                if loop.time() >= due:
                    changed = None

    async def _scan(self, changed: frozenset[str] | None, tasks: asyncio.TaskGroup) -> bool:
        """Scan for the policies with these keys, for all of them if None; in any case what was never scanned.

        Returns:
            Whether there was anything to scan.

        Raises:
            KubernetesError: It could not be done.
        """
        means = self._means
        catalogue = await means.catalogues.refresh()
        held = [each.compiled for each in means.store.held if each.compiled is not None]
        self._covered = covered = coverage.of(held, catalogue)
        self._end_watches()
        chosen = {}
        for resource, several in covered.items():
            new = resource not in self._watches and resource not in self._forbidden
            wanted = [each for each in several if changed is None or new or each.key in changed]
            if wanted and (new or changed is None or resource not in self._forbidden):
                chosen[resource] = wanted
        asked = frozenset(each.key for several in chosen.values() for each in several)
        if changed is not None:
            asked |= {each.key for each in held if each.key in changed and coverage.is_scanned(each)}
        if not asked:
            return False
        means.progress.begin({each: len(several) for each, several in covered.items()}, frozenset(chosen))
        reports = indexes.ReportIndex(asked)
        served = frozenset((each.group, each.kind) for each in catalogue.served)
        async for page in indexes.pages(means.client):
            for stored in page:
                reports.add(stored)
                await self._clear(stored, asked, served)
            await asyncio.sleep(0)
        for resource, wanted in chosen.items():
            elsewhere = self._keys_of_kind(resource)
            task = examining.Task(resource, wanted, asked - elsewhere, means.wall_clock())
            await self._scan_resource(task, reports, tasks)
        return True

    def _keys_of_kind(self, resource: resources.Resource) -> frozenset[str]:
        """The policies that may concern a kind, in whatever version."""
        return frozenset(
            each.key
            for other, several in self._covered.items()
            if (other.group, other.kind) == (resource.group, resource.kind)
            for each in several
        )

    async def _clear(self, stored: dict[str, Any], asked: frozenset[str], served: frozenset[tuple[str, str]]) -> None:
        """Have a report lose the results of policies that do not concern its kind of objects any more."""
        subject = document.subject_of(stored)
        if subject is None or (subject.group, subject.kind) not in served:
            return
        resource = next(
            (each for each in self._covered if (each.group, each.kind) == (subject.group, subject.kind)), None
        )
        stale = asked - (self._keys_of_kind(resource) if resource is not None else frozenset())
        told = {row.get("policy") for row in document.results_of(stored) if row.get("source") == findings.SOURCE}
        if stale & told:
            silent = findings.Found(None, self._means.wall_clock())
            await self._means.put(findings.Findings(subject, latest=dict.fromkeys(stale & told, silent)))

    async def _scan_resource(
        self, task: examining.Task, reports: indexes.ReportIndex, tasks: asyncio.TaskGroup
    ) -> None:
        means, resource = self._means, task.resource
        progress = means.progress.of(resource)
        progress.state = "scanning"
        held = self._watches.get(resource)
        follower = held[0] if held else watch.Watch(means.client, resource, lambda: means.clock() / 1e9, self._news)
        began = means.clock()
        keys: set[informer.Key] = set()
        with self._traced(task) as span:
            try:
                await self._read(task, reports, follower, keys)
            except errors.Forbidden as error:
                if not permissions.is_missing_right(error):
                    raise
                self._forbidden.add(resource)
                means.permitted.refused(resource)
                progress.state = "forbidden"
                span.set_attribute(semconv.SCAN_OBJECTS, 0)
                return
            except errors.NotFound:  # the kind has just been removed
                return
            span.set_attribute(semconv.SCAN_OBJECTS, progress.scanned)
            span.set_attribute(semconv.SCAN_NEWS, progress.news)
        progress.state = "scanned"
        follower.retain(frozenset(keys))
        if held is None:  # from here on: what has changed since it was listed differs from what was seen
            self._watches[resource] = follower, tasks.create_task(follower.run())
        means.metrics.lasted(resource.kind, (means.clock() - began) / 1e9)
        self._news.set()

    async def _read(
        self,
        task: examining.Task,
        reports: indexes.ReportIndex,
        follower: watch.Watch,
        keys: set[informer.Key],
    ) -> None:
        means, resource = self._means, task.resource
        progress = means.progress.of(resource)
        progress.objects = progress.scanned = progress.news = 0
        number = 0
        async for page in means.client.pages(resource):
            items = page.get("items") or []
            left = page["metadata"].get("remainingItemCount") or 0
            progress.objects = max(progress.scanned + len(items) + left, progress.objects)
            number += 1
            with self._batch(number):
                known = needs.Facts()
                began = means.clock()
                for item in items:
                    stored = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
                    follower.saw(stored)
                    keys.add(watch.key_of(stored))
                    outcome = await means.examiner.examine(task, stored, known, reports)
                    progress.scanned += 1
                    progress.news += outcome == examining.NEWS
                    if means.clock() - began > SLICE:
                        await asyncio.sleep(0)
                        began = means.clock()
            means.progress.went_on(resource)
            await self._pages.turn()

    async def _follow(self) -> None:
        """Look at objects that change, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(SETTLE)
            for follower, _ in tuple(self._watches.values()):
                several = self._covered.get(follower.resource, ())
                task = examining.Task(follower.resource, several, (), self._means.wall_clock())
                try:
                    await self._look_at_changed(follower, task)
                except errors.Forbidden as error:
                    logger.warning("Changed objects of kind %s wait for a scan: %s", follower.resource.kind, error)
                    follower.pending.clear()
                except errors.KubernetesError as error:
                    logger.warning("Changed objects of kind %s cannot be read: %s", follower.resource.kind, error)
                    await asyncio.sleep(RETRY_AFTER)
                    self._news.set()

    async def _look_at_changed(self, follower: watch.Watch, task: examining.Task) -> None:
        means, resource = self._means, task.resource
        known = needs.Facts()
        for namespace, name in tuple(follower.pending):
            await self._single.turn()
            try:
                item = await means.client.get(resource, name, namespace=namespace)
            except errors.NotFound:
                follower.pending.pop((namespace, name), None)
                continue
            stored = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
            follower.pending.pop((namespace, name), None)
            if follower.saw(stored):
                await means.examiner.examine(task, stored, known, None)

    def _end_watches(self) -> None:
        for resource in self._watches.keys() - self._covered.keys():
            _, task = self._watches.pop(resource)
            task.cancel()

    @contextlib.contextmanager
    def _traced(self, task: examining.Task) -> Iterator[trace.Span]:
        resource = task.resource
        with self._means.tracer.start_as_current_span(
            f"SCAN {resource.kind}",
            context=Context(),
            attributes={
                semconv.OBJECT_GROUP: resource.group,
                semconv.OBJECT_VERSION: resource.version,
                semconv.OBJECT_RESOURCE: resource.plural,
                semconv.OBJECT_KIND: resource.kind,
                semconv.SCAN_POLICIES: tuple(each.key for each in task.policies.policies),
            },
        ) as span:
            yield span

    @contextlib.contextmanager
    def _batch(self, number: int) -> Iterator[None]:
        if number > MOST_BATCHES:
            yield
            return
        with self._means.tracer.start_as_current_span("SCAN batch", attributes={semconv.SCAN_BATCH: number}):
            yield
