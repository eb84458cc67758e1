"""What is counted of the entries of the global context: whether they have data, since when, and what failed."""

import datetime as dt
from collections.abc import Callable, Iterator

from kymograph.controllers.globalcontext import store
from kymograph.telemetry.instruments import Instruments


class ContextMetrics:
    """Follows the entries.

    Args:
        instruments: The instruments of the process.
        context: Whose entries.
        now: The time.
    """

    def __init__(self, instruments: Instruments, context: store.GlobalContext, now: Callable[[], dt.datetime]) -> None:
        self._instruments = instruments
        self._context = context
        self._now = now
        self._refreshed: dict[str, float] = {}
        context.listen(self._changed)
        instruments.global_context_ready.observe(self._ready)
        instruments.global_context_refreshed.observe(self._moments)

    def _changed(self, name: str) -> None:
        """An entry, or its data, changed; an attempt to renew them that failed is such a change."""
        entry = self._context.entries.get(name)
        if entry is None:
            self._refreshed.pop(name, None)
            self._instruments.registry.forget({"entry": name})
        elif entry.source is not None and entry.source.ready:
            self._refreshed[name] = self._now().timestamp()
        elif entry.source is None or entry.source.settled.is_set():
            self._instruments.global_context_errors.bind((name,)).add()

    def _ready(self) -> Iterator[tuple[tuple[str], float]]:
        for name, entry in list(self._context.entries.items()):
            yield (name,), int(entry.source is not None and entry.source.ready)

    def _moments(self) -> Iterator[tuple[tuple[str], float]]:
        for name, moment in self._refreshed.copy().items():
            yield (name,), moment
