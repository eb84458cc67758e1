"""`telemetry_log_records_exported_total`, `telemetry_log_records_dropped_total`, `telemetry_log_records_pending`.

Instruments of the SDK; see `exported_spans`, whose shape they have.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.metrics import Meter

from kymograph.telemetry.instruments import exports

if TYPE_CHECKING:
    from kymograph.telemetry.export import ExportStatus


def observe(meter: Meter, status: "Callable[[], ExportStatus]") -> None:
    """Create the instruments, read from `status` at each collection."""
    exports.observe(
        meter,
        lambda: [({}, status())],
        "{record}",
        exported=exports.Instrument("telemetry_log_records_exported", "Log records delivered over OTLP."),
        dropped=exports.Instrument(
            "telemetry_log_records_dropped", "Log records that were not delivered over OTLP, by reason."
        ),
        pending=exports.Instrument(
            "telemetry_log_records_pending", "Log records accepted for export and not delivered yet."
        ),
    )
