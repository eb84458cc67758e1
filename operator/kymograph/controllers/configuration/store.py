"""The ConfigMap in the cluster, followed: what it says counts a moment after it was written.

Who writes it says which requests no policy sees, so it is usually in the operator's own namespace. One that cannot be
read is as none: nothing is filtered and nobody excluded.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry import trace

from kymograph.clients.kubernetes import informer, resources
from kymograph.controllers.configuration import reading
from kymograph.telemetry import roots, semconv, work

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that serving waits for the ConfigMap. Without it more is denied than should be, never less."""

INVALID = "ConfigurationInvalid"
"""The outcome of taking in a ConfigMap of which something does not count; also the reason of the Event about it."""

_NOBODY = trace.NoOpTracer()

Report = Callable[[Mapping[str, Any], Iterable[reading.Problem]], None]
"""Is told what is wrong with the ConfigMap: its document, and the problems."""


class ConfigurationStore:
    """What the ConfigMap says at this moment.

    Args:
        client: Lists and watches it.
        namespace: Where it is.
        name: Its name.
        report: Tells people what is wrong with it.
        worked: Is told of each change that was taken in.
        tracer: For a root span of each.

    Attributes:
        current: What counts; replaced as a whole.
    """

    def __init__(
        self,
        client: informer.Source,
        namespace: str,
        name: str,
        report: Report = lambda _document, _problems: None,
        worked: work.Reconciled = work.uncounted,
        tracer: trace.Tracer = _NOBODY,
    ) -> None:
        self.current = reading.NOTHING
        self._name = name
        self._report = report
        self._worked = worked
        self._tracer = tracer
        self._listeners: list[Callable[[], None]] = []
        self._informer = informer.Informer(
            client,
            resources.CONFIG_MAPS,
            namespace=namespace,
            field_selector=f"metadata.name={name}",
            changed=self._changed,
        )

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function after each change."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow the ConfigMap until cancelled."""
        await self._informer.run()

    async def listed(self) -> None:
        """Wait until it is known what the ConfigMap says, or for `PATIENCE`."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._informer.synced.wait()
        except TimeoutError:
            logger.warning("The ConfigMap %s cannot be read; until it can, it says nothing", self._name)

    def _changed(self, key: informer.Key, document: Mapping[str, Any] | None) -> None:
        began = time.perf_counter()
        about = {semconv.OBJECT_NAMESPACE: key[0], semconv.OBJECT_NAME: key[1]}
        with roots.root(self._tracer, "ADMISSION configuration", about) as span:
            outcome = self._taken(document)
            if outcome != work.SUCCESS:
                span.set_attribute(semconv.ERROR_TYPE, outcome)
                span.set_status(trace.Status(trace.StatusCode.ERROR))
        self._worked(time.perf_counter() - began, outcome)

    def _taken(self, document: Mapping[str, Any] | None) -> str:
        """Do as it says from now on; what is wrong with it, or success."""
        data = (document or {}).get("data") or {}
        self.current, problems = reading.read(data, reading.NOTHING if document is None else self.current)
        for problem in problems:
            logger.warning("ConfigMap %s, %s", self._name, problem)
        if document is None:
            logger.info("The ConfigMap %s is gone", self._name)
        else:
            logger.info("The ConfigMap %s counts: %s", self._name, ", ".join(sorted(data)) or "it says nothing")
            if problems:
                self._report(document, problems)
        for listener in self._listeners:
            listener()
        return INVALID if problems else work.SUCCESS
