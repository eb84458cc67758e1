"""What metrics tell of a queue before an exporter, whatever is in it; read from its own counts, off the hot path.

They always have a value, which also makes every collection of the MeterProvider one that readers see (an empty one is
not passed to them).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.metrics import CallbackOptions, Observation

if TYPE_CHECKING:
    from kymograph.telemetry.export import ExportStatus

Statuses: TypeAlias = "Callable[[], Iterable[tuple[Mapping[str, str], ExportStatus]]]"
"""Gives the status of each queue, with the labels by which it is known."""

Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]


def exported(statuses: Statuses) -> Callback:
    """How many were delivered."""
    return lambda _: [Observation(status.sent, labels) for labels, status in statuses()]


def dropped(statuses: Statuses) -> Callback:
    """How many were not, by reason."""
    return lambda _: [
        Observation(count, {**labels, "reason": reason.value})
        for labels, status in statuses()
        for reason, count in status.dropped.items()
    ]


def pending(statuses: Statuses) -> Callback:
    """How many wait."""
    return lambda _: [Observation(status.pending, labels) for labels, status in statuses()]
