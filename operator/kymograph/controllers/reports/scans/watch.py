"""Which objects of a resource have changed since they were scanned, whoever changed them.

A watch of metadata tells that something changed; whether it matters is known only when the object is read again. What
is kept of an object is two digests, so that ten thousand of them are some megabytes.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from kymograph.clients.kubernetes import informer, resources
from kymograph.controllers.reports import confirmation


def marker(document: Mapping[str, Any]) -> bytes:
    """16 bytes that differ where the metadata of an object let one expect another content.

    That is its generation, which a new status does not raise, its labels and annotations; its resourceVersion for
    kinds that count no generations.
    """
    metadata = document["metadata"]
    told = (
        metadata.get("uid"),
        metadata.get("generation") or metadata.get("resourceVersion"),
        metadata.get("labels"),
        metadata.get("annotations"),
    )
    return hashlib.blake2b(orjson.dumps(told, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def key_of(document: Mapping[str, Any]) -> informer.Key:
    """Namespace and name of an object."""
    metadata = document["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


class Watch:
    """Follows the objects of one resource.

    Args:
        client: Lists and watches.
        resource: The resource.
        clock: Monotonic seconds.
        news: Set when an object has changed.

    Attributes:
        resource: As given.
        pending: The objects that changed since they were scanned, and when that was noticed.
    """

    def __init__(
        self, client: informer.Source, resource: resources.Resource, clock: Callable[[], float], news: asyncio.Event
    ) -> None:
        self.resource = resource
        self.pending: dict[informer.Key, float] = {}
        self._clock = clock
        self._news = news
        self._seen: dict[informer.Key, tuple[bytes, bytes]] = {}
        self._informer = informer.Informer(client, resource, metadata_only=True, project=marker, changed=self._changed)

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._informer.run()

    def saw(self, stored: Mapping[str, Any]) -> bool:
        """An object was read; whether its content is another one than when it was read last."""
        key, now = key_of(stored), marker(stored)
        content = confirmation.content(stored)
        before = self._seen.get(key)
        self._seen[key] = (now, content)
        if self._informer.objects.get(key, now) == now:
            self.pending.pop(key, None)
        return before is None or not content or before[1] != content

    def told(self, key: informer.Key) -> bytes | None:
        """The marker of the latest version of an object that the watch has told of; None where there is none."""
        marked: bytes | None = self._informer.objects.get(key)
        return marked

    def has_changed(self, stored: Mapping[str, Any]) -> bool:
        """Whether an object that was read a while ago is known to be another one now; it waits in `pending` then."""
        key = key_of(stored)
        return key in self.pending and self._informer.objects.get(key) != marker(stored)

    def forget(self, stored: Mapping[str, Any]) -> None:
        """Have an object count as never seen: whatever its content turns out to be, it is another one."""
        self._seen.pop(key_of(stored), None)

    def retain(self, keys: frozenset[informer.Key]) -> None:
        """Forget the objects that a complete list did not have."""
        for key in self._seen.keys() - keys:
            del self._seen[key]

    def _changed(self, key: informer.Key, now: bytes | None) -> None:
        if now is None:
            self._seen.pop(key, None)
            self.pending.pop(key, None)
            return
        before = self._seen.get(key)
        if before is None or before[0] != now:
            self.pending.setdefault(key, self._clock())
            self._news.set()
