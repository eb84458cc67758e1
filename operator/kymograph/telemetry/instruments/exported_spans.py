"""`telemetry_spans_exported_total`, `telemetry_spans_dropped_total`, `telemetry_spans_pending`: telemetry on itself.

Instruments of the SDK. Those of the first destination have no label that says so; those of additional ones say which.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.metrics import Meter

from kymograph.telemetry.instruments import exports

if TYPE_CHECKING:
    from kymograph.telemetry.export import ExportStatus


def observe(
    meter: Meter,
    status: "Callable[[], ExportStatus]",
    additional: "Callable[[], Mapping[str, ExportStatus]]" = dict,
) -> None:
    """Create the instruments, read from `status` and, by name of destination, `additional` at each collection."""

    def statuses() -> "Iterable[tuple[Mapping[str, str], ExportStatus]]":
        return [({}, status()), *(({"destination": name}, each) for name, each in additional().items())]

    exports.observe(
        meter,
        statuses,
        "{span}",
        exported=exports.Instrument("telemetry_spans_exported", "Spans delivered to the trace exporter."),
        dropped=exports.Instrument("telemetry_spans_dropped", "Spans that were not delivered, by reason."),
        pending=exports.Instrument("telemetry_spans_pending", "Spans accepted and not delivered yet."),
    )
