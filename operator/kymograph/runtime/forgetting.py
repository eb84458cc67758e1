"""Series of namespaces that are gone: dropped at once, and once more when work that was under way has ended."""

import asyncio
from collections.abc import Callable, Mapping

STRAGGLERS = 60.0
"""Seconds after which the series of a namespace that is gone are dropped again: work in it may have been under way."""


class NamespaceSeries:
    """Follows namespaces as they come and go.

    Args:
        forget: Drops the series with these labels.
    """

    def __init__(self, forget: Callable[[Mapping[str, str]], None]) -> None:
        self._forget = forget
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def changed(self, name: str, labels: Mapping[str, str] | None) -> None:
        """A namespace is gone (no labels), or it is there (again)."""
        if (waiting := self._waiting.pop(name, None)) is not None:
            waiting.cancel()
        if labels is None:
            self._drop(name)
            self._waiting[name] = asyncio.get_running_loop().call_later(STRAGGLERS, self._drop, name)

    def _drop(self, name: str) -> None:
        self._waiting.pop(name, None)
        self._forget({"resource_namespace": name})
