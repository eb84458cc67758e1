"""What metrics tell of a queue before an exporter, whatever is in it; read from its own counts, off the hot path.

They always have a value, which also makes every collection of the MeterProvider one that readers see (an empty one is
not passed to them).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from opentelemetry.metrics import CallbackOptions, Meter, Observation

if TYPE_CHECKING:
    from kymograph.telemetry.export import ExportStatus

Statuses: TypeAlias = "Callable[[], Iterable[tuple[Mapping[str, str], ExportStatus]]]"
"""Gives the status of each queue, with the labels by which it is known."""


class Instrument(NamedTuple):
    """One instrument: its name, without what Prometheus adds, and what it says."""

    name: str
    description: str


def observe(
    meter: Meter, statuses: Statuses, unit: str, *, exported: Instrument, dropped: Instrument, pending: Instrument
) -> None:
    """Create the instruments, read at each collection.

    Args:
        meter: The SDK's.
        statuses: Gives what they are read from.
        unit: What is in the queues, such as `{span}`.
        exported: How many were delivered.
        dropped: How many were not, by reason.
        pending: How many wait.
    """

    def read_exported(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(status.sent, labels) for labels, status in statuses()]

    def read_dropped(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, {**labels, "reason": reason.value})
            for labels, status in statuses()
            for reason, count in status.dropped.items()
        ]

    def read_pending(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(status.pending, labels) for labels, status in statuses()]

    meter.create_observable_counter(exported.name, [read_exported], unit, exported.description)
    meter.create_observable_counter(dropped.name, [read_dropped], unit, dropped.description)
    meter.create_observable_up_down_counter(pending.name, [read_pending], unit, pending.description)
