"""Tells the author of a GlobalContextEntry what became of it: the Ready condition, and when a call was last answered.

Every replica keeps the data; the leader tells of its own. What fails is also an Event, in Kyverno's terms
(`pkg/globalcontext/event`): what goes on failing is counted in the one there is.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.events import notes
from kymograph.controllers.globalcontext import definition, sources, store
from kymograph.telemetry import roots, semconv
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two rounds of writing: a watched collection may change many times in that."""

MOST_MESSAGE = 32_768

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class Merger(Protocol):
    """What the writer asks of a Kubernetes client."""

    async def merge(
        self, resource: resources.Resource, name: str, patch: Mapping[str, Any], *, subresource: str
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch."""


class _Refreshed(NamedTuple):
    """Since when a source has had the data of a version."""

    source: sources.Source
    version: int
    at: dt.datetime


class StatusWriter:
    """Writes the status of entries, one unit of work (and one trace) per entry.

    Args:
        client: Writes.
        context: Whose entries.
        telemetry: Where each write is traced.
        now: The time of a condition's transition and of a refresh.
        tell: Makes Events.
    """

    def __init__(
        self,
        client: Merger,
        context: store.GlobalContext,
        telemetry: Telemetry,
        now: Callable[[], dt.datetime],
        tell: Callable[[notes.Note], None] = lambda _note: None,
    ) -> None:
        self._client = client
        self._tell = tell
        self._context = context
        self._telemetry = telemetry
        self._now = now
        self._refreshed: dict[str, _Refreshed] = {}
        self._pending: set[str] = set()
        self._work = asyncio.Event()
        self._counted = telemetry.work("global-context")
        self._counted.queue(lambda: len(self._pending), led=True)
        context.listen(self._changed)

    async def run(self) -> None:
        """Write until cancelled, beginning with every entry there is."""
        with self._counted.attending():
            for name in self._context.entries:
                self._changed(name)
            await self._write_all()

    async def _write_all(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            pending, self._pending = self._pending, set()
            for name in sorted(pending):
                self._counted.taken(name)
                entry = self._context.entries.get(name)
                if entry is None or (entry.source is not None and not entry.source.settled.is_set()):
                    continue
                try:
                    with self._counted.reconciling():
                        await self._write(name, entry)
                except errors.NotFound:
                    continue
                except errors.KubernetesError as error:
                    logger.warning("The status of GlobalContextEntry %s cannot be written: %s", name, error)
                    self._changed(name)
            await asyncio.sleep(PAUSE)

    def _changed(self, name: str) -> None:
        entry = self._context.entries.get(name)
        if entry is None:
            self._refreshed.pop(name, None)
        elif entry.source is not None and entry.source.version:
            seen = self._refreshed.get(name)
            if seen is None or seen.source is not entry.source or seen.version != entry.source.version:
                self._refreshed[name] = _Refreshed(entry.source, entry.source.version, self._now())
        self._pending.add(name)
        self._counted.entered(name)
        self._work.set()

    async def _write(self, name: str, entry: store.Entry) -> None:
        before = entry.document.get("status") or {}
        refreshed = self._refreshed.get(name)
        status = render(entry, self._now(), None if refreshed is None else refreshed.at)
        (condition,) = status["conditions"]
        if condition["status"] == "False":
            self._tell(_note(entry.document, condition["message"]))
        if all(before.get(field) == value for field, value in status.items()):
            return
        attributes = {semconv.OBJECT_KIND: "GlobalContextEntry", semconv.OBJECT_NAME: name}
        refresh = None if entry.source is None else entry.source.refresh
        tracer = self._telemetry.tracer_for("background")
        with roots.root(tracer, "BACKGROUND global context status", attributes, (refresh,)):
            patch = {"metadata": {"uid": entry.document["metadata"]["uid"]}, "status": status}
            await self._client.merge(resources.GLOBAL_CONTEXT_ENTRIES, name, patch, subresource="status")


def render(entry: store.Entry, now: dt.datetime, refreshed: dt.datetime | None) -> dict[str, Any]:
    """The status of an entry, with Kyverno's reasons.

    Args:
        entry: The entry.
        now: The time.
        refreshed: When its data came; None where that is not known.
    """
    problem = _problem(entry)
    written = entry.document.get("status") or {}
    before: Mapping[str, Any] = next(
        (each for each in written.get("conditions") or () if each.get("type") == "Ready"), {}
    )
    state = "False" if problem else "True"
    moment = now.strftime(_MOMENT)
    status: dict[str, Any] = {
        "conditions": [
            {
                "type": "Ready",
                "status": state,
                "reason": "Failed" if problem else "Succeeded",
                "message": problem[:MOST_MESSAGE],
                "lastTransitionTime": (before.get("status") == state and before.get("lastTransitionTime")) or moment,
                "observedGeneration": int(entry.document["metadata"].get("generation") or 0),
            }
        ]
    }
    read = entry.definition
    if not problem and refreshed is not None and read is not None and isinstance(read.source, definition.Call):
        status["lastRefreshTime"] = refreshed.strftime(_MOMENT)
    return status


def _note(document: Mapping[str, Any], problem: str) -> notes.Note:
    metadata, kind = document["metadata"], resources.GLOBAL_CONTEXT_ENTRIES
    about = notes.Reference(kind.api_version, kind.kind, "", metadata["name"], metadata.get("uid") or "")
    return notes.Note(
        about, None, notes.Reason.POLICY_ERROR, notes.Action.RETRYING, notes.Source.GLOBAL_CONTEXT, problem
    )


def _problem(entry: store.Entry) -> str:
    """Why an entry, or one of its projections, has no data; empty where all have."""
    found = []
    for projection in ("", *(entry.definition.projections if entry.definition is not None else ())):
        try:
            store.value(entry, projection)
        except LookupError as error:
            found.append(str(error))
    return "; ".join(dict.fromkeys(found))
