"""Writes the status of the TracingConfiguration: each replica its own entry, and the one that leads all the rest.

Entries are applied server-side, each by a field manager of its own, so that nobody overwrites another's. A changed
condition is written at once, and so is that a replica came or went; counts, and the sign that a replica is still there,
so rarely that all replicas together write every ten seconds at most. A replica that stops takes its entry with it;
those of replicas that were killed are taken out by the leader.
"""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from opentelemetry import trace

from kymograph.clients.kubernetes import errors, resources
from kymograph.model import tracingconfiguration as model
from kymograph.runtime import replicastatus, tracingstatus
from kymograph.runtime.tracing import Tracing
from kymograph.telemetry import roots

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the exporters, and between two writes: a dead collector is shown about as soon as it is
noticed, and one that comes and goes costs no more than that."""

COUNT_EVERY = 30.0
"""Seconds between two writes of a status whose counts alone have changed, at least."""

EACH = 10.0
"""Seconds by which that grows with every replica."""

SIGN_EVERY = 2
"""Times that a replica may have nothing new to say until it says so."""

LOST_AFTER = 3
"""Signs of life that a replica may miss."""

PARTING = 1.0
"""Seconds that a replica which stops has to take its entry out."""

_RETRY = 30.0
"""Seconds until an entry that could not be applied is tried again: the CRD may be older than we are."""


class Cluster(Protocol):
    """What is asked of a Kubernetes client."""

    async def merge(
        self, resource: resources.Resource, name: str, patch: Mapping[str, Any], *, subresource: str
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch."""

    async def apply(
        self, resource: resources.Resource, document: Mapping[str, Any], *, subresource: str, field_manager: str
    ) -> dict[str, Any]:
        """Apply fields as a field manager (server-side apply)."""


class TracingReport:
    """Writes what is said of the TracingConfiguration.

    Args:
        client: Writes.
        tracing: Knows what is in force here.
        name: What this replica is called: unique among all, and the same when its container starts again.
        now: The time of conditions.
        tracer: For a root span each time that something is written.
    """

    def __init__(
        self, client: Cluster, tracing: Tracing, name: str, now: Callable[[], dt.datetime], tracer: trace.Tracer
    ) -> None:
        self._client = client
        self._tracer = tracer
        self._tracing = tracing
        self._name = name
        self._now = now

    async def tell(self) -> None:
        """Keep the entry of this replica true until cancelled, and take it out then."""
        written = _Written()
        try:
            with self._tracing.news() as news:
                while True:
                    await _look(news)
                    await self._tell(written)
        finally:
            if written.is_there:
                with contextlib.suppress(errors.KubernetesError, TimeoutError):
                    async with asyncio.timeout(PARTING):
                        await self._apply(self._name, [])

    async def report(self) -> None:
        """Keep the status true until cancelled, for whoever leads. May be run again after somebody else wrote it."""
        written, presence = _Written(), replicastatus.Presence()
        with self._tracing.news() as news:
            while True:
                await _look(news)
                await self._report(written, presence)

    async def _tell(self, written: "_Written") -> None:
        found = await self._tracing.judged()
        if found is None:
            return
        document, status = found
        written.follow(document)
        mine = self._mine(document, status)
        every = _count_every(document)
        if not written.is_due(mine, _without_time(mine), every) and written.age < SIGN_EVERY * every:
            return
        try:
            await self._apply(self._name, [mine])
        except errors.NotFound:
            return
        except errors.KubernetesError as error:
            logger.warning("What this replica exports cannot be told: %s", error)
            await asyncio.sleep(_RETRY)
        else:
            written.wrote(mine, _without_time(mine))

    async def _report(self, written: "_Written", presence: replicastatus.Presence) -> None:
        found = await self._tracing.judged()
        if found is None:
            return
        document, own = found
        written.follow(document)
        every = _count_every(document)
        entries = [each for each in replicastatus.entries(document) if each["name"] != self._name]
        patience = LOST_AFTER * SIGN_EVERY * every
        others = presence.present(entries, asyncio.get_running_loop().time(), patience)
        before = document.get("status") or {}
        status = replicastatus.combined(own, others, before, tracingstatus.rfc3339(self._now()))
        try:
            for gone in presence.gone:
                await self._apply(gone, [])
            if written.is_due(status, status, every):
                await self._write(status, written.status)
                written.wrote(status, status)
        except errors.NotFound:
            return
        except errors.KubernetesError as error:
            logger.warning("The status of the TracingConfiguration cannot be written: %s", error)
            await asyncio.sleep(LOOK_EVERY)

    async def _write(self, status: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        with roots.root(self._tracer, "TELEMETRY status"):
            await self._client.merge(
                resources.TRACING_CONFIGURATIONS, model.NAME, {"status": status}, subresource="status"
            )
        was, now = tracingstatus.failing(before), tracingstatus.failing(status)
        if now and not was:
            logger.warning("Export fails: %s", now)
        elif was and not now:
            logger.info("Export no longer fails")

    async def _apply(self, name: str, entries: list[dict[str, Any]]) -> None:
        document, manager = replicastatus.applied(name, entries)
        with roots.root(self._tracer, "TELEMETRY status"):
            await self._client.apply(
                resources.TRACING_CONFIGURATIONS, document, subresource="status", field_manager=manager
            )

    def _mine(self, document: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        """The entry of this replica, its conditions dated by what it said before."""
        moment = tracingstatus.rfc3339(self._now())
        before = next((each for each in replicastatus.entries(document) if each["name"] == self._name), {})
        return replicastatus.entry(self._name, replicastatus.dated(status, before, moment), moment)


class _Written:
    """What was written last, and when."""

    def __init__(self) -> None:
        self.status: Mapping[str, Any] = {}
        self._compared: Mapping[str, Any] = {}
        self._at = float("-inf")
        self._uid: Any = None

    @property
    def is_there(self) -> bool:
        """Whether anything was."""
        return bool(self.status)

    @property
    def age(self) -> float:
        """Seconds since it was."""
        return asyncio.get_running_loop().time() - self._at

    def follow(self, document: Mapping[str, Any]) -> None:
        """Forget it where the resource is another one than it was written to."""
        uid = document["metadata"].get("uid")
        if uid != self._uid:
            self.status, self._compared, self._at, self._uid = {}, {}, float("-inf"), uid

    def is_due(self, status: Mapping[str, Any], compared: Mapping[str, Any], every: float) -> bool:
        """Whether a status is to be written: at once when a condition or a replica changed, its counts now and then."""
        if _judgement(status) != _judgement(self.status):
            return self.age >= LOOK_EVERY
        return compared != self._compared and self.age >= every

    def wrote(self, status: Mapping[str, Any], compared: Mapping[str, Any]) -> None:
        """It was written."""
        self.status, self._compared, self._at = status, compared, asyncio.get_running_loop().time()


async def _look(news: asyncio.Event) -> None:
    """Wait until it is time to look again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY):
            await news.wait()
    news.clear()


def _judgement(status: Mapping[str, Any]) -> tuple[object, object]:
    """What of a status is news whenever it changes."""
    return tracingstatus.judgement(status), status.get("inForce")


def _count_every(document: Mapping[str, Any]) -> float:
    """Seconds between two writes of counts, by one of so many replicas."""
    return max(COUNT_EVERY, EACH * len(replicastatus.entries(document)))


def _without_time(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "reportedAt"}
