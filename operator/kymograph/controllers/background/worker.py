"""Works off UpdateRequests: claims one, applies its rules, says what became of it, and removes it after a while.

A claim, and the outcome, are writes of the status in the version that was read. Two leaders for a moment do work twice
at worst, which changes nothing (see `generating`); only one of them writes the outcome. What fails is tried again, ever
more rarely, with the reason and the count in the status.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import heapq
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from opentelemetry import context, trace

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import informer, resources
from kymograph.controllers import backoff, updaterequests
from kymograph.controllers.background import applying, claims, errors, queue
from kymograph.telemetry import current, propagation, rendering, semconv, subject
from kymograph.telemetry import work as works

logger = logging.getLogger(__name__)

WORKERS = 16
"""Requests that are worked on at once: most of the time goes into waiting for the API server."""

REPORTED_WITHIN = 15.0
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
"""Seconds that a request is kept once it has ended, whoever leads then; longer where somebody has to look at it."""

SWEEP_EVERY = 1.0

MOST_DIGITS = 20
"""Digits that a resourceVersion may have: it is a number of 64 bits wherever it is a number."""

REMOVERS = 8
"""Requests that are removed at once: after a flood they end faster than one after the other could be."""


class Cluster(informer.Source, claims.Cluster, Protocol):
    """What is asked of a Kubernetes client."""

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
    """What the worker keeps of an UpdateRequest: which work excludes which, in which order, its state, and since when.

    `since` is when the status was written last, in seconds since the epoch; None where that is not told.
    """

    uid: str
    version: str
    lane: str
    order: tuple[int, int]
    state: str
    since: float | None


class _Removal(NamedTuple):
    """When a request is to be removed, on the clock of the event loop, and which: another may get its name."""

    due: float
    uid: str


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
        asked: The request, as it was claimed.
        tasks: Its rules, as far as they could be prepared.
        span: Its span.
        turn: The turn it has.
    """

    asked: updaterequests.UpdateRequest
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
        most: Gives how many UpdateRequests there may be at once.
        removing: Where the removal of requests that have ended is counted.
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
        most: Callable[[], int],
        removing: works.Work,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._claims = claims.Claims(client, namespace)
        self._applying = applying
        self._tracer = tracer
        self._ended = ended
        self._now = now
        self._counted = work
        self._most = most
        self._removing = removing
        self.queue = queue.Queue(work.waited)
        work.queue(lambda: self.queue.depth, led=True)
        self._polls: dict[str, int] = {}
        self._removals: dict[str, _Removal] = {}
        self._gone = asyncio.Event()
        self._waits_outside = False
        self._requests = informer.Informer(
            client, resources.UPDATE_REQUESTS, namespace=namespace, project=_seen, changed=self._changed
        )

    async def run(self) -> None:
        """Work until cancelled."""
        with self._counted.attending():
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

    async def room(self) -> None:
        """Wait while there are as many requests as there may be."""
        while len(self._requests.objects) >= self._most():
            self._gone.clear()
            await self._gone.wait()

    def _changed(self, key: informer.Key, seen: _Seen | None) -> None:
        name = key[1]
        removal = self._removals.get(name)
        if removal is not None and (seen is None or seen.uid != removal.uid):
            del self._removals[name]
            removal = None
        if seen is None:
            self._gone.set()
            self.queue.drop(name)
            self._claims.forget(name)
        elif seen.state in updaterequests.FINAL:
            passed = 0.0 if seen.since is None else max(self._now().timestamp() - seen.since, 0.0)
            self._remove_later(name, seen.uid, seen.state, passed)
        elif removal is None:  # otherwise we have ended it, and hear late of its claim
            self._put(name, seen)

    def _remove_later(self, name: str, uid: str, state: str, passed: float = 0.0) -> None:
        """Have a request removed that has ended, so many seconds ago."""
        kept = FAILED_KEPT if state == updaterequests.FAILED else KEPT
        self._removals.setdefault(name, _Removal(asyncio.get_running_loop().time() + kept - passed, uid))

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
            due = self._due()
            for first in range(0, len(due), REMOVERS):
                await asyncio.gather(*map(self._remove, due[first : first + REMOVERS]))

    def _due(self) -> list[str]:
        """What is to be removed now: what has been kept for long enough, and what takes room from what waits."""
        now = asyncio.get_running_loop().time()
        due = [name for name, each in self._removals.items() if each.due <= now]
        spare = len(self._removals) - self._most() // 2
        return due if spare <= len(due) else heapq.nsmallest(spare, self._removals, key=self._removals.__getitem__)

    async def _remove(self, name: str) -> None:
        removal = self._removals.get(name)
        if removal is None:
            return
        try:
            with current.untraced(), self._removing.reconciling():
                await self._client.delete(resources.UPDATE_REQUESTS, name, namespace=self._namespace, uid=removal.uid)
        except (kubernetes_errors.NotFound, kubernetes_errors.Conflict):
            pass  # it is gone, or another one by now
        except kubernetes_errors.KubernetesError as error:
            logger.debug("UpdateRequest %s cannot be removed, trying again: %s", name, error)
            return
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
            seen = self._requests.objects.get((self._namespace, name))
            if seen is None or seen.state in updaterequests.FINAL:
                return _NEVER
            asked = await self._claims.claim(name, seen.uid, seen.version)
            if asked is None:
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
                    self._claims.remember(asked)
                    return self._poll(name)
                problem = waiting if isinstance(waiting, errors.NameTaken) else errors.Needless(str(waiting))
            except (errors.Needless, errors.Failing) as error:
                problem = error
        with subject.concerning(self._applying.about(asked, tasks)), self._span(asked) as span:
            attempt = _Attempt(asked, tasks, span, turn)
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
            except errors.NameTaken as taken:
                return await self._end(attempt, updaterequests.FAILED, str(taken), done)
            except (errors.Failing, kubernetes_errors.KubernetesError) as error:
                if isinstance(error, errors.UNANSWERED):
                    raise
                return await self._fail(attempt, error)
            remarks = "; ".join(remark for task in tasks for remark in task.remarks)
            return await self._end(attempt, updaterequests.COMPLETED, remarks, done)

    async def _fail(self, attempt: _Attempt, error: Exception) -> _Again:
        asked, span = attempt.asked, attempt.span
        retries, message = asked.retries + 1, subject.current().told(str(error))
        if retries > MOST_RETRIES:
            logger.warning("UpdateRequest %s for policy %s is given up: %s", asked.name, asked.policy, message)
            self._counted.dropped()
            return await self._end(attempt, updaterequests.FAILED, message, [])
        self._counted.requeued(retries)
        logger.info("UpdateRequest %s for policy %s failed, trying again: %s", asked.name, asked.policy, message)
        span.set_attribute(semconv.UPDATE_REQUEST_STATE, updaterequests.PENDING)
        span.set_status(trace.Status(trace.StatusCode.ERROR, rendering.bounded(message)))
        status = updaterequests.status(updaterequests.PENDING, message, [], retries)
        await self._claims.write(asked, status)
        return _Again(backoff.pause(retries, RETRY_FIRST, RETRY_MOST), holds=True)

    async def _end(self, attempt: _Attempt, state: str, message: str, done: list[updaterequests.Reference]) -> _Again:
        asked, span, message = attempt.asked, attempt.span, subject.current().told(message)
        span.set_attribute(semconv.UPDATE_REQUEST_STATE, state)
        span.set_attribute(semconv.UPDATE_REQUEST_OBJECTS, [str(each) for each in done[:100]])
        if message:
            span.set_attribute(semconv.MESSAGE, rendering.bounded(message))
        if state == updaterequests.FAILED:
            span.set_status(trace.Status(trace.StatusCode.ERROR, rendering.bounded(message)))
        await self._reported(attempt)
        status = updaterequests.status(state, message, done, asked.retries)
        if not await self._claims.write(asked, status):
            return _Again(POLL_FIRST)
        self._remove_later(asked.name, asked.uid, state)
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
        return _Again(backoff.pause(tried, POLL_FIRST, POLL_MOST))

    def _age(self, asked: updaterequests.UpdateRequest) -> float:
        return (self._now() - dt.datetime.fromisoformat(asked.created)).total_seconds()


def lane(policy: str, rule: str, trigger: updaterequests.Reference) -> str:
    """What a request is about: those about the same are worked on one after the other."""
    return f"{policy}\0{rule}\0{trigger.uid or trigger}"


def _seen(document: dict[str, Any]) -> _Seen:
    asked = updaterequests.read(document)
    part = asked.parts[0]
    created = int(dt.datetime.fromisoformat(asked.created).timestamp())
    return _Seen(
        asked.uid,
        asked.version,
        lane(asked.policy, part.rule, part.trigger),
        (created, _before(asked.request)),
        asked.state,
        _written(document["metadata"]),
    )


def _before(request: Any) -> int:
    """The version of the object before a request, which may have been forged; 0 where that is none, or no number."""
    version = request
    for field in ("oldObject", "metadata", "resourceVersion"):
        version = version.get(field) if isinstance(version, dict) else None
    return int(version) if isinstance(version, str) and len(version) <= MOST_DIGITS and version.isdecimal() else 0


def _written(metadata: Mapping[str, Any]) -> float | None:
    """When the status was written last."""
    times = [
        each["time"]
        for each in metadata.get("managedFields") or ()
        if each.get("subresource") == "status" and each.get("time")
    ]
    return dt.datetime.fromisoformat(max(times)).timestamp() if times else None
