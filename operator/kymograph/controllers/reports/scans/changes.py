"""What has changed since the last scan that makes results of scans different: policies, exceptions, kinds, labels."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kymograph.controllers import policies
from kymograph.engine import exceptions
from kymograph.engine.policy import CompiledPolicy

SETTLE = 1.0
"""Seconds that a burst of changes is given to end before one scan answers it."""


class News(NamedTuple):
    """What changed.

    Attributes:
        policies: The keys of policies that changed, or whose exceptions did.
        namespaces: The namespaces that have other labels.
    """

    policies: frozenset[str]
    namespaces: frozenset[str]


class Changes:
    """Collects what has to be asked again about which objects.

    Args:
        store: The policies.
        excepted: Gives the PolicyExceptions of the moment.
    """

    def __init__(self, store: policies.PolicyStore, excepted: Callable[[], exceptions.Exceptions]) -> None:
        self._store = store
        self._excepted = excepted
        self._exceptions = exceptions.NONE
        self._policies: set[str] = set()
        self._namespaces: set[str] = set()
        self._labels: dict[str, Mapping[str, str]] = {}
        self._news = asyncio.Event()
        store.listen(self._policy_changed)

    def kinds_changed(self) -> None:
        """The API server serves other kinds than before."""
        self._news.set()

    def exceptions_changed(self) -> None:
        """There are other exceptions than before."""
        self._news.set()

    def namespace_changed(self, name: str, labels: Mapping[str, str] | None) -> None:
        """A namespace was seen with these labels, or is gone. One never seen before has nothing to be scanned again."""
        if labels is None:
            self._labels.pop(name, None)
            return
        before = self._labels.get(name)
        self._labels[name] = labels
        if before is not None and before != labels:
            self._namespaces.add(name)
            self._news.set()

    def looks_at_labels(self, policy: CompiledPolicy) -> bool:
        """Whether a policy, or an exception from it, depends on labels of namespaces."""
        return policy.needs_namespace_labels or any(
            each.needs_namespace_labels for each in self._excepted().of(policy.key)
        )

    async def settled(self) -> None:
        """Wait for changes, and for a burst of them to end."""
        await self._news.wait()
        await asyncio.sleep(SETTLE)

    def take(self) -> News:
        """What changed since this was called last."""
        self._news.clear()
        before, self._exceptions = self._exceptions, self._excepted()
        if before is not self._exceptions:
            keys = (held.compiled.key for held in self._store.held if held.compiled is not None)
            self._policies.update(key for key in keys if before.of(key) != self._exceptions.of(key))
        taken = News(frozenset(self._policies), frozenset(self._namespaces))
        self._policies.clear()
        self._namespaces.clear()
        return taken

    def _policy_changed(self, key: policies.Key, held: policies.Held | None) -> None:
        if held is not None and held.compiled is not None:
            self._policies.add(held.compiled.key)
            self._news.set()
        else:
            self._policies.discard(key.text)
            self._news.set()
