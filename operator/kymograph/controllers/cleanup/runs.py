"""One run of a cleanup policy: look at everything it is about, then delete what it chose.

A kind is gone through before the first of it is deleted: deleting takes its time, and a list in pages does not last
that long. Of more objects than may wait at once the first are deleted, and the kind is gone through again. A delete
names uid and resourceVersion of what was looked at; what has changed meanwhile is looked at again. Between two deletes
it is asked whether the policy is still the same. When the API server is overloaded or away the run ends, incomplete.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from opentelemetry import context, trace

from kymograph.clients.kubernetes import discovery, errors, resources
from kymograph.controllers import policyspans
from kymograph.controllers.cleanup import clock as clocks
from kymograph.controllers.cleanup import collections, held, pace, schedule, selection
from kymograph.engine import cleanup
from kymograph.telemetry import cells, instruments, rendering, semconv, subject
from kymograph.telemetry import work as works
from kymograph.telemetry.instruments import labels

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Objects of one kind that wait for their deletion in one run; each takes about a kilobyte."""

TRIES = 3
"""How often a delete is tried in one run: an object may change while it is looked at, an API server be busy."""

RETRY_AFTER = 1.0
"""Seconds until the second try; the third waits twice as long."""

AWAY_AFTER = pace.DELETES_AT_ONCE
"""Objects in a row whose deletion is not answered until a run ends; one alone may be held up by a hanging webhook."""

MOST_PROBLEMS = 10
"""Problems that are told of one run; the others are counted."""

Announce = Callable[[cleanup.CleanupPolicy, selection.Candidate, str], None]
"""Is told of each object that was deleted (no text), or could not be (why)."""


class Client(selection.Source, collections.Creating, Protocol):
    """What is asked of the client of the API server."""

    async def delete(
        self,
        resource: resources.Resource,
        name: str,
        *,
        namespace: str,
        uid: str,
        resource_version: str,
        propagation: str | None,
    ) -> None:
        """Delete the object if it has that uid and version."""


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        looked: Objects looked at.
        deleted: Objects deleted.
        failed: Objects that could not be decided or deleted, and kinds that could not be listed.
        complete: Everything there is was looked at, as far as the operator may.
        problems: The first of what failed.
        answered: The API server said of some object that it was deleted, or why not.
        unanswered: Objects since then of which it said nothing, or that it could not now.
        away: These were so many that nothing more was tried.
        span: The run's trace; None before it has begun.
    """

    looked: int = 0
    deleted: int = 0
    failed: int = 0
    complete: bool = True
    problems: list[str] = dataclasses.field(default_factory=list)
    answered: bool = False
    unanswered: int = 0
    away: bool = False
    span: trace.SpanContext | None = None

    def heard(self, *, overload: bool) -> None:
        """Note whether the API server was there for the last object."""
        if not overload:
            self.answered, self.unanswered = True, 0
            return
        self.unanswered += 1
        self.away = self.away or self.unanswered >= AWAY_AFTER

    def fail(self, problem: str) -> None:
        """Note a failure."""
        self.failed += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


class Occasion(NamedTuple):
    """Why a policy runs now.

    Attributes:
        cause: `schedule`, `missed` (nobody was there when it was due) or `repeat` (of a run that was not complete).
        due: When it was due, in seconds since the epoch.
        before: The run that is repeated.
    """

    cause: str
    due: float
    before: trace.SpanContext | None = None


@dataclasses.dataclass(slots=True)
class _Batch:
    """Objects of one kind that a run has chosen."""

    since: float
    chosen: list[selection.Candidate]
    whole: bool = True
    left: int = 0
    stopped: bool = False


class Runs:
    """Runs cleanup policies.

    Args:
        client: Lists and deletes with the operator's identity.
        catalogues: What the API server serves.
        choosing: Chooses what is deleted.
        tracer: For a root span per run.
        counted: The instruments of the process.
        clock: For the pace.
        announce: Told of every deletion.
    """

    def __init__(
        self,
        client: Client,
        catalogues: discovery.Catalogues,
        choosing: selection.Selection,
        tracer: trace.Tracer,
        counted: instruments.Instruments,
        clock: clocks.Clock,
        announce: Announce,
    ) -> None:
        self._client = client
        self._catalogues = catalogues
        self._choosing = choosing
        self._tracer = tracer
        self._counted = counted
        self._work = works.Work(counted, "cleanup-controller")
        self._work.queue(lambda: self.backlog.depth)
        self._clock = clock
        self._announce = announce
        self._free = asyncio.Semaphore(pace.DELETES_AT_ONCE)
        self._pace = pace.Pace(clock)
        self._batches: list[_Batch] = []

    @property
    def backlog(self) -> schedule.Backlog:
        """The objects that runs have chosen and not deleted yet; may be asked from any thread."""
        batches, now = tuple(self._batches), self._clock.now()
        ages = [now - batch.since for batch in batches if batch.left]
        return schedule.Backlog(sum(batch.left for batch in batches), max(0.0, *ages) if ages else 0.0)

    async def run(self, policy: cleanup.CleanupPolicy, occasion: Occasion, is_current: Callable[[], bool]) -> Outcome:
        """Run a policy once.

        Args:
            policy: The policy.
            occasion: Why now.
            is_current: Whether it is still as it was; nothing more is deleted once it is not.
        """
        attributes = {
            **policyspans.attributes(held.RESOURCES[policy.kind], policy.namespace, policy.name),
            semconv.CLEANUP_CAUSE: occasion.cause,
            semconv.CLEANUP_DUE: dt.datetime.fromtimestamp(occasion.due, dt.UTC).isoformat(),
        }
        links = () if occasion.before is None else (trace.Link(occasion.before),)
        with (
            self._work.reconciling() as ended,
            self._tracer.start_as_current_span(
                "CLEANUP policy", context=context.Context(), attributes=attributes, links=links
            ) as span,
        ):
            outcome = Outcome(span=span.get_span_context())
            try:
                catalogue = await self._catalogues.refresh()
                for resource in await collections.all_of(policy, catalogue, self._client):
                    if not outcome.away:
                        await self._clear(policy, resource, is_current, outcome)
            except errors.KubernetesError as error:
                outcome.complete = False
                outcome.fail(str(error))
            if outcome.away or (outcome.unanswered and not outcome.answered):
                outcome.complete = False
            span.set_attribute(semconv.CLEANUP_LOOKED, outcome.looked)
            span.set_attribute(semconv.CLEANUP_DELETED, outcome.deleted)
            span.set_attribute(semconv.CLEANUP_FAILED, outcome.failed)
            if outcome.failed:
                ended("failed" if outcome.complete else "incomplete")
                span.set_status(trace.StatusCode.ERROR, rendering.bounded("; ".join(outcome.problems)))
        return outcome

    async def _clear(
        self,
        policy: cleanup.CleanupPolicy,
        resource: resources.Resource,
        is_current: Callable[[], bool],
        outcome: Outcome,
    ) -> None:
        """Delete what the policy chooses of a kind, in rounds; one that deletes nothing is the last."""
        while True:
            before = outcome.deleted
            batch = await self._chosen(policy, resource, outcome)
            self._batches.append(batch)
            try:
                await self._delete_all(policy, batch, is_current, outcome)
            finally:
                self._batches.remove(batch)
            if batch.whole or batch.stopped or outcome.deleted == before:
                return

    async def _delete_all(
        self, policy: cleanup.CleanupPolicy, batch: _Batch, is_current: Callable[[], bool], outcome: Outcome
    ) -> None:
        waiting = iter(batch.chosen)
        batch.left = len(batch.chosen)

        async def delete_some() -> None:
            for candidate in waiting:
                await self._pace.turn()
                batch.stopped = batch.stopped or outcome.away or not is_current()
                if batch.stopped:
                    return
                async with self._free:
                    self._work.waited(self._clock.now() - batch.since)
                    await self._delete(policy, candidate, outcome)
                batch.left -= 1

        async with asyncio.TaskGroup() as deletions:
            for _ in range(min(pace.DELETES_AT_ONCE, len(batch.chosen))):
                deletions.create_task(delete_some())

    async def _chosen(self, policy: cleanup.CleanupPolicy, resource: resources.Resource, outcome: Outcome) -> _Batch:
        for left in reversed(range(TRIES)):
            batch = _Batch(self._clock.now(), [])
            problems: list[tuple[str, str]] = []
            looked = 0
            try:
                async with contextlib.aclosing(self._choosing.pages(policy, resource)) as pages:
                    async for page in pages:
                        looked += page.looked
                        batch.chosen += page.chosen
                        problems += page.problems
                        if len(batch.chosen) >= MOST_WAITING:
                            batch.whole = False
                            break
            except errors.Expired as error:  # the list took so long that its snapshot is gone
                if left:
                    continue
                self._not_listed(policy, resource, error, outcome)
                break
            except errors.KubernetesError as error:
                self._not_listed(policy, resource, error, outcome)
                break
            outcome.looked += looked
            for name, reason in problems:
                self._count_error(policy, resource.kind, name.split("/")[1])
                outcome.fail(f"{name}: {reason}")
            return batch
        return _Batch(self._clock.now(), [])

    def _not_listed(
        self,
        policy: cleanup.CleanupPolicy,
        resource: resources.Resource,
        error: errors.KubernetesError,
        outcome: Outcome,
    ) -> None:
        """A kind that may not be listed, or is not there any more, is left out; for others the run is repeated."""
        if not isinstance(error, errors.Forbidden | errors.NotFound):
            outcome.complete = False
        self._count_error(policy, resource.kind, policy.namespace)
        outcome.fail(f"{resource.plural} cannot be listed: {error}")

    async def _delete(self, policy: cleanup.CleanupPolicy, candidate: selection.Candidate, outcome: Outcome) -> None:
        with self._tracer.start_as_current_span("CLEANUP object", attributes=_attributes(candidate)) as span:
            result, problem = await self._attempts(policy, candidate)
            outcome.heard(overload=result == "unanswered")
            span.set_attribute(semconv.CLEANUP_RESULT, result)
            if problem:
                span.set_status(trace.StatusCode.ERROR, rendering.bounded(problem))
        if result == "deleted":
            outcome.deleted += 1
            self._cell(self._counted.cleanup_deleted_objects, policy, candidate).add()
            self._announce(policy, candidate, "")
            logger.info("%s deleted %s", policy, candidate)
        elif problem:
            outcome.fail(f"{candidate}: {problem}")
            self._count_error(policy, candidate.resource.kind, candidate.namespace)
            self._announce(policy, candidate, problem)
            logger.warning("%s cannot delete %s: %s", policy, candidate, problem)

    async def _attempts(self, policy: cleanup.CleanupPolicy, candidate: selection.Candidate) -> tuple[str, str]:
        """Delete an object: the result (`deleted`, `gone`, `kept`, `failed`, `unanswered`), and why it failed."""
        found: selection.Candidate | None = candidate
        problem: errors.KubernetesError | None = None
        for tried in range(TRIES):
            if tried:
                await self._clock.sleep(RETRY_AFTER * tried)
            try:
                with self._pace.heed():
                    if problem is not None:
                        found = await self._choosing.again(policy, candidate)
                    if found is None:
                        return "kept", ""
                    with self._choosing.unseen(found.resource):
                        await self._client.delete(
                            found.resource,
                            found.name,
                            namespace=found.namespace,
                            uid=found.uid,
                            resource_version=found.version,
                            propagation=policy.propagation or None,
                        )
            except errors.NotFound:
                return "gone", ""
            except errors.Forbidden as error:
                return "failed", await self._choosing.told(candidate, error)
            except errors.KubernetesError as error:
                problem = error
                if tried + 1 == TRIES and pace.is_overload(error):
                    with self._choosing.unseen(candidate.resource):
                        return "unanswered", subject.current().said(error)
            else:
                return "deleted", ""
        return "failed", await self._choosing.told(candidate, problem) if problem is not None else ""

    def _count_error(self, policy: cleanup.CleanupPolicy, kind: str, namespace: str) -> None:
        self._counted.cleanup_errors.bind(_labels(policy, kind, namespace)).add()

    @staticmethod
    def _cell(
        counter: cells.Counter, policy: cleanup.CleanupPolicy, candidate: selection.Candidate
    ) -> cells.CounterCell:
        return counter.bind(_labels(policy, candidate.resource.kind, candidate.namespace))


def _labels(policy: cleanup.CleanupPolicy, kind: str, namespace: str) -> labels.CleanedByPolicy:
    return labels.CleanedByPolicy(policy.kind, policy.namespace, policy.name, kind, namespace, policy.propagation)


def _attributes(candidate: selection.Candidate) -> dict[str, str]:
    attributes = {
        semconv.OBJECT_GROUP: candidate.resource.group,
        semconv.OBJECT_VERSION: candidate.resource.version,
        semconv.OBJECT_RESOURCE: candidate.resource.plural,
        semconv.OBJECT_KIND: candidate.resource.kind,
        semconv.OBJECT_NAMESPACE: candidate.namespace,
        semconv.OBJECT_NAME: candidate.name,
        semconv.OBJECT_UID: candidate.uid,
    }
    if candidate.reason:
        attributes[semconv.CLEANUP_REASON] = candidate.reason
    return attributes
