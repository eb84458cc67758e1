"""A collection of objects as an API server lists and watches it, in memory; satisfies `informer.Source` and others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from kymograph.clients.kubernetes import errors


class Collection:
    """Objects by (namespace, name), with one resourceVersion for all of them, as etcd has.

    Attributes:
        listed: How often the first page was asked for.
        watched: The resourceVersions that watches began with.
        refusing: What the next lists and watches raise instead, oldest first.
        page_size: Objects in a page.
    """

    def __init__(self, *names: str) -> None:
        self.version = 100
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.listed = 0
        self.watched: list[str] = []
        self.refusing: list[errors.KubernetesError] = []
        self.page_size = 2
        self._changed = asyncio.Condition()
        self._events: list[tuple[int, dict[str, Any]]] = []
        self._broken: errors.KubernetesError | None = None
        for name in names:
            self._store(name, {})

    def _store(self, name: str, fields: dict[str, Any], namespace: str = "ns") -> dict[str, Any]:
        self.version += 1
        document = {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(self.version)}, **fields}
        self.objects[namespace, name] = document
        return document

    async def put(self, name: str, *, silently: bool = False, namespace: str = "ns", **fields: Any) -> None:
        """Create or change an object; silently where no watch is to hear of it."""
        kind = "MODIFIED" if (namespace, name) in self.objects else "ADDED"
        await self._tell(kind, self._store(name, fields, namespace), silently=silently)

    async def remove(self, name: str, *, silently: bool = False, namespace: str = "ns") -> None:
        """Delete an object."""
        self.version += 1
        document = self.objects.pop((namespace, name))
        document = {**document, "metadata": {**document["metadata"], "resourceVersion": str(self.version)}}
        await self._tell("DELETED", document, silently=silently)

    async def bookmark(self) -> None:
        """Tell watches how far they are."""
        self.version += 1
        await self._tell("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}, silently=False)

    async def break_watches(self, error: errors.KubernetesError | None) -> None:
        """End all watches with an error, or by themselves."""
        async with self._changed:
            self._broken = error or errors.KubernetesError()
            self._changed.notify_all()
        await asyncio.sleep(0)

    async def pages(self, resource: Any, **_: Any) -> AsyncIterator[dict[str, Any]]:
        """List."""
        self.listed += 1
        if self.refusing:
            raise self.refusing.pop(0)
        items, version = list(self.objects.values()), str(self.version)
        for start in range(0, max(len(items), 1), self.page_size):
            yield {"metadata": {"resourceVersion": version}, "items": items[start : start + self.page_size]}
            await asyncio.sleep(0)

    async def watch(self, resource: Any, resource_version: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        """Watch."""
        self.watched.append(resource_version)
        if self.refusing:
            raise self.refusing.pop(0)
        self._broken = None
        seen = int(resource_version)
        while True:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._broken or any(at > seen for at, _ in self._events)  # noqa: B023 - awaited before `seen` changes
                )
                broken, news = self._broken, [each for each in self._events if each[0] > seen]
            for at, event in news:
                seen = at
                yield event
            if broken is not None:
                if type(broken) is errors.KubernetesError:
                    return
                raise broken

    async def _tell(self, kind: str, document: dict[str, Any], *, silently: bool) -> None:
        async with self._changed:
            if not silently:
                self._events.append((self.version, {"type": kind, "object": document}))
            self._changed.notify_all()
