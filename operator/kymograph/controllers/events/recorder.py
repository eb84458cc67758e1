"""Writes Events (events.k8s.io/v1): bounded, paced, each once, and never in the way of a review.

What is seen again while its Event is young becomes a series of that Event (`series.count`), as in Kubernetes' own
event broadcaster: a controller that tries a forbidden thing every second fills no etcd.
"""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from opentelemetry import trace

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.events import notes
from kymograph.telemetry import credentials, roots, semconv
from kymograph.telemetry import work as works

logger = logging.getLogger(__name__)

EVENTS = resources.Resource("events.k8s.io", "v1", "events", "Event", namespaced=True)

MOST_WAITING = 1_000
"""Events that may wait to be written (Kyverno's `maxQueuedEvents`); more are dropped and counted."""

MOST_WORK = 2_000
"""Reviews and scanned objects whose Events are still to be worked out; more are dropped and counted."""

PER_SECOND = 25.0
"""Writes a second."""

SERIES_LASTS = 360.0
"""Seconds after which something seen again is a new Event: six minutes, as in client-go."""

SERIES_EVERY = 60.0
"""Seconds between two writes of how often something was seen."""

MOST_SERIES = 4_096
"""Events remembered to recognise what is seen again."""

MOST_TEXT = 1024
"""The longest note that the API server takes, in bytes."""

SLICE = 3_000_000
"""Nanoseconds of work before a waiting review is let in."""

TRACE = "kymograph.dev/trace"
"""The annotation of an Event that says where its trace can be looked at."""

_NO_NAME = re.compile(r"[^a-z0-9.-]")


class Writer(Protocol):
    """What the recorder asks of a Kubernetes client."""

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Create an object."""

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch an object."""


_CONTROLLERS = {
    notes.Source.ADMISSION: "admission",
    notes.Source.SCAN: "reports",
    notes.Source.GENERATE: "background",
    notes.Source.MUTATE: "background",
    notes.Source.CLEANUP: "cleanup",
    notes.Source.GLOBAL_CONTEXT: "background",
}


class _Origin(NamedTuple):
    """What an Event is because of: where the trace of that can be looked at, and its span."""

    link: str
    cause: trace.SpanContext | None


@dataclasses.dataclass(slots=True)
class _Series:
    """An Event that was written, and what was seen of it since."""

    namespace: str
    name: str
    until: float
    count: int = 1
    told: int = 1
    told_at: float = 0.0
    last: str = ""


class Recorder:
    """Takes what there is to say and writes it when there is time.

    Args:
        client: Writes.
        clock: Monotonic nanoseconds.
        now: The time.
        instance: Who says it, beside the source: the name of this process.
        dropped: Counts an Event that was dropped.
        tracer_for: The tracer of a controller: each write is a root, of the controller that has it to say.
        omitted: Reasons that are not wanted.
        most: How many Events may wait to be written.
        worked: Is told of each Event that was written, or could not be.
    """

    def __init__(
        self,
        client: Writer,
        clock: Callable[[], int],
        now: Callable[[], dt.datetime],
        instance: str,
        dropped: Callable[[], None],
        tracer_for: Callable[[str], trace.Tracer],
        omitted: Iterable[str] = (),
        most: int = MOST_WAITING,
        worked: works.Reconciled = works.uncounted,
    ) -> None:
        self._client = client
        self._clock = clock
        self._now = now
        self._instance = instance
        self._worked = worked
        self._dropped = dropped
        self._tracer_for = tracer_for
        self.omitted = frozenset(omitted)
        self._most = most
        self._actions: frozenset[str] = frozenset()
        self._work: collections.deque[tuple[Callable[[], Iterable[notes.Note]], _Origin]] = collections.deque()
        self._waiting: dict[notes.Note, _Origin] = {}
        self._series: dict[notes.Note, _Series] = {}
        self._news = asyncio.Event()
        self._next = 0.0

    @property
    def depth(self) -> int:
        """How much waits to be worked out or written."""
        return len(self._work) + len(self._waiting)

    def choose(self, omitted: Iterable[str], actions: Iterable[str]) -> None:
        """From now on other reasons are not wanted, and of what passed only some actions; none stands for all."""
        self.omitted, self._actions = frozenset(omitted), frozenset(actions)

    def later(
        self, work: Callable[[], Iterable[notes.Note]], link: str = "", cause: trace.SpanContext | None = None
    ) -> None:
        """Remember to work out what there is to say; called on the hot path, it returns at once and raises nothing.

        Args:
            work: Works it out.
            link: Where its trace can be looked at; empty for nowhere.
            cause: The span of what there is to say something of; None where that is not traced.
        """
        if len(self._work) >= MOST_WORK:
            self._dropped()
            return
        self._work.append((work, _Origin(link, cause)))
        self._news.set()

    def add(self, note: notes.Note, link: str = "") -> None:
        """Something to say. What is said already is counted; for what there is no room it is dropped.

        Args:
            note: What to say.
            link: Where its trace can be looked at; an Event has that of the first time. Empty for nowhere.
        """
        self._add(note, _Origin(link, roots.cause()))

    def _add(self, note: notes.Note, origin: "_Origin") -> None:
        if note.reason in self.omitted or not note.regarding.name:
            return
        if self._actions and note.reason == notes.Reason.POLICY_APPLIED and note.action not in self._actions:
            return
        if len(note.text) > MOST_TEXT:  # a message may quote an object of megabytes
            note = note._replace(text=_cut(credentials.redacted(note.text)))
        now = self._clock() / 1e9
        series = self._series.get(note)
        if series is not None and series.until > now:
            series.count += 1
            series.until = now + SERIES_LASTS
            series.last = self._stamp()
            return
        if note in self._waiting:
            return
        if len(self._waiting) >= self._most:
            self._dropped()
            return
        self._waiting[note] = origin
        self._news.set()

    async def run(self) -> None:
        """Write until cancelled; nothing that the API server does ends it."""
        while True:
            self._news.clear()
            await self._work_out()
            while self._waiting:
                note = next(iter(self._waiting))
                origin = self._waiting.pop(note)
                await self._turn()
                began = self._clock()
                outcome = await self._write(note, origin)
                self._worked((self._clock() - began) / 1e9, outcome)
                await self._work_out()
            await self._tell_series()
            try:
                async with asyncio.timeout(SERIES_EVERY):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _work_out(self) -> None:
        began = self._clock()
        while self._work:
            work, origin = self._work.popleft()
            for note in work():
                self._add(note, origin)
            if self._clock() - began > SLICE:
                await asyncio.sleep(0)
                began = self._clock()

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._next)
        self._next = at + 1.0 / PER_SECOND
        await asyncio.sleep(at - loop.time())

    async def _write(self, note: notes.Note, origin: "_Origin") -> str:
        """Write an Event; the kind of error, or success."""
        document = self._document(note, origin.link)
        metadata = document["metadata"]
        with self._span(note, origin.cause) as span:
            try:
                await self._client.create(EVENTS, document, namespace=metadata["namespace"])
            except errors.NotFound:
                span.set_attribute(semconv.EVENT_OUTCOME, "namespace_gone")
                return works.SUCCESS
            except errors.KubernetesError as error:
                self._dropped()
                logger.debug("An Event was not written: %s", error)
                span.set_attribute(semconv.EVENT_OUTCOME, "dropped")
                roots.fail(span, error)
                return type(error).__name__
            span.set_attribute(semconv.EVENT_OUTCOME, "written")
        now = self._clock() / 1e9
        self._series.pop(note, None)
        self._series[note] = _Series(metadata["namespace"], metadata["name"], now + SERIES_LASTS, told_at=now)
        while len(self._series) > MOST_SERIES:
            del self._series[next(iter(self._series))]
        return works.SUCCESS

    async def _tell_series(self) -> None:
        """Write down how often things were seen again; forget what was not for long."""
        now = self._clock() / 1e9
        for note, series in tuple(self._series.items()):
            if series.count > series.told and now - series.told_at >= SERIES_EVERY:
                patch = {"series": {"count": series.count, "lastObservedTime": series.last}}
                series.told, series.told_at = series.count, now
                await self._turn()
                with self._span(note, None) as span:
                    try:
                        await self._client.merge(EVENTS, series.name, patch, namespace=series.namespace)
                    except errors.KubernetesError as error:
                        self._series.pop(note, None)
                        logger.debug("The series of an Event was not written: %s", error)
                        roots.fail(span, error)
                    else:
                        span.set_attribute(semconv.EVENT_OUTCOME, "counted")
            elif series.until <= now:
                self._series.pop(note, None)

    def _span(self, note: notes.Note, cause: trace.SpanContext | None) -> contextlib.AbstractContextManager[trace.Span]:
        about = note.regarding
        attributes = {
            semconv.OBJECT_KIND: about.kind,
            semconv.OBJECT_NAMESPACE: about.namespace,
            semconv.OBJECT_NAME: about.name,
            semconv.OBJECT_UID: about.uid,
            semconv.EVENT_REASON: note.reason.value,
            semconv.EVENT_ACTION: note.action.value,
        }
        return roots.root(self._tracer_for(_CONTROLLERS[note.source]), "EVENT write", attributes, (cause,))

    def _document(self, note: notes.Note, link: str) -> dict[str, Any]:
        regarding = note.regarding
        document: dict[str, Any] = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": self._name(regarding.name), "namespace": regarding.namespace or "default"},
            "eventTime": self._stamp(),
            "reportingController": note.source.value,
            "reportingInstance": f"{note.source.value}-{self._instance}"[:128],
            "action": note.action.value,
            "reason": note.reason.value,
            "regarding": _reference(regarding),
            "note": _cut(credentials.redacted(note.text)),
            "type": "Normal" if note.reason in notes.NORMAL else "Warning",
        }
        if link:
            document["metadata"]["annotations"] = {TRACE: link}
        if note.related is not None:
            document["related"] = _reference(note.related)
        return document

    def _name(self, name: str) -> str:
        """A name like those of Kubernetes' own Events: the object's and the moment."""
        clean = _NO_NAME.sub("-", name.lower())[:200].strip("-.") or "event"
        return f"{clean}.{int(self._now().timestamp() * 1e9) + self._clock() % 1_000:x}"

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _reference(about: notes.Reference) -> dict[str, str]:
    found = {
        "apiVersion": about.api_version,
        "kind": about.kind,
        "namespace": about.namespace,
        "name": about.name,
        "uid": about.uid,
    }
    return {key: value for key, value in found.items() if value}


def _cut(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= MOST_TEXT:
        return text
    return encoded[: MOST_TEXT - 3].decode(errors="ignore") + "..."
