"""A small informer: the objects of one collection, kept true by list and watch.

For kinds of which there may be many: lists come in pages, only metadata is asked for where bodies are not needed,
bookmarks keep the resourceVersion fresh, and every relist sweeps what is gone (Kopf's watches do not).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors, resources

logger = logging.getLogger(__name__)

BACKOFF_FIRST = 0.2
BACKOFF_MOST = 30.0
"""Seconds between tries when the API server cannot be listed or watched, with jitter."""

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""


class Informer:
    """Keeps the objects of a collection in memory.

    Args:
        client: Whom to ask.
        resource: The collection.
        label_selector: Which of its objects.
        metadata_only: Ask for metadata only (PartialObjectMetadata).
        project: What to keep of an object; the object itself by default.
        changed: Called after each change with the key and what is kept now, None when the object is gone.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        resource: resources.Resource,
        *,
        label_selector: str = "",
        metadata_only: bool = False,
        project: Callable[[dict[str, Any]], Any] = lambda document: document,
        changed: Callable[[Key, Any], None] = lambda _key, _value: None,
    ) -> None:
        self._client = client
        self._resource = resource
        self._label_selector = label_selector
        self._metadata_only = metadata_only
        self._project = project
        self._changed = changed
        self.objects: dict[Key, Any] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """List and watch until cancelled; nothing that the API server does ends it."""
        backoff = BACKOFF_FIRST
        while True:
            try:
                version = await self._list()
                while True:
                    began = asyncio.get_running_loop().time()
                    version = await self._watch(version)
                    if asyncio.get_running_loop().time() - began < 1.0:
                        await asyncio.sleep(BACKOFF_FIRST)  # a server that ends watches at once is not hammered
                    backoff = BACKOFF_FIRST
            except errors.Expired:
                logger.info("The watch of %s has a gap, listing again", self._resource.plural)
            except errors.KubernetesError as error:
                logger.warning("Watching %s failed, trying again: %s", self._resource.plural, error)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            backoff = min(backoff * 2, BACKOFF_MOST)

    async def _list(self) -> str:
        seen: set[Key] = set()
        version = ""
        async for page in self._client.pages(
            self._resource, label_selector=self._label_selector, metadata_only=self._metadata_only
        ):
            version = page["metadata"]["resourceVersion"]
            for document in page.get("items") or []:
                key = _key(document)
                seen.add(key)
                self._keep(key, document)
        for key in [key for key in self.objects if key not in seen]:
            self._drop(key)
        self.synced.set()
        return version

    async def _watch(self, version: str) -> str:
        async for event in self._client.watch(
            self._resource, version, label_selector=self._label_selector, metadata_only=self._metadata_only
        ):
            document = event["object"]
            version = document["metadata"]["resourceVersion"]
            match event["type"]:
                case "ADDED" | "MODIFIED":
                    self._keep(_key(document), document)
                case "DELETED":
                    self._drop(_key(document))
        return version

    def _keep(self, key: Key, document: dict[str, Any]) -> None:
        value = self._project(document)
        if self.objects.get(key) != value:
            self.objects[key] = value
            self._changed(key, value)

    def _drop(self, key: Key) -> None:
        if self.objects.pop(key, None) is not None:
            self._changed(key, None)


def _key(document: dict[str, Any]) -> Key:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
