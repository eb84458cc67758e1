"""Deletes objects when they are due: one timetable, one task that sleeps until the first entry, few deletes at a time.

A delete names uid and resourceVersion of what was seen, so that an object made anew, or one whose label was just taken
away, stays. Nothing that is the operator's own is deleted, whatever it is labelled. What cannot be deleted is tried
again, ever more rarely, for as long as it asks to be. The timetable has one entry for each labelled object.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from opentelemetry import context, trace

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers import redaction
from kymograph.controllers.cleanup import clock as clocks
from kymograph.controllers.cleanup import pace, schedule, spared, ttl
from kymograph.telemetry import cells, instruments, roots, semconv, subject, work
from kymograph.telemetry.instruments import labels

logger = logging.getLogger(__name__)

LOOK_EVERY = 60.0
"""The longest sleep in seconds: nobody tells that the wall clock was set."""

SET_BACK = 5.0
"""Seconds that a clock may go back without having been set: API servers of one cluster differ by that."""

RETRY_FIRST = 1.0
RETRY_MOST = 300.0
"""Seconds until a delete that failed is tried again; each failure doubles them."""


class Target(NamedTuple):
    """Where an object is; what it is now is in `Labelled`."""

    resource: resources.Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.resource.kind} {self.name}{where}"


Announce = Callable[[Target, ttl.Labelled, str], None]


class Deleting(Protocol):
    """What deletes: the client of the API server."""

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
class _Progress:
    """An object as last seen, how long to wait after a delete that fails, how many did, the span of the last one."""

    labelled: ttl.Labelled
    delay: float = RETRY_FIRST
    failures: int = 0
    attempt: trace.SpanContext | None = None


class Deletions:
    """The timetable of all labelled objects, and its execution.

    Args:
        client: Deletes with the operator's identity.
        tracer: For a root span per deletion.
        counted: The instruments of the process.
        clock: When is now.
        spare: What is not deleted, whatever it is labelled.
        forbidden: Called when a delete was forbidden: what we may do has changed.
        announce: Is told of each object that stays although it asks to go, and why.
        hidden: Gives the fields of objects that nobody is told of, beside what Secrets hold.
    """

    def __init__(
        self,
        client: Deleting,
        tracer: trace.Tracer,
        counted: instruments.Instruments,
        clock: clocks.Clock,
        spare: spared.Spared,
        forbidden: Callable[[], None],
        announce: Announce,
        hidden: redaction.Hidden = tuple,
    ) -> None:
        self._client = client
        self._tracer = tracer
        self._counted = counted
        self._work = work.Work(counted, "ttl-controller")
        self._work.queue(lambda: self.backlog.depth, led=True)
        self._clock = clock
        self._spare = spare
        self._forbidden = forbidden
        self._announce = announce
        self._hidden = hidden
        self._objects: dict[Target, _Progress] = {}
        self._schedule: schedule.Schedule[Target] = schedule.Schedule()
        self._earlier = asyncio.Event()
        self._free = asyncio.Semaphore(pace.DELETES_AT_ONCE)
        self._pace = pace.Pace(clock)
        self._latest = clock.now()

    @property
    def backlog(self) -> schedule.Backlog:
        """The objects that are due and wait for their turn; may be asked from any thread."""
        return self._schedule.backlog(self._clock.now())

    def changed(self, target: Target, labelled: ttl.Labelled | None) -> None:
        """An object was seen as it is now; None where it is gone, going, or no longer labelled."""
        if labelled is None:
            self._objects.pop(target, None)
            self._schedule.drop(target)
            return
        known = self._objects.get(target)
        if known is not None and known.labelled.wish == labelled.wish:
            known.labelled = labelled  # it waits, is being deleted or tried again, or was complained about, as before
            return
        self._objects[target] = _Progress(labelled)
        self._schedule.drop(target)
        try:
            self._refuse_our_own(target, labelled)
            due = labelled.due
        except ValueError as error:
            logger.warning("The label %s of %s is not followed: %s", ttl.LABEL, target, error)
            self._cell(self._counted.ttl_invalid_labels, target).add()
            self._announce(target, labelled, str(error))
        else:
            self._enter(target, due)

    async def run(self) -> None:
        """Delete until cancelled."""
        with self._work.attending():
            async with asyncio.TaskGroup() as deletions:
                while True:
                    await self._free.acquire()
                    target = await self._next()
                    deletions.create_task(self._delete(target, self._objects[target]))
                    await self._pace.turn()

    async def _next(self) -> Target:
        while True:
            self._earlier.clear()
            now = self._clock.now()
            self._notice(now)
            first = self._schedule.first()
            if first is not None and first <= now:
                self._work.waited(now - first)
                return self._schedule.pop()
            await self._clock.wait(self._earlier, LOOK_EVERY if first is None else min(first - now, LOOK_EVERY))

    def _notice(self, now: float) -> None:
        """When the clock was set back, what waits to be tried again would wait for as long as it was: try it now."""
        if now < self._latest - SET_BACK:
            for target in self._schedule:
                self._schedule.put(target, self._objects[target].labelled.due)
        self._latest = now

    async def _delete(self, target: Target, progress: _Progress) -> None:
        try:
            gone = await self._attempt(target, progress)
        finally:
            self._free.release()
        if gone or self._objects.get(target) is not progress:
            return
        self._enter(target, self._clock.now() + progress.delay)
        progress.delay = min(2 * progress.delay, RETRY_MOST)

    async def _attempt(self, target: Target, progress: _Progress) -> bool:
        """Delete an object; False if it is still there and has to be tried again."""
        labelled, resource = progress.labelled, target.resource
        with (
            redaction.unseen(resource.group, resource.kind, self._hidden()),
            self._tracer.start_as_current_span(
                "CLEANUP ttl",
                context=context.Context(),
                kind=trace.SpanKind.INTERNAL,
                links=() if progress.attempt is None else (trace.Link(progress.attempt),),
                attributes=_attributes(target, labelled),
            ) as span,
        ):
            progress.attempt = span.get_span_context()
            try:
                with self._work.reconciling(), self._pace.heed():
                    await self._client.delete(
                        resource,
                        target.name,
                        namespace=target.namespace,
                        uid=labelled.wish.uid,
                        resource_version=labelled.version,
                        propagation=labelled.wish.propagation or None,
                    )
            except errors.NotFound:
                span.set_attribute(semconv.CLEANUP_RESULT, "gone")
                return True
            except errors.Conflict as error:
                span.set_attribute(semconv.CLEANUP_RESULT, "changed")
                said = subject.current().said(error)
                logger.debug("%s has changed since it was seen, looking again: %s", target, said)
                return False
            except errors.KubernetesError as error:
                span.set_attribute(semconv.CLEANUP_RESULT, "failed")
                roots.fail(span, error)
                said = subject.current().said(error)
                logger.warning("%s is due and cannot be deleted, trying again: %s", target, said)
                self._cell(self._counted.ttl_errors, target).add()
                progress.failures += 1
                self._work.requeued(progress.failures)
                self._announce(target, labelled, said)
                if isinstance(error, errors.Forbidden):
                    self._forbidden()
                return False
            span.set_attribute(semconv.CLEANUP_RESULT, "deleted")
            logger.info("Deleted %s as its label %s=%s asks", target, ttl.LABEL, labelled.wish.ttl)
        self._cell(self._counted.ttl_deleted_objects, target).add()
        return True

    def _enter(self, target: Target, due: float) -> None:
        first = self._schedule.first()
        self._schedule.put(target, due)
        if first is None or due < first:
            self._earlier.set()

    def _refuse_our_own(self, target: Target, labelled: ttl.Labelled) -> None:
        if self._spare.own(target.resource, target.namespace, target.name, marked=labelled.marked):
            raise ValueError("the operator deletes nothing that is its own")

    @staticmethod
    def _cell(counter: cells.Counter, target: Target) -> cells.CounterCell:
        resource = target.resource
        return counter.bind(labels.Cleaned(target.namespace, resource.group, resource.version, resource.plural))


def _attributes(target: Target, labelled: ttl.Labelled) -> dict[str, str]:
    attributes = {
        semconv.OBJECT_GROUP: target.resource.group,
        semconv.OBJECT_VERSION: target.resource.version,
        semconv.OBJECT_RESOURCE: target.resource.plural,
        semconv.OBJECT_KIND: target.resource.kind,
        semconv.OBJECT_NAMESPACE: target.namespace,
        semconv.OBJECT_NAME: target.name,
        semconv.OBJECT_UID: labelled.wish.uid,
        semconv.CLEANUP_TTL: labelled.wish.ttl,
        semconv.CLEANUP_DUE: dt.datetime.fromtimestamp(labelled.due, dt.UTC).isoformat(),
    }
    if labelled.wish.propagation:
        attributes[semconv.CLEANUP_PROPAGATION] = labelled.wish.propagation
    return attributes
