"""When objects are scanned, and for which policies.

All of them when this replica begins to lead and then every interval; those that a changed policy, or one with a changed
exception, may concern; and each object that changes, whether a webhook saw it or not. Objects are listed in pages, with
no body kept; between two short slices of work reviews are answered.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from opentelemetry import trace

from kymograph.clients.kubernetes import discovery, errors, informer, resources
from kymograph.controllers import backoff, policies
from kymograph.controllers.reports import document, findings, forms, permissions, queue
from kymograph.controllers.reports.scans import changes, coverage, examining, policystatus, tracing, watch
from kymograph.controllers.reports.scans import index as indexes
from kymograph.controllers.reports.scans.metrics import ScanMetrics
from kymograph.controllers.reports.scans.progress import Progress
from kymograph.engine import needs
from kymograph.engine.policy import CompiledPolicy
from kymograph.telemetry import roots, semconv

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
"""Seconds until kinds that may not be listed are tried again: a right may have been granted. Those that cannot be are
tried after `RETRY_AFTER`, and then twice as late each time until it is as much."""

MOST_NAMESPACES = 32
"""Namespaces with changed labels whose objects are listed apart; for more of them all objects are."""


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
        put: Hands findings to the writer.
        room: Waits while that has much to do.
        form: The API that reports are written in.
        reported: Which policies and rules are reported on.
        permitted: Which resources may be read.
        metrics: What is counted.
        progress: How far scans are.
        statuses: The same for each policy.
        traces: Where scans are traced.
        clock: Monotonic nanoseconds.
        wall_clock: Nanoseconds since the epoch.
        interval: Seconds between two scans of everything.
    """

    client: Cluster
    catalogues: Catalogues
    store: policies.PolicyStore
    changes: changes.Changes
    examiner: examining.Examiner
    put: Callable[[findings.Findings], None]
    room: Callable[[], Awaitable[None]]
    form: forms.Form
    reported: document.Reported
    permitted: permissions.Permissions
    metrics: ScanMetrics
    progress: Progress
    statuses: policystatus.PolicyScans
    traces: tracing.Traces
    clock: Callable[[], int]
    wall_clock: Callable[[], int]
    interval: float


class _Unlisted(NamedTuple):
    """A kind that was not listed: how often in a row, and when it is tried again, on the clock of the event loop."""

    failures: int = 0
    again: float = 0.0


class Scanner:
    """Scans, as long as this replica leads; made anew each time that it begins to.

    Args:
        means: What it works with.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._covered: coverage.Coverage = {}
        self._watches: dict[resources.Resource, tuple[watch.Watch, asyncio.Task[None]]] = {}
        self._unlisted: dict[resources.Resource, _Unlisted] = {}
        self._news = asyncio.Event()
        self._pages = queue.Pace(PAGES_PER_SECOND)
        self._single = queue.Pace(CHANGED_PER_SECOND)

    @property
    def lag(self) -> float:
        """Seconds since the change of the object that is waiting longest; may be asked from any thread."""
        waiting = [since for each, _ in tuple(self._watches.values()) for since in tuple(each.pending.values())]
        return self._means.clock() / 1e9 - min(waiting) if waiting else 0.0

    @property
    def depth(self) -> int:
        """How many objects have changed and wait; may be asked from any thread."""
        return sum(len(each.pending) for each, _ in tuple(self._watches.values()))

    async def run(self) -> None:
        """Scan until cancelled; nothing that the API server does ends it."""
        await self._means.store.complete.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._means.progress.publish())
            tasks.create_task(self._means.statuses.run())
            tasks.create_task(self._follow())
            try:
                await self._scan_when_due(tasks)
            finally:
                for _, task in self._watches.values():
                    task.cancel()

    async def _scan_when_due(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        changed: frozenset[str] | None = None
        relabelled: frozenset[str] = frozenset()
        due = loop.time()
        while True:
            taken = self._means.changes.take()
            changed = None if changed is None else changed | taken.policies
            relabelled |= taken.namespaces
            try:
                scanned = await self._scan(self._widened(changed, relabelled), tasks)
                if changed is not None and len(relabelled) <= MOST_NAMESPACES:
                    for namespace in relabelled:
                        await self._scan_namespace(namespace)
            except errors.KubernetesError as error:
                logger.warning("The scan was broken off and is begun again: %s", error)
                await asyncio.sleep(RETRY_AFTER)
                continue
            if changed is None:
                due = loop.time() + self._means.interval
            if scanned:
                self._means.progress.end(due - loop.time())
                self._means.statuses.end()
            changed = relabelled = frozenset()
            try:
                async with asyncio.timeout_at(min((due, *(each.again for each in self._unlisted.values())))):
                    await self._means.changes.settled()
            except TimeoutError:
                if loop.time() >= due:
                    changed = None

    def _widened(self, changed: frozenset[str] | None, relabelled: frozenset[str]) -> frozenset[str] | None:
        """The policies to be scanned for, those included that may see many changed namespaces with other eyes."""
        if changed is None or len(relabelled) <= MOST_NAMESPACES:
            return changed
        return changed.union(each.key for several in self._covered.values() for each in self._looking(several))

    def _looking(self, several: Iterable[CompiledPolicy]) -> list[CompiledPolicy]:
        """Those among some policies that look at labels of namespaces."""
        return [each for each in several if self._means.changes.looks_at_labels(each)]

    async def _scan(self, changed: frozenset[str] | None, tasks: asyncio.TaskGroup) -> bool:
        """Scan for the policies with these keys, for all of them if None; in any case what was never scanned.

        Returns:
            Whether there was anything to scan.

        Raises:
            KubernetesError: It could not be done.
        """
        means = self._means
        with means.traces.discovery():
            catalogue = await means.catalogues.refresh()
        held = [each.compiled for each in means.store.held if each.compiled is not None]
        self._covered = covered = coverage.of(held, catalogue)
        self._forget_uncovered()
        now = asyncio.get_running_loop().time()
        waiting = {resource for resource, each in self._unlisted.items() if each.again > now}
        chosen = {}
        for resource, several in covered.items():
            new = resource not in self._watches and resource not in waiting
            wanted = [each for each in several if changed is None or new or each.key in changed]
            if wanted and (new or changed is None or resource not in waiting):
                chosen[resource] = wanted
        asked = frozenset(each.key for several in chosen.values() for each in several)
        if changed is not None:
            asked |= {each.key for each in held if each.key in changed and coverage.is_scanned(each)}
        if not asked:
            return False
        means.progress.begin({each: len(several) for each, several in covered.items()}, frozenset(chosen))
        means.statuses.begin(asked)
        reports = indexes.ReportIndex(asked, means.reported, means.form.results)
        served = frozenset((each.group, each.kind) for each in catalogue.served)
        async for page in indexes.pages(means.client, means.form):
            for stored in page:
                reports.add(stored)
                await self._clear(stored, asked, served)
            await asyncio.sleep(0)
        for resource, wanted in chosen.items():
            elsewhere = self._keys_of_kind(resource)
            task = examining.Task(resource, wanted, asked - elsewhere, means.wall_clock())
            with means.metrics.work.reconciling():
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
        told = {
            row.get("policy")
            for row in document.results_of(stored)
            if row.get("source") == findings.SOURCE and document.is_judgement(row, self._means.reported)
        }
        if stale & told:
            silent = findings.Found(None, self._means.wall_clock())
            await self._means.room()
            self._means.put(findings.Findings(subject, latest=dict.fromkeys(stale & told, silent)))

    async def _scan_namespace(self, namespace: str) -> None:
        """Look at the objects of a namespace with other labels than before, for the policies that look at them.

        Raises:
            KubernetesError: It could not be done.
        """
        means = self._means
        chosen = {
            resource: looking
            for resource, several in self._covered.items()
            if resource.namespaced and resource in self._watches and (looking := self._looking(several))
        }
        if not chosen:
            return
        asked = {each.key for several in chosen.values() for each in several}
        reports = indexes.ReportIndex(asked, means.reported, means.form.results)
        async for page in indexes.pages(means.client, means.form, namespace):
            for stored in page:
                reports.add(stored)
            await asyncio.sleep(0)
        for resource, looking in chosen.items():
            task = examining.Task(resource, looking, (), means.wall_clock())
            follower, _ = self._watches[resource]
            with means.traces.scan(resource, [each.key for each in looking]) as span:
                span.set_attribute(semconv.OBJECT_NAMESPACE, namespace)
                try:
                    async for listed in means.client.pages(resource, namespace=namespace):
                        await self._examine(task, listed.get("items") or [], reports, follower)
                        await self._pages.turn()
                except errors.NotFound:  # the kind has just been removed
                    continue
                except (errors.StatusError, errors.AnswerInvalid) as error:
                    self._put_off(resource, error, span)

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
        whole = held is None or len(task.policies.policies) == len(self._covered[resource])
        with means.traces.scan(resource, [each.key for each in task.policies.policies]) as span:
            try:
                await self._read(task, reports, follower, keys, whole=whole)
            except errors.NotFound:  # the kind has just been removed
                return
            except (errors.StatusError, errors.AnswerInvalid) as error:
                progress.state = self._put_off(resource, error, span)
                return
            span.set_attribute(semconv.SCAN_OBJECTS, progress.scanned)
            span.set_attribute(semconv.SCAN_NEWS, progress.news)
        progress.state = "scanned"
        self._unlisted.pop(resource, None)
        follower.retain(frozenset(keys))
        if held is None:  # from here on: what has changed since it was listed differs from what was seen
            self._watches[resource] = follower, tasks.create_task(follower.run())
        means.metrics.lasted(resource.kind, (means.clock() - began) / 1e9)
        means.statuses.looked_at([each.key for each in task.policies.policies], progress.scanned)
        self._news.set()

    def _put_off(self, resource: resources.Resource, error: errors.KubernetesError, span: trace.Span) -> str:
        """Have a kind that cannot be listed wait for another time, so that the others do not; what to say of it.

        Such as one whose conversion webhook or aggregated API is down. It is scanned as a whole then.

        Raises:
            KubernetesError: The reason has nothing to do with this kind.
        """
        if isinstance(error, errors.Forbidden):
            if not permissions.is_missing_right(error):
                raise error
            self._means.permitted.refused(resource)
            span.set_attribute(semconv.SCAN_OBJECTS, 0)
            state, failures, pause = "forbidden", 0, ASK_AGAIN_AFTER
        elif isinstance(error, errors.Throttled):
            raise error
        else:
            state, failures = "failed", self._unlisted.get(resource, _Unlisted()).failures + 1
            pause = backoff.pause(failures, RETRY_AFTER, ASK_AGAIN_AFTER)
            roots.fail(span, error)
            if failures == 1:
                logger.warning("Objects of kind %s cannot be listed and are scanned later: %s", resource.kind, error)
        self._unlisted[resource] = _Unlisted(failures, asyncio.get_running_loop().time() + pause)
        self._end_watch(resource)
        return state

    async def _read(
        self,
        task: examining.Task,
        reports: indexes.ReportIndex,
        follower: watch.Watch,
        keys: set[informer.Key],
        *,
        whole: bool,
    ) -> None:
        """List the objects of a resource; `whole` where all policies that may concern them are asked."""
        means, resource = self._means, task.resource
        progress = means.progress.of(resource)
        progress.objects = progress.scanned = progress.news = 0
        async for page in means.client.pages(resource):
            items = page.get("items") or []
            left = page["metadata"].get("remainingItemCount") or 0
            progress.objects = max(progress.scanned + len(items) + left, progress.objects)
            keys.update(map(watch.key_of, items))
            progress.news += await self._examine(task, items, reports, follower, whole=whole)
            progress.scanned += len(items)
            means.progress.went_on(resource)
            await self._pages.turn()

    async def _examine(
        self,
        task: examining.Task,
        items: Sequence[dict[str, Any]],
        reports: indexes.ReportIndex,
        follower: watch.Watch,
        *,
        whole: bool = False,
    ) -> int:
        """Look at a page of objects; how many are news. Who changed since is left to those who follow changes."""
        means, resource = self._means, task.resource
        news = 0
        with means.traces.batch():
            known = needs.Facts(installation=means.store.installation)
            began = means.clock()
            for item in items:
                await means.room()
                stored = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
                if follower.has_changed(stored):
                    follower.forget(stored)  # or, were its content the same, these policies would never be asked
                    continue
                if whole:
                    follower.saw(stored)
                news += await means.examiner.examine(task, stored, known, reports) == examining.NEWS
                if means.clock() - began > SLICE:
                    await asyncio.sleep(0)
                    began = means.clock()
        return news

    async def _follow(self) -> None:
        """Look at objects that change, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(SETTLE)
            for follower, _ in tuple(self._watches.values()):
                try:
                    await self._look_at_changed(follower)
                except errors.Forbidden as error:
                    logger.warning("Changed objects of kind %s wait for a scan: %s", follower.resource.kind, error)
                    follower.pending.clear()
                except errors.KubernetesError as error:
                    logger.warning("Changed objects of kind %s cannot be read: %s", follower.resource.kind, error)
                    await asyncio.sleep(RETRY_AFTER)
                    self._news.set()

    async def _look_at_changed(self, follower: watch.Watch) -> None:
        """Look at the objects that wait, for the policies of the moment: a scan for others may begin meanwhile."""
        means, resource = self._means, follower.resource
        known = needs.Facts(installation=means.store.installation)
        asked: tuple[CompiledPolicy, ...] = ()
        task = examining.Task(resource, asked, (), means.wall_clock())
        for namespace, name in tuple(follower.pending):
            await self._single.turn()
            await means.room()
            since = follower.pending.get((namespace, name))
            if since is not None:
                means.metrics.work.waited(means.clock() / 1e9 - since)
            with means.traces.changed(resource, namespace, name):
                before, item = follower.told((namespace, name)), None
                with contextlib.suppress(errors.NotFound):
                    item = await means.client.get(resource, name, namespace=namespace)
                if follower.told((namespace, name)) == before:  # else it has changed again while it was read
                    follower.pending.pop((namespace, name), None)
                if item is None:
                    continue
                stored = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
                if (several := self._covered.get(resource, ())) is not asked:
                    asked, task = several, examining.Task(resource, several, (), means.wall_clock())
                if follower.saw(stored):
                    await means.examiner.examine(task, stored, known, None)

    def _forget_uncovered(self) -> None:
        for resource in self._watches.keys() - self._covered.keys():
            self._end_watch(resource)
        for resource in self._unlisted.keys() - self._covered.keys():
            del self._unlisted[resource]

    def _end_watch(self, resource: resources.Resource) -> None:
        _, task = self._watches.pop(resource, (None, None))
        if task is not None:
            task.cancel()
