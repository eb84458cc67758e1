"""Where the data of entries come from: collections that are watched, and calls that are made again and again.

A source holds its data as they are and never more than it may: a collection that outgrows its limit is let go, and who
asks is told so, instead of policies taking the memory of the operator.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import orjson
from opentelemetry.trace import Span, SpanContext, Status, StatusCode

from kymograph.clients.http import errors as http_errors
from kymograph.clients.kubernetes import discovery, errors, informer, resources
from kymograph.controllers.globalcontext import definition
from kymograph.telemetry import rendering

logger = logging.getLogger(__name__)

COLLECTION_SIZE = 64 * 1024 * 1024
"""Bytes of JSON that one collection may have."""

CALL_TIMEOUT = 30.0
"""Seconds for one call."""

LOOK_AGAIN = 10.0
"""Seconds until a kind that is not served, or a collection that was too large, is tried again."""

PATIENCE = 3
"""Lists that may fail in a row before who waits for the first is told why; one that is refused is enough."""

FIRST_PAUSE = 0.01
PAUSE_FACTOR = 5
"""Seconds before a failed call is tried again, and how much longer each further pause is: as client-go's backoff."""

MOST_PAUSE = 10.0

Caller = Callable[[Any], Awaitable[Any]]
"""Answers an APICall or ServiceCall need; raises KubernetesError or CallError."""


class NotKnown(LookupError):
    """A source has no data; the text says why. Later it may have."""


class Source(Protocol):
    """Where data come from.

    Attributes:
        version: Another number after each change of the data, or of the reason why there are none.
        settled: Set once there are data, or a reason why there are none.
        refresh: The span of what brought the data, or the reason; None where that is not traced.
    """

    version: int
    settled: asyncio.Event
    refresh: SpanContext | None

    @property
    def ready(self) -> bool:
        """Whether there are data. May be asked from any thread."""

    def value(self) -> Any:
        """The data.

        Raises:
            NotKnown: There are none.
        """

    async def run(self) -> None:
        """Keep the data up to date until cancelled."""


class Watched:
    """A collection of the cluster, as a list of whole objects.

    While the API server does not answer, or refuses to, the objects stay as they were last seen; without their kind
    they are gone.

    Args:
        collection: Which.
        client: Lists and watches it.
        catalogues: Knows whether it is served, and of what kind its objects are.
        changed: Is told of each change.
        discovering: Opens the span of a question what is served: a root, for no review waits for it.
        limit: The most bytes of JSON that it may have.
    """

    def __init__(
        self,
        collection: definition.Collection,
        client: informer.Source,
        catalogues: discovery.Catalogues,
        changed: Callable[[], None],
        discovering: Callable[[], AbstractContextManager[Span]],
        limit: int = COLLECTION_SIZE,
    ) -> None:
        self.version = 0
        self.settled = asyncio.Event()
        self.refresh: SpanContext | None = None
        self._collection = collection
        self._client = client
        self._catalogues = catalogues
        self._changed = changed
        self._span = discovering
        self._limit = limit
        self._sizes: dict[informer.Key, int] = {}
        self._size = 0
        self._informer: informer.Informer | None = None
        self._list: list[Any] | None = None
        self._problem = "it has not been listed yet"
        self._failures = 0
        self._doubted = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the objects are listed."""
        return self._informer is not None and self._informer.synced.is_set()

    def value(self) -> list[Any]:
        """The objects, sorted by namespace and name."""
        if self._informer is None or not self.ready:
            raise NotKnown(self._problem)
        if self._list is None:
            self._list = [document for _, document in sorted(self._informer.objects.items())]
        return self._list

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            resource = await self._resource()
            if resource is not None:
                await self._follow(resource)
            self.settled.set()
            self._tell()
            await asyncio.sleep(LOOK_AGAIN)

    async def _resource(self) -> resources.Resource | None:
        wanted, self.refresh = self._collection, None
        try:
            kind = self._catalogues.current.kind_of(wanted.group, wanted.version, wanted.resource)
            if kind is None:
                kind = await self._kind()
        except errors.KubernetesError as error:
            self._problem = f"whether {wanted} is served is not known: {error}"
            return None
        if kind is None:
            self._problem = f"the API server does not serve {wanted}"
            return None
        return resources.Resource(wanted.group, wanted.version, wanted.resource, kind, namespaced=True)

    async def _kind(self) -> str | None:
        """What its objects are; None where the API server, asked now, does not serve them."""
        wanted = self._collection
        with self._span() as span:
            self.refresh = _sampled(span)
            return (await self._catalogues.refresh()).kind_of(wanted.group, wanted.version, wanted.resource)

    async def _follow(self, resource: resources.Resource) -> None:
        """Watch until the collection has outgrown its limit, or its kind is gone."""
        self._sizes, self._size, self._failures = {}, 0, 0
        self._doubted.clear()
        followed = informer.Informer(
            self._client,
            resource,
            namespace=self._collection.namespace,
            project=lambda document: whole(resource, document),
            changed=self._kept,
            failed=self._failed,
        )
        self._problem = f"{self._collection} has not been listed yet"
        self._informer = followed
        running = asyncio.create_task(followed.run())
        listed = asyncio.create_task(self._when_listed(followed))
        try:
            problem = await self._over()
        finally:
            self._informer, self._list = None, None
            for task in (running, listed):
                task.cancel()
            await asyncio.gather(running, listed, return_exceptions=True)
        self._problem = problem
        logger.warning("A global context entry cannot be kept: %s", self._problem)

    async def _over(self) -> str:
        """Wait until there is a reason to watch no longer; the reason."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            if self._size > self._limit:
                return f"{self._collection} has more than {self._limit} bytes, which are not kept"
            try:
                if await self._kind() is None:
                    return f"the API server does not serve {self._collection} any more"
            except errors.KubernetesError as error:
                logger.debug("Whether %s is served is not known: %s", self._collection, error)

    def _failed(self, error: errors.KubernetesError) -> None:
        """A list failed, which the informer tries again."""
        self._failures += 1
        self._problem = f"{self._collection} cannot be listed: {error}"
        if isinstance(error, errors.Forbidden):
            self._failures = PATIENCE
            self._problem = f"permission denied: {error.message}"
        if isinstance(error, errors.NotFound):
            self._doubted.set()
        listed = self._informer is not None and self._informer.synced.is_set()
        if not listed and self._failures >= PATIENCE:
            self.settled.set()
            self._tell()

    async def _when_listed(self, followed: informer.Informer) -> None:
        await followed.synced.wait()
        self.settled.set()
        self._tell()

    def _kept(self, key: informer.Key, document: Any) -> None:
        self._size -= self._sizes.pop(key, 0)
        if document is not None:
            self._sizes[key] = len(orjson.dumps(document))
            self._size += self._sizes[key]
        if self._size > self._limit:
            self._doubted.set()
        self._list = None
        if self.settled.is_set():
            self._tell()

    def _tell(self) -> None:
        self.version += 1
        self._changed()


class Fixed:
    """Data that somebody has looked up.

    Args:
        data: They.
    """

    def __init__(self, data: Any) -> None:
        self.version = 1
        self.refresh: SpanContext | None = None
        self.settled = asyncio.Event()
        self.settled.set()
        self._data = data

    @property
    def ready(self) -> bool:
        """They are there."""
        return True

    def value(self) -> Any:
        """The data."""
        return self._data

    async def run(self) -> None:
        """There is nothing to do."""


class Called:
    """The answer to a call, renewed at intervals. While a round has failed there are no data, as with Kyverno.

    Args:
        call: What is called, and how often.
        caller: Makes the call.
        changed: Is told of each answer and each failed round.
        round_: Opens the span of a round: a root, for no review waits for it.
    """

    def __init__(
        self,
        call: definition.Call,
        caller: Caller,
        changed: Callable[[], None],
        round_: Callable[[], AbstractContextManager[Span]],
    ) -> None:
        self.version = 0
        self.settled = asyncio.Event()
        self.refresh: SpanContext | None = None
        self._span = round_
        self._call = call
        self._caller = caller
        self._changed = changed
        self._value: Any = None
        self._problem = "it has not been called yet"

    @property
    def ready(self) -> bool:
        """Whether the last round had an answer."""
        return not self._problem

    def value(self) -> Any:
        """The latest answer."""
        if self._problem:
            raise NotKnown(self._problem)
        return self._value

    async def run(self) -> None:
        """Call until cancelled."""
        while True:
            with self._span() as span:
                await self._round()
                if self._problem:
                    span.set_status(Status(StatusCode.ERROR, rendering.bounded(self._problem)))
            self.refresh = _sampled(span)
            self.version += 1
            self.settled.set()
            self._changed()
            await asyncio.sleep(self._call.interval)

    async def _round(self) -> None:
        pause = FIRST_PAUSE
        for left in range(self._call.tries - 1, -1, -1):
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    answer = await self._caller(self._call.need)
            except TimeoutError:
                self._problem = f"there was no answer in {CALL_TIMEOUT:.0f} s"
            except errors.Forbidden as error:
                self._problem = f"permission denied: {error.message}"
            except (errors.KubernetesError, http_errors.CallError) as error:
                self._problem = str(error)
            else:
                self._value = answer
                self._problem = "" if answer is not None else "no data available"
                return
            if left:
                await asyncio.sleep(pause * random.uniform(1.0, 1.1))  # noqa: S311  # jitter, no secret
                pause = min(pause * PAUSE_FACTOR, MOST_PAUSE)
        self._value = None


def _sampled(span: Span) -> SpanContext | None:
    context = span.get_span_context()
    return context if context.trace_flags.sampled else None


def whole(resource: resources.Resource, document: dict[str, Any]) -> dict[str, Any]:
    """An object as a single read gives it: lists leave out of what kind it is. Who manages its fields is left out."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return {**document, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
