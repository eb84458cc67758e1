"""`telemetry_log_records_exported_total`, `telemetry_log_records_dropped_total`, `telemetry_log_records_pending`.

Instruments of the SDK; see `exported_spans`, whose shape they have.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.metrics import Meter

from kymograph.telemetry.instruments import exports

if TYPE_CHECKING:
    from kymograph.telemetry.export import ExportStatus


def observe(meter: Meter, status: "Callable[[], ExportStatus]") -> None:
    """Create the instruments, read from `status` at each collection."""

    def statuses() -> "Iterable[tuple[Mapping[str, str], ExportStatus]]":
        return [({}, status())]

    meter.create_observable_counter(
        "telemetry_log_records_exported",
        [exports.exported(statuses)],
        unit="{record}",
        description="Log records delivered over OTLP.",
    )
    meter.create_observable_counter(
        "telemetry_log_records_dropped",
        [exports.dropped(statuses)],
        unit="{record}",
        description="Log records that were not delivered over OTLP, by reason.",
    )
    meter.create_observable_up_down_counter(
        "telemetry_log_records_pending",
        [exports.pending(statuses)],
        unit="{record}",
        description="Log records accepted for export and not delivered yet.",
    )
