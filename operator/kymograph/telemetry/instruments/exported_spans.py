"""`telemetry_spans_exported_total`, `telemetry_spans_dropped_total`, `telemetry_spans_pending`: telemetry on itself.

Instruments of the SDK: they are read from the export queue's own counts, off the hot path. They always have a value,
which also makes every collection of the MeterProvider one that readers see (an empty one is not passed to them).
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Meter, Observation

if TYPE_CHECKING:
    from kymograph.telemetry.export import ExportStatus


def observe(meter: Meter, status: "Callable[[], ExportStatus]") -> None:
    """Create the instruments, read from `status` at each collection."""

    def exported(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(status().sent)

    def dropped(_: CallbackOptions) -> Iterable[Observation]:
        for reason, count in status().dropped.items():
            yield Observation(count, {"reason": reason.value})

    def pending(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(status().pending)

    meter.create_observable_counter(
        "telemetry_spans_exported",
        [exported],
        unit="{span}",
        description="Spans delivered to the trace exporter.",
    )
    meter.create_observable_counter(
        "telemetry_spans_dropped",
        [dropped],
        unit="{span}",
        description="Spans that were not delivered, by reason.",
    )
    meter.create_observable_up_down_counter(
        "telemetry_spans_pending",
        [pending],
        unit="{span}",
        description="Spans accepted and not delivered yet.",
    )
