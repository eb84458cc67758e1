"""A small informer: the objects of one collection, kept true by list and watch.

For kinds of which there may be many: lists come in pages, only metadata is asked for where bodies are not needed,
bookmarks keep the resourceVersion fresh, a lost connection is taken up where it broke, and every relist sweeps what is
gone (Kopf's watches do not).
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from kymograph.clients.kubernetes import errors, resources

logger = logging.getLogger(__name__)

BACKOFF_FIRST = 0.2
BACKOFF_MOST = 30.0
"""Seconds between tries when the API server cannot be listed or watched, with jitter."""

SHORTEST_WATCH = 1.0
"""Seconds: a server that ends watches sooner is not asked again at once."""

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""


class Source(Protocol):
    """What an informer asks of a Kubernetes client."""

    def pages(
        self,
        resource: resources.Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        snapshot: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection in pages; a `snapshot` is of one moment."""

    def watch(
        self,
        resource: resources.Resource,
        resource_version: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of a collection since a resourceVersion."""


class Informer:
    """Keeps the objects of a collection in memory.

    Args:
        client: Whom to ask.
        resource: The collection.
        namespace: Only objects of this namespace; empty is all.
        label_selector: Which of its objects.
        field_selector: The same, by fields (`metadata.name=...` needs no more than the right to that name).
        metadata_only: Ask for metadata only (PartialObjectMetadata).
        project: What to keep of an object; the object itself by default.
        changed: Called after each change with the key and what is kept now, None when the object is gone. An object
            for which this or `project` raises counts as absent: who may write one must not end who follows the others.
        failed: Called with the reason each time that the objects could not be listed.

    Attributes:
        objects: What is kept of each object. While the API server cannot be reached it is as old as that.
        synced: Set once all objects have been listed.
    """

    def __init__(
        self,
        client: Source,
        resource: resources.Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        project: Callable[[dict[str, Any]], Any] = lambda document: document,
        changed: Callable[[Key, Any], None] = lambda _key, _value: None,
        failed: Callable[[errors.KubernetesError], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._metadata_only = metadata_only
        self._project = project
        self._changed = changed
        self._failed = failed
        self._left_out: set[Key] = set()
        self._version: str | None = None
        self._backoff = BACKOFF_FIRST
        self.objects: dict[Key, Any] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """List and watch until cancelled; nothing that the API server does ends it."""
        while True:
            try:
                if self._version is None:
                    self._version = await self._listed()
                await self._watch(self._version)
                continue
            except errors.Unreachable as error:
                logger.warning("The watch of %s broke, taking it up again: %s", self._resource.plural, error)
            except errors.Expired:
                logger.info("The watch of %s has a gap, listing again", self._resource.plural)
                self._version = None
            except errors.KubernetesError as error:
                logger.warning("%s cannot be watched, trying again: %s", self._resource.plural, error)
                self._version = None
            await asyncio.sleep(self._backoff * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            self._backoff = min(self._backoff * 2, BACKOFF_MOST)

    async def _listed(self) -> str:
        try:
            return await self._list()
        except errors.KubernetesError as error:
            self._failed(error)
            raise

    async def _list(self) -> str:
        seen: set[Key] = set()
        version = ""
        async for page in self._client.pages(
            self._resource,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            metadata_only=self._metadata_only,
            snapshot=True,
        ):
            version = _version(page)
            for document in page.get("items") or []:
                key = _key(document)
                seen.add(key)
                self._keep(key, document)
        for key in [key for key in self.objects if key not in seen]:
            self._drop(key)
        self._left_out &= seen
        self.synced.set()
        return version

    async def _watch(self, version: str) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        async for event in self._client.watch(
            self._resource,
            version,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            metadata_only=self._metadata_only,
        ):
            document = event["object"]
            match event.get("type"):
                case "ADDED" | "MODIFIED":
                    self._keep(_key(document), document)
                case "DELETED":
                    key = _key(document)
                    self._left_out.discard(key)
                    self._drop(key)
            self._version = _version(document)
            self._backoff = BACKOFF_FIRST
        if clock() - began < SHORTEST_WATCH:
            await asyncio.sleep(SHORTEST_WATCH)

    def _keep(self, key: Key, document: dict[str, Any]) -> None:
        try:
            value = self._project(document)
            if key not in self.objects or self.objects[key] != value:
                self.objects[key] = value
                self._changed(key, value)
        except Exception as error:  # noqa: BLE001  # whatever who reads it runs into
            self._leave_out(key, error)
        else:
            self._left_out.discard(key)

    def _leave_out(self, key: Key, error: Exception) -> None:
        """Have an object count as absent, and say so once, without what stands in it: that may be secret."""
        if key not in self._left_out:
            self._left_out.add(key)
            logger.error(
                "The object %s/%s of %s is not as it should be (%s) and is left out",
                *key,
                self._resource.plural,
                type(error).__name__,
            )
        self._drop(key)

    def _drop(self, key: Key) -> None:
        if key in self.objects:
            del self.objects[key]
            self._changed(key, None)


def _key(document: dict[str, Any]) -> Key:
    try:
        metadata = document["metadata"]
        return metadata.get("namespace", ""), metadata["name"]
    except (KeyError, TypeError, AttributeError):
        raise errors.AnswerInvalid("an object has no name") from None


def _version(document: dict[str, Any]) -> str:
    """The resourceVersion of a list or an object. Some aggregated APIs (metrics.k8s.io) have none.

    Raises:
        AnswerInvalid: It has none.
    """
    version: str = (document.get("metadata") or {}).get("resourceVersion") or ""
    if not version:
        raise errors.AnswerInvalid("the answer has no resourceVersion, so changes cannot be followed")
    return version
