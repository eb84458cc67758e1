"""Works off UpdateRequests: claims one, applies its rules, says what became of it, and removes it after a while.

A claim, and the outcome, are writes of the status in the version that was read. Two leaders for a moment do work twice
at worst, which changes nothing (see `generating`); only one of them writes the outcome. What fails is tried again, ever
more rarely, with the reason and the count in the status.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from opentelemetry import context, trace

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import informer, resources
from kymograph.controllers import updaterequests
from kymograph.controllers.background import applying, errors, queue
from kymograph.telemetry import current, propagation, semconv
from kymograph.telemetry import work as works

logger = logging.getLogger(__name__)

WORKERS = 8
"""Requests that are worked on at once: most of the time goes into waiting for the API server."""

REPORTED_WITHIN = 5.0
"""Seconds that an outcome waits for the report that says it. A crash before the outcome has the work done again, which
changes nothing, and told again; after it nobody would tell."""

GRACE = 35.0
"""Seconds that a request has to become visible: an API server waits up to 30 s for the other webhooks."""

POLL_FIRST, POLL_MOST = 0.05, 2.0
"""Seconds until what is not there yet is looked for again, doubled each time."""

RETRY_FIRST, RETRY_MOST = 0.5, 300.0
"""Seconds until what failed is tried again, doubled each time."""

MOST_RETRIES = 10
"""Failures after which a request ends as `Failed`: some eight minutes."""

KEPT, FAILED_KEPT = 60.0, 3600.0
"""Seconds that a request is kept once it has ended; longer where somebody has to look at it."""

SWEEP_EVERY = 1.0


class Cluster(informer.Source, Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch."""

    async def delete(
        self,
        resource: resources.Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete the object if it has that uid and version."""


class _Seen(NamedTuple):
    """What the worker keeps of an UpdateRequest: which work excludes which, in which order, and its state."""

    uid: str
    lane: str
    order: tuple[int, int]
    state: str


class _Again(NamedTuple):
    """When a request is to be worked on again: seconds, None for never; and whether those after it wait until then."""

    seconds: float | None
    holds: bool = False


_NEVER = _Again(None)


class _Turn:
    """One of `WORKERS` turns: given back when a request is done, or has nothing left to wait for but its report."""

    __slots__ = ("_turns",)

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns: asyncio.Semaphore | None = turns

    def give_back(self) -> None:
        """Let another request be worked on; twice is as good as once."""
        if self._turns is not None:
            self._turns.release()
            self._turns = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Attempt:
    """A request that is being worked on.

    Attributes:
        asked: The request.
        version: Its resourceVersion since it was claimed.
        tasks: Its rules, as far as they could be prepared.
        span: Its span.
        turn: The turn it has.
    """

    asked: updaterequests.UpdateRequest
    version: str
    tasks: list[applying.Task]
    span: trace.Span
    turn: _Turn


class Worker:
    """Works off UpdateRequests; made anew for each time of leading.

    Args:
        client: Reads and writes UpdateRequests.
        namespace: Where they are.
        applying: Applies their rules.
        tracer: For a root span per request.
        ended: Is told the type and the state of each request that ended.
        now: The time, by the API server's clock.
        work: Where work is counted.
    """

    def __init__(
        self,
        client: Cluster,
        namespace: str,
        applying: applying.Applying,
        tracer: trace.Tracer,
        ended: Callable[[str, str], None],
        now: Callable[[], dt.datetime],
        work: works.Work,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._applying = applying
        self._tracer = tracer
        self._ended = ended
        self._now = now
        self._counted = work
        self.queue = queue.Queue(work.waited)
        work.queue(lambda: self.queue.depth)
        self._polls: dict[str, int] = {}
        self._removals: dict[str, float] = {}
        self._waits_outside = False
        self._requests = informer.Informer(
            client, resources.UPDATE_REQUESTS, namespace=namespace, project=_seen, changed=self._changed
        )

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._requests.run())
            tasks.create_task(self._sweep())
            tasks.create_task(self._dispatch(tasks))

    async def pending(self) -> frozenset[str]:
        """What requests that have not ended are about, by `lane`; once all requests are known."""
        await self._requests.synced.wait()
        return frozenset(
            seen.lane for seen in self._requests.objects.values() if seen.state not in updaterequests.FINAL
        )

    def _changed(self, key: informer.Key, seen: _Seen | None) -> None:
        name = key[1]
        if seen is None:
            self.queue.drop(name)
            self._removals.pop(name, None)
        elif seen.state in updaterequests.FINAL:
            kept = FAILED_KEPT if seen.state == updaterequests.FAILED else KEPT
            self._removals.setdefault(name, asyncio.get_running_loop().time() + kept)
        else:
            self._put(name, seen)

    def _put(self, name: str, seen: _Seen) -> None:
        self._waits_outside = self._waits_outside or self.queue.full
        self.queue.put(name, seen.lane, self._now().timestamp() - seen.order[0], seen.order)

    async def _sweep(self) -> None:
        """Remove what ended a while ago, and take up what there was no room for."""
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            if self._waits_outside and not self.queue.full:
                self._waits_outside = False
                for (_, name), seen in self._requests.objects.items():
                    if seen.state not in updaterequests.FINAL:
                        self._put(name, seen)
            now = asyncio.get_running_loop().time()
            for name in [name for name, due in self._removals.items() if due <= now]:
                seen = self._requests.objects.get((self._namespace, name))
                try:
                    if seen is not None:
                        with current.untraced():
                            await self._client.delete(
                                resources.UPDATE_REQUESTS, name, namespace=self._namespace, uid=seen.uid
                            )
                except kubernetes_errors.NotFound:
                    pass
                except kubernetes_errors.KubernetesError as error:
                    logger.debug("UpdateRequest %s cannot be removed, trying again: %s", name, error)
                    continue
                self._removals.pop(name, None)

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        turns = asyncio.Semaphore(WORKERS)
        while True:
            await turns.acquire()
            name = await self.queue.take()
            tasks.create_task(self._work(name, _Turn(turns)))

    async def _work(self, name: str, turn: _Turn) -> None:
        again = _Again(RETRY_MOST)
        try:
            with self._counted.reconciling():
                again = await self._attempt(name, turn)
        except kubernetes_errors.KubernetesError as error:
            logger.debug("UpdateRequest %s cannot be worked on, trying again: %s", name, error)
            again = self._poll(name)
        except Exception:
            logger.exception("UpdateRequest %s raised what it may not raise; this is a defect of Kymograph", name)
        finally:
            turn.give_back()
            if again.seconds is None:
                self._polls.pop(name, None)
            self.queue.done(name, again.seconds, holds=again.holds)

    async def _attempt(self, name: str, turn: _Turn) -> _Again:
        """Work on a request once; when it is to be worked on again.

        Raises:
            KubernetesError: The request could not be read or written.
        """
        with current.untraced():
            try:
                stored = await self._client.get(resources.UPDATE_REQUESTS, name, namespace=self._namespace)
            except kubernetes_errors.NotFound:
                return _NEVER
            asked = updaterequests.read(stored)
            if asked.state in updaterequests.FINAL:
                return _NEVER
            tasks: list[applying.Task] = []
            problem: errors.BackgroundError | None = None
            try:
                if asked.kinds:
                    self._applying.check_orphans(asked)
                else:
                    tasks = [await self._applying.prepared(asked, part) for part in asked.parts]
            except errors.NotYet as waiting:
                if self._age(asked) < GRACE:
                    return self._poll(name)
                problem = errors.Needless(str(waiting))
            except (errors.Needless, errors.Failing) as error:
                problem = error
        with self._span(asked) as span:
            version = await self._claim(asked)
            if version is None:
                return _Again(POLL_FIRST)
            attempt = _Attempt(asked, version, tasks, span, turn)
            done: list[updaterequests.Reference] = []
            try:
                if problem is not None:
                    raise problem
                done = (
                    await self._applying.delete_orphans(asked)
                    if asked.kinds
                    else await self._applying.apply(asked, tasks)
                )
            except errors.Needless as needless:
                return await self._end(attempt, updaterequests.SKIP, str(needless), done)
            except (errors.Failing, kubernetes_errors.KubernetesError) as error:
                if isinstance(error, errors.UNANSWERED):
                    raise
                return await self._fail(attempt, error)
            return await self._end(attempt, updaterequests.COMPLETED, "", done)

    async def _claim(self, asked: updaterequests.UpdateRequest) -> str | None:
        """Say that we work on a request; its version then, None where somebody else was faster."""
        status = {"state": updaterequests.PENDING, "message": "it is being worked on"}
        return await self._write(asked, asked.version, status)

    async def _fail(self, attempt: _Attempt, error: Exception) -> _Again:
        asked, span = attempt.asked, attempt.span
        retries, message = asked.retries + 1, str(error)
        if retries > MOST_RETRIES:
            logger.warning("UpdateRequest %s for policy %s is given up: %s", asked.name, asked.policy, message)
            self._counted.dropped()
            return await self._end(attempt, updaterequests.FAILED, message, [])
        self._counted.requeued(retries)
        logger.info("UpdateRequest %s for policy %s failed, trying again: %s", asked.name, asked.policy, message)
        span.set_attribute(semconv.UPDATE_REQUEST_STATE, updaterequests.PENDING)
        span.set_status(trace.Status(trace.StatusCode.ERROR, message))
        status = updaterequests.status(updaterequests.PENDING, message, [], retries)
        await self._write(asked, attempt.version, status)
        return _Again(min(RETRY_FIRST * 2.0 ** (retries - 1), RETRY_MOST), holds=True)

    async def _end(self, attempt: _Attempt, state: str, message: str, done: list[updaterequests.Reference]) -> _Again:
        asked, span = attempt.asked, attempt.span
        span.set_attribute(semconv.UPDATE_REQUEST_STATE, state)
        span.set_attribute(semconv.UPDATE_REQUEST_OBJECTS, [str(each) for each in done[:100]])
        if message:
            span.set_attribute(semconv.MESSAGE, message)
        if state == updaterequests.FAILED:
            span.set_status(trace.Status(trace.StatusCode.ERROR, message))
        await self._reported(attempt)
        status = updaterequests.status(state, message, done, asked.retries)
        if await self._write(asked, attempt.version, status) is None:
            return _Again(POLL_FIRST)
        self._ended(asked.type, state)
        return _NEVER

    async def _reported(self, attempt: _Attempt) -> None:
        """Wait until reports say what became of the rules, for a while, and let others have the turn."""
        attempt.turn.give_back()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPORTED_WITHIN):
                for task in attempt.tasks:
                    for written in task.reported:
                        await written.wait()

    async def _write(self, asked: updaterequests.UpdateRequest, version: str, status: Mapping[str, Any]) -> str | None:
        """Write the status of a request in a version; the new one, None where there is a newer."""
        patch = {"metadata": {"uid": asked.uid, "resourceVersion": version}, "status": status}
        try:
            written = await self._client.merge(
                resources.UPDATE_REQUESTS, asked.name, patch, namespace=self._namespace, subresource="status"
            )
        except (kubernetes_errors.Conflict, kubernetes_errors.NotFound):
            return None
        return str(written["metadata"]["resourceVersion"])

    def _span(self, asked: updaterequests.UpdateRequest) -> Any:
        trigger = asked.parts[0].trigger
        parent = propagation.parse(asked.traceparent)
        links = []
        if parent is not None:
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.sampled else trace.TraceFlags.DEFAULT)
            links.append(
                trace.Link(trace.SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags))
            )
        return self._tracer.start_as_current_span(
            f"BACKGROUND {asked.type}",
            context=context.Context(),
            links=links,
            attributes={
                semconv.UPDATE_REQUEST_NAME: asked.name,
                semconv.UPDATE_REQUEST_RETRIES: asked.retries,
                semconv.OBJECT_KIND: trigger.kind,
                semconv.OBJECT_NAMESPACE: trigger.namespace,
                semconv.OBJECT_NAME: trigger.name,
                semconv.OBJECT_UID: trigger.uid,
            },
            record_exception=False,
            set_status_on_exception=False,
        )

    def _poll(self, name: str) -> _Again:
        tried = self._polls[name] = self._polls.get(name, 0) + 1
        return _Again(min(POLL_FIRST * 2.0 ** min(tried - 1, 10), POLL_MOST))

    def _age(self, asked: updaterequests.UpdateRequest) -> float:
        return (self._now() - dt.datetime.fromisoformat(asked.created)).total_seconds()


def lane(policy: str, rule: str, trigger: updaterequests.Reference) -> str:
    """What a request is about: those about the same are worked on one after the other."""
    return f"{policy}\0{rule}\0{trigger.uid or trigger}"


def _seen(document: dict[str, Any]) -> _Seen:
    asked = updaterequests.read(document)
    part = asked.parts[0]
    created = int(dt.datetime.fromisoformat(asked.created).timestamp())
    before = (((asked.request or {}).get("oldObject") or {}).get("metadata") or {}).get("resourceVersion") or ""
    return _Seen(
        asked.uid,
        lane(asked.policy, part.rule, part.trigger),
        (created, int(before) if before.isdecimal() else 0),
        asked.state,
    )
