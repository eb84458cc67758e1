"""What has changed since the last scan that makes results of scans different: policies, exceptions, kinds."""

import asyncio
from collections.abc import Callable

from kymograph.controllers import policies
from kymograph.engine import exceptions

SETTLE = 1.0
"""Seconds that a burst of changes is given to end before one scan answers it."""


class Changes:
    """Collects the keys of policies that have to be asked again about objects.

    Args:
        store: The policies.
        excepted: Gives the PolicyExceptions of the moment.
    """

    def __init__(self, store: policies.PolicyStore, excepted: Callable[[], exceptions.Exceptions]) -> None:
        self._store = store
        self._excepted = excepted
        self._exceptions = exceptions.NONE
        self._policies: set[str] = set()
        self._news = asyncio.Event()
        store.listen(self._policy_changed)

    def kinds_changed(self) -> None:
        """The API server serves other kinds than before."""
        self._news.set()

    def exceptions_changed(self) -> None:
        """There are other exceptions than before."""
        self._news.set()

    async def settled(self) -> None:
        """Wait for changes, and for a burst of them to end."""
        await self._news.wait()
        await asyncio.sleep(SETTLE)

    def take(self) -> frozenset[str]:
        """The policies that changed, or whose exceptions did, since this was called last."""
        self._news.clear()
        before, self._exceptions = self._exceptions, self._excepted()
        if before is not self._exceptions:
            keys = (held.compiled.key for held in self._store.held if held.compiled is not None)
            self._policies.update(key for key in keys if before.of(key) != self._exceptions.of(key))
        taken = frozenset(self._policies)
        self._policies.clear()
        return taken

    def _policy_changed(self, key: policies.Key, held: policies.Held | None) -> None:
        if held is not None and held.compiled is not None:
            self._policies.add(held.compiled.key)
            self._news.set()
        else:
            self._policies.discard(f"{key.namespace}/{key.name}" if key.namespace else key.name)
            self._news.set()
