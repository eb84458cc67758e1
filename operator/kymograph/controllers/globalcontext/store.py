"""The entries in force, and what they hold: answered from memory, in the middle of a review.

Entries of the same collection share what is watched of it. A projection is computed when it is first asked for after a
change, and remembered until the next.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.trace import Tracer

from kymograph.clients.kubernetes import discovery, informer, resources
from kymograph.controllers.globalcontext import definition, sources
from kymograph.engine import budget, errors
from kymograph.telemetry import roots, semconv

logger = logging.getLogger(__name__)

STEPS = 20_000_000
"""Steps that one projection may take: a collection of tens of thousands of objects, in some seconds."""

SIZE = 64 * 1024 * 1024
"""Bytes of values that one projection may make."""


@dataclasses.dataclass(slots=True)
class Entry:
    """One entry in force.

    Attributes:
        document: The entry as the cluster holds it.
        definition: What it asks for; None where it cannot be read.
        problems: Why it cannot be read.
        source: Where its data come from; None where it cannot be read.
        projected: By projection the version of the data, the result, and why there is none.
    """

    document: Mapping[str, Any]
    definition: definition.Definition | None
    problems: tuple[errors.Problem, ...]
    source: sources.Source | None
    projected: dict[str, tuple[int, Any, str]] = dataclasses.field(default_factory=dict)


class GlobalContext:
    """Keeps the data of all entries.

    Args:
        client: Lists and watches entries and collections.
        catalogues: What the API server serves.
        caller: Makes calls.
        tracer: Traces the rounds of calls, and what is asked to find a collection.
    """

    def __init__(
        self,
        client: informer.Source,
        catalogues: discovery.Catalogues,
        caller: sources.Caller,
        tracer: Tracer,
    ) -> None:
        self._tracer = tracer
        self._client = client
        self._catalogues = catalogues
        self._caller = caller
        self._entries: dict[str, Entry] = {}
        self._shared: dict[definition.Collection, tuple[sources.Watched, set[str]]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._informer = informer.Informer(client, resources.GLOBAL_CONTEXT_ENTRIES, changed=self._changed)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call a function with the name of an entry after each change of it or of its data."""
        self._listeners.append(listener)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries in force, by name."""
        return self._entries

    async def run(self) -> None:
        """Follow the entries of the cluster until cancelled."""
        try:
            await self._informer.run()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def at_hand(self, name: str) -> Any:
        """What an entry (`entry`) or one of its projections (`entry.projection`) holds.

        Raises:
            LookupError: There is nothing, or not yet; the text says why.
        """
        name, _, projection = name.partition(".")
        entry = self._entries.get(name)
        if entry is None:
            raise LookupError(f"failed to fetch entry key={name}")
        return value(entry, projection)

    async def wait(self, name: str) -> Any:
        """The same, once the entries are listed and the data of this one have been asked for.

        Raises:
            LookupError: There is nothing; the text says why.
        """
        await self._informer.synced.wait()
        entry = self._entries.get(name.partition(".")[0])
        if entry is not None and entry.source is not None:
            await entry.source.settled.wait()
        return self.at_hand(name)

    def _changed(self, key: informer.Key, document: dict[str, Any] | None) -> None:
        _, name = key
        before = self._entries.get(name)
        if document is None:
            self._entries.pop(name, None)
        elif before is not None and _same(before.document, document):
            before.document = document  # its status was written
            return
        else:
            self._entries[name] = self._made(name, document)
        if before is not None:
            self._let_go(name, before, self._entries.get(name))
        self._tell(name)

    def _made(self, name: str, document: dict[str, Any]) -> Entry:
        try:
            read = definition.read(document)
        except errors.PolicyInvalid as invalid:
            logger.warning("GlobalContextEntry %s cannot be kept: %s", name, invalid)
            return Entry(document, None, invalid.problems, None)
        return Entry(document, read, (), self._source(name, read.source))

    def _source(self, name: str, wanted: definition.Collection | definition.Call) -> sources.Source:
        if isinstance(wanted, definition.Call):
            attributes = {semconv.OBJECT_KIND: "GlobalContextEntry", semconv.OBJECT_NAME: name}
            called = sources.Called(
                wanted,
                self._caller,
                lambda: self._tell(name),
                lambda: roots.root(self._tracer, "BACKGROUND global context refresh", attributes),
            )
            self._start(called)
            return called
        shared = self._shared.get(wanted)
        if shared is None:
            users: set[str] = set()
            about = {
                semconv.OBJECT_GROUP: wanted.group,
                semconv.OBJECT_VERSION: wanted.version,
                semconv.OBJECT_RESOURCE: wanted.resource,
            }
            watched = sources.Watched(
                wanted,
                self._client,
                self._catalogues,
                lambda: self._tell(*users),
                lambda: roots.root(self._tracer, "BACKGROUND global context discovery", about),
            )
            shared = self._shared[wanted] = watched, users
            self._start(watched)
        shared[1].add(name)
        return shared[0]

    def _let_go(self, name: str, before: Entry, after: Entry | None) -> None:
        """Stop a source that nobody uses any more."""
        if before.source is None or (after is not None and after.source is before.source):
            return
        wanted = before.definition.source if before.definition is not None else None
        if isinstance(wanted, definition.Collection):
            _, users = self._shared[wanted]
            users.discard(name)
            if users:
                return
            del self._shared[wanted]
        self._tasks.pop(id(before.source)).cancel()

    def _start(self, source: sources.Source) -> None:
        task = asyncio.create_task(source.run())
        task.add_done_callback(_log_defect)
        self._tasks[id(source)] = task

    def _tell(self, *names: str) -> None:
        for listener in self._listeners:
            for name in names:
                listener(name)


def value(entry: Entry, projection: str = "") -> Any:
    """What an entry holds, or one of its projections.

    Raises:
        LookupError: Nothing; the text says why.
    """
    if entry.source is None or entry.definition is None:
        raise LookupError("; ".join(map(str, entry.problems)))
    data = entry.source.value()
    if not projection:
        return data
    expression = entry.definition.projections.get(projection)
    if expression is None:
        raise LookupError(f'projection "{projection}" not found')
    version, result, problem = entry.projected.get(projection, (-1, None, ""))
    if version != entry.source.version:
        result, problem = None, ""
        try:
            result = expression.search(data, budget.Budget(steps=STEPS, size=SIZE))
        except errors.EvaluationError as error:
            problem = f'failed to apply projection "{projection}": {error}'
        entry.projected[projection] = entry.source.version, result, problem
    if problem:
        raise LookupError(problem)
    return result


def _same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return bool(before["metadata"]["uid"] == after["metadata"]["uid"] and before.get("spec") == after.get("spec"))


def _log_defect(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("A global context entry is not kept; this is a defect of Kymograph", exc_info=task.exception())
