"""Which queue ships where: the spans' first destination and its additional ones, and that of the log records.

A change of settings is planned as a whole, with every exporter it needs made, and then carried out without anything
that could fail: a configuration is in force, or the one before still is. A destination that stays as it is keeps its
exporter, and one that is gone its counts.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from kymograph.telemetry import (
    destination,
    encoding,
    errors,
    export,
    logexport,
    memory,
    partial,
    settings,
    sharing,
    spanqueue,
)

ItemT = TypeVar("ItemT")
MadeT = TypeVar("MadeT")

MakeSpanExporter = Callable[[destination.Destination], export.Exporter[encoding.Span]]
MakeLogExporter = Callable[[destination.Destination], export.Exporter[logexport.Written]]


class Way(Generic[ItemT]):
    """A queue and where it ships to.

    Args:
        queue: The queue.
        make: Makes an exporter to a destination; called in a worker thread.
    """

    def __init__(
        self, queue: export.Queue[ItemT], make: Callable[[destination.Destination], export.Exporter[ItemT]]
    ) -> None:
        self.queue = queue
        self.make = make
        self.to: destination.Destination | None = None

    def ship(self, to: destination.Destination | None, exporter: export.Exporter[ItemT] | None) -> None:
        """Ship there from now on; `exporter` is for a destination that is another one than before."""
        if to != self.to:
            self.queue.swap(exporter)
            self.to = to


_Additional: TypeAlias = tuple[spanqueue.ExportQueue, Way[encoding.Span]]


@dataclasses.dataclass(slots=True)
class Plan:
    """A change that only has to be carried out.

    Attributes:
        steps: The ways, where they are to ship, and the exporters made for it.
        additional: The queues and ways of the additional destinations from now on, by their names.
        traced: Whether spans are shipped anywhere.
    """

    steps: list[tuple[Way[Any], destination.Destination | None, export.Exporter[Any] | None]]
    additional: dict[str, _Additional]
    traced: bool = False

    async def abandon(self) -> None:
        """Let go of what was made for it."""
        for _, _, exporter in self.steps:
            if exporter is not None:
                await asyncio.to_thread(exporter.shutdown)


class Ways:
    """The ways out of spans and log records.

    Args:
        new_queue: Makes the queue of spans before a destination.
        make: Makes an exporter of spans.
        logs: The queue of log records.
        make_logs: Makes an exporter of log records.
        render: Makes the spans of a finished recorder, where several destinations share them.
        encode: The same of a span of the SDK.

    Attributes:
        queue: The queue of spans before the first destination.
        fan: Takes spans for all destinations.
    """

    def __init__(
        self,
        new_queue: Callable[[], spanqueue.ExportQueue],
        make: MakeSpanExporter,
        logs: export.Queue[logexport.Written],
        make_logs: MakeLogExporter,
        render: spanqueue.Render,
        encode: sharing.Encode,
    ) -> None:
        self.queue = new_queue()
        self.fan = sharing.Fan(self.queue, render, encode)
        self._new_queue = new_queue
        self._first = Way(self.queue, make)
        self._more: dict[str, _Additional] = {}
        self._logs = Way(logs, make_logs)

    @property
    def additional(self) -> Mapping[str, export.ExportStatus]:
        """What became of the spans for each additional destination that there is or was, by its name."""
        return {name: queue.status() for name, (queue, _) in self._more.items()}

    async def plan(
        self, wanted: settings.TelemetrySettings, secrets: destination.Secrets, parts: partial.Whole = partial.WHOLE
    ) -> Plan:
        """Make everything that settings need.

        Args:
            wanted: The settings.
            secrets: The data of the Secrets that they name.
            parts: What becomes of a destination that cannot be used; nothing is shipped to one that is left out.

        Raises:
            SettingsInvalid: A Secret or file lacks what it is named for, or it cannot be used.
            ExporterInvalid: An exporter cannot be made.
        """
        traces = wanted.traces
        additional = () if traces is None else traces.additional
        more = {each.name: self._more.get(each.name) or self._new() for each in additional}
        places: list[tuple[Way[Any], destination.ExporterSettings | None, str]] = [
            (self._first, None if traces is None else traces.first, "traces"),
            (self._logs, wanted.logs.otlp, "logs.otlp"),
            *((more[each.name][1], each, f"traces.additional[{each.name}]") for each in additional),
        ]
        places += [(way, None, "") for name, (_, way) in self._more.items() if name not in more]
        resolved: list[tuple[Way[Any], destination.Destination | None, str]] = []
        for way, place, path in places:
            to = None
            with parts.part(path):
                to = None if place is None else await asyncio.to_thread(destination.resolve, place, secrets, path)
            resolved.append((way, to, path))
        plan = Plan([], more)
        try:
            for way, to, path in resolved:
                leads: tuple[destination.Destination | None, export.Exporter[Any] | None] = None, None
                with parts.part(path):
                    leads = to, None if to is None or to == way.to else await made(way.make, to)
                plan.steps.append((way, *leads))
                plan.traced |= way is not self._logs and leads[0] is not None
        except errors.ExporterInvalid:
            await plan.abandon()
            raise
        return plan

    def carry_out(self, plan: Plan, wanted: settings.TelemetrySettings) -> None:
        """Put a plan for these settings in force."""
        self._more |= plan.additional
        others = [queue for queue, _ in plan.additional.values()]
        for queue in (self.queue, *others):
            queue.limit(wanted.span_queue, memory.DESTINATIONS // (1 + len(others)))
        self._logs.queue.limit(wanted.log_queue)
        for way, to, exporter in plan.steps:
            way.ship(to, exporter)
        self.fan.widen(others)

    async def close(self, patience: float) -> None:
        """Deliver what waits within `patience` seconds, drop the rest and let all exporters go."""
        queues: list[export.Queue[Any]] = [self.queue, self._logs.queue, *(queue for queue, _ in self._more.values())]
        await asyncio.gather(*(asyncio.to_thread(queue.close, patience) for queue in queues))

    def _new(self) -> _Additional:
        queue = self._new_queue()
        return queue, Way(queue, self._first.make)


async def made(make: Callable[[destination.Destination], MadeT], to: destination.Destination) -> MadeT:
    """Make an exporter off the event loop.

    Raises:
        ExporterInvalid: It cannot be made.
    """
    try:
        return await asyncio.to_thread(make, to)
    except Exception as error:
        raise errors.ExporterInvalid(f"no exporter for {to.endpoint}: {to.redacted(str(error))}") from error
