"""Runs cleanup policies when their schedules say so: the leader's work.

A policy whose time came while nobody was there runs once when somebody is, however many times it missed. When that was
is in its status, so that a new leader knows; a status is written only over the one that was read, and until it is. A
policy that could not look at everything runs again soon, ever more rarely, until it could; `lastExecutionTime` waits
for that.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from opentelemetry import trace

from kymograph.clients.kubernetes import errors, informer, resources
from kymograph.controllers import policyspans
from kymograph.controllers.cleanup import clock as clocks
from kymograph.controllers.cleanup import held, policystatus, runs, schedule
from kymograph.telemetry import roots

logger = logging.getLogger(__name__)

RUNS_AT_ONCE = 3
"""Kyverno's number of workers."""

LOOK_EVERY = 60.0
"""The longest sleep in seconds: nobody tells that the wall clock was set."""

SET_BACK = 5.0
"""Seconds that a clock may go back without having been set: API servers of one cluster differ by that."""

RETRY_FIRST = 5.0
RETRY_MOST = 300.0
"""Seconds until a run that was not complete is repeated; each time doubles them."""


class Client(informer.Source, Protocol):
    """What is asked of the client of the API server."""

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str,
        subresource: str,
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch."""


class _News(NamedTuple):
    """What a policy's status does not tell yet: that it was written, or also what came of a run, and when it began."""

    uid: str
    outcome: runs.Outcome | None
    started: dt.datetime


class CleanupPolicies:
    """All cleanup policies, and their timetable.

    Args:
        client: Watches them and writes their status.
        running: Runs one.
        clock: When is now.
        tracer: For a root span per status that is written.
    """

    def __init__(self, client: Client, running: runs.Runs, clock: clocks.Clock, tracer: trace.Tracer) -> None:
        self._client = client
        self._running = running
        self._clock = clock
        self._tracer = tracer
        self._held: dict[held.Key, held.Held] = {}
        self._ran: dict[str, dt.datetime] = {}
        self._delays: dict[held.Key, float] = {}
        self._repeated: dict[held.Key, trace.SpanContext] = {}
        self._under_way: set[held.Key] = set()
        self._untold: dict[held.Key, _News] = {}
        self._schedule: schedule.Schedule[held.Key] = schedule.Schedule()
        self._earlier, self._telling = asyncio.Event(), asyncio.Event()
        self._free = asyncio.Semaphore(RUNS_AT_ONCE)
        self._since = self._latest = clock.now()
        self._informers = [
            informer.Informer(client, resource, changed=self._listener(kind))
            for kind, resource in held.RESOURCES.items()
        ]

    @property
    def backlog(self) -> schedule.Backlog:
        """The policies whose time has come and that wait for their turn; may be asked from any thread."""
        return self._schedule.backlog(self._clock.now())

    async def run(self) -> None:
        """Run policies until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._informers:
                tasks.create_task(each.run())
            tasks.create_task(self._tell_all())
            while True:
                await self._free.acquire()
                key, due = await self._next()
                self._under_way.add(key)
                tasks.create_task(self._run(key, self._held[key], due))

    def _listener(self, kind: str) -> Callable[[informer.Key, Any], None]:
        resource = held.RESOURCES[kind]

        def changed(key: informer.Key, document: Mapping[str, Any] | None) -> None:
            implied = {"apiVersion": resource.api_version, "kind": resource.kind}
            self._changed(held.Key(kind, *key), None if document is None else {**document, **implied})

        return changed

    def _changed(self, key: held.Key, document: Mapping[str, Any] | None) -> None:
        before = self._held.pop(key, None)
        if document is None or (before is not None and before.uid != document["metadata"]["uid"]):
            self._schedule.drop(key)
            self._delays.pop(key, None)
            self._untold.pop(key, None)
            if before is not None:
                self._ran.pop(before.uid, None)
        if document is None:
            return
        try:
            self._held[key] = held.hold(document)
        except Exception:  # one policy, however odd, must not stop the others
            logger.exception("%s is not followed; this is a defect of Kymograph", key)
            self._schedule.drop(key)
            return
        if before is None or before.uid != self._held[key].uid or before.generation != self._held[key].generation:
            self._delays.pop(key, None)
            untold = self._untold.get(key)
            self._tell(key, *((None, self._now()) if untold is None else (untold.outcome, untold.started)))
            self._enter(key)

    def _enter(self, key: held.Key) -> None:
        policy = self._held[key]
        due = policy.due(self._ran.get(policy.uid), self._now())
        self._schedule.drop(key)
        if due is not None:
            self._at(key, due.timestamp())

    def _at(self, key: held.Key, moment: float) -> None:
        first = self._schedule.first()
        self._schedule.put(key, moment)
        if first is None or moment < first:
            self._earlier.set()

    async def _next(self) -> tuple[held.Key, float]:
        while True:
            self._earlier.clear()
            now = self._clock.now()
            self._notice(now)
            first = self._schedule.first()
            if first is not None and first <= now:
                key = self._schedule.pop()
                if key not in self._under_way:  # else it is entered again when it ends
                    return key, first
                continue
            await self._clock.wait(self._earlier, LOOK_EVERY if first is None else min(first - now, LOOK_EVERY))

    def _notice(self, now: float) -> None:
        """When the clock was set back, what was entered by the wrong time is entered by the right one."""
        if now < self._latest - SET_BACK:
            for key in self._schedule:
                self._enter(key)
        self._latest = now

    async def _run(self, key: held.Key, policy: held.Held, due: float) -> None:
        started = self._now()
        cause = "repeat" if key in self._delays else "missed" if due < self._since else "schedule"
        occasion = runs.Occasion(cause, due, self._repeated.pop(key, None))
        outcome = runs.Outcome(complete=False)
        try:
            if policy.compiled is not None:
                outcome = await self._running.run(policy.compiled, occasion, lambda: self._is_current(key, policy))
        except Exception:
            logger.exception("%s did not run to its end; this is a defect of Kymograph", key)
        finally:
            self._under_way.discard(key)
            self._free.release()
        if not self._is_current(key, policy):
            if key in self._held:
                self._enter(key)
            return
        if outcome.complete:
            self._ran[policy.uid] = started.replace(microsecond=0)
            self._delays.pop(key, None)
            self._enter(key)
        else:
            delay = self._delays.get(key, RETRY_FIRST)
            self._delays[key] = min(2 * delay, RETRY_MOST)
            if outcome.span is not None:
                self._repeated[key] = outcome.span
            logger.warning("%s could not look at everything, trying again in %.0f s: %s", key, delay, outcome.problems)
            self._at(key, self._clock.now() + delay)
        self._tell(key, outcome, started)

    def _is_current(self, key: held.Key, policy: held.Held) -> bool:
        now = self._held.get(key)
        return now is not None and (now.uid, now.generation) == (policy.uid, policy.generation)

    def _tell(self, key: held.Key, outcome: runs.Outcome | None, started: dt.datetime) -> None:
        self._untold[key] = _News(self._held[key].uid, outcome, started)
        self._telling.set()

    async def _tell_all(self) -> None:
        """Say of each policy whether it is followed, when it was written, and what came of each run."""
        while True:
            await self._telling.wait()
            self._telling.clear()
            failed = False
            for key, news in list(self._untold.items()):
                policy = self._held.get(key)
                if policy is not None and not await self._write(key, policy, news):
                    failed = True
                elif self._untold.get(key) is news:
                    self._untold.pop(key, None)
            if failed:
                await self._clock.sleep(RETRY_FIRST)
                self._telling.set()

    def _status(self, policy: held.Held, news: _News) -> dict[str, Any]:
        if news.outcome is None or news.uid != policy.uid:
            return policystatus.ready(policy, self._now())
        return policystatus.ran(policy, news.outcome, news.started, self._now())

    async def _write(self, key: held.Key, policy: held.Held, news: _News) -> bool:
        """Write a status where it says something new; False where that has to be tried again."""
        status = self._status(policy, news)
        if policystatus.says(policy.status, status):
            return True
        patch = {"metadata": {"uid": policy.uid, "resourceVersion": policy.version}, "status": status}
        resource = held.RESOURCES[key.kind]
        about = policyspans.attributes(resource, key.namespace, key.name)
        ran = None if news.outcome is None else news.outcome.span
        try:
            with roots.root(self._tracer, "CLEANUP policy status", about, causes=(ran,)):
                try:
                    await self._client.merge(resource, key.name, patch, namespace=key.namespace, subresource="status")
                except errors.NotFound:
                    return True
                except errors.Conflict:  # there is a newer one, which the watch brings
                    return False
        except errors.KubernetesError as error:
            logger.warning("The status of %s cannot be written: %s", key, error)
            return False
        return True

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock.now(), dt.UTC)
